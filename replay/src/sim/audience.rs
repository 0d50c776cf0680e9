//! Subscribers: the hub with clients that verify all that they get.

use tickcast_book::Market;
use tickcast_book::link::{Item, LEVELS, ORDERS, SnapshotRequest, Subscription};
use tickcast_codecs::outbound::Schema;
use tickcast_codecs::types::Side;
use tickcast_fanout::client::{Client, Options};
use tickcast_fanout::{
    ChannelInfo, Encoding, Hub, HubConfig, ServerInfo, SubscriberId, Transmit, interest,
};

use super::checker::Checker;
use crate::random::Random;

/// The time of day at the virtual clock's 0: beyond what a JavaScript number holds.
const WALL_NS: u64 = 1_767_623_400_000_000_000;

/// How often the hub has its turn, in nanoseconds.
pub(super) const TURN_NS: u64 = 5_000_000;

/// The close code of who doesn't keep up.
const SLOW_CONSUMER: u16 = 4408;

/// One subscriber.
#[derive(Debug)]
struct Peer {
    id: SubscriberId,
    client: Client,
    schema: Schema,
    subscribed: bool,
    /// It doesn't read before this.
    stalled_until: u64,
    closed: bool,
}

/// A hub and its subscribers.
#[derive(Debug)]
pub(super) struct Audience {
    hub: Hub,
    subscription: Subscription,
    peers: Vec<Peer>,
    random: Random,
    next_turn: u64,
    waiting: Vec<SnapshotRequest>,
}

impl Audience {
    pub(super) fn new(subscription: Subscription, subscribers: u8, seed: u64) -> Self {
        let info = ServerInfo {
            session: "simulated".to_owned(),
            epoch: "simulated".to_owned(),
        };
        let channels = vec![ChannelInfo {
            name: "totalview".to_owned(),
            venue: "XNAS".to_owned(),
            by_order: true,
        }];
        let mut hub = Hub::new(HubConfig::default(), info, channels);
        let schemas = [
            (Schema::Mbp10, Encoding::Json),
            (Schema::Mbo, Encoding::FlatBuffers),
            (Schema::Mbp1, Encoding::FlatBuffers),
            (Schema::Trades, Encoding::Json),
        ];
        let peers = schemas
            .into_iter()
            .cycle()
            .take(usize::from(subscribers))
            .map(|(schema, encoding)| Peer {
                id: hub.connect(encoding, 0),
                client: Client::new(Options::default()),
                schema,
                subscribed: false,
                stalled_until: 0,
                closed: false,
            })
            .collect();
        Self {
            hub,
            subscription,
            peers,
            random: Random::new(seed),
            next_turn: 0,
            waiting: Vec::new(),
        }
    }

    pub(super) fn poll_timeout(&self) -> u64 {
        self.next_turn
    }

    /// One turn: the ring into the hub, requests upstream, messages to those who read.
    pub(super) fn turn(&mut self, now: u64, faulty: bool, checker: &mut Checker) {
        if now < self.next_turn {
            return;
        }
        self.next_turn = now + TURN_NS;
        self.hub.handle_timeout(now, WALL_NS + now);
        while let Some(item) = self.subscription.poll() {
            match item {
                Item::Update(update) => self.hub.handle_update(0, &update),
                Item::Overrun { .. } => {
                    checker.seen.insert("the ring to the reactor was full");
                    self.hub.handle_overrun(0);
                }
            }
        }
        for peer in &mut self.peers {
            if !peer.subscribed && now > 100_000_000 {
                peer.subscribed = true;
                let request = format!(
                    r#"{{"op":"subscribe","id":1,"schema":"{}","venue":"XNAS","symbols":"*","checksum":true}}"#,
                    peer.schema.name()
                );
                self.hub.handle_text(peer.id, &request, now);
            }
            if faulty && self.random.one_in(400) {
                checker.seen.insert("a subscriber stalled");
                peer.stalled_until = now + self.random.below_u64(3_000_000_000);
            }
            if peer.closed || now < peer.stalled_until {
                continue;
            }
            while let Some(transmit) = self.hub.poll_transmit(peer.id) {
                match transmit {
                    Transmit::Text(bytes) => {
                        checker.hash_bytes(&bytes);
                        peer.client
                            .handle_text(core::str::from_utf8(&bytes).unwrap_or_default());
                    }
                    Transmit::Binary(bytes) => {
                        checker.hash_bytes(&bytes);
                        peer.client.handle_binary(&bytes);
                    }
                    Transmit::Ping => self.hub.handle_pong(peer.id, now),
                    Transmit::Close { code, reason } => {
                        peer.closed = true;
                        if code == SLOW_CONSUMER && peer.stalled_until > 0 {
                            checker.seen.insert("a slow subscriber was closed");
                        } else {
                            let what = format!("a subscriber was closed: {code} {reason}");
                            checker.violate("I7", now, what);
                        }
                    }
                }
            }
            let counts = peer.client.counts();
            if counts.violations_total() > 0 {
                let what = format!("{}: {:?}", peer.schema.name(), counts.violations);
                checker.violate("I7", now, what);
            }
        }
        while let Some(upstream) = self.hub.poll_upstream() {
            self.subscription
                .set_interest(upstream.instrument_id, upstream.interest);
            if upstream.snapshot {
                self.waiting.push(SnapshotRequest {
                    instrument_id: upstream.instrument_id,
                    what: if upstream.interest & interest::ORDERS != 0 {
                        ORDERS
                    } else {
                        LEVELS
                    },
                });
            }
        }
        let subscription = &self.subscription;
        self.waiting
            .retain(|request| subscription.request(*request).is_err());
    }

    /// I7 at the end: every subscriber's book is the market's.
    pub(super) fn compare(
        &self,
        now: u64,
        market: &Market,
        instruments: u16,
        checker: &mut Checker,
    ) {
        for peer in self.peers.iter().filter(|peer| !peer.closed) {
            let depth = match peer.schema {
                Schema::Mbp10 => 10,
                Schema::Mbp1 => 1,
                Schema::Mbo => usize::MAX,
                _ => continue,
            };
            for id in 1..=u32::from(instruments) {
                let book = market.book(id);
                let equal = if depth == usize::MAX {
                    [Side::Bid, Side::Ask].into_iter().all(|side| {
                        let theirs = peer.client.orders(id, side);
                        let ours = book.orders(side);
                        ours.map(|order| order.order_id)
                            .eq(theirs.map(|order| order.order_id))
                    })
                } else if let Some((bids, asks)) = peer.client.levels(peer.schema, id) {
                    book.bids().take(depth).eq(bids.iter().copied())
                        && book.asks().take(depth).eq(asks.iter().copied())
                } else {
                    book.is_empty()
                };
                if !equal {
                    let name = peer.schema.name();
                    let what = format!("the {name} of instrument {id} isn't the book at the end");
                    checker.violate("I7", now, what);
                }
            }
        }
    }
}
