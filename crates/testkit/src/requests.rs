//! The requests that every suite makes.

use anyhow::{Context, ensure};
use t4_proto::etcdserverpb::{PutRequest, RangeRequest};

use crate::Rpc;

/// Puts this value under this key.
#[must_use]
pub fn put(key: &str, value: impl Into<Vec<u8>>) -> PutRequest {
    PutRequest {
        key: key.as_bytes().to_vec().into(),
        value: value.into().into(),
        ..PutRequest::default()
    }
}

/// Gets this key.
#[must_use]
pub fn get(key: &str) -> RangeRequest {
    RangeRequest { key: key.as_bytes().to_vec().into(), ..RangeRequest::default() }
}

/// Gets all keys that begin with `prefix`, which is ASCII and not empty.
///
/// # Panics
/// When it is empty.
#[must_use]
pub fn get_prefix(prefix: &str) -> RangeRequest {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().expect("a prefix") += 1;
    RangeRequest { range_end: end.into(), ..get(prefix) }
}

/// Writes a value and reads it back: what any other client of the server
/// expects to work.
///
/// # Errors
/// When either is refused, or another value is found.
pub async fn write_and_read(rpc: &mut Rpc, value: &str) -> anyhow::Result<()> {
    const KEY: &str = "bystander";
    rpc.kv.put(put(KEY, value)).await.context("a put of another client")?;
    let found = rpc.kv.range(get(KEY)).await.context("a get of another client")?.into_inner();
    let found = found.kvs.first().map(|kv| &kv.value[..]);
    ensure!(found == Some(value.as_bytes()), "{KEY} is {found:?}, not {value}");
    Ok(())
}
