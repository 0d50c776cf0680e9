//! The edge: sockets, HTTP, WebSocket, rings.  It moves bytes between them and the [`Hub`](crate::Hub),
//! and decides nothing that a test would want to reach.
//!
//! | module | moves |
//! | --- | --- |
//! | [`reactor`] | items from the rings to the hub, the hub's wishes back to the shards, the time |
//! | [`server`] | connections: accepts, HTTP requests, the upgrade |
//! | [`connection`] | one subscriber's messages |
//! | `assets` | the web page |
//!
//! A reactor is one thread with a current-thread runtime: the hub has one owner and no lock.

mod assets;
pub mod connection;
pub mod reactor;
pub mod server;

pub use reactor::{Feed, Reactor, Stop};
