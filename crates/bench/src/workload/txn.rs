//! Compare-and-swap: put if the key is unchanged since this client last saw it,
//! else read it. On one key that all clients contend for, and on one key per client.

use anyhow::{Context, bail};
use bytes::Bytes;
use t4_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use t4_proto::etcdserverpb::request_op::Request;
use t4_proto::etcdserverpb::response_op::Response;
use t4_proto::etcdserverpb::{Compare, RangeRequest, RequestOp, TxnRequest, TxnResponse};
use t4_testkit::Rng;

use super::single::KEY_BYTES;
use super::{Family, Workload, empty, promised};
use crate::bulk::put_op;
use crate::client::Client;
use crate::closed_loop::Operation;
use crate::dataset::{Keys, Values};

pub(super) fn family() -> Family {
    let workloads = [(true, 16), (true, 64), (false, 16), (false, 64)];
    Family {
        fill: empty(),
        workloads: workloads.map(|(hot, clients)| workload(hot, clients)).into(),
        tls: None,
    }
}

fn workload(hot: bool, clients: usize) -> Workload {
    let kind = if hot { "hot" } else { "distinct" };
    let keys = Keys::new(&format!("bench/cas/{kind}/"), clients, KEY_BYTES);
    let operation = if hot {
        "compare-and-swap by all clients on one key, won or lost"
    } else {
        "compare-and-swap by each client on its own key"
    };
    let targets = promised(clients, 1.5, None);
    Workload::new(format!("cas-{kind}-{clients}"), operation, targets, move |bench, server| {
        let outcome = bench.closed_loop(server, clients, |number, client| Swap {
            client,
            key: keys.get(if hot { 0 } else { number }),
            values: bench.values.clone(),
            rng: Rng::new(number as u64),
            seen: 0,
        })?;
        let mut sample = outcome.window.sample();
        let share = outcome.effective as f64 / outcome.window.latency.len() as f64;
        sample.notes.insert("swaps won, share", share);
        Ok(sample)
    })
}

struct Swap {
    client: Client,
    key: Bytes,
    values: Values,
    rng: Rng,
    // The mod revision of the key when this client last saw it; 0 if absent.
    seen: i64,
}

impl Operation for Swap {
    async fn run(&mut self) -> anyhow::Result<bool> {
        let compare = Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: self.key.clone(),
            range_end: Bytes::new(),
            target_union: Some(TargetUnion::ModRevision(self.seen)),
        };
        let put = put_op(self.key.clone(), self.values.pick(&mut self.rng));
        let get = RangeRequest { key: self.key.clone(), ..RangeRequest::default() };
        let get = RequestOp { request: Some(Request::RequestRange(get)) };
        let txn = TxnRequest { compare: vec![compare], success: vec![put], failure: vec![get] };
        let answer = self.client.kv.txn(txn).await?.into_inner();
        self.seen = seen_in(&answer)?;
        Ok(answer.succeeded)
    }
}

/// The key's mod revision according to the answer.
fn seen_in(answer: &TxnResponse) -> anyhow::Result<i64> {
    match answer.responses.first().and_then(|op| op.response.as_ref()) {
        Some(Response::ResponsePut(_)) if answer.succeeded => {
            Ok(answer.header.as_ref().context("an answer without header")?.revision)
        }
        Some(Response::ResponseRange(range)) if !answer.succeeded => {
            Ok(range.kvs.first().map_or(0, |kv| kv.mod_revision))
        }
        _ => bail!("a compare-and-swap was answered with {answer:?}"),
    }
}
