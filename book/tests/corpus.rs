//! What the fuzzer has found worth keeping, on stable.

mod common;

use std::path::Path;

#[test]
fn every_input_of_the_corpus_leaves_everything_equal() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/book_ops");
    let mut inputs = 0;
    let (mut events, mut faults) = (0, 0);
    for entry in std::fs::read_dir(corpus).expect("the corpus is there") {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        let summary = common::run_bytes(&std::fs::read(path).expect("an input"));
        inputs += 1;
        events += summary.events;
        faults += summary.faults;
    }
    println!("{inputs} inputs, {events} events, {faults} faults");
    assert!(inputs >= 8 && events > 1000 && faults > 100);
}
