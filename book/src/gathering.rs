//! Finding the orders of some instruments without staying away from the feed: a few pages at a time.
//!
//! Queues aren't linked (see [`pages`](crate::pages)), so who wants them has to look at every page, some milliseconds
//! where there are a million orders.  Meanwhile messages are applied: an order that is added or moved is noted at
//! once, so when all pages were looked at, each living order of those instruments is known, and stays so until its
//! instrument's orders are taken.

use hashbrown::HashMap;

use crate::limits::NOTED_MAX;

/// What is known so far.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    /// By instrument, the ids of its orders; some of them may live no more, and some may be here twice.
    found: HashMap<u16, Vec<u64>>,
    /// How many they are.
    noted: usize,
    /// Instruments, a bit each, so that others cost nothing.
    wanted: Box<[u64]>,
    /// The page that is looked at next.
    pub(crate) next: usize,
}

impl Gathering {
    /// For these instruments.
    pub(crate) fn new(instruments: impl Iterator<Item = u16>) -> Self {
        let mut gathering = Self {
            wanted: vec![0; 1 << 10].into_boxed_slice(),
            ..Self::default()
        };
        for instrument in instruments {
            gathering.wanted[usize::from(instrument / 64)] |= 1 << (instrument % 64);
        }
        gathering
    }

    /// An order that lives here and now.
    #[inline]
    pub(crate) fn note(&mut self, instrument: u16, order_id: u64) {
        if self.wanted[usize::from(instrument / 64)] >> (instrument % 64) & 1 != 0 {
            self.found.entry(instrument).or_default().push(order_id);
            self.noted += 1;
        }
    }

    /// Whether so much was noted, while nobody took it, that it is better begun anew.
    pub(crate) fn is_stale(&self, live: usize) -> bool {
        self.noted > 4 * live + NOTED_MAX
    }

    /// What isn't taken yet, from the beginning.
    pub(crate) fn again(self) -> Self {
        Self {
            wanted: self.wanted,
            ..Self::default()
        }
    }

    /// The orders of an instrument, each once; it isn't wanted any more.
    pub(crate) fn take(&mut self, instrument: u16) -> Vec<u64> {
        self.wanted[usize::from(instrument / 64)] &= !(1 << (instrument % 64));
        let mut found = self.found.remove(&instrument).unwrap_or_default();
        self.noted -= found.len();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether nothing is wanted any more.
    pub(crate) fn is_over(&self) -> bool {
        self.wanted.iter().all(|&word| word == 0)
    }

    /// The instruments whose orders weren't taken yet.
    #[cfg(test)]
    pub(crate) fn wants(&self) -> Vec<u16> {
        let wanted = |one: &u16| self.wanted[usize::from(one / 64)] >> (one % 64) & 1 != 0;
        (0..=u16::MAX).filter(wanted).collect()
    }
}
