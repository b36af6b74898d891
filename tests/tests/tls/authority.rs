//! A certificate authority made of openssl commands, as the pages have them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use t4_testkit::Scratch;

/// A certificate and its key, in PEM files.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// A directory with a CA in it.
pub(crate) struct Authority {
    scratch: Scratch,
    name: &'static str,
    pub(crate) own: Pair,
}

/// What a server's certificate is for.
pub(crate) const SERVER: &str = "subjectAltName=DNS:localhost,IP:127.0.0.1";
/// What a client's certificate is for.
pub(crate) const CLIENT: &str = "extendedKeyUsage=clientAuth";

impl Authority {
    /// A new one; `name` is its common name.
    pub(crate) fn new(name: &'static str) -> Authority {
        let scratch = Scratch::new("tls").expect("scratch");
        let own = Pair { cert: scratch.join("ca.crt"), key: scratch.join("ca.key") };
        new_key(&own.key);
        let mut make = openssl(&["req", "-new", "-x509", "-days", "3650", "-subj"]);
        run(make.arg(format!("/CN={name}")).arg("-key").arg(&own.key).arg("-out").arg(&own.cert));
        Authority { scratch, name, own }
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// A certificate with this common name. Without `extensions` it is of X.509
    /// version 1, as the page's recipe for clients makes them.
    pub(crate) fn issue(&self, cn: &str, extensions: Option<&str>) -> Pair {
        self.issue_for(cn, extensions, 365)
    }

    /// The same, valid for so many days.
    pub(crate) fn issue_for(&self, cn: &str, extensions: Option<&str>, days: u32) -> Pair {
        let at = |end: &str| self.join(&format!("{cn}{end}"));
        let pair = Pair { cert: at(".crt"), key: at(".key") };
        new_key(&pair.key);
        let mut ask = openssl(&["req", "-new", "-subj"]);
        run(ask.arg(format!("/CN={cn}")).arg("-key").arg(&pair.key).arg("-out").arg(at(".csr")));
        let mut sign = openssl(&["x509", "-req", "-days", &days.to_string(), "-in"]);
        sign.arg(at(".csr")).arg("-CA").arg(&self.own.cert).arg("-CAkey").arg(&self.own.key);
        sign.arg("-CAcreateserial").arg("-out").arg(&pair.cert);
        if let Some(extensions) = extensions {
            fs::write(at(".ext"), extensions.replace(';', "\n")).expect("write");
            sign.arg("-extfile").arg(at(".ext"));
        }
        run(&mut sign);
        pair
    }

    /// A revocation list with these certificates on it, in a file of its own.
    pub(crate) fn revoke(&self, file: &str, revoked: &[&Pair]) -> PathBuf {
        let index = self.join("index.txt");
        let lines: String = revoked
            .iter()
            .map(|pair| {
                let serial = serial_of(&pair.cert);
                format!("R\t401231235959Z\t260101000000Z\t{serial}\tunknown\t/CN=x\n")
            })
            .collect();
        fs::write(&index, lines).expect("write");
        fs::write(self.join("crlnumber"), "01\n").expect("write");
        let config = self.join("ca.cnf");
        let text = format!(
            "[ca]\ndefault_ca = this\n[this]\ndatabase = {}\ncrlnumber = {}\n\
             default_md = sha256\ndefault_crl_days = 30\n",
            index.display(),
            self.join("crlnumber").display()
        );
        fs::write(&config, text).expect("write");
        let list = self.join(file);
        let mut make = openssl(&["ca", "-gencrl", "-config"]);
        make.arg(&config).arg("-keyfile").arg(&self.own.key).arg("-cert").arg(&self.own.cert);
        run(make.arg("-out").arg(&list));
        list
    }

    /// A list in DER, as etcd wants it.
    pub(crate) fn der(&self, list: &Path) -> PathBuf {
        let der = list.with_extension("der");
        let mut convert = openssl(&["crl", "-outform", "der", "-in"]);
        run(convert.arg(list).arg("-out").arg(&der));
        der
    }

    /// Both CAs in one bundle, while one follows the other.
    pub(crate) fn bundle_with(&self, other: &Authority) -> PathBuf {
        let bundle = self.join("bundle.crt");
        let both = [&self.own.cert, &other.own.cert].map(|cert| fs::read(cert).expect("read"));
        fs::write(&bundle, both.concat()).expect("write");
        bundle
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", self.name, self.scratch.path().display())
    }
}

/// Puts a pair in the place of another, as a rotation does: renamed, key first.
pub(crate) fn replace(place: &Pair, with: &Pair) {
    for (place, with) in [(&place.key, &with.key), (&place.cert, &with.cert)] {
        replace_file(place, &fs::read(with).expect("read"));
    }
}

/// Puts a file in the place of another, whole.
pub(crate) fn replace_file(place: &Path, bytes: &[u8]) {
    let new = place.with_extension("new");
    fs::write(&new, bytes).expect("write");
    fs::rename(&new, place).expect("rename");
}

/// A named pipe, which nobody writes into.
pub(crate) fn make_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
}

/// The serial number of a certificate, in hexadecimal.
pub(crate) fn serial_of(cert: &Path) -> String {
    let output = openssl(&["x509", "-noout", "-serial", "-in"]).arg(cert).output().expect("run");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.trim().strip_prefix("serial=").expect("a serial number").to_owned()
}

fn new_key(path: &Path) {
    run(openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]).arg(path));
}

pub(crate) fn openssl(args: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(args);
    command
}

fn run(command: &mut Command) {
    let output = command.output().expect("this suite needs openssl: install it");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}
