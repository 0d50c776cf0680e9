//! Replays the committed fuzz corpus through the bodies of the fuzz targets, on stable.

mod common;

#[expect(unreachable_pub, reason = "the fuzz package has it in a library")]
#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

use common::Random;

#[test]
fn every_seed_of_the_corpus_passes_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::ALL {
        let mut seeds = 0;
        for seed in fs::read_dir(corpus.join(name)).unwrap() {
            target(&fs::read(seed.unwrap().path()).unwrap());
            seeds += 1;
        }
        assert!(seeds >= 10, "{name} has {seeds} seeds");
    }
}

#[test]
fn every_cut_of_a_request_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/control_message");
    for seed in fs::read_dir(corpus).unwrap() {
        let seed = fs::read(seed.unwrap().path()).unwrap();
        for cut in (0..seed.len()).step_by(1 + seed.len() / 40) {
            targets::control_message(&seed[..cut]);
        }
    }
}

#[test]
fn random_operations_pass() {
    for seed in 1..=60 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let bytes: Vec<u8> = (0..1_200).map(|_| random.next().to_le_bytes()[0]).collect();
        targets::subscriber_ops(&bytes);
    }
}
