//! Bytes to typed views to normalized events, and outbound encodings.
//!
//! Nothing here does I/O, reads a clock, starts a thread or allocates per message.
//!
//! | module | implements |
//! | --- | --- |
//! | [`moldudp64`] | MoldUDP64 1.00: downstream packets, heartbeats, end of session, requests |
//! | [`soupbintcp`] | SoupBinTCP 3.00 framing |
//! | [`binaryfile`] | Nasdaq BinaryFILE: length-prefixed messages |
//! | [`itch50`] | Nasdaq TotalView-ITCH 5.0, all messages |
//! | [`glimpse`] | GLIMPSE 5.0 end of snapshot |
//! | [`iextp`] | IEX Transport Protocol 1.0 segments |
//! | [`iex`] | messages that TOPS, DEEP and DEEP+ share |
//! | [`tops`] | IEX TOPS 1.5 and 1.6 |
//! | [`deep`] | IEX DEEP 1.0 |
//! | [`deepplus`] | IEX DEEP+ 1.0 |
//! | [`protocol`] | which of these a payload is |
//! | [`event`] | the normalized model that every venue is mapped to |
//! | [`outbound`] | what subscribers receive: JSON and FlatBuffers |
//! | [`checksum`] | the checksum of a book that subscribers verify |
//! | [`prefetch`](mod@prefetch) | memory that is needed soon |
//!
//! Read in this order: [`types`], [`wire`], [`moldudp64`], [`itch50`], [`event`], [`outbound`].
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod binaryfile;
pub mod checksum;
pub mod deep;
pub mod deepplus;
pub mod error;
pub mod event;
pub mod glimpse;
pub mod iex;
pub mod iextp;
pub mod itch50;
mod length_prefixed;
pub mod moldudp64;
pub mod outbound;
pub mod prefetch;
pub mod protocol;
pub mod soupbintcp;
pub mod tops;
pub mod types;
pub mod wire;

pub use error::DecodeError;
pub use types::{Level, Price, SessionId, Side, Symbol};
