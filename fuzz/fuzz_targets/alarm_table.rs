//! Fuzzes `t4_fuzz::DECODERS`' `alarm_table`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| t4_fuzz::fuzz("alarm_table", bytes));
