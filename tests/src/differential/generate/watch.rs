//! Watches: created, fenced, joined, cancelled.

use bytes::Bytes;
use t4_proto::etcdserverpb::{DeleteRangeRequest, PutRequest, WatchCreateRequest};

use super::super::op::Op;
use super::super::world::Watcher;
use super::{Generator, Step, keys};
use crate::allowed::NEGATIVE_START_STREAM;

const NOPUT: i32 = 0;
const NODELETE: i32 = 1;
const STREAMS: u64 = 3;
const WATCHERS_MAX: usize = 5;

impl Generator {
    pub(super) fn plan_watch(&mut self) {
        let stream = self.rng.below(STREAMS) as u32;
        let open: Vec<i64> =
            self.world.streams.get(&stream).map_or(Vec::new(), |w| w.keys().copied().collect());
        match self.rng.below(40) {
            0..20 if open.len() < WATCHERS_MAX => self.plan_create(stream, &open),
            0..32 if !open.is_empty() => {
                let id = *self.rng.pick(&open);
                self.plan_join(stream, id);
            }
            32..35 if !open.is_empty() => {
                let id = *self.rng.pick(&open);
                self.plan_cancel(stream, id);
            }
            35 if !open.is_empty() => {
                let id = 555;
                self.push(Op::WatchCancel { stream, id, controls: 0 });
            }
            36 if !open.is_empty() => self.push(Op::WatchNothing { stream }),
            37 if self.contract => self.plan_negative_start(),
            38 if self.progress_is_certain(stream) => self.push(Op::WatchProgress { stream }),
            39 if !open.is_empty() => self.push(Op::WatchClose { stream }),
            _ => self.plan_create(stream, &open),
        }
    }

    fn plan_cancel(&mut self, stream: u32, id: i64) {
        if self.world.watcher(stream, id).is_some_and(|watcher| watcher.request.watch_id > 0) {
            return;
        }
        if self.rng.chance(1, 2) {
            self.plan_join(stream, id);
        }
        self.push(Op::WatchCancel { stream, id, controls: 1 });
    }

    fn plan_create(&mut self, stream: u32, open: &[i64]) {
        let (key, range_end) = keys::range(&mut self.rng);
        let mut request = WatchCreateRequest { key, range_end, ..WatchCreateRequest::default() };
        if self.rng.chance(1, 10) {
            request.key = Bytes::new();
        }
        request.start_revision = self.start_revision();
        request.prev_kv = self.rng.chance(1, 2);
        request.fragment = self.rng.chance(1, 4);
        request.progress_notify = self.rng.chance(1, 8);
        request.filters = match self.rng.below(12) {
            0 => vec![NOPUT],
            1 => vec![NODELETE],
            2 => vec![NOPUT, NODELETE],
            3 => vec![9],
            _ => Vec::new(),
        };
        request.watch_id = match self.rng.below(12) {
            0 => self.rng.between(1, 6),
            1 => self.rng.between(-9, -2),
            2 if !open.is_empty() => *self.rng.pick(open),
            _ => 0,
        };
        let compacted =
            request.start_revision != 0 && request.start_revision < self.world.compacted;
        // No id comes twice on a stream: in etcd, the id of a watcher that
        // compaction cancelled stays taken, and events of one that the client
        // cancelled may come after the word that it is gone. The server's own
        // ids count up from 0, so who has one of those of his own must stay.
        let must_go = compacted || request.filters.contains(&NOPUT) && request.filters.len() > 1;
        let is_gone = self.world.gone.contains(&(stream, request.watch_id));
        if is_gone || must_go && request.watch_id > 0 {
            request.watch_id = 0;
        }
        let compacted = compacted && self.would_be_created(stream, &request);
        let controls = if compacted { 2 } else { 1 };
        self.push(Op::WatchCreate { stream, request, controls });
    }

    fn start_revision(&mut self) -> i64 {
        let (current, compacted) = (self.world.revision, self.world.compacted);
        match self.rng.below(20) {
            0..9 => 0,
            9..16 => self.kept_revision(),
            16 => compacted.max(1),
            17 => (compacted - 1).max(1),
            18 => current + 1,
            _ => current + self.rng.between(2, 4),
        }
    }

    // Neither an empty range nor an id that is taken.
    fn would_be_created(&self, stream: u32, request: &WatchCreateRequest) -> bool {
        let zero = Bytes::from_static(b"\0");
        let key = if request.key.is_empty() { &zero } else { &request.key };
        let end = &request.range_end;
        let range = end.is_empty() || *end == zero || key < end;
        range && (request.watch_id == 0 || self.world.watcher(stream, request.watch_id).is_none())
    }

    fn plan_negative_start(&mut self) {
        let (key, range_end) = (keys::key(&mut self.rng), Bytes::new());
        let start_revision = *self.rng.pick(&[-1, -2, i64::MIN]);
        // 3.5.1 cancels such a watch only when something was compacted.
        if self.world.compacted < 1 {
            return;
        }
        let request =
            WatchCreateRequest { key, range_end, start_revision, ..WatchCreateRequest::default() };
        self.push(Op::WatchCreate { stream: NEGATIVE_START_STREAM, request, controls: 1 });
        self.push(Op::WatchClose { stream: NEGATIVE_START_STREAM });
    }

    // 3.5.1 answers a progress request at once, the contract only when every
    // watcher of the stream has caught up: ask when both are the same.
    fn progress_is_certain(&self, stream: u32) -> bool {
        let Some(watchers) = self.world.streams.get(&stream) else { return false };
        let current = self.world.revision;
        !watchers.is_empty() && watchers.values().all(|w| w.synced && w.from <= current + 1)
    }

    /// Fences the watcher and collects what it saw.
    fn plan_join(&mut self, stream: u32, id: i64) {
        let Some(watcher) = self.world.watcher(stream, id).cloned() else { return };
        let steps = fence(&watcher);
        if !steps.is_empty() {
            self.planned.extend(steps.into_iter().map(Step::Op));
            self.planned.push_back(Step::Join { stream, id });
        }
    }

    /// The join itself, or another fence when the watcher starts later.
    pub(super) fn join(&mut self, stream: u32, id: i64) -> Option<Op> {
        let (upto, from) = (self.world.revision, self.world.watcher(stream, id)?.from);
        if from <= upto {
            return Some(Op::WatchJoin { stream, id, upto, from });
        }
        let steps = fence(self.world.watcher(stream, id)?);
        self.planned.push_front(Step::Join { stream, id });
        for op in steps.into_iter().rev() {
            self.planned.push_front(Step::Op(op));
        }
        None
    }

    /// Plans what makes every watcher catch up, and what collects the events up
    /// to `revision` of those that want the pair before: etcd looks it up when it
    /// sends the event, and leaves it out if it was compacted meanwhile. False
    /// when there is nothing to do.
    pub(super) fn plan_catching_up(&mut self, revision: i64) -> bool {
        let lagging: Vec<(u32, i64, Watcher)> = self
            .world
            .watchers()
            .filter(|(_, _, watcher)| {
                !watcher.synced || watcher.request.prev_kv && watcher.seen < revision
            })
            .map(|(stream, id, watcher)| (stream, id, watcher.clone()))
            .collect();
        for (stream, id, watcher) in &lagging {
            if fence(watcher).is_empty() {
                // It sees nothing, so nobody knows when it has caught up.
                self.push(Op::WatchCancel { stream: *stream, id: *id, controls: 1 });
            } else {
                self.plan_join(*stream, *id);
            }
        }
        !lagging.is_empty()
    }
}

// Writes that end in one that the watcher must see: its event is the fence.
fn fence(watcher: &Watcher) -> Vec<Op> {
    let mut key = watcher.request.key.clone();
    if key.is_empty() {
        key = Bytes::from_static(b"\0");
    }
    let value = Bytes::from_static(b"fence");
    let put = Op::Put(PutRequest { key: key.clone(), value, ..PutRequest::default() });
    let delete = Op::Delete(DeleteRangeRequest { key, ..DeleteRangeRequest::default() });
    match (watcher.request.filters.contains(&NOPUT), watcher.request.filters.contains(&NODELETE)) {
        (true, true) => Vec::new(),
        (false, true) => vec![put],
        _ => vec![put, delete],
    }
}
