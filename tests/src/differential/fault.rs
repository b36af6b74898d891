//! Spoils an answer in one way: the proof that the comparison would see it.

use t4_proto::etcdserverpb::ResponseHeader;
use t4_proto::etcdserverpb::response_op::Response;
use t4_proto::mvccpb::KeyValue;

use super::answer::Answer;

/// What goes wrong in one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The header is one revision ahead.
    HeaderRevision,
    /// The header lacks the member's id.
    HeaderMember,
    /// An error has another code.
    ErrorCode,
    /// An error has another text.
    ErrorText,
    /// A key is missing in a result.
    LostKey,
    /// A value has one bit flipped.
    Value,
    /// A version is one too high.
    Version,
    /// A create revision is one too low.
    CreateRevision,
    /// `more` is wrong.
    More,
    /// A count is wrong.
    Count,
    /// A watcher misses its last event.
    EventLost,
    /// A watcher sees its last event twice.
    EventRepeated,
    /// A previous value is left out of an event.
    EventPrevKv,
    /// A lease is kept alive for one second less.
    LeaseTtl,
    /// A lease is not listed.
    LeaseLost,
    /// The hash of the key space is off by one.
    Hash,
    /// A transaction's last answer is missing.
    TxnAnswer,
    /// A transaction says that it took the other branch.
    TxnBranch,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: &[FaultKind] = &[
        FaultKind::HeaderRevision,
        FaultKind::HeaderMember,
        FaultKind::ErrorCode,
        FaultKind::ErrorText,
        FaultKind::LostKey,
        FaultKind::Value,
        FaultKind::Version,
        FaultKind::CreateRevision,
        FaultKind::More,
        FaultKind::Count,
        FaultKind::EventLost,
        FaultKind::EventRepeated,
        FaultKind::EventPrevKv,
        FaultKind::LeaseTtl,
        FaultKind::LeaseLost,
        FaultKind::Hash,
        FaultKind::TxnAnswer,
        FaultKind::TxnBranch,
    ];

    /// Spoils the answer; false when this kind does not apply to it.
    pub fn spoil(self, answer: &mut Answer) -> bool {
        self.try_spoil(answer).is_some()
    }

    fn try_spoil(self, answer: &mut Answer) -> Option<()> {
        match (self, answer) {
            (FaultKind::HeaderRevision, answer) => header(answer)?.revision += 1,
            (FaultKind::HeaderMember, answer) => header(answer)?.member_id = 0,
            (FaultKind::ErrorCode, Answer::Refused(refusal)) => refusal.code.push('x'),
            (FaultKind::ErrorText, Answer::Refused(refusal)) => refusal.text.push('.'),
            (FaultKind::LostKey, Answer::Range(r)) => drop(r.kvs.pop()?),
            (FaultKind::LostKey, Answer::Delete(r)) => drop(r.prev_kvs.pop()?),
            (FaultKind::Value, answer) => {
                let kv = key_value(answer)?;
                let mut value = kv.value.to_vec();
                *value.first_mut()? ^= 1;
                kv.value = value.into();
            }
            (FaultKind::Version, answer) => key_value(answer)?.version += 1,
            (FaultKind::CreateRevision, answer) => key_value(answer)?.create_revision -= 1,
            (FaultKind::More, Answer::Range(r)) => r.more = !r.more,
            (FaultKind::Count, Answer::Range(r)) => r.count += 1,
            (FaultKind::Count, Answer::Delete(r)) => r.deleted += 1,
            (FaultKind::EventLost, Answer::Events(events)) => drop(events.pop()?),
            (FaultKind::EventRepeated, Answer::Events(events)) => {
                let last = events.last()?.clone();
                events.push(last);
            }
            (FaultKind::EventPrevKv, Answer::Events(events)) => {
                events.iter_mut().find(|event| event.prev_kv.is_some())?.prev_kv = None;
            }
            (FaultKind::LeaseTtl, Answer::KeptAlive(all, _)) => all.first_mut()?.ttl -= 1,
            (FaultKind::LeaseLost, Answer::Leases(r)) => drop(r.leases.pop()?),
            (FaultKind::Hash, Answer::Hash(r)) => r.hash = r.hash.wrapping_add(1),
            (FaultKind::TxnAnswer, Answer::Txn(r)) => drop(r.responses.pop()?),
            (FaultKind::TxnBranch, Answer::Txn(r)) => r.succeeded = !r.succeeded,
            _ => return None,
        }
        Some(())
    }
}

/// A fault that strikes the first answer it applies to, from a given place on.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Not before this operation.
    pub from: usize,
}

impl Fault {
    /// Spoils the answer of operation `number` if it is time and this one can
    /// be spoiled; true when it was.
    pub fn strike(&mut self, number: usize, answer: &mut Answer) -> bool {
        number >= self.from && self.kind.spoil(answer)
    }
}

fn header(answer: &mut Answer) -> Option<&mut ResponseHeader> {
    match answer {
        Answer::Range(r) => r.header.as_mut(),
        Answer::Put(r) => r.header.as_mut(),
        Answer::Delete(r) => r.header.as_mut(),
        Answer::Txn(r) => r.header.as_mut(),
        Answer::Compacted(r) => r.header.as_mut(),
        Answer::LeaseGranted(r) => r.header.as_mut(),
        Answer::LeaseRevoked(r) => r.header.as_mut(),
        Answer::LeaseTimeToLive(r) => r.header.as_mut(),
        Answer::KeptAlive(all, _) => all.first_mut()?.header.as_mut(),
        Answer::Hash(r) => r.header.as_mut(),
        Answer::Status(r) => r.header.as_mut(),
        Answer::Locked(r) => r.header.as_mut(),
        Answer::Campaigned(r) => r.header.as_mut(),
        Answer::Watched(all) => all.first_mut()?.header.as_mut(),
        _ => None,
    }
}

fn key_value(answer: &mut Answer) -> Option<&mut KeyValue> {
    match answer {
        Answer::Range(r) => r.kvs.first_mut(),
        Answer::Put(r) => r.prev_kv.as_mut(),
        Answer::Delete(r) => r.prev_kvs.first_mut(),
        Answer::Events(events) => events.iter_mut().find_map(|event| event.kv.as_mut()),
        Answer::Leader(r) => r.kv.as_mut(),
        Answer::Txn(r) => r.responses.iter_mut().find_map(|op| match op.response.as_mut()? {
            Response::ResponseRange(r) => r.kvs.first_mut(),
            Response::ResponsePut(r) => r.prev_kv.as_mut(),
            Response::ResponseDeleteRange(r) => r.prev_kvs.first_mut(),
            Response::ResponseTxn(_) => None,
        }),
        _ => None,
    }
}
