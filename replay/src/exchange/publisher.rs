//! Packs messages into MoldUDP64 downstream packets.
//!
//! Implements the transmitter's part of *MoldUDP64 Protocol Specification* V 1.00: consecutive sequence
//! numbers, several messages in a packet, heartbeats when idle, end of session.  A packet goes out when
//! one more message wouldn't fit, or when its oldest message has waited for the configured time.
//!
//! Not here: the retransmission server ("Re-request Servers"), and the choice of lines.

use core::fmt;

use tickcast_codecs::SessionId;
use tickcast_codecs::moldudp64::{self, PacketBuilder};

/// How to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublisherConfig {
    /// The session: up to ten characters.
    pub session: SessionId,
    /// Bytes of the largest packet, header included.
    pub packet_bytes_max: usize,
    /// How long a message may wait for others to share its packet.
    pub flush_ns: u64,
    /// After so much silence a heartbeat is sent.
    pub heartbeat_ns: u64,
    /// How long the end of the session is told, in place of heartbeats.
    pub end_of_session_ns: u64,
}

impl Default for PublisherConfig {
    /// Session `TICKCAST01`; 1,400 bytes, which pass any Ethernet unfragmented; 200 us; heartbeats each
    /// second, as the specification says; the end told for 5 s.
    fn default() -> Self {
        Self {
            session: SessionId::from_padded(b"TICKCAST01"),
            packet_bytes_max: 1_400,
            flush_ns: 200_000,
            heartbeat_ns: 1_000_000_000,
            end_of_session_ns: 5_000_000_000,
        }
    }
}

/// Why a message wasn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishError {
    /// The message is empty: it would have no type.
    Empty,
    /// No packet of the configured size can carry the message.
    TooLong {
        /// The message's length.
        len: usize,
        /// The longest that fits.
        max: usize,
    },
    /// The session has ended.
    Ended,
    /// The session has no sequence number left for the message.
    SequenceExhausted,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("the message is empty"),
            Self::TooLong { len, max } => {
                write!(
                    f,
                    "a message of {len} bytes exceeds the {max} that a packet carries"
                )
            }
            Self::Ended => f.write_str("the session has ended"),
            Self::SequenceExhausted => f.write_str("no sequence number is left in the session"),
        }
    }
}

impl core::error::Error for PublishError {}

/// One session's transmitter.
#[derive(Debug)]
pub struct Publisher {
    config: PublisherConfig,
    /// Messages not sent yet, each behind its length; those before `sent_to` are sent.
    waiting: Vec<u8>,
    sent_to: usize,
    /// When the oldest waiting message came.
    waiting_since: u64,
    /// When the newest one came.
    arrived: u64,
    /// How many messages wait.
    waiting_count: u64,
    next_sequence: u64,
    last_transmit: u64,
    ended: Option<End>,
}

#[derive(Debug, Clone, Copy)]
struct End {
    at: u64,
    told: bool,
    /// The end is told once at most, and no time is waited after it.
    once: bool,
}

/// Bytes of a message's length, here and in a message block.
const LENGTH_LEN: usize = 2;

impl Publisher {
    /// A session whose first message will have sequence number 1.
    #[must_use]
    pub fn new(config: PublisherConfig, now: u64) -> Self {
        Self::starting_at(config, now, 1)
    }

    /// A publisher whose first message will have this sequence number.
    #[must_use]
    pub fn starting_at(config: PublisherConfig, now: u64, sequence: u64) -> Self {
        Self {
            config: PublisherConfig {
                // Without a pause, heartbeats would never let the caller go.
                heartbeat_ns: config.heartbeat_ns.max(1),
                ..config
            },
            waiting: Vec::with_capacity(2 * config.packet_bytes_max),
            sent_to: 0,
            waiting_since: now,
            arrived: now,
            waiting_count: 0,
            next_sequence: sequence,
            last_transmit: now,
            ended: None,
        }
    }

    /// Takes one message.  Call [`Publisher::poll_transmit`] until it gives nothing before the next
    /// one, or messages pile up.
    ///
    /// # Errors
    ///
    /// [`PublishError`] if the message can't be sent in this session; nothing changed then.
    pub fn handle_message(&mut self, now: u64, message: &[u8]) -> Result<(), PublishError> {
        let len = self.check(message)?;
        if self.sent_to == self.waiting.len() {
            self.waiting.clear();
            self.sent_to = 0;
            self.waiting_since = now;
        }
        self.arrived = now;
        self.waiting.extend_from_slice(&len.to_ne_bytes());
        self.waiting.extend_from_slice(message);
        self.waiting_count += 1;
        Ok(())
    }

    /// Whether a message can be sent in this session; its length.
    ///
    /// # Errors
    ///
    /// As [`Publisher::handle_message`].
    pub fn check(&self, message: &[u8]) -> Result<u16, PublishError> {
        if self.ended.is_some() {
            return Err(PublishError::Ended);
        }
        let next = self.next_sequence.checked_add(self.waiting_count);
        if next.is_none_or(|next| next == u64::MAX) {
            return Err(PublishError::SequenceExhausted);
        }
        let max = self
            .config
            .packet_bytes_max
            .saturating_sub(moldudp64::HEADER_LEN + LENGTH_LEN)
            .min(usize::from(u16::MAX));
        match u16::try_from(message.len()) {
            Ok(0) => Err(PublishError::Empty),
            Ok(len) if message.len() <= max => Ok(len),
            _ => Err(PublishError::TooLong {
                len: message.len(),
                max,
            }),
        }
    }

    /// Ends the session: what waits is sent, then the end of the session is told.
    pub fn handle_end(&mut self, now: u64) {
        self.ended.get_or_insert(End {
            at: now,
            told: false,
            once: false,
        });
    }

    /// Stops: what waits is sent, then the end of the session once if it is to be `told`, and nothing more.
    pub(super) fn handle_retire(&mut self, now: u64, told: bool) {
        self.ended = Some(End {
            at: now,
            told: !told,
            once: true,
        });
    }

    /// Writes the next packet that is due into `packet`, in place of what it held.  `false`: none is.
    pub fn poll_transmit(&mut self, now: u64, packet: &mut Vec<u8>) -> bool {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return false;
        }
        if self.sent_to < self.waiting.len() {
            self.pack(packet);
        } else if let Some(end) = &mut self.ended {
            end.told = true;
            moldudp64::encode_end_of_session(packet, self.config.session, self.next_sequence);
        } else {
            moldudp64::encode_heartbeat(packet, self.config.session, self.next_sequence);
        }
        self.last_transmit = now;
        true
    }

    /// When [`Publisher::poll_transmit`] will have a packet; `None` once the session's end was told for long
    /// enough.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let heartbeat = self.last_transmit.saturating_add(self.config.heartbeat_ns);
        let waiting = self.waiting.len() - self.sent_to;
        match self.ended {
            Some(_) if waiting > 0 => Some(0),
            None if waiting
                > self
                    .config
                    .packet_bytes_max
                    .saturating_sub(moldudp64::HEADER_LEN) =>
            {
                Some(0)
            }
            None if waiting > 0 => Some(self.waiting_since.saturating_add(self.config.flush_ns)),
            Some(end) if !end.told => Some(0),
            Some(end) if end.once => None,
            Some(end) if heartbeat > end.at.saturating_add(self.config.end_of_session_ns) => None,
            Some(_) | None => Some(heartbeat),
        }
    }

    /// The sequence number that the next packet will begin with.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// One packet of as many waiting messages as fit.
    fn pack(&mut self, packet: &mut Vec<u8>) {
        let mut builder = PacketBuilder::new(
            packet,
            self.config.session,
            self.next_sequence,
            self.config.packet_bytes_max,
        );
        while let Some((length, rest)) =
            self.waiting[self.sent_to..].split_first_chunk::<LENGTH_LEN>()
        {
            let length = usize::from(u16::from_ne_bytes(*length));
            // Whole messages wait, and each fits an empty packet: only a full one refuses.
            if builder.push(&rest[..length]).is_err() {
                break;
            }
            self.sent_to += LENGTH_LEN + length;
        }
        self.waiting_count -= u64::from(builder.count());
        self.next_sequence = builder.next_sequence();
        // What is left didn't fit, so it is from the end of what came.
        self.waiting.drain(..self.sent_to);
        self.sent_to = 0;
        self.waiting_since = self.arrived;
    }
}
