//! Fuzzes `t4_fuzz::DECODERS`' `mvcc_segment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| t4_fuzz::fuzz("mvcc_segment", bytes));
