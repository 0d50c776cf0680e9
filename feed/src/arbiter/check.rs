//! The arbiter's invariants, to be looked at by tests after whatever happened.

use super::{Arbiter, Phase};
use crate::limits::GAP_RANGES_MAX;

impl<const CANARY: u8> Arbiter<CANARY> {
    /// Looks whether the invariants hold: for tests, since it takes long.
    ///
    /// # Errors
    ///
    /// What doesn't hold.
    pub fn check(&self) -> Result<(), String> {
        let must = |holds: bool, what: &str| {
            if holds {
                Ok(())
            } else {
                Err(format!(
                    "not so: {what}; {}, {:?} of which {} are held, {:?}",
                    self.phase.name(),
                    self.next..self.known_end,
                    self.held.len(),
                    self.gaps
                ))
            }
        };
        let known = self.next..self.known_end;
        must(self.next <= self.known_end, "what is next is known to come")?;
        let ranges = self.gaps.ranges();
        let in_order = ranges.iter().all(|range| range.first <= range.last)
            && ranges.windows(2).all(|pair| pair[0].last < pair[1].first)
            && ranges
                .iter()
                .all(|range| known.contains(&range.first) && known.contains(&range.last));
        must(
            in_order && ranges.len() <= GAP_RANGES_MAX,
            "ranges are in order and known",
        )?;
        let held = self
            .held
            .numbers()
            .filter(|number| known.contains(number) && !self.gaps.contains(*number));
        let (held, missing) = (held.count(), self.gaps.count());
        must(
            held == self.held.len(),
            "what is held is known and not missing",
        )?;
        must(
            held as u64 + missing == self.known_end - self.next,
            "every known number is held or missing",
        )?;
        let waits = self.phase == Phase::Loading || self.held.get(self.next).is_none();
        must(waits, "what can be delivered is")?;
        let calm = self.phase == Phase::Synchronized
            && !self.lost
            && !self.copies.is_conflicted()
            && self.gaps.declared().next().is_none();
        must(!self.is_live() || calm, "what is live can be trusted")?;
        let counters = &self.counters;
        let won = self
            .lines
            .iter()
            .chain([&self.replies])
            .map(|line| line.counters().messages_won)
            .sum::<u64>();
        let became = counters.delivered
            + held as u64
            + counters.messages_superseded
            + counters.messages_evicted
            + counters.messages_abandoned
            + counters.messages_overflowed;
        must(
            won == became,
            "every message that was taken became something",
        )?;
        let told = counters.filled_by_line
            + counters.filled_by_request
            + counters.filled_by_snapshot
            + counters.messages_lost
            + self.gaps.declared_count();
        must(
            counters.messages_missing == told,
            "every missing message became something",
        )
    }
}
