//! What bounds the memory and the work of a channel's books, each with its reason.

/// Instruments of a channel: the numbers are 16 bits wide, and 0 is the channel itself.
pub const INSTRUMENTS_MAX: usize = 1 << 16;

/// The limits of one channel's books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Live orders.
    ///
    /// A busy day of the largest equities venue has a few million at once.  64 Mi of them take some
    /// 3 GB: a feed that adds more without ever deleting is broken, and shall not take the machine
    /// with it.
    pub orders_max: usize,
    /// Levels of all books of a channel together, in books by price.
    ///
    /// (In books by order a level has an order, so `orders_max` bounds them.)  16 Mi of 32 bytes are
    /// 512 MB.
    pub levels_max: usize,
    /// Levels of one side of one book.
    ///
    /// A side is a sorted array, so a new level moves those that are better: here at most 8 MiB.
    /// Twice what the deepest of our stress tests needs (100,000), a hundred times what is seen.
    pub side_levels_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            orders_max: 1 << 26,
            levels_max: 1 << 24,
            side_levels_max: 1 << 18,
        }
    }
}

/// Snapshots that a reactor may have asked for and not got: more instruments than one subscription names
/// at once are asked for in turns.
pub const SNAPSHOT_REQUESTS_MAX: usize = 4_096;

/// Slots by reference number for each live order, on average.
///
/// So 192 bytes an order at most.  Venues use some 2.3 numbers for each displayed order; where orders go at random, one
/// of 180 then lives so long that its page is taken from it and it costs a place in a table.  With 6 it would be one
/// of 14, and each costs three times what another does.
pub const SLOTS_PER_ORDER: usize = 12;

/// Pages of 16 KiB that a channel may have however few orders live.
pub const PAGES_MIN: usize = 256;

/// Orders of the 1,024 numbers of a page for which a page is worth its memory.
pub const DENSE_ORDERS: u32 = 64;

/// Orders' events that wait to be applied together.
///
/// Enough that memory answers for the last while the first are applied; what waits fits the first-level cache (8 KiB).
pub const WAITING_MAX: usize = 64;

/// Pages looked at between two packets while orders are gathered: 256 KiB, some 20 microseconds.
pub const PAGES_PER_TURN: usize = 16;

/// Orders noted while queues are gathered and not asked for yet, beside four for each that lives: 1 MiB.
pub const NOTED_MAX: usize = 1 << 17;
