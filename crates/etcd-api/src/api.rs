//! What the services share, and the header of every response.

use std::sync::Arc;

use t4_kv_types::Revision;
use t4_node::Node;
use t4_proto::etcdserverpb::ResponseHeader;

use crate::config::ApiConfig;
use crate::errors::ApiError;
use crate::health::Health;
use crate::login::Logins;
use crate::slow::SlowCalls;
use crate::stats::GrpcStats;
use crate::watch::EncodedBatches;

/// What every service works on: one per runtime.
pub(crate) struct Api {
    pub(crate) node: Node,
    pub(crate) config: Arc<ApiConfig>,
    pub(crate) stats: Arc<GrpcStats>,
    pub(crate) health: Health,
    pub(crate) logins: Arc<Logins>,
    /// Logs slow calls, at a bounded rate over all runtimes.
    pub(crate) slow_calls: Arc<SlowCalls>,
    /// Events that several watchers of this runtime get.
    pub(crate) batches: EncodedBatches,
    cluster_id: u64,
    member_id: u64,
}

/// Makes the headers of responses; cheap to copy.
#[derive(Clone, Copy)]
pub(crate) struct Headers(ResponseHeader);

impl Headers {
    /// The header of a response that has seen the store at `revision`.
    pub(crate) fn at(self, revision: Revision) -> ResponseHeader {
        ResponseHeader { revision: revision.0, ..self.0 }
    }
}

impl Api {
    pub(crate) fn new(
        node: Node,
        config: Arc<ApiConfig>,
        stats: Arc<GrpcStats>,
        health: Health,
        logins: Arc<Logins>,
        slow_calls: Arc<SlowCalls>,
    ) -> Self {
        let identity = node.identity();
        let (cluster_id, member_id) = (identity.cluster_id.0, identity.member_id.0);
        let batches = EncodedBatches::default();
        Api { node, config, stats, health, logins, slow_calls, batches, cluster_id, member_id }
    }

    /// The header of a response that has seen the store at `revision`.
    pub(crate) fn header(&self, revision: Revision) -> ResponseHeader {
        self.headers().at(revision)
    }

    /// What makes headers elsewhere.
    pub(crate) fn headers(&self) -> Headers {
        Headers(ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision: 0,
            raft_term: self.node.epoch().0,
        })
    }

    /// The header of a response that says nothing of the key space but that it
    /// is as new as now.
    pub(crate) fn header_now(&self) -> ResponseHeader {
        self.header(self.node.revision())
    }

    /// The header of responses about the cluster: they have no revision.
    pub(crate) fn header_without_revision(&self) -> ResponseHeader {
        self.header(Revision(0))
    }

    pub(crate) fn has_leader(&self) -> bool {
        self.node.status().leader.0 != 0
    }

    /// # Errors
    /// [`ApiError::NoLeader`].
    pub(crate) fn require_leader(&self) -> Result<(), ApiError> {
        if self.has_leader() { Ok(()) } else { Err(ApiError::NoLeader) }
    }
}
