//! Hashes against another implementation's, refusals, and the work of a login.

use super::*;

const LOW: Cost = Cost::MIN;

fn verify(password: &[u8], stored: &str) -> bool {
    Verifier::new(LOW).verify(password, Some(stored.as_bytes()))
}

/// Made with libxcrypt 4 (`perl -e 'print crypt(password, setting)'`).
const FOREIGN: [(&[u8], &str); 5] = [
    (b"password", "$2a$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm"),
    (b"", "$2a$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq"),
    (&[b'a'; 72], "$2a$04$abcdefghijklmnopqrstuuBzzIgyKkz7xMWYSzkIjUSnxEQFQ0WNe"),
    ("pässwörd".as_bytes(), "$2b$05$abcdefghijklmnopqrstuuZVEMa1pjhlynBQ1qXmSvGBJpN9h1w8G"),
    (&[b'x'; 40], "$2y$06$......................taM4cq8Ff.WEX3jU8wwbdT69jXDQckq"),
];

#[test]
fn hashes_of_another_implementation_verify() {
    for (password, stored) in FOREIGN {
        assert!(verify(password, stored), "{stored}");
        assert!(Verifier::default().can_match(stored.as_bytes()));
        for (other, _) in FOREIGN.iter().filter(|(other, _)| *other != password) {
            assert!(!verify(other, stored), "{stored}");
        }
    }
}

#[test]
fn our_hashes_are_those_of_another_implementation() {
    for (password, stored) in &FOREIGN[..3] {
        let salt = StoredHash::parse(stored.as_bytes()).unwrap().salt;
        assert_eq!(hash(password, LOW, salt).unwrap(), stored.as_bytes());
    }
    assert!(hash(b"x", Cost::DEFAULT, [0; 16]).unwrap().starts_with(b"$2a$10$"));
}

#[test]
fn a_password_may_hold_any_bytes() {
    for password in [&b"a\0b"[..], b"\0", b"\xff\xfe", &[0; 72]] {
        let stored = hash(password, LOW, [7; 16]).unwrap();
        let stored = std::str::from_utf8(&stored).unwrap();
        assert!(verify(password, stored));
        assert!(!verify(b"a", stored));
    }
}

#[test]
fn longer_than_bcrypt_looks_is_refused_when_it_is_set() {
    assert!(hash(&[b'a'; 72], LOW, [0; 16]).is_ok());
    let refused = hash(&[b'a'; 73], LOW, [0; 16]).unwrap_err();
    assert_eq!(refused.to_string(), "bcrypt: password length exceeds 72 bytes");
    // But whoever has such a hash from elsewhere still logs in.
    assert!(verify(&[b'a'; 100], FOREIGN[2].1));
}

#[test]
fn nobody_logs_in_with_what_is_no_hash() {
    let good = FOREIGN[0].1;
    assert!(verify(b"password", good));
    let replaced = |at: usize, with: &str| {
        let mut text = good.to_owned();
        text.replace_range(at..at + with.len(), with);
        text
    };
    let bad = [
        String::new(),
        "password".into(),
        good[..59].to_owned(),
        format!("{good}x"),
        replaced(0, "x"),
        replaced(1, "1"),
        replaced(2, "x"),
        replaced(2, "c"),
        replaced(4, "03"),
        replaced(4, "32"),
        replaced(4, "99"),
        replaced(4, "+4"),
        replaced(4, " 4"),
        replaced(6, "4"),
        replaced(10, "!"),
        replaced(28, "!"),
        replaced(40, "="),
        // A letter of two bytes where the salt ends.
        replaced(28, "é"),
    ];
    for text in bad {
        assert!(!verify(b"password", &text), "{text}");
        assert!(!Verifier::default().can_match(text.as_bytes()), "{text}");
    }
    assert!(!Verifier::default().can_match(b"$2a$04$\xff\xfe"));
    assert!(!Verifier::new(LOW).verify(b"", Some(b"")));
    assert!(!Verifier::new(LOW).verify(b"", None));
}

#[test]
fn spare_bits_of_a_salt_do_not_count() {
    let with_bits = FOREIGN[0].1.replacen("stuu", "stuv", 1);
    assert_ne!(with_bits, FOREIGN[0].1);
    assert!(verify(b"password", &with_bits));
    assert!(!verify(b"passwort", &with_bits));
}

#[test]
fn any_single_changed_letter_of_a_hash_refuses() {
    let good = FOREIGN[0].1.as_bytes();
    for at in 7..good.len() {
        let mut bytes = good.to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        // The last letter of the salt has two bits that count: A and u differ.
        assert!(!Verifier::new(LOW).verify(b"password", Some(&bytes)), "letter {at}");
    }
}

#[test]
fn the_cost_of_an_older_hash_does_not_matter_to_the_answer() {
    let stored = hash(b"secret", Cost::new(5).unwrap(), [3; 16]).unwrap();
    for cost in 4..=7 {
        let verifier = Verifier::new(Cost::new(cost).unwrap());
        assert!(verifier.verify(b"secret", Some(&stored)));
        assert!(!verifier.verify(b"other", Some(&stored)));
    }
}

// At cost 31 this test would run for days.
#[test]
fn a_hash_that_costs_too_much_is_not_computed() {
    let of_cost = |cost: u32| FOREIGN[0].1.replacen("$04$", &format!("${cost:02}$"), 1);
    let low = Verifier::new(LOW);
    assert!(low.can_match(of_cost(16).as_bytes()));
    for cost in [17, 31] {
        let stored = of_cost(cost);
        assert!(!low.can_match(stored.as_bytes()));
        assert!(!low.verify(FOREIGN[0].0, Some(stored.as_bytes())));
    }
    // Whoever configures it means it.
    let high = Verifier::new(Cost::new(18).unwrap());
    assert!(high.can_match(of_cost(18).as_bytes()) && !high.can_match(of_cost(19).as_bytes()));
}

#[test]
fn costs_have_etcds_bounds() {
    assert_eq!(Cost::new(3), None);
    assert_eq!(Cost::new(4), Some(Cost::MIN));
    assert_eq!(Cost::new(31), Some(Cost::MAX));
    assert_eq!(Cost::new(32), None);
    assert_eq!(Cost::default().get(), 10);
    assert_eq!(Verifier::default().cost(), Cost::DEFAULT);
}

#[test]
fn the_form_on_the_wire() {
    let stored = FOREIGN[0].1.as_bytes();
    let wire = to_wire(stored);
    assert_eq!(from_wire(&wire).unwrap(), stored);
    // `base64(1)` folds at 76 letters, and ends with a line feed.
    let folded = format!("{}\r\n{}\n", &wire[..76], &wire[76..]);
    assert_eq!(from_wire(&folded).unwrap(), stored);
    assert_eq!(from_wire("").unwrap(), b"");
    assert_eq!(from_wire("YWI=").unwrap(), b"ab");
    // Spare bits are not looked at, as in Go.
    assert_eq!(from_wire("YWJ=").unwrap(), b"ab");
    for bad in ["YWI", "YW-_", "YWI= ", "Y", "YWI==", "é"] {
        assert_eq!(from_wire(bad), Err(PasswordError::NotBase64), "{bad:?}");
    }
}
