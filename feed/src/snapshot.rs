//! A snapshot of a channel: what a shard asks for, and what it gets.
//!
//! The books are loaded into a market of their own, beside the shard's, and change places with it when they
//! are complete: no half-loaded book is ever visible.

use core::fmt;

use tickcast_book::Market;
use tickcast_codecs::SessionId;
use tickcast_codecs::protocol::Normalizer;

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
        })
    }
}

impl core::error::Error for LoadError {}
