//! An effect as bytes: what one entry of the log holds of it.

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::{Input, put_bytes, put_permission, put_varint};
use super::{DecodeError, FORMAT_VERSION};
use crate::effect::Effect;

const TAG_ENABLE: u8 = 1;
const TAG_DISABLE: u8 = 2;
const TAG_USER_ADD: u8 = 3;
const TAG_USER_DELETE: u8 = 4;
const TAG_USER_PASSWORD: u8 = 5;
const TAG_USER_GRANT_ROLE: u8 = 6;
const TAG_USER_REVOKE_ROLE: u8 = 7;
const TAG_ROLE_ADD: u8 = 8;
const TAG_ROLE_DELETE: u8 = 9;
const TAG_ROLE_GRANT: u8 = 10;
const TAG_ROLE_REVOKE: u8 = 11;
const TAG_TOKEN_ISSUE: u8 = 12;
const TAG_TOKENS_END: u8 = 13;

impl Effect {
    /// The bytes that the log carries.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        out.put_u8(FORMAT_VERSION);
        match self {
            Effect::Enable => out.put_u8(TAG_ENABLE),
            Effect::Disable => out.put_u8(TAG_DISABLE),
            Effect::UserAdd { name, no_password, password } => {
                put_named(&mut out, TAG_USER_ADD, name);
                out.put_u8(u8::from(*no_password));
                put_bytes(&mut out, &password.0);
            }
            Effect::UserDelete { name } => put_named(&mut out, TAG_USER_DELETE, name),
            Effect::UserPassword { name, password } => {
                put_named(&mut out, TAG_USER_PASSWORD, name);
                put_bytes(&mut out, &password.0);
            }
            Effect::UserGrantRole { user, role } => {
                put_named(&mut out, TAG_USER_GRANT_ROLE, user);
                put_bytes(&mut out, role.as_bytes());
            }
            Effect::UserRevokeRole { user, role } => {
                put_named(&mut out, TAG_USER_REVOKE_ROLE, user);
                put_bytes(&mut out, role.as_bytes());
            }
            Effect::RoleAdd { name } => put_named(&mut out, TAG_ROLE_ADD, name),
            Effect::RoleDelete { name } => put_named(&mut out, TAG_ROLE_DELETE, name),
            Effect::RoleGrant { role, permission } => {
                put_named(&mut out, TAG_ROLE_GRANT, role);
                put_permission(&mut out, permission);
            }
            Effect::RoleRevoke { role, key, range_end } => {
                put_named(&mut out, TAG_ROLE_REVOKE, role);
                put_bytes(&mut out, key);
                put_bytes(&mut out, range_end);
            }
            Effect::TokenIssue { id, user, hash, ended } => {
                put_named(&mut out, TAG_TOKEN_ISSUE, user);
                put_varint(&mut out, id.0);
                out.put_slice(&hash.0);
                out.put_u8(u8::from(ended.is_some()));
                if let Some(ended) = ended {
                    put_varint(&mut out, ended.0);
                }
            }
            Effect::TokensEnd { ids } => {
                out.put_u8(TAG_TOKENS_END);
                put_varint(&mut out, ids.len() as u64);
                for id in ids {
                    put_varint(&mut out, id.0);
                }
            }
        }
        out.freeze()
    }

    /// Reads what [`encode`](Self::encode) wrote. Any bytes may be given;
    /// memory is bounded by their length.
    ///
    /// # Errors
    /// If they are not exactly one effect. Whether it fits a state shows when
    /// it is [applied](crate::AuthState::apply).
    pub fn decode(bytes: &[u8]) -> Result<Effect, DecodeError> {
        let mut input = Input::open(bytes)?;
        let effect = decode_body(&mut input)?;
        input.close()?;
        Ok(effect)
    }
}

fn put_named(out: &mut BytesMut, tag: u8, name: &str) {
    out.put_u8(tag);
    put_bytes(out, name.as_bytes());
}

fn decode_body(input: &mut Input<'_>) -> Result<Effect, DecodeError> {
    Ok(match input.u8("effect")? {
        TAG_ENABLE => Effect::Enable,
        TAG_DISABLE => Effect::Disable,
        TAG_USER_ADD => decode_user_add(input)?,
        TAG_USER_DELETE => Effect::UserDelete { name: input.name("user name")? },
        TAG_USER_PASSWORD => {
            Effect::UserPassword { name: input.name("user name")?, password: input.password()? }
        }
        TAG_USER_GRANT_ROLE => {
            Effect::UserGrantRole { user: input.name("user name")?, role: input.name("role name")? }
        }
        TAG_USER_REVOKE_ROLE => Effect::UserRevokeRole {
            user: input.name("user name")?,
            role: input.name("role name")?,
        },
        TAG_ROLE_ADD => Effect::RoleAdd { name: input.name("role name")? },
        TAG_ROLE_DELETE => Effect::RoleDelete { name: input.name("role name")? },
        TAG_ROLE_GRANT => {
            Effect::RoleGrant { role: input.name("role name")?, permission: input.permission()? }
        }
        TAG_ROLE_REVOKE => Effect::RoleRevoke {
            role: input.name("role name")?,
            key: input.bytes("permission key")?,
            range_end: input.bytes("permission end")?,
        },
        TAG_TOKEN_ISSUE => decode_token_issue(input)?,
        TAG_TOKENS_END => decode_tokens_end(input)?,
        _ => return Err(DecodeError::Malformed("unknown effect")),
    })
}

fn decode_user_add(input: &mut Input<'_>) -> Result<Effect, DecodeError> {
    let name = input.name("user name")?;
    let no_password = input.flag("no-password flag")?;
    let password = input.password()?;
    if no_password && !password.0.is_empty() {
        return Err(DecodeError::Malformed("a password of a user without one"));
    }
    Ok(Effect::UserAdd { name, no_password, password })
}

fn decode_token_issue(input: &mut Input<'_>) -> Result<Effect, DecodeError> {
    let user = input.name("user name")?;
    let id = input.token_id()?;
    let hash = input.token_hash()?;
    let makes_room = input.flag("token end flag")?;
    let ended = if makes_room { Some(input.token_id()?) } else { None };
    Ok(Effect::TokenIssue { id, user, hash, ended })
}

fn decode_tokens_end(input: &mut Input<'_>) -> Result<Effect, DecodeError> {
    let count = input.varint("token count")?;
    let mut ids = Vec::new();
    for _ in 0..count {
        let id = input.token_id()?;
        if ids.last().is_some_and(|last| *last >= id) {
            return Err(DecodeError::Malformed("token order"));
        }
        ids.push(id);
    }
    if ids.is_empty() {
        Err(DecodeError::Malformed("token count"))
    } else {
        Ok(Effect::TokensEnd { ids })
    }
}
