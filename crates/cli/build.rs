//! Passes the build target to the program: `t4 version` prints it.

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=T4_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}
