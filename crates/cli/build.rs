//! Tells the program for which target it was built: `t4 version` shows it.

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=T4_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}
