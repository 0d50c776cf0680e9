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
//! | [`books`] | [`OrderBooks`] and [`LevelBooks`], for who follows updates; and [`Book`], the view of any book |
//! | [`level`] | [`Level`], [`Order`]: what a book consists of |
//! | [`replica`] | [`Replica`]: a book rebuilt from updates |
//! | [`snapshot`] | [`BookSnapshot`]: a book as of a sequence number, as a value |
//! | [`integrity`] | [`BookState`], [`Counters`]: whether a book can be trusted |
//! | [`error`] | [`Fault`]: what can be wrong with an event |
//! | [`report`] | [`Report`]: what a channel says of itself: lines, gaps, counters |
//! | [`checksum`](mod@checksum) | the checksum that subscribers compare |
//! | [`limits`] | every bound, with its reason |
//!
//! Read in this order: [`level`], [`update`], [`market`]; then, for how a market stores its orders, the private
//! `channel_books`, `pages` and `book_side`; for how those do who follow it, `ladder` and `orders`.

#![forbid(unsafe_code)]

mod book_side;
pub mod books;
mod channel_books;
pub mod checksum;
pub mod error;
mod gathering;
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
pub use channel_books::Memory;
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
