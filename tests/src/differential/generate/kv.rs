//! Puts, ranges, deletes, compactions and hashes.

use bytes::Bytes;
use t4_proto::etcdserverpb::{CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest};

use super::super::op::Op;
use super::{Generator, Step, keys};

/// Over the limit of a request (1.5 MiB), and over that of a message (2 MiB).
const TOO_LARGE: &[usize] = &[1_572_865, 1_600_000, 2_097_153, 2_200_000];

impl Generator {
    pub(super) fn plan_put(&mut self) {
        let request = self.put();
        self.push(Op::Put(request));
    }

    pub(super) fn put(&mut self) -> PutRequest {
        let key = keys::key(&mut self.rng);
        let value = keys::value(&mut self.rng);
        let prev_kv = self.rng.chance(1, 3);
        let plain = PutRequest { key, value, prev_kv, ..PutRequest::default() };
        match self.rng.below(100) {
            0..65 => plain,
            65..85 => PutRequest { lease: self.some_lease(), ..plain },
            85..90 => PutRequest { ignore_value: true, value: Bytes::new(), ..plain },
            90..94 => PutRequest { ignore_lease: true, ..plain },
            94..96 => {
                PutRequest { ignore_value: true, ignore_lease: true, value: Bytes::new(), ..plain }
            }
            96 => PutRequest { ignore_value: true, value: Bytes::from_static(b"x"), ..plain },
            97 => PutRequest { ignore_lease: true, lease: 7, ..plain },
            98 => PutRequest { key: Bytes::new(), ..plain },
            _ => self.put_of_unusual_size(plain),
        }
    }

    fn put_of_unusual_size(&mut self, plain: PutRequest) -> PutRequest {
        // Sending megabytes costs a thousand small operations: one in a hundred of these.
        let len = match self.rng.below(50) {
            0 => *self.rng.pick(TOO_LARGE),
            1 => 1_000_000,
            _ => 20_000,
        };
        PutRequest { value: Bytes::from(vec![b'L'; len]), ..plain }
    }

    pub(super) fn plan_range(&mut self) {
        let mut request = self.range();
        if self.rng.chance(1, 60) {
            request.key = Bytes::new();
        }
        if self.contract && self.rng.chance(1, 80) {
            // Unknown enum values: refused by the contract, fatal to 3.5.1.
            if self.rng.chance(1, 2) {
                request.sort_order = *self.rng.pick(&[3, 99, -1]);
            } else {
                request.sort_target = *self.rng.pick(&[5, 77, -1]);
            }
        }
        self.push(Op::Range(request));
    }

    pub(super) fn range(&mut self) -> RangeRequest {
        let (key, range_end) = keys::range(&mut self.rng);
        let mut request = RangeRequest { key, range_end, ..RangeRequest::default() };
        request.revision = self.read_revision();
        if self.rng.chance(1, 3) {
            request.limit = *self.rng.pick(&[-1, 1, 2, 3, 5, 100, i64::MAX]);
        }
        if self.rng.chance(1, 3) {
            request.sort_order = *self.rng.pick(&[0, 1, 2]);
            request.sort_target = *self.rng.pick(&[0, 1, 2, 3, 4]);
        }
        request.serializable = self.rng.chance(1, 4);
        request.keys_only = self.rng.chance(1, 8);
        request.count_only = self.rng.chance(1, 10);
        if self.rng.chance(1, 6) {
            self.filter(&mut request);
        }
        request
    }

    fn filter(&mut self, request: &mut RangeRequest) {
        if self.rng.chance(1, 3) {
            request.min_mod_revision = self.kept_revision();
        }
        if self.rng.chance(1, 3) {
            request.max_mod_revision = self.kept_revision();
        }
        if self.rng.chance(1, 3) {
            request.min_create_revision = self.kept_revision();
        }
        if self.rng.chance(1, 3) {
            request.max_create_revision = self.kept_revision();
        }
        if self.rng.chance(1, 20) {
            request.min_mod_revision = -1;
        }
    }

    pub(super) fn plan_delete(&mut self) {
        let request = self.delete();
        self.push(Op::Delete(request));
    }

    pub(super) fn delete(&mut self) -> DeleteRangeRequest {
        let (mut key, range_end) = keys::range(&mut self.rng);
        if self.rng.chance(1, 60) {
            key = Bytes::new();
        }
        DeleteRangeRequest { key, range_end, prev_kv: self.rng.chance(1, 2) }
    }

    /// The compaction itself, or the fences that must come before it.
    /// The compaction itself, or what must come before it.
    pub(super) fn compact(&mut self, decided: Option<i64>, physical: bool) -> Option<Op> {
        let low = self.world.compacted.max(0);
        let revision = decided.unwrap_or_else(|| match self.rng.below(10) {
            0 => self.world.revision,
            1 if self.world.compacted < 0 => 0,
            _ => self.rng.between(low, self.world.revision),
        });
        if self.plan_catching_up(revision) {
            self.planned.push_back(Step::Compact { revision: Some(revision), physical });
            return None;
        }
        Some(Op::Compact(CompactionRequest { revision, physical }))
    }

    pub(super) fn plan_refused_compaction(&mut self) {
        // Before the first compaction, 0 is accepted: not a refusal.
        let compacted = self.world.compacted;
        let revision = match self.rng.below(5) {
            0 => self.world.revision + self.rng.between(1, 5),
            1 => i64::MAX,
            2 => -1,
            3 if compacted >= 0 => self.rng.between(0, compacted),
            _ => compacted,
        };
        let physical = self.rng.chance(1, 2);
        self.push(Op::Compact(CompactionRequest { revision, physical }));
    }

    pub(super) fn plan_hash(&mut self) {
        let compacted = self.world.compacted;
        let revision = match self.rng.below(10) {
            0..4 => 0,
            4..8 => self.kept_revision(),
            8 => self.world.revision + 1,
            _ => compacted - 1,
        };
        // At the compacted revision itself, and below 0, the two lines of etcd
        // differ: see `allowed`.
        let revision = if revision == compacted || revision < 0 { 0 } else { revision };
        self.push(Op::HashKv { revision });
    }
}
