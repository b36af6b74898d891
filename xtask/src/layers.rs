//! The crate layers of `ARCHITECTURE.md`, checked against `cargo metadata`.
//!
//! A crate may depend on crates of lower layers; within a layer, only where the
//! layer allows it. Only a few crates may use a heavy dependency directly.
//! Development dependencies are exempt: tests may use any crate.

use std::collections::BTreeMap;

/// One layer of crates.
struct Layer {
    name: &'static str,
    crates: &'static [&'static str],
    /// Dependencies within the layer that are allowed.
    inside: &'static [(&'static str, &'static str)],
}

/// From the lowest up.
const LAYERS: &[Layer] = &[
    Layer { name: "L0 words", crates: &["t4-kv-types", "t4-proto"], inside: &[] },
    Layer {
        name: "L1 mechanisms",
        crates: &[
            "t4-wal",
            "t4-mvcc",
            "t4-lease",
            "t4-auth-rbac",
            "t4-watch-hub",
            "t4-blob-store",
            "t4-tls-config",
        ],
        inside: &[],
    },
    Layer {
        name: "L2 assemblies",
        crates: &[
            "t4-state-machine",
            "t4-peer-replication",
            "t4-election",
            "t4-archive",
            "t4-s3-store",
        ],
        inside: &[],
    },
    Layer { name: "L3 engine", crates: &["t4-node"], inside: &[] },
    Layer { name: "L4 protocols", crates: &["t4-etcd-api", "t4-json-gateway"], inside: &[] },
    Layer {
        name: "L5 rim",
        crates: &["t4", "t4-cli", "t4-server"],
        inside: &[("t4", "t4-cli"), ("t4-cli", "t4-server")],
    },
];

/// Never a dependency of anything that ships.
const TEST_PLANE: &[&str] =
    &["t4-testkit", "t4-linearizability", "t4-sim", "t4-bench", "t4-tests", "xtask"];

/// The only crates that may use each dependency, beside the test plane.
const DOORS: &[(&str, &[&str])] = &[
    ("t4-proto", &["t4-etcd-api", "t4-json-gateway", "t4-peer-replication", "t4-cli"]),
    ("clap", &["t4-cli"]),
    ("clap_complete", &["t4-cli"]),
    ("clap_mangen", &["t4-cli"]),
    ("aws-sdk-s3", &["t4-s3-store"]),
    ("rustls", &["t4-tls-config"]),
    ("rustls-webpki", &["t4-tls-config"]),
    ("x509-parser", &["t4-tls-config"]),
    ("rcgen", &["t4-tls-config"]),
    ("tokio-rustls", &["t4-tls-config"]),
];

/// Other crypto providers: one in a binary is enough.
const OTHER_PROVIDERS: &[&str] =
    &["ring", "openssl-sys", "boring-sys", "rustls-rustcrypto", "rustls-graviola"];

/// A package and its normal and build dependencies.
type Graph = BTreeMap<String, Vec<String>>;

/// The violations in a graph, as sentences.
fn violations(graph: &Graph) -> Vec<String> {
    let mut wrong = Vec::new();
    for (package, dependencies) in graph {
        if TEST_PLANE.contains(&package.as_str()) {
            continue;
        }
        let Some(own) = layer_of(package) else {
            wrong.push(format!("{package} is in no layer: give it one"));
            continue;
        };
        for dependency in dependencies {
            wrong.extend(wall(package, own, dependency));
            wrong.extend(door(package, dependency));
        }
    }
    wrong
}

fn layer_of(package: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.crates.contains(&package))
}

fn wall(package: &str, own: usize, dependency: &str) -> Option<String> {
    if TEST_PLANE.contains(&dependency) {
        return Some(format!("{package} ships, and depends on {dependency} of the test plane"));
    }
    let other = layer_of(dependency)?;
    let inside = LAYERS[own].inside.contains(&(package, dependency));
    if other < own || (other == own && inside) {
        return None;
    }
    let (own, other) = (LAYERS[own].name, LAYERS[other].name);
    Some(format!("{package} ({own}) depends on {dependency} ({other})"))
}

fn door(package: &str, dependency: &str) -> Option<String> {
    let (_, keepers) = DOORS.iter().find(|(behind, _)| *behind == dependency)?;
    let allowed = keepers.contains(&package);
    (!allowed).then(|| format!("{package} depends on {dependency}: only {keepers:?} may"))
}

#[test]
fn the_walls_stand() {
    let manifest = crate::root().join("Cargo.toml");
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let ships = |kind| kind != cargo_metadata::DependencyKind::Development;
    let graph: Graph = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let dependencies = package.dependencies.iter().filter(|d| ships(d.kind));
            (package.name.to_string(), dependencies.map(|d| d.name.clone()).collect())
        })
        .collect();
    assert!(graph.len() > 5, "metadata tells of {} packages", graph.len());
    let wrong = violations(&graph);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Checks everything that the workspace builds, including tests and tools.
/// `cargo tree` knows what is built; the lock file and the metadata also list
/// dependencies of features that nobody enables.
#[test]
fn there_is_one_provider_of_cryptography() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--target", "all", "--prefix", "none", "--format", "{p}"])
        .current_dir(crate::root())
        .output()
        .expect("cargo tree");
    let listed = String::from_utf8_lossy(&tree.stdout);
    let built: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(built.contains(&"aws-lc-rs"), "{}", String::from_utf8_lossy(&tree.stderr));
    let others: Vec<_> = OTHER_PROVIDERS.iter().filter(|other| built.contains(*other)).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn a_breach_is_found() {
    let breach = |package: &str, dependency: &str| {
        let graph = Graph::from([(package.to_owned(), vec![dependency.to_owned()])]);
        !violations(&graph).is_empty()
    };
    assert!(breach("t4-wal", "t4-node"), "upwards");
    assert!(breach("t4-wal", "t4-mvcc"), "sideways");
    assert!(breach("t4-server", "t4-cli"), "the wrong way inside the rim");
    assert!(breach("t4-node", "t4-testkit"), "the test plane");
    assert!(breach("t4-node", "t4-proto"), "etcd's messages");
    assert!(breach("t4-server", "clap"), "flags");
    assert!(breach("t4-surprise", "serde"), "a crate without a layer");
    assert!(!breach("t4-node", "t4-wal"));
    assert!(!breach("t4-cli", "t4-server"));
    assert!(!breach("t4-etcd-api", "t4-proto"));
    assert!(!breach("t4-tests", "t4-node"));
}
