//! What a book consists of: levels and orders, as values.

pub use tickcast_codecs::types::Level;
use tickcast_codecs::types::{Price, Side};

/// An order that rests in a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Order {
    /// The venue's order reference number.
    pub order_id: u64,
    /// Side.
    pub side: Side,
    /// Price.
    pub px: Price,
    /// Shares that remain.
    pub size: u32,
}

/// How a channel's books are kept, and how much of a book somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BookKind {
    /// By price: one size for each level.
    ByPrice,
    /// By order: every order, in queue order.
    ByOrder,
}
