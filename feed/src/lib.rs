//! From multicast packets to order books.
//!
//! | module | what |
//! | --- | --- |
//! | [`line`](mod@line) | whether one line lives, and what came of its packets (machine) |
//! | [`session`] | which session a packet is of (machine) |
//! | [`arbiter`] | the first copy of each message, in order; gaps declared and closed (machine) |
//! | [`gaps`] | what is missing |
//! | [`recovery`] | what to ask for, of whom, and when again (machine) |
//! | [`channel`] | packets in, events out, in order, each once (machine) |
//! | [`shard`] | a channel, its market and what it tells (machine) |
//! | [`snapshot`] | one load of a snapshot, beside the books (machine) |
//! | [`loader`] | the thread that connects a load to a snapshot server (edge) |
//! | [`counters`] | what is counted, and the copy that other threads read |
//! | [`batch`] | datagrams of one system call, in buffers made once (edge) |
//! | [`socket`] | the sockets of lines and of request servers (edge) |
//! | [`drive`] | what a shard needs beside packets (edge) |
//! | [`control`] | what an operator changes while a shard runs (edge) |
//! | [`receiver`] | the pinned thread that moves packets from the sockets to the shard (edge) |
//! | [`shards`] | rings to several shards, and their threads (edge) |
//! | [`startup`] | what a thread asked of the system, and what it got (edge) |
//! | [`limits`] | every bound, with its reason |
#![forbid(unsafe_code)]

pub mod arbiter;
pub mod batch;
pub mod channel;
pub mod control;
pub mod counters;
pub mod drive;
pub mod gaps;
mod held;
pub mod limits;
pub mod line;
pub mod loader;
pub mod receiver;
pub mod recovery;
mod repair;
pub mod session;
pub mod shard;
pub mod shards;
pub mod snapshot;
pub mod socket;
pub mod startup;

pub use arbiter::{ArbiterConfig, Source};
pub use channel::Channel;
pub use recovery::RecoveryConfig;
pub use repair::RepairTimes;
pub use shard::{Shard, ShardConfig};
pub use snapshot::Share;
