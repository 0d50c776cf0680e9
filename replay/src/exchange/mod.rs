//! An exchange to test against: what `tickcast demo` and `tickcast simulate` publish.
//!
//! | module | does |
//! | --- | --- |
//! | [`market`] | invents a trading day, message by message, in Nasdaq TotalView-ITCH 5.0 |
//! | [`compare`] | whether a receiver's books are the market's |
//! | [`lines`] | one stream on several lines, each with packets of its own |
//! | [`publisher`] | packs messages into MoldUDP64 downstream packets |
//! | [`repeater`] | plays recorded IEX-TP packets over and over, each time as a new session |
//! | [`store`] | keeps what was published, to be asked for again |
//! | [`request_server`] | answers MoldUDP64 requests |
//! | [`glimpse_server`] | tells the books to one SoupBinTCP connection |
//! | [`gap_fill_server`] | answers IEX-TP gap fill requests, over UDP and TCP |
//! | [`servers`] | the servers' I/O: sockets and threads |
//! | [`venue`] | all of it as one: two lines with faults, and the servers |
//! | [`writer`] | the market as a file: BinaryFILE, or MoldUDP64 packets in pcap and pcapng |
//! | [`edge`] | the publishers' I/O: paces the machines by the clock and sends what they give |
//!
//! The machines take `now` and give bytes; they know neither clock nor socket, so one seed gives one
//! run.  Everything invented here is recognizably so: the symbols belong to no listed security.

pub mod compare;
mod counters;
pub mod edge;
pub mod gap_fill_server;
pub mod glimpse_server;
pub mod lines;
pub mod market;
mod peers;
pub mod publisher;
pub mod repeater;
pub mod request_server;
pub mod servers;
pub mod store;
pub mod venue;
pub mod writer;

pub use gap_fill_server::{GapFillConfig, GapFillConnection, GapFillServer};
pub use glimpse_server::{GlimpseConfig, GlimpseServer, Manner, Snapshot};
pub use lines::{LineConfig, Lines};
pub use market::{Day, Market, MarketConfig, Mix, Pace, Schedule, Shape, Step};
pub use publisher::{Publisher, PublisherConfig};
pub use repeater::{Recorded, Repeater};
pub use request_server::{Answering, RequestServer, RequestServerConfig};
pub use servers::Servers;
pub use store::Store;
pub use venue::{Behaviour, Faults, Venue, VenueConfig};
pub use writer::{MarketWriter, WriterConfig, Written};
