//! Replays the committed fuzz corpus through the bodies of the fuzz targets, on stable.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

#[expect(unreachable_pub, reason = "the fuzz package has it in a library")]
#[path = "../fuzz/src/targets.rs"]
mod targets;

#[test]
fn every_seed_of_the_corpus_passes_its_target() {
    for (name, target) in targets::ALL {
        let seeds = seeds(name);
        assert!(seeds.len() >= 10, "{name} has {} seeds", seeds.len());
        for seed in seeds {
            target(&seed);
        }
    }
}

#[test]
fn every_cut_and_every_damaged_byte_of_a_small_seed_passes_its_target() {
    for (name, target) in targets::ALL {
        for seed in seeds(name) {
            if seed.len() > 300 {
                continue;
            }
            for cut in 0..seed.len() {
                target(&seed[..cut]);
            }
            for at in 0..seed.len() {
                let mut damaged = seed.clone();
                for mask in [0x01, 0x80, 0xff] {
                    damaged[at] ^= mask;
                    target(&damaged);
                    damaged[at] = seed[at];
                }
            }
        }
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    fs::read_dir(corpus.join(name))
        .unwrap()
        .map(|seed| fs::read(seed.unwrap().path()).unwrap())
        .collect()
}
