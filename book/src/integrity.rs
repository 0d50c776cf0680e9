//! Whether a book can be trusted, and what has been counted on the way.
//!
//! A book is [`Live`](BookState::Live) until something shows that it may be wrong: a gap in the channel, or a
//! message that doesn't fit the book ([`Fault`]).  Nothing is repaired by guessing; the
//! state is told, until a `Clear` starts the book anew.  A crossed book is counted and shown, but it is no
//! fault: venues have reasons for one (auctions, halts), and a locked book is valid everywhere.

use crate::error::{BookError, Fault};

/// Whether a book can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BookState {
    /// It is what the venue's messages make it.
    #[default]
    Live,
    /// It may be wrong.
    Stale,
}

impl BookState {
    /// The name that subscribers see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale => "stale",
        }
    }
}

/// What is known of one book's trustworthiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Integrity {
    /// Whether the book can be trusted: the channel's gaps and the book's own faults together.
    pub state: BookState,
    /// The first fault since the book was last cleared.
    pub first_fault: Option<BookError>,
    /// The sequence number of the message that crossed the book, if it is crossed now.
    pub crossed_at: Option<u64>,
}

macro_rules! counters {
    ($(#[doc = $help:literal] $name:ident,)+) => {
        /// What one market has counted since it was made.  Gauges say "now".
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $(#[doc = $help] pub $name: u64,)+
        }

        impl Counters {
            /// Each counter's name, one sentence on it, and its value.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), $help.trim_ascii(), self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Events applied, of any kind.
    events,
    /// Events that a book accepted.
    book_events,
    /// Events that a book refused as a whole.
    refused_events,
    /// Executions, cancels, deletes, replacements and modifications of an order that isn't live.
    unknown_order,
    /// Additions of an order that is live already; the first one was kept.
    duplicate_order,
    /// Executions and cancels of more shares than remained; what remained was removed.
    over_reduced,
    /// Messages that name an order of another instrument.
    other_instrument,
    /// Additions, executions and cancels of no shares.
    zero_size,
    /// Orders, levels and quotes at a price of 0 or less.
    bad_price,
    /// Orders not kept because orders_max were live.
    orders_full,
    /// Levels not kept because a book or the channel has no room for more.
    levels_full,
    /// Events of an instrument before its definition; they are applied.
    unknown_instrument,
    /// Events of an instrument of another channel, and book events without an instrument.
    bad_instrument,
    /// Level events in a channel of books by order, and the reverse.
    other_kind,
    /// Times that a book became crossed (best bid above best ask).
    crossed,
    /// Books that are crossed now.
    crossed_now,
    /// Books with a fault of their own now.
    faulty_now,
    /// Times that the whole channel became stale because of a gap.
    gaps,
}

impl Counters {
    pub(crate) fn count(&mut self, fault: &Fault) {
        let counter = match fault {
            Fault::UnknownOrder { .. } => &mut self.unknown_order,
            Fault::DuplicateOrder { .. } => &mut self.duplicate_order,
            Fault::OverReduced { .. } => &mut self.over_reduced,
            Fault::OtherInstrument { .. } => &mut self.other_instrument,
            Fault::ZeroSize { .. } => &mut self.zero_size,
            Fault::BadPrice { .. } => &mut self.bad_price,
            Fault::OrdersFull { .. } => &mut self.orders_full,
            Fault::LevelsFull { .. } => &mut self.levels_full,
            Fault::UnknownInstrument => &mut self.unknown_instrument,
            Fault::BadInstrument => &mut self.bad_instrument,
            Fault::OtherKind => &mut self.other_kind,
        };
        *counter += 1;
    }

    /// All faults together.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.unknown_order
            + self.duplicate_order
            + self.over_reduced
            + self.other_instrument
            + self.zero_size
            + self.bad_price
            + self.orders_full
            + self.levels_full
            + self.unknown_instrument
            + self.bad_instrument
            + self.other_kind
    }
}

#[cfg(test)]
mod tests {
    use tickcast_codecs::types::Price;

    use super::*;

    #[test]
    fn each_fault_moves_exactly_the_counter_that_it_names() {
        let (order_id, px) = (1, Price(0));
        for fault in [
            Fault::UnknownOrder { order_id },
            Fault::DuplicateOrder { order_id, owner: 1 },
            Fault::OverReduced {
                order_id,
                size: 2,
                remained: 1,
            },
            Fault::OtherInstrument { order_id, owner: 1 },
            Fault::ZeroSize { order_id },
            Fault::BadPrice { px },
            Fault::OrdersFull { order_id },
            Fault::LevelsFull { px },
            Fault::UnknownInstrument,
            Fault::BadInstrument,
            Fault::OtherKind,
        ] {
            let mut counters = Counters::default();
            counters.count(&fault);
            assert_eq!(counters.faults(), 1);
            for (name, help, value) in counters.iter() {
                assert_eq!(value, u64::from(name == fault.counter()), "{name}");
                assert!(help.ends_with('.'), "{name}: {help}");
            }
        }
    }
}
