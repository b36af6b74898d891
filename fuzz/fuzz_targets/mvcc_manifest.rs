//! Fuzzes `t4_fuzz::DECODERS`' `mvcc_manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| t4_fuzz::fuzz("mvcc_manifest", bytes));
