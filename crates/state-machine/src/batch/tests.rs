//! Tests the encoding against earlier versions and against damage.

use t4_auth_rbac::{PasswordHash, Permission, PermissionKind, TokenHash, TokenId};

use super::*;

fn everything() -> Batch {
    Batch {
        effects: vec![
            Effect::Barrier { boot_nonce: 7 },
            Effect::Revision { writes: 2 },
            Effect::LeaseGrant { id: LeaseId(-5), ttl_s: 60 },
            Effect::LeaseRevoke { id: LeaseId(i64::MAX), writes: 1 },
            Effect::Compact { at: Revision(300) },
            Effect::Alarm { member: NodeId(u64::MAX), kind: AlarmKind::NoSpace, on: true },
            Effect::LeasesLeft { left: vec![(LeaseId(1), 1500)] },
            Effect::Member {
                id: NodeId(9),
                attributes: MemberAttributes {
                    name: "a".into(),
                    peer_urls: vec!["http://p".into()],
                    client_urls: vec!["http://c".into(), "http://d".into()],
                },
            },
        ],
        writes: vec![
            Write::Put {
                key: Bytes::from_static(b"k"),
                value: Bytes::from_static(b"v"),
                lease: LeaseId(-5),
            },
            Write::Delete { key: Bytes::from_static(b"gone") },
            Write::Delete { key: Bytes::from_static(b"leased") },
        ],
    }
}

/// Effects that entries may have since authentication was added.
fn with_auth() -> Batch {
    use t4_auth_rbac::Effect as Auth;
    let alice = || "alice".into();
    let effects = [
        Auth::UserAdd {
            name: alice(),
            no_password: false,
            password: PasswordHash(Bytes::from_static(b"$2a$10$x")),
        },
        Auth::RoleGrant {
            role: "app".into(),
            permission: Permission::new(PermissionKind::ReadWrite, "app/", "app0"),
        },
        Auth::TokenIssue { id: TokenId(1), user: alice(), hash: TokenHash([7; 32]), ended: None },
    ];
    let mut batch = Batch {
        effects: vec![Effect::Revision { writes: 1 }],
        writes: vec![Write::Put {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"v"),
            lease: LeaseId::NONE,
        }],
    };
    batch.effects.extend(effects.map(Effect::Auth));
    batch
}

/// Entries of version 1 must stay readable.
#[test]
fn golden_version_1() {
    let golden = include_bytes!("../../tests/golden/log-payload-v1.bin");
    assert_eq!(everything().encode().as_ref(), golden.as_ref());
    assert_eq!(Batch::decode(&Bytes::from_static(golden)), Ok(everything()));
}

#[test]
fn golden_version_2() {
    let golden = include_bytes!("../../tests/golden/log-payload-v2.bin");
    assert_eq!(with_auth().encode().as_ref(), golden.as_ref());
    assert_eq!(Batch::decode(&Bytes::from_static(golden)), Ok(with_auth()));
}

/// Effects that entries may have since leases can end without naming their keys.
fn with_lease_end() -> Batch {
    Batch {
        effects: vec![Effect::Revision { writes: 1 }, Effect::LeaseEnd { id: LeaseId(7) }],
        writes: vec![Write::Put {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"v"),
            lease: LeaseId(7),
        }],
    }
}

#[test]
fn golden_version_3() {
    let golden = include_bytes!("../../tests/golden/log-payload-v3.bin");
    assert_eq!(with_lease_end().encode().as_ref(), golden.as_ref());
    assert_eq!(Batch::decode(&Bytes::from_static(golden)), Ok(with_lease_end()));
}

#[test]
fn sizes_are_upper_bounds() {
    for batch in [everything(), with_auth(), with_lease_end()] {
        let effects: usize = batch.effects.iter().map(Effect::size_max).sum();
        let writes: usize = batch.writes.iter().map(write_size_max).sum();
        assert!(batch.encode().len() <= 1 + effects + writes);
    }
}

#[test]
fn every_prefix_is_refused_or_shorter() {
    for whole in [everything().encode(), with_auth().encode(), with_lease_end().encode()] {
        for cut in 0..whole.len() {
            if let Ok(batch) = Batch::decode(&whole.slice(..cut)) {
                assert_eq!(batch.encode(), whole.slice(..cut));
            }
        }
    }
}

/// A program without authentication must report that such an entry is newer,
/// and read the others.
#[test]
fn the_version_is_the_oldest_that_can_say_it() {
    assert_eq!(everything().encode()[0], 1);
    let mut payload = with_auth().encode().to_vec();
    assert_eq!(payload[0], 2);
    payload[0] = 1;
    let odd = Err(DecodeError::Malformed("version does not fit the effects"));
    assert_eq!(Batch::decode(&payload.into()), odd);
    let mut payload = everything().encode().to_vec();
    payload[0] = 2;
    assert_eq!(Batch::decode(&payload.into()), odd);
    let mut payload = with_lease_end().encode().to_vec();
    assert_eq!(payload[0], 3);
    payload[0] = 2;
    assert_eq!(Batch::decode(&payload.into()), odd);
}

#[test]
fn a_newer_effect_on_authentication_is_told_apart() {
    let payload = Bytes::from_static(&[2, 9, 2, 7, 1]);
    assert_eq!(Batch::decode(&payload), Err(DecodeError::NewerFormat(7)));
    let payload = Bytes::from_static(&[2, 9, 2, 1, 99]);
    assert_eq!(Batch::decode(&payload), Err(DecodeError::Malformed("unknown effect")));
}

#[test]
fn no_secret_is_shown() {
    let shown = format!("{:?}", with_auth());
    assert!(shown.contains("alice"), "{shown}");
    assert!(!shown.contains("$2a$") && !shown.contains("7, 7"), "{shown}");
}

#[test]
fn newer_version_is_told_apart() {
    assert_eq!(Batch::decode(&Bytes::from_static(&[4, 1])), Err(DecodeError::NewerFormat(4)));
    assert_eq!(Batch::decode(&Bytes::from_static(&[0])), Err(DecodeError::Malformed("version")));
}
