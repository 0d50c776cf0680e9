//! What a message costs from a file in memory: walked, decoded, into books, with changes told.
//!
//! All ways take turns, round by round, so that a slow phase of the machine falls on all of them; what is compared
//! are minima and ratios of one run.  Each way runs on a pinned thread of its own, on memory that was made for the
//! height of live orders and that its first, uncounted round has touched.  After every round the books are compared: what isn't right has no time.
//!
//! Not here: input from a disk or a network.

use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tickcast_book as book;
use tickcast_book::link::{self, Item, LEVELS, Publisher, Subscription, WhenFull};
use tickcast_book::{BestChange, NoUpdates, Update, UpdateKind, UpdateSink};
use tickcast_codecs::event::{Event, Header, Normalizer as _, OrderEvent, Origin, Sink};
use tickcast_codecs::prefetch::prefetch_at;
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::{binaryfile, itch50};
use tickcast_feed::limits::RING_SLOTS;
use tickcast_feed::{Shard, ShardConfig, Share};

use crate::books::Books;
use crate::stamps::ns;
use crate::threads::{Cores, pin};
use crate::{Failed, Step};

/// Instruments of a channel: the lower half of an instrument id.
const INSTRUMENTS: usize = 65_536;

/// Messages between two looks at how many orders live.
const LOOK_EVERY: usize = 1 << 14;

/// How far ahead the decoder asks for the file's bytes, as a channel does.
const AHEAD_BYTES: usize = 3_072;

/// How to measure.
#[derive(Debug, Clone)]
pub struct FileConfig {
    /// Rounds of all ways.
    pub rounds: usize,
    /// Instruments whose changes are told to a reader: the busiest.
    pub watched: usize,
    /// Where the threads run: the first the work, the second the reader or the other shard.
    pub cores: Cores,
}

/// A way through the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Length, type byte, next: the reference.
    Walk,
    /// Every message to normalized records and events, all of whose fields are looked at.
    Decode,
    /// Decoded into books; changes of a best price are told and counted.
    Book,
    /// The same, with the changes of some instruments into one ring that another thread reads.
    Watched,
    /// The same with the changes of all instruments.
    WatchedAll,
    /// Books by two shards on two cores: each walks all messages and applies its own.
    TwoShards,
}

impl Way {
    /// All of them, in the order in which they take turns.
    pub const ALL: [Self; 6] = [
        Self::Walk,
        Self::Decode,
        Self::Book,
        Self::Watched,
        Self::WatchedAll,
        Self::TwoShards,
    ];

    /// What people read.
    #[must_use]
    pub fn words(self, watched: usize) -> String {
        match self {
            Self::Walk => "walk: length, type, next".to_owned(),
            Self::Decode => "decode".to_owned(),
            Self::Book => "decode + book, best prices told".to_owned(),
            Self::Watched => format!("the same + changes of {watched} instruments to a ring"),
            Self::WatchedAll => "the same + changes of all instruments to a ring".to_owned(),
            Self::TwoShards => "decode + book, two shards on two cores".to_owned(),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileResult {
    /// What was read.
    pub source: String,
    /// Its messages.
    pub messages: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Instruments with a definition.
    pub instruments: u64,
    /// Rounds of all ways.
    pub rounds: usize,
    /// Instruments whose changes were told.
    pub watched: usize,
    /// Where the work was pinned, and where the reader or the other shard.
    pub pinned: [String; 2],
    /// Each way's times.
    pub ways: Vec<WayResult>,
    /// How many times as fast two shards were as one, by the minima.
    pub two_shards_speedup: f64,
    /// The books at the end, equal in all ways and rounds.
    pub books: Books,
    /// Changes of a best price or of the shares there.
    pub best_changes: u64,
    /// Memory of the books.
    pub memory: Memory,
}

/// A way's times, in ns a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WayResult {
    /// The way.
    pub way: Way,
    /// The quickest round.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// The slowest one.
    pub max: f64,
    /// Every round, in order.
    pub rounds: Vec<f64>,
    /// Messages a second, by the quickest round.
    pub per_second: f64,
    /// The quickest round ÷ the walk's quickest.
    pub to_walk: f64,
    /// The median of round ÷ the walk's of the same round.
    pub to_walk_median: f64,
    /// Updates that the ring's reader took in a round.
    pub updates: u64,
}

/// Memory that one market of all instruments took when most orders lived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Live orders then.
    pub orders_max: u64,
    /// Bytes of their slots, and of what leads to them.
    pub order_bytes: u64,
    /// Levels then.
    pub levels: u64,
    /// Bytes of the levels.
    pub level_bytes: u64,
}

impl Memory {
    /// Bytes a live order, with its level's part.
    #[must_use]
    pub fn bytes_per_order(&self) -> Option<f64> {
        let bytes = (self.order_bytes + self.level_bytes) as f64;
        (self.orders_max > 0).then(|| bytes / self.orders_max as f64)
    }

    fn of(books: book::Memory) -> Self {
        Self {
            orders_max: books.orders as u64,
            order_bytes: books.order_bytes as u64,
            levels: books.levels as u64,
            level_bytes: books.level_bytes as u64,
        }
    }
}

/// Looks at each field of what is decoded, so that nothing of it is optimised away.
#[derive(Debug, Default)]
struct Tally(u64);

impl Sink for Tally {
    #[inline(always)]
    fn order(&mut self, order: &OrderEvent) {
        let small = u64::from(order.size)
            ^ (u64::from(order.instrument_id) << 32)
            ^ (order.kind as u64)
            ^ ((order.side as u64) << 8)
            ^ (u64::from(order.printable) << 16)
            ^ (u64::from(order.conditions) << 24);
        self.0 = self
            .0
            .wrapping_add(order.sequence ^ order.ts_event ^ order.ts_recv)
            .wrapping_add(order.order_id ^ order.other_id ^ order.px.0.cast_unsigned())
            .wrapping_add(small);
    }

    #[inline]
    fn event(&mut self, header: &Header, event: &Event) {
        black_box(event);
        self.0 = self.0.wrapping_add(u64::from(header.instrument_id));
    }
}

/// Counts changes of a best price on their way to a sink, which gets everything.
#[derive(Debug)]
struct Ticks<U> {
    inner: U,
    changes: u64,
}

impl<U> Ticks<U> {
    fn new(inner: U) -> Self {
        Self { inner, changes: 0 }
    }
}

impl<U: UpdateSink> UpdateSink for Ticks<U> {
    #[inline]
    fn update(&mut self, update: &Update) {
        self.inner.update(update);
    }

    #[inline]
    fn wants(&self, instrument_id: u32) -> bool {
        self.inner.wants(instrument_id)
    }

    #[inline]
    fn best(&mut self, change: &BestChange) {
        // Whole, as for somebody who takes it.
        black_box(change);
        self.changes += 1;
        self.inner.best(change);
    }
}

/// What a round of books came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Outcome {
    books: Books,
    best_changes: u64,
}

/// A shard that reads the file again and again: the start of messages clears its books, not their memory.
struct Reader<U> {
    shard: Shard<Ticks<U>>,
}

impl<U: UpdateSink> Reader<U> {
    fn new(share: Share, updates: U) -> Self {
        let mut config = ShardConfig::recording(Protocol::BinaryFileItch50, 0, "XNAS");
        config.share = share;
        Self {
            shard: Shard::new(&config, Ticks::new(updates), (), 0),
        }
    }

    /// With the memory of so many live orders, touched.
    fn with_room(share: Share, updates: U, room: Room) -> Self {
        let mut reader = Self::new(share, updates);
        reader.shard.reserve(room.orders, room.instruments);
        reader
    }

    /// Takes the first message, which empties the books; gives the others.
    fn begin<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Failed> {
        let mut messages = binaryfile::Messages::new(bytes);
        let first = messages.next();
        let Some(Ok(first @ [b'S', .., b'O'])) = first else {
            return Err(Failed::new(
                "it doesn't begin with the start of messages (system event O): a day is needed from its beginning",
            ));
        };
        self.take(first)?;
        self.shard.updates_mut().changes = 0;
        Ok(messages.rest())
    }

    fn take(&mut self, message: &[u8]) -> Result<(), Failed> {
        let taken = self.shard.handle_file_message(message);
        taken.map_err(|error| Failed::new(format!("a message is malformed: {error}")))
    }

    fn run(&mut self, rest: &[u8]) {
        self.shard.handle_file(rest);
    }

    /// The same, and tells the memory when most orders lived.
    fn run_watching_orders(&mut self, rest: &[u8]) -> Result<Memory, Failed> {
        let mut most = Memory::default();
        for (number, message) in (1..).zip(binaryfile::Messages::new(rest)) {
            self.take(message.map_err(|error| Failed::new(error.to_string()))?)?;
            if number % LOOK_EVERY == 0 {
                self.look_at_memory(&mut most);
            }
        }
        self.look_at_memory(&mut most);
        Ok(most)
    }

    fn look_at_memory(&self, most: &mut Memory) {
        let market = self.shard.market();
        if market.order_count() as u64 > most.orders_max {
            *most = Memory::of(market.memory());
        }
    }

    /// Whether all went well, and what the books are.
    fn outcome(&self) -> Result<Outcome, Failed> {
        let counters = self.shard.market().counters();
        if counters.faults() > 0 {
            let of: Vec<String> = counters
                .iter()
                .filter(|(name, _, value)| *value > 0 && is_fault(name))
                .map(|(name, _, value)| format!("{name} {value}"))
                .collect();
            return Err(Failed::new(format!(
                "its messages don't fit its books ({}): no time of it means anything",
                of.join(", ")
            )));
        }
        Ok(Outcome {
            books: Books::of(self.shard.market()),
            best_changes: self.shard.updates().changes,
        })
    }
}

/// Counters that aren't of faults.
fn is_fault(name: &str) -> bool {
    !matches!(
        name,
        "events"
            | "book_events"
            | "refused_events"
            | "crossed"
            | "crossed_now"
            | "faulty_now"
            | "gaps"
    )
}

/// What is made room for beforehand.
#[derive(Debug, Clone, Copy)]
struct Room {
    orders: usize,
    instruments: usize,
}

/// A market whose changes go to a ring.
struct Told {
    reader: Reader<Publisher>,
    subscription: Subscription,
}

impl Told {
    fn new(watched: impl Iterator<Item = u32>, room: Room) -> Self {
        // A file waits for its reader: otherwise what is measured is how fast updates are lost.
        let (publisher, subscription) = link::link(RING_SLOTS, WhenFull::Wait);
        for instrument_id in watched {
            subscription.set_interest(instrument_id, LEVELS);
        }
        Self {
            reader: Reader::with_room(Share::WHOLE, publisher, room),
            subscription,
        }
    }
}

/// Empties a ring until `stop` is set and nothing is left; counts updates.
fn drain(subscription: &mut Subscription, stop: &AtomicBool, alone: bool) -> u64 {
    let mut updates = 0;
    let mut seen = 0_u64;
    loop {
        let ended = stop.load(Ordering::Acquire);
        while let Some(item) = subscription.poll() {
            if let Item::Update(update) = item {
                updates += 1;
                if let UpdateKind::Level { level, .. } = update.kind {
                    seen = seen.wrapping_add(level.size);
                }
            }
        }
        if ended {
            black_box(seen);
            return updates;
        }
        if alone {
            spin_loop()
        } else {
            thread::yield_now()
        }
    }
}

/// Length, type byte, next.
fn walk(bytes: &[u8]) -> (u64, u64) {
    let (mut messages, mut types) = (0, 0_u64);
    let mut at = 0;
    while let Some(&[high, low, message_type]) = bytes.get(at..at + 3) {
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 {
            break;
        }
        types = types.wrapping_add(u64::from(message_type));
        messages += 1;
        at += 2 + length;
    }
    (messages, types)
}

/// As a channel decodes a file, without a book.
fn decode(bytes: &[u8]) -> Result<u64, Failed> {
    let mut normalizer = itch50::Normalizer::new(0);
    let mut tally = Tally::default();
    let (mut at, mut sequence) = (0, 0);
    while let Some((length, rest)) = bytes.get(at..).and_then(<[u8]>::split_first_chunk::<2>)
        && let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*length)))
        && !message.is_empty()
    {
        prefetch_at(bytes, at + AHEAD_BYTES);
        at += 2 + message.len();
        sequence += 1;
        let origin = Origin {
            sequence,
            ts_recv: 0,
        };
        if let Some(order) = normalizer.order_event(message, origin) {
            tally.order(&order);
            continue;
        }
        let decoded = normalizer.message(message, origin, &mut tally);
        decoded.map_err(|error| Failed::new(format!("message {sequence}: {error}")))?;
    }
    Ok(tally.0)
}

/// The busiest instruments.
fn busiest(bytes: &[u8], count: usize) -> Vec<u32> {
    let mut messages = vec![0_u64; INSTRUMENTS];
    for message in binaryfile::Messages::new(bytes).flatten() {
        if let &[_, high, low, ..] = message
            && let Some(count) = messages.get_mut(usize::from(u16::from_be_bytes([high, low])))
        {
            *count += 1;
        }
    }
    let mut ids: Vec<u32> = (1..=u32::from(u16::MAX)).collect();
    ids.retain(|id| messages.get(*id as usize).is_some_and(|&count| count > 0));
    ids.sort_by_key(|id| std::cmp::Reverse(messages.get(*id as usize).copied()));
    ids.truncate(count);
    ids
}

/// Everything that is kept from round to round.
struct Bench<'a> {
    bytes: &'a [u8],
    cores: &'a Cores,
    book: Reader<NoUpdates>,
    watched: Told,
    watched_all: Told,
    shards: [Reader<NoUpdates>; 2],
}

/// A round of one way.
struct Round {
    ns: u64,
    /// Of ways that have books.
    outcome: Option<Outcome>,
    updates: u64,
}

impl Bench<'_> {
    fn round(&mut self, way: Way) -> Result<Round, Failed> {
        let (bytes, cores) = (self.bytes, self.cores);
        match way {
            Way::Walk => pinned(cores, || {
                let started = Instant::now();
                black_box(walk(black_box(bytes)));
                Ok(Round::of(started))
            }),
            Way::Decode => pinned(cores, || {
                let started = Instant::now();
                black_box(decode(black_box(bytes))?);
                Ok(Round::of(started))
            }),
            Way::Book => {
                let reader = &mut self.book;
                pinned(cores, || {
                    let rest = reader.begin(bytes)?;
                    let started = Instant::now();
                    reader.run(rest);
                    let round = Round::of(started);
                    Ok(round.with(reader.outcome()?, 0))
                })
            }
            Way::Watched => told(&mut self.watched, bytes, cores),
            Way::WatchedAll => told(&mut self.watched_all, bytes, cores),
            Way::TwoShards => two(&mut self.shards, bytes, cores),
        }
    }
}

impl Round {
    fn of(started: Instant) -> Self {
        Self {
            ns: ns(started.elapsed()),
            outcome: None,
            updates: 0,
        }
    }

    fn with(self, outcome: Outcome, updates: u64) -> Self {
        Self {
            outcome: Some(outcome),
            updates,
            ..self
        }
    }
}

/// Runs on a thread of its own, pinned to the first core.
fn pinned<R: Send>(
    cores: &Cores,
    run: impl FnOnce() -> Result<R, Failed> + Send,
) -> Result<R, Failed> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let _ = pin(cores.seat(0));
            run()
        });
        joined(thread.join())
    })
}

fn joined<R>(result: thread::Result<Result<R, Failed>>) -> Result<R, Failed> {
    result.unwrap_or_else(|_| Err(Failed::new("a thread of the measurement panicked")))
}

fn told(told: &mut Told, bytes: &[u8], cores: &Cores) -> Result<Round, Failed> {
    let Told {
        reader,
        subscription,
    } = told;
    let stop = AtomicBool::new(false);
    let alone = cores.count() > 1;
    thread::scope(|scope| {
        let draining = scope.spawn(|| {
            let _ = pin(cores.seat(1));
            Ok(drain(subscription, &stop, alone))
        });
        let working = scope.spawn(|| {
            let _ = pin(cores.seat(0));
            let rest = reader.begin(bytes)?;
            let started = Instant::now();
            reader.run(rest);
            reader.shard.updates_mut().inner.flush();
            let round = Round::of(started);
            Ok((round, reader.outcome()?))
        });
        let worked = joined(working.join());
        stop.store(true, Ordering::Release);
        let updates = joined(draining.join())?;
        let (round, outcome) = worked?;
        Ok(round.with(outcome, updates))
    })
}

fn two(shards: &mut [Reader<NoUpdates>; 2], bytes: &[u8], cores: &Cores) -> Result<Round, Failed> {
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        let threads: Vec<_> = shards
            .iter_mut()
            .enumerate()
            .map(|(seat, reader)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let _ = pin(cores.seat(seat));
                    let begun = reader.begin(bytes);
                    barrier.wait();
                    let rest = begun?;
                    let started = Instant::now();
                    reader.run(rest);
                    let ended = Instant::now();
                    Ok((started, ended, reader.outcome()?))
                })
            })
            .collect();
        let mut all = Vec::with_capacity(2);
        for thread in threads {
            all.push(joined(thread.join())?);
        }
        let started = all.iter().map(|(started, ..)| *started).min();
        let ended = all.iter().map(|(_, ended, _)| *ended).max();
        let took = ended.zip(started).map(|(ended, started)| ended - started);
        let outcome = all
            .iter()
            .fold(Outcome::default(), |sum, (_, _, one)| Outcome {
                books: sum.books.with(one.books),
                best_changes: sum.best_changes + one.best_changes,
            });
        Ok(Round {
            ns: took.map_or(0, ns),
            outcome: Some(outcome),
            updates: 0,
        })
    })
}

/// The middle of the values; of an even number the higher of the two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measures all ways through a BinaryFILE in memory.
///
/// # Errors
///
/// What is wrong with the file, or that the ways' books differ.
pub fn run(
    source: &str,
    bytes: &[u8],
    config: &FileConfig,
    progress: &dyn Fn(Step<'_>),
) -> Result<FileResult, Failed> {
    let (messages, _) = walk(bytes);
    if messages == 0 {
        return Err(Failed::new("it has no messages"));
    }
    let steps = (Way::ALL.len() * (config.rounds + 1) + 1) as u64;
    let mut step = 0;
    let mut tell = |what: &str| {
        progress(Step {
            what,
            done: step,
            of: steps,
        });
        step += 1;
    };
    let watched = busiest(bytes, config.watched);
    tell("books are built for the first time");
    let (expected, memory, (instruments, highest)) = pinned(&config.cores, || {
        let mut book = Reader::new(Share::WHOLE, NoUpdates);
        let rest = book.begin(bytes)?;
        let memory = book.run_watching_orders(rest)?;
        let market = book.shard.market();
        let instruments = market.instruments().count() as u64;
        let highest = market.instruments().map(|(id, _)| id).last().unwrap_or(0);
        Ok((book.outcome()?, memory, (instruments, highest)))
    })?;
    let room = Room {
        orders: usize::try_from(memory.orders_max).unwrap_or(usize::MAX),
        instruments: highest as usize + 1,
    };
    let shard = |index| {
        let room = Room {
            orders: room.orders / 2,
            ..room
        };
        Reader::with_room(Share { index, of: 2 }, NoUpdates, room)
    };
    let mut bench = Bench {
        bytes,
        cores: &config.cores,
        book: Reader::with_room(Share::WHOLE, NoUpdates, room),
        watched: Told::new(watched.iter().copied(), room),
        watched_all: Told::new(1..=u32::from(u16::MAX), room),
        shards: [shard(0), shard(1)],
    };
    let mut rounds = Way::ALL.map(|way| (way, Vec::with_capacity(config.rounds), 0));
    for number in 0..=config.rounds {
        for (way, times, updates) in &mut rounds {
            let words = match number {
                0 => "warming up".to_owned(),
                number => format!("round {number} of {}", config.rounds),
            };
            tell(&words);
            let round = bench.round(*way)?;
            check(*way, round.outcome, expected)?;
            if number > 0 {
                times.push(round.ns as f64 / messages as f64);
                *updates = round.updates;
            }
        }
    }
    let ways = results(&rounds);
    let min = |wanted| {
        let found = ways.iter().find(|one| one.way == wanted);
        found.map_or(f64::NAN, |one| one.min)
    };
    Ok(FileResult {
        source: source.to_owned(),
        messages,
        bytes: bytes.len() as u64,
        instruments,
        rounds: config.rounds,
        watched: watched.len(),
        pinned: seats(&config.cores),
        two_shards_speedup: min(Way::Book) / min(Way::TwoShards),
        ways,
        books: expected.books,
        best_changes: expected.best_changes,
        memory,
    })
}

/// Where the two threads of a round are, in words.
fn seats(cores: &Cores) -> [String; 2] {
    [0, 1].map(|seat| {
        thread::scope(|scope| {
            let thread = scope.spawn(|| pin(cores.seat(seat)));
            thread.join().unwrap_or_default()
        })
    })
}

fn check(way: Way, found: Option<Outcome>, expected: Outcome) -> Result<(), Failed> {
    match found {
        Some(found) if found != expected => Err(Failed::new(format!(
            "the books differ: {} gives {:016x} with {} orders and {} changes of a best price, the first round gave {:016x}, {} and {}",
            way.words(0),
            found.books.hash,
            found.books.orders,
            found.best_changes,
            expected.books.hash,
            expected.books.orders,
            expected.best_changes,
        ))),
        _ => Ok(()),
    }
}

fn results(rounds: &[(Way, Vec<f64>, u64)]) -> Vec<WayResult> {
    let lowest = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    let walk: &[f64] = rounds.first().map_or(&[], |(_, times, _)| times);
    let of = |(way, times, updates): &(Way, Vec<f64>, u64)| {
        let min = lowest(times);
        let ratios: Vec<f64> = times
            .iter()
            .zip(walk)
            .map(|(one, walk)| one / walk)
            .collect();
        WayResult {
            way: *way,
            min,
            median: median(times),
            max: times.iter().copied().fold(0.0, f64::max),
            rounds: times.clone(),
            per_second: 1e9 / min,
            to_walk: min / lowest(walk),
            to_walk_median: median(&ratios),
            updates: *updates,
        }
    };
    rounds.iter().map(of).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tickcast_book::Market;
    use tickcast_codecs::SessionId;
    use tickcast_codecs::types::{Level, Side};
    use tickcast_feed::shard::Observer;

    use super::*;
    use crate::generate::Generate;

    #[test]
    fn a_walk_ends_at_the_end_of_session_and_at_a_cut() {
        let mut file = Vec::new();
        for message in [&b"AB"[..], b"CDE", b"F"] {
            assert!(binaryfile::encode(message, &mut file));
        }
        let sum = u64::from(b'A') + u64::from(b'C') + u64::from(b'F');
        assert_eq!(walk(&file), (3, sum));
        binaryfile::encode_end_of_session(&mut file);
        file.extend_from_slice(b"\0\x01X");
        assert_eq!(walk(&file), (3, sum));
        assert_eq!(walk(b"\0"), (0, 0));
    }

    #[test]
    fn the_busiest_instruments_come_first() {
        let mut file = Vec::new();
        for locate in [3, 1, 3, 2, 3, 2_u8] {
            assert!(binaryfile::encode(&[b'A', 0, locate], &mut file));
        }
        assert_eq!(busiest(&file, 2), [3, 2]);
        assert_eq!(busiest(&file, 9), [3, 2, 1]);
    }

    type Best = [Option<Level>; 2];

    /// Looks both best levels up after each message that a book accepted.
    struct LookedUp {
        best: Vec<Best>,
        changes: u64,
    }

    impl Observer for LookedUp {
        fn book_changed(&mut self, market: &Market, _: SessionId, header: &Header) {
            let book = market.book(header.instrument_id);
            let best = [Side::Bid, Side::Ask].map(|side| book.best(side));
            let of = |best: &Best| best.map(|level| level.map(|level| (level.px, level.size)));
            let known = &mut self.best[header.instrument_id as usize];
            self.changes += u64::from(of(known) != of(&best));
            *known = best;
        }
    }

    fn generated() -> Vec<u8> {
        let generate = Generate {
            seed: 7,
            messages: 40_000,
            instruments: 40,
        };
        generate.run(&|_| {}).file
    }

    #[test]
    fn as_many_best_prices_are_told_as_change_in_the_books() {
        let file = generated();
        let config = ShardConfig::recording(Protocol::BinaryFileItch50, 0, "XNAS");
        let looked_up = LookedUp {
            best: vec![Best::default(); INSTRUMENTS],
            changes: 0,
        };
        let mut shard = Shard::new(&config, NoUpdates, looked_up, 0);
        for message in binaryfile::Messages::new(&file) {
            shard.handle_file_message(message.unwrap()).unwrap();
        }
        let expected = Outcome {
            books: Books::of(shard.market()),
            best_changes: shard.observer().changes,
        };
        assert!(expected.best_changes > 5_000, "{expected:?}");

        fn outcome<U: UpdateSink>(reader: &mut Reader<U>, file: &[u8]) -> Outcome {
            let rest = reader.begin(file).unwrap();
            reader.run(rest);
            reader.outcome().unwrap()
        }
        let mut unwatched = Reader::new(Share::WHOLE, NoUpdates);
        let mut watched = Reader::new(Share::WHOLE, Vec::new());
        for _ in 0..2 {
            assert_eq!(outcome(&mut unwatched, &file), expected);
            assert_eq!(outcome(&mut watched, &file), expected);
        }
        assert!(!watched.shard.updates().inner.is_empty());
        let shards = [0, 1].map(|index| {
            let mut reader = Reader::new(Share { index, of: 2 }, NoUpdates);
            outcome(&mut reader, &file).best_changes
        });
        assert_eq!(shards.iter().sum::<u64>(), expected.best_changes);
    }

    #[test]
    fn every_message_is_decoded_and_a_malformed_one_is_named() {
        let mut file = generated();
        let sum = decode(&file).unwrap();
        assert_eq!(decode(&file).unwrap(), sum);
        // The type of the second message, a definition, becomes one that there isn't.
        let second = 2 + usize::from(u16::from_be_bytes([file[0], file[1]])) + 2;
        file[second] = b'z';
        let error = decode(&file).unwrap_err().to_string();
        assert!(error.starts_with("message 2: "), "{error}");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert!(median(&[]).is_nan());
    }
}
