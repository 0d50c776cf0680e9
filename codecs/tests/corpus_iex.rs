//! Replays the IEX fuzz corpora on stable.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "../fuzz/src/targets_iex.rs"]
#[allow(unreachable_pub)] // shared with the fuzz binaries
mod targets;

use std::path::Path;

/// Runs a target over its corpus, over every prefix of each file, and over each file's single-bit flips.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        println!("{}", path.display());
        run(&bytes);
        for cut in 0..bytes.len() {
            run(&bytes[..cut]);
        }
        if bytes.len() <= 256 {
            let mut flipped = bytes.clone();
            for bit in 0..bytes.len() * 8 {
                flipped[bit / 8] ^= 1 << (bit % 8);
                run(&flipped);
                flipped[bit / 8] ^= 1 << (bit % 8);
            }
        }
        files += 1;
    }
    assert!(files >= 5, "{target} has a corpus");
}

#[test]
fn iextp_corpus_holds() {
    replay("iextp", targets::iextp);
}

#[test]
fn tops_corpus_holds() {
    replay("tops", targets::tops);
}

#[test]
fn deep_corpus_holds() {
    replay("deep", targets::deep);
}

#[test]
fn deepplus_corpus_holds() {
    replay("deepplus", targets::deepplus);
}
