//! Requests shared by the suites.

use anyhow::{Context, ensure};
use t4_proto::etcdserverpb::{PutRequest, RangeRequest};

use crate::Rpc;

/// A put of `value` under `key`.
#[must_use]
pub fn put(key: &str, value: impl Into<Vec<u8>>) -> PutRequest {
    PutRequest {
        key: key.as_bytes().to_vec().into(),
        value: value.into().into(),
        ..PutRequest::default()
    }
}

/// A get of one key.
#[must_use]
pub fn get(key: &str) -> RangeRequest {
    RangeRequest { key: key.as_bytes().to_vec().into(), ..RangeRequest::default() }
}

/// A get of all keys that begin with `prefix`, which is ASCII and not empty.
///
/// # Panics
/// When it is empty.
#[must_use]
pub fn get_prefix(prefix: &str) -> RangeRequest {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().expect("a prefix") += 1;
    RangeRequest { range_end: end.into(), ..get(prefix) }
}

/// Writes a value and reads it back: the check that a server still works for
/// other clients.
///
/// # Errors
/// When either is refused, or a different value is found.
pub async fn write_and_read(rpc: &mut Rpc, value: &str) -> anyhow::Result<()> {
    const KEY: &str = "bystander";
    rpc.kv.put(put(KEY, value)).await.context("a put of another client")?;
    let found = rpc.kv.range(get(KEY)).await.context("a get of another client")?.into_inner();
    let found = found.kvs.first().map(|kv| &kv.value[..]);
    ensure!(found == Some(value.as_bytes()), "{KEY} is {found:?}, not {value}");
    Ok(())
}
