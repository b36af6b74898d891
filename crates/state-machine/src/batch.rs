//! The contents of one log entry: the effects of the requests that were
//! evaluated together, and their encoding. Effects, not requests, are logged: a
//! replica that applies them needs no second evaluation and cannot reach a
//! different result.
//!
//! The format is described in `docs/formats/log-payload.md`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use t4_kv_types::{AlarmKind, LeaseId, NodeId, Revision, Write};
use thiserror::Error;

/// The newest version of the encoding, for writing and reading. An entry is
/// written in the oldest version that can express it, so that an older program
/// reads the entries it understands and otherwise reports that the entry is
/// newer than itself.
pub const FORMAT_VERSION: u8 = 3;
/// The version of entries with effects on authentication.
const VERSION_WITH_AUTH: u8 = 2;
/// The version of entries with none of the later effects.
const FIRST_VERSION: u8 = 1;

const TAG_REVISION: u8 = 1;
const TAG_LEASE_GRANT: u8 = 2;
const TAG_LEASE_REVOKE: u8 = 3;
const TAG_COMPACT: u8 = 4;
const TAG_ALARM: u8 = 5;
const TAG_BARRIER: u8 = 6;
const TAG_LEASES_LEFT: u8 = 7;
const TAG_MEMBER: u8 = 8;
const TAG_AUTH: u8 = 9;
const TAG_LEASE_END: u8 = 10;

const WRITE_PUT: u8 = 1;
const WRITE_DELETE: u8 = 2;

/// One effect. Effects that change keys own the next `writes` of
/// [`Batch::writes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Changes keys, in one revision.
    Revision {
        /// The number of writes that belong to it; at least 1.
        writes: u32,
    },
    /// Starts a lease.
    LeaseGrant {
        /// Its id.
        id: LeaseId,
        /// Its time to live in seconds.
        ttl_s: i64,
    },
    /// Ends a lease and deletes its keys, in one revision if there are any.
    LeaseRevoke {
        /// Its id.
        id: LeaseId,
        /// The number of deletes that belong to it.
        writes: u32,
    },
    /// Ends a lease and deletes all keys attached to it by then, in one
    /// revision if there are any. Equivalent to
    /// [`LeaseRevoke`](Self::LeaseRevoke), but a few bytes long regardless of
    /// the number of keys.
    LeaseEnd {
        /// Its id.
        id: LeaseId,
    },
    /// Drops the history up to a revision.
    Compact {
        /// The revision that stays readable.
        at: Revision,
    },
    /// Switches an alarm on or off.
    Alarm {
        /// The member that the alarm belongs to.
        member: NodeId,
        /// The kind of alarm.
        kind: AlarmKind,
        /// On or off.
        on: bool,
    },
    /// The first entry of an epoch.
    Barrier {
        /// Distinguishes this start of a process from every other.
        boot_nonce: u64,
    },
    /// The last entry before a clean stop: the time left on each lease.
    LeasesLeft {
        /// (lease, milliseconds), by id.
        left: Vec<(LeaseId, u64)>,
    },
    /// The attributes that a member publishes about itself.
    Member {
        /// Its id.
        id: NodeId,
        /// Its attributes.
        attributes: MemberAttributes,
    },
    /// Changes users, roles, permissions or tokens. The bytes contain hashes of
    /// passwords and tokens, never the plain values; `Debug` shows neither.
    Auth(t4_auth_rbac::Effect),
}

/// The attributes of a member that member lists show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberAttributes {
    /// Its name.
    pub name: String,
    /// The URLs for peers.
    pub peer_urls: Vec<String>,
    /// The URLs for clients.
    pub client_urls: Vec<String>,
}

/// The effects of one log entry, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The effects.
    pub effects: Vec<Effect>,
    /// The key changes that the effects own, in order.
    pub writes: Vec<Write>,
}

/// Why bytes are not a log payload. The log's checksums were valid, so this is
/// either a newer version's entry or a bug.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Written by a newer version of T4.
    #[error("format version {0} is newer than what this program knows: run the newer version")]
    NewerFormat(u8),
    /// Not the output of an encoder.
    #[error("log payload is malformed: {0}")]
    Malformed(&'static str),
}

impl Effect {
    /// The oldest version of the encoding that can express it.
    fn version(&self) -> u8 {
        match self {
            Effect::LeaseEnd { .. } => FORMAT_VERSION,
            Effect::Auth(_) => VERSION_WITH_AUTH,
            _ => FIRST_VERSION,
        }
    }

    /// The most bytes that it adds to the encoding, not counting its writes.
    pub(crate) fn size_max(&self) -> usize {
        let own = match self {
            Effect::Member { attributes, .. } => {
                let urls = attributes.peer_urls.iter().chain(&attributes.client_urls);
                urls.map(|url| url.len() + 10).sum::<usize>() + attributes.name.len() + 30
            }
            Effect::LeasesLeft { left } => left.len() * 20,
            Effect::Auth(effect) => effect.encode().len(),
            _ => 0,
        };
        EFFECT_BYTES_MAX + own
    }
}

/// The most bytes that an effect of constant size adds to the encoding, or that
/// an effect of any size adds besides its content.
const EFFECT_BYTES_MAX: usize = 24;

impl Batch {
    /// Whether there is nothing to log.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// Encodes the batch for the log.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let size: usize = self.writes.iter().map(write_size_max).sum();
        let mut out = BytesMut::with_capacity(size + self.effects.len() * EFFECT_BYTES_MAX + 16);
        out.put_u8(self.version());
        let mut writes = self.writes.iter();
        for effect in &self.effects {
            encode_effect(&mut out, effect, &mut writes);
        }
        debug_assert!(writes.next().is_none(), "every write is owned by an effect");
        out.freeze()
    }

    /// The oldest version of the encoding that can express it.
    fn version(&self) -> u8 {
        self.effects.iter().map(Effect::version).max().unwrap_or(FIRST_VERSION)
    }

    /// Decodes the output of [`encode`](Self::encode). Keys and values are
    /// slices of `payload`, not copies.
    pub fn decode(payload: &Bytes) -> Result<Batch, DecodeError> {
        let mut input = Input { rest: payload.clone() };
        let version = input.u8("version")?;
        match version {
            FIRST_VERSION..=FORMAT_VERSION => {}
            newer if newer > FORMAT_VERSION => return Err(DecodeError::NewerFormat(newer)),
            _ => return Err(DecodeError::Malformed("version")),
        }
        let mut batch = Batch::default();
        while !input.rest.is_empty() {
            decode_effect(&mut input, &mut batch)?;
        }
        // The contents determine the version: each batch has exactly one encoding.
        if version != batch.version() {
            return Err(DecodeError::Malformed("version does not fit the effects"));
        }
        Ok(batch)
    }
}

/// The most bytes that a write adds to the encoding.
pub(crate) fn write_size_max(write: &Write) -> usize {
    match write {
        Write::Put { key, value, .. } => key.len() + value.len() + 31,
        Write::Delete { key } => key.len() + 11,
    }
}

fn encode_effect<'a>(
    out: &mut BytesMut,
    effect: &Effect,
    writes: &mut impl Iterator<Item = &'a Write>,
) {
    match effect {
        Effect::Revision { writes: count } => {
            out.put_u8(TAG_REVISION);
            encode_writes(out, *count, writes);
        }
        Effect::LeaseGrant { id, ttl_s } => {
            out.put_u8(TAG_LEASE_GRANT);
            put_signed(out, id.0);
            put_signed(out, *ttl_s);
        }
        Effect::LeaseRevoke { id, writes: count } => {
            out.put_u8(TAG_LEASE_REVOKE);
            put_signed(out, id.0);
            encode_writes(out, *count, writes);
        }
        Effect::LeaseEnd { id } => {
            out.put_u8(TAG_LEASE_END);
            put_signed(out, id.0);
        }
        Effect::Compact { at } => {
            out.put_u8(TAG_COMPACT);
            put_signed(out, at.0);
        }
        Effect::Alarm { member, kind, on } => {
            out.put_u8(TAG_ALARM);
            put_varint(out, member.0);
            out.put_u8(alarm_code(*kind));
            out.put_u8(u8::from(*on));
        }
        Effect::Barrier { boot_nonce } => {
            out.put_u8(TAG_BARRIER);
            put_varint(out, *boot_nonce);
        }
        Effect::LeasesLeft { left } => {
            out.put_u8(TAG_LEASES_LEFT);
            put_varint(out, left.len() as u64);
            for (id, millis) in left {
                put_signed(out, id.0);
                put_varint(out, *millis);
            }
        }
        Effect::Member { id, attributes } => {
            out.put_u8(TAG_MEMBER);
            put_varint(out, id.0);
            put_member(out, attributes);
        }
        Effect::Auth(effect) => {
            out.put_u8(TAG_AUTH);
            put_bytes(out, &effect.encode());
        }
    }
}

fn decode_effect(input: &mut Input, batch: &mut Batch) -> Result<(), DecodeError> {
    let effect = match input.u8("effect")? {
        TAG_REVISION => {
            let writes = decode_writes(input, batch)?;
            if writes == 0 {
                return Err(DecodeError::Malformed("revision without writes"));
            }
            Effect::Revision { writes }
        }
        TAG_LEASE_GRANT => Effect::LeaseGrant {
            id: LeaseId(input.signed("lease id")?),
            ttl_s: input.signed("lease ttl")?,
        },
        TAG_LEASE_REVOKE => {
            let id = LeaseId(input.signed("lease id")?);
            Effect::LeaseRevoke { id, writes: decode_writes(input, batch)? }
        }
        TAG_LEASE_END => Effect::LeaseEnd { id: LeaseId(input.signed("lease id")?) },
        TAG_COMPACT => Effect::Compact { at: Revision(input.signed("compaction revision")?) },
        TAG_ALARM => Effect::Alarm {
            member: NodeId(input.varint("alarm member")?),
            kind: alarm_of(input.u8("alarm kind")?)?,
            on: match input.u8("alarm state")? {
                0 => false,
                1 => true,
                _ => return Err(DecodeError::Malformed("alarm state")),
            },
        },
        TAG_BARRIER => Effect::Barrier { boot_nonce: input.varint("boot nonce")? },
        TAG_LEASES_LEFT => {
            let count = input.varint("lease count")?;
            let mut left = Vec::new();
            for _ in 0..count {
                left.push((LeaseId(input.signed("lease id")?), input.varint("time left")?));
            }
            Effect::LeasesLeft { left }
        }
        TAG_MEMBER => {
            Effect::Member { id: NodeId(input.varint("member id")?), attributes: input.member()? }
        }
        TAG_AUTH => Effect::Auth(decode_auth(&input.bytes("effect on authentication")?)?),
        _ => return Err(DecodeError::Malformed("unknown effect")),
    };
    batch.effects.push(effect);
    Ok(())
}

fn decode_auth(bytes: &[u8]) -> Result<t4_auth_rbac::Effect, DecodeError> {
    use t4_auth_rbac::DecodeError as Auth;
    t4_auth_rbac::Effect::decode(bytes).map_err(|why| match why {
        Auth::NewerFormat(found) => DecodeError::NewerFormat(found),
        Auth::Malformed(what) => DecodeError::Malformed(what),
    })
}

fn encode_writes<'a>(out: &mut BytesMut, count: u32, writes: &mut impl Iterator<Item = &'a Write>) {
    put_varint(out, u64::from(count));
    for _ in 0..count {
        match writes.next().expect("an effect owns as many writes as it says") {
            Write::Put { key, value, lease } => {
                out.put_u8(WRITE_PUT);
                put_bytes(out, key);
                put_bytes(out, value);
                put_signed(out, lease.0);
            }
            Write::Delete { key } => {
                out.put_u8(WRITE_DELETE);
                put_bytes(out, key);
            }
        }
    }
}

fn decode_writes(input: &mut Input, batch: &mut Batch) -> Result<u32, DecodeError> {
    let count = u32::try_from(input.varint("write count")?)
        .map_err(|_| DecodeError::Malformed("write count"))?;
    for _ in 0..count {
        let write = match input.u8("write")? {
            WRITE_PUT => Write::Put {
                key: input.bytes("key")?,
                value: input.bytes("value")?,
                lease: LeaseId(input.signed("lease id")?),
            },
            WRITE_DELETE => Write::Delete { key: input.bytes("key")? },
            _ => return Err(DecodeError::Malformed("unknown write")),
        };
        batch.writes.push(write);
    }
    Ok(count)
}

pub(crate) fn put_member(out: &mut BytesMut, attributes: &MemberAttributes) {
    put_bytes(out, attributes.name.as_bytes());
    for urls in [&attributes.peer_urls, &attributes.client_urls] {
        put_varint(out, urls.len() as u64);
        for url in urls {
            put_bytes(out, url.as_bytes());
        }
    }
}

pub(crate) fn alarm_code(kind: AlarmKind) -> u8 {
    match kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    }
}

pub(crate) fn alarm_of(code: u8) -> Result<AlarmKind, DecodeError> {
    match code {
        1 => Ok(AlarmKind::NoSpace),
        2 => Ok(AlarmKind::Corrupt),
        _ => Err(DecodeError::Malformed("alarm kind")),
    }
}

pub(crate) fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Zigzag encoding, so that small negative numbers stay short.
pub(crate) fn put_signed(out: &mut BytesMut, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub(crate) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// Bytes left to decode; every read is checked.
pub(crate) struct Input {
    pub(crate) rest: Bytes,
}

impl Input {
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        if self.rest.is_empty() {
            return Err(DecodeError::Malformed(what));
        }
        Ok(self.rest.get_u8())
    }

    /// Accepts only the shortest form, so that each value has one encoding.
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Malformed(what));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(DecodeError::Malformed(what));
                }
                return Ok(value);
            }
        }
        Err(DecodeError::Malformed(what))
    }

    pub(crate) fn signed(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        let raw = self.varint(what)?;
        Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64))
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        let length = self.varint(what)?;
        if length > self.rest.len() as u64 {
            return Err(DecodeError::Malformed(what));
        }
        Ok(self.rest.split_to(length as usize))
    }

    pub(crate) fn string(&mut self, what: &'static str) -> Result<String, DecodeError> {
        String::from_utf8(self.bytes(what)?.to_vec()).map_err(|_| DecodeError::Malformed(what))
    }

    pub(crate) fn member(&mut self) -> Result<MemberAttributes, DecodeError> {
        let mut attributes =
            MemberAttributes { name: self.string("member name")?, ..Default::default() };
        for urls in [&mut attributes.peer_urls, &mut attributes.client_urls] {
            for _ in 0..self.varint("url count")? {
                urls.push(self.string("url")?);
            }
        }
        Ok(attributes)
    }
}

#[cfg(test)]
mod tests;
