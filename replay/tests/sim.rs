//! The simulation: all invariants over many seeds, and the tests of the tests.  `TICKCAST_SEEDS` says how many, and
//! `TICKCAST_SEED` which one alone.
#![allow(clippy::unwrap_used)]

use tickcast_replay::sim::campaign::{CANARIES, CANARY_SEEDS};
use tickcast_replay::sim::{Campaign, Scenario, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn campaign(seeds: u64) -> Campaign {
    Campaign {
        first_seed: 0,
        seeds,
        threads: 2,
    }
}

#[test]
fn all_invariants_hold_over_two_hundred_seeds_and_everything_that_can_go_wrong_does() {
    if let Some(seed) = number("TICKCAST_SEED") {
        let outcome = run(&Scenario::draw(seed));
        panic!("seed {seed}: {:#?}\n{outcome:#?}", Scenario::draw(seed));
    }
    let seeds = number("TICKCAST_SEEDS").unwrap_or(200);
    let findings = campaign(seeds).run(&|| {});
    println!(
        "{} runs, {} messages published, {} delivered, {} comparisons, longest repair {} ms",
        findings.runs,
        findings.published,
        findings.delivered,
        findings.compared,
        findings.repaired_after_ns_max / 1_000_000
    );
    assert!(findings.violations.is_empty(), "{:#?}", findings.violations);
    assert!(findings.unequal.is_empty(), "{:?}", findings.unequal);
    assert!(findings.unseen().is_empty(), "{:?}", findings.unseen());
}

#[test]
fn every_canary_is_found_within_fifty_seeds() {
    for (name, run) in CANARIES {
        let found = campaign(CANARY_SEEDS).hunt(*run);
        println!("{name}: {found:?}");
        assert!(
            found.is_some(),
            "{name} isn't found in {CANARY_SEEDS} seeds"
        );
    }
}
