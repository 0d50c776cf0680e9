//! Picks the first copy of each message from any line, in order; notices, declares and closes gaps.
//!
//! A machine without I/O: checked packets and `now` in, messages and states out through [`Output`].
//! Arbitration is by message, not by packet: lines carry the same messages in the same order, but not in the
//! same packets (IEX-TP 1.0, "A/B"; MoldUDP64 says nothing of it).  A packet that straddles what was delivered
//! gives its suffix.
//!
//! Invariants:
//!
//! - what is delivered is in order, each number at most once; every number that is passed over is told by
//!   [`Output::skip`] exactly once;
//! - every number from `next` to `known_end` is either held or in `gaps`;
//! - every message of every packet moves exactly one counter of its line;
//! - nothing is delivered from the time that a snapshot is wanted until it is there or given up.
//!
//! It doesn't know what a request or a snapshot looks like; `recovery` says what to ask for and when.

use std::hash::Hasher as _;

use rustc_hash::FxHasher;
use tickcast_codecs::event::Origin;
use tickcast_codecs::protocol::Packet;
use tickcast_codecs::{DecodeError, SessionId};

use crate::gaps::{Gaps, TooMany};
use crate::held::{Held, Refused};
use crate::limits::{
    FINGERPRINTS, FORWARD_JUMP_MESSAGES_MAX, GAP_FILL_NS_MAX, GAP_RANGES_MAX, HELD_BYTES_MAX,
    HELD_MESSAGES_MAX, LINE_DOWN_NS, LINE_SILENT_NS, REGRESSION_NS, REORDER_WAIT_NS,
    UNCONFIRMED_JUMP_MESSAGES_MAX,
};
use crate::line::{Line, LineState};
use crate::recovery::{Recovery, RecoveryConfig, Request};
use crate::repair::RepairTimes;
use crate::session::{Judgement, Missing, Place, Session, Start};
use crate::snapshot::{LoadError, LoadRequest};

/// Errors that others made, for the simulation to find: a test of the tests.  Chosen at compile time, so that
/// nothing of them is in a program.
pub mod canary {
    /// None.
    pub const NONE: u8 = 0;
    /// The end of a gap is seen only where a packet ends exactly with it (`==` for `>=`).
    pub const GAP_END_EXACT: u8 = 1;
    /// Arbitration by packet: one that begins with what was delivered is dropped whole.
    pub const BY_PACKET: u8 = 2;
    /// The count 0xFFFF is taken for a count.
    pub const END_IS_COUNT: u8 = 3;
    /// One message in 200,000 is delivered twice.
    pub const TWICE: u8 = 4;
    /// That books are stale isn't told.
    pub const STALE_UNTOLD: u8 = 5;
    /// The message that a snapshot names first is taken for its last (`>` for `>=`).
    pub const SNAPSHOT_AFTER: u8 = 6;
}

/// Where a packet came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A line, by its index.
    Line(u8),
    /// A request server, by its index: an answer.
    Server(u8),
}

/// How to arbitrate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArbiterConfig {
    /// How many lines there are; at least 1.
    pub lines: u8,
    /// How long a hole may be open before it is a gap, in nanoseconds.
    pub reorder_wait_ns: u64,
    /// Messages that may wait behind a hole before it is a gap.
    pub held_messages_max: usize,
    /// Bytes that may wait behind a hole before it is a gap.
    pub held_bytes_max: usize,
    /// A line without a packet for so long is silent, in nanoseconds.
    pub line_silent_ns: u64,
    /// A line without a packet for so long is down, in nanoseconds.
    pub line_down_ns: u64,
    /// A jump of the numbering beyond this is an alarm.
    pub forward_jump_messages_max: u64,
    /// Whether what is improbable has to be confirmed, and time without packets means something: true for a
    /// network, false for a recording.
    pub live: bool,
}

impl Default for ArbiterConfig {
    /// One line of a network, and the limits of this crate.
    fn default() -> Self {
        Self {
            lines: 1,
            reorder_wait_ns: REORDER_WAIT_NS,
            held_messages_max: HELD_MESSAGES_MAX,
            held_bytes_max: HELD_BYTES_MAX,
            line_silent_ns: LINE_SILENT_NS,
            line_down_ns: LINE_DOWN_NS,
            forward_jump_messages_max: FORWARD_JUMP_MESSAGES_MAX,
            live: true,
        }
    }
}

/// Takes what the arbiter gives, in order.
pub trait Output {
    /// A session starts: what belongs to the one before is forgotten.
    fn start(&mut self, start: Start, session: SessionId);
    /// The next message.
    fn message(&mut self, message: &[u8], origin: Origin);
    /// These numbers will not be delivered: lost, or contained in a snapshot.
    fn skip(&mut self, missing: Missing);
    /// Whether the books can be trusted from here on.
    fn trust(&mut self, live: bool);
}

/// What a channel is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was received yet, or nothing of the session that is believed.
    Idle,
    /// Everything up to the newest message was delivered.
    Synchronized,
    /// A gap is open, and its messages may still come.
    GapFill,
    /// A snapshot is wanted; messages are held for it.
    Loading,
    /// Messages are lost and nobody has them: delivered goes on, the books can't be trusted.
    Lost,
}

impl Phase {
    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Synchronized => "synchronized",
            Self::GapFill => "gap_fill",
            Self::Loading => "loading",
            Self::Lost => "lost",
        }
    }
}

/// What was counted of the channel as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArbiterCounters {
    /// Messages delivered.
    pub delivered: u64,
    /// Sessions that started, the first included.
    pub sessions: u64,
    /// Of these, restarts of the numbering within one session id.
    pub restarts: u64,
    /// Gaps declared.
    pub gaps_declared: u64,
    /// Messages missing in them.
    pub messages_missing: u64,
    /// Missing messages that a line brought after the declaration.
    pub filled_by_line: u64,
    /// Missing messages that a request server brought.
    pub filled_by_request: u64,
    /// Missing messages that a snapshot made unnecessary.
    pub filled_by_snapshot: u64,
    /// Missing messages that nobody brought and no snapshot replaces, or not before the session was over.
    pub messages_lost: u64,
    /// Held messages that a snapshot contained.
    pub messages_superseded: u64,
    /// Held messages forgotten because their copies differ.
    pub messages_evicted: u64,
    /// Held messages forgotten because a session started.
    pub messages_abandoned: u64,
    /// Held messages forgotten because the backlog was full.
    pub messages_overflowed: u64,
    /// Answers of request servers.
    pub replies: u64,
    /// Answers that brought nothing that was missing, or were of another session.
    pub replies_useless: u64,
    /// Times that the numbering stayed behind what was delivered.
    pub sequence_regressed: u64,
    /// Times that the numbering jumped farther than can be asked for.
    pub forward_jumps: u64,
    /// Times that all lines were down, or brought nothing of the session for as long.
    pub all_lines_down: u64,
    /// Snapshots asked for.
    pub snapshots_requested: u64,
    /// Snapshots that replaced the books.
    pub snapshots_loaded: u64,
    /// Snapshots that failed, or were of no use.
    pub snapshots_failed: u64,
    /// Times that all attempts at a snapshot failed.
    pub snapshots_exhausted: u64,
}

/// A snapshot that is wanted.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    id: u64,
    /// To be told by [`Arbiter::poll_load`].
    wanted: bool,
    /// When the next attempt begins.
    due: Option<u64>,
    failures: u32,
}

/// The arbiter of one channel.  Only tests set `CANARY`.
#[derive(Debug)]
pub struct Arbiter<const CANARY: u8 = { canary::NONE }> {
    config: ArbiterConfig,
    session: Session,
    lines: Vec<Line>,
    replies: Line,
    phase: Phase,
    /// The number to be delivered next.
    next: u64,
    /// One past the highest number that is known to exist.
    known_end: u64,
    held: Held,
    gaps: Gaps,
    recovery: Recovery,
    load: Load,
    /// When the present trouble began, and when it last got better.
    trouble_since: u64,
    progress_at: u64,
    /// The end of a packet that is so far ahead that it waits for another.
    unconfirmed: Option<u64>,
    regressed: bool,
    all_down: bool,
    /// A jump, or too many ranges: not to be asked for.
    beyond_requests: bool,
    told_live: Option<bool>,
    /// Fingerprints of what was delivered, by number; 0 = none.  Empty with one source: it has no copies.
    fingerprints: Box<[u32]>,
    /// Messages were given up: only a snapshot makes the books right again.
    lost: bool,
    /// Lines differ about a message that was delivered: the same.
    conflicted: bool,
    /// What was delivered before this number a snapshot has settled.
    settled: u64,
    /// When the last snapshot replaced the books.
    loaded_at: u64,
    /// No copy that differs leads to a snapshot before this.
    conflict_heeded_from: u64,
    repairs: RepairTimes,
    counters: ArbiterCounters,
    /// [`canary::GAP_END_EXACT`] only: the end of a gap was missed.
    missed_end: bool,
}

fn fingerprint(message: &[u8]) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write(message);
    // The upper bits are the well mixed ones; 0 means "none".
    u32::try_from(hasher.finish() >> 32).unwrap_or(0).max(1)
}

impl<const CANARY: u8> Arbiter<CANARY> {
    /// An arbiter that has received nothing.
    #[must_use]
    pub fn new(config: ArbiterConfig, recovery: RecoveryConfig, now: u64) -> Self {
        let lines = config.lines.max(1);
        let copies = lines > 1 || recovery.request_servers > 0;
        Self {
            session: Session::new(config.live),
            lines: (0..lines).map(|_| Line::new(now)).collect(),
            replies: Line::new(now),
            phase: Phase::Idle,
            next: 1,
            known_end: 1,
            held: Held::new(),
            gaps: Gaps::default(),
            recovery: Recovery::new(recovery),
            load: Load::default(),
            trouble_since: now,
            progress_at: now,
            unconfirmed: None,
            regressed: false,
            all_down: false,
            beyond_requests: false,
            told_live: None,
            fingerprints: vec![0; if copies { FINGERPRINTS } else { 0 }].into_boxed_slice(),
            lost: false,
            conflicted: false,
            settled: 0,
            loaded_at: now,
            conflict_heeded_from: 0,
            repairs: RepairTimes::default(),
            counters: ArbiterCounters::default(),
            missed_end: false,
            config: ArbiterConfig { lines, ..config },
        }
    }

    /// What the channel is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the books can be trusted.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.told_live == Some(true)
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.session.current()
    }

    /// Whether the venue said that the session is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.session.is_ended()
    }

    /// The number to be delivered next.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// One past the highest number that is known to exist.
    #[must_use]
    pub fn known_end(&self) -> u64 {
        self.known_end
    }

    /// What is missing.
    #[must_use]
    pub fn gaps(&self) -> &Gaps {
        &self.gaps
    }

    /// Messages that wait for a missing one.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The answers of all request servers, counted as a line's packets are.
    #[must_use]
    pub fn replies(&self) -> &Line {
        &self.replies
    }

    /// What was asked for.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// How long repairs took.
    #[must_use]
    pub fn repairs(&self) -> &RepairTimes {
        &self.repairs
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &ArbiterCounters {
        &self.counters
    }

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
                Err(format!("{what}: {self:?}"))
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
            && !self.conflicted
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

    fn line_mut(&mut self, source: Source) -> &mut Line {
        match source {
            Source::Line(line) => {
                let last = self.lines.len() - 1;
                &mut self.lines[usize::from(line).min(last)]
            }
            Source::Server(_) => &mut self.replies,
        }
    }

    /// A packet came whose bytes don't fit.
    pub fn handle_rejected(&mut self, now: u64, source: Source, bytes: usize, error: &DecodeError) {
        let line = self.line_mut(source);
        line.handle_packet(now, bytes);
        line.handle_rejected(error);
    }

    /// The kernel dropped datagrams of a line.
    pub fn handle_kernel_drops(&mut self, line: u8, lost: u64) {
        self.line_mut(Source::Line(line))
            .counters_mut()
            .kernel_drops += lost;
    }

    /// Takes a checked packet of `bytes` bytes.
    #[inline]
    pub fn handle_packet(
        &mut self,
        now: u64,
        source: Source,
        packet: &Packet<'_>,
        bytes: usize,
        ts_recv: u64,
        out: &mut impl Output,
    ) {
        let mut count = u64::from(packet.count());
        if CANARY == canary::END_IS_COUNT && packet.is_end_of_session() {
            count = 0xFFFF;
        }
        let place = Place {
            session: packet.session(),
            sequence: packet.sequence(),
            count,
            sent: packet.sent(),
        };
        // The packet's check saw to it that this doesn't overflow.
        let first = place.sequence;
        let mut end = first.saturating_add(count);
        if count == 0 {
            // A heartbeat before the first message may say 0, though that is no message's number.
            end = end.max(1);
        }
        let line = self.line_mut(source);
        line.handle_packet(now, bytes);
        if count == 0 {
            line.counters_mut().heartbeats += 1;
        }
        if let Source::Server(_) = source {
            return self.handle_reply(now, &place, packet, ts_recv, out);
        }
        match self.session.judge(now, &place, self.next) {
            Judgement::Current => {}
            Judgement::Start(start) => self.start(start, &place, out),
            Judgement::Old => {
                let counters = self.line_mut(source).counters_mut();
                counters.packets_old_session += 1;
                counters.messages_old_session += count;
                return;
            }
            Judgement::Foreign => {
                let counters = self.line_mut(source).counters_mut();
                counters.packets_foreign += 1;
                counters.messages_foreign += count;
                return;
            }
        }
        if first > self.known_end && !self.jump(now, source, first, end, count, out) {
            return;
        }
        if self.phase == Phase::Idle {
            self.phase = Phase::Synchronized;
        }
        if end > self.known_end {
            self.session.handle_more();
        }
        if packet.is_end_of_session() && end >= self.known_end {
            self.session.handle_end();
        }
        if end >= self.next {
            self.session.handle_heard(now, place.sent);
            self.regressed = false;
            self.all_down = false;
        } else if self.config.live
            && !self.regressed
            && now.saturating_sub(self.session.heard()) >= REGRESSION_NS
        {
            self.regressed = true;
            self.counters.sequence_regressed += 1;
        }
        self.line_mut(source).handle_range(first, end);
        if CANARY == canary::BY_PACKET && first < self.next {
            self.line_mut(source).counters_mut().messages_duplicate += count;
            return;
        }
        if CANARY == canary::END_IS_COUNT && end > self.known_end && packet.is_end_of_session() {
            self.open_hole(self.known_end, end - 1, now);
        }
        self.known_end = self.known_end.max(end);
        // The place of almost every packet: what is expected next, and nothing waits.
        if first == self.next
            && self.held.len() == 0
            && self.gaps.is_empty()
            && self.phase != Phase::Loading
        {
            self.line_mut(source).counters_mut().messages_won += count;
            self.deliver_all(packet, ts_recv, out);
        } else {
            let last_missing = self.last_missing();
            self.sort_in(now, source, packet, ts_recv, out);
            self.miss_end(last_missing, end);
        }
        if !self.gaps.is_empty() || self.phase != Phase::Synchronized || self.conflicted {
            self.attend(now, out);
        } else {
            self.tell(out);
        }
    }

    /// For [`canary::GAP_END_EXACT`]: the last number of the last gap.
    fn last_missing(&self) -> Option<u64> {
        if CANARY == canary::GAP_END_EXACT {
            self.gaps.declared().last().map(|gap| gap.last)
        } else {
            None
        }
    }

    /// For [`canary::GAP_END_EXACT`]: the packet that closed the last gap ends beyond it.
    fn miss_end(&mut self, last_missing: Option<u64>, end: u64) {
        if CANARY == canary::GAP_END_EXACT
            && let Some(last) = last_missing
            && self.gaps.declared().next().is_none()
        {
            self.missed_end |= end > last + 1;
        }
    }

    /// All messages of a packet that begins with what is expected next.
    #[inline]
    fn deliver_all(&mut self, packet: &Packet<'_>, ts_recv: u64, out: &mut impl Output) {
        for message in packet.messages() {
            self.deliver(message, ts_recv, out);
        }
    }

    #[inline]
    fn deliver(&mut self, message: &[u8], ts_recv: u64, out: &mut impl Output) {
        let sequence = self.next;
        if !self.fingerprints.is_empty() {
            self.fingerprints[fingerprint_at(sequence)] = fingerprint(message);
        }
        self.next += 1;
        self.counters.delivered += 1;
        let origin = Origin { sequence, ts_recv };
        if CANARY == canary::TWICE && fingerprint(message).is_multiple_of(200_000) {
            out.message(message, origin);
        }
        out.message(message, origin);
    }

    /// The numbering is ahead of everything known: notes what is missing.  False: it isn't believed yet.
    fn jump(
        &mut self,
        now: u64,
        source: Source,
        first: u64,
        end: u64,
        count: u64,
        out: &mut impl Output,
    ) -> bool {
        if self.phase == Phase::Idle {
            // Nothing of the session is known yet, not even for the time that packets may change places.
            self.trust(false, out);
        }
        let distance = first - self.known_end;
        if self.config.live && distance > UNCONFIRMED_JUMP_MESSAGES_MAX {
            let confirmed = self
                .unconfirmed
                .is_some_and(|at| first.abs_diff(at) <= UNCONFIRMED_JUMP_MESSAGES_MAX);
            if !confirmed {
                self.unconfirmed = Some(end);
                self.line_mut(source).counters_mut().messages_unconfirmed += count;
                return false;
            }
        }
        self.unconfirmed = None;
        if self.phase == Phase::Idle {
            // A recording won't give what was before its beginning.
            self.beyond_requests = !self.config.live;
        } else if distance > self.config.forward_jump_messages_max {
            self.counters.forward_jumps += 1;
            self.beyond_requests = true;
        }
        self.open_hole(self.known_end, first - 1, now);
        true
    }

    fn open_hole(&mut self, first: u64, last: u64, now: u64) {
        if let Err(TooMany) = self.gaps.open(first, last, now) {
            self.known_end = self.known_end.max(last.saturating_add(1));
            self.collapse(now);
        }
    }

    /// Forgets all that is held: everything that isn't delivered is one gap now, and a snapshot's business.
    fn collapse(&mut self, now: u64) {
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

    fn count_missing(&mut self, gaps: u64, messages: u64) {
        self.counters.gaps_declared += gaps;
        self.counters.messages_missing = self.counters.messages_missing.saturating_add(messages);
    }

    /// The messages of a packet one by one: those not yet delivered are delivered if it is their turn, else held.
    fn sort_in(
        &mut self,
        now: u64,
        source: Source,
        packet: &Packet<'_>,
        ts_recv: u64,
        out: &mut impl Output,
    ) {
        for (message, sequence) in packet.messages().zip(packet.sequence()..) {
            if sequence < self.next {
                self.handle_copy(source, sequence, message);
            } else if sequence == self.next
                && self.held.len() == 0
                && self.gaps.is_empty()
                && self.phase != Phase::Loading
            {
                self.line_mut(source).counters_mut().messages_won += 1;
                self.deliver(message, ts_recv, out);
            } else {
                self.hold_or_count(now, source, sequence, message, ts_recv);
            }
        }
        self.drain(out);
    }

    /// Holds one message, or counts why it isn't held.
    fn hold_or_count(
        &mut self,
        now: u64,
        source: Source,
        sequence: u64,
        message: &[u8],
        ts_recv: u64,
    ) {
        let refused = match self.hold(now, source, sequence, message, ts_recv) {
            Ok(()) => return,
            Err(refused) => refused,
        };
        let counters = self.line_mut(source).counters_mut();
        match refused {
            Refused::Duplicate => counters.messages_duplicate += 1,
            Refused::Below => counters.messages_no_room += 1,
            Refused::Conflict => {
                counters.messages_conflicting += 1;
                // Which copy is right is for a third one to say.
                self.held.remove(sequence);
                self.counters.messages_evicted += 1;
                if let Err(TooMany) = self.gaps.reopen(sequence, now) {
                    self.collapse(now);
                }
            }
            Refused::Full => {
                counters.messages_no_room += 1;
                if !self.gaps.contains(sequence) {
                    self.open_hole(sequence, sequence, now);
                }
                self.beyond_requests = true;
            }
        }
    }

    /// Holds one message that isn't delivered yet.
    fn hold(
        &mut self,
        now: u64,
        source: Source,
        sequence: u64,
        message: &[u8],
        ts_recv: u64,
    ) -> Result<(), Refused> {
        let mut held = self.held.insert(sequence, ts_recv, message);
        if held == Err(Refused::Full)
            && self.held.is_ahead(sequence)
            && (self.phase == Phase::Loading || self.beyond_requests)
        {
            // The newest messages are what a snapshot will need.
            self.collapse(now);
            held = self.held.insert(sequence, ts_recv, message);
        }
        held?;
        match self.gaps.fill(sequence) {
            Ok(Some(range)) if range.declared.is_some() => {
                // What comes behind the gap is no progress.
                self.progress_at = now;
                match source {
                    Source::Line(_) => self.counters.filled_by_line += 1,
                    Source::Server(_) => self.counters.filled_by_request += 1,
                }
            }
            Ok(_) => {}
            Err(TooMany) => {
                self.held.remove(sequence);
                self.beyond_requests = true;
                return Err(Refused::Full);
            }
        }
        self.line_mut(source).counters_mut().messages_won += 1;
        Ok(())
    }

    /// A copy of a number that was delivered or passed over.
    fn handle_copy(&mut self, source: Source, sequence: u64, message: &[u8]) {
        let known = if self.fingerprints.is_empty()
            || self.next - sequence > self.fingerprints.len() as u64
        {
            None
        } else {
            Some(self.fingerprints[fingerprint_at(sequence)])
        };
        let counters = self.line_mut(source).counters_mut();
        match known {
            Some(0) => counters.messages_late += 1,
            Some(known) if known != fingerprint(message) => {
                counters.messages_conflicting += 1;
                // What a request server says now may be wrong; what two lines say can't both be right.
                let of_line = matches!(source, Source::Line(_));
                self.conflicted |= of_line && sequence >= self.settled;
            }
            _ => counters.messages_duplicate += 1,
        }
    }

    /// An answer: only what is missing is taken from it.
    fn handle_reply(
        &mut self,
        now: u64,
        place: &Place,
        packet: &Packet<'_>,
        ts_recv: u64,
        out: &mut impl Output,
    ) {
        self.counters.replies += 1;
        let source = Source::Server(0);
        if self.session.current() != Some(place.session) {
            let counters = self.replies.counters_mut();
            counters.packets_foreign += 1;
            counters.messages_foreign += place.count;
            self.counters.replies_useless += 1;
            return;
        }
        let mut filled = 0;
        let last_missing = self.last_missing();
        for (message, sequence) in packet.messages().zip(place.sequence..) {
            if sequence < self.next {
                self.handle_copy(source, sequence, message);
            } else if !self.gaps.contains(sequence) {
                // Held already, or nothing that was asked for.
                self.replies.counters_mut().messages_duplicate += 1;
            } else if self.hold(now, source, sequence, message, ts_recv).is_ok() {
                filled += 1;
            } else {
                self.replies.counters_mut().messages_no_room += 1;
            }
        }
        if filled == 0 {
            self.counters.replies_useless += 1;
        }
        let end = place.sequence.saturating_add(place.count);
        self.miss_end(last_missing, end);
        self.recovery.handle_reply(place.sequence, end, filled);
        self.drain(out);
        self.attend(now, out);
    }

    /// Delivers what is held, as far as it goes.
    fn drain(&mut self, out: &mut impl Output) {
        if self.phase == Phase::Loading {
            return;
        }
        while self.held.len() > 0 {
            let Some(held) = self.held.get(self.next) else {
                break;
            };
            let sequence = self.next;
            if !self.fingerprints.is_empty() {
                self.fingerprints[fingerprint_at(sequence)] = fingerprint(held.bytes);
            }
            self.next += 1;
            self.counters.delivered += 1;
            let origin = Origin {
                sequence,
                ts_recv: held.ts_recv,
            };
            out.message(held.bytes, origin);
            self.held.remove(sequence);
        }
        self.held.advance(self.next);
    }

    fn start(&mut self, start: Start, place: &Place, out: &mut impl Output) {
        self.counters.sessions += 1;
        if start == Start::Restart {
            self.counters.restarts += 1;
        }
        self.counters.messages_abandoned += self.held.len() as u64;
        self.count_lost(self.gaps.declared_count());
        // Numbering starts at 1.  A venue whose first message is numbered 0 loses nothing by it.
        self.next = if place.count > 0 {
            place.sequence.min(1)
        } else {
            1
        };
        self.known_end = self.next;
        self.held.clear();
        self.gaps.clear();
        self.recovery.reset();
        self.abandon_load();
        self.unconfirmed = None;
        self.regressed = false;
        self.lost = false;
        self.conflicted = false;
        self.settled = 0;
        self.beyond_requests = false;
        self.fingerprints.fill(0);
        for line in &mut self.lines {
            line.start_session();
        }
        self.phase = Phase::Idle;
        out.start(start, place.session);
    }

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
    fn silence_ends(&self) -> Option<u64> {
        let waits = self.phase != Phase::Idle && !self.session.is_ended() && !self.all_down;
        waits.then(|| {
            self.session
                .heard()
                .saturating_add(self.config.line_down_ns)
        })
    }

    /// Looks after holes, gaps and snapshots, and tells what changed.
    fn attend(&mut self, now: u64, out: &mut impl Output) {
        if matches!(self.phase, Phase::Loading | Phase::Lost) && self.is_whole() {
            // Everything came after all.
            self.abandon_load();
            self.phase = Phase::GapFill;
            self.drain(out);
        }
        if self.conflicted && self.is_delivering() && now >= self.conflict_heeded_from {
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
    fn is_whole(&self) -> bool {
        self.gaps.is_empty() && !self.lost && !self.conflicted
    }

    fn is_delivering(&self) -> bool {
        matches!(self.phase, Phase::Synchronized | Phase::GapFill)
    }

    /// Holes that are old enough, or that too much waits behind, become gaps.
    fn declare(&mut self, now: u64) {
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

    fn enter_trouble(&mut self, now: u64) {
        if self.phase == Phase::Synchronized {
            self.trouble_since = now;
        }
        self.progress_at = now;
    }

    /// When a snapshot is better than what comes little by little.
    fn filling_ends(&self) -> Option<u64> {
        if self.recovery.config().snapshot_servers == 0 {
            return None;
        }
        let since = self.gaps.first_declared()?.max(self.loaded_at);
        Some(since.saturating_add(GAP_FILL_NS_MAX))
    }

    /// Whether the gaps won't be filled by lines or requests.
    fn is_hopeless(&self, now: u64) -> bool {
        let config = self.recovery.config();
        if self.beyond_requests
            || self.recovery.is_exhausted()
            || self.filling_ends().is_some_and(|end| now >= end)
            || now.saturating_sub(self.progress_at) >= config.gap_age_ns_max
        {
            return true;
        }
        if config.request_servers > 0 {
            // Without a snapshot server, however much is missing has to be asked for.
            return config.snapshot_servers > 0 && self.gaps.count() > config.request_messages_max;
        }
        // Without servers only another line can have it.
        let living = self
            .lines
            .iter()
            .filter(|line| line.state() != LineState::Down)
            .count();
        living < 2
    }

    fn repaired(&mut self, now: u64) {
        self.phase = Phase::Synchronized;
        self.recovery.reset();
        self.beyond_requests = false;
        self.repairs.add(now.saturating_sub(self.trouble_since));
    }

    /// Requests don't do: a snapshot, if there is one, or go on without.
    fn escalate(&mut self, now: u64) {
        self.recovery.reset();
        if self.recovery.config().snapshot_servers > 0 {
            self.load.failures = 0;
            self.want_snapshot(now);
        } else {
            self.phase = Phase::Lost;
        }
    }

    /// No answer is waited for any more.
    fn abandon_load(&mut self) {
        self.load.wanted = false;
        self.load.due = None;
        self.load.id += 1;
    }

    fn go_on_without(&mut self, now: u64) {
        // Whoever waits for books that don't come is better served by trades and statuses.
        let (gaps, messages) = self.gaps.declare(now, now);
        self.count_missing(gaps, messages);
        self.phase = Phase::Lost;
    }

    fn want_snapshot(&mut self, now: u64) {
        self.phase = Phase::Loading;
        self.load.id += 1;
        self.load.wanted = true;
        self.load.due = None;
        self.progress_at = now;
        self.counters.snapshots_requested += 1;
    }

    /// What is missing is lost: goes on behind it.
    fn give_up(&mut self, out: &mut impl Output) {
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

    fn count_lost(&mut self, messages: u64) {
        self.counters.messages_lost = self.counters.messages_lost.saturating_add(messages);
    }

    /// Moves on to `next` without delivering what is before it.
    fn pass_over(&mut self, next: u64, out: &mut impl Output) {
        if next <= self.next {
            return;
        }
        out.skip(Missing {
            first: self.next,
            last: next - 1,
        });
        if next - self.next >= self.fingerprints.len() as u64 {
            self.fingerprints.fill(0);
        } else {
            for sequence in self.next..next {
                self.fingerprints[fingerprint_at(sequence)] = 0;
            }
        }
        self.gaps.advance(next);
        self.held.advance(next);
        self.next = next;
        self.known_end = self.known_end.max(next);
    }

    fn tell(&mut self, out: &mut impl Output) {
        let calm = self.phase == Phase::Synchronized
            && !self.regressed
            && !self.all_down
            && !self.conflicted;
        // A hole that isn't a gap yet leaves trust as it is.
        let live = calm && (self.told_live == Some(true) || self.gaps.is_empty());
        if self.phase != Phase::Idle {
            self.trust(live, out);
        }
    }

    fn trust(&mut self, live: bool, out: &mut impl Output) {
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
        let conflict =
            (self.conflicted && self.is_delivering()).then_some(self.conflict_heeded_from);
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

    fn is_load_awaited(&self, id: u64) -> bool {
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
        self.conflicted = false;
        self.settled = self.next;
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

#[expect(
    clippy::cast_possible_truncation,
    reason = "what is left of the division is far below any usize"
)]
fn fingerprint_at(sequence: u64) -> usize {
    (sequence % FINGERPRINTS as u64) as usize
}
