//! What can be subscribed to: a [`Topic`] is a schema of an instrument; a [`Profile`] is a topic with all the
//! options that decide its bytes.  Subscribers of one profile receive the same bytes.

use tickcast_codecs::outbound::Schema;

use crate::hub::Encoding;

/// The intervals of conflation that there are, in milliseconds; 0 sends every change.
///
/// A few fixed ones, so that subscribers meet in the same profiles.
pub const CONFLATE_MS: [u16; 6] = [0, 10, 50, 100, 250, 1000];

/// A schema of an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// The schema.
    pub schema: Schema,
    /// The instrument; number 0 of a channel is the channel itself, and all that `feed` has.
    pub instrument_id: u32,
}

/// The options of a topic that decide its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    /// One of [`CONFLATE_MS`]; 0 for schemas that aren't conflated.
    pub conflate_ms: u16,
    /// The encoding.
    pub encoding: Encoding,
    /// Whether books by price carry a checksum.
    pub checksum: bool,
    /// Whether prices are decimal strings.
    pub decimal: bool,
}

impl Format {
    /// The format that these options come to for a schema: options without a meaning there are off, so that
    /// subscribers share a profile whatever they asked.
    #[must_use]
    pub const fn effective(self, schema: Schema) -> Self {
        let by_price = schema.depth().is_some();
        Self {
            conflate_ms: if by_price { self.conflate_ms } else { 0 },
            encoding: self.encoding,
            checksum: self.checksum && by_price,
            // A channel's state has no price.
            decimal: self.decimal
                && matches!(self.encoding, Encoding::Json)
                && !matches!(schema, Schema::Feed),
        }
    }
}

/// A topic in a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Profile {
    /// The topic.
    pub topic: Topic,
    /// The format.
    pub format: Format,
}

/// Whether a schema has a book behind it: then a subscription begins with a snapshot.
#[must_use]
pub const fn is_book(schema: Schema) -> bool {
    matches!(schema, Schema::Mbo) || schema.depth().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_without_a_meaning_for_a_schema_dont_part_its_subscribers() {
        let asked = Format {
            conflate_ms: 100,
            encoding: Encoding::FlatBuffers,
            checksum: true,
            decimal: true,
        };
        let trades = asked.effective(Schema::Trades);
        assert_eq!(
            (trades.conflate_ms, trades.checksum, trades.decimal),
            (0, false, false)
        );
        let mbp = asked.effective(Schema::Mbp10);
        assert_eq!(
            (mbp.conflate_ms, mbp.checksum, mbp.decimal),
            (100, true, false)
        );
    }
}
