//! The checksum by which a subscriber can tell that its book is the server's: `docs/protocol.md`, "Checksum".
//!
//! CRC32 (ISO-HDLC, that of zip and Ethernet) over at most ten levels of each side as little-endian
//! integers: for each ask, best first, the price as i64 and then the size as u64; then each bid likewise.
//! Counts of orders aren't part of it: a book by price doesn't have them.

use tickcast_codecs::checksum::book_checksum;

use crate::level::Level;

/// Of levels that come best first; those beyond the tenth don't count.
#[must_use]
pub fn checksum(
    bids: impl IntoIterator<Item = Level>,
    asks: impl IntoIterator<Item = Level>,
) -> u32 {
    let pair = |level: Level| (level.px.0, level.size);
    book_checksum(bids.into_iter().map(pair), asks.into_iter().map(pair))
}

#[cfg(test)]
mod tests {
    use tickcast_codecs::types::Price;

    use super::*;

    fn level(px: i64, size: u64) -> Level {
        Level {
            px: Price(px),
            size,
            count: 7,
        }
    }

    #[test]
    fn it_is_the_crc_of_asks_then_bids_as_the_protocol_says() {
        assert_eq!(checksum([], []), 0);
        // python3: zlib.crc32(struct.pack('<qQqQqQ', 102, 5, 103, 6, 101, 1 << 40))
        let known = checksum([level(101, 1 << 40)], [level(102, 5), level(103, 6)]);
        assert_eq!(known, 0xb237_951d);
    }

    #[test]
    fn levels_beyond_the_tenth_and_counts_do_not_matter() {
        let bids: Vec<_> = (1..=12_u8).map(|n| level(100 - i64::from(n), 1)).collect();
        let asks: Vec<_> = (1..=12_u8).map(|n| level(100 + i64::from(n), 1)).collect();
        let all = checksum(bids.clone(), asks.clone());
        let uncounted = |level: &Level| Level { count: 0, ..*level };
        let ten = checksum(
            bids.iter().take(10).map(uncounted),
            asks.iter().take(10).map(uncounted),
        );
        assert_eq!(all, ten);
        assert_ne!(all, checksum(bids, asks.into_iter().take(9)));
    }
}
