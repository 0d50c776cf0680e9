//! A channel against a naive model, whatever happens to it: packets on one to three lines (overlapping, twice, out
//! of order, lost), heartbeats, ends, other sessions, numbers from nowhere, copies that differ; answers and
//! snapshots, right, short, wrong, late or none; any time between them.
//!
//! What happens is what random bytes say: a failure prints the shortest bytes that fail, and stores their seed.

use proptest::prelude::*;

#[expect(unreachable_pub, reason = "the fuzz package has it in a library")]
#[path = "../fuzz/src/stream.rs"]
mod stream;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_is_delivered_in_order_once_as_it_was_and_what_is_live_is_whole(
        bytes in prop::collection::vec(any::<u8>(), 0..720)
    ) {
        stream::run(&bytes);
    }
}
