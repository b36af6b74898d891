//! Fuzzes `t4_fuzz::DECODERS`' `log_payload`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| t4_fuzz::fuzz("log_payload", bytes));
