//! The queue behind the services Lock and Election: keys under a prefix, ordered by
//! their create revision.
//!
//! Everything goes through the same paths as the requests of a client that
//! runs the recipe itself; the keys are the same too, so that both kinds of
//! clients share locks and elections.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use t4_kv_types as kv;
use t4_kv_types::{KeyRange, LeaseId, RangeEnd, RangeRequest, Revision};
use t4_node::watch_hub::Heard;
use t4_node::{Node, WatchMessage, WatchSpec, WatchStream};
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::request_op::Request;
use t4_proto::mvccpb;
use tonic::Status;

use crate::api::Api;
use crate::convert;
use crate::errors::{ApiError, refused};
use crate::memory::Held;
use crate::proof::Proof;
use crate::sink::Sink;
use crate::watch::PIECE_BYTES_MAX;

/// Seconds that a lease lives that the server grants because none is given.
const SESSION_TTL_S: i64 = 60;

/// The prefix of the keys that wait for `name`.
pub(crate) fn prefix(name: &[u8]) -> Bytes {
    let mut prefix = BytesMut::with_capacity(name.len() + 1);
    prefix.extend_from_slice(name);
    prefix.put_u8(b'/');
    prefix.freeze()
}

/// The key for this lease: the prefix and the lease in hex.
pub(crate) fn key_of(prefix: &[u8], lease: LeaseId) -> Bytes {
    let sign = if lease.0 < 0 { "-" } else { "" };
    let digits = format!("{sign}{:x}", lease.0.unsigned_abs());
    [prefix, digits.as_bytes()].concat().into()
}

/// `create revision of key = revision`, 0 being "there is no key".
pub(crate) fn created_at(key: &Bytes, revision: i64) -> pb::Compare {
    pb::Compare {
        result: pb::compare::CompareResult::Equal.into(),
        target: pb::compare::CompareTarget::Create.into(),
        key: key.clone(),
        range_end: Bytes::new(),
        target_union: Some(pb::compare::TargetUnion::CreateRevision(revision)),
    }
}

/// Puts `key` bound to `lease`.
pub(crate) fn put_op(key: &Bytes, value: Bytes, lease: LeaseId) -> pb::RequestOp {
    let put = pb::PutRequest { key: key.clone(), value, lease: lease.0, ..Default::default() };
    pb::RequestOp { request: Some(Request::RequestPut(put)) }
}

/// Deletes `key` if it is still the one that was created at `created`.
fn giving_up(key: &Bytes, created: i64) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: vec![created_at(key, created)],
        success: vec![delete_op(key)],
        failure: vec![],
    }
}

/// Reads `key`.
pub(crate) fn get_op(key: &Bytes) -> pb::RequestOp {
    let range = pb::RangeRequest { key: key.clone(), ..Default::default() };
    pb::RequestOp { request: Some(Request::RequestRange(range)) }
}

/// Reads whether there is a key under a prefix.
fn look_op(prefix: &Bytes) -> pb::RequestOp {
    let range_end = match KeyRange::prefix(prefix.clone()).end {
        RangeEnd::Before(end) => end,
        // Not with the slash at its end.
        RangeEnd::Open | RangeEnd::Single => Bytes::from_static(b"\0"),
    };
    let key = prefix.clone();
    let range = pb::RangeRequest { key, range_end, count_only: true, ..Default::default() };
    pb::RequestOp { request: Some(Request::RequestRange(range)) }
}

/// Deletes `key`.
pub(crate) fn delete_op(key: &Bytes) -> pb::RequestOp {
    let delete = pb::DeleteRangeRequest { key: key.clone(), ..Default::default() };
    pb::RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
}

/// The oldest key under a prefix: the head of the queue.
pub(crate) fn first_created(prefix: &Bytes) -> RangeRequest {
    RangeRequest {
        limit: 1,
        sort_target: kv::SortTarget::Create,
        sort_order: kv::SortOrder::Ascend,
        ..RangeRequest::new(KeyRange::prefix(prefix.clone()))
    }
}

/// The key that a transaction's operation has read, if there was one.
pub(crate) fn read_key(response: &pb::TxnResponse) -> Option<&mvccpb::KeyValue> {
    match &response.responses.first()?.response {
        Some(pb::response_op::Response::ResponseRange(range)) => range.kvs.first(),
        _ => None,
    }
}

/// A place in a queue.
pub(crate) struct Queued {
    /// Its key.
    pub(crate) key: Bytes,
    /// The create revision of that key: the order of the queue.
    pub(crate) created: i64,
    /// The key as it was, if the lease had a place before this call.
    pub(crate) existing: Option<mvccpb::KeyValue>,
    /// Of the request that queued up.
    pub(crate) header: pb::ResponseHeader,
    /// The place, if this call took it.
    pub(crate) place: Option<Place>,
}

/// How waiting in a queue ended.
pub(crate) enum Turn {
    /// The key is the oldest; seen at this revision.
    Ours(Revision),
    /// The key is gone, and with it the place in the queue.
    KeyGone,
}

impl Api {
    /// The lease to act with: the one given, or a new one if that is 0. A new
    /// one is not kept alive.
    pub(crate) async fn session(&self, proof: &Proof, lease: i64) -> Result<LeaseId, Status> {
        if lease != 0 {
            return Ok(LeaseId(lease));
        }
        let request = pb::LeaseGrantRequest { ttl: SESSION_TTL_S, id: 0 };
        Ok(LeaseId(self.lease_grant(proof, request).await?.id))
    }

    /// Takes a place in the queue for `lease`, or finds the one that it has. A caller
    /// that may not read the queue gets no place, not even for a moment.
    ///
    /// A client that goes away at any moment leaves no place behind that it does not
    /// know of: the request is completed in a task of its own, and the place is given
    /// up if no call is left to take it.
    pub(crate) async fn queue_up(
        self: &Arc<Self>,
        proof: &Proof,
        prefix: &Bytes,
        lease: LeaseId,
        value: Bytes,
    ) -> Result<Queued, Status> {
        let (api, proof, key) = (self.clone(), proof.clone(), key_of(prefix, lease));
        let prefix = prefix.clone();
        let queued = tokio::spawn(async move {
            let request = pb::TxnRequest {
                compare: vec![created_at(&key, 0)],
                success: vec![put_op(&key, value, lease), look_op(&prefix)],
                failure: vec![get_op(&key), look_op(&prefix)],
            };
            let response = api.txn(&proof, request).await?;
            let existing = read_key(&response).cloned();
            let header = response.header.unwrap_or_default();
            let place = response.succeeded.then(|| Place {
                api,
                key: key.clone(),
                created: header.revision,
                kept: false,
            });
            let created = existing.as_ref().map_or(header.revision, |kv| kv.create_revision);
            Ok(Queued { key, created, existing, header, place })
        });
        queued.await.map_err(|_| ApiError::Stopped.status())?
    }

    /// Gives up a place, if it is still the one that was taken at `created`.
    pub(crate) async fn give_up(
        &self,
        proof: &Proof,
        key: &Bytes,
        created: i64,
    ) -> Result<pb::TxnResponse, Status> {
        self.txn(proof, giving_up(key, created)).await
    }

    /// Waits until `key`, created at `created`, is the oldest under the prefix,
    /// for as long as the caller may see the prefix and the key is there. The
    /// last look is at the key itself: a turn that came is a turn only if the
    /// key that waited for it still exists.
    pub(crate) async fn wait_for_turn(
        &self,
        proof: &Proof,
        prefix: &Bytes,
        key: &Bytes,
        created: i64,
    ) -> Result<Turn, Status> {
        let mut tenure = self.tenure(proof, Some(KeyRange::prefix(prefix.clone())))?;
        tokio::select! {
            biased;
            lost = tenure.ended(self) => return Err(lost.status()),
            gone = self.wait_until_gone(proof, key, created) => return gone.map(|()| Turn::KeyGone),
            waited = self.wait_for_older(proof, prefix, created) => waited?,
        }
        Ok(match self.created_at(proof, key, created).await? {
            (true, revision) => Turn::Ours(revision),
            (false, _) => Turn::KeyGone,
        })
    }

    /// Whether `key` is the one that was created at `created`, and the revision
    /// at which that was looked up.
    async fn created_at(
        &self,
        proof: &Proof,
        key: &Bytes,
        created: i64,
    ) -> Result<(bool, Revision), Status> {
        let own =
            RangeRequest { keys_only: true, ..RangeRequest::new(KeyRange::single(key.clone())) };
        let found = self.acting(proof)?.range(own).await.map_err(refused)?;
        let exists = found.kvs.iter().any(|kv| kv.create_revision.0 == created);
        Ok((exists, found.revision))
    }

    /// Waits until the key that was created at `created` is deleted: its lease
    /// was revoked or expired, or another client deleted it.
    async fn wait_until_gone(
        &self,
        proof: &Proof,
        key: &Bytes,
        created: i64,
    ) -> Result<(), Status> {
        loop {
            let (true, revision) = self.created_at(proof, key, created).await? else {
                return Ok(());
            };
            self.wait_for_delete(key, revision).await?;
        }
    }

    /// Waits for a delete of `key` after `revision`. Also returns when history
    /// was compacted away meanwhile: the caller looks at the state again.
    async fn wait_for_delete(&self, key: &Bytes, revision: Revision) -> Result<(), Status> {
        let mut changes = Changes::of(&self.node, KeyRange::single(key.clone()), revision);
        while let Some(event) = changes.next().await? {
            if event.kind == kv::EventKind::Delete {
                break;
            }
        }
        Ok(())
    }

    async fn wait_for_older(
        &self,
        proof: &Proof,
        prefix: &Bytes,
        revision: i64,
    ) -> Result<(), Status> {
        let older = RangeRequest {
            limit: 1,
            sort_target: kv::SortTarget::Create,
            sort_order: kv::SortOrder::Descend,
            max_create_revision: Revision(revision - 1),
            keys_only: true,
            ..RangeRequest::new(KeyRange::prefix(prefix.clone()))
        };
        loop {
            let found = self.acting(proof)?.range(older.clone()).await.map_err(refused)?;
            let Some(before_us) = found.kvs.into_iter().next() else { return Ok(()) };
            self.wait_for_delete(&before_us.key, found.revision).await?;
        }
    }
}

/// The changes of a range after a revision, one by one.
///
/// They come by history piece by piece. What is sent on may wait for a client that
/// does not read, so it counts for its connection until it is on its way, as that of
/// a watch does; who takes changes at once holds one piece for a moment.
pub(crate) struct Changes<'a> {
    stream: WatchStream,
    pending: VecDeque<kv::Event>,
    /// Where they are sent on to.
    sink: Option<&'a Sink<'a>>,
    /// Counts the piece that was granted last.
    held: Option<Held>,
}

impl<'a> Changes<'a> {
    /// For a caller that takes them at once.
    fn of(node: &Node, range: KeyRange, after: Revision) -> Self {
        let stream = node.watch();
        // What was found in the store may be a slice of a block.
        let range = convert::owned_range(&range);
        stream.create(None, WatchSpec { start: after.next(), ..WatchSpec::new(range) });
        Changes { stream, pending: VecDeque::new(), sink: None, held: None }
    }

    /// For one that sends them on.
    pub(crate) fn sent_to(
        sink: &'a Sink<'a>,
        node: &Node,
        range: KeyRange,
        after: Revision,
    ) -> Self {
        Changes { sink: Some(sink), ..Changes::of(node, range, after) }
    }

    /// The next change; `None` if history was compacted away before it could
    /// be read: the caller looks at the state again.
    pub(crate) async fn next(&mut self) -> Result<Option<kv::Event>, Status> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            match self.stream.hear().await {
                Some(Heard::Message(WatchMessage::Events { batch, .. })) => {
                    self.pending = batch.events().cloned().collect();
                    self.came();
                }
                Some(Heard::Message(
                    WatchMessage::Canceled { .. } | WatchMessage::CreateRefused { .. },
                )) => return Ok(None),
                Some(Heard::Message(
                    WatchMessage::Created { .. } | WatchMessage::Progress { .. },
                )) => {}
                Some(Heard::HistoryWanted) => {
                    self.release().await;
                    if let Some(sink) = self.sink {
                        self.held = Some(sink.history_room(PIECE_BYTES_MAX).await);
                    }
                    self.stream.grant_history(PIECE_BYTES_MAX);
                }
                Some(Heard::HistoryEnds) => self.release().await,
                None => return Err(ApiError::Stopped.status()),
            }
        }
    }

    /// Counts what came as what it is, if it turned out to be more than a piece.
    fn came(&mut self) {
        if let Some(held) = &mut self.held {
            let bytes = self.pending.iter().map(|event| event.kv.key.len() + event.kv.value.len());
            held.set(bytes.sum::<usize>().max(held.bytes()));
        }
    }

    /// What was granted before has been taken: it counts until it is on its way.
    async fn release(&mut self) {
        if let Some(sink) = self.sink {
            sink.ready().await;
        }
        self.held = None;
    }
}

/// A place in the queue that this call has taken. Unless it is kept, it is
/// given up when it is dropped: the client has gone, or waiting has failed.
pub(crate) struct Place {
    api: Arc<Api>,
    key: Bytes,
    created: i64,
    kept: bool,
}

impl Place {
    /// The place is the client's from now on.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Outside of a runtime everything stops anyway; the lease will end it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (api, key, created) = (self.api.clone(), self.key.clone(), self.created);
        // By the server itself: it is this call that has put the key, whatever
        // its user may do by now.
        let request = convert::txn_request(giving_up(&key, created));
        runtime.spawn(async move {
            if let Err(error) = api.node.on_own_authority().txn(request).await {
                tracing::warn!(%error, "a place in a queue stays taken until its lease ends");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_recipe() {
        let prefix = prefix(b"lock");
        assert_eq!(prefix, "lock/");
        assert_eq!(key_of(&prefix, LeaseId(0x7bfa)), "lock/7bfa");
        assert_eq!(key_of(&prefix, LeaseId(-255)), "lock/-ff");
    }
}
