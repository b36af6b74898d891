//! The `t4` binary.
fn main() {}
