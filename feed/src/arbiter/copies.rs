//! What was delivered, to know a copy that differs.
//!
//! A fingerprint of each of the last [`FINGERPRINTS`] messages.  When lines differ about one, the books can't be
//! trusted until a snapshot settles what was delivered before it.  Two messages in 2^32 that differ look equal.

use std::hash::Hasher as _;

use rustc_hash::FxHasher;

use crate::limits::FINGERPRINTS;

/// What a copy is, compared with what was delivered under its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    /// The same, as far as it is known.
    Same,
    /// Another.
    Differs,
    /// The first: the number was passed over.
    Late,
}

/// Fingerprints of what was delivered, by number.
#[derive(Debug)]
pub(super) struct Copies {
    /// 0 = the number was passed over.  Empty with one source: it has no copies.
    fingerprints: Box<[u32]>,
    /// Lines differ about a message that no snapshot has settled.
    conflicted: bool,
    /// What was delivered before this number a snapshot has settled.
    settled: u64,
}

impl Copies {
    /// Nothing delivered; `compares` if there is more than one source.
    pub(super) fn new(compares: bool) -> Self {
        Self {
            fingerprints: vec![0; if compares { FINGERPRINTS } else { 0 }].into_boxed_slice(),
            conflicted: false,
            settled: 0,
        }
    }

    /// Whether lines differ about what was delivered.
    pub(super) fn is_conflicted(&self) -> bool {
        self.conflicted
    }

    /// A message is delivered.
    #[inline]
    pub(super) fn deliver(&mut self, sequence: u64, message: &[u8]) {
        if let Some(slot) = self.fingerprints.get_mut(index(sequence)) {
            *slot = fingerprint(message);
        }
    }

    /// A number before `next` comes again.
    #[inline]
    pub(super) fn compare(&self, next: u64, sequence: u64, message: &[u8]) -> Compared {
        if next - sequence > self.fingerprints.len() as u64 {
            return Compared::Same;
        }
        match self.fingerprints.get(index(sequence)) {
            Some(0) => Compared::Late,
            Some(&known) if known != fingerprint(message) => Compared::Differs,
            _ => Compared::Same,
        }
    }

    /// A line brought another copy of this number.
    pub(super) fn differs(&mut self, sequence: u64) {
        self.conflicted |= sequence >= self.settled;
    }

    /// The numbers from `first` up to `next` are passed over.
    pub(super) fn pass_over(&mut self, first: u64, next: u64) {
        let slots = self.fingerprints.len();
        if next - first >= slots as u64 {
            return self.fingerprints.fill(0);
        }
        let (from, to) = (index(first), index(next));
        if from <= to {
            self.fingerprints[from..to].fill(0);
        } else {
            self.fingerprints[from..].fill(0);
            self.fingerprints[..to].fill(0);
        }
    }

    /// A snapshot takes the place of what was delivered before `next`.
    pub(super) fn settle(&mut self, next: u64) {
        self.conflicted = false;
        self.settled = next;
    }

    /// Numbers begin anew.
    pub(super) fn start(&mut self) {
        self.fingerprints.fill(0);
        self.settle(0);
    }
}

#[inline]
pub(super) fn fingerprint(message: &[u8]) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write(message);
    // The upper bits are the well mixed ones; 0 means "none".
    u32::try_from(hasher.finish() >> 32).unwrap_or(0).max(1)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what is left of the division is far below any usize"
)]
fn index(sequence: u64) -> usize {
    (sequence % FINGERPRINTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_or_differs_and_what_was_passed_over_is_late() {
        let mut copies = Copies::new(true);
        copies.deliver(1, b"a");
        copies.pass_over(2, 4);
        copies.deliver(4, b"d");
        let compare = |sequence, message: &[u8]| copies.compare(5, sequence, message);
        assert_eq!(compare(1, b"a"), Compared::Same);
        assert_eq!(compare(1, b"b"), Compared::Differs);
        assert_eq!(compare(3, b"c"), Compared::Late);
        assert_eq!(compare(4, b"d"), Compared::Same);
    }

    #[test]
    fn passing_over_clears_what_it_passes_and_nothing_else_wherever_the_ring_ends() {
        let ring = FINGERPRINTS as u64;
        let (first, next) = (ring - 3, ring + 2);
        let mut copies = Copies::new(true);
        for sequence in 0..ring {
            copies.deliver(sequence + 2, b"x");
        }
        copies.pass_over(first, next);
        for sequence in 2..first {
            assert_eq!(copies.compare(next, sequence, b"x"), Compared::Same);
        }
        for sequence in first..next {
            assert_eq!(copies.compare(next, sequence, b"x"), Compared::Late);
        }
        copies.pass_over(next, next + 10 * ring);
        assert_eq!(copies.compare(next + 1, next - 1, b"x"), Compared::Late);
    }
}
