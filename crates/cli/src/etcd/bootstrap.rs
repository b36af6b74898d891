//! The initial members, and whether this server can be that cluster (reference:
//! etcd's `ServerConfig.VerifyBootstrap`, `Config.Validate`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use aws_lc_rs::digest;
use t4_kv_types::{ClusterId, NodeId};

use super::error::{EtcdError, invalid};
use super::given::Given;
use super::url::{self, Url, joined};

/// The default name in etcd's `--initial-cluster`.
const DEFAULT_NAME: &str = "default";
/// Milliseconds.
const ELECTION_MAX: i128 = 50_000;

/// Resolves a host name.
pub(super) type Resolve<'a> = &'a dyn Fn(&str) -> Vec<IpAddr>;

/// Checks `given`. `is_fresh`: the data directory is empty. Once it is not, the
/// members are fixed, and etcd does not check what they should have been.
///
/// Returns the ids that etcd gives such a cluster and its member.
pub(super) fn check(
    given: &Given,
    is_fresh: bool,
    resolve: Resolve<'_>,
) -> Result<(ClusterId, NodeId), EtcdError> {
    discovery(given)?;
    timers(given)?;
    let name = given.text("name");
    let advertised = given.urls("initial-advertise-peer-urls");
    let members = members(given, &name, &advertised)?;
    if is_fresh {
        local_member(&name, &advertised, &members, resolve)?;
        distinct_urls(&members)?;
        if given.text("initial-cluster-state") == "existing" {
            return invalid(
                "--initial-cluster-state=existing joins a running cluster, and this version runs \
                 clusters of one member: use new, or the --data-dir that holds the member",
            );
        }
    }
    if members.len() > 1 {
        let names: Vec<&str> = members.keys().map(String::as_str).collect();
        return invalid(format!(
            "--initial-cluster has {} members ({}), and this version runs clusters of one member: \
             name {name:?} alone",
            names.len(),
            names.join(", ")
        ));
    }
    let urls = members.values().flatten().map(ToString::to_string).collect();
    Ok(ids(urls, &given.text("initial-cluster-token")))
}

/// The ids of a cluster of one member. The member's is the start of a hash of
/// its peer URLs and the cluster's token, the cluster's that of a hash of its
/// members' ids (etcd's `membership.NewMember` and `RaftCluster.genID`). SHA-1
/// protects nothing here: anyone who can choose the flags can choose the ids.
fn ids(mut urls: Vec<String>, token: &str) -> (ClusterId, NodeId) {
    urls.sort_unstable();
    let member = beginning_of_hash(&(urls.concat() + token).into_bytes());
    (ClusterId(beginning_of_hash(&member.to_be_bytes())), NodeId(member))
}

fn beginning_of_hash(bytes: &[u8]) -> u64 {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    let beginning = hash.as_ref().first_chunk().expect("SHA-1 has 20 bytes");
    u64::from_be_bytes(*beginning)
}

fn discovery(given: &Given) -> Result<(), EtcdError> {
    let srv = !given.text("discovery-srv").is_empty();
    let endpoints = !given.list("discovery-endpoints").is_empty();
    let cluster = given.is_set("initial-cluster") && !given.text("initial-cluster").is_empty();
    if usize::from(srv) + usize::from(endpoints) + usize::from(cluster) > 1 {
        return invalid(
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
             \"discovery-endpoints\" or \"discovery-srv\"",
        );
    }
    if given.text("discovery-token").is_empty() == endpoints {
        return invalid("both --discovery-token and --discovery-endpoints must be set");
    }
    if given.text("discovery-fallback") == "proxy" {
        return invalid(
            "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"",
        );
    }
    Ok(())
}

/// They have no effect here, but etcd reports a wrong pair.
fn timers(given: &Given) -> Result<(), EtcdError> {
    let heartbeat = given.number("heartbeat-interval");
    let election = given.number("election-timeout");
    if heartbeat == 0 {
        return invalid("--heartbeat-interval must be >0 (set to 0ms)");
    }
    if election == 0 {
        return invalid("--election-timeout must be >0 (set to 0ms)");
    }
    if 5 * heartbeat > election {
        return invalid(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as \
             --heartbeat-interval[{heartbeat}ms]"
        ));
    }
    if election > ELECTION_MAX {
        return invalid(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than \
             {ELECTION_MAX}ms"
        ));
    }
    Ok(())
}

type Members = BTreeMap<String, Vec<Url>>;

/// `--initial-cluster`. Without it, only this member; etcd then uses the URLs
/// that it advertises, if it has a name.
fn members(given: &Given, name: &str, advertised: &[Url]) -> Result<Members, EtcdError> {
    let text = given.text("initial-cluster");
    if !given.is_set("initial-cluster") && name != DEFAULT_NAME || text.is_empty() {
        return Ok(Members::from([(name.to_owned(), advertised.to_vec())]));
    }
    let mut members = Members::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (name, url) = part.split_once('=').unwrap_or((part, ""));
        let url = url::parse(url)
            .map_err(|why| EtcdError::Invalid(format!("--initial-cluster: {part:?}: {why}")))?;
        members.entry(name.to_owned()).or_default().push(url);
    }
    Ok(members)
}

fn local_member(
    name: &str,
    advertised: &[Url],
    members: &Members,
    resolve: Resolve<'_>,
) -> Result<(), EtcdError> {
    let Some(listed) = members.get(name) else {
        return invalid(format!(
            "couldn't find local name {name:?} in the initial cluster configuration"
        ));
    };
    let missing_from = |these: &[Url], those: &[Url]| -> Vec<Url> {
        let missing = |url: &&Url| !those.iter().any(|other| is_same(url, other, resolve));
        these.iter().filter(missing).cloned().collect()
    };
    let missing = missing_from(listed, advertised);
    if !missing.is_empty() {
        let missing: Vec<_> = missing.iter().map(|url| format!("{name}={url}")).collect();
        return invalid(format!(
            "--initial-cluster has {} but missing from --initial-advertise-peer-urls={}",
            missing.join(","),
            joined(advertised)
        ));
    }
    let missing = missing_from(advertised, listed);
    if !missing.is_empty() {
        let listed: Vec<_> = listed.iter().map(|url| format!("{name}={url}")).collect();
        return invalid(format!(
            "--initial-advertise-peer-urls has {} but missing from --initial-cluster={}",
            joined(&missing),
            listed.join(",")
        ));
    }
    Ok(())
}

/// Equal as text, or the same address under another name.
fn is_same(one: &Url, other: &Url, resolve: Resolve<'_>) -> bool {
    if one == other {
        return true;
    }
    let (Some((host, port)), Some((other_host, other_port))) =
        (one.host_and_port(), other.host_and_port())
    else {
        return false;
    };
    if one.scheme() != other.scheme() || port != other_port {
        return false;
    }
    let addresses = |host: &str| match host.parse() {
        Ok(ip) => vec![ip],
        Err(_) if host == "localhost" => vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        Err(_) => resolve(host),
    };
    let addresses_of_other = addresses(other_host);
    addresses(host).iter().any(|ip| addresses_of_other.contains(ip))
}

fn distinct_urls(members: &Members) -> Result<(), EtcdError> {
    let mut seen: Vec<&Url> = Vec::new();
    for url in members.values().flatten() {
        if seen.contains(&url) {
            let all = members
                .iter()
                .flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")));
            let all: Vec<_> = all.collect();
            return invalid(format!("initial cluster {} has duplicate url", all.join(",")));
        }
        seen.push(url);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::command_line::{Asked, parse};

    fn checked(args: &[&str], is_fresh: bool) -> Result<(), String> {
        let asked = parse(args.iter().map(Into::into).collect()).expect("known flags");
        let Asked::Serve { flags, .. } = asked else { panic!("serve") };
        let resolve = |host: &str| match host {
            "m1.example" => vec![IpAddr::from([10, 0, 0, 1])],
            _ => Vec::new(),
        };
        check(&flags, is_fresh, &resolve).map(drop).map_err(|error| error.to_string())
    }

    fn told(args: &[&str]) -> String {
        checked(args, true).expect_err("refused")
    }

    #[test]
    fn one_member_in_every_way_to_say_it() {
        let sound: [&[&str]; 7] = [
            &[],
            &["--name=a"],
            &["--name=a", "--initial-advertise-peer-urls=http://10.0.0.1:2380"],
            &["--initial-advertise-peer-urls=http://127.0.0.1:2380"],
            &["--name=a", "--initial-cluster=a=http://localhost:2380"],
            &[
                "--name=a",
                "--initial-cluster=a=http://m1.example:1",
                "--initial-advertise-peer-urls=http://10.0.0.1:1",
            ],
            &[
                "--name=a",
                "--initial-cluster=a=http://x:1,a=http://y:1",
                "--initial-advertise-peer-urls=http://y:1,http://x:1",
                "--initial-cluster-token=t",
            ],
        ];
        for args in sound {
            assert_eq!(checked(args, true), Ok(()), "{args:?}");
        }
    }

    #[test]
    fn the_name_and_the_urls_have_to_be_in_it() {
        assert_eq!(
            told(&["--name=foo", "--initial-cluster=bar=http://localhost:2380"]),
            "couldn't find local name \"foo\" in the initial cluster configuration"
        );
        assert_eq!(
            told(&["--name=a", "--initial-cluster=a=http://x:1"]),
            "--initial-cluster has a=http://x:1 but missing from \
             --initial-advertise-peer-urls=http://localhost:2380"
        );
        assert_eq!(
            told(&[
                "--name=a",
                "--initial-cluster=a=http://x:1",
                "--initial-advertise-peer-urls=http://x:1,http://y:1",
            ]),
            "--initial-advertise-peer-urls has http://y:1 but missing from \
             --initial-cluster=a=http://x:1"
        );
        assert_eq!(
            told(&["--initial-advertise-peer-urls=http://10.0.0.1:2380"]),
            "--initial-cluster has default=http://localhost:2380 but missing from \
             --initial-advertise-peer-urls=http://10.0.0.1:2380"
        );
        let twice = "--initial-cluster=a=http://localhost:2380,b=http://localhost:2380";
        assert!(told(&["--name=a", twice]).ends_with("has duplicate url"));
        assert!(told(&["--initial-cluster=a"]).contains("URL scheme must be"));
    }

    #[test]
    fn more_than_one_member_is_told_fresh_or_not() {
        let args = ["--name=a", "--initial-cluster=a=http://localhost:2380,b=http://x:2380"];
        for is_fresh in [true, false] {
            let told = checked(&args, is_fresh).expect_err("refused");
            assert!(told.starts_with("--initial-cluster has 2 members (a, b), and this"), "{told}");
        }
    }

    #[test]
    fn a_member_that_is_there_is_who_it_is() {
        let args =
            ["--name=a", "--initial-cluster=b=http://x:1", "--initial-cluster-state=existing"];
        assert_eq!(checked(&args, false), Ok(()));
        let told = told(&["--initial-cluster-state=existing"]);
        assert!(told.contains("joins a running cluster"), "{told}");
    }

    /// The ids that etcd 3.7.3 prints for these flags.
    #[test]
    fn the_ids_are_etcds() {
        let of = |urls: &[&str], token: &str| {
            let (cluster, member) = ids(urls.iter().map(|it| (*it).to_owned()).collect(), token);
            (cluster.0, member.0)
        };
        assert_eq!(
            of(&["http://127.0.0.1:23800"], "etcd-cluster"),
            (0x0482_76a8_f75b_6a87, 0x2e12_59d4_15f2_a040)
        );
        assert_eq!(of(&["http://b:1", "http://a:1"], "t"), of(&["http://a:1", "http://b:1"], "t"));
        assert_ne!(of(&["http://a:1"], "t"), of(&["http://a:1"], "u"));
    }

    #[test]
    fn discovery_and_timers_in_etcds_words() {
        let cases: [(&[&str], &str); 8] = [
            (
                &["--discovery-srv=x", "--initial-cluster=a=http://x:1"],
                "multiple discovery or bootstrap",
            ),
            (&["--discovery-srv=x", "--discovery-endpoints=y"], "multiple discovery or bootstrap"),
            (
                &["--discovery-token=x"],
                "both --discovery-token and --discovery-endpoints must be set",
            ),
            (&["--discovery-fallback=proxy"], "v2 proxy is deprecated, and --discovery-fallback"),
            (&["--heartbeat-interval=0"], "--heartbeat-interval must be >0 (set to 0ms)"),
            (&["--election-timeout=0"], "--election-timeout must be >0 (set to 0ms)"),
            (
                &["--heartbeat-interval=500"],
                "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[500ms]",
            ),
            (&["--election-timeout=50001"], "--election-timeout[50001ms] is too long"),
        ];
        for (args, expected) in cases {
            let told = told(args);
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
