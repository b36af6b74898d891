//! Fuzzes `t4_fuzz::DECODERS`' `wal_end`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| t4_fuzz::fuzz("wal_end", bytes));
