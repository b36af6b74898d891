//! Fuzzes `t4_fuzz::DECODERS`' `auth_state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| t4_fuzz::fuzz("auth_state", bytes));
