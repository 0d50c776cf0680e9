//! Which session a packet is of: the present one, the next, the one before, or somebody else's.
//!
//! A machine without I/O.  It sees only a packet's session, first sequence number, count and send time.
//! Sources: MoldUDP64 1.00 (session, sequence number, message count); IEX-TP 1.0 (session id, first message
//! sequence number, send time).
//!
//! To start a session is to forget all books, so it takes more than one stray packet: a session begins with
//! message 1, or behind the end of the one before, or where the one before is not heard any more.
//!
//! Invariant: packets of two sessions are never both [`Judgement::Current`] without a [`Start`] between them.

use tickcast_codecs::SessionId;

use crate::limits::{ROLL_BACK_NS, ROLL_CONFIRM_NS};

/// How much newer than anything seen an IEX-TP segment's send time must be for a lower sequence number
/// to mean a restart of the numbering within the session.
///
/// Lines A and B packetise differently, so a late copy may carry a send time that is a little newer
/// than the copy that won; a restart of the publisher takes longer than this.
const RESTART_NS_MIN: u64 = 1_000_000_000;

/// Where a packet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The session.
    pub session: SessionId,
    /// Sequence number of the first message; of the next one if there are none.
    pub sequence: u64,
    /// How many messages.
    pub count: u64,
    /// When the venue sent it, where the transport tells (IEX-TP), in nanoseconds; else 0.
    pub sent: u64,
}

/// Why a session started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The first packet of the channel.
    First,
    /// Another session identity.
    Roll,
    /// The numbering fell back within the same session (IEX-TP, after the venue's restart).
    Restart,
}

/// Missing sequence numbers, first and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// First missing number.
    pub first: u64,
    /// Last missing number.
    pub last: u64,
}

impl Missing {
    /// How many numbers.
    #[must_use]
    pub const fn count(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

/// Whose packet it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Of the session that is being received.
    Current,
    /// It starts a session: forget the books first.
    Start(Start),
    /// Of a session that is over, or from before a restart.
    Old,
    /// Of a session that isn't believed (yet).
    Foreign,
}

/// Session identity of one channel.
#[derive(Debug, Clone, Default)]
pub struct Session {
    current: Option<SessionId>,
    previous: Option<SessionId>,
    ended: bool,
    /// When the present session was last heard with a number that isn't behind.
    heard: u64,
    /// The send time of the session's first packet: what was sent before belongs to the time before.
    first_sent: u64,
    newest_sent: u64,
    /// Whether another session has to be confirmed.
    confirm: bool,
}

impl Session {
    /// Nothing seen yet.  With `confirm` a stray packet doesn't start a session: for a network.  Without it
    /// each change is believed: for a recording.
    #[must_use]
    pub fn new(confirm: bool) -> Self {
        Self {
            confirm,
            ..Self::default()
        }
    }

    /// The session that is being received.
    #[must_use]
    pub fn current(&self) -> Option<SessionId> {
        self.current
    }

    /// Whether the venue said that it is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// When the present session was last heard with a number that isn't behind.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// Judges a packet.  `next` is the number that is expected next.
    #[inline]
    pub fn judge(&mut self, now: u64, place: &Place, next: u64) -> Judgement {
        let Some(current) = self.current else {
            return self.start(now, place, Start::First);
        };
        let unheard = now.saturating_sub(self.heard);
        let begins = place.count > 0 && place.sequence <= 1;
        if current == place.session {
            if place.sent != 0 && place.sent < self.first_sent {
                // Unless the time of the first packet was the mistake.
                return if self.confirm && unheard >= ROLL_BACK_NS {
                    self.start(now, place, Start::Restart)
                } else {
                    Judgement::Old
                };
            }
            let fell_back = place.sequence < next;
            let newer =
                place.sent != 0 && place.sent > self.newest_sent.saturating_add(RESTART_NS_MIN);
            if fell_back && newer && (begins || !self.confirm || unheard >= ROLL_CONFIRM_NS) {
                return self.start(now, place, Start::Restart);
            }
            return Judgement::Current;
        }
        // A session begins with its first message: a heartbeat alone proves too little to forget all books.
        if place.count == 0 {
            return if self.previous == Some(place.session) {
                Judgement::Old
            } else {
                Judgement::Foreign
            };
        }
        if self.previous == Some(place.session) {
            // Unless the change to the present session was the mistake.
            return if self.confirm && unheard >= ROLL_BACK_NS {
                self.start(now, place, Start::Roll)
            } else {
                Judgement::Old
            };
        }
        if begins || self.ended || !self.confirm || unheard >= ROLL_CONFIRM_NS {
            return self.start(now, place, Start::Roll);
        }
        Judgement::Foreign
    }

    #[cold]
    fn start(&mut self, now: u64, place: &Place, start: Start) -> Judgement {
        if start == Start::Roll {
            self.previous = self.current;
        }
        self.current = Some(place.session);
        self.ended = false;
        self.heard = now;
        self.first_sent = place.sent;
        self.newest_sent = place.sent;
        Judgement::Start(start)
    }

    /// A packet of the present session came whose numbers aren't behind.
    #[inline]
    pub fn handle_heard(&mut self, now: u64, sent: u64) {
        self.heard = now;
        self.newest_sent = self.newest_sent.max(sent);
    }

    /// The venue says that the present session is over.
    pub fn handle_end(&mut self) {
        self.ended = true;
    }

    /// Messages behind the end came: it was none.
    pub fn handle_more(&mut self) {
        self.ended = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn place(session: &str, sequence: u64, count: u64, sent: u64) -> Place {
        Place {
            session: SessionId::from_padded(session.as_bytes()),
            sequence,
            count,
            sent,
        }
    }

    /// A network's session, in session S with number 100 next, heard at 10 s.
    fn session() -> Session {
        let mut session = Session::new(true);
        session.judge(0, &place("S", 1, 9, 0), 1);
        session.handle_heard(10 * SECOND, 0);
        session
    }

    #[test]
    fn the_first_packet_starts_a_session_whatever_its_number() {
        let mut session = Session::new(true);
        let first = session.judge(0, &place("S", 70, 1, 0), 1);
        assert_eq!(first, Judgement::Start(Start::First));
        let next = session.judge(0, &place("S", 71, 1, 0), 71);
        assert_eq!(next, Judgement::Current);
    }

    #[test]
    fn another_session_that_begins_at_1_is_believed_and_the_one_before_is_old() {
        let mut session = session();
        let now = 10 * SECOND;
        let roll = session.judge(now, &place("T", 1, 1, 0), 100);
        assert_eq!(roll, Judgement::Start(Start::Roll));
        let old = session.judge(now, &place("S", 100, 5, 0), 2);
        assert_eq!(old, Judgement::Old);
    }

    #[test]
    fn another_session_in_its_middle_waits_until_the_present_one_is_unheard_or_over() {
        let mut session = session();
        let stray = place("T", 500, 5, 0);
        let soon = session.judge(11 * SECOND + 1, &stray, 100);
        assert_eq!(soon, Judgement::Foreign, "heartbeats come each second");
        let later = session.judge(13 * SECOND, &stray, 100);
        assert_eq!(later, Judgement::Start(Start::Roll));

        let mut session = self::session();
        session.handle_end();
        let at_once = session.judge(10 * SECOND, &stray, 100);
        assert_eq!(at_once, Judgement::Start(Start::Roll));
    }

    #[test]
    fn a_heartbeat_of_another_session_forgets_nothing() {
        let mut session = session();
        let stray = session.judge(60 * SECOND, &place("T", 1, 0, 0), 100);
        assert_eq!(stray, Judgement::Foreign);
    }

    #[test]
    fn a_mistaken_roll_is_taken_back_when_only_the_old_session_is_heard() {
        let mut session = session();
        session.judge(10 * SECOND, &place("T", 1, 1, 0), 100);
        let soon = session.judge(12 * SECOND, &place("S", 120, 5, 0), 2);
        assert_eq!(soon, Judgement::Old);
        let later = session.judge(13 * SECOND, &place("S", 130, 5, 0), 2);
        assert_eq!(later, Judgement::Start(Start::Roll));
    }

    #[test]
    fn a_number_that_falls_back_much_later_is_a_restart_and_a_late_copy_is_none() {
        let mut session = Session::new(true);
        session.judge(0, &place("7", 1, 5, SECOND), 1);
        session.handle_heard(0, 2 * SECOND);
        let copy = session.judge(0, &place("7", 1, 2, 2 * SECOND + 1), 500);
        assert_eq!(copy, Judgement::Current);
        let restart = session.judge(0, &place("7", 1, 2, 420 * SECOND), 500);
        assert_eq!(restart, Judgement::Start(Start::Restart));
        let late = session.judge(0, &place("7", 490, 11, 2 * SECOND), 3);
        assert_eq!(late, Judgement::Old);
    }

    #[test]
    fn a_first_packet_from_the_future_doesnt_make_all_others_old_for_ever() {
        let mut session = Session::new(true);
        session.judge(0, &place("7", 900, 5, u64::MAX), 1);
        let soon = session.judge(SECOND, &place("7", 20, 5, 500 * SECOND), 905);
        assert_eq!(soon, Judgement::Old);
        let later = session.judge(3 * SECOND, &place("7", 40, 5, 501 * SECOND), 905);
        assert_eq!(later, Judgement::Start(Start::Restart));
        let next = session.judge(3 * SECOND, &place("7", 45, 5, 502 * SECOND), 45);
        assert_eq!(next, Judgement::Current);
    }

    #[test]
    fn a_recording_is_believed_at_once() {
        let mut session = Session::new(false);
        session.judge(0, &place("S", 1, 9, 0), 1);
        let roll = session.judge(0, &place("T", 500, 5, 0), 10);
        assert_eq!(roll, Judgement::Start(Start::Roll));
        let back = session.judge(0, &place("S", 10, 5, 0), 505);
        assert_eq!(back, Judgement::Old);
    }

    #[test]
    fn mold_without_send_times_never_restarts() {
        let mut session = session();
        let back = session.judge(60 * SECOND, &place("S", 1, 2, 0), 100);
        assert_eq!(back, Judgement::Current);
    }
}
