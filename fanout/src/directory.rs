//! What there is to subscribe to: venues, their channels and instruments, and what was last said of each.
//!
//! Filled by definitions as shards publish them; never guessed.  Symbols are found by venue and name, or by
//! patterns with a trailing `*`.  Where two channels of a venue list a symbol (a book by order and one by price),
//! the first that has what the schema needs is meant.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use tickcast_codecs::event::{Definition, Header, Status};
use tickcast_codecs::outbound::Schema;

use crate::error::ErrorCode;
use crate::hub::ChannelInfo;

/// What is known of one instrument (number 0: of the channel itself).
#[derive(Debug, Clone, Default)]
pub struct Instrument {
    /// Its channel.
    pub channel: usize,
    /// Its venue's symbol; empty before the definition.
    pub symbol: String,
    /// The last definition, and where it came from.
    pub definition: Option<(Header, Definition)>,
    /// The last status, and where it came from.
    pub status: Option<(Header, Status)>,
}

/// What a definition changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defined {
    /// The instrument is new.
    New,
    /// It was known by this symbol.
    Again,
    /// It was known by another symbol: the venue gave its number to another instrument.
    Renamed,
}

#[derive(Debug, Default)]
struct Venue {
    mic: String,
    /// Instruments of a symbol, by rising number: those of the first channel first.
    symbols: BTreeMap<String, Vec<u32>>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Directory {
    venues: Vec<Venue>,
    /// The venue of each channel, and whether its books are by order.
    channels: Vec<(usize, bool)>,
    instruments: FxHashMap<u32, Instrument>,
}

impl Directory {
    /// A directory without instruments.
    #[must_use]
    pub fn new(channels: &[ChannelInfo]) -> Self {
        let mut directory = Self::default();
        for channel in channels {
            let known = directory.venue(&channel.venue);
            let venue = known.unwrap_or(directory.venues.len());
            if known.is_none() {
                directory.venues.push(Venue {
                    mic: channel.venue.clone(),
                    ..Venue::default()
                });
            }
            directory.channels.push((venue, channel.by_order));
        }
        directory
    }

    /// The venue of this market identifier code.
    #[must_use]
    pub fn venue(&self, mic: &str) -> Option<usize> {
        self.venues.iter().position(|venue| venue.mic == mic)
    }

    /// The only venue, if there is only one.
    #[must_use]
    pub fn only_venue(&self) -> Option<usize> {
        (self.venues.len() == 1).then_some(0)
    }

    /// The market identifier code of a venue.
    #[must_use]
    pub fn mic(&self, venue: usize) -> &str {
        self.venues.get(venue).map_or("", |venue| &venue.mic)
    }

    /// The market identifier code of a channel's venue.
    #[must_use]
    pub fn channel_mic(&self, channel: usize) -> &str {
        self.channels
            .get(channel)
            .map_or("", |&(venue, _)| self.mic(venue))
    }

    /// Whether any channel of the venue has books by order.
    #[must_use]
    pub fn has_orders(&self, venue: usize) -> bool {
        self.channels.contains(&(venue, true))
    }

    /// One instrument.
    #[must_use]
    pub fn instrument(&self, instrument_id: u32) -> Option<&Instrument> {
        self.instruments.get(&instrument_id)
    }

    /// All instruments that have a symbol: by venue, then by symbol.
    pub fn instruments(&self) -> impl Iterator<Item = (u32, &Instrument)> {
        self.venues
            .iter()
            .flat_map(|venue| venue.symbols.values().flatten())
            .filter_map(|id| self.instruments.get(id).map(|instrument| (*id, instrument)))
    }

    /// Something of the instrument was heard; remembers its channel.
    pub fn heard(&mut self, channel: usize, instrument_id: u32) -> &mut Instrument {
        self.instruments
            .entry(instrument_id)
            .or_insert_with(|| Instrument {
                channel,
                ..Instrument::default()
            })
    }

    /// Takes a definition.
    pub fn define(&mut self, channel: usize, header: &Header, definition: &Definition) -> Defined {
        let id = header.instrument_id;
        let Some(&(venue, _)) = self.channels.get(channel) else {
            return Defined::Again;
        };
        let symbol = definition.symbol.to_string();
        let instrument = self.heard(channel, id);
        instrument.definition = Some((*header, *definition));
        let before = core::mem::replace(&mut instrument.symbol, symbol.clone());
        if before == symbol {
            return Defined::Again;
        }
        let symbols = &mut self.venues[venue].symbols;
        if let Some(ids) = symbols.get_mut(&before) {
            ids.retain(|&other| other != id);
            if ids.is_empty() {
                symbols.remove(&before);
            }
        }
        let ids = symbols.entry(symbol).or_default();
        // Within one channel a symbol means the instrument that was defined last (numbers are per day).
        ids.retain(|&other| other >> 16 != id >> 16);
        let at = ids.partition_point(|&other| other < id);
        ids.insert(at, id);
        if before.is_empty() {
            Defined::New
        } else {
            Defined::Renamed
        }
    }

    /// Whether the instrument has what the schema needs.
    #[must_use]
    pub fn offers(&self, schema: Schema, instrument_id: u32) -> bool {
        let Some(instrument) = self.instruments.get(&instrument_id) else {
            return false;
        };
        let by_order = self
            .channels
            .get(instrument.channel)
            .is_some_and(|&(_, by_order)| by_order);
        schema != Schema::Mbo || by_order
    }

    fn choose(&self, schema: Schema, ids: &[u32]) -> Option<u32> {
        ids.iter().copied().find(|&id| self.offers(schema, id))
    }

    /// The instrument that a symbol means.
    ///
    /// # Errors
    ///
    /// `unknown_symbol`, or `bad_request` if the schema needs orders and only levels are known.
    pub fn find(&self, venue: usize, symbol: &str, schema: Schema) -> Result<u32, ErrorCode> {
        let ids = self
            .venues
            .get(venue)
            .and_then(|venue| venue.symbols.get(symbol))
            .ok_or(ErrorCode::UnknownSymbol)?;
        self.choose(schema, ids).ok_or(ErrorCode::BadRequest)
    }

    /// The instruments whose symbols begin so.
    pub fn find_prefix<'a>(
        &'a self,
        venue: usize,
        prefix: &'a str,
        schema: Schema,
    ) -> impl Iterator<Item = u32> + 'a {
        self.venues
            .get(venue)
            .into_iter()
            .flat_map(move |venue| venue.symbols.range(prefix.to_owned()..))
            .take_while(move |(symbol, _)| symbol.starts_with(prefix))
            .filter_map(move |(_, ids)| self.choose(schema, ids))
    }

    /// Whether this instrument is the one that its symbol means for the schema.
    #[must_use]
    pub fn is_meant(&self, instrument_id: u32, schema: Schema) -> bool {
        self.instruments
            .get(&instrument_id)
            .and_then(|instrument| {
                let &(venue, _) = self.channels.get(instrument.channel)?;
                self.find(venue, &instrument.symbol, schema).ok()
            })
            .is_some_and(|meant| meant == instrument_id)
    }

    /// The venue of a channel.
    #[must_use]
    pub fn venue_of(&self, channel: usize) -> Option<usize> {
        self.channels.get(channel).map(|&(venue, _)| venue)
    }
}

#[cfg(test)]
mod tests {
    use tickcast_codecs::types::Symbol;

    use super::*;

    fn directory() -> Directory {
        let channel = |name: &str, by_order| ChannelInfo {
            name: name.to_owned(),
            venue: "IEXG".to_owned(),
            by_order,
        };
        let mut directory = Directory::new(&[channel("deep", false), channel("deep-plus", true)]);
        for (channel, number, symbol) in [(0, 1, "AAPL"), (0, 2, "AA"), (1, 1, "AAPL"), (0, 3, "B")]
        {
            define(&mut directory, channel, number, symbol);
        }
        directory
    }

    fn define(directory: &mut Directory, channel: u32, number: u32, symbol: &str) -> Defined {
        let header = Header {
            instrument_id: channel * 65_536 + number,
            ..Header::default()
        };
        let definition = Definition {
            symbol: Symbol::from_padded(symbol.as_bytes()),
            round_lot_size: 100,
            is_test: false,
            is_etp: false,
        };
        directory.define(channel as usize, &header, &definition)
    }

    #[test]
    fn a_symbol_of_two_channels_means_the_first_that_has_what_the_schema_needs() {
        let directory = directory();
        assert_eq!(directory.find(0, "AAPL", Schema::Mbp10), Ok(1));
        assert_eq!(directory.find(0, "AAPL", Schema::Mbo), Ok(65_537));
        assert_eq!(
            directory.find(0, "B", Schema::Mbo),
            Err(ErrorCode::BadRequest)
        );
        assert_eq!(
            directory.find(0, "C", Schema::Mbp1),
            Err(ErrorCode::UnknownSymbol)
        );
    }

    #[test]
    fn a_pattern_finds_each_symbol_that_begins_so_once() {
        let directory = directory();
        let found = |prefix, schema| directory.find_prefix(0, prefix, schema).collect::<Vec<_>>();
        assert_eq!(found("", Schema::Trades), [2, 1, 3]);
        assert_eq!(found("AA", Schema::Trades), [2, 1]);
        assert_eq!(found("", Schema::Mbo), [65_537]);
        assert!(found("Z", Schema::Trades).is_empty());
    }

    #[test]
    fn a_number_given_to_another_symbol_is_found_by_that_one_only() {
        let mut directory = directory();
        assert_eq!(define(&mut directory, 0, 2, "AA"), Defined::Again);
        assert_eq!(define(&mut directory, 0, 2, "ZZ"), Defined::Renamed);
        assert_eq!(
            directory.find(0, "AA", Schema::Mbp1),
            Err(ErrorCode::UnknownSymbol)
        );
        assert_eq!(directory.find(0, "ZZ", Schema::Mbp1), Ok(2));
    }
}
