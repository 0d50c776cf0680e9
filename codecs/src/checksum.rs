//! The checksum of a book by price, which the subscriber protocol carries with snapshots and updates.
//!
//! CRC32 (ISO-HDLC, the one of zip and Ethernet) over the best [`LEVELS`] levels of each side, or fewer if
//! there are fewer: each ask, best first, then each bid, best first; per level the price as `i64` in units of 10^-9
//! and the size as `u64`, both little-endian.  On integers and not on text, so that no way of writing a
//! number can break it.  Order counts aren't part of it: level venues have none.

/// How many levels of each side are covered.
pub const LEVELS: usize = 10;

/// The checksum of a book's best levels, each side given best first as (price, size).
pub fn book_checksum(
    bids: impl IntoIterator<Item = (i64, u64)>,
    asks: impl IntoIterator<Item = (i64, u64)>,
) -> u32 {
    // One call over a contiguous buffer: several times faster than eight bytes at a time.
    let mut bytes = [[0_u8; 16]; 2 * LEVELS];
    let mut used = 0_usize;
    let asks = asks.into_iter().take(LEVELS);
    let levels = asks.chain(bids.into_iter().take(LEVELS));
    for (place, (px, size)) in bytes.iter_mut().zip(levels) {
        let (px_bytes, size_bytes) = place.split_at_mut(8);
        px_bytes.copy_from_slice(&px.to_le_bytes());
        size_bytes.copy_from_slice(&size.to_le_bytes());
        used = used.saturating_add(1);
    }
    bytes
        .get(..used)
        .map_or(0, |used| crc32fast::hash(used.as_flattened()))
}

#[cfg(test)]
mod tests {
    use super::book_checksum;

    #[test]
    fn asks_come_first_and_integers_are_little_endian() {
        let bids = [(99_000_000_000, 300)];
        let asks = [(101_000_000_000, 100), (102_000_000_000, 200)];
        let mut bytes = Vec::new();
        for (px, size) in [asks[0], asks[1], bids[0]] {
            bytes.extend(i64::to_le_bytes(px));
            bytes.extend(u64::to_le_bytes(size));
        }
        assert_eq!(book_checksum(bids, asks), crc32fast::hash(&bytes));
    }

    #[test]
    fn the_value_is_that_of_other_implementations() {
        // Python: zlib.crc32(struct.pack('<qQqQ', 101 * 10**9, 100, 99 * 10**9, 300))
        assert_eq!(
            book_checksum([(99_000_000_000, 300)], [(101_000_000_000, 100)]),
            0x66d5_efd1
        );
        assert_eq!(book_checksum([], []), 0);
    }

    #[test]
    fn levels_beyond_the_tenth_do_not_count() {
        let side = |n: i64| (1..=n).map(|px| (px, 1));
        assert_eq!(book_checksum(side(10), []), book_checksum(side(11), []));
        assert_ne!(book_checksum(side(9), []), book_checksum(side(10), []));
    }
}
