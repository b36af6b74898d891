//! The state beside the key space, stored with each manifest: leases, alarms, members,
//! authentication. The format is described in `docs/formats/state-tables.md`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use t4_kv_types::{AlarmKind, NodeId};

use crate::batch::{
    DecodeError, Input, MemberAttributes, alarm_code, alarm_of, put_member, put_varint,
};

/// The version of the tables of alarms and members.
const TABLE_VERSION: u8 = 1;

/// Name of the table of leases; `t4-lease` defines its bytes.
pub(crate) const LEASES: &str = "leases";
/// Name of the table of alarms.
pub(crate) const ALARMS: &str = "alarms";
/// Name of the table of members.
pub(crate) const MEMBERS: &str = "members";
/// Name of the table of users, roles and tokens; `t4-auth-rbac` defines its
/// bytes. It exists once anything in it has ever changed.
pub(crate) const AUTH: &str = "auth";

/// Alarms that are on.
pub type Alarms = BTreeSet<(NodeId, AlarmKind)>;
/// Members and their published attributes.
pub type Members = BTreeMap<NodeId, MemberAttributes>;

/// Encodes a table of alarms.
#[must_use]
pub fn encode_alarms(alarms: &Alarms) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(TABLE_VERSION);
    put_varint(&mut out, alarms.len() as u64);
    for (member, kind) in alarms {
        put_varint(&mut out, member.0);
        out.put_u8(alarm_code(*kind));
    }
    out.freeze()
}

/// Decodes a table of alarms.
pub fn decode_alarms(bytes: &Bytes) -> Result<Alarms, DecodeError> {
    let (mut input, count) = open(bytes)?;
    let mut alarms = Alarms::new();
    for _ in 0..count {
        let alarm = (NodeId(input.varint("alarm member")?), alarm_of(input.u8("alarm kind")?)?);
        if alarms.last().is_some_and(|last| *last >= alarm) {
            return Err(DecodeError::Malformed("alarms out of order"));
        }
        alarms.insert(alarm);
    }
    close(&input, alarms)
}

/// Encodes a table of members.
#[must_use]
pub fn encode_members(members: &Members) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(TABLE_VERSION);
    put_varint(&mut out, members.len() as u64);
    for (id, attributes) in members {
        put_varint(&mut out, id.0);
        put_member(&mut out, attributes);
    }
    out.freeze()
}

/// Decodes a table of members.
pub fn decode_members(bytes: &Bytes) -> Result<Members, DecodeError> {
    let (mut input, count) = open(bytes)?;
    let mut members = Members::new();
    for _ in 0..count {
        let id = NodeId(input.varint("member id")?);
        if members.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(DecodeError::Malformed("members out of order"));
        }
        members.insert(id, input.member()?);
    }
    close(&input, members)
}

fn open(bytes: &Bytes) -> Result<(Input, u64), DecodeError> {
    let mut input = Input { rest: bytes.clone() };
    match input.u8("version")? {
        TABLE_VERSION => {}
        found if found > TABLE_VERSION => return Err(DecodeError::NewerFormat(found)),
        _ => return Err(DecodeError::Malformed("version")),
    }
    let count = input.varint("count")?;
    Ok((input, count))
}

fn close<T>(input: &Input, table: T) -> Result<T, DecodeError> {
    if input.rest.is_empty() { Ok(table) } else { Err(DecodeError::Malformed("trailing bytes")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_version_1() {
        let alarms =
            Alarms::from([(NodeId(1), AlarmKind::NoSpace), (NodeId(300), AlarmKind::Corrupt)]);
        let golden = [1, 2, 1, 1, 0xac, 2, 2];
        assert_eq!(encode_alarms(&alarms).as_ref(), golden);
        assert_eq!(decode_alarms(&Bytes::copy_from_slice(&golden)), Ok(alarms));

        let members = Members::from([(
            NodeId(5),
            MemberAttributes { name: "a".into(), peer_urls: vec![], client_urls: vec!["u".into()] },
        )]);
        let golden = [1, 1, 5, 1, b'a', 0, 1, 1, b'u'];
        assert_eq!(encode_members(&members).as_ref(), golden);
        assert_eq!(decode_members(&Bytes::copy_from_slice(&golden)), Ok(members));
    }

    #[test]
    fn trailing_and_missing_bytes_are_refused() {
        for bytes in [&[1u8, 1, 5][..], &[1, 0, 0], &[], &[2, 0]] {
            assert!(decode_alarms(&Bytes::copy_from_slice(bytes)).is_err());
        }
    }
}
