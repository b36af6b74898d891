//! Histories of clients of the reference server, interleaved at random.

use t4_kv_types::{EventKind, KeyRange, Revision};
use t4_linearizability::{
    Call, History, Outcome, Reference, Request, Watch, WatchEvent, WatchNews, WatchResponse,
    Workload, WorkloadOptions,
};
use t4_testkit::Rng;

/// Clients of a server; produces one history after another.
pub(crate) struct Simulation {
    pub(crate) server: Reference,
    rng: Rng,
    now: u64,
    clients: Vec<Workload>,
    // The number of log events in earlier histories.
    told: usize,
}

enum Phase {
    Idle,
    Asked(u64, Request),
    Done(u64, Request, Outcome),
}

impl Simulation {
    pub(crate) fn new(clients: u32, rng: &mut Rng) -> Simulation {
        let options = WorkloadOptions { keys: 8, long_leases: 3, short_leases: 3, short_ttl_s: 2 };
        let clients =
            (0..clients).map(|client| Workload::new(options, client, 0, rng.fork())).collect();
        Simulation { server: Reference::new(), rng: rng.fork(), now: 0, clients, told: 0 }
    }

    /// Runs `steps` steps of clients and returns what they saw. At the end,
    /// some calls get no answer.
    pub(crate) fn history(&mut self, steps: usize) -> History {
        let mut history = History::default();
        let mut phases: Vec<Phase> = self.clients.iter().map(|_| Phase::Idle).collect();
        let mut watches: Vec<Watcher> = Vec::new();
        for _ in 0..steps {
            self.now += 1 + self.rng.below(2_000_000);
            if self.rng.chance(1, 100) {
                self.now += 300_000_000;
            }
            if self.rng.chance(1, 20) {
                self.server.expire(self.now);
            }
            if self.rng.chance(1, 60) {
                watches.push(Watcher::open(self.now, &self.server, &mut self.rng));
            }
            self.now += 1;
            if !watches.is_empty() && self.rng.chance(1, 4) {
                let place = self.rng.below(watches.len() as u64) as usize;
                watches[place].receive(self.now, &self.server, &mut self.rng);
            }
            self.now += 1;
            let client = self.rng.below(phases.len() as u64) as usize;
            let phase = std::mem::replace(&mut phases[client], Phase::Idle);
            phases[client] = self.step(client, phase, &mut history.calls);
        }
        for (client, phase) in phases.into_iter().enumerate() {
            self.give_up(client, phase, &mut history.calls);
        }
        history.log = self.server.log()[self.told..].to_vec();
        self.told = self.server.log().len();
        history.watches = watches.into_iter().map(|watcher| watcher.watch).collect();
        history
    }

    fn step(&mut self, client: usize, phase: Phase, calls: &mut Vec<Call>) -> Phase {
        match phase {
            Phase::Idle => {
                let compactable = self.server.revision();
                Phase::Asked(self.now, self.clients[client].next(compactable))
            }
            Phase::Asked(invoked, request) => {
                let outcome = self.server.carry_out(self.now, &request);
                Phase::Done(invoked, request, outcome)
            }
            Phase::Done(invoked, request, outcome) => {
                self.clients[client].saw(&outcome);
                let (client, returned) = (client as u32, self.now);
                calls.push(Call { client, invoked, returned, request, outcome });
                Phase::Idle
            }
        }
    }

    fn give_up(&mut self, client: usize, phase: Phase, calls: &mut Vec<Call>) {
        let (invoked, request) = match phase {
            Phase::Idle => return,
            Phase::Asked(invoked, request) | Phase::Done(invoked, request, _) => (invoked, request),
        };
        self.now += 1;
        let (client, returned) = (client as u32, self.now);
        calls.push(Call { client, invoked, returned, request, outcome: Outcome::Unknown });
    }
}

struct Watcher {
    watch: Watch,
    // The index of the next event of the server's log.
    place: usize,
}

impl Watcher {
    fn open(now: u64, server: &Reference, rng: &mut Rng) -> Watcher {
        let current = server.revision();
        let start = match rng.below(3) {
            0 => None,
            _ => Some(Revision((current.0 - rng.between(-3, 30)).max(1))),
        };
        let ranges = [KeyRange::all(), KeyRange::prefix("k/"), KeyRange::prefix("lease/")];
        let range = rng.pick(&ranges);
        let from = start.unwrap_or(current.next());
        let watch = Watch {
            client: 1000,
            range: range.clone(),
            start,
            prev_kv: rng.chance(1, 2),
            no_put: rng.chance(1, 8),
            no_delete: rng.chance(1, 8),
            invoked: now - 1,
            created: Some((now + 1, current)),
            responses: Vec::new(),
        };
        Watcher { watch, place: server.log().partition_point(|event| event.revision() < from) }
    }

    /// Receives a few revisions, or a notification that there are none.
    fn receive(&mut self, at: u64, server: &Reference, rng: &mut Rng) {
        let mut events = Vec::new();
        let count = 1 + rng.below(5);
        let wanted = |watch: &Watch, event: &WatchEvent| {
            let left_out =
                if event.kind == EventKind::Put { watch.no_put } else { watch.no_delete };
            let early = watch.start.is_some_and(|start| event.revision() < start);
            !left_out && !early && watch.range.contains(&event.kv.key)
        };
        let news = &server.log()[self.place.min(server.log().len())..];
        let revisions = news.chunk_by(|a, b| a.revision() == b.revision());
        for revision in revisions.take(count as usize) {
            self.place += revision.len();
            events.extend(revision.iter().filter(|event| wanted(&self.watch, event)).cloned());
        }
        if !self.watch.prev_kv {
            events.iter_mut().for_each(|event| event.prev_kv = None);
        }
        let revision = server.revision();
        if !events.is_empty() {
            let news = WatchNews::Events { events, fragment: false };
            self.watch.responses.push(WatchResponse { at, revision, news });
        } else if self.place == server.log().len() {
            self.watch.responses.push(WatchResponse { at, revision, news: WatchNews::Progress });
        }
    }
}
