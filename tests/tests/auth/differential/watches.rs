//! Watches on one server: a stream from its opening to its end.

use std::collections::BTreeMap;

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::watch_create_request::FilterType;
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::mvccpb::Event;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use super::answer::{Answer, Refusal, Watched, strip};
use super::ask::{Episode, ROOT, delete_txn, put_txn};
use super::old_line;
use super::server::Server;
use crate::session::shown;

/// For each creation: what whoever may not watch that must be told.
pub(super) type Rulings = [Option<Refusal>];

/// From here on are the ids of watchers that 3.5.1 is to refuse: it answers with
/// the id of the request, and forgets a watcher that has it already.
const REFUSED_IDS: i64 = 1000;

/// The reason for which there is no watcher of no keys.
const KEYLESS: &str = "mvcc: watcher range is empty";

/// A stream, and what came on it.
struct Stream {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
    events: BTreeMap<i64, Vec<Event>>,
}

impl Stream {
    async fn send(&self, request: RequestUnion) {
        // A stream that has ended shows at the next response.
        let _ = self.requests.send(pb::WatchRequest { request_union: Some(request) }).await;
    }

    /// The next response without events, once its request was sent.
    async fn control(&mut self) -> Result<pb::WatchResponse, Refusal> {
        loop {
            if let Some(mut response) = self.take_in().await? {
                strip(&mut response.header);
                return Ok(response);
            }
        }
    }

    /// The events of a watcher up to `revision`, once one of there has come.
    async fn join(&mut self, id: i64, revision: i64) -> Result<Vec<Event>, Refusal> {
        loop {
            let events = self.events.entry(id).or_default();
            if events.last().is_some_and(|last| revision_of(last) >= revision) {
                let upto = events.partition_point(|event| revision_of(event) <= revision);
                return Ok(events[..upto].to_vec());
            }
            if let Some(other) = self.take_in().await? {
                return Err(wrong(&format!("{other:?} where events were due")));
            }
        }
    }

    /// Takes the next response. Gives back one without events.
    async fn take_in(&mut self) -> Result<Option<pb::WatchResponse>, Refusal> {
        let ended = || wrong("the stream has ended");
        let mut response = self.responses.message().await?.ok_or_else(ended)?;
        if response.events.is_empty() {
            return Ok(Some(response));
        }
        let own = self.events.entry(response.watch_id).or_default();
        own.append(&mut response.events);
        if !own.is_sorted_by_key(revision_of) {
            return Err(wrong(&format!("revisions go back: {own:?}")));
        }
        Ok(None)
    }
}

fn wrong(text: &str) -> Refusal {
    Refusal { code: Code::Aborted, text: text.to_owned() }
}

fn revision_of(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

impl Server {
    /// Has an episode. `rulings` are for 3.5.1: where one refuses, its words
    /// take the place of the server's, which must refuse too if it checks that.
    pub(super) async fn watch(
        &mut self,
        token: &str,
        episode: &Episode,
        rulings: Option<&Rulings>,
    ) -> Result<Answer, Refusal> {
        let revision = self.write(&pb::TxnRequest::default()).await?;
        let mut stream = None;
        let mut watched = Watched::default();
        for (number, create) in episode.creates.iter().enumerate() {
            let told = match rulings {
                None => self.create(&mut stream, token, create.clone()).await?,
                Some(rulings) => {
                    let own_id = REFUSED_IDS + number as i64;
                    let ruling = rulings[number].as_ref();
                    self.create_on_old_line(&mut stream, token, create, ruling, own_id, revision)
                        .await?
                }
            };
            watched.controls.push(told);
        }
        watched.revision = revision;
        let Some(mut stream) = stream else { return Ok(Answer::Watched(watched)) };
        if watched.controls.iter().all(|told| told.canceled) {
            return Ok(Answer::Watched(watched));
        }
        for write in &episode.writes {
            watched.revision = self.write(write).await?;
        }
        self.join_all(&mut stream, episode, &mut watched).await?;
        for control in cancelled(episode, &watched) {
            let cancel = pb::WatchCancelRequest { watch_id: control };
            stream.send(RequestUnion::CancelRequest(cancel)).await;
            watched.controls.push(stream.control().await?);
        }
        Ok(Answer::Watched(watched))
    }

    /// Creates a watcher on 3.5.1, and gives what today's etcd would have told.
    async fn create_on_old_line(
        &mut self,
        stream: &mut Option<Stream>,
        token: &str,
        create: &pb::WatchCreateRequest,
        ruling: Option<&Refusal>,
        own_id: i64,
        revision: i64,
    ) -> Result<pb::WatchResponse, Refusal> {
        let told = match ruling {
            Some(refusal) => not_created(refusal.as_reason(), revision),
            None if old_line::is_keyless_watch(create) => not_created(KEYLESS.to_owned(), revision),
            None => return self.create(stream, token, create.clone()).await,
        };
        if old_line::lets_watch(create) {
            return Ok(told);
        }
        let asked = pb::WatchCreateRequest { watch_id: own_id, ..create.clone() };
        let refused = self.create(stream, token, asked).await?;
        let by_tree = old_line::is_keyless_watch(create) && refused.cancel_reason == KEYLESS;
        let is_denied = refused.cancel_reason == Refusal::permission_denied().as_reason();
        if !(refused.created && refused.canceled && (is_denied || by_tree)) {
            return Err(wrong(&format!("{ruling:?} expected, but etcd: {refused:?}")));
        }
        Ok(told)
    }

    async fn create(
        &mut self,
        stream: &mut Option<Stream>,
        token: &str,
        create: pb::WatchCreateRequest,
    ) -> Result<pb::WatchResponse, Refusal> {
        let request = RequestUnion::CreateRequest(create);
        if let Some(open) = stream {
            open.send(request).await;
            return open.control().await;
        }
        let (requests, queue) = mpsc::channel(8);
        // Queued before the call: servers may want to see it before they answer
        // with headers. The queue is empty and open, so this cannot fail.
        let _ = requests.try_send(pb::WatchRequest { request_union: Some(request) });
        let call = shown(token, ReceiverStream::new(queue));
        let responses = self.session.rpc.watch.watch(call).await?.into_inner();
        stream.insert(Stream { requests, responses, events: BTreeMap::new() }).control().await
    }

    /// Writes as root. Gives the revision after it.
    async fn write(&mut self, txn: &pb::TxnRequest) -> Result<i64, Refusal> {
        let request = shown(self.token(ROOT), txn.clone());
        let told = self.session.rpc.kv.txn(request).await?.into_inner();
        Ok(told.header.map_or(0, |header| header.revision))
    }

    /// Writes into the range of each watcher, one after another, and collects
    /// what each was told until then.
    async fn join_all(
        &mut self,
        stream: &mut Stream,
        episode: &Episode,
        watched: &mut Watched,
    ) -> Result<(), Refusal> {
        let created = watched.controls.iter().zip(&episode.creates);
        let created: Vec<(i64, &pb::WatchCreateRequest)> = created
            .filter(|(told, _)| !told.canceled)
            .map(|(told, create)| (told.watch_id, create))
            .collect();
        for (id, create) in created {
            for write in fence(create) {
                watched.revision = self.write(&write).await?;
            }
            let events = stream.join(id, watched.revision).await?;
            watched.events.push((id, events));
        }
        Ok(())
    }
}

/// The ids of the watchers that an episode cancels.
fn cancelled(episode: &Episode, watched: &Watched) -> Vec<i64> {
    watched.events.iter().map(|(id, _)| *id).take(episode.cancelled).collect()
}

fn not_created(cancel_reason: String, revision: i64) -> pb::WatchResponse {
    pb::WatchResponse {
        header: Some(pb::ResponseHeader { revision, ..Default::default() }),
        watch_id: -1,
        created: true,
        canceled: true,
        cancel_reason,
        ..Default::default()
    }
}

/// Writes that end in one that the watcher must be told of.
fn fence(create: &pb::WatchCreateRequest) -> Vec<pb::TxnRequest> {
    let key = if create.key.is_empty() { Bytes::from_static(b"\0") } else { create.key.clone() };
    let mut writes = vec![put_txn(key.clone(), "fence")];
    if create.filters().any(|filter| filter == FilterType::Noput) {
        writes.push(delete_txn(key));
    }
    writes
}
