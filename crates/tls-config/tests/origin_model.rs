//! The rules for a peer's remote address, compared with a naive implementation,
//! on random certificates and a random DNS.

mod prng;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use prng::Prng;
use t4_tls_config::{LookUp, Resolver, check_remote_san};

/// The DNS; look-ups of anything not in the maps fail.
#[derive(Clone, Debug, Default)]
struct World {
    names: BTreeMap<IpAddr, Vec<String>>,
    addresses: BTreeMap<String, Vec<IpAddr>>,
}

fn no_such(what: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("lookup {what}: no such host"))
}

impl Resolver for World {
    fn names_of(&self, address: IpAddr) -> LookUp<'_, Vec<String>> {
        let found = self.names.get(&address).cloned();
        Box::pin(async move { found.ok_or_else(|| no_such(&address)) })
    }

    fn addresses_of<'a>(&'a self, name: &'a str) -> LookUp<'a, Vec<IpAddr>> {
        let found = self.addresses.get(name).cloned();
        Box::pin(async move { found.ok_or_else(|| no_such(&name)) })
    }
}

/// The reference's section 5.4, taken literally.
fn model(names: &[String], ips: &[IpAddr], remote: IpAddr, dns: &World) -> Result<(), String> {
    if names.is_empty() && ips.is_empty() {
        return Ok(());
    }
    if ips.contains(&remote) {
        return Ok(());
    }
    if names.is_empty() {
        let valid: Vec<_> = ips.iter().map(ToString::to_string).collect();
        return Err(format!("x509: certificate is valid for {}, not {remote}", valid.join(", ")));
    }
    let mut error = String::new();
    match dns.names.get(&remote) {
        None => error = format!(" ({})", no_such(&remote)),
        Some(found) => {
            for found in found {
                let found = found.trim_end_matches('.');
                for name in names {
                    let wild = name.starts_with("*.") && found.ends_with(&name[1..]);
                    if wild || name == found {
                        return Ok(());
                    }
                }
            }
        }
    }
    for name in names {
        if name.starts_with("*.") {
            continue;
        }
        match dns.addresses.get(name) {
            None => error = format!(" ({})", no_such(name)),
            Some(found) if found.contains(&remote) => return Ok(()),
            Some(_) => {}
        }
    }
    let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let quoted = quoted.join(",");
    Err(format!("tls: \"{remote}\" does not match any of DNSNames [{quoted}]{error}"))
}

const NAMES: [&str; 8] = ["a.svc", "b.svc", "c.a.svc", "svc", "*.svc", "*.a.svc", "xsvc", "b.com"];
const ADDRESSES: [&str; 4] = ["10.0.0.1", "10.0.0.2", "fd00::1", "127.0.0.1"];

fn some<T: Clone>(rng: &mut Prng, from: &[T]) -> Vec<T> {
    let count = rng.below(4);
    (0..count).map(|_| from[rng.below(from.len() as u64) as usize].clone()).collect()
}

#[test]
fn a_peer_is_let_in_exactly_as_the_rules_say() {
    let mut rng = Prng::for_test();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let names: Vec<String> = NAMES.map(str::to_owned).to_vec();
    let dotted: Vec<String> =
        NAMES.iter().flat_map(|n| [format!("{n}."), (*n).to_owned()]).collect();
    let ips: Vec<IpAddr> = ADDRESSES.iter().map(|ip| ip.parse().expect("an address")).collect();
    let (mut let_in, mut refused) = (0, 0);
    for _ in 0..50_000 {
        let mut world = World::default();
        for ip in &ips {
            if rng.below(3) > 0 {
                world.names.insert(*ip, some(&mut rng, &dotted));
            }
        }
        for name in &names {
            if rng.below(3) > 0 {
                world.addresses.insert(name.clone(), some(&mut rng, &ips));
            }
        }
        let (own_names, own_ips) = (some(&mut rng, &names), some(&mut rng, &ips));
        let remote = ips[rng.below(ips.len() as u64) as usize];
        let checked = check_remote_san(&own_names, &own_ips, remote, &world);
        let checked = runtime.block_on(checked).map_err(|refused| refused.to_string());
        let expected = model(&own_names, &own_ips, remote, &world);
        assert_eq!(checked, expected, "{own_names:?} {own_ips:?} from {remote} in {world:?}");
        if checked.is_ok() { let_in += 1 } else { refused += 1 }
    }
    assert!(let_in > 5_000 && refused > 5_000, "{let_in} let in, {refused} refused");
}

#[test]
fn an_ipv4_address_in_ipv6_clothes_is_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let own = [IpAddr::from([10, 0, 0, 1])];
    let remote: IpAddr = "::ffff:10.0.0.1".parse().expect("an address");
    runtime.block_on(check_remote_san(&[], &own, remote, &World::default())).expect("let in");
}

#[test]
fn the_pages_examples_have_the_pages_texts() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let remote = IpAddr::from([10, 138, 0, 2]);
    let told = |names: &[&str], ips: &[IpAddr], world: &World| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let checked = runtime.block_on(check_remote_san(&names, ips, remote, world));
        checked.map_err(|refused| refused.to_string())
    };
    let empty = World { names: BTreeMap::from([(remote, vec![])]), ..World::default() };
    let wrong_ip = [IpAddr::from([10, 138, 0, 27])];
    assert_eq!(
        told(&[], &wrong_ip, &empty),
        Err("x509: certificate is valid for 10.138.0.27, not 10.138.0.2".to_owned())
    );
    assert_eq!(
        told(&["*.example.default.svc", "*.example.default.svc.cluster.local"], &[], &empty),
        Err("tls: \"10.138.0.2\" does not match any of DNSNames [\"*.example.default.svc\",\"*.example.default.svc.cluster.local\"]".to_owned())
    );
    assert_eq!(told(&["invalid.domain"], &[remote], &empty), Ok(()));
}
