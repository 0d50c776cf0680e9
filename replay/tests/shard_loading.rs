//! A shard that comes late, its loader and a GLIMPSE server, on one virtual clock and without sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tickcast_book::{BookState, NoUpdates};
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::types::Text;
use tickcast_codecs::{Level, Side};
use tickcast_feed::Share;
use tickcast_feed::arbiter::Source;
use tickcast_feed::shard::{Shard, ShardConfig};
use tickcast_feed::snapshot::{Loader, LoaderConfig};
use tickcast_replay::exchange::{
    GlimpseConfig, GlimpseServer, Manner, Market, MarketConfig, Publisher, PublisherConfig,
    Snapshot,
};

const MILLISECOND: u64 = 1_000_000;
const MIDNIGHT: u64 = 1_735_794_000_000_000_000;

/// An exchange that publishes one message each 0.1 ms.
struct Exchange {
    now: u64,
    market: Market,
    publisher: Publisher,
    published: u64,
}

impl Exchange {
    fn new() -> Self {
        Self {
            now: 0,
            market: Market::new(MarketConfig::default()),
            publisher: Publisher::new(PublisherConfig::default(), 0),
            published: 0,
        }
    }

    /// Publishes one message; gives the packets that became due.
    fn step(&mut self) -> Vec<Vec<u8>> {
        self.now += MILLISECOND / 10;
        let mut message = Vec::new();
        self.market.next(&mut message);
        self.published += 1;
        self.publisher.handle_message(self.now, &message).unwrap();
        let mut packets = Vec::new();
        let mut packet = Vec::new();
        while self.publisher.poll_transmit(self.now, &mut packet) {
            packets.push(packet.clone());
        }
        packets
    }

    /// The books as of now.
    fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.published + 1, |each| self.market.snapshot(each))
    }

    fn ts_recv(&self) -> u64 {
        MIDNIGHT + MarketConfig::default().open_ns + self.now
    }
}

/// One load under way.
struct Load {
    loader: Loader,
    server: GlimpseServer,
    /// Bytes on their way to the client.
    stream: Vec<u8>,
}

/// Runs a shard that joins at message 3,000 until it is live; each attempt meets the next server.  Gives
/// how many attempts it took.
fn join(manners: &[Manner], share: Share) -> usize {
    let mut exchange = Exchange::new();
    for _ in 0..3_000 {
        exchange.step();
    }
    let mut config = ShardConfig::new(Protocol::MoldUdp64Itch50, 4, "TEST");
    config.recovery.snapshot_servers = 1;
    config.share = share;
    let mut shard = Shard::new(&config, NoUpdates, (), exchange.now);
    let session = PublisherConfig::default().session;
    let mut attempts = 0;
    let mut load: Option<Load> = None;
    let mut was_live = false;
    for _ in 0..60_000 {
        let packets = exchange.step();
        let now = exchange.now;
        for packet in packets {
            shard
                .handle_packet(now, Source::Line(0), &packet, exchange.ts_recv())
                .unwrap();
        }
        shard.handle_timeout(now);
        if let Some(request) = shard.poll_load() {
            assert_eq!(request.midnight, Some(MIDNIGHT));
            let serve = GlimpseConfig {
                session,
                username: Text::from_padded(b"user"),
                password: Text::from_padded(b"secret"),
                manner: manners[attempts % manners.len()],
            };
            let client = LoaderConfig {
                protocol: config.protocol,
                number: config.number,
                venue: config.venue,
                share,
                username: Text::from_padded(b"USER"),
                password: Text::from_padded(b"SECRET"),
                same_session: true,
            };
            let mut loader = Loader::new(&client, request, now);
            loader.handle_connected(now);
            load = Some(Load {
                loader,
                server: GlimpseServer::new(serve, now),
                stream: Vec::new(),
            });
            attempts += 1;
        }
        if let Some(mut one) = load.take() {
            match one.step(now, &exchange) {
                None => load = Some(one),
                Some(Ok(loaded)) => {
                    assert!(!shard.is_live());
                    let _ = shard.handle_loaded(now, loaded);
                }
                Some(Err(_)) => {
                    assert!(!shard.is_live());
                    shard.handle_load_failed(now, one.loader.request().id);
                }
            }
        }
        if shard.is_live() {
            was_live = true;
            check(&shard, &exchange, share);
            if exchange.now.is_multiple_of(2_000 * MILLISECOND) {
                break;
            }
        } else {
            // Not live again: nothing is lost here.
            assert!(!was_live);
            let books = shard.market().instruments();
            assert!(
                books
                    .into_iter()
                    .all(|(id, _)| shard.market().state(id) == BookState::Stale)
            );
        }
    }
    assert!(was_live);
    attempts
}

impl Load {
    /// Moves a kilobyte; gives the outcome.
    fn step(
        &mut self,
        now: u64,
        exchange: &Exchange,
    ) -> Option<Result<Box<tickcast_feed::snapshot::Loaded>, tickcast_feed::snapshot::LoadError>>
    {
        let mut bytes = Vec::new();
        self.loader.handle_timeout(now);
        while self.loader.poll_transmit(&mut bytes) {
            self.server
                .handle_bytes(now, &bytes, &mut || exchange.snapshot());
        }
        self.server.handle_timeout(now);
        while self.server.poll_transmit(now, &mut bytes) {
            self.stream.extend_from_slice(&bytes);
        }
        let some = self.stream.len().min(1_024);
        self.loader.handle_bytes(now, &self.stream[..some]);
        self.stream.drain(..some);
        if self.stream.is_empty() && self.server.is_closing() {
            self.loader.handle_closed(now);
        }
        self.loader.poll()
    }
}

/// The shard's books are those of the exchange, as far as they were published.
fn check(shard: &Shard<NoUpdates>, exchange: &Exchange, share: Share) {
    // The publisher packs messages: right after a packet nothing waits.
    if exchange.publisher.next_sequence() != exchange.published + 1 {
        return;
    }
    // Between failed attempts the shard goes on, stale and with what it doesn't know; no more now.
    assert_eq!(shard.market().counters().faulty_now, 0);
    let mut instruments = 0;
    for locate in 1..=MarketConfig::default().instruments {
        let id = 4 << 16 | u32::from(locate);
        let book = shard.market().book(id);
        for side in [Side::Bid, Side::Ask] {
            let told: Vec<Level> = book.levels(side).collect();
            let true_levels: Vec<Level> =
                exchange.market.levels(locate, side, usize::MAX).collect();
            let wanted = if share.holds(id) {
                true_levels
            } else {
                Vec::new()
            };
            assert_eq!(told, wanted, "instrument {locate} at {}", exchange.now);
        }
        instruments += usize::from(share.holds(id));
    }
    assert_eq!(shard.market().instruments().count(), instruments);
}

#[test]
fn a_late_joiner_is_live_by_the_first_snapshot() {
    assert_eq!(join(&[Manner::Honest], Share::WHOLE), 1);
}

#[test]
fn a_late_joiner_of_a_share_is_live_in_its_own_instruments() {
    for index in 0..3 {
        assert_eq!(join(&[Manner::Honest], Share { index, of: 3 }), 1);
    }
}

#[test]
fn r2_a_slow_snapshot_is_joined_by_what_was_held_meanwhile() {
    let pause_ns = 20 * MILLISECOND;
    assert_eq!(join(&[Manner::Slow { pause_ns }], Share::WHOLE), 1);
}

#[test]
fn r8_no_half_loaded_book_is_visible_and_the_next_server_is_tried() {
    let manners = [
        Manner::DiesHalfWay,
        Manner::Garbage,
        Manner::TooOld,
        Manner::OtherSession,
        Manner::Rejects,
        Manner::Honest,
    ];
    assert_eq!(join(&manners, Share::WHOLE), 6);
}

#[test]
fn r9_of_two_servers_one_dead_and_one_lying_neither_gives_books_that_are_wrong() {
    // The lying one is honest the third time.
    let manners = [
        Manner::DiesHalfWay,
        Manner::Garbage,
        Manner::DiesHalfWay,
        Manner::Honest,
    ];
    assert_eq!(join(&manners, Share::WHOLE), 4);
}
