//! Fuzzes `t4_fuzz::DECODERS`' `node_identity`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| t4_fuzz::fuzz("node_identity", bytes));
