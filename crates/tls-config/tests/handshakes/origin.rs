//! Peers must connect from an address that their certificates allow.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use t4_tls_config::{LeafKind, LookUp, Resolver, ServerOptions, ServerTls};

use crate::fixture::{Shop, shake_from};

/// Knows one name of one address.
#[derive(Debug)]
struct OneHost;

const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

impl Resolver for OneHost {
    fn names_of(&self, address: IpAddr) -> LookUp<'_, Vec<String>> {
        let known = address == HOST;
        Box::pin(
            async move { Ok(if known { vec!["m2.etcd.local.".to_owned()] } else { Vec::new() }) },
        )
    }

    fn addresses_of<'a>(&'a self, name: &'a str) -> LookUp<'a, Vec<IpAddr>> {
        Box::pin(async move { Ok(if name == "b.com" { vec![HOST] } else { Vec::new() }) })
    }
}

async fn from(sans: &[&str], remote: [u8; 4], check_remote_san: bool) -> Result<(), String> {
    let shop = Shop::new();
    let options = ServerOptions { check_remote_san, ..shop.mutual_server() };
    let server = ServerTls::load_with_resolver(options, Arc::new(OneHost)).expect("a server");
    let client = shop.client(Some(shop.issue("m2", LeafKind::Peer, sans)));
    let remote = SocketAddr::from((remote, 40_000));
    let shaken = shake_from(&server, &client, "localhost", Some(remote)).await;
    let rejection = match shaken.server {
        Ok(_) => return shaken.client,
        Err(rejection) => rejection,
    };
    assert!(shaken.client.is_err());
    assert_eq!(rejection.remote, Some(remote));
    assert_eq!(rejection.dns_names.len() + rejection.ip_addresses.len(), sans.len());
    Err(rejection.error)
}

#[tokio::test]
async fn the_rules_hold_on_the_wire() {
    for (sans, remote, refused) in [
        (&["10.0.0.2"][..], [10, 0, 0, 2], None),
        (
            &["10.0.0.2"],
            [10, 0, 0, 3],
            Some("x509: certificate is valid for 10.0.0.2, not 10.0.0.3"),
        ),
        (&["*.etcd.local"], [10, 0, 0, 2], None),
        (&["b.com"], [10, 0, 0, 2], None),
        (&["invalid.domain", "10.0.0.2"], [10, 0, 0, 2], None),
        (
            &["b.com"],
            [10, 0, 0, 3],
            Some("tls: \"10.0.0.3\" does not match any of DNSNames [\"b.com\"]"),
        ),
    ] {
        let told = from(sans, remote, true).await;
        assert_eq!(told.err().as_deref(), refused, "{sans:?} from {remote:?}");
    }
}

#[tokio::test]
async fn nobody_asks_where_it_is_switched_off() {
    assert_eq!(from(&["10.0.0.2"], [10, 0, 0, 3], false).await, Ok(()));
}
