//! Fuzzes `t4_fuzz::DECODERS`' `lease_table`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| t4_fuzz::fuzz("lease_table", bytes));
