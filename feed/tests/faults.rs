//! Rows of the fault catalogue in `docs/recovery.md` that need no exchange: a shard, packets, and snapshots.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod loading;

use common::{MS, SECOND, packet};
use loading::{answer, config, load, orders};
use tickcast_book::{NoUpdates, Report};
use tickcast_codecs::SessionId;
use tickcast_codecs::event::Origin;
use tickcast_codecs::moldudp64::{PacketBuilder, Request};
use tickcast_codecs::protocol::Protocol;
use tickcast_feed::arbiter::Phase;
use tickcast_feed::limits::{
    BACKLOG_BYTES_MAX, FORWARD_JUMP_MESSAGES_MAX, LINE_DOWN_NS, REGRESSION_NS,
};
use tickcast_feed::line::LineState;
use tickcast_feed::shard::Observer;
use tickcast_feed::snapshot::LoadRequest;
use tickcast_feed::{Shard, ShardConfig, Source};

const S: &str = "20250102A";

/// What was delivered, and what was told of the books.
#[derive(Debug, Default)]
struct Seen {
    numbers: Vec<u64>,
    trust: Vec<bool>,
}

impl Observer for Seen {
    fn message(&mut self, _: &[u8], origin: Origin) {
        self.numbers.push(origin.sequence);
    }

    fn trust_changed(&mut self, live: bool) {
        self.trust.push(live);
    }
}

/// A shard with two lines, one request server and one snapshot server.
struct World {
    shard: Shard<NoUpdates, Seen>,
    now: u64,
}

impl World {
    fn new() -> Self {
        let mut config = ShardConfig::new(Protocol::MoldUdp64Itch50, 3, "TEST");
        config.arbiter.lines = 2;
        config.recovery.request_servers = 1;
        config.recovery.snapshot_servers = 1;
        Self {
            shard: Shard::new(&config, NoUpdates, Seen::default(), 0),
            now: 0,
        }
    }

    /// A shard that joined a session in which `next` is next, and has its books.
    fn joined(next: u64) -> Self {
        let mut world = Self::new();
        for number in [next, next + 1] {
            world.both(number, 1);
        }
        world.pass(MS);
        world.load(next);
        assert!(world.shard.is_live());
        assert_eq!(world.numbers(), [next, next + 1]);
        world.shard.observer_mut().numbers.clear();
        world
    }

    fn line(&mut self, line: u8, packet: &[u8]) {
        let source = Source::Line(line);
        self.shard
            .handle_packet(self.now, source, packet, self.now)
            .unwrap();
    }

    fn both(&mut self, first: u64, count: u64) {
        let packet = packet(S, first, count);
        self.line(0, &packet);
        self.line(1, &packet);
    }

    fn pass(&mut self, ns: u64) {
        self.now += ns;
        self.shard.handle_timeout(self.now);
    }

    /// The snapshot that is wanted now.
    fn wanted(&mut self) -> LoadRequest {
        assert_eq!(self.phase(), Phase::Loading);
        self.shard.poll_load().unwrap()
    }

    /// A snapshot that live data joins at `sequence` answers what is wanted.
    fn load(&mut self, sequence: u64) {
        let request = self.wanted();
        self.answer(request, sequence);
    }

    fn answer(&mut self, request: LoadRequest, sequence: u64) {
        let protocol = Protocol::MoldUdp64Itch50;
        let bytes = answer(&orders(), sequence);
        let loaded = load(&config(protocol), request, &bytes).unwrap().unwrap();
        drop(self.shard.handle_loaded(self.now, loaded));
    }

    fn request(&mut self) -> Option<(u64, u16)> {
        let mut packet = Vec::new();
        self.shard.poll_request(self.now, &mut packet)?;
        let request = Request::parse(&packet).unwrap();
        Some((request.sequence(), request.count()))
    }

    fn numbers(&self) -> &[u64] {
        &self.shard.observer().numbers
    }

    fn phase(&self) -> Phase {
        self.shard.channel().arbiter().phase()
    }

    fn reading(&self, name: &str) -> u64 {
        let mut report = Report::default();
        self.shard.report(&mut report);
        let mut readings = report.readings.iter();
        let own = readings.find(|reading| reading.name == name && reading.line.is_none());
        own.unwrap().value
    }
}

#[test]
fn f5_a_line_that_dies_at_message_100_000_is_down_three_seconds_later_and_nothing_else_happens() {
    let mut world = World::new();
    for packet in 0..1_000 {
        world.both(1 + packet * 100, 100);
    }
    let died = world.now;
    let state = |world: &World| world.shard.channel().arbiter().lines()[0].state();
    let mut next = 100_001;
    while world.now < died + LINE_DOWN_NS {
        assert_ne!(state(&world), LineState::Down);
        world.line(1, &packet(S, next, 10));
        next += 10;
        world.pass(MS);
    }
    assert_eq!(LINE_DOWN_NS, 3 * SECOND);
    assert_eq!(state(&world), LineState::Down);
    assert!(world.numbers().iter().copied().eq(1..next));
    assert_eq!(world.shard.observer().trust, [true]);
    assert!(world.request().is_none());
}

#[test]
fn f10_a_million_back_is_nothing_delivered_and_stale_books() {
    let mut world = World::new();
    for packet in 0..500 {
        world.both(1 + packet * 2_000, 2_000);
    }
    assert_eq!(world.numbers().len(), 1_000_000);
    let from = world.now;
    while world.now <= from + REGRESSION_NS {
        let back = 1 + (world.now - from) / MS;
        world.both(back, 1);
        world.pass(100 * MS);
    }
    world.both(17, 1);
    assert_eq!(world.numbers().len(), 1_000_000);
    assert_eq!(world.reading("sequence_regressed"), 1);
    assert_eq!(world.shard.observer().trust, [true, false]);
    assert!(world.request().is_none());
}

#[test]
fn f15_a_hundred_thousand_random_corruptions_are_each_refused_or_taken_whole() {
    let good = packet(S, 1, 60);
    let mut world = World::new();
    world.line(1, &good);
    let mut random = 15_u64;
    let mut next = |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    let (mut bad, mut refused) = (good.clone(), 0_u64);
    // A tenth of the catalogue's: a million take 15 s here, and the fuzz target makes as many each second.
    for _ in 0..100_000 {
        bad.clone_from(&good);
        for _ in 0..=next(8) {
            let at = next(bad.len());
            bad[at] ^= u8::try_from(1 + next(255)).unwrap();
        }
        let now = world.now;
        let counted = |world: &World| {
            let line = world.shard.channel().arbiter().lines()[0].counters();
            (line.messages() + line.heartbeats, line.rejected())
        };
        let before = counted(&world);
        let taken = world.shard.handle_packet(now, Source::Line(0), &bad, now);
        let after = counted(&world);
        refused += u64::from(taken.is_err());
        let whole = match taken {
            Ok(()) => after.0 > before.0 && after.1 == before.1,
            Err(_) => after == (before.0, before.1 + 1),
        };
        assert!(whole, "{taken:?}: {before:?}, {after:?}");
    }
    println!("{refused} refused");
    assert!(refused > 10_000);
    world.shard.channel().arbiter().check().unwrap();
}

#[test]
fn f11_a_jump_too_far_is_an_alarm_and_a_snapshot_goes_on_behind_it() {
    for jump in [FORWARD_JUMP_MESSAGES_MAX + 1, 1 << 32, 1 << 63] {
        let mut world = World::new();
        world.both(1, 3);
        world.both(4 + jump, 1);
        world.both(5 + jump, 1);
        world.pass(MS);
        assert!(world.request().is_none());
        assert_eq!(world.reading("forward_jumps"), 1);
        world.load(4 + jump);
        assert!(world.shard.is_live());
        assert_eq!(world.numbers(), [1, 2, 3, 4 + jump, 5 + jump]);
        assert_eq!(world.reading("filled_by_snapshot"), jump);
        world.both(6 + jump, 1);
        assert_eq!(world.numbers().last(), Some(&(6 + jump)));
    }
}

#[test]
fn f12_nothing_special_happens_where_32_bits_end() {
    let end = u64::from(u32::MAX);
    let mut world = World::joined(end - 12);
    for number in end - 10..=end + 10 {
        world.both(number, 1);
    }
    assert!(world.numbers().iter().copied().eq(end - 10..=end + 10));
    assert_eq!(world.shard.observer().trust, [false, true]);
    assert_eq!(world.reading("messages_missing"), end - 13);

    // The same numbers, lost on both lines: one request over the end, one answer.
    let mut world = World::joined(end - 12);
    world.both(end + 11, 1);
    world.pass(MS);
    assert_eq!(world.request(), Some((end - 10, 21)));
    let reply = packet(S, end - 10, 21);
    let source = Source::Server(0);
    world
        .shard
        .handle_packet(world.now, source, &reply, world.now)
        .unwrap();
    assert!(world.numbers().iter().copied().eq(end - 10..=end + 11));
    assert!(world.shard.is_live());
}

/// A packet of messages of 8,000 bytes of a type that nobody knows.
fn large(first: u64, count: u64) -> Vec<u8> {
    let mut packet = Vec::new();
    let session = SessionId::from_padded(S.as_bytes());
    let mut builder = PacketBuilder::new(&mut packet, session, first, 65_000);
    for _ in 0..count {
        builder.push(&[0x7f; 8_000]).unwrap();
    }
    packet
}

/// A shard that waits for a snapshot while twice as much as it can hold comes; and the number that is next.
fn overflowed() -> (World, LoadRequest, u64) {
    let mut world = World::new();
    world.both(1, 1);
    world.both(100_000, 1);
    world.both(100_001, 1);
    world.pass(MS);
    let request = world.wanted();
    let mut next = 100_002;
    while (next - 100_002) * 8_000 < 2 * BACKLOG_BYTES_MAX as u64 {
        world.line(0, &large(next, 8));
        next += 8;
        world.pass(MS / 10);
    }
    assert!(world.reading("messages_overflowed") > 0);
    (world, request, next)
}

#[test]
fn r8_a_backlog_that_overflows_while_a_snapshot_is_loaded_leads_to_another_snapshot() {
    let (mut world, request, mut next) = overflowed();
    world.answer(request, 100_000);
    assert!(!world.shard.is_live());
    // What was forgotten is asked for; there is no room for it behind what waits, and then for nothing more.
    assert!(world.request().is_some());
    while world.phase() != Phase::Loading {
        world.line(0, &large(next, 8));
        next += 8;
        world.pass(MS / 10);
    }
    world.load(next);
    world.line(0, &large(next, 1));
    assert!(world.shard.is_live());
    assert_eq!(world.numbers(), [1, next]);
    assert_eq!(world.reading("messages_lost"), 0);
}

#[test]
fn r8_a_snapshot_that_is_older_than_the_gap_is_refused_and_a_newer_one_is_not() {
    let (mut world, request, next) = overflowed();
    world.shard.handle_load_failed(world.now, request.id);
    world.pass(SECOND);
    let protocol = Protocol::MoldUdp64Itch50;
    let second = world.wanted();
    let old = answer(&orders(), second.not_before - 1);
    assert!(load(&config(protocol), second, &old).unwrap().is_err());
    world.shard.handle_load_failed(world.now, second.id);
    assert_eq!(world.numbers(), [1]);
    world.pass(SECOND);
    world.load(next - 8);
    assert!(world.shard.is_live());
    let delivered = world.numbers().iter().copied();
    assert!(delivered.eq([1].into_iter().chain(next - 8..next)));
    assert_eq!(world.reading("snapshots_failed"), 2);
    assert_eq!(world.reading("messages_lost"), 0);
}

#[test]
fn r8_three_snapshots_that_fail_are_followed_by_others_and_the_books_stay_stale_until_one_is_there()
{
    let mut world = World::new();
    world.both(100_000, 1);
    world.both(100_001, 1);
    world.pass(MS);
    let mut next = 100_002;
    for attempt in 1..=6 {
        let request = world.wanted();
        world.shard.handle_load_failed(world.now, request.id);
        let phase = if attempt < 3 {
            Phase::Loading
        } else {
            Phase::Lost
        };
        assert_eq!(world.phase(), phase, "attempt {attempt}");
        for _ in 0..11 {
            world.both(next, 1);
            next += 1;
            world.pass(100 * MS);
        }
    }
    assert_eq!(world.reading("snapshots_exhausted"), 4);
    world.load(next);
    world.both(next, 1);
    assert!(world.shard.is_live());
    assert_eq!(world.shard.observer().trust, [false, true]);
}
