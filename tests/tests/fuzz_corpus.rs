//! Every decoder of bytes from disk, over the checked-in corpus and over seeded
//! mutations of it.
//!
//! What must hold is in `fuzz/src/lib.rs`, which the fuzz targets share: no
//! panic, and an error or a value that stands for exactly these bytes. Fuzzing
//! looks for more inputs of that kind and needs a nightly compiler; this needs
//! neither and runs every time.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use decoders::{DECODERS, Decoder};
use t4_testkit::{Rng, Seed, workspace_root};

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is the library of the fuzz targets too")]
mod decoders;

/// Mutations of each decoder's corpus, and as many with their checksums made
/// right. `T4_FUZZ_MUTATIONS` changes it.
const MUTATIONS: u64 = 200_000;

fn corpus(decoder: &Decoder) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = workspace_root().join("fuzz/corpus").join(decoder.name);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{dir:?}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(&path).expect("file"))).collect()
}

/// Runs a decoder on bytes and, if something does not hold, says on which.
fn check(decoder: &Decoder, bytes: &[u8], origin: &str) -> bool {
    catch_unwind(AssertUnwindSafe(|| (decoder.check)(bytes))).unwrap_or_else(|_| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{} of {origin}, {} bytes: {hex}", decoder.name, bytes.len())
    })
}

#[test]
fn every_decoder_has_a_corpus_in_which_some_is_accepted() {
    let folders = std::fs::read_dir(workspace_root().join("fuzz/corpus")).expect("corpus");
    let folders = folders.map(|entry| entry.expect("entry").file_name().into_string());
    let folders: BTreeSet<String> = folders.map(|name| name.expect("a name in UTF-8")).collect();
    let names: BTreeSet<String> = DECODERS.iter().map(|decoder| decoder.name.into()).collect();
    assert_eq!(folders, names, "a folder of the corpus for each decoder");
    for decoder in DECODERS {
        let corpus = corpus(decoder);
        let accepted = corpus
            .iter()
            .filter(|(path, bytes)| check(decoder, bytes, &path.display().to_string()));
        assert!(accepted.count() > 0, "{} accepts nothing of its corpus", decoder.name);
    }
}

#[test]
fn every_decoder_has_a_fuzz_target() {
    let manifest = std::fs::read_to_string(workspace_root().join("fuzz/Cargo.toml"));
    let manifest = manifest.expect("fuzz/Cargo.toml");
    for decoder in DECODERS {
        let name = decoder.name;
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in Cargo.toml");
        let target = workspace_root().join(format!("fuzz/fuzz_targets/{name}.rs"));
        let target = std::fs::read_to_string(target).expect("a fuzz target");
        assert!(target.contains(&format!("fuzz(\"{name}\", bytes)")), "{name}");
    }
}

/// What is sealed again after nothing was changed is as it was: the seals know
/// where the checksums are. (What a power cut has torn is not whole.)
#[test]
fn sealing_a_whole_file_changes_nothing() {
    for decoder in DECODERS {
        for (path, bytes) in corpus(decoder) {
            let torn = path.ends_with("torn-tail");
            if !torn && check(decoder, &bytes, &path.display().to_string()) {
                let mut sealed = bytes.clone();
                (decoder.seal)(&mut sealed);
                assert_eq!(sealed, bytes, "{}", path.display());
            }
        }
    }
}

/// Beyond the checksums too: with them made right, some mutations are accepted
/// and some are not, or the mutations would never reach what is behind.
#[test]
fn mutations_are_refused_or_read_as_what_they_are() {
    let command = "cargo test -p t4-tests --test fuzz_corpus";
    let seed = Seed::announce("fuzz_corpus", command);
    let mutations = match std::env::var("T4_FUZZ_MUTATIONS") {
        Ok(text) => text.parse().expect("T4_FUZZ_MUTATIONS is a number"),
        Err(_) => MUTATIONS,
    };
    for (number, decoder) in (0..).zip(DECODERS) {
        let corpus: Vec<Vec<u8>> = corpus(decoder).into_iter().map(|(_, bytes)| bytes).collect();
        let mut rng = seed.round(number).rng();
        let (mut accepted, mut refused) = (0, 0);
        for count in 0..mutations {
            let mut bytes = rng.pick(&corpus).clone();
            for _ in 0..=rng.below(4) {
                mutate(&mut bytes, &corpus, &mut rng);
            }
            let origin = format!("mutation {count} of seed {seed}");
            check(decoder, &bytes, &origin);
            (decoder.seal)(&mut bytes);
            let sealed = check(decoder, &bytes, &format!("sealed {origin}"));
            *(if sealed { &mut accepted } else { &mut refused }) += 1;
        }
        println!("{}: {accepted} sealed mutations accepted, {refused} refused", decoder.name);
        if mutations >= MUTATIONS {
            assert!(accepted > 0 && refused > 0, "{} is not reached", decoder.name);
        }
    }
}

/// One change of the kinds that disks, crashes and attackers make.
fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.below(bytes.len() as u64 + 1) as usize;
    let length = rng.below(bytes.len() as u64 - at as u64 + 1) as usize;
    // Most ranges of interest are short.
    let length = if rng.chance(3, 4) { length.min(rng.below(16) as usize) } else { length };
    match rng.below(9) {
        0 | 1 => flip(bytes, at, rng),
        2 => set(bytes, at, rng),
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..at + length)),
        5 => bytes[at..at + length].fill(*rng.pick(&[0, 0xff])),
        6 => {
            let inserted = rng.bytes(length);
            bytes.splice(at..at, inserted);
        }
        7 => {
            let copied = bytes[at..at + length].to_vec();
            let to = rng.below(bytes.len() as u64 + 1) as usize;
            bytes.splice(to..to, copied);
        }
        _ => {
            let other = rng.pick(corpus);
            let from = rng.below(other.len() as u64 + 1) as usize;
            bytes.splice(at.., other[from..].iter().copied());
        }
    }
}

fn flip(bytes: &mut [u8], at: usize, rng: &mut Rng) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << rng.below(8);
    }
}

/// Overwrites a number of some width with one that is likely to matter.
fn set(bytes: &mut [u8], at: usize, rng: &mut Rng) {
    let near = rng.below(300).wrapping_sub(20);
    let value = *rng.pick(&[0, 1, near, u64::from(u32::MAX), i64::MAX as u64, u64::MAX, 1 << 63]);
    let width = *rng.pick(&[1, 2, 4, 8]);
    if let Some(place) = bytes.get_mut(at..at + width) {
        place.copy_from_slice(&value.to_le_bytes()[..width]);
    }
}
