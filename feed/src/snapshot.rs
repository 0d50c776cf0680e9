//! A snapshot of a channel: what a shard asks for, how it is loaded, and what it gets.
//!
//! The books are loaded into a market of their own, beside the shard's, and change places with it when they
//! are complete: no half-loaded book is ever visible.
//!
//! [`Loader`] is one load, a machine without I/O: bytes of one TCP connection and the time go in, bytes to
//! send and one outcome come out.  Where the snapshot comes from is the protocol's:
//!
//! - ITCH: GLIMPSE 5.0 over SoupBinTCP 3.00, a server that tells the books as they are;
//! - IEX: the gap fill server over TCP (*IEX Transport Specification* 1.26, "TCP Gap Fill"), from which "any
//!   data from the start of the current session" can be had: all messages before the live ones are
//!   applied as if they had just come.
//!
//! Everything that a server can do wrong ends the load with a [`LoadError`]: nothing is retried here, and
//! nothing is repaired.  Not done: IEX's SNAP services, which are protocols of their own.

use core::fmt;

use tickcast_book::{Limits, Market, Mic};
use tickcast_codecs::protocol::{Normalizer, Protocol};
use tickcast_codecs::types::Text;
use tickcast_codecs::{SessionId, itch50};

use crate::limits::{
    LOAD_IDLE_NS_MAX, LOAD_STALL_NS_MAX, RETRANSMISSION_BYTES_MAX, RETRANSMISSION_CAUGHT_UP_NS,
    RETRANSMISSION_NS_MAX, SNAPSHOT_BYTES_MAX, SNAPSHOT_NS_MAX,
};

mod glimpse;
mod retransmission;
mod shadow;

use glimpse::Glimpse;
use retransmission::Retransmission;
use shadow::Shadow;

/// Which instruments of a channel are a shard's: those whose number leaves `index` when divided by `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Of this shard: below `of`.
    pub index: u16,
    /// How many shards share the channel; at least 1.
    pub of: u16,
}

impl Share {
    /// All instruments.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Whether the shard keeps what is told of this instrument.  What is told of the channel itself
    /// (number 0) is kept by all.
    #[inline]
    #[must_use]
    pub const fn holds(self, instrument_id: u32) -> bool {
        let number = instrument_id & 0xffff;
        self.of <= 1 || number == 0 || number % self.of as u32 == self.index as u32
    }
}

/// What a shard wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadRequest {
    /// The shard's number of this attempt: an answer to an earlier one is refused.
    pub id: u64,
    /// The session that the channel is in.
    pub session: SessionId,
    /// A snapshot that live data joins before this sequence number is too old to be of use.
    pub not_before: u64,
    /// Midnight of the venue's day in nanoseconds since the Unix epoch, where it is known: a snapshot's
    /// messages are old, and their day can't be told from the time that they are received.
    pub midnight: Option<u64>,
    /// IEX: the channel id in the segments of the feed; elsewhere of no meaning.
    pub iextp_channel: u32,
}

/// A snapshot, complete.
#[derive(Debug)]
pub struct Loaded {
    /// The request's.
    pub id: u64,
    /// The first sequence number of the live feed that isn't part of it.
    pub sequence: u64,
    /// The books.
    pub market: Market,
    /// The state of the mapping from messages to events, as of the same sequence number.
    pub normalizer: Normalizer,
    /// Messages that it was made of.
    pub messages: u64,
}

/// How to load.  `Debug` doesn't show the password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LoaderConfig {
    /// The channel's protocol: it says what kind of server is asked.
    pub protocol: Protocol,
    /// The channel's number: the upper half of its instrument ids.
    pub number: u16,
    /// The venue.
    pub venue: Mic,
    /// The instruments to keep.
    pub share: Share,
    /// GLIMPSE: the user name.
    pub username: Text<6>,
    /// GLIMPSE: the password.
    pub password: Text<10>,
    /// GLIMPSE: whether the server has to name the session of the feed.  It protects from yesterday's books;
    /// the specifications promise it nowhere, so a venue may do otherwise.
    pub same_session: bool,
}

impl fmt::Debug for LoaderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoaderConfig")
            .field("protocol", &self.protocol)
            .field("number", &self.number)
            .field("venue", &self.venue)
            .field("share", &self.share)
            .field("username", &self.username)
            .field("same_session", &self.same_session)
            .finish_non_exhaustive()
    }
}

/// One load; see the [module](self).
///
/// Call [`handle_connected`](Self::handle_connected) once, then [`handle_bytes`](Self::handle_bytes) and
/// [`handle_timeout`](Self::handle_timeout) as they come, and after each of them
/// [`poll_transmit`](Self::poll_transmit) until it gives nothing, and [`poll`](Self::poll).  After the
/// outcome nothing more is sent or expected: close the connection.
#[derive(Debug)]
pub struct Loader {
    request: LoadRequest,
    wire: Wire,
    /// Gone once the outcome is known.
    shadow: Option<Box<Shadow>>,
    outcome: Option<Result<Box<Loaded>, LoadError>>,
    started: u64,
    /// When the server was last heard.
    heard: u64,
    /// When the last message of the snapshot came.
    progressed: u64,
    bytes: u64,
}

/// The server's protocol.
#[derive(Debug)]
enum Wire {
    Glimpse(Glimpse),
    Retransmission(Retransmission),
}

impl Loader {
    /// A load before its connection is there.
    #[must_use]
    pub fn new(config: &LoaderConfig, request: LoadRequest, now: u64) -> Self {
        let (wire, normalizer) = match config.protocol {
            Protocol::MoldUdp64Itch50 | Protocol::BinaryFileItch50 => {
                let normalizer = itch50::Normalizer::new(config.number);
                let normalizer = match request.midnight {
                    Some(midnight) => normalizer.with_session_midnight(midnight),
                    None => normalizer,
                };
                (
                    Wire::Glimpse(Glimpse::new(config, &request)),
                    Normalizer::Itch50(normalizer),
                )
            }
            protocol => (
                Wire::Retransmission(Retransmission::new(config, &request)),
                Normalizer::new(protocol, config.number),
            ),
        };
        let shadow = Shadow {
            protocol: config.protocol,
            share: config.share,
            market: Market::new(config.venue, config.number, &Limits::default()),
            normalizer,
            messages: 0,
        };
        Self {
            request,
            wire,
            shadow: Some(Box::new(shadow)),
            outcome: None,
            started: now,
            heard: now,
            progressed: now,
            bytes: 0,
        }
    }

    /// What is loaded.
    #[must_use]
    pub fn request(&self) -> &LoadRequest {
        &self.request
    }

    /// Bytes received so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The connection is there.
    pub fn handle_connected(&mut self, now: u64) {
        if self.shadow.is_none() {
            return;
        }
        self.heard = now;
        let step = match &mut self.wire {
            Wire::Glimpse(glimpse) => {
                glimpse.handle_connected(now);
                Ok(None)
            }
            Wire::Retransmission(retransmission) => retransmission.handle_connected(),
        };
        self.settle(step);
    }

    /// Takes bytes from the server, split anywhere.
    pub fn handle_bytes(&mut self, now: u64, bytes: &[u8]) {
        // Before the bytes: those of a server that was silent for too long come too late.
        self.handle_timeout(now);
        let Some(shadow) = &mut self.shadow else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        self.heard = now;
        let messages = shadow.messages;
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        let (step, bytes_max) = match &mut self.wire {
            Wire::Glimpse(glimpse) => (glimpse.handle_bytes(bytes, shadow), SNAPSHOT_BYTES_MAX),
            Wire::Retransmission(retransmission) => (
                retransmission.handle_bytes(bytes, shadow),
                RETRANSMISSION_BYTES_MAX,
            ),
        };
        if shadow.messages > messages {
            self.progressed = now;
        }
        self.settle(step);
        if self.bytes > bytes_max {
            self.settle(Err(LoadError::TooLarge));
        }
    }

    /// The server closed the connection, or it can't be reached.
    pub fn handle_closed(&mut self, _now: u64) {
        self.settle(self.end(LoadError::Closed));
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: u64) {
        if self.shadow.is_none() {
            return;
        }
        if now >= self.deadline() {
            self.settle(self.end(LoadError::TimedOut));
        } else if let Wire::Glimpse(glimpse) = &mut self.wire {
            glimpse.handle_timeout(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` once the outcome is known.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.shadow.as_ref()?;
        let deadline = self.deadline();
        let heartbeat = match &self.wire {
            Wire::Glimpse(glimpse) => glimpse.poll_timeout(),
            Wire::Retransmission(_) => None,
        };
        Some(heartbeat.map_or(deadline, |heartbeat| heartbeat.min(deadline)))
    }

    /// Writes what is to be sent into `out`, in place of what it held.  `false`: nothing is.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        out.clear();
        if self.shadow.is_none() {
            return false;
        }
        let waiting = match &mut self.wire {
            Wire::Glimpse(glimpse) => glimpse.transmit(),
            Wire::Retransmission(retransmission) => retransmission.transmit(),
        };
        out.extend_from_slice(waiting);
        waiting.clear();
        !out.is_empty()
    }

    /// The outcome, once: the snapshot or why there is none.
    pub fn poll(&mut self) -> Option<Result<Box<Loaded>, LoadError>> {
        self.outcome.take()
    }

    fn deadline(&self) -> u64 {
        let (all, idle) = match &self.wire {
            Wire::Glimpse(_) => (SNAPSHOT_NS_MAX, LOAD_IDLE_NS_MAX),
            Wire::Retransmission(retransmission) if retransmission.complete().is_some() => {
                (RETRANSMISSION_NS_MAX, RETRANSMISSION_CAUGHT_UP_NS)
            }
            Wire::Retransmission(_) => (RETRANSMISSION_NS_MAX, LOAD_IDLE_NS_MAX),
        };
        let started = self.started.saturating_add(all);
        started.min(self.heard.saturating_add(idle))
    }

    /// What it comes to when the server sends no more: a retransmission may be complete without a word.
    fn end(&self, error: LoadError) -> Step {
        match &self.wire {
            Wire::Retransmission(retransmission) => {
                retransmission.complete().map(Some).ok_or(error)
            }
            Wire::Glimpse(_) => Err(error),
        }
    }

    /// Takes over what a step came to: still nothing, the sequence number that the live feed joins at, or
    /// an error.  The first outcome stands.
    fn settle(&mut self, step: Step) {
        if matches!(step, Ok(None)) {
            return;
        }
        let Some(shadow) = self.shadow.take() else {
            return;
        };
        self.outcome = match step {
            // Sequence numbers begin with 1.
            Ok(Some(sequence)) if sequence < self.request.not_before.max(1) => {
                Some(Err(LoadError::TooOld))
            }
            Ok(Some(sequence)) => Some(Ok(Box::new(shadow.complete(self.request.id, sequence)))),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        };
    }
}

/// What a step of a load comes to: the first sequence number of the live feed, once it is complete.
type Step = Result<Option<u64>, LoadError>;

/// Why there is no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoadError {
    /// The server can't be reached, or closed the connection before the end.
    Closed,
    /// The server said nothing for too long, or never ended.
    TimedOut,
    /// The server refused the login.
    Rejected,
    /// The server's bytes don't fit the protocol.
    Malformed,
    /// It is of another session.
    OtherSession,
    /// Live data joins it before the sequence number that is needed.
    TooOld,
    /// Its messages don't fit each other: one was refused by the books.
    Inconsistent,
    /// It is larger than any venue's.
    TooLarge,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the snapshot server can't be reached or closed the connection",
            Self::TimedOut => "the snapshot server took too long",
            Self::Rejected => "the snapshot server refused the login",
            Self::Malformed => "the snapshot server's bytes don't fit the protocol",
            Self::OtherSession => "the snapshot is of another session",
            Self::TooOld => "the snapshot is older than what is missing",
            Self::Inconsistent => "the snapshot's messages don't fit each other",
            Self::TooLarge => "the snapshot is larger than any venue's",
        })
    }
}

impl core::error::Error for LoadError {}
