//! An exchange to test against: what `tickcast demo` and `tickcast simulate` publish.
//!
//! | module | does |
//! | --- | --- |
//! | [`market`] | invents a trading day, message by message, in Nasdaq TotalView-ITCH 5.0 |
//! | [`publisher`] | packs messages into MoldUDP64 downstream packets |
//! | [`repeater`] | plays recorded IEX-TP packets over and over, each time as a new session |
//! | [`edge`] | the only I/O: paces the machines by the clock and sends what they give |
//!
//! The machines take `now` and give bytes; they know neither clock nor socket, so one seed gives one
//! run.  Everything invented here is recognizably so: the symbols belong to no listed security.

pub mod edge;
pub mod market;
mod orders;
pub mod publisher;
mod random;
pub mod repeater;

pub use market::{Market, MarketConfig, Step};
pub use publisher::{Publisher, PublisherConfig};
pub use repeater::{Recorded, Repeater};
