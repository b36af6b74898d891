//! Random sequences against a naive oracle in which each watcher keeps its own
//! list of what it is owed.
//!
//! Each run prints its seed. `T4_SEED=n` replays only that run; `T4_ROUNDS=n`
//! sets the number of runs. `planted` checks that the oracle finds bugs.

mod deeds;
mod dice;
mod oracle;
mod planted;
mod world;

use deeds::Deeds;
use dice::Dice;
use planted::Fault;
use world::World;

/// The number of inputs in one run.
const STEPS: usize = 1_500;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn run(seed: u64, fault: Fault) -> (Result<(), String>, World) {
    let mut world = World::new(Dice::new(seed), fault);
    let result = world.run(STEPS);
    (result, world)
}

#[test]
fn the_hub_does_what_the_oracle_says() {
    let seeds = match number("T4_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = Dice::fresh_seed();
            first..first + number("T4_ROUNDS").unwrap_or(300)
        }
    };
    println!("seeds {seeds:?}");
    let mut deeds = Deeds::default();
    for seed in seeds {
        let (result, world) = run(seed, Fault::None);
        if let Err(violation) = result {
            panic!("T4_SEED={seed}: {violation}");
        }
        deeds.add(&world.deeds);
    }
    println!("{deeds:?}");
    if number("T4_SEED").is_none() && number("T4_ROUNDS").is_none() {
        deeds.assert_all_happened();
    }
}

#[test]
fn the_same_inputs_give_the_same_messages() {
    let seed = number("T4_SEED").unwrap_or_else(Dice::fresh_seed);
    println!("T4_SEED={seed}");
    let transcripts = [(); 2].map(|()| run(seed, Fault::None).1.transcript);
    assert_eq!(transcripts[0], transcripts[1], "T4_SEED={seed}");
}

#[test]
fn the_oracle_finds_planted_bugs() {
    let first = number("T4_SEED").unwrap_or_else(Dice::fresh_seed);
    println!("T4_SEED={first}");
    for fault in Fault::PLANTED {
        let (mut planted, mut found) = (0, 0);
        for seed in first..first + 25 {
            let (result, world) = run(seed, fault);
            planted += u32::from(world.planted);
            found += u32::from(result.is_err());
            assert!(world.planted || result.is_ok(), "T4_SEED={seed}: {result:?}");
        }
        println!("{fault:?}: planted {planted}, found {found}");
        // Not every bug can be found: the watcher may be cancelled before it
        // matters.
        assert!(planted >= 10 && found >= 5, "{fault:?}: {found} of {planted}");
    }
}
