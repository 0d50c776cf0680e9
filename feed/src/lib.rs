//! From multicast packets to order books.
//!
//! | module | what |
//! | --- | --- |
//! | [`session`] | which messages of a packet are new (machine) |
//! | [`channel`] | packets in, events out, in order, each once (machine) |
//! | [`shard`] | a channel, its market and what it tells (machine) |
//! | [`snapshot`] | one load of a snapshot, beside the books (machine) |
//! | [`loader`] | the thread that connects a load to a snapshot server (edge) |
//! | [`counters`] | what is counted, and the copy that other threads read |
//! | [`socket`] | the multicast socket (edge) |
//! | [`receiver`] | the pinned thread that moves packets from the socket to the shard (edge) |
//! | [`limits`] | every bound, with its reason |
#![forbid(unsafe_code)]

pub mod channel;
pub mod counters;
pub mod limits;
pub mod loader;
pub mod receiver;
pub mod session;
pub mod shard;
pub mod snapshot;
pub mod socket;

pub use channel::Channel;
pub use shard::Shard;
