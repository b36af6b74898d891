//! The text of a simple token, and the hash that is stored of it.
//!
//! A token is `letters.index`, etcd's form. The letters are the secret: 128
//! random bits. Only their SHA-256 is replicated and stored, so that neither the
//! log nor a checkpoint holds anything that logs in. The index is where in the
//! log the token was made: a node that has not got that far waits for it before
//! it says that the token is unknown.
//!
//! Non-goals: random bytes; the table of live tokens and their users.

use std::fmt;

use aws_lc_rs::digest;

use crate::tokens::TokenHash;

/// Random bytes that a token is made of.
pub const TOKEN_RANDOM_BYTES: usize = 16;

/// The letters of a token: the fewest that 128 bits fit in, more than etcd's 16.
pub const TOKEN_LETTERS: usize = 23;

const ALPHABET: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

// Each random number has letters of its own: 52^23 is more than 2^128.
const _: () = assert!((u128::MAX / 52u128.pow(22)) < 52);

/// A simple token: a secret that logs in. `Debug` does not show it, and there is
/// no `Display`; [`SimpleToken::reveal`] is the one way to its text.
#[derive(Clone, PartialEq, Eq)]
pub struct SimpleToken {
    letters: [u8; TOKEN_LETTERS],
}

impl SimpleToken {
    /// The token of these random bytes.
    #[must_use]
    pub fn from_random(random: [u8; TOKEN_RANDOM_BYTES]) -> Self {
        let mut rest = u128::from_le_bytes(random);
        let mut letters = [0; TOKEN_LETTERS];
        for letter in &mut letters {
            *letter = ALPHABET[(rest % 52) as usize];
            rest /= 52;
        }
        SimpleToken { letters }
    }

    /// What is stored of it: SHA-256 of the letters, without the index, which is
    /// not known yet when the token is proposed to the log.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        hash_letters(&self.letters)
    }

    /// The text that the client gets and sends back; `index` is the place in the
    /// log from which on the token is known.
    #[must_use]
    pub fn reveal(&self, index: u64) -> String {
        let letters = std::str::from_utf8(&self.letters).expect("letters are ASCII");
        format!("{letters}.{index}")
    }
}

impl fmt::Debug for SimpleToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimpleToken(…)")
    }
}

/// What a presented text says: which token, and from where in the log on it is
/// known. The index is the client's word: a wait for it must have a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresentedToken {
    /// The hash to look up.
    pub hash: TokenHash,
    /// The place in the log.
    pub index: u64,
}

impl PresentedToken {
    /// Reads what a client sent; none if no token of ours looks like this.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (letters, index) = text.split_once('.')?;
        if letters.len() != TOKEN_LETTERS || !letters.bytes().all(|b| b.is_ascii_alphabetic()) {
            return None;
        }
        // One text for each token: no sign, no leading zero.
        let number = index.parse::<u64>().ok()?;
        if index.starts_with('+') || (index.starts_with('0') && index != "0") {
            return None;
        }
        Some(PresentedToken { hash: hash_letters(letters.as_bytes()), index: number })
    }
}

fn hash_letters(letters: &[u8]) -> TokenHash {
    let sum = digest::digest(&digest::SHA256, letters);
    TokenHash(sum.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was_given() {
        let token = SimpleToken::from_random(*b"sixteen random b");
        let text = token.reveal(42);
        assert!(text.ends_with(".42"), "{text}");
        let presented = PresentedToken::parse(&text).unwrap();
        assert_eq!(presented, PresentedToken { hash: token.hash(), index: 42 });
        let last = token.reveal(u64::MAX);
        assert_eq!(PresentedToken::parse(&last).unwrap().index, u64::MAX);
        assert_eq!(PresentedToken::parse(&token.reveal(0)).unwrap().index, 0);
    }

    #[test]
    fn the_letters_are_the_number_in_base_52() {
        let zero = SimpleToken::from_random([0; 16]);
        assert_eq!(zero.reveal(7), "aaaaaaaaaaaaaaaaaaaaaaa.7");
        let mut five = [0; 16];
        five[0] = 57;
        assert_eq!(SimpleToken::from_random(five).reveal(7), "fbaaaaaaaaaaaaaaaaaaaaa.7");
        // No bit is lost: the letters give the number back.
        let random = [0xff; 16];
        let token = SimpleToken::from_random(random);
        let digit = |letter: &u8| ALPHABET.iter().position(|a| a == letter).unwrap() as u128;
        let back = token.letters.iter().rev().fold(0u128, |sum, l| sum * 52 + digit(l));
        assert_eq!(back.to_le_bytes(), random);
    }

    #[test]
    fn the_stored_hash_is_sha256_of_the_letters() {
        let token = SimpleToken::from_random([0; 16]);
        let hex: String = token.hash().0.iter().map(|b| format!("{b:02x}")).collect();
        // printf aaaaaaaaaaaaaaaaaaaaaaa | sha256sum
        assert_eq!(hex, "897d3e95b65f26676081f8b9f3a98b6ee4424566303e8d4e7c7522ebae219eab");
    }

    #[test]
    fn what_is_no_token_of_ours_is_refused() {
        let good = "abcdefghijklmnopqrstuvw.12";
        assert!(PresentedToken::parse(good).is_some());
        for bad in [
            "",
            ".",
            "abcdefghijklmnopqrstuvw",
            "abcdefghijklmnopqrstuvw.",
            "abcdefghijklmnopqrstuv.12",
            "abcdefghijklmnopqrstuvwx.12",
            "abcdefghijklmnopqrstuv1.12",
            "abcdefghijklmnopqrstué.12",
            "abcdefghijklmnopqrstuvw.+12",
            "abcdefghijklmnopqrstuvw.-12",
            "abcdefghijklmnopqrstuvw.012",
            "abcdefghijklmnopqrstuvw.00",
            "abcdefghijklmnopqrstuvw.12.3",
            "abcdefghijklmnopqrstuvw.12 ",
            "abcdefghijklmnopqrstuvw.18446744073709551616",
        ] {
            assert_eq!(PresentedToken::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn debug_does_not_show_it() {
        let token = SimpleToken::from_random(*b"sixteen random b");
        let text = token.reveal(3);
        let secret = text.split('.').next().unwrap();
        assert!(!format!("{token:?}").contains(secret));
    }
}
