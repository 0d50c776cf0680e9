//! A subscriber's side of the protocol, version 1: takes frames, gives events, keeps books, and
//! verifies everything that the protocol lets a client verify.
//!
//! A machine without I/O: the program's `subscribe` and the tests put frames in, and no clock is needed.
//! Both encodings end in the same [`OwnedMessage`] and the same checks:
//!
//! - **Chain.** A message's `prev` is the `seq` of the one before it in its topic, unless it is (flagged as) a
//!   snapshot or announces a gap; behind a gap it is the last `seq` skipped.  `seq` rises.
//! - **Snapshot first.** No change of a book comes before its snapshot.  The chunks of a long one carry the
//!   same `seq`, the first flagged `CLEAR`, the last `LAST`, and nothing comes between them.
//! - **Books by price** are sorted, without empty levels, and never deeper than subscribed; the checksum, if
//!   there is one, is that of our copy.  A locked or crossed book is no violation: venues have them.
//! - **Feed.** The missing ranges of a channel rise and don't overlap.
//! - **Books by order.** Nothing names an order that isn't there, adds one twice, or takes off more shares than it has.
//!
//! A violation is told and counted, and the message is applied as far as it can be: whether to ask for a
//! snapshot is the caller's decision.  Nothing here reconnects, resubscribes, or writes requests.

mod json;
mod mirror;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use tickcast_codecs::outbound::fb::{self, FrameError};
use tickcast_codecs::outbound::{
    MessageHeader, OrderAction, OrderUpdate, OwnedBody, OwnedMessage, Schema, flags,
};
use tickcast_codecs::{Level, Price, Side};

use mirror::{Levels, Orders};

/// How a [`Client`] behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether to check what arrives.  Books are kept either way; without checks, only frames that
    /// can't be read are violations.
    pub verify: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { verify: true }
    }
}

/// What a frame brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A control message.
    Control(Control),
    /// A data message; the book has it already.
    Data(OwnedMessage),
    /// Something that the protocol excludes.  Follows the message that it was found in.
    Violation {
        /// The topic, unless the frame couldn't be read.
        topic: Option<Topic>,
        /// What was violated.
        violation: Violation,
    },
}

/// A schema of an instrument.
pub type Topic = (Schema, u32);

/// A control message of the server.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Control {
    /// The first message of a connection.
    Welcome {
        /// The protocol's version.
        proto: u32,
        /// The connection's name, for a resume.
        session: String,
        /// The server's life: `seq` is comparable within it.
        epoch: String,
        /// Milliseconds between heartbeats; 0 if not told.
        heartbeat_ms: u64,
        /// The channels and their states.
        channels: Vec<ChannelState>,
    },
    /// A subscription was granted, in whole or part.
    Subscribed {
        /// The request's id, null if it had none.
        id: Value,
        /// The subscription's number.
        sub: Option<u64>,
        /// Every option as granted.
        effective: Value,
        /// The instruments.
        symbols: Vec<SubscribedSymbol>,
        /// The symbols that couldn't be subscribed.
        failed: Vec<FailedSymbol>,
    },
    /// A request was refused, or the connection is about to end.
    Error {
        /// The request's id, null if it had none.
        id: Value,
        /// The stable code.
        code: String,
        /// For people.
        message: String,
        /// When to try again.
        retry_after_ms: Option<u64>,
        /// Whether the connection ends.
        fatal: bool,
    },
    /// The server lives.
    Heartbeat {
        /// Counts up.
        n: u64,
        /// The server's clock, ns.
        server_time: u64,
        /// The channels and their states.
        channels: Vec<ChannelState>,
    },
    /// We read too slowly.
    SlowWarning {
        /// How far we are behind.
        lag_ms: u64,
        /// What waits for us.
        queued_bytes: u64,
    },
    /// The server goes away.
    Shutdown {
        /// In how long.
        in_ms: u64,
    },
    /// A channel's books became stale, or live again.
    State(ChannelState),
    /// One book became stale, or live again.
    BookState {
        /// The instrument.
        instrument_id: u32,
        /// `live` or `stale`.
        state: String,
    },
    /// Any other: answers to requests, and what later servers may say.
    Other {
        /// The message's `type`.
        kind: String,
        /// All of it.
        value: Value,
    },
}

/// A channel and the state of its books.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChannelState {
    /// The channel's name.
    #[serde(default)]
    pub channel: String,
    /// Its venue, by market identifier code.
    #[serde(default)]
    pub venue: String,
    /// `live`, `stale`, ….
    pub state: String,
}

/// An instrument of a granted subscription.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SubscribedSymbol {
    /// The venue's symbol.
    pub symbol: String,
    /// Its number in data messages.
    pub instrument_id: u32,
    /// `stale` if its book has a fault of its own.
    #[serde(default)]
    pub state: Option<String>,
}

/// A symbol that couldn't be subscribed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FailedSymbol {
    /// As it was asked for.
    pub symbol: String,
    /// The stable code of why.
    pub code: String,
}

/// Something that the protocol excludes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A text frame that can't be read; says why.
    Text(String),
    /// A binary frame that can't be read.
    Frame(FrameError),
    /// A message whose content doesn't belong to its schema.
    Body,
    /// `prev` isn't the `seq` of the message before.
    Chain {
        /// The `seq` of the message before.
        expected: u64,
        /// `prev`.
        got: u64,
    },
    /// `seq` doesn't rise.
    Sequence {
        /// `prev`.
        prev: u64,
        /// `seq`.
        seq: u64,
    },
    /// A gap that ends before it begins, or that covers what we have.
    Gap {
        /// The last `seq` that we have.
        last: Option<u64>,
        /// The gap's first.
        from: u64,
        /// The gap's last.
        to: u64,
    },
    /// A change of a book that we have no snapshot of.  Not applied.
    UpdateBeforeSnapshot,
    /// A chunk of a snapshot that continues none.  Not applied.
    Chunk,
    /// Our copy of the book has another checksum than the server's.
    Checksum {
        /// The server's.
        expected: u32,
        /// Ours.
        got: u32,
    },
    /// More levels than were subscribed.
    Depth {
        /// The side.
        side: Side,
        /// What was subscribed.
        depth: usize,
        /// What is there.
        levels: usize,
    },
    /// Levels out of order, twice the same, or empty.
    LevelOrder {
        /// The side.
        side: Side,
    },
    /// An order event that doesn't fit the orders that are there.
    Order {
        /// The order.
        order_id: u64,
        /// Why.
        fault: OrderFault,
    },
}

/// Why an order event doesn't fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OrderFault {
    /// There is no such order.
    Unknown,
    /// The order is there already.
    Duplicate,
    /// The order is on the other side.
    Side,
    /// More shares are taken off than the order has.  It was removed.
    Oversize,
    /// The order would have no shares.  It isn't there afterwards.
    Empty,
    /// A snapshot holds something else than an `Add`.
    NotAdd,
}

impl Violation {
    /// The counter that this violation moves: a stable, short name.
    #[must_use]
    pub const fn counter(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Frame(_) => "frame",
            Self::Body => "body",
            Self::Chain { .. } => "chain",
            Self::Sequence { .. } => "sequence",
            Self::Gap { .. } => "gap",
            Self::UpdateBeforeSnapshot => "update_before_snapshot",
            Self::Chunk => "chunk",
            Self::Checksum { .. } => "checksum",
            Self::Depth { .. } => "depth",
            Self::LevelOrder { .. } => "level_order",
            Self::Order { .. } => "order",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(why) => write!(f, "a text frame can't be read: {why}"),
            Self::Frame(why) => write!(f, "a binary frame can't be read: {why}"),
            Self::Body => f.write_str("the message doesn't belong to its schema"),
            Self::Chain { expected, got } => {
                write!(f, "prev is {got}, the message before was {expected}")
            }
            Self::Sequence { prev, seq } => write!(f, "seq {seq} isn't above prev {prev}"),
            Self::Gap { last, from, to } => {
                write!(f, "a gap from {from} to {to}")?;
                match last {
                    Some(last) => write!(f, ", though {last} was the last received"),
                    None => Ok(()),
                }
            }
            Self::UpdateBeforeSnapshot => f.write_str("an update came before the snapshot"),
            Self::Chunk => f.write_str("a chunk continues no snapshot"),
            Self::Checksum { expected, got } => {
                write!(
                    f,
                    "the book's checksum is {got:08x}, the server's {expected:08x}"
                )
            }
            Self::Depth {
                side,
                depth,
                levels,
            } => write!(
                f,
                "side {} has {levels} levels of {depth} subscribed",
                side.letter()
            ),
            Self::LevelOrder { side } => write!(
                f,
                "side {} has levels out of order, twice, or empty",
                side.letter()
            ),
            Self::Order { order_id, fault } => write!(f, "order {order_id}: {fault}"),
        }
    }
}

impl std::error::Error for Violation {}

impl fmt::Display for OrderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "it isn't there",
            Self::Duplicate => "it is there already",
            Self::Side => "it is on the other side",
            Self::Oversize => "more shares are taken off than it has",
            Self::Empty => "it would have no shares",
            Self::NotAdd => "a snapshot only adds",
        })
    }
}

/// An order of our copy of a book, in its place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestingOrder {
    /// The venue's order reference number.
    pub order_id: u64,
    /// Price.
    pub px: Price,
    /// Shares left.
    pub size: u32,
}

/// What a client has seen since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames of either kind.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Control messages.
    pub control: u64,
    /// Data messages.
    pub data: u64,
    /// Snapshots among them; a chunked one counts once, with its last chunk.
    pub snapshots: u64,
    /// Announced gaps among them.
    pub gaps: u64,
    /// Messages that the server said it skipped.
    pub skipped: u64,
    /// Venue events that conflation merged into the updates received.
    pub events: u64,
    /// Violations, by [`Violation::counter`].
    pub violations: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// All violations.
    #[must_use]
    pub fn violations_total(&self) -> u64 {
        self.violations.values().sum()
    }
}

/// A subscriber's side of one server's protocol, over any number of connections.
#[derive(Debug, Default)]
pub struct Client {
    options: Options,
    session: String,
    epoch: String,
    symbols: HashMap<u32, String>,
    topics: BTreeMap<Topic, State>,
    counts: Counts,
    /// What the message at hand violates; empty between frames.
    faults: Vec<Violation>,
}

/// What we know of a topic.
#[derive(Debug)]
struct State {
    /// The `seq` that the next message continues; `None` if any may come.
    seq: Option<u64>,
    /// The subscription wanted no snapshot: there is no book, and changes are no violation.
    without_snapshot: bool,
    book: Book,
}

#[derive(Debug)]
enum Book {
    /// The schema has none.
    None,
    Price {
        depth: usize,
        levels: Levels,
        valid: bool,
    },
    Order {
        orders: Orders,
        progress: Progress,
    },
}

/// How far a chunked snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Missing,
    /// Chunks of this `seq` came, the last one didn't.
    Chunks(u64),
    Complete,
}

impl State {
    fn new(schema: Schema) -> Self {
        let book = match schema.depth() {
            Some(depth) => Book::Price {
                depth,
                levels: Levels::default(),
                valid: false,
            },
            None if schema == Schema::Mbo => Book::Order {
                orders: Orders::default(),
                progress: Progress::Missing,
            },
            None => Book::None,
        };
        Self {
            seq: None,
            without_snapshot: false,
            book,
        }
    }

    /// The book can't be trusted until the next snapshot.
    fn invalidate(&mut self) {
        match &mut self.book {
            Book::None => {}
            Book::Price { levels, valid, .. } => {
                levels.clear();
                *valid = false;
            }
            Book::Order { orders, progress } => {
                orders.clear();
                *progress = Progress::Missing;
            }
        }
    }

    /// Takes a message that changes something: it must continue the chain.
    fn chain(&mut self, header: &MessageHeader, faults: &mut Vec<Violation>) {
        if let Some(expected) = self.seq
            && expected != header.prev
        {
            faults.push(Violation::Chain {
                expected,
                got: header.prev,
            });
        }
        if header.seq <= header.prev {
            faults.push(Violation::Sequence {
                prev: header.prev,
                seq: header.seq,
            });
        }
        self.seq = Some(header.seq);
    }

    fn snapshot(
        &mut self,
        header: &MessageHeader,
        (new_bids, new_asks): (&[Level], &[Level]),
        faults: &mut Vec<Violation>,
    ) {
        let Book::Price { levels, valid, .. } = &mut self.book else {
            return faults.push(Violation::Body);
        };
        levels.replace(new_bids, new_asks);
        *valid = true;
        self.seq = Some(header.seq);
    }

    fn update(
        &mut self,
        header: &MessageHeader,
        (new_bids, new_asks): (&[Level], &[Level]),
        faults: &mut Vec<Violation>,
    ) {
        let Book::Price { levels, valid, .. } = &mut self.book else {
            return faults.push(Violation::Body);
        };
        if *valid {
            levels.apply(new_bids, new_asks);
        } else if !self.without_snapshot {
            return faults.push(Violation::UpdateBeforeSnapshot);
        }
        self.chain(header, faults);
    }

    /// What holds of every book by price after every message.
    fn check_levels(&self, checksum: Option<u32>, faults: &mut Vec<Violation>) {
        let Book::Price {
            depth,
            levels,
            valid: true,
        } = &self.book
        else {
            return;
        };
        levels.check(*depth, faults);
        if let Some(expected) = checksum {
            let got = levels.checksum();
            if got != expected {
                faults.push(Violation::Checksum { expected, got });
            }
        }
    }

    fn order_snapshot(
        &mut self,
        header: &MessageHeader,
        added: &[OrderUpdate],
        faults: &mut Vec<Violation>,
    ) {
        let Book::Order { orders, progress } = &mut self.book else {
            return faults.push(Violation::Body);
        };
        if header.flags & flags::CLEAR != 0 {
            orders.clear();
        } else if *progress != Progress::Chunks(header.seq) {
            return faults.push(Violation::Chunk);
        }
        for order in added {
            let added = if order.action == OrderAction::Add {
                orders.add(order)
            } else {
                Err(OrderFault::NotAdd)
            };
            if let Err(fault) = added {
                let order_id = order.order_id;
                faults.push(Violation::Order { order_id, fault });
            }
        }
        *progress = if header.flags & flags::LAST == 0 {
            Progress::Chunks(header.seq)
        } else {
            Progress::Complete
        };
        self.seq = Some(header.seq);
    }

    fn orders(
        &mut self,
        header: &MessageHeader,
        updates: &[OrderUpdate],
        faults: &mut Vec<Violation>,
    ) {
        let Book::Order { orders, progress } = &mut self.book else {
            return faults.push(Violation::Body);
        };
        if *progress == Progress::Complete {
            for update in updates {
                if let Err(fault) = orders.apply(update) {
                    let order_id = update.order_id;
                    faults.push(Violation::Order { order_id, fault });
                }
            }
        } else if !self.without_snapshot {
            return faults.push(Violation::UpdateBeforeSnapshot);
        }
        self.chain(header, faults);
    }

    fn gap(&mut self, from: u64, to: u64, faults: &mut Vec<Violation>) {
        if from > to || self.seq.is_some_and(|last| from <= last) {
            let last = self.seq;
            faults.push(Violation::Gap { last, from, to });
        }
        self.invalidate();
        self.seq = Some(to);
    }
}

impl Client {
    /// A client that has seen nothing.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Takes a text frame: one control message, or one data message as JSON.
    pub fn handle_text(&mut self, text: &str) -> Vec<Event> {
        self.count_frame(text.len());
        let mut events = Vec::new();
        match json::parse(text) {
            Ok(json::Parsed::Control(control)) => {
                self.control(&control);
                events.push(Event::Control(control));
            }
            Ok(json::Parsed::Data(message)) => self.data(message, &mut events),
            Err(why) => self.violation(None, Violation::Text(why), &mut events),
        }
        events
    }

    /// Takes a binary frame: one or more data messages as FlatBuffers.
    pub fn handle_binary(&mut self, frame: &[u8]) -> Vec<Event> {
        self.count_frame(frame.len());
        let mut events = Vec::new();
        for message in fb::messages(frame) {
            match message.and_then(OwnedMessage::try_from) {
                Ok(message) => self.data(message, &mut events),
                Err(why) => self.violation(None, Violation::Frame(why), &mut events),
            }
        }
        events
    }

    /// The book by price, bids and asks best first; `None` before its snapshot, behind a gap, and for other schemas.
    #[must_use]
    pub fn levels(&self, schema: Schema, instrument_id: u32) -> Option<(&[Level], &[Level])> {
        match &self.topics.get(&(schema, instrument_id))?.book {
            Book::Price {
                levels,
                valid: true,
                ..
            } => Some((&levels.bids, &levels.asks)),
            _ => None,
        }
    }

    /// One side of the book by order, the best level first and each level in the order of its queue; empty
    /// before the snapshot is complete, and behind a gap.
    pub fn orders(&self, instrument_id: u32, side: Side) -> impl Iterator<Item = &RestingOrder> {
        let orders = match self
            .topics
            .get(&(Schema::Mbo, instrument_id))
            .map(|state| &state.book)
        {
            Some(Book::Order {
                orders,
                progress: Progress::Complete,
            }) => Some(orders),
            _ => None,
        };
        orders.into_iter().flat_map(move |orders| orders.side(side))
    }

    /// The symbol of an instrument, as a subscription's answer or a definition told it.
    #[must_use]
    pub fn symbol(&self, instrument_id: u32) -> Option<&str> {
        self.symbols.get(&instrument_id).map(String::as_str)
    }

    /// Session and epoch of the last welcome, for a resume; empty before it.
    #[must_use]
    pub fn session(&self) -> (&str, &str) {
        (&self.session, &self.epoch)
    }

    /// The topics and the last `seq` of each: what a resume continues.
    pub fn positions(&self) -> impl Iterator<Item = (Topic, u64)> {
        self.topics
            .iter()
            .filter_map(|(&topic, state)| Some((topic, state.seq?)))
    }

    /// What was seen so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    fn count_frame(&mut self, bytes: usize) {
        self.counts.frames += 1;
        self.counts.bytes += bytes as u64;
    }

    fn violation(&mut self, topic: Option<Topic>, violation: Violation, events: &mut Vec<Event>) {
        *self
            .counts
            .violations
            .entry(violation.counter())
            .or_default() += 1;
        events.push(Event::Violation { topic, violation });
    }

    fn control(&mut self, control: &Control) {
        self.counts.control += 1;
        match control {
            Control::Welcome { session, epoch, .. } => {
                // Numbers of another life of the server mean nothing here.
                if *epoch != self.epoch {
                    self.topics.clear();
                }
                self.session.clone_from(session);
                self.epoch.clone_from(epoch);
            }
            Control::Subscribed {
                effective, symbols, ..
            } => {
                let schema = effective["schema"].as_str().and_then(Schema::from_name);
                let without_snapshot = effective["snapshot"] == Value::Bool(false);
                for symbol in symbols {
                    self.symbols
                        .insert(symbol.instrument_id, symbol.symbol.clone());
                    let Some(schema) = schema else { continue };
                    let topic = (schema, symbol.instrument_id);
                    let state = self
                        .topics
                        .entry(topic)
                        .or_insert_with(|| State::new(schema));
                    state.without_snapshot = without_snapshot;
                    // A new subscription begins a new chain.  One with a book begins it with a snapshot,
                    // whichever of answer and snapshot comes first.
                    if without_snapshot || matches!(state.book, Book::None) {
                        state.invalidate();
                        state.seq = None;
                    }
                }
            }
            _ => {}
        }
    }

    fn data(&mut self, message: OwnedMessage, events: &mut Vec<Event>) {
        let header = message.header;
        let topic = (header.schema, header.instrument_id);
        self.counts.data += 1;
        self.count_body(&header, &message.body);
        if let OwnedBody::Definition { definition, .. } = &message.body {
            self.symbols
                .insert(header.instrument_id, definition.symbol.to_string());
        }

        let state = self
            .topics
            .entry(topic)
            .or_insert_with(|| State::new(header.schema));
        let faults = &mut self.faults;
        match &message.body {
            OwnedBody::Snapshot {
                bids,
                asks,
                checksum,
                ..
            } => {
                state.snapshot(&header, (bids, asks), faults);
                if self.options.verify {
                    state.check_levels(*checksum, faults);
                }
            }
            OwnedBody::Update {
                bids,
                asks,
                checksum,
                ..
            } => {
                state.update(&header, (bids, asks), faults);
                if self.options.verify {
                    state.check_levels(*checksum, faults);
                }
            }
            OwnedBody::OrderSnapshot { orders, .. } => {
                state.order_snapshot(&header, orders, faults);
            }
            OwnedBody::Orders { orders } => state.orders(&header, orders, faults),
            OwnedBody::Gap { from, to, .. } => state.gap(*from, *to, faults),
            OwnedBody::Trade(_)
            | OwnedBody::TradeBreak { .. }
            | OwnedBody::Status(_)
            | OwnedBody::Imbalance(_)
            | OwnedBody::Definition { .. }
            | OwnedBody::Feed(_) => {
                if let OwnedBody::Feed(feed) = &message.body
                    && !is_ordered(&feed.gaps)
                {
                    faults.push(Violation::Body);
                }
                if header.schema != schema_of(&message.body) {
                    faults.push(Violation::Body);
                } else if header.flags & flags::SNAPSHOT == 0 {
                    state.chain(&header, faults);
                } else {
                    state.seq = Some(header.seq);
                }
            }
        }

        events.push(Event::Data(message));
        let mut faults = std::mem::take(&mut self.faults);
        if self.options.verify {
            for violation in faults.drain(..) {
                self.violation(Some(topic), violation, events);
            }
        }
        faults.clear();
        self.faults = faults;
    }

    fn count_body(&mut self, header: &MessageHeader, body: &OwnedBody) {
        match *body {
            OwnedBody::Snapshot { .. } => self.counts.snapshots += 1,
            OwnedBody::OrderSnapshot { .. } => {
                self.counts.snapshots += u64::from(header.flags & flags::LAST != 0);
            }
            OwnedBody::Update { events, .. } => {
                self.counts.events = self.counts.events.saturating_add(u64::from(events));
            }
            OwnedBody::Gap { count, .. } => {
                self.counts.gaps += 1;
                self.counts.skipped = self.counts.skipped.saturating_add(count);
            }
            _ => {}
        }
    }
}

/// Whether ranges rise, none empty, and none touches the next.
fn is_ordered(ranges: &[(u64, u64)]) -> bool {
    ranges.iter().all(|(first, last)| first <= last)
        && ranges
            .windows(2)
            .all(|pair| matches!(pair, [(_, last), (first, _)] if last < first))
}

/// The schema that a body without a book belongs to.
const fn schema_of(body: &OwnedBody) -> Schema {
    match body {
        OwnedBody::Status(_) => Schema::Status,
        OwnedBody::Imbalance(_) => Schema::Imbalance,
        OwnedBody::Definition { .. } => Schema::Definition,
        OwnedBody::Feed(_) => Schema::Feed,
        _ => Schema::Trades,
    }
}
