//! The whole state as bytes: what a checkpoint keeps of it.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::{Input, put_bytes, put_permission, put_varint};
use super::{DecodeError, FORMAT_VERSION};
use crate::permission::Permission;
use crate::record::{ROOT, Role, User};
use crate::state::AuthState;
use crate::tokens::{TOKENS_MAX, Token, TokenTable};

/// More than can ever be counted: so that no count runs over after it was
/// read.
const COUNT_MAX: u64 = 1 << 62;

impl AuthState {
    /// The whole state, for a checkpoint. The same bytes on every replica that
    /// has applied the same effects.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT_VERSION);
        out.put_u8(u8::from(self.enabled));
        put_varint(&mut out, self.revision);
        put_varint(&mut out, self.roles.size() as u64);
        for (name, role) in self.roles.iter() {
            put_bytes(&mut out, name.as_bytes());
            put_varint(&mut out, role.permissions.len() as u64);
            for permission in &role.permissions {
                put_permission(&mut out, permission);
            }
        }
        put_varint(&mut out, self.users.size() as u64);
        for user in self.users.values() {
            encode_user(&mut out, user);
        }
        put_varint(&mut out, self.tokens.next().0);
        put_varint(&mut out, self.tokens.len() as u64);
        for (id, token) in self.tokens.iter() {
            put_varint(&mut out, id.0);
            out.put_slice(&token.hash.0);
            put_bytes(&mut out, token.user.as_bytes());
        }
        out.freeze()
    }

    /// Reads what [`encode`](Self::encode) wrote. Any bytes may be given;
    /// memory is bounded by their length.
    ///
    /// # Errors
    /// If they are not exactly one state, with all that holds of one.
    pub fn decode(bytes: &[u8]) -> Result<AuthState, DecodeError> {
        let mut input = Input::open(bytes)?;
        let enabled = input.flag("enabled")?;
        let revision = input.varint("revision")?;
        if !(1..=COUNT_MAX).contains(&revision) {
            return Err(DecodeError::Malformed("revision"));
        }
        let mut state = AuthState { enabled, revision, ..AuthState::default() };
        decode_roles(&mut input, &mut state)?;
        decode_users(&mut input, &mut state)?;
        state.tokens = decode_tokens(&mut input, &state)?;
        input.close()?;
        if enabled && !state.is_admin(ROOT) {
            return Err(DecodeError::Malformed("enabled without root"));
        }
        Ok(state)
    }
}

fn encode_user(out: &mut BytesMut, user: &User) {
    put_bytes(out, user.name.as_bytes());
    out.put_u8(u8::from(user.no_password));
    put_bytes(out, &user.password.0);
    put_varint(out, user.credential_revision);
    put_varint(out, user.roles.len() as u64);
    for role in &user.roles {
        put_bytes(out, role.as_bytes());
    }
}

fn decode_roles(input: &mut Input<'_>, state: &mut AuthState) -> Result<(), DecodeError> {
    let mut last: Option<Arc<str>> = None;
    for _ in 0..input.varint("role count")? {
        let name = ascending(input, "role name", &mut last)?;
        let mut role = Role::new(Vec::new());
        for _ in 0..input.varint("permission count")? {
            add_permission(&mut role.permissions, input.permission()?)?;
        }
        if role.has_twins() {
            return Err(DecodeError::Malformed("a permission twice"));
        }
        state.put_role(name, role);
    }
    Ok(())
}

fn add_permission(list: &mut Vec<Permission>, next: Permission) -> Result<(), DecodeError> {
    if list.last().is_some_and(|last| last.key > next.key) {
        return Err(DecodeError::Malformed("permission order"));
    }
    list.push(next);
    Ok(())
}

fn decode_users(input: &mut Input<'_>, state: &mut AuthState) -> Result<(), DecodeError> {
    let mut last: Option<Arc<str>> = None;
    for _ in 0..input.varint("user count")? {
        let name = ascending(input, "user name", &mut last)?;
        let user = decode_user(input, name, state)?;
        state.put_user(user);
    }
    Ok(())
}

fn decode_user(
    input: &mut Input<'_>,
    name: Arc<str>,
    state: &AuthState,
) -> Result<User, DecodeError> {
    let no_password = input.flag("no-password flag")?;
    let password = input.password()?;
    if no_password && !password.0.is_empty() {
        return Err(DecodeError::Malformed("a password of a user without one"));
    }
    let credential_revision = input.varint("credential revision")?;
    if credential_revision > state.revision {
        return Err(DecodeError::Malformed("credential revision"));
    }
    let mut roles = Vec::new();
    let mut last = None;
    for _ in 0..input.varint("role count of a user")? {
        let role = ascending(input, "role of a user", &mut last)?;
        if role.as_ref() != ROOT && !state.roles.contains_key(&role) {
            return Err(DecodeError::Malformed("a role that is none"));
        }
        roles.push(role);
    }
    Ok(User::new(name, password, no_password, roles, credential_revision))
}

fn decode_tokens(input: &mut Input<'_>, state: &AuthState) -> Result<TokenTable, DecodeError> {
    let next = input.token_id()?;
    let count = input.varint("token count")?;
    if next.0 > COUNT_MAX {
        return Err(DecodeError::Malformed("next token id"));
    }
    if count > TOKENS_MAX as u64 || (count > 0 && !state.enabled) {
        return Err(DecodeError::Malformed("token count"));
    }
    let mut tokens = TokenTable::default();
    for _ in 0..count {
        let id = input.token_id()?;
        let hash = input.token_hash()?;
        let user = input.name("user of a token")?;
        // The one string of the user, not a copy for each token.
        let user = state.users.get(&user).ok_or(DecodeError::Malformed("user of a token"))?;
        if id >= next || !tokens.insert(id, Token { hash, user: user.name.clone() }) {
            return Err(DecodeError::Malformed("token order"));
        }
    }
    tokens.continue_at(next).ok_or(DecodeError::Malformed("next token id"))
}

/// The next name of a list in ascending order, none twice.
fn ascending(
    input: &mut Input<'_>,
    what: &'static str,
    last: &mut Option<Arc<str>>,
) -> Result<Arc<str>, DecodeError> {
    let name = input.name(what)?;
    if last.as_ref().is_some_and(|last| *last >= name) {
        return Err(DecodeError::Malformed("order of names"));
    }
    *last = Some(name.clone());
    Ok(name)
}
