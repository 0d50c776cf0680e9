//! What the tests share: a market fed by seeded random events, a stand-in for its shard that honours interest and
//! snapshot requests through a ring, and subscribers that verify what they receive.

// Not every test file uses everything; and helpers may fail a test.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used
)]

use std::collections::{HashMap, VecDeque};

use serde_json::Value;
use tickcast_book::{BookKind, BookState, Limits as BookLimits, Market, Update, UpdateKind, flags};
use tickcast_codecs::event::{Definition, Event, Header, Status, StatusAction, Trade, TradeKind};
use tickcast_codecs::types::{Price, Side, Symbol, Text};
use tickcast_fanout::client::{Client, Options};
use tickcast_fanout::{
    ChannelInfo, Encoding, Hub, HubConfig, ServerInfo, SubscriberId, Transmit, Upstream, interest,
};

/// SplitMix64: small, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("fits")
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }
}

/// A channel's market, and what its shard does with its updates.
pub struct Shard {
    pub channel: usize,
    pub by_order: bool,
    pub market: Market,
    pub sequence: u64,
    interests: HashMap<u32, u8>,
    requests: VecDeque<Upstream>,
    pub ring: VecDeque<Update>,
    /// What happens is lost on its way to us: the market moves, and nothing is told.
    pub is_lost: bool,
    live: Vec<(u32, u64, u32)>,
    next_order: u64,
}

pub const MS: u64 = 1_000_000;
pub const S: u64 = 1_000 * MS;
/// 2026-01-05 14:30 UTC: beyond what a JavaScript number holds.
pub const WALL: u64 = 1_767_623_400_000_000_000;

pub fn definition(symbol: &str) -> Definition {
    Definition {
        symbol: Symbol::from_padded(symbol.as_bytes()),
        round_lot_size: 100,
        is_test: false,
        is_etp: false,
    }
}

pub fn status(action: StatusAction) -> Status {
    Status {
        action,
        code: b'T',
        reason: Text::default(),
    }
}

pub fn trade(trade_id: u64) -> Trade {
    Trade {
        kind: TradeKind::Hidden,
        side: Some(Side::Bid),
        px: Price(10 * Price::SCALE),
        size: 100,
        trade_id,
        printable: true,
        conditions: 0,
    }
}

impl Shard {
    pub fn new(channel: usize, venue: &str, by_order: bool) -> Self {
        let number = u16::try_from(channel).expect("few");
        Self {
            channel,
            by_order,
            market: Market::new(
                Text::from_padded(venue.as_bytes()),
                number,
                &BookLimits::default(),
            ),
            sequence: 0,
            interests: HashMap::new(),
            requests: VecDeque::new(),
            ring: VecDeque::new(),
            is_lost: false,
            live: Vec::new(),
            next_order: 1,
        }
    }

    pub fn id(&self, number: u32) -> u32 {
        u32::try_from(self.channel).expect("few") << 16 | number
    }

    pub fn header(&mut self, instrument_id: u32) -> Header {
        self.sequence += 1;
        Header {
            instrument_id,
            sequence: self.sequence,
            ts_event: WALL + self.sequence * 1_000,
            ts_recv: WALL + self.sequence * 1_000 + 500,
        }
    }

    fn publish(&mut self, updates: Vec<Update>) {
        if self.is_lost {
            return;
        }
        for update in updates {
            let bits = self
                .interests
                .get(&update.header.instrument_id)
                .copied()
                .unwrap_or_default();
            let wanted = match update.kind {
                UpdateKind::Level { .. } => bits & interest::LEVELS != 0,
                UpdateKind::Order(_) => bits & interest::ORDERS != 0,
                _ => true,
            };
            if wanted {
                self.ring.push_back(update);
            }
        }
    }

    pub fn apply(&mut self, instrument_id: u32, event: &Event) {
        let header = self.header(instrument_id);
        let mut out = Vec::new();
        self.market.apply(&header, event, &mut out);
        self.publish(out);
    }

    pub fn set_stale(&mut self, stale: bool) {
        let header = self.header(0);
        let mut out = Vec::new();
        if stale {
            self.market.set_stale(&header, &mut out);
        } else {
            self.market.set_live(&header, &mut out);
        }
        self.publish(out);
    }

    /// The books are those of a snapshot now.
    pub fn resync(&mut self) {
        let header = self.header(self.id(0));
        self.ring.push_back(Update {
            header,
            flags: flags::LAST,
            kind: UpdateKind::Resync,
        });
    }

    /// A gap that requests couldn't fill: declared, `lost` happens unseen, a snapshot replaces the books.
    pub fn recover(&mut self, lost: impl FnOnce(&mut Self)) {
        self.set_stale(true);
        self.is_lost = true;
        lost(self);
        self.is_lost = false;
        self.resync();
        self.set_stale(false);
    }

    /// Tells again what isn't of a book.
    fn tell_channel(&mut self) {
        let number = self.id(0);
        let header = *self.market.last();
        let mut told = Vec::new();
        let mut tell = |instrument_id, kind| {
            told.push(Update {
                header: Header {
                    instrument_id,
                    ..header
                },
                flags: flags::SNAPSHOT | flags::LAST,
                kind,
            });
        };
        for (id, definition) in self.market.instruments() {
            tell(id, UpdateKind::Definition(*definition));
            if let Some(status) = self.market.status(id) {
                tell(id, UpdateKind::Status(*status));
            }
        }
        let state = match self.market.state(number) {
            BookState::Stale => UpdateKind::Stale,
            BookState::Live => UpdateKind::Live,
        };
        tell(number, state);
        self.ring.extend(told);
    }

    /// Does what it was asked, at most `count` requests.
    pub fn serve(&mut self, count: usize) {
        for _ in 0..count {
            let Some(request) = self.requests.pop_front() else {
                return;
            };
            self.interests
                .insert(request.instrument_id, request.interest);
            if request.snapshot && request.instrument_id & 0xffff == 0 {
                self.tell_channel();
            } else if request.snapshot {
                let what = if request.interest & interest::ORDERS != 0 {
                    BookKind::ByOrder
                } else {
                    BookKind::ByPrice
                };
                let mut out = Vec::new();
                self.market.snapshot(request.instrument_id, what, &mut out);
                self.ring.extend(out);
            }
        }
    }

    /// Whether somebody is interested, as far as the shard knows.
    pub fn interest(&self, instrument_id: u32) -> u8 {
        self.interests
            .get(&instrument_id)
            .copied()
            .unwrap_or_default()
    }

    pub fn define(&mut self, number: u32, symbol: &str) {
        let id = self.id(number);
        self.apply(id, &Event::Definition(definition(symbol)));
    }

    /// One random event of one of the instruments 1..=`instruments`.
    pub fn random_event(&mut self, random: &mut Random, instruments: u32) {
        let number = u32::try_from(random.below(u64::from(instruments))).expect("few") + 1;
        let id = self.id(number);
        match random.below(100) {
            0..3 => return self.apply(id, &Event::Trade(trade(random.next()))),
            3 => {
                let action = *random.pick(&[StatusAction::Halt, StatusAction::Trading]);
                return self.apply(id, &Event::Status(status(action)));
            }
            4 => {
                let event = Event::TradeBreak {
                    trade_id: random.next(),
                    px: None,
                    size: 0,
                };
                return self.apply(id, &event);
            }
            _ => {}
        }
        let side = *random.pick(&[Side::Bid, Side::Ask]);
        let step = i64::try_from(random.below(20)).expect("small") * Price::SCALE / 100;
        let px = Price(match side {
            Side::Bid => 100 * Price::SCALE - step,
            Side::Ask => 100 * Price::SCALE + Price::SCALE / 100 + step,
        });
        let size = u32::try_from(random.below(9) + 1).expect("small") * 100;
        if !self.by_order {
            let event = Event::LevelSet {
                side,
                px,
                size: if random.one_in(4) { 0 } else { size },
                complete: !random.one_in(3),
            };
            return self.apply(id, &event);
        }
        if self.live.is_empty() || random.below(100) < 45 {
            let order_id = self.next_order;
            self.next_order += 1;
            self.live.push((id, order_id, size));
            let event = Event::Add {
                order_id,
                side,
                px,
                size,
            };
            return self.apply(id, &event);
        }
        let at = random.index(self.live.len());
        let (id, order_id, left) = self.live[at];
        match random.below(10) {
            0..4 => {
                self.live.swap_remove(at);
                self.apply(id, &Event::Delete { order_id });
            }
            4..6 if left > 100 => {
                self.live[at].2 -= 100;
                self.apply(
                    id,
                    &Event::Cancel {
                        order_id,
                        size: 100,
                    },
                );
            }
            4..8 => {
                if left == 100 {
                    self.live.swap_remove(at);
                } else {
                    self.live[at].2 -= 100;
                }
                let event = Event::Execute {
                    order_id,
                    size: 100,
                    px: None,
                    trade_id: random.next(),
                    printable: true,
                    conditions: 0,
                };
                self.apply(id, &event);
            }
            8 => {
                let new_order_id = self.next_order;
                self.next_order += 1;
                self.live[at] = (id, new_order_id, size);
                let event = Event::Replace {
                    order_id,
                    new_order_id,
                    px,
                    size,
                };
                self.apply(id, &event);
            }
            _ => {
                self.live[at].2 = size;
                let event = Event::Modify {
                    order_id,
                    px,
                    size,
                    keeps_priority: random.one_in(2),
                };
                self.apply(id, &event);
            }
        }
    }

    /// All orders are gone: the venue begins anew.
    pub fn clear(&mut self) {
        self.live.clear();
        let id = self.id(0);
        self.apply(id, &Event::Clear);
    }
}

/// A subscriber and all that it received.
pub struct Peer {
    pub id: SubscriberId,
    pub client: Client,
    /// Text messages of the server that aren't data.
    pub control: Vec<Value>,
    /// Data messages, as JSON where the encoding is JSON.
    pub data: Vec<Value>,
    pub raw: Vec<bytes::Bytes>,
    pub pings: usize,
    pub closed: Option<(u16, &'static str)>,
}

impl Peer {
    /// The last answer of this type.
    pub fn last(&self, kind: &str) -> &Value {
        self.control
            .iter()
            .rev()
            .find(|message| message["type"] == kind)
            .unwrap_or_else(|| panic!("no {kind} among {:#?}", self.control))
    }

    pub fn count(&self, kind: &str) -> usize {
        self.control
            .iter()
            .filter(|message| message["type"] == kind)
            .count()
    }

    pub fn data_of<'a>(&'a self, schema: &'a str) -> impl Iterator<Item = &'a Value> + 'a {
        self.data
            .iter()
            .filter(move |message| message["schema"] == schema)
    }

    /// Nothing that the protocol excludes was received.
    pub fn verified(&self) {
        let violations = &self.client.counts().violations;
        assert!(violations.is_empty(), "{violations:?}");
    }
}

/// A hub, its shards, its clock.
pub struct World {
    pub hub: Hub,
    pub shards: Vec<Shard>,
    pub now: u64,
}

impl World {
    /// Channels as (venue, whether its books are by order).
    pub fn new(config: HubConfig, channels: &[(&str, bool)]) -> Self {
        let infos = channels
            .iter()
            .enumerate()
            .map(|(n, (venue, by_order))| ChannelInfo {
                name: format!("channel-{n}"),
                venue: (*venue).to_owned(),
                by_order: *by_order,
            })
            .collect();
        let server = ServerInfo {
            session: "a-session".to_owned(),
            epoch: "an-epoch".to_owned(),
        };
        let mut world = Self {
            hub: Hub::new(config, server, infos),
            shards: channels
                .iter()
                .enumerate()
                .map(|(n, (venue, by_order))| Shard::new(n, venue, *by_order))
                .collect(),
            now: 0,
        };
        world.tick(S);
        world
    }

    /// One channel of XNAS, by order, with AAPL (1) and MSFT (2).
    pub fn nasdaq() -> Self {
        Self::nasdaq_with(HubConfig::default())
    }

    pub fn nasdaq_with(config: HubConfig) -> Self {
        let mut world = Self::new(config, &[("XNAS", true)]);
        world.shards[0].define(1, "AAPL");
        world.shards[0].define(2, "MSFT");
        world.settle();
        world
    }

    pub fn wall(&self) -> u64 {
        WALL + self.now
    }

    /// Time passes.
    pub fn tick(&mut self, ns: u64) {
        self.now += ns;
        self.hub.handle_timeout(self.now, self.wall());
    }

    /// The hub's requests reach the shards.
    pub fn carry_requests(&mut self) {
        while let Some(request) = self.hub.poll_upstream() {
            self.shards[request.channel].requests.push_back(request);
        }
    }

    /// A snapshot that another hub asked for goes through the ring of channel 0.
    pub fn foreign_snapshot(&mut self, instrument_id: u32, kind: BookKind) {
        let mut out = Vec::new();
        self.shards[0]
            .market
            .snapshot(instrument_id, kind, &mut out);
        self.shards[0].ring.extend(out);
    }

    /// At most `count` updates of a ring reach the hub.
    pub fn carry_updates(&mut self, channel: usize, count: usize) {
        for _ in 0..count {
            let Some(update) = self.shards[channel].ring.pop_front() else {
                return;
            };
            self.hub.handle_update(channel, &update);
        }
    }

    /// Everything that is under way arrives.
    pub fn settle(&mut self) {
        loop {
            for channel in 0..self.shards.len() {
                self.shards[channel].serve(usize::MAX);
                self.carry_updates(channel, usize::MAX);
            }
            self.carry_requests();
            let waiting = self
                .shards
                .iter()
                .any(|shard| !shard.requests.is_empty() || !shard.ring.is_empty());
            if !waiting {
                break;
            }
        }
    }

    pub fn connect(&mut self, encoding: Encoding) -> Peer {
        let id = self.hub.connect(encoding, self.now);
        Peer {
            id,
            client: Client::new(Options::default()),
            control: Vec::new(),
            data: Vec::new(),
            raw: Vec::new(),
            pings: 0,
            closed: None,
        }
    }

    pub fn send(&mut self, peer: &Peer, request: &Value) {
        self.hub
            .handle_text(peer.id, &request.to_string(), self.now);
    }

    /// Asks, lets everything arrive, and reads.
    pub fn ask(&mut self, peer: &mut Peer, request: Value) {
        self.send(peer, &request);
        self.settle();
        self.read(peer);
    }

    /// Reads at most `count` messages.
    pub fn read_some(&mut self, peer: &mut Peer, count: usize) {
        for _ in 0..count {
            match self.hub.poll_transmit(peer.id) {
                None => return,
                Some(Transmit::Text(bytes)) => {
                    let text = std::str::from_utf8(&bytes).expect("UTF-8");
                    let value: Value = serde_json::from_str(text).expect("JSON");
                    peer.client.handle_text(text);
                    if value.get("schema").is_some() {
                        peer.data.push(value);
                        peer.raw.push(bytes);
                    } else {
                        peer.control.push(value);
                    }
                }
                Some(Transmit::Binary(bytes)) => {
                    peer.client.handle_binary(&bytes);
                    peer.raw.push(bytes);
                }
                Some(Transmit::Ping) => peer.pings += 1,
                Some(Transmit::Close { code, reason }) => peer.closed = Some((code, reason)),
            }
        }
    }

    pub fn read(&mut self, peer: &mut Peer) {
        self.read_some(peer, usize::MAX);
    }

    /// Applies one event to channel 0, and lets it arrive.
    pub fn event(&mut self, number: u32, event: Event) {
        let id = self.shards[0].id(number);
        self.shards[0].apply(id, &event);
        self.settle();
    }

    /// An order at a price in units, on channel 0.
    pub fn add(&mut self, number: u32, order_id: u64, side: Side, px: i64, size: u32) {
        self.event(
            number,
            Event::Add {
                order_id,
                side,
                px: Price(px * Price::SCALE),
                size,
            },
        );
    }
}
