//! How a request is refused, and how a connection is ended: the codes that subscribers see.
//!
//! Codes are stable: a program may depend on them.  The text beside them is for people.

use core::fmt;

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The message isn't JSON, or no object with an `op`.
    BadJson,
    /// A field is missing, or has a value that it can't have.
    BadRequest,
    /// There is no such operation.
    UnknownOp,
    /// There is no such schema.
    UnknownSchema,
    /// The venue has no such symbol.
    UnknownSymbol,
    /// There is no such venue.
    UnknownVenue,
    /// The server wants a token first.
    Unauthorized,
    /// The token doesn't allow this.
    Forbidden,
    /// The connection has as many topics or subscriptions as it may.
    TooManySubscriptions,
    /// The server has as many connections as it may.
    TooManyConnections,
    /// Requests come too fast.
    RateLimited,
    /// The message is too long.
    TooLarge,
    /// There is no such subscription.
    NotFound,
    /// The server can't do this now.
    Unavailable,
    /// The server failed.
    Internal,
}

impl ErrorCode {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::BadJson,
        Self::BadRequest,
        Self::UnknownOp,
        Self::UnknownSchema,
        Self::UnknownSymbol,
        Self::UnknownVenue,
        Self::Unauthorized,
        Self::Forbidden,
        Self::TooManySubscriptions,
        Self::TooManyConnections,
        Self::RateLimited,
        Self::TooLarge,
        Self::NotFound,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::BadRequest => "bad_request",
            Self::UnknownOp => "unknown_op",
            Self::UnknownSchema => "unknown_schema",
            Self::UnknownSymbol => "unknown_symbol",
            Self::UnknownVenue => "unknown_venue",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::TooManySubscriptions => "too_many_subscriptions",
            Self::TooManyConnections => "too_many_connections",
            Self::RateLimited => "rate_limited",
            Self::TooLarge => "too_large",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// A request that was refused: the code, and a sentence that says what was wrong and what is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: ErrorCode,
    /// The sentence.
    pub message: String,
    /// When to try again, in milliseconds, where that is known.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// Without a time to try again.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl core::error::Error for Refusal {}

/// Why a connection is ended: the WebSocket close code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// The server goes away for good.
    GoingAway = 1001,
    /// A message was too big to be read.
    TooBig = 1009,
    /// The server restarts: connect again after a moment.
    Restart = 1012,
    /// The client doesn't speak the protocol.
    BadRequest = 4400,
    /// The token is missing or wrong.
    Unauthorized = 4401,
    /// The token doesn't allow this.
    Forbidden = 4403,
    /// The client read too slowly.
    SlowConsumer = 4408,
    /// Nothing was heard of the client.
    Idle = 4409,
    /// The client sends too much.
    RateLimited = 4429,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The reason that goes with it in the close frame.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::GoingAway => "going away",
            Self::TooBig => "message too big",
            Self::Restart => "restart",
            Self::BadRequest => "bad request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::SlowConsumer => "slow consumer",
            Self::Idle => "idle",
            Self::RateLimited => "rate limited",
        }
    }
}
