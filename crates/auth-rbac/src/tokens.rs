//! The tokens that are alive: of each its hash, never the token itself.
//!
//! Part of the replicated state, so a token is valid on every node and
//! survives a restart. Until when one lives is volatile and not here: see
//! [`TokenClock`](crate::TokenClock).

use std::fmt;
use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

/// At most so many tokens are alive. One more ends another: see
/// [`Command::IssueToken`](crate::Command::IssueToken).
pub const TOKENS_MAX: usize = 100_000;

/// At most so many of them belong to one user, so that a user that logs in
/// without end outlives its own tokens and not those of others.
pub const USER_TOKENS_MAX: usize = 10_000;

/// The id of a token, for the clock that expires it. Counts up, and is never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub u64);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The SHA-256 of a token's text: all that is ever stored of it. Found by
/// comparing hashes, so the time of a look-up reveals nothing about a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(pub [u8; 32]);

/// Not shown: it is of no use to a reader of logs.
impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// A token that is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The SHA-256 of its text.
    pub hash: TokenHash,
    /// Its user.
    pub user: Arc<str>,
}

/// All tokens that are alive. Copies share what they have in common: a login
/// costs a few tree nodes, however many tokens there are.
#[derive(Clone)]
pub(crate) struct TokenTable {
    /// Above every id that was ever given.
    next: TokenId,
    tokens: RedBlackTreeMapSync<TokenId, Token>,
    /// Exactly the hashes of `tokens`.
    by_hash: RedBlackTreeMapSync<TokenHash, TokenId>,
    /// Exactly the users of `tokens`; no set is empty.
    by_user: RedBlackTreeMapSync<Arc<str>, RedBlackTreeSetSync<TokenId>>,
}

impl Default for TokenTable {
    /// No tokens; the first will have the id 1.
    fn default() -> Self {
        TokenTable {
            next: TokenId(1),
            tokens: RedBlackTreeMapSync::new_sync(),
            by_hash: RedBlackTreeMapSync::new_sync(),
            by_user: RedBlackTreeMapSync::new_sync(),
        }
    }
}

impl TokenTable {
    /// The same tokens; the next will have the id `next`. None if that was
    /// given before.
    pub(crate) fn continue_at(self, next: TokenId) -> Option<Self> {
        (next >= self.next).then_some(TokenTable { next, ..self })
    }

    pub(crate) fn next(&self) -> TokenId {
        self.next
    }

    pub(crate) fn len(&self) -> usize {
        self.tokens.size()
    }

    pub(crate) fn get(&self, id: TokenId) -> Option<&Token> {
        self.tokens.get(&id)
    }

    pub(crate) fn find(&self, hash: &TokenHash) -> Option<(TokenId, &Token)> {
        let id = *self.by_hash.get(hash)?;
        Some((id, self.tokens.get(&id)?))
    }

    /// In ascending order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TokenId, &Token)> {
        self.tokens.iter().map(|(id, token)| (*id, token))
    }

    /// Who must go before `user` gets another one: its own oldest if it has
    /// its share; if the table is full, `preferred` if that is alive, else
    /// the oldest of all.
    pub(crate) fn one_too_many(&self, user: &str, preferred: Option<TokenId>) -> Option<TokenId> {
        let own = self.by_user.get(user);
        if let Some(own) = own.filter(|own| own.size() >= USER_TOKENS_MAX) {
            return own.first().copied();
        }
        if self.len() < TOKENS_MAX {
            return None;
        }
        let alive = preferred.filter(|id| self.tokens.contains_key(id));
        alive.or_else(|| self.tokens.first().map(|(id, _)| *id))
    }

    /// Adds a token. False if its id was given before or its hash is in use;
    /// then nothing is changed.
    #[must_use]
    pub(crate) fn insert(&mut self, id: TokenId, token: Token) -> bool {
        if id < self.next || id == TokenId(u64::MAX) || self.by_hash.contains_key(&token.hash) {
            return false;
        }
        self.next = TokenId(id.0 + 1);
        self.by_hash.insert_mut(token.hash, id);
        let mut own = self.by_user.get(&token.user).cloned().unwrap_or_default();
        own.insert_mut(id);
        self.by_user.insert_mut(token.user.clone(), own);
        self.tokens.insert_mut(id, token);
        true
    }

    /// Ends a token. False if it is not alive.
    pub(crate) fn remove(&mut self, id: TokenId) -> bool {
        let Some(token) = self.tokens.get(&id).cloned() else { return false };
        self.tokens.remove_mut(&id);
        self.by_hash.remove_mut(&token.hash);
        let mut own = self.by_user.get(&token.user).cloned().unwrap_or_default();
        own.remove_mut(&id);
        if own.is_empty() {
            self.by_user.remove_mut(&token.user);
        } else {
            self.by_user.insert_mut(token.user, own);
        }
        true
    }

    /// Ends all tokens of a user; they are returned, ascending.
    pub(crate) fn remove_user(&mut self, user: &str) -> Vec<TokenId> {
        let Some(own) = self.by_user.get(user) else { return Vec::new() };
        let ids: Vec<TokenId> = own.iter().copied().collect();
        for id in &ids {
            self.remove(*id);
        }
        ids
    }

    /// Ends all tokens; they are returned, ascending.
    pub(crate) fn clear(&mut self) -> Vec<TokenId> {
        let ids = self.tokens.keys().copied().collect();
        *self = TokenTable { next: self.next, ..TokenTable::default() };
        ids
    }
}

impl fmt::Debug for TokenTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenTable").field("next", &self.next).field("alive", &self.len()).finish()
    }
}
