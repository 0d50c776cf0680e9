//! Data messages as JSON text, written by hand: no allocation beyond the output, no intermediate tree.
//!
//! One object per message.  `type` comes first and says which fields follow the common ones; what isn't
//! known or wasn't asked for is left out.  An integer beyond ±2^53 is a decimal string, because a
//! JavaScript number can't hold it; times since 1970 are such integers.  Prices are integers in units of
//! 10^-9, or decimal strings.  Never a float.
//!
//! A level is `[px, size, count]`.

use super::{Body, Feed, Message, OrderUpdate};
use crate::types::{Level, Price, Side};

/// The largest integer that a JavaScript number holds with all its neighbours.
const NUMBER_MAX: u64 = 1 << 53;

/// Appends one message as one JSON object; `decimal` writes prices as decimal strings.
pub fn encode(message: &Message<'_>, decimal: bool, out: &mut Vec<u8>) {
    let header = &message.header;
    let mut json = Writer { out, decimal };
    json.raw("{\"type\":\"");
    json.raw(message.body.name());
    json.raw("\",\"schema\":\"");
    json.raw(header.schema.name());
    json.raw("\",\"instrument_id\":");
    json.uint(u64::from(header.instrument_id));
    json.field_uint("seq", header.seq);
    json.field_uint("prev", header.prev);
    json.field_uint("ts_event", header.ts_event);
    json.field_uint("ts_recv", header.ts_recv);
    json.field_uint("ts_out", header.ts_out);
    json.field_uint("flags", u64::from(header.flags));
    if let Some((first, last)) = header.sequence {
        json.raw(",\"sequence\":[");
        json.uint(first);
        json.raw(",");
        json.uint(last);
        json.raw("]");
    }
    json.body(&message.body);
    json.raw("}");
}

/// Appends the state of a channel as a JSON object, as HTTP queries show it: the fields of a message of `feed`.
pub fn encode_feed(feed: &Feed, out: &mut Vec<u8>) {
    let mut json = Writer {
        out,
        decimal: false,
    };
    json.raw("{");
    json.feed(feed);
    json.raw("}");
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    decimal: bool,
}

impl Writer<'_> {
    fn body(&mut self, body: &Body<'_>) {
        match *body {
            Body::Snapshot {
                reason,
                bids,
                asks,
                checksum,
            } => {
                self.field_name("reason", reason.name());
                self.field_levels("bids", bids);
                self.field_levels("asks", asks);
                self.field_checksum(checksum);
            }
            Body::Update {
                bids,
                asks,
                checksum,
                events,
            } => {
                self.field_levels("bids", bids);
                self.field_levels("asks", asks);
                self.field_checksum(checksum);
                self.field_uint("events", u64::from(events));
            }
            Body::OrderSnapshot { reason, orders } => {
                self.field_name("reason", reason.name());
                self.field_orders(orders);
            }
            Body::Orders { orders } => self.field_orders(orders),
            Body::Trade(trade) => {
                self.field_name("kind", trade.kind.name());
                self.field_side(trade.side);
                self.field_price("px", trade.px);
                self.field_uint("size", trade.size);
                self.field_uint("trade_id", trade.trade_id);
                self.field_bool("printable", trade.printable);
                self.field_uint("conditions", u64::from(trade.conditions));
            }
            Body::TradeBreak { trade_id, px, size } => {
                self.field_uint("trade_id", trade_id);
                if let Some(px) = px {
                    self.field_price("px", px);
                }
                self.field_uint("size", size);
            }
            Body::Status(status) => {
                self.field_name("action", status.action.name());
                self.field_char("code", status.code);
                self.field_wire_text("reason", status.reason.as_bytes());
            }
            Body::Imbalance(imbalance) => {
                self.field_char("auction_type", imbalance.auction_type);
                self.field_side(imbalance.side);
                self.field_uint("paired_size", imbalance.paired_size);
                self.field_uint("imbalance_size", imbalance.imbalance_size);
                self.field_price("reference_px", imbalance.reference_px);
                self.field_price("near_px", imbalance.near_px);
                self.field_price("far_px", imbalance.far_px);
            }
            Body::Definition { definition, venue } => {
                self.field("venue");
                self.string(venue);
                self.field_wire_text("symbol", definition.symbol.as_bytes());
                self.field_uint("round_lot_size", u64::from(definition.round_lot_size));
                self.field_bool("is_test", definition.is_test);
                self.field_bool("is_etp", definition.is_etp);
            }
            Body::Feed(feed) => {
                self.raw(",");
                self.feed(feed);
            }
            Body::Gap { from, to, count } => {
                self.field_uint("from", from);
                self.field_uint("to", to);
                self.field_uint("count", count);
            }
        }
    }

    /// The fields of a channel's state, without a comma before the first.
    fn feed(&mut self, feed: &Feed) {
        self.raw("\"channel\":");
        self.string(&feed.channel);
        self.field_string("state", &feed.state);
        self.field_bool("stale", feed.stale);
        self.field_string("session", &feed.session);
        self.field_uint("next_sequence", feed.next_sequence);
        self.field_list("lines", &feed.lines, |json, line| {
            json.raw("{\"name\":");
            json.string(&line.name);
            json.field_string("state", &line.state);
            json.field_uint("won", line.won);
            json.field_uint("duplicate", line.duplicate);
            json.field_counters(&line.counters);
            json.raw("}");
        });
        self.field_list("gaps", &feed.gaps, |json, &(first, last)| {
            json.raw("[");
            json.uint(first);
            json.raw(",");
            json.uint(last);
            json.raw("]");
        });
        self.field_counters(&feed.counters);
        let repair = &feed.repair;
        self.raw(",\"repair\":{\"count\":");
        self.uint(repair.count);
        self.field_uint("sum_ns", repair.sum_ns);
        for (name, value) in [
            ("p50_ns", repair.p50_ns),
            ("p99_ns", repair.p99_ns),
            ("max_ns", repair.max_ns),
        ] {
            if let Some(value) = value {
                self.field_uint(name, value);
            }
        }
        self.field_uint("bound_ns", repair.bound_ns);
        self.raw("}");
    }

    fn field_counters(&mut self, counters: &[(String, u64)]) {
        self.field("counters");
        self.raw("{");
        for (at, (name, value)) in counters.iter().enumerate() {
            if at > 0 {
                self.raw(",");
            }
            self.string(name);
            self.raw(":");
            self.uint(*value);
        }
        self.raw("}");
    }

    fn field_list<T>(&mut self, name: &str, list: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.field(name);
        self.raw("[");
        for (at, item) in list.iter().enumerate() {
            if at > 0 {
                self.raw(",");
            }
            write(self, item);
        }
        self.raw("]");
    }

    fn field_levels(&mut self, name: &str, levels: &[Level]) {
        self.field(name);
        let mut separator = "[";
        for level in levels {
            self.raw(separator);
            self.raw("[");
            self.price(level.px);
            self.raw(",");
            self.uint(level.size);
            self.raw(",");
            self.uint(u64::from(level.count));
            self.raw("]");
            separator = ",";
        }
        self.raw(if levels.is_empty() { "[]" } else { "]" });
    }

    fn field_orders(&mut self, orders: &[OrderUpdate]) {
        self.field("orders");
        let mut separator = "[";
        for order in orders {
            self.raw(separator);
            self.raw("{\"action\":\"");
            self.character(order.action.letter());
            self.raw("\",\"order_id\":");
            self.uint(order.order_id);
            self.raw(",\"side\":\"");
            self.character(order.side.letter());
            self.raw("\"");
            self.field_price("px", order.px);
            self.field_uint("size", u64::from(order.size));
            self.raw("}");
            separator = ",";
        }
        self.raw(if orders.is_empty() { "[]" } else { "]" });
    }

    fn field_checksum(&mut self, checksum: Option<u32>) {
        if let Some(checksum) = checksum {
            self.field_uint("checksum", u64::from(checksum));
        }
    }

    fn field_side(&mut self, side: Option<Side>) {
        self.field("side");
        self.raw("\"");
        self.character(side.map_or('N', Side::letter));
        self.raw("\"");
    }

    fn field_price(&mut self, name: &str, px: Price) {
        self.field(name);
        self.price(px);
    }

    fn field_uint(&mut self, name: &str, value: u64) {
        self.field(name);
        self.uint(value);
    }

    fn field_bool(&mut self, name: &str, value: bool) {
        self.field(name);
        self.raw(if value { "true" } else { "false" });
    }

    /// A value that is one of our own names: nothing in it needs an escape.
    fn field_name(&mut self, name: &str, value: &str) {
        self.field(name);
        self.raw("\"");
        self.raw(value);
        self.raw("\"");
    }

    fn field_string(&mut self, name: &str, text: &str) {
        self.field(name);
        self.string(text);
    }

    /// One wire character as a string; NUL (the venue gave none) is the empty string.
    fn field_char(&mut self, name: &str, value: u8) {
        let bytes = [value];
        self.field_wire_text(name, if value == 0 { &[] } else { &bytes });
    }

    /// Wire bytes: what isn't printable ASCII shows as `?`.
    fn field_wire_text(&mut self, name: &str, bytes: &[u8]) {
        self.field(name);
        self.raw("\"");
        for &byte in bytes {
            match byte {
                b'"' => self.raw("\\\""),
                b'\\' => self.raw("\\\\"),
                b' '..=b'~' => self.out.push(byte),
                _ => self.out.push(b'?'),
            }
        }
        self.raw("\"");
    }

    /// Any text, escaped.
    fn string(&mut self, text: &str) {
        self.raw("\"");
        for byte in text.bytes() {
            match byte {
                b'"' => self.raw("\\\""),
                b'\\' => self.raw("\\\\"),
                0..=0x1f => {
                    const DIGITS: [u8; 16] = *b"0123456789abcdef";
                    self.raw("\\u00");
                    for nibble in [byte >> 4, byte & 0xf] {
                        let digit = DIGITS.get(usize::from(nibble)).copied();
                        self.out.push(digit.unwrap_or(b'0'));
                    }
                }
                _ => self.out.push(byte),
            }
        }
        self.raw("\"");
    }

    fn price(&mut self, px: Price) {
        if self.decimal {
            self.raw("\"");
            self.decimal_price(px);
            self.raw("\"");
        } else if px.0.unsigned_abs() > NUMBER_MAX {
            self.raw("\"");
            self.digits(px.0);
            self.raw("\"");
        } else {
            self.digits(px.0);
        }
    }

    /// What [`Price`] displays, without the formatter's detours.
    fn decimal_price(&mut self, px: Price) {
        const SCALE: u64 = Price::SCALE.unsigned_abs();
        let units = px.0.unsigned_abs();
        if px.0 < 0 {
            self.raw("-");
        }
        self.digits(units / SCALE);
        let mut rest = units % SCALE;
        if rest == 0 {
            return;
        }
        self.raw(".");
        while rest > 0 {
            // Less than 10^10, and its quotient is a digit.
            let shifted = rest.saturating_mul(10);
            self.out
                .push(b'0' | u8::try_from(shifted / SCALE).unwrap_or(0));
            rest = shifted % SCALE;
        }
    }

    fn uint(&mut self, value: u64) {
        if value > NUMBER_MAX {
            self.raw("\"");
            self.digits(value);
            self.raw("\"");
        } else {
            self.digits(value);
        }
    }

    fn digits<I: itoa::Integer>(&mut self, value: I) {
        self.raw(itoa::Buffer::new().format(value));
    }

    fn field(&mut self, name: &str) {
        self.raw(",\"");
        self.raw(name);
        self.raw("\":");
    }

    /// An ASCII letter of ours.
    fn character(&mut self, letter: char) {
        self.raw(letter.encode_utf8(&mut [0; 4]));
    }

    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}
