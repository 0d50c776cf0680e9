//! Which messages of a packet are new: session identity and sequence continuity of one channel.
//!
//! A machine without I/O.  It sees only a packet's session, first sequence number and count, and says
//! whether a session starts, whether messages are missing, and how many of the packet's messages were
//! delivered before.  Sources: MoldUDP64 1.00 (session, sequence number, message count); IEX-TP 1.0
//! (session id, first message sequence number, send time).
//!
//! Invariant: the messages it lets through have strictly rising sequence numbers within a session; every
//! number that it passes over is reported as missing exactly once.

use tickcast_codecs::SessionId;

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

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// A session starts with this packet: forget the books first.
    pub start: Option<Start>,
    /// Messages before this packet are missing.
    pub missing: Option<Missing>,
    /// How many of the packet's messages, from its first, were delivered before.
    pub skip: u64,
    /// The packet belongs to the session before this one: nothing of it is delivered.
    pub old_session: bool,
}

/// Session identity and sequence continuity of one channel.
#[derive(Debug, Clone, Default)]
pub struct Session {
    current: Option<SessionId>,
    previous: Option<SessionId>,
    next: u64,
    /// The send time of the session's first packet: what was sent before belongs to the time before.
    first_sent: u64,
    newest_sent: u64,
}

impl Session {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The session that is being received.
    #[must_use]
    pub fn current(&self) -> Option<SessionId> {
        self.current
    }

    /// The sequence number expected next.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Judges a packet and moves on as if the messages that it lets through were delivered.
    pub fn handle_packet(&mut self, place: &Place) -> Verdict {
        let start = match self.current {
            None => Some(Start::First),
            Some(current) if current == place.session => {
                if place.sent != 0 && place.sent < self.first_sent {
                    // A late copy from before a restart.
                    return Verdict {
                        skip: place.count,
                        old_session: true,
                        ..Verdict::default()
                    };
                }
                let fell_back = place.sequence < self.next;
                let newer =
                    place.sent != 0 && place.sent > self.newest_sent.saturating_add(RESTART_NS_MIN);
                (fell_back && newer).then_some(Start::Restart)
            }
            // A session begins with its first message: a heartbeat alone proves too little to forget all books.
            Some(_) if self.previous == Some(place.session) || place.count == 0 => {
                return Verdict {
                    skip: place.count,
                    old_session: true,
                    ..Verdict::default()
                };
            }
            Some(_) => Some(Start::Roll),
        };
        if start.is_some() {
            if start == Some(Start::Roll) {
                self.previous = self.current;
            }
            self.current = Some(place.session);
            // Numbering starts at 1.  A venue whose first message is numbered 0 loses nothing by it.
            self.next = if place.count > 0 {
                place.sequence.min(1)
            } else {
                1
            };
            self.first_sent = place.sent;
            self.newest_sent = place.sent;
        }
        self.newest_sent = self.newest_sent.max(place.sent);
        let missing = (place.sequence > self.next).then(|| Missing {
            first: self.next,
            last: place.sequence - 1,
        });
        let end = place.sequence.saturating_add(place.count);
        let skip = self.next.saturating_sub(place.sequence).min(place.count);
        self.next = self.next.max(end);
        Verdict {
            start,
            missing,
            skip,
            old_session: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(session: &str, sequence: u64, count: u64, sent: u64) -> Place {
        Place {
            session: SessionId::from_padded(session.as_bytes()),
            sequence,
            count,
            sent,
        }
    }

    #[test]
    fn in_order_packets_pass_whole() {
        let mut session = Session::new();
        let first = session.handle_packet(&place("S", 1, 3, 0));
        assert_eq!(first.start, Some(Start::First));
        assert_eq!((first.missing, first.skip), (None, 0));
        let next = session.handle_packet(&place("S", 4, 2, 0));
        assert_eq!(next, Verdict::default());
        assert_eq!(session.next_sequence(), 6);
    }

    #[test]
    fn a_heartbeat_reveals_what_is_missing_before_it_and_only_once() {
        let mut session = Session::new();
        session.handle_packet(&place("S", 1, 1, 0));
        let heartbeat = session.handle_packet(&place("S", 5, 0, 0));
        assert_eq!(heartbeat.missing, Some(Missing { first: 2, last: 4 }));
        assert_eq!(
            session.handle_packet(&place("S", 5, 0, 0)),
            Verdict::default()
        );
    }

    #[test]
    fn a_copy_is_skipped_whole_and_an_overlap_by_its_old_part() {
        let mut session = Session::new();
        session.handle_packet(&place("S", 1, 4, 0));
        assert_eq!(session.handle_packet(&place("S", 1, 4, 0)).skip, 4);
        let overlap = session.handle_packet(&place("S", 3, 5, 0));
        assert_eq!((overlap.skip, overlap.missing), (2, None));
        assert_eq!(session.next_sequence(), 8);
    }

    #[test]
    fn a_late_join_is_told_as_missing() {
        let mut session = Session::new();
        let first = session.handle_packet(&place("S", 100, 1, 0));
        assert_eq!(first.missing, Some(Missing { first: 1, last: 99 }));
    }

    #[test]
    fn another_session_rolls_and_the_old_one_is_never_mixed_in() {
        let mut session = Session::new();
        session.handle_packet(&place("MON", 1, 9, 0));
        let roll = session.handle_packet(&place("TUE", 1, 1, 0));
        assert_eq!((roll.start, roll.skip), (Some(Start::Roll), 0));
        let late = session.handle_packet(&place("MON", 10, 2, 0));
        assert!(late.old_session);
        assert_eq!(late.skip, 2);
        assert_eq!(session.next_sequence(), 2);
    }

    #[test]
    fn a_fall_back_to_1_with_newer_send_time_is_one_restart() {
        let second = 1_000_000_000;
        let mut session = Session::new();
        session.handle_packet(&place("7", 1, 500, 10 * second));
        let restart = session.handle_packet(&place("7", 1, 0, 420 * second));
        assert_eq!(restart.start, Some(Start::Restart));
        let again = session.handle_packet(&place("7", 1, 0, 421 * second));
        assert_eq!(again.start, None);
        let data = session.handle_packet(&place("7", 1, 5, 422 * second));
        assert_eq!((data.start, data.skip), (None, 0));
    }

    #[test]
    fn a_late_copy_of_the_first_packet_is_no_restart() {
        let mut session = Session::new();
        session.handle_packet(&place("7", 1, 5, 1_000));
        session.handle_packet(&place("7", 6, 5, 2_000));
        let copy = session.handle_packet(&place("7", 1, 2, 2_500));
        assert_eq!((copy.start, copy.skip), (None, 2));
        let mold = session.handle_packet(&place("7", 1, 2, 0));
        assert_eq!((mold.start, mold.skip), (None, 2));
    }

    #[test]
    fn a_heartbeat_of_another_session_forgets_nothing() {
        let mut session = Session::new();
        session.handle_packet(&place("MON", 1, 9, 0));
        let stray = session.handle_packet(&place("XXX", 1, 0, 0));
        assert_eq!((stray.start, stray.old_session), (None, true));
        assert_eq!(
            session.handle_packet(&place("MON", 10, 1, 0)),
            Verdict::default()
        );
    }

    #[test]
    fn a_first_heartbeat_numbered_0_is_no_gap() {
        let mut session = Session::new();
        session.handle_packet(&place("S", 0, 0, 0));
        assert_eq!(session.handle_packet(&place("S", 1, 3, 0)).missing, None);
    }

    #[test]
    fn a_copy_from_before_a_restart_is_old() {
        let second = 1_000_000_000;
        let mut session = Session::new();
        session.handle_packet(&place("7", 1, 500, 10 * second));
        session.handle_packet(&place("7", 1, 2, 420 * second));
        let late = session.handle_packet(&place("7", 490, 11, 10 * second));
        assert!(late.old_session);
        assert_eq!((late.missing, late.skip), (None, 11));
        assert_eq!(session.next_sequence(), 3);
    }

    #[test]
    fn the_end_of_the_number_space_does_not_overflow() {
        let mut session = Session::new();
        session.handle_packet(&place("S", u64::MAX, 0, 0));
        session.handle_packet(&place("S", u64::MAX, 9, 0));
        assert_eq!(session.next_sequence(), u64::MAX);
    }
}
