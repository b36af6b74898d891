//! Numbers, names and byte strings in both encodings. Every read is checked.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::{DecodeError, FORMAT_VERSION};
use crate::permission::{Permission, PermissionKind};
use crate::record::PasswordHash;
use crate::tokens::{TokenHash, TokenId};

pub(super) fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

pub(super) fn put_permission(out: &mut BytesMut, permission: &Permission) {
    out.put_u8(match permission.kind {
        PermissionKind::Read => 0,
        PermissionKind::Write => 1,
        PermissionKind::ReadWrite => 2,
    });
    put_bytes(out, &permission.key);
    put_bytes(out, &permission.range_end);
}

/// Bytes still to be decoded.
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Reads the version in front.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut input = Input { rest: bytes };
        match input.u8("version")? {
            FORMAT_VERSION => Ok(input),
            found if found > FORMAT_VERSION => Err(DecodeError::NewerFormat(found)),
            _ => Err(DecodeError::Malformed("version")),
        }
    }

    /// Nothing may be left.
    pub(super) fn close(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Malformed("bytes at the end")) }
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or(DecodeError::Malformed(what))?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Malformed(what)),
        }
    }

    /// The shortest form only, so that each value has one encoding.
    pub(super) fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Malformed(what));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return if shortest { Ok(value) } else { Err(DecodeError::Malformed(what)) };
            }
        }
        Err(DecodeError::Malformed(what))
    }

    pub(super) fn slice(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.varint(what)?);
        let (slice, rest) = length
            .ok()
            .and_then(|length| self.rest.split_at_checked(length))
            .ok_or(DecodeError::Malformed(what))?;
        self.rest = rest;
        Ok(slice)
    }

    pub(super) fn bytes(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        Ok(Bytes::copy_from_slice(self.slice(what)?))
    }

    /// A name: text that is not empty.
    pub(super) fn name(&mut self, what: &'static str) -> Result<Arc<str>, DecodeError> {
        match std::str::from_utf8(self.slice(what)?) {
            Ok(name) if !name.is_empty() => Ok(name.into()),
            _ => Err(DecodeError::Malformed(what)),
        }
    }

    pub(super) fn password(&mut self) -> Result<PasswordHash, DecodeError> {
        Ok(PasswordHash(self.bytes("password hash")?))
    }

    /// A permission that can be granted.
    pub(super) fn permission(&mut self) -> Result<Permission, DecodeError> {
        let kind = match self.u8("permission kind")? {
            0 => PermissionKind::Read,
            1 => PermissionKind::Write,
            2 => PermissionKind::ReadWrite,
            _ => return Err(DecodeError::Malformed("permission kind")),
        };
        let key = self.bytes("permission key")?;
        let permission = Permission { kind, key, range_end: self.bytes("permission end")? };
        if permission.is_valid() {
            Ok(permission)
        } else {
            Err(DecodeError::Malformed("permission range"))
        }
    }

    pub(super) fn token_id(&mut self) -> Result<TokenId, DecodeError> {
        self.varint("token id").map(TokenId)
    }

    pub(super) fn token_hash(&mut self) -> Result<TokenHash, DecodeError> {
        let (hash, rest) =
            self.rest.split_first_chunk().ok_or(DecodeError::Malformed("token hash"))?;
        self.rest = rest;
        Ok(TokenHash(*hash))
    }
}
