//! What is done about holes: when one is a gap, when a gap is repaired, hopeless or lost, and what is told of it.
//!
//! Requests are the business of `recovery`, snapshots that of [`loads`](super::loads).

use super::{Arbiter, Output, Phase, canary};
use crate::gaps::TooMany;
use crate::limits::GAP_FILL_NS_MAX;
use crate::line::LineState;
use crate::recovery::Request;
use crate::session::Missing;

impl<const CANARY: u8> Arbiter<CANARY> {
    /// Time passes.  Cheap where nothing is due.
    #[inline]
    pub fn handle_timeout(&mut self, now: u64, out: &mut impl Output) {
        if self.config.live {
            let (silent, down) = (self.config.line_silent_ns, self.config.line_down_ns);
            for line in &mut self.lines {
                line.handle_timeout(now, silent, down);
            }
            if self.silence_ends().is_some_and(|end| now >= end) {
                self.all_down = true;
                self.counters.all_lines_down += 1;
            }
        }
        self.attend(now, out);
    }

    /// When all lines are as good as down, whatever else they bring, if nothing of the session comes.
    pub(super) fn silence_ends(&self) -> Option<u64> {
        let waits = self.phase != Phase::Idle && !self.session.is_ended() && !self.all_down;
        waits.then(|| {
            self.session
                .heard()
                .saturating_add(self.config.line_down_ns)
        })
    }

    /// Looks after holes, gaps and snapshots, and tells what changed.
    pub(super) fn attend(&mut self, now: u64, out: &mut impl Output) {
        if matches!(self.phase, Phase::Loading | Phase::Lost) && self.is_whole() {
            // Everything came after all.
            self.abandon_load();
            self.phase = Phase::GapFill;
            self.drain(out);
        }
        if self.copies.is_conflicted() && self.is_delivering() && now >= self.conflict_heeded_from {
            let pause = self.recovery.config().snapshot_retry_ns;
            self.conflict_heeded_from = now.saturating_add(pause);
            self.enter_trouble(now);
            self.escalate(now);
        }
        if !self.gaps.is_empty() && self.phase != Phase::Loading {
            self.declare(now);
        }
        if self.phase == Phase::GapFill {
            self.recovery.handle_timeout(now);
            if self.gaps.declared().next().is_none() && !self.missed_end {
                self.repaired(now);
            } else if self.is_hopeless(now) {
                self.escalate(now);
            }
        }
        if let Some(due) = self.load.due
            && now >= due
        {
            self.load.due = None;
            if self.recovery.config().snapshot_servers > 0 {
                self.want_snapshot(now);
            } else {
                self.go_on_without(now);
            }
        }
        if self.phase == Phase::Lost {
            self.give_up(out);
        }
        self.tell(out);
    }

    /// Whether the books are right as soon as nothing is held.
    pub(super) fn is_whole(&self) -> bool {
        self.gaps.is_empty() && !self.lost && !self.copies.is_conflicted()
    }

    pub(super) fn is_delivering(&self) -> bool {
        matches!(self.phase, Phase::Synchronized | Phase::GapFill)
    }

    /// Holes that are old enough, or that too much waits behind, become gaps.
    pub(super) fn declare(&mut self, now: u64) {
        let many = self.held.len() > self.config.held_messages_max
            || self.held.bytes() > self.config.held_bytes_max;
        let until = if many || self.beyond_requests {
            Some(now)
        } else {
            now.checked_sub(self.config.reorder_wait_ns)
        };
        let Some(until) = until else { return };
        let (gaps, messages) = self.gaps.declare(now, until);
        if gaps == 0 {
            return;
        }
        self.count_missing(gaps, messages);
        if self.phase == Phase::Synchronized {
            self.enter_trouble(now);
            self.phase = Phase::GapFill;
        }
    }

    pub(super) fn enter_trouble(&mut self, now: u64) {
        if self.phase == Phase::Synchronized {
            self.trouble_since = now;
        }
        self.progress_at = now;
    }

    /// When a snapshot is better than what comes little by little.
    pub(super) fn filling_ends(&self) -> Option<u64> {
        if self.recovery.config().snapshot_servers == 0 {
            return None;
        }
        let since = self.gaps.first_declared()?.max(self.loaded_at);
        Some(since.saturating_add(GAP_FILL_NS_MAX))
    }

    /// Whether the gaps won't be filled by lines or requests.
    pub(super) fn is_hopeless(&self, now: u64) -> bool {
        let config = self.recovery.config();
        if self.beyond_requests
            || self.recovery.is_exhausted()
            || self.filling_ends().is_some_and(|end| now >= end)
            || now.saturating_sub(self.progress_at) >= config.gap_age_ns_max
        {
            return true;
        }
        // Without a snapshot server, however much is missing has to be asked for.
        if config.snapshot_servers > 0 && self.gaps.count() > config.request_messages_max {
            return true;
        }
        if config.request_servers > 0 {
            return false;
        }
        // Without servers only another line can have it.
        let living = self
            .lines
            .iter()
            .filter(|line| line.state() != LineState::Down)
            .count();
        living < 2
    }

    pub(super) fn repaired(&mut self, now: u64) {
        self.phase = Phase::Synchronized;
        self.recovery.reset();
        self.beyond_requests = false;
        self.repairs.add(now.saturating_sub(self.trouble_since));
    }

    /// Requests don't do: a snapshot, if there is one, or go on without.
    pub(super) fn escalate(&mut self, now: u64) {
        self.recovery.reset();
        if self.recovery.config().snapshot_servers > 0 {
            self.begin_loads(now);
        } else {
            self.phase = Phase::Lost;
        }
    }

    /// What is missing is lost: goes on behind it.
    pub(super) fn give_up(&mut self, out: &mut impl Output) {
        loop {
            self.drain(out);
            let Some(gap) = self
                .gaps
                .ranges()
                .first()
                .copied()
                .filter(|gap| gap.declared.is_some() && gap.first == self.next)
            else {
                break;
            };
            self.count_lost(gap.count());
            self.lost = true;
            self.pass_over(gap.last.saturating_add(1), out);
        }
        self.beyond_requests = false;
    }

    pub(super) fn tell(&mut self, out: &mut impl Output) {
        let calm = self.phase == Phase::Synchronized
            && !self.regressed
            && !self.all_down
            && !self.copies.is_conflicted();
        // A hole that isn't a gap yet leaves trust as it is.
        let live = calm && (self.told_live == Some(true) || self.gaps.is_empty());
        if self.phase != Phase::Idle {
            self.trust(live, out);
        }
    }

    pub(super) fn trust(&mut self, live: bool, out: &mut impl Output) {
        if self.told_live == Some(live) {
            return;
        }
        self.told_live = Some(live);
        if CANARY == canary::STALE_UNTOLD && !live {
            return;
        }
        out.trust(live);
    }

    /// When [`Arbiter::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let lines = self.config.live.then(|| {
            self.lines
                .iter()
                .filter_map(|line| {
                    line.poll_timeout(self.config.line_silent_ns, self.config.line_down_ns)
                })
                .chain(self.silence_ends())
                .min()
        });
        let conflict = (self.copies.is_conflicted() && self.is_delivering())
            .then_some(self.conflict_heeded_from);
        let hole = (self.phase != Phase::Loading)
            .then(|| self.gaps.oldest_hole())
            .flatten()
            .map(|noticed| noticed.saturating_add(self.config.reorder_wait_ns));
        let gap = (self.phase == Phase::GapFill).then(|| {
            let age = self.recovery.config().gap_age_ns_max;
            let stuck = self.progress_at.saturating_add(age);
            self.filling_ends().map_or(stuck, |end| end.min(stuck))
        });
        let request = (self.phase == Phase::GapFill)
            .then(|| self.recovery.poll_timeout())
            .flatten();
        [lines.flatten(), conflict, hole, gap, request, self.load.due]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next request that is due.
    pub fn poll_request(&mut self, now: u64) -> Option<Request> {
        if self.phase != Phase::GapFill {
            return None;
        }
        self.recovery.poll_request(now, &self.gaps)
    }

    pub(super) fn open_hole(&mut self, first: u64, last: u64, now: u64) {
        if let Err(TooMany) = self.gaps.open(first, last, now) {
            self.known_end = self.known_end.max(last.saturating_add(1));
            self.collapse(now);
        }
    }

    /// Forgets all that is held: everything that isn't delivered is one gap now, and a snapshot's business.
    pub(super) fn collapse(&mut self, now: u64) {
        self.counters.messages_overflowed += self.held.len() as u64;
        self.held.clear();
        let told = self.gaps.declared_count();
        self.gaps.clear();
        if self.known_end > self.next {
            // Cleared just now: there is room.
            let _ = self.gaps.open(self.next, self.known_end - 1, now);
        }
        if told > 0 {
            // A part of it was a gap: the whole is the same one.
            let (_, messages) = self.gaps.declare(now, now);
            self.count_missing(0, messages - told);
        }
        self.beyond_requests = true;
    }

    pub(super) fn count_missing(&mut self, gaps: u64, messages: u64) {
        self.counters.gaps_declared += gaps;
        self.counters.messages_missing = self.counters.messages_missing.saturating_add(messages);
    }

    pub(super) fn count_lost(&mut self, messages: u64) {
        self.counters.messages_lost = self.counters.messages_lost.saturating_add(messages);
    }

    /// Moves on to `next` without delivering what is before it.
    pub(super) fn pass_over(&mut self, next: u64, out: &mut impl Output) {
        if next <= self.next {
            return;
        }
        out.skip(Missing {
            first: self.next,
            last: next - 1,
        });
        self.copies.pass_over(self.next, next);
        self.gaps.advance(next);
        self.held.advance(next);
        self.next = next;
        self.known_end = self.known_end.max(next);
    }
}
