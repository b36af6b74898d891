//! What is logged of leases that expire: a revocation that their holder has already
//! asked for is no fault.

mod gated_log;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use t4_kv_types::LeaseId;
use t4_node::Config;
use tracing::field::{Field, Visit};
use tracing::span;

/// Far beyond what is waited for.
const DEADLINE: Duration = Duration::from_secs(60);

/// What was logged as an error, by every thread of the process.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<String>>);

impl tracing::Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Text(&mut self.0.lock()));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        writeln!(self.0, "{field}: {value:?}").expect("a string");
    }
}

async fn until_expired(node: &t4_node::Node, id: LeaseId) {
    let wait = async {
        while node.lease_time_to_live(id, false).await.unwrap().ttl_s >= 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the lease expires");
}

#[tokio::test]
async fn a_lease_that_expires_while_it_is_revoked_is_no_error() {
    let errors = Errors::default();
    tracing::subscriber::set_global_default(errors.clone()).expect("it is the first");
    let scratch = tempfile::tempdir().unwrap();
    let (node, gate) = gated_log::open(Config::new(scratch.path())).await;
    let id = node.lease_grant(LeaseId(5), 1).await.unwrap().id;

    // Its holder revokes it, and while that is in flight its time is over.
    gate.close();
    let revoked = tokio::spawn({
        let node = node.clone();
        async move { node.lease_revoke(id).await }
    });
    gate.sync_waits().await;
    until_expired(&node, id).await;
    gate.open();
    revoked.await.unwrap().unwrap();
    // A turn of the write loop later.
    node.lease_grant(LeaseId(6), 100).await.unwrap();
    assert_eq!(node.leases().await.unwrap(), [LeaseId(6)]);
    assert_eq!(*errors.0.lock(), "");
    node.stop().await;
}
