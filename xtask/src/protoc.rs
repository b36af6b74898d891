//! A `protoc` that is this program under another name.
//!
//! The build script of the crate `etcd-client` calls `protoc`, which a machine
//! with only a Rust toolchain and pip does not have. protox, which `codegen`
//! uses, does the same work; here it accepts the few arguments that prost-build
//! passes, and writes the same descriptor set.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Whether this program was called as `protoc`.
pub(crate) fn is_the_name(program: &str) -> bool {
    Path::new(program).file_stem().is_some_and(|name| name == "protoc")
}

/// Creates a link to this program in the target directory; returns its path.
pub(crate) fn install(target: &Path) -> Result<PathBuf> {
    let folder = target.join("protoc");
    std::fs::create_dir_all(&folder)?;
    let link = folder.join("protoc");
    if link.symlink_metadata().is_ok() {
        std::fs::remove_file(&link)?;
    }
    std::os::unix::fs::symlink(std::env::current_exe()?, &link)
        .with_context(|| format!("link {}", link.display()))?;
    Ok(link)
}

/// Does what `protoc` would do with these arguments.
pub(crate) fn run(args: Vec<String>) -> Result<()> {
    let call = Call::parse(args)?;
    let mut compiler = protox::Compiler::new(&call.includes)?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&call.files)?;
    let set = compiler.encode_file_descriptor_set();
    std::fs::write(&call.output, set).with_context(|| call.output.display().to_string())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Call {
    includes: Vec<PathBuf>,
    files: Vec<PathBuf>,
    output: PathBuf,
}

impl Call {
    fn parse(args: Vec<String>) -> Result<Call> {
        let mut call = Call::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--include_imports" | "--include_source_info" => {}
                "--experimental_allow_proto3_optional" => {}
                "-o" => call.output = args.next().context("-o needs a file")?.into(),
                "-I" => call.includes.push(args.next().context("-I needs a folder")?.into()),
                _ => {
                    ensure!(!arg.starts_with('-'), "protoc: this one does not know {arg}");
                    call.files.push(PathBuf::from(OsString::from(arg)));
                }
            }
        }
        ensure!(!call.output.as_os_str().is_empty(), "protoc: -o is missing");
        Ok(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_arguments_of_prost_build_are_understood() {
        let args = "--include_imports --include_source_info -o out -I a -I b x.proto y.proto";
        let call = Call::parse(words(args)).expect("understood");
        let paths = |names: [&str; 2]| names.map(PathBuf::from).to_vec();
        let (includes, files) = (paths(["a", "b"]), paths(["x.proto", "y.proto"]));
        assert_eq!(call, Call { includes, files, output: "out".into() });
        assert!(Call::parse(words("--rust_out=x -o y")).is_err());
        assert!(Call::parse(words("x.proto")).is_err());
    }

    #[test]
    fn it_writes_a_descriptor_set() {
        let dir = tempfile::tempdir().expect("a directory");
        let (source, output) = (dir.path().join("m.proto"), dir.path().join("set"));
        std::fs::write(&source, "syntax = \"proto3\"; package p; message M {}").expect("write");
        let args =
            format!("-o {} -I {} {}", output.display(), dir.path().display(), source.display());
        run(words(&args)).expect("compiled");
        let set = std::fs::read(&output).expect("the set");
        assert!(set.windows(7).any(|bytes| bytes == b"m.proto"));
    }

    #[test]
    fn the_name_decides() {
        assert!(is_the_name("/some/where/protoc"));
        assert!(!is_the_name("target/debug/xtask"));
    }
}
