//! One channel: packets in, events out, in order, each message once.
//!
//! A machine without I/O.  [`Channel::handle_packet`] checks a payload whole, judges its place in the
//! session and says what the caller has to do before its messages (forget the books, call them stale);
//! [`Channel::deliver`] then gives the new messages to the normalizer.

use tickcast_codecs::event::{Normalizer as _, Origin, Sink};
use tickcast_codecs::protocol::{Normalizer, Packet, Protocol};
use tickcast_codecs::{DecodeError, SessionId};

use crate::counters::ChannelCounters;
use crate::session::{Place, Session, Verdict};

/// A packet that was checked and judged.
#[derive(Debug, Clone, Copy)]
pub struct Accepted<'a> {
    packet: Packet<'a>,
    /// What to do.
    pub verdict: Verdict,
}

impl Accepted<'_> {
    /// Whether the venue says that the session is over.
    #[must_use]
    pub fn is_end_of_session(&self) -> bool {
        self.packet.is_end_of_session()
    }
}

/// One channel.
#[derive(Debug)]
pub struct Channel {
    protocol: Protocol,
    session: Session,
    normalizer: Normalizer,
    /// Sequence of messages that come without a transport (BinaryFILE).
    file_sequence: u64,
    counters: ChannelCounters,
}

impl Channel {
    /// A channel of a protocol; `number` is the upper half of its instrument ids.
    #[must_use]
    pub fn new(protocol: Protocol, number: u16) -> Self {
        Self {
            protocol,
            session: Session::new(),
            normalizer: Normalizer::new(protocol, number),
            file_sequence: 0,
            counters: ChannelCounters::default(),
        }
    }

    /// The protocol.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The session that is being received.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session.current().unwrap_or_default()
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &ChannelCounters {
        &self.counters
    }

    /// Checks and judges one UDP payload.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the payload is malformed: nothing of it will be delivered.
    pub fn handle_packet<'a>(&mut self, payload: &'a [u8]) -> Result<Accepted<'a>, DecodeError> {
        self.counters.packets += 1;
        let packet = match Packet::parse(self.protocol, payload) {
            Ok(packet) => packet,
            Err(error) => {
                self.counters.rejected += 1;
                return Err(error);
            }
        };
        let verdict = self.session.handle_packet(&Place {
            session: packet.session(),
            sequence: packet.sequence(),
            count: u64::from(packet.count()),
            sent: packet.sent(),
        });
        let counters = &mut self.counters;
        if packet.count() == 0 {
            counters.heartbeats += 1;
        }
        if let Some(start) = verdict.start {
            counters.sessions += 1;
            if start == crate::session::Start::Restart {
                counters.restarts += 1;
            }
            self.normalizer.start_session();
        }
        if let Some(missing) = verdict.missing {
            counters.gaps += 1;
            counters.missing = counters.missing.saturating_add(missing.count());
        }
        if verdict.old_session {
            counters.old_session += verdict.skip;
        } else {
            counters.duplicates += verdict.skip;
        }
        Ok(Accepted { packet, verdict })
    }

    /// Gives the new messages of an accepted packet to `sink`.
    #[inline]
    pub fn deliver<S: Sink>(&mut self, accepted: &Accepted<'_>, ts_recv: u64, sink: &mut S) {
        let first = accepted.packet.sequence();
        for (message, sequence) in accepted.packet.messages().zip(first..) {
            if sequence - first < accepted.verdict.skip {
                continue;
            }
            self.message(message, Origin { sequence, ts_recv }, sink);
        }
    }

    /// Takes one message of a BinaryFILE, which has neither packets nor sequence numbers: they are
    /// counted from 1.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the message is malformed: it was not delivered, but it was numbered.
    pub fn handle_file_message<S: Sink>(
        &mut self,
        message: &[u8],
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        self.file_sequence += 1;
        self.counters.packets += 1;
        if let Err(error) = self.protocol.check(message) {
            self.counters.rejected += 1;
            return Err(error);
        }
        let origin = Origin {
            sequence: self.file_sequence,
            ts_recv: 0,
        };
        self.message(message, origin, sink);
        Ok(())
    }

    /// Whether a message of a BinaryFILE begins another day: ITCH's start of messages behind other
    /// messages, where files are read one after the other.  If so the numbering starts over.
    pub fn starts_file_session(&mut self, message: &[u8]) -> bool {
        let starts = self.file_sequence > 0 && matches!(message, [b'S', .., b'O']);
        if starts {
            self.file_sequence = 0;
            self.normalizer.start_session();
            self.counters.sessions += 1;
        }
        starts
    }

    #[inline]
    fn message<S: Sink>(&mut self, message: &[u8], origin: Origin, sink: &mut S) {
        if let Some(&message_type) = message.first() {
            self.counters.by_type[usize::from(message_type)] += 1;
        }
        match self.normalizer.message(message, origin, sink) {
            Ok(()) => self.counters.messages += 1,
            Err(DecodeError::UnknownType { .. }) => self.counters.unknown_types += 1,
            Err(_) => self.counters.refused_messages += 1,
        }
    }
}
