//! Fuzzes `t4_fuzz::DECODERS`' `member_table`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| t4_fuzz::fuzz("member_table", bytes));
