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
//! - nothing is delivered from the time that a snapshot is wanted until it is there, given up, or needless;
//! - what is told to be live misses nothing but holes that aren't gaps yet: after messages were given up, or copies of a
//!   delivered one differ, only a snapshot or another session makes it so again.
//!
//! It doesn't know what a request or a snapshot looks like; `recovery` says what to ask for and when.

use tickcast_codecs::event::Origin;
use tickcast_codecs::protocol::Packet;
use tickcast_codecs::{DecodeError, SessionId};

use crate::gaps::{Gaps, TooMany};
use crate::held::{Held, Refused};
use crate::limits::{
    FORWARD_JUMP_MESSAGES_MAX, HELD_BYTES_MAX, HELD_MESSAGES_MAX, LINE_DOWN_NS, LINE_SILENT_NS,
    REGRESSION_NS, REORDER_WAIT_NS, UNCONFIRMED_JUMP_MESSAGES_MAX,
};
use crate::line::Line;
use crate::recovery::{Recovery, RecoveryConfig};
use crate::repair::RepairTimes;
use crate::session::{Judgement, Missing, Place, Session, Start};

pub mod canary;
mod check;
mod copies;
mod counters;
mod loads;
mod trouble;

pub use counters::ArbiterCounters;

use copies::{Compared, Copies};
use loads::Load;

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
    copies: Copies,
    /// Messages were given up: only a snapshot makes the books right again.
    lost: bool,
    /// When the last snapshot replaced the books.
    loaded_at: u64,
    /// No copy that differs leads to a snapshot before this.
    conflict_heeded_from: u64,
    repairs: RepairTimes,
    counters: ArbiterCounters,
    /// [`canary::GAP_END_EXACT`] only: the end of a gap was missed.
    missed_end: bool,
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
            copies: Copies::new(copies),
            lost: false,
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
        if !self.gaps.is_empty() || self.phase != Phase::Synchronized || self.copies.is_conflicted()
        {
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
        self.copies.deliver(sequence, message);
        self.next += 1;
        self.counters.delivered += 1;
        let origin = Origin { sequence, ts_recv };
        if CANARY == canary::TWICE && copies::fingerprint(message).is_multiple_of(200_000) {
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

    /// The messages of a packet one by one: those not yet delivered are delivered if it is their turn, else held.
    fn sort_in(
        &mut self,
        now: u64,
        source: Source,
        packet: &Packet<'_>,
        ts_recv: u64,
        out: &mut impl Output,
    ) {
        // The common ends of a message are counted together: a second line is nothing but copies.
        let (mut won, mut duplicate) = (0, 0);
        for (message, sequence) in packet.messages().zip(packet.sequence()..) {
            if sequence < self.next {
                match self.copies.compare(self.next, sequence, message) {
                    Compared::Same => duplicate += 1,
                    other => self.handle_other_copy(source, sequence, other),
                }
            } else if sequence == self.next
                && self.held.len() == 0
                && self.gaps.is_empty()
                && self.phase != Phase::Loading
            {
                won += 1;
                self.deliver(message, ts_recv, out);
            } else {
                self.hold_or_count(now, source, sequence, message, ts_recv);
            }
        }
        let counters = self.line_mut(source).counters_mut();
        counters.messages_won += won;
        counters.messages_duplicate += duplicate;
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

    /// A copy that isn't just another of what was delivered, or whatever an answer brings.
    #[cold]
    fn handle_other_copy(&mut self, source: Source, sequence: u64, compared: Compared) {
        let counters = self.line_mut(source).counters_mut();
        match compared {
            Compared::Same => counters.messages_duplicate += 1,
            Compared::Late => counters.messages_late += 1,
            Compared::Differs => {
                counters.messages_conflicting += 1;
                // What a request server says now may be wrong; what two lines say can't both be right.
                if let Source::Line(_) = source {
                    self.copies.differs(sequence);
                }
            }
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
                let compared = self.copies.compare(self.next, sequence, message);
                self.handle_other_copy(source, sequence, compared);
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
            self.copies.deliver(sequence, held.bytes);
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
        self.beyond_requests = false;
        self.copies.start();
        for line in &mut self.lines {
            line.start_session();
        }
        self.phase = Phase::Idle;
        out.start(start, place.session);
    }
}
