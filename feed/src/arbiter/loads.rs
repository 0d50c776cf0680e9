//! Snapshots: when one is wanted, whether one that came is of use, and what happens when none comes.

use super::{Arbiter, Output, Phase, canary};
use crate::recovery::RecoveryConfig;
use crate::snapshot::{LoadError, LoadRequest};

/// A snapshot that is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    id: u64,
    /// To be told by [`Arbiter::poll_load`].
    wanted: bool,
    /// When the next attempt begins.
    pub(super) due: Option<u64>,
    failures: u32,
}

impl<const CANARY: u8> Arbiter<CANARY> {
    /// Takes other timers and servers from now on.
    pub fn reconfigure(&mut self, recovery: RecoveryConfig) {
        self.recovery.reconfigure(recovery);
        let can_load = recovery.snapshot_servers > 0;
        if self.phase == Phase::Loading && !can_load {
            self.abandon_load();
            self.load.due = Some(0);
        } else if self.phase == Phase::Lost && can_load && self.load.due.is_none() {
            self.load.due = Some(0);
        }
    }

    /// No answer is waited for any more.
    pub(super) fn abandon_load(&mut self) {
        self.load.wanted = false;
        self.load.due = None;
        self.load.id += 1;
    }

    pub(super) fn go_on_without(&mut self, now: u64) {
        // Whoever waits for books that don't come is better served by trades and statuses.
        let (gaps, messages) = self.gaps.declare(now, now);
        self.count_missing(gaps, messages);
        self.phase = Phase::Lost;
    }

    /// The first of some attempts.
    pub(super) fn begin_loads(&mut self, now: u64) {
        self.load.failures = 0;
        self.want_snapshot(now);
    }

    pub(super) fn want_snapshot(&mut self, now: u64) {
        self.phase = Phase::Loading;
        self.load.id += 1;
        self.load.wanted = true;
        self.load.due = None;
        self.progress_at = now;
        self.counters.snapshots_requested += 1;
    }

    /// A snapshot that is wanted; one that was asked for before is not wanted any more.
    pub fn poll_load(&mut self) -> Option<LoadRequest> {
        if !self.load.wanted {
            return None;
        }
        self.load.wanted = false;
        let last_gap = self.gaps.ranges().last();
        Some(LoadRequest {
            id: self.load.id,
            session: self.session.current().unwrap_or_default(),
            not_before: last_gap.map_or(self.next, |gap| gap.last.saturating_add(1)),
            midnight: None,
            iextp_channel: 0,
        })
    }

    pub(super) fn is_load_awaited(&self, id: u64) -> bool {
        // With the next attempt due this one has failed.
        let is_under_way = !self.load.wanted && self.load.due.is_none();
        self.phase == Phase::Loading && id == self.load.id && is_under_way
    }

    /// Whether a snapshot that live data joins at `sequence` may replace the books.
    ///
    /// # Errors
    ///
    /// `None` if nobody waits for it any more; else why it is of no use: the caller tells it by
    /// [`Arbiter::handle_load_failed`].
    pub fn check_load(&self, id: u64, sequence: u64) -> Result<(), Option<LoadError>> {
        if !self.is_load_awaited(id) {
            return Err(None);
        }
        let ahead = sequence.saturating_sub(self.known_end);
        if ahead > self.config.forward_jump_messages_max {
            return Err(Some(LoadError::Malformed));
        }
        let left = self.gaps.ranges().iter().fold(0_u64, |left, gap| {
            let first = gap.first.max(sequence);
            left.saturating_add(gap.last.saturating_add(1).saturating_sub(first))
        });
        let config = self.recovery.config();
        let can_ask = config.request_servers > 0 && left <= config.request_messages_max;
        let moves_on = left < self.gaps.count() || self.gaps.is_empty();
        if sequence < self.next || (left > 0 && !(can_ask && moves_on)) {
            return Err(Some(LoadError::TooOld));
        }
        Ok(())
    }

    /// The books were replaced by a snapshot that [`Arbiter::check_load`] accepted.
    pub fn handle_loaded(&mut self, now: u64, sequence: u64, out: &mut impl Output) {
        // What is missing was noticed while it was loaded, at the latest.
        let (gaps, messages) = self.gaps.declare(now, now);
        self.count_missing(gaps, messages);
        let missing = self.gaps.count();
        let held = self.held.len();
        let skipped = u64::from(CANARY == canary::SNAPSHOT_AFTER);
        self.pass_over(sequence + skipped, out);
        self.counters.snapshots_loaded += 1;
        self.counters.filled_by_snapshot = self
            .counters
            .filled_by_snapshot
            .saturating_add(missing - self.gaps.count());
        self.counters.messages_superseded += (held - self.held.len()) as u64;
        self.load.failures = 0;
        self.beyond_requests = false;
        self.lost = false;
        self.copies.settle(self.next);
        self.loaded_at = now;
        self.progress_at = now;
        self.phase = Phase::GapFill;
        self.drain(out);
        self.attend(now, out);
    }

    /// A snapshot failed.
    pub fn handle_load_failed(&mut self, now: u64, id: u64, out: &mut impl Output) {
        if !self.is_load_awaited(id) {
            return;
        }
        self.counters.snapshots_failed += 1;
        self.load.failures += 1;
        let config = self.recovery.config();
        if self.load.failures < config.snapshot_attempts_max {
            let pause = config.snapshot_pause_ns << (self.load.failures - 1).min(16);
            self.load.due = Some(now.saturating_add(pause));
        } else {
            self.counters.snapshots_exhausted += 1;
            self.load.due = Some(now.saturating_add(config.snapshot_retry_ns));
            self.go_on_without(now);
        }
        self.attend(now, out);
    }
}
