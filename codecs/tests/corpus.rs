//! Replays the committed fuzz corpus through the bodies of the fuzz targets, on stable.
#![allow(clippy::expect_used, reason = "the bodies assert")]

use std::fs;
use std::path::Path;

#[expect(unreachable_pub, reason = "the fuzz package has it in a library")]
#[path = "../fuzz/src/targets.rs"]
mod targets;

#[test]
fn every_seed_of_the_corpus_passes_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::ALL {
        let mut seeds = 0;
        for seed in fs::read_dir(corpus.join(name)).unwrap() {
            target(&fs::read(seed.unwrap().path()).unwrap());
            seeds += 1;
        }
        assert!(seeds >= 20, "{name} has {seeds} seeds");
    }
}

#[test]
fn every_cut_and_every_bit_flip_of_a_small_seed_passes_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::ALL {
        for seed in fs::read_dir(corpus.join(name)).unwrap() {
            let seed = fs::read(seed.unwrap().path()).unwrap();
            if seed.len() > 200 {
                continue;
            }
            for cut in 0..seed.len() {
                target(&seed[..cut]);
            }
            for bit in 0..seed.len() * 8 {
                let mut flipped = seed.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                target(&flipped);
            }
        }
    }
}
