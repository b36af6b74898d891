//! Fills a store as fast as the server accepts it; never measured.

use t4_proto::etcdserverpb::request_op::Request;
use t4_proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest};

use crate::closed_loop::connect;
use crate::cores::Cores;
use crate::dataset::{Keys, Values};
use crate::server::Server;

/// Puts per transaction: etcd's default limit.
const BATCH: usize = 128;
/// Transactions in flight.
const CLIENTS: usize = 16;

/// Puts every key once, in transactions of 128.
///
/// # Errors
/// If the server fails.
pub fn load(cores: &Cores, server: &Server, keys: &Keys, values: &Values) -> anyhow::Result<()> {
    let mut running = Vec::new();
    for (first, (core, mut client)) in connect(cores, server, CLIENTS)?.into_iter().enumerate() {
        let (keys, values) = (keys.clone(), values.clone());
        running.push(cores.of(core).spawn(async move {
            for batch in (first * BATCH..keys.len()).step_by(CLIENTS * BATCH) {
                let end = (batch + BATCH).min(keys.len());
                let success = (batch..end).map(|i| put_op(keys.get(i), values.get(i))).collect();
                client.kv.txn(TxnRequest { success, ..TxnRequest::default() }).await?;
            }
            anyhow::Ok(())
        }));
    }
    for client in running {
        cores.wait(client)??;
    }
    Ok(())
}

/// A put inside a transaction.
#[must_use]
pub fn put_op(key: bytes::Bytes, value: bytes::Bytes) -> RequestOp {
    let put = PutRequest { key, value, ..PutRequest::default() };
    RequestOp { request: Some(Request::RequestPut(put)) }
}
