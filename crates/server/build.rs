//! Tells the program which compiler built it: the metric `t4_build_info` shows
//! it.

fn main() {
    println!("cargo::rustc-env=T4_RUSTC={}", compiler().unwrap_or_else(|| "unknown".to_owned()));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC");
}

/// The second word of `rustc 1.95.0 (…)`.
fn compiler() -> Option<String> {
    let rustc = std::env::var_os("RUSTC")?;
    let output = std::process::Command::new(rustc).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(1).map(str::to_owned)
}
