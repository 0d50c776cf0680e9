//! Text frames into control and data messages.
//!
//! Accepts what the protocol allows a server to write: integers as numbers or decimal strings, prices as
//! integers or decimal strings, fields in any order, fields that this version doesn't know.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;
use tickcast_codecs::event::{Definition, Imbalance, Status, StatusAction, Trade, TradeKind};
use tickcast_codecs::outbound::{
    Feed, FeedLine, FeedRepair, MessageHeader, OrderAction, OrderUpdate, OwnedBody, OwnedMessage,
    Reason, Schema,
};
use tickcast_codecs::types::Text;
use tickcast_codecs::{Level, Price, Side};

use super::{ChannelState, Control, FailedSymbol, SubscribedSymbol};

/// What a text frame holds.
pub(super) enum Parsed {
    Control(Control),
    Data(OwnedMessage),
}

/// Why a text frame couldn't be read, in words.
pub(super) type Refusal = String;

pub(super) fn parse(text: &str) -> Result<Parsed, Refusal> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    let Kind { kind } = read(text)?;
    Ok(match &*kind {
        "snapshot" | "update" | "orders_snapshot" | "orders" | "trade" | "trade_break"
        | "status" | "imbalance" | "definition" | "feed" | "gap" => {
            Parsed::Data(read::<RawData>(text)?.message(&kind)?)
        }
        _ => Parsed::Control(control(&kind, text)?),
    })
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn control(kind: &str, text: &str) -> Result<Control, Refusal> {
    Ok(match kind {
        "welcome" => {
            #[derive(Deserialize)]
            struct Welcome {
                proto: u32,
                session: String,
                epoch: String,
                #[serde(default)]
                heartbeat_ms: Uint,
                #[serde(default)]
                channels: Vec<ChannelState>,
            }
            let welcome: Welcome = read(text)?;
            Control::Welcome {
                proto: welcome.proto,
                session: welcome.session,
                epoch: welcome.epoch,
                heartbeat_ms: welcome.heartbeat_ms.0,
                channels: welcome.channels,
            }
        }
        "subscribed" => {
            #[derive(Deserialize)]
            struct Subscribed {
                #[serde(default)]
                id: Value,
                sub: Option<Uint>,
                #[serde(default)]
                effective: Value,
                #[serde(default)]
                symbols: Vec<SubscribedSymbol>,
                #[serde(default)]
                failed: Vec<FailedSymbol>,
            }
            let subscribed: Subscribed = read(text)?;
            Control::Subscribed {
                id: subscribed.id,
                sub: subscribed.sub.map(|sub| sub.0),
                effective: subscribed.effective,
                symbols: subscribed.symbols,
                failed: subscribed.failed,
            }
        }
        "error" => {
            #[derive(Deserialize)]
            struct Refused {
                #[serde(default)]
                id: Value,
                code: String,
                #[serde(default)]
                message: String,
                retry_after_ms: Option<Uint>,
                #[serde(default)]
                fatal: bool,
            }
            let refused: Refused = read(text)?;
            Control::Error {
                id: refused.id,
                code: refused.code,
                message: refused.message,
                retry_after_ms: refused.retry_after_ms.map(|ms| ms.0),
                fatal: refused.fatal,
            }
        }
        "heartbeat" => {
            #[derive(Deserialize)]
            struct Heartbeat {
                n: Uint,
                #[serde(default)]
                server_time: Uint,
                #[serde(default)]
                channels: Vec<ChannelState>,
            }
            let heartbeat: Heartbeat = read(text)?;
            Control::Heartbeat {
                n: heartbeat.n.0,
                server_time: heartbeat.server_time.0,
                channels: heartbeat.channels,
            }
        }
        "slow_warning" => {
            #[derive(Deserialize)]
            struct SlowWarning {
                #[serde(default)]
                lag_ms: Uint,
                #[serde(default)]
                queued_bytes: Uint,
            }
            let warning: SlowWarning = read(text)?;
            Control::SlowWarning {
                lag_ms: warning.lag_ms.0,
                queued_bytes: warning.queued_bytes.0,
            }
        }
        "shutdown" => {
            #[derive(Deserialize)]
            struct Shutdown {
                #[serde(default)]
                in_ms: Uint,
            }
            let shutdown: Shutdown = read(text)?;
            Control::Shutdown {
                in_ms: shutdown.in_ms.0,
            }
        }
        "state" => Control::State(read(text)?),
        "book_state" => {
            #[derive(Deserialize)]
            struct BookState {
                instrument_id: u32,
                state: String,
            }
            let book: BookState = read(text)?;
            Control::BookState {
                instrument_id: book.instrument_id,
                state: book.state,
            }
        }
        _ => Control::Other {
            kind: kind.to_owned(),
            value: read(text)?,
        },
    })
}

/// An unsigned integer: a number or a decimal string.
#[derive(Debug, Clone, Copy, Default)]
struct Uint(u64);

impl<'de> Deserialize<'de> for Uint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = Uint;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an unsigned integer or its digits")
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Uint, E> {
                Ok(Uint(value))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Uint, E> {
                text.parse().map(Uint).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Digits)
    }
}

impl Uint {
    fn to_u32(self, field: &str) -> Result<u32, Refusal> {
        u32::try_from(self.0).map_err(|_| format!("{field} can't be {}", self.0))
    }
}

/// A price: an integer in units of 10^-9, the same as a string, or a decimal string.
///
/// A string without a point could be either, but never both: an integer is written as a string only
/// beyond 2^53, and no price has that many digits before its point (an `i64` ends at 9,223,372,036).
#[derive(Debug, Clone, Copy)]
struct Px(Price);

impl<'de> Deserialize<'de> for Px {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Decimal;
        impl Visitor<'_> for Decimal {
            type Value = Px;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a price: an integer, or a decimal string")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Px, E> {
                Ok(Px(Price(value)))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Px, E> {
                let value = i64::try_from(value).map_err(E::custom)?;
                Ok(Px(Price(value)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Px, E> {
                price(text)
                    .map(Px)
                    .ok_or_else(|| E::custom(format_args!("{text:?} is no price")))
            }
        }
        deserializer.deserialize_any(Decimal)
    }
}

fn price(text: &str) -> Option<Price> {
    let scale = i128::from(Price::SCALE);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    // 19 digits hold every i64, so that nothing below overflows an i128.
    if whole.is_empty() || whole.len() > 19 || fraction.len() > 9 {
        return None;
    }
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    let units = if !digits.contains('.') && whole > i128::from(i64::MAX) / scale + 1 {
        whole
    } else {
        let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
        whole * scale + fraction
    };
    i64::try_from(if negative { -units } else { units })
        .ok()
        .map(Price)
}

/// All fields of all data messages.
#[derive(Deserialize)]
struct RawData<'a> {
    #[serde(borrow)]
    schema: Cow<'a, str>,
    instrument_id: u32,
    seq: Uint,
    prev: Uint,
    ts_event: Uint,
    ts_recv: Uint,
    ts_out: Uint,
    flags: u8,
    sequence: Option<(Uint, Uint)>,

    reason: Option<String>,
    bids: Option<Vec<(Px, Uint, u32)>>,
    asks: Option<Vec<(Px, Uint, u32)>>,
    checksum: Option<u32>,
    events: Option<u32>,
    orders: Option<Vec<RawOrder>>,
    kind: Option<String>,
    side: Option<char>,
    px: Option<Px>,
    size: Option<Uint>,
    trade_id: Option<Uint>,
    printable: Option<bool>,
    conditions: Option<u8>,
    action: Option<String>,
    code: Option<String>,
    auction_type: Option<String>,
    paired_size: Option<Uint>,
    imbalance_size: Option<Uint>,
    reference_px: Option<Px>,
    near_px: Option<Px>,
    far_px: Option<Px>,
    venue: Option<String>,
    symbol: Option<String>,
    round_lot_size: Option<u32>,
    is_test: Option<bool>,
    is_etp: Option<bool>,
    from: Option<Uint>,
    to: Option<Uint>,
    count: Option<Uint>,
    channel: Option<String>,
    state: Option<String>,
    stale: Option<bool>,
    session: Option<String>,
    next_sequence: Option<Uint>,
    lines: Option<Vec<RawLine>>,
    gaps: Option<Vec<(Uint, Uint)>>,
    counters: Option<Counters>,
    repair: Option<RawRepair>,
}

#[derive(Deserialize)]
struct RawLine {
    name: String,
    state: String,
    won: Uint,
    duplicate: Uint,
    counters: Counters,
}

#[derive(Deserialize)]
struct RawRepair {
    count: Uint,
    sum_ns: Uint,
    p50_ns: Option<Uint>,
    p99_ns: Option<Uint>,
    max_ns: Option<Uint>,
    bound_ns: Uint,
}

/// Counters by name, in the order in which they are written.
struct Counters(Vec<(String, u64)>);

impl<'de> Deserialize<'de> for Counters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;
        impl<'de> Visitor<'de> for Named {
            type Value = Counters;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of counters")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counters, A::Error> {
                let mut counters = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Uint>()? {
                    counters.push((name, value.0));
                }
                Ok(Counters(counters))
            }
        }
        deserializer.deserialize_map(Named)
    }
}

#[derive(Deserialize)]
struct RawOrder {
    action: char,
    order_id: Uint,
    side: char,
    px: Px,
    size: Uint,
}

impl RawData<'_> {
    fn message(self, kind: &str) -> Result<OwnedMessage, Refusal> {
        let header = MessageHeader {
            schema: Schema::from_name(&self.schema)
                .ok_or_else(|| format!("unknown schema {:?}", self.schema))?,
            instrument_id: self.instrument_id,
            seq: self.seq.0,
            prev: self.prev.0,
            ts_event: self.ts_event.0,
            ts_recv: self.ts_recv.0,
            ts_out: self.ts_out.0,
            flags: self.flags,
            sequence: self.sequence.map(|(first, last)| (first.0, last.0)),
        };
        let body = self.body(kind)?;
        Ok(OwnedMessage { header, body })
    }

    fn body(self, kind: &str) -> Result<OwnedBody, Refusal> {
        Ok(match kind {
            "snapshot" => OwnedBody::Snapshot {
                reason: reason(self.reason)?,
                bids: levels("bids", self.bids)?,
                asks: levels("asks", self.asks)?,
                checksum: self.checksum,
            },
            "update" => OwnedBody::Update {
                bids: levels("bids", self.bids)?,
                asks: levels("asks", self.asks)?,
                checksum: self.checksum,
                events: there("events", self.events)?,
            },
            "orders_snapshot" => OwnedBody::OrderSnapshot {
                reason: reason(self.reason)?,
                orders: orders(self.orders)?,
            },
            "orders" => OwnedBody::Orders {
                orders: orders(self.orders)?,
            },
            "trade" => OwnedBody::Trade(Trade {
                kind: named("kind", self.kind, TradeKind::from_name)?,
                side: optional_side(self.side)?,
                px: there("px", self.px)?.0,
                size: there("size", self.size)?.0,
                trade_id: there("trade_id", self.trade_id)?.0,
                printable: there("printable", self.printable)?,
                conditions: there("conditions", self.conditions)?,
            }),
            "trade_break" => OwnedBody::TradeBreak {
                trade_id: there("trade_id", self.trade_id)?.0,
                px: self.px.map(|px| px.0),
                size: there("size", self.size)?.0,
            },
            "status" => OwnedBody::Status(Status {
                action: named("action", self.action, StatusAction::from_name)?,
                code: character("code", self.code)?,
                reason: Text::from_padded(there("reason", self.reason)?.as_bytes()),
            }),
            "imbalance" => OwnedBody::Imbalance(Imbalance {
                auction_type: character("auction_type", self.auction_type)?,
                side: optional_side(self.side)?,
                paired_size: there("paired_size", self.paired_size)?.0,
                imbalance_size: there("imbalance_size", self.imbalance_size)?.0,
                reference_px: there("reference_px", self.reference_px)?.0,
                near_px: there("near_px", self.near_px)?.0,
                far_px: there("far_px", self.far_px)?.0,
            }),
            "definition" => OwnedBody::Definition {
                definition: Definition {
                    symbol: Text::from_padded(there("symbol", self.symbol)?.as_bytes()),
                    round_lot_size: there("round_lot_size", self.round_lot_size)?,
                    is_test: there("is_test", self.is_test)?,
                    is_etp: there("is_etp", self.is_etp)?,
                },
                venue: there("venue", self.venue)?,
            },
            "feed" => OwnedBody::Feed(Box::new(Feed {
                channel: there("channel", self.channel)?,
                state: there("state", self.state)?,
                stale: there("stale", self.stale)?,
                session: there("session", self.session)?,
                next_sequence: there("next_sequence", self.next_sequence)?.0,
                lines: there("lines", self.lines)?
                    .into_iter()
                    .map(RawLine::line)
                    .collect(),
                gaps: there("gaps", self.gaps)?
                    .into_iter()
                    .map(|(first, last)| (first.0, last.0))
                    .collect(),
                counters: there("counters", self.counters)?.0,
                repair: there("repair", self.repair)?.repair(),
            })),
            "gap" => OwnedBody::Gap {
                from: there("from", self.from)?.0,
                to: there("to", self.to)?.0,
                count: there("count", self.count)?.0,
            },
            _ => return Err(format!("unknown type {kind:?}")),
        })
    }
}

impl RawLine {
    fn line(self) -> FeedLine {
        FeedLine {
            name: self.name,
            state: self.state,
            won: self.won.0,
            duplicate: self.duplicate.0,
            counters: self.counters.0,
        }
    }
}

impl RawRepair {
    fn repair(self) -> FeedRepair {
        let optional = |value: Option<Uint>| value.map(|value| value.0);
        FeedRepair {
            count: self.count.0,
            sum_ns: self.sum_ns.0,
            p50_ns: optional(self.p50_ns),
            p99_ns: optional(self.p99_ns),
            max_ns: optional(self.max_ns),
            bound_ns: self.bound_ns.0,
        }
    }
}

fn there<T>(field: &str, value: Option<T>) -> Result<T, Refusal> {
    value.ok_or_else(|| format!("{field} is missing"))
}

fn named<T>(
    field: &str,
    value: Option<String>,
    from_name: impl Fn(&str) -> Option<T>,
) -> Result<T, Refusal> {
    let name = there(field, value)?;
    from_name(&name).ok_or_else(|| format!("{field} can't be {name:?}"))
}

fn reason(value: Option<String>) -> Result<Reason, Refusal> {
    named("reason", value, Reason::from_name)
}

/// A character of the venue's; the empty string is none, NUL.
fn character(field: &str, value: Option<String>) -> Result<u8, Refusal> {
    let text = there(field, value)?;
    match text.as_bytes() {
        [] => Ok(0),
        [byte] => Ok(*byte),
        _ => Err(format!("{field} can't be {text:?}")),
    }
}

fn side(letter: char) -> Result<Side, Refusal> {
    match letter {
        'B' => Ok(Side::Bid),
        'A' => Ok(Side::Ask),
        _ => Err(format!("side can't be {letter:?}")),
    }
}

fn optional_side(letter: Option<char>) -> Result<Option<Side>, Refusal> {
    match there("side", letter)? {
        'N' => Ok(None),
        letter => side(letter).map(Some),
    }
}

fn levels(field: &str, levels: Option<Vec<(Px, Uint, u32)>>) -> Result<Vec<Level>, Refusal> {
    let level = |(px, size, count): (Px, Uint, u32)| Level {
        px: px.0,
        size: size.0,
        count,
    };
    Ok(there(field, levels)?.into_iter().map(level).collect())
}

fn orders(orders: Option<Vec<RawOrder>>) -> Result<Vec<OrderUpdate>, Refusal> {
    there("orders", orders)?
        .into_iter()
        .map(|order| {
            Ok(OrderUpdate {
                action: OrderAction::from_letter(order.action)
                    .ok_or_else(|| format!("action can't be {:?}", order.action))?,
                order_id: order.order_id.0,
                side: side(order.side)?,
                px: order.px.0,
                size: order.size.to_u32("size")?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_read_in_every_form_that_it_is_written_in() {
        for units in [
            0,
            1,
            -1,
            128_460_000_000,
            (1 << 53) + 1,
            -(1 << 53) - 1,
            i64::MAX,
            i64::MIN,
            9_223_372_036_000_000_000,
            -9_223_372_036_000_000_000,
        ] {
            assert_eq!(price(&Price(units).to_string()), Some(Price(units)));
            if units.unsigned_abs() > 1 << 53 {
                assert_eq!(price(&units.to_string()), Some(Price(units)));
            }
        }
        for text in [
            "",
            "-",
            ".5",
            "1.2.3",
            "1e3",
            "+1",
            "0.0000000001",
            "99999999999999999999",
        ] {
            assert_eq!(price(text), None, "{text:?}");
        }
        assert_eq!(price("9223372036.854775808"), None);
    }
}
