//! The whole in one thread, on a virtual clock: exchange, network, our machines, subscribers and checkers.
//!
//! One seed is one [`Scenario`], one run and one hash: nothing here reads a clock, a random number of the
//! system or the order of a hash table.  First *safety*, with faults on every path and servers that fail or
//! lie; then *liveness*, without: everything has to be right again within [`REPAIR_NS_MAX`].
//!
//! | file | has |
//! | --- | --- |
//! | `scenario` | what happens in a run, as plain data; drawn from a seed or written by a test |
//! | `world` | the run |
//! | `network` | paths to request and snapshot servers, and how these behave |
//! | `checker` | what has to hold, and what was seen |
//! | `audience` | subscribers that verify all that they get |
//! | `campaign` | many seeds: what all of them saw together, and the canaries |
//!
//! The machines are those of the program: [`Shard`](tickcast_feed::Shard),
//! [`Loader`](tickcast_feed::snapshot::Loader), [`Hub`](tickcast_fanout::Hub).  Not simulated: sockets, threads,
//! the kernel's buffers.

mod audience;
pub mod campaign;
mod checker;
mod network;
pub mod scenario;
mod world;

pub use campaign::{Campaign, Findings};
pub use checker::Violation;
pub use scenario::{LineSetup, RequestManner, RequestSetup, Roll, Scenario, SnapshotSetup};
pub use world::{Outcome, run, run_with_canary};

/// The books have to be live and right so long after the last fault.
pub const REPAIR_NS_MAX: u64 = 5_000_000_000;
