//! Data messages as FlatBuffers: `schema/market.fbs`, identifier `TCST`.
//!
//! A frame is one or more size-prefixed buffers, each a [`tables::Message`].  Buffers are built in one
//! builder that keeps its memory.  [`messages`] verifies each buffer before it gives it out, so that no
//! bytes can make an accessor read outside; the verifier is no integrity check, though: most flipped
//! bits pass it.  That is what `prev` and the checksum of a book are for.

use core::fmt;

use flatbuffers::{
    FlatBufferBuilder, InvalidFlatbuffer, UnionWIPOffset, Vector, VerifierOptions, WIPOffset,
};

use super::{
    Body, Feed, FeedLine, FeedRepair, Message, MessageHeader, OrderAction, OrderUpdate, OwnedBody,
    OwnedMessage, Reason, Schema,
};
use crate::event::{Definition, Imbalance, Status, StatusAction, Trade, TradeKind};
use crate::types::{Level, Price, Side, Text};

/// The generated tables, for clients that read fields where they lie.
pub use super::market_generated::tickcast as tables;

/// Encodes messages; keeps its memory from one to the next.
#[derive(Default)]
pub struct Encoder {
    builder: FlatBufferBuilder<'static>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// A new encoder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one message as one size-prefixed buffer.
    pub fn encode(&mut self, message: &Message<'_>, out: &mut Vec<u8>) {
        self.builder.reset();
        let (body_type, body) = self.body(&message.body);
        let header = &message.header;
        let sequence = header
            .sequence
            .map(|(first, last)| tables::SequenceRange::new(first, last));
        let root = tables::Message::create(
            &mut self.builder,
            &tables::MessageArgs {
                schema: tables::Schema(header.schema as u8),
                instrument_id: header.instrument_id,
                seq: header.seq,
                prev: header.prev,
                ts_event: header.ts_event,
                ts_recv: header.ts_recv,
                ts_out: header.ts_out,
                flags: header.flags,
                sequence: sequence.as_ref(),
                body_type,
                body: Some(body),
            },
        );
        tables::finish_size_prefixed_message_buffer(&mut self.builder, root);
        out.extend_from_slice(self.builder.finished_data());
    }

    fn body(&mut self, body: &Body<'_>) -> (tables::Body, WIPOffset<UnionWIPOffset>) {
        let b = &mut self.builder;
        match *body {
            Body::Snapshot {
                reason,
                bids,
                asks,
                checksum,
            } => {
                let (bids, asks) = (Some(levels(b, bids)), Some(levels(b, asks)));
                let args = tables::BookSnapshotArgs {
                    reason: tables::Reason(reason as u8),
                    bids,
                    asks,
                    checksum,
                };
                let table = tables::BookSnapshot::create(b, &args);
                (tables::Body::BookSnapshot, table.as_union_value())
            }
            Body::Update {
                bids,
                asks,
                checksum,
                events,
            } => {
                let (bids, asks) = (Some(levels(b, bids)), Some(levels(b, asks)));
                let args = tables::BookUpdateArgs {
                    bids,
                    asks,
                    checksum,
                    events,
                };
                let table = tables::BookUpdate::create(b, &args);
                (tables::Body::BookUpdate, table.as_union_value())
            }
            Body::OrderSnapshot { reason, orders } => {
                let orders = Some(order_updates(b, orders));
                let reason = tables::Reason(reason as u8);
                let args = tables::OrderSnapshotArgs { reason, orders };
                let table = tables::OrderSnapshot::create(b, &args);
                (tables::Body::OrderSnapshot, table.as_union_value())
            }
            Body::Orders { orders } => {
                let orders = Some(order_updates(b, orders));
                let table = tables::Orders::create(b, &tables::OrdersArgs { orders });
                (tables::Body::Orders, table.as_union_value())
            }
            Body::Trade(trade) => {
                let args = tables::TradeArgs {
                    kind: tables::TradeKind(trade.kind as u8),
                    side: trade.side.map(side),
                    px: trade.px.0,
                    size: trade.size,
                    trade_id: trade.trade_id,
                    printable: trade.printable,
                    conditions: trade.conditions,
                };
                let table = tables::Trade::create(b, &args);
                (tables::Body::Trade, table.as_union_value())
            }
            Body::TradeBreak { trade_id, px, size } => {
                let px = px.map(|px| px.0);
                let args = tables::TradeBreakArgs { trade_id, px, size };
                let table = tables::TradeBreak::create(b, &args);
                (tables::Body::TradeBreak, table.as_union_value())
            }
            Body::Status(status) => {
                let args = tables::StatusArgs {
                    action: tables::StatusAction(status.action as u8),
                    code: status.code,
                    reason: Some(text(b, &status.reason)),
                };
                let table = tables::Status::create(b, &args);
                (tables::Body::Status, table.as_union_value())
            }
            Body::Imbalance(imbalance) => {
                let args = tables::ImbalanceArgs {
                    auction_type: imbalance.auction_type,
                    side: imbalance.side.map(side),
                    paired_size: imbalance.paired_size,
                    imbalance_size: imbalance.imbalance_size,
                    reference_px: imbalance.reference_px.0,
                    near_px: imbalance.near_px.0,
                    far_px: imbalance.far_px.0,
                };
                let table = tables::Imbalance::create(b, &args);
                (tables::Body::Imbalance, table.as_union_value())
            }
            Body::Definition { definition, venue } => {
                let args = tables::DefinitionArgs {
                    venue: Some(b.create_string(venue)),
                    symbol: Some(text(b, &definition.symbol)),
                    round_lot_size: definition.round_lot_size,
                    is_test: definition.is_test,
                    is_etp: definition.is_etp,
                };
                let table = tables::Definition::create(b, &args);
                (tables::Body::Definition, table.as_union_value())
            }
            Body::Feed(feed) => (tables::Body::Feed, feed_table(b, feed).as_union_value()),
            Body::Gap { from, to, count } => {
                let table = tables::Gap::create(b, &tables::GapArgs { from, to, count });
                (tables::Body::Gap, table.as_union_value())
            }
        }
    }
}

type Offset<T> = WIPOffset<Vector<'static, T>>;

fn levels(builder: &mut FlatBufferBuilder<'static>, levels: &[Level]) -> Offset<tables::Level> {
    builder.create_vector_from_iter(
        levels
            .iter()
            .map(|level| tables::Level::new(level.px.0, level.size, level.count)),
    )
}

fn order_updates(
    builder: &mut FlatBufferBuilder<'static>,
    orders: &[OrderUpdate],
) -> Offset<tables::OrderUpdate> {
    builder.create_vector_from_iter(orders.iter().map(|order| {
        tables::OrderUpdate::new(
            order.order_id,
            order.px.0,
            order.size,
            tables::OrderAction(order.action as u8),
            side(order.side),
        )
    }))
}

fn feed_table(
    builder: &mut FlatBufferBuilder<'static>,
    feed: &Feed,
) -> WIPOffset<tables::Feed<'static>> {
    let lines: Vec<_> = feed
        .lines
        .iter()
        .map(|line| {
            let args = tables::FeedLineArgs {
                name: Some(builder.create_string(&line.name)),
                state: Some(builder.create_string(&line.state)),
                won: line.won,
                duplicate: line.duplicate,
                counters: Some(counter_tables(builder, &line.counters)),
            };
            tables::FeedLine::create(builder, &args)
        })
        .collect();
    let repair = tables::FeedRepairArgs {
        count: feed.repair.count,
        sum_ns: feed.repair.sum_ns,
        p50_ns: feed.repair.p50_ns,
        p99_ns: feed.repair.p99_ns,
        max_ns: feed.repair.max_ns,
        bound_ns: feed.repair.bound_ns,
    };
    let gaps = feed
        .gaps
        .iter()
        .map(|&(first, last)| tables::SequenceRange::new(first, last));
    let args = tables::FeedArgs {
        channel: Some(builder.create_string(&feed.channel)),
        state: Some(builder.create_string(&feed.state)),
        stale: feed.stale,
        session: Some(builder.create_string(&feed.session)),
        next_sequence: feed.next_sequence,
        lines: Some(builder.create_vector(&lines)),
        gaps: Some(builder.create_vector_from_iter(gaps)),
        counters: Some(counter_tables(builder, &feed.counters)),
        repair: Some(tables::FeedRepair::create(builder, &repair)),
    };
    tables::Feed::create(builder, &args)
}

type Counters = Offset<flatbuffers::ForwardsUOffset<tables::Counter<'static>>>;

fn counter_tables(
    builder: &mut FlatBufferBuilder<'static>,
    counters: &[(String, u64)],
) -> Counters {
    let tables: Vec<_> = counters
        .iter()
        .map(|(name, value)| {
            let args = tables::CounterArgs {
                name: Some(builder.create_string(name)),
                value: *value,
            };
            tables::Counter::create(builder, &args)
        })
        .collect();
    builder.create_vector(&tables)
}

const fn side(side: Side) -> tables::Side {
    tables::Side(side as u8)
}

/// Wire text as a string: what isn't printable ASCII shows as `?`.
fn text<const N: usize>(
    builder: &mut FlatBufferBuilder<'static>,
    text: &Text<N>,
) -> WIPOffset<&'static str> {
    let mut shown = [0; N];
    let mut len = 0_usize;
    for (to, &from) in shown.iter_mut().zip(text.as_bytes()) {
        *to = if matches!(from, b' '..=b'~') {
            from
        } else {
            b'?'
        };
        len = len.saturating_add(1);
    }
    let shown = shown.get(..len).unwrap_or_default();
    // All of it is ASCII.
    builder.create_string(core::str::from_utf8(shown).unwrap_or_default())
}

/// Why a binary frame was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame ends inside a buffer.
    Truncated {
        /// Bytes that the buffer needs.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// The buffer isn't one of ours: its identifier isn't `TCST`.
    Identifier,
    /// The verifier refused the buffer.
    Invalid(InvalidFlatbuffer),
    /// An enum holds a number that this version doesn't know.
    UnknownValue {
        /// The enum.
        field: &'static str,
        /// The number.
        value: u8,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { need, have } => {
                write!(f, "a buffer needs {need} bytes, {have} are there")
            }
            Self::Identifier => f.write_str("the buffer's identifier isn't TCST"),
            Self::Invalid(error) => write!(f, "the buffer is malformed: {error}"),
            Self::UnknownValue { field, value } => write!(f, "{field} has no value {value}"),
        }
    }
}

impl core::error::Error for FrameError {}

/// The messages of a frame, each verified.  After an error there are no more: lengths can't be trusted.
#[must_use]
pub const fn messages(frame: &[u8]) -> Messages<'_> {
    Messages { rest: frame }
}

/// Tables of one message: a `feed` of 255 lines with 15 counters each stays below it.
const TABLES_MAX: usize = 4_096;

/// Iterator over the messages of a frame; see [`messages`].
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    fn take(&mut self) -> Result<tables::Message<'a>, FrameError> {
        /// The length before a buffer.
        const PREFIX: usize = size_of::<u32>();
        let frame = core::mem::take(&mut self.rest);
        let truncated = |need| FrameError::Truncated {
            need,
            have: frame.len(),
        };
        let prefix = frame.first_chunk().ok_or_else(|| truncated(PREFIX))?;
        let need = usize::try_from(u32::from_le_bytes(*prefix))
            .unwrap_or(usize::MAX)
            .saturating_add(PREFIX);
        let (buffer, rest) = frame
            .split_at_checked(need)
            .ok_or_else(|| truncated(need))?;
        // The identifier follows the size and the offset of the root.
        if buffer.get(8..12) != Some(tables::MESSAGE_IDENTIFIER.as_bytes()) {
            return Err(FrameError::Identifier);
        }
        // A message is four tables deep at most (message, feed, line, counter), and only a feed holds many; anything
        // beyond isn't one.
        let options = VerifierOptions {
            max_depth: 8,
            max_tables: TABLES_MAX,
            ..VerifierOptions::default()
        };
        let message = tables::size_prefixed_root_as_message_with_opts(&options, buffer)
            .map_err(FrameError::Invalid)?;
        self.rest = rest;
        Ok(message)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<tables::Message<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.take())
    }
}

impl core::iter::FusedIterator for Messages<'_> {}

impl TryFrom<tables::Message<'_>> for OwnedMessage {
    type Error = FrameError;

    fn try_from(message: tables::Message<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            header: MessageHeader {
                schema: known("schema", &Schema::ALL, message.schema().0)?,
                instrument_id: message.instrument_id(),
                seq: message.seq(),
                prev: message.prev(),
                ts_event: message.ts_event(),
                ts_recv: message.ts_recv(),
                ts_out: message.ts_out(),
                flags: message.flags(),
                sequence: message
                    .sequence()
                    .map(|range| (range.first(), range.last())),
            },
            body: owned_body(&message)?,
        })
    }
}

fn owned_body(message: &tables::Message<'_>) -> Result<OwnedBody, FrameError> {
    if let Some(snapshot) = message.body_as_book_snapshot() {
        return Ok(OwnedBody::Snapshot {
            reason: known("reason", &Reason::ALL, snapshot.reason().0)?,
            bids: owned_levels(snapshot.bids()),
            asks: owned_levels(snapshot.asks()),
            checksum: snapshot.checksum(),
        });
    }
    if let Some(update) = message.body_as_book_update() {
        return Ok(OwnedBody::Update {
            bids: owned_levels(update.bids()),
            asks: owned_levels(update.asks()),
            checksum: update.checksum(),
            events: update.events(),
        });
    }
    if let Some(snapshot) = message.body_as_order_snapshot() {
        return Ok(OwnedBody::OrderSnapshot {
            reason: known("reason", &Reason::ALL, snapshot.reason().0)?,
            orders: owned_orders(snapshot.orders())?,
        });
    }
    if let Some(orders) = message.body_as_orders() {
        return Ok(OwnedBody::Orders {
            orders: owned_orders(orders.orders())?,
        });
    }
    if let Some(trade) = message.body_as_trade() {
        return Ok(OwnedBody::Trade(Trade {
            kind: known("trade kind", &TradeKind::ALL, trade.kind().0)?,
            side: trade.side().map(known_side).transpose()?,
            px: Price(trade.px()),
            size: trade.size(),
            trade_id: trade.trade_id(),
            printable: trade.printable(),
            conditions: trade.conditions(),
        }));
    }
    if let Some(trade_break) = message.body_as_trade_break() {
        return Ok(OwnedBody::TradeBreak {
            trade_id: trade_break.trade_id(),
            px: trade_break.px().map(Price),
            size: trade_break.size(),
        });
    }
    if let Some(status) = message.body_as_status() {
        return Ok(OwnedBody::Status(Status {
            action: known("status action", &StatusAction::ALL, status.action().0)?,
            code: status.code(),
            reason: Text::from_padded(status.reason().unwrap_or_default().as_bytes()),
        }));
    }
    if let Some(imbalance) = message.body_as_imbalance() {
        return Ok(OwnedBody::Imbalance(Imbalance {
            auction_type: imbalance.auction_type(),
            side: imbalance.side().map(known_side).transpose()?,
            paired_size: imbalance.paired_size(),
            imbalance_size: imbalance.imbalance_size(),
            reference_px: Price(imbalance.reference_px()),
            near_px: Price(imbalance.near_px()),
            far_px: Price(imbalance.far_px()),
        }));
    }
    if let Some(definition) = message.body_as_definition() {
        return Ok(OwnedBody::Definition {
            definition: Definition {
                symbol: Text::from_padded(definition.symbol().unwrap_or_default().as_bytes()),
                round_lot_size: definition.round_lot_size(),
                is_test: definition.is_test(),
                is_etp: definition.is_etp(),
            },
            venue: definition.venue().unwrap_or_default().to_owned(),
        });
    }
    if let Some(feed) = message.body_as_feed() {
        return Ok(OwnedBody::Feed(Box::new(owned_feed(&feed))));
    }
    if let Some(gap) = message.body_as_gap() {
        return Ok(OwnedBody::Gap {
            from: gap.from(),
            to: gap.to(),
            count: gap.count(),
        });
    }
    Err(FrameError::UnknownValue {
        field: "body",
        value: message.body_type().0,
    })
}

fn owned_feed(feed: &tables::Feed<'_>) -> Feed {
    let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let line = |line: tables::FeedLine<'_>| FeedLine {
        name: owned(line.name()),
        state: owned(line.state()),
        won: line.won(),
        duplicate: line.duplicate(),
        counters: owned_counters(line.counters()),
    };
    let repair = |repair: tables::FeedRepair<'_>| FeedRepair {
        count: repair.count(),
        sum_ns: repair.sum_ns(),
        p50_ns: repair.p50_ns(),
        p99_ns: repair.p99_ns(),
        max_ns: repair.max_ns(),
        bound_ns: repair.bound_ns(),
    };
    let gaps = feed.gaps().into_iter().flatten();
    Feed {
        channel: owned(feed.channel()),
        state: owned(feed.state()),
        stale: feed.stale(),
        session: owned(feed.session()),
        next_sequence: feed.next_sequence(),
        lines: feed.lines().into_iter().flatten().map(line).collect(),
        gaps: gaps.map(|range| (range.first(), range.last())).collect(),
        counters: owned_counters(feed.counters()),
        repair: feed.repair().map(repair).unwrap_or_default(),
    }
}

fn owned_counters(
    counters: Option<Vector<'_, flatbuffers::ForwardsUOffset<tables::Counter<'_>>>>,
) -> Vec<(String, u64)> {
    counters
        .into_iter()
        .flatten()
        .map(|counter| {
            (
                counter.name().unwrap_or_default().to_owned(),
                counter.value(),
            )
        })
        .collect()
}

fn owned_levels(levels: Option<Vector<'_, tables::Level>>) -> Vec<Level> {
    levels
        .into_iter()
        .flatten()
        .map(|level| Level {
            px: Price(level.px()),
            size: level.size(),
            count: level.count(),
        })
        .collect()
}

fn owned_orders(
    orders: Option<Vector<'_, tables::OrderUpdate>>,
) -> Result<Vec<OrderUpdate>, FrameError> {
    orders
        .into_iter()
        .flatten()
        .map(|order| {
            Ok(OrderUpdate {
                action: known("order action", &OrderAction::ALL, order.action().0)?,
                order_id: order.order_id(),
                side: known_side(order.side())?,
                px: Price(order.px()),
                size: order.size(),
            })
        })
        .collect()
}

fn known_side(side: tables::Side) -> Result<Side, FrameError> {
    known("side", &[Side::Bid, Side::Ask], side.0)
}

fn known<T: Copy>(field: &'static str, all: &[T], value: u8) -> Result<T, FrameError> {
    all.get(usize::from(value))
        .copied()
        .ok_or(FrameError::UnknownValue { field, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_enums_are_those_of_the_schema() {
        for (number, schema) in (0..).zip(Schema::ALL) {
            assert_eq!(schema as u8, number);
            let name = tables::Schema(number).variant_name();
            assert_eq!(name, Some(format!("{schema:?}").as_str()));
        }
        for (number, reason) in (0..).zip(Reason::ALL) {
            assert_eq!(reason as u8, number);
            let name = tables::Reason(number).variant_name();
            assert_eq!(name, Some(format!("{reason:?}").as_str()));
        }
        for (number, action) in (0..).zip(OrderAction::ALL) {
            assert_eq!(action as u8, number);
            let name = tables::OrderAction(number).variant_name();
            assert_eq!(name, Some(format!("{action:?}").as_str()));
        }
        for (number, kind) in (0..).zip(TradeKind::ALL) {
            assert_eq!(kind as u8, number);
            let name = tables::TradeKind(number).variant_name();
            assert_eq!(name, Some(format!("{kind:?}").as_str()));
        }
        for (number, action) in (0..).zip(StatusAction::ALL) {
            assert_eq!(action as u8, number);
            let name = tables::StatusAction(number).variant_name();
            assert_eq!(name, Some(format!("{action:?}").as_str()));
        }
        assert_eq!(side(Side::Bid), tables::Side::Bid);
        assert_eq!(side(Side::Ask), tables::Side::Ask);
        assert_eq!(tables::Schema::ENUM_VALUES.len(), Schema::ALL.len());
        assert_eq!(tables::Reason::ENUM_VALUES.len(), Reason::ALL.len());
        assert_eq!(tables::TradeKind::ENUM_VALUES.len(), TradeKind::ALL.len());
        assert_eq!(
            tables::OrderAction::ENUM_VALUES.len(),
            OrderAction::ALL.len()
        );
        assert_eq!(
            tables::StatusAction::ENUM_VALUES.len(),
            StatusAction::ALL.len()
        );
    }
}
