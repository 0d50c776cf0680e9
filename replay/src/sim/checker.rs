//! What has to hold, and what was seen.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};

use tickcast_book::{BookState, Limits, Market, Mic, NoUpdates};
use tickcast_codecs::SessionId;
use tickcast_codecs::event::{Event, Header, Normalizer as _, Origin, Sink};
use tickcast_codecs::protocol::{Normalizer, Protocol};
use tickcast_codecs::types::Side;
use tickcast_feed::session::{Missing, Start};
use tickcast_feed::shard::Observer;

use crate::exchange::Store;

/// An invariant that didn't hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its number.
    pub invariant: &'static str,
    /// When, in nanoseconds of the virtual clock.
    pub at_ns: u64,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at_ns / 1_000_000_000;
        let micros = self.at_ns / 1_000 % 1_000_000;
        write!(
            f,
            "{} at {seconds}.{micros:06} s: {}",
            self.invariant, self.what
        )
    }
}

/// What the exchange published in one session.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) session: SessionId,
    pub(super) store: Store,
    /// When each message was published, the first first.
    pub(super) times: Vec<u64>,
}

impl Published {
    pub(super) fn new(session: SessionId, bytes_max: usize) -> Self {
        Self {
            session,
            store: Store::new(bytes_max),
            times: Vec::new(),
        }
    }

    fn time(&self, sequence: u64) -> Option<u64> {
        let at = usize::try_from(sequence.checked_sub(1)?).ok()?;
        self.times.get(at).copied()
    }
}

/// Messages as the checker saw them delivered, to be compared with what was published.
///
/// The shard's observer: it can't reach what was published, so it keeps what was delivered until the world
/// compares.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    pub(super) log: Vec<Entry>,
    bytes: Vec<u8>,
}

/// One thing that the shard did.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    Start(SessionId),
    /// A message's number, and where its bytes are.
    Message(u64, usize, usize),
    Skip(Missing),
    Trust(bool),
}

impl Observer for Delivered {
    fn session_started(&mut self, _: Start, session: SessionId) {
        self.log.push(Entry::Start(session));
    }

    fn message(&mut self, message: &[u8], origin: Origin) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(message);
        self.log
            .push(Entry::Message(origin.sequence, from, self.bytes.len()));
    }

    fn skipped(&mut self, missing: Missing) {
        self.log.push(Entry::Skip(missing));
    }

    fn trust_changed(&mut self, live: bool) {
        self.log.push(Entry::Trust(live));
    }
}

impl Delivered {
    pub(super) fn clear(&mut self) {
        self.log.clear();
        self.bytes.clear();
    }
}

/// Books of what was published up to a number: what the receiver's have to be.
#[derive(Debug)]
struct Reference {
    session: SessionId,
    market: Market,
    normalizer: Normalizer,
    /// The number of the next message to apply.
    next: u64,
}

struct Apply<'a>(&'a mut Market);

impl Sink for Apply<'_> {
    fn event(&mut self, header: &Header, event: &Event) {
        self.0.apply(header, event, &mut NoUpdates);
    }
}

impl Reference {
    fn new(session: SessionId) -> Self {
        Self {
            session,
            market: Market::new(Mic::from_padded(b"XNAS"), 0, &Limits::default()),
            normalizer: Normalizer::new(Protocol::MoldUdp64Itch50, 0),
            next: 1,
        }
    }

    /// Applies what was published before `next`; false if it isn't there.
    fn advance(&mut self, store: &Store, next: u64) -> bool {
        while self.next < next {
            let Some(message) = store.get(self.next) else {
                return false;
            };
            let origin = Origin {
                sequence: self.next,
                ts_recv: 0,
            };
            let mut apply = Apply(&mut self.market);
            // What the exchange says is valid: its own tests prove that.
            let _ = self.normalizer.message(message, origin, &mut apply);
            self.next += 1;
        }
        true
    }
}

/// Compares what a shard did with what the exchange published.
#[derive(Debug)]
pub(super) struct Checker {
    reference: Option<Reference>,
    /// The number that is expected next.
    next: u64,
    live: bool,
    since_compared: u32,
    hasher: DefaultHasher,
    pub(super) seen: BTreeSet<&'static str>,
    pub(super) violation: Option<Violation>,
    pub(super) delivered: u64,
    pub(super) compared: u64,
    /// When the receiver's session started.
    pub(super) session_started: u64,
    /// The longest from a message's publication to its delivery.
    pub(super) latency_ns_max: u64,
    /// How often the books became stale, since when they are, and how long they were at most.
    pub(super) stales: u64,
    stale_since: Option<u64>,
    stale_ns_max: u64,
}

/// Deliveries between two comparisons of all books.
const COMPARE_EVERY: u32 = 64;

impl Checker {
    pub(super) fn new() -> Self {
        Self {
            reference: None,
            next: 1,
            live: false,
            since_compared: 0,
            hasher: DefaultHasher::new(),
            seen: BTreeSet::new(),
            violation: None,
            delivered: 0,
            compared: 0,
            session_started: 0,
            latency_ns_max: 0,
            stales: 0,
            stale_since: None,
            stale_ns_max: 0,
        }
    }

    /// The longest time for which the books were stale, the present one included.
    pub(super) fn stale_ns_max(&self, now: u64) -> u64 {
        let present = self.stale_since.map_or(0, |since| now - since);
        self.stale_ns_max.max(present)
    }

    pub(super) fn violate(&mut self, invariant: &'static str, at_ns: u64, what: String) {
        self.violation.get_or_insert(Violation {
            invariant,
            at_ns,
            what,
        });
    }

    /// Adds to the run's hash.
    pub(super) fn hash(&mut self, value: u64) {
        self.hasher.write_u64(value);
    }

    pub(super) fn hash_bytes(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    pub(super) fn finish(&self) -> u64 {
        self.hasher.finish()
    }

    /// I1: what was delivered is what was published, in order, each once; I3: what is said to be live is right.
    pub(super) fn handle(
        &mut self,
        now: u64,
        delivered: &mut Delivered,
        published: &[Published],
        market: &Market,
        instruments: u16,
    ) {
        let mut changed = false;
        for &entry in &delivered.log {
            match entry {
                Entry::Start(session) => {
                    self.seen.insert("a session started");
                    self.session_started = now;
                    if self.reference.is_some() {
                        self.seen.insert("another session started");
                    }
                    self.hash_bytes(session.as_bytes());
                    self.reference = Some(Reference::new(session));
                    self.next = 1;
                }
                Entry::Skip(missing) => {
                    self.seen.insert("numbers were passed over");
                    self.hash(missing.first);
                    self.hash(missing.last);
                    if missing.first != self.next {
                        let what = format!("{missing:?} is passed over, {} is next", self.next);
                        self.violate("I1", now, what);
                    }
                    self.next = missing.last + 1;
                }
                Entry::Trust(live) => {
                    self.hash(u64::from(live));
                    self.live = live;
                    changed = true;
                    self.stales += u64::from(!live);
                    self.stale_ns_max = self.stale_ns_max(now);
                    self.stale_since = (!live).then_some(now);
                }
                Entry::Message(sequence, from, to) => {
                    let bytes = &delivered.bytes[from..to];
                    self.hash(sequence);
                    self.hash_bytes(bytes);
                    self.delivered += 1;
                    self.since_compared += 1;
                    if sequence != self.next {
                        let what = format!("{sequence} is delivered, {} is next", self.next);
                        self.violate("I1", now, what);
                    }
                    self.next = sequence + 1;
                    let published = self.published(published);
                    let truth = published.and_then(|published| published.store.get(sequence));
                    let at = published.and_then(|published| published.time(sequence));
                    let latency = now.saturating_sub(at.unwrap_or(now));
                    self.latency_ns_max = self.latency_ns_max.max(latency);
                    if truth != Some(bytes) {
                        let what = format!("message {sequence} isn't what was published");
                        self.violate("I1", now, what);
                    }
                }
            }
        }
        delivered.clear();
        let told_live = market.state(0) == BookState::Live;
        if self.live && told_live && (changed || self.since_compared >= COMPARE_EVERY) {
            self.compare(now, published, market, instruments);
        }
    }

    fn published<'a>(&self, published: &'a [Published]) -> Option<&'a Published> {
        let session = self.reference.as_ref()?.session;
        published
            .iter()
            .find(|published| published.session == session)
    }

    /// I3: every level of every book is that of the reference.
    pub(super) fn compare(
        &mut self,
        now: u64,
        published: &[Published],
        market: &Market,
        instruments: u16,
    ) {
        self.since_compared = 0;
        self.compared += 1;
        let Some(Published { store, .. }) = self.published(published) else {
            return;
        };
        let next = self.next;
        let Some(reference) = &mut self.reference else {
            return;
        };
        let mut what = None;
        if reference.advance(store, next) {
            let unequal = (1..=u32::from(instruments)).find(|&id| {
                [Side::Bid, Side::Ask].into_iter().any(|side| {
                    let (ours, right) = (market.book(id), reference.market.book(id));
                    !ours.levels(side).eq(right.levels(side))
                })
            });
            if let Some(id) = unequal {
                what = Some(format!("book {id} is live and wrong before message {next}"));
            }
        } else {
            what = Some(format!("live at {next}, which wasn't published yet"));
        }
        if let Some(what) = what {
            self.violate("I3", now, what);
        }
    }

    /// Whether the receiver has everything of this session.
    pub(super) fn is_at_end(&self, published: &Published) -> bool {
        self.reference
            .as_ref()
            .is_some_and(|reference| reference.session == published.session)
            && self.next >= published.store.next_sequence()
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }
}
