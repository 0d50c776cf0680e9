//! Order books from normalized events: levels exact at any depth, orders in queue order, and the updates
//! from which anybody can rebuild both.
//!
//! No I/O, no clock, no threads; the same events give the same books and the same updates.  After warm-up
//! no event allocates.
//!
//! | module | holds |
//! | --- | --- |
//! | [`market`] | [`Market`]: one channel's books; events in, updates out |
//! | [`update`] | [`Update`]: what a market tells, and what it means |
//! | [`books`] | [`OrderBooks`], [`LevelBooks`], and [`Book`], the view of one book |
//! | [`level`] | [`Level`], [`Order`]: what a book consists of |
//! | [`replica`] | [`Replica`]: a book rebuilt from updates |
//! | [`snapshot`] | [`BookSnapshot`]: a book as of a sequence number, as a value |
//! | [`integrity`] | [`BookState`], [`Counters`]: whether a book can be trusted |
//! | [`error`] | [`Fault`]: what can be wrong with an event |
//! | [`report`] | [`Report`]: what a channel says of itself: lines, gaps, counters |
//! | [`checksum`](mod@checksum) | the checksum that subscribers compare |
//! | [`limits`] | every bound, with its reason |
//!
//! Read in this order: [`level`], [`update`], [`market`], [`books`]; then, for how it is stored, the
//! private `ladder` and `orders`.

#![forbid(unsafe_code)]

mod book_side;
pub mod books;
mod channel_books;
pub mod checksum;
pub mod error;
pub mod integrity;
mod ladder;
pub mod level;
pub mod limits;
pub mod link;
pub mod market;
mod orders;
mod pages;
pub mod replica;
pub mod report;
pub mod snapshot;
pub mod update;

pub use books::{Book, LevelBooks, OrderBooks};
pub use checksum::checksum;
pub use error::{BookError, Fault};
pub use integrity::{BookState, Counters, Integrity};
pub use level::{BookKind, Level, Order};
pub use limits::Limits;
pub use market::{Applied, Market, Mic};
pub use replica::Replica;
pub use report::Report;
pub use snapshot::BookSnapshot;
pub use update::{
    BestChange, NoUpdates, OrderAction, OrderUpdate, Update, UpdateKind, UpdateSink, flags,
};
