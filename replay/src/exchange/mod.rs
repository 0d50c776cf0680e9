//! An exchange to test against: what `tickcast demo` and `tickcast simulate` publish.
//!
//! | module | does |
//! | --- | --- |
//! | [`market`] | invents a trading day, message by message, in Nasdaq TotalView-ITCH 5.0 |
//! | [`compare`] | whether a receiver's books are the market's |
//! | [`lines`] | one stream on several lines, each with packets of its own |
//! | [`publisher`] | packs messages into MoldUDP64 downstream packets |
//! | [`repeater`] | plays recorded IEX-TP packets over and over, each time as a new session |
//! | [`edge`] | the only I/O: paces the machines by the clock and sends what they give |
//!
//! The machines take `now` and give bytes; they know neither clock nor socket, so one seed gives one
//! run.  Everything invented here is recognizably so: the symbols belong to no listed security.

pub mod compare;
pub mod edge;
pub mod lines;
pub mod market;
pub mod publisher;
pub mod repeater;

pub use lines::{LineConfig, Lines};
pub use market::{Day, Market, MarketConfig, Mix, Pace, Schedule, Shape, Step};
pub use publisher::{Publisher, PublisherConfig};
pub use repeater::{Recorded, Repeater};
