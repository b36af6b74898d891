//! `cargo xtask codegen`: generates Rust from `proto/*.proto`, without
//! `protoc`.
//!
//! The output is committed; the test below fails if it does not match the
//! sources. Beside the Rust files it writes the descriptors (`descriptor.bin`)
//! with the names used on the wire: JSON needs them, and the Rust names
//! sometimes differ (see [`RENAMED`]).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use protox::Compiler;

/// The sources, relative to `proto/`.
const SOURCES: &[&str] = &[
    "mvccpb.proto",
    "authpb.proto",
    "etcdserverpb/header.proto",
    "etcdserverpb/kv.proto",
    "etcdserverpb/watch.proto",
    "etcdserverpb/lease.proto",
    "etcdserverpb/cluster.proto",
    "etcdserverpb/maintenance.proto",
    "etcdserverpb/auth.proto",
    "v3lockpb.proto",
    "v3electionpb.proto",
    "grpc_health_v1.proto",
];

/// Fields whose wire name makes an unreadable Rust name (`peer_ur_ls`), with
/// the name used to generate the Rust code. The binary encoding has only
/// numbers.
const RENAMED: &[(&str, &str)] = &[("peerURLs", "peer_urls"), ("clientURLs", "client_urls")];

/// Runs the verb. Takes no arguments.
pub(crate) fn run(args: Vec<String>) -> Result<()> {
    if !args.is_empty() {
        bail!("codegen takes no arguments");
    }
    let out = crate::root().join("crates/proto/src/gen");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    generate(&out)
}

/// Writes all generated files into the folder `out`.
fn generate(out: &Path) -> Result<()> {
    fs::create_dir_all(out)?;
    write_descriptor(&out.join("descriptor.bin"))?;
    write_rust(out)
}

fn compiler(source_info: bool) -> Result<Compiler> {
    let mut compiler = Compiler::new([crate::root().join("proto")])?;
    compiler.include_imports(true).include_source_info(source_info);
    compiler.open_files(SOURCES).context("the .proto files do not compile")?;
    Ok(compiler)
}

fn write_descriptor(path: &Path) -> Result<()> {
    Ok(fs::write(path, compiler(false)?.encode_file_descriptor_set())?)
}

fn write_rust(out: &Path) -> Result<()> {
    // Comments are part of the source info.
    let mut files = compiler(true)?.file_descriptor_set();
    for message in files.file.iter_mut().flat_map(|file| &mut file.message_type) {
        for field in &mut message.field {
            if let Some((_, rust)) = RENAMED.iter().find(|(wire, _)| field.name() == *wire) {
                field.name = Some((*rust).to_owned());
            }
        }
    }
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .emit_rerun_if_changed(false)
        .out_dir(out)
        .compile_fds(files)
        .context("the Rust code could not be written")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The files of a folder, by name.
    fn read(dir: &Path) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        entries
            .map(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, fs::read(&path).unwrap())
            })
            .collect()
    }

    #[test]
    fn committed_code_is_what_the_sources_give() {
        let fresh = tempfile::tempdir().unwrap();
        generate(fresh.path()).unwrap();
        let fresh = read(fresh.path());
        let committed = read(&crate::root().join("crates/proto/src/gen"));
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&committed), names(&fresh), "run `cargo xtask codegen`");
        for (name, content) in &fresh {
            assert!(committed[name] == *content, "{name} is stale: run `cargo xtask codegen`");
        }
    }

    #[test]
    fn every_source_is_compiled() {
        let proto = crate::root().join("proto");
        let mut found = Vec::new();
        for dir in ["", "etcdserverpb/"] {
            for entry in fs::read_dir(proto.join(dir)).unwrap() {
                let name = entry.unwrap().file_name().to_string_lossy().into_owned();
                if name.ends_with(".proto") {
                    found.push(format!("{dir}{name}"));
                }
            }
        }
        found.sort();
        let mut listed = SOURCES.to_vec();
        listed.sort_unstable();
        assert_eq!(found, listed);
    }
}
