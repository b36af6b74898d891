//! Names and addresses of peers: the interface to DNS, so that tests of
//! [`crate::san`] need none.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

/// The future result of a look-up.
pub type LookUp<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Looks up names and addresses.
pub trait Resolver: Debug + Send + Sync + 'static {
    /// The names of an address in DNS (PTR). A trailing dot is allowed.
    fn names_of(&self, address: IpAddr) -> LookUp<'_, Vec<String>>;

    /// The addresses of a name.
    fn addresses_of<'a>(&'a self, name: &'a str) -> LookUp<'a, Vec<IpAddr>>;
}

/// The system's resolver: `/etc/hosts`, DNS, and any other source in
/// `nsswitch.conf`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn names_of(&self, address: IpAddr) -> LookUp<'_, Vec<String>> {
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || dns_lookup::lookup_addr(&address));
            let name = found.await.map_err(io::Error::other)??;
            // If there is no name, the system answers with the address as text.
            Ok(if name.parse::<IpAddr>().is_ok() { Vec::new() } else { vec![name] })
        })
    }

    fn addresses_of<'a>(&'a self, name: &'a str) -> LookUp<'a, Vec<IpAddr>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_loopback_has_its_name() {
        let addresses = SystemResolver.addresses_of("localhost").await.unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback) && !addresses.is_empty());
        let names = SystemResolver.names_of(IpAddr::from([127, 0, 0, 1])).await.unwrap();
        assert!(names.iter().all(|name| name.parse::<IpAddr>().is_err()), "{names:?}");
    }
}
