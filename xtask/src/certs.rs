//! `cargo xtask certs [DIR]`: test certificates, made by the code that `t4
//! certs` runs. The suites make their own at run time; this is for scripts and
//! for manual tests. Not secret, and not to be committed.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::ensure;
use t4_tls_config::{
    Authority, CaRequest, Existing, KeyType, LeafKind, LeafRequest, Secrecy, write_file,
};

const DAY: Duration = Duration::from_secs(86_400);

/// The certificates issued by the CA: file, kind, common name, names, and how
/// many days ago each was issued for one day (0: today, for 30 days).
const LEAVES: [(&str, LeafKind, &str, &[&str], u32); 8] = [
    ("server", LeafKind::Server, "t4-server", &["localhost", "127.0.0.1", "::1"], 0),
    ("client", LeafKind::Client, "my-app", &[], 0),
    ("root", LeafKind::Client, "root", &[], 0),
    ("alice", LeafKind::Client, "alice", &[], 0),
    ("m1", LeafKind::Peer, "etcd.local", &["m1.etcd.local", "localhost", "127.0.0.1"], 0),
    ("m2", LeafKind::Peer, "etcd.local", &["m2.etcd.local", "localhost", "127.0.0.1"], 0),
    ("elsewhere", LeafKind::Peer, "etcd.local", &["192.0.2.7"], 0),
    ("expired", LeafKind::Client, "my-app", &[], 2),
];

/// Writes them to the given directory, or to `target/certs`.
pub(crate) fn run(args: Vec<String>) -> anyhow::Result<()> {
    ensure!(args.len() <= 1, "one directory at most");
    let dir = args.first().map_or_else(|| crate::root().join("target/certs"), PathBuf::from);
    make(&dir, SystemTime::now())?;
    println!("{}", dir.display());
    Ok(())
}

/// Makes a CA with its leaves, and in `stranger` another CA of the same name.
fn make(dir: &Path, now: SystemTime) -> anyhow::Result<()> {
    let own = authority(dir, now)?;
    for (file, kind, common_name, sans, days_ago) in LEAVES {
        let request = leaf(kind, common_name, sans, if days_ago == 0 { 30 * DAY } else { DAY });
        issue(dir, file, &own, &request, now - days_ago * DAY)?;
    }
    let stranger = dir.join("stranger");
    let request = leaf(LeafKind::Client, "my-app", &[], 30 * DAY);
    issue(&stranger, "client", &authority(&stranger, now)?, &request, now)
}

fn authority(dir: &Path, now: SystemTime) -> anyhow::Result<Authority> {
    let request = CaRequest {
        common_name: "t4-ca".to_owned(),
        organization: None,
        validity: 365 * DAY,
        key_type: KeyType::EcdsaP256,
    };
    let (authority, issued) = Authority::create(&request, now)?;
    write(dir, "ca", &issued.certificate, issued.key.as_deref())?;
    Ok(authority)
}

fn leaf(kind: LeafKind, common_name: &str, sans: &[&str], validity: Duration) -> LeafRequest {
    LeafRequest {
        kind,
        common_name: common_name.to_owned(),
        organization: None,
        sans: sans.iter().map(|san| (*san).to_owned()).collect(),
        validity,
        key_type: KeyType::EcdsaP256,
    }
}

fn issue(
    dir: &Path,
    file: &str,
    authority: &Authority,
    request: &LeafRequest,
    at: SystemTime,
) -> anyhow::Result<()> {
    let issued = authority.issue(request, at)?;
    write(dir, file, &issued.certificate, issued.key.as_deref())
}

fn write(dir: &Path, file: &str, cert: &str, key: Option<&str>) -> anyhow::Result<()> {
    let at = |ending: &str| dir.join(format!("{file}.{ending}"));
    write_file(&at("key"), key.unwrap_or_default(), Secrecy::Private, Existing::Replace)?;
    write_file(&at("crt"), cert, Secrecy::Public, Existing::Replace)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use t4_tls_config::{PairSource, ServerOptions, ServerTls};

    use super::*;

    #[test]
    fn the_certificates_are_good_but_the_bad_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path();
        make(dir, SystemTime::now()).expect("made");
        let load = |file: &str| {
            let at = |ending: &str| dir.join(format!("{file}.{ending}"));
            let pair = PairSource::Files { cert: at("crt"), key: at("key") };
            let client_ca = Some(dir.join("ca.crt"));
            ServerTls::load(ServerOptions { client_ca, ..ServerOptions::new(pair) })
        };
        for (file, .., days_ago) in LEAVES {
            assert_eq!(load(file).is_ok(), days_ago == 0, "{file}");
        }
        load("stranger/client").expect("a pair");
    }
}
