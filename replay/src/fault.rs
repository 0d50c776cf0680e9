//! Faults of one path, from a seed: a line, or a server's replies.
//!
//! [`Fault`] takes packets and gives packets: late, twice, in another order, changed, or not at all, as its
//! [`FaultPlan`] says.  It knows no protocol; what a packet carries is counted by a function that the caller
//! gives ([`moldudp64_messages`]).
//!
//! Each packet that comes in goes, in this order, through: dead times, bursts of loss, independent loss,
//! corruption, delay and clogs, reordering, duplication.
//!
//! What holds at all times, in packets and in messages (which a corrupted packet still counts as it
//! came): `handled + duplicated + replayed` = `passed` + `dead` + `burst_lost` + `lost` + `overflowed` +
//! what is [held](Fault::held).  `corrupted`, `reordered`, `delayed` and `clogged` say what befell those
//! that aren't lost.
//!
//! Memory is bounded by [`FAULT_PACKETS_MAX`] and [`FAULT_BYTES_MAX`]; what exceeds them is lost and
//! counted.

use std::collections::BTreeMap;

use crate::limits::{FAULT_BYTES_MAX, FAULT_PACKETS_MAX};
use crate::random::Random;

/// What goes wrong.  Chances are in parts of a million; times are those of the caller's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultPlan {
    /// A packet is lost, independently of all others.
    pub loss_ppm: u32,
    /// Packets are lost in a row.  The same bursts in the plans of several lines are simultaneous.
    pub bursts: Vec<Burst>,
    /// And again and again.
    pub repeated: Option<Repeated>,
    /// A packet comes twice, the second time at most [`duplicate_delay_ns_max`](Self::duplicate_delay_ns_max)
    /// later.
    pub duplicate_ppm: u32,
    /// See [`duplicate_ppm`](Self::duplicate_ppm).
    pub duplicate_delay_ns_max: u64,
    /// A packet comes again much later: uniformly up to [`replay_age_ns_max`](Self::replay_age_ns_max).
    pub replay_ppm: u32,
    /// See [`replay_ppm`](Self::replay_ppm).
    pub replay_age_ns_max: u64,
    /// A packet is late, so that others overtake it.
    pub reorder_ppm: u32,
    /// By how much.
    pub reorder: Reorder,
    /// Every packet is late by this.
    pub delay_ns: u64,
    /// And by up to so much more, none of them before the one that came before it.  No fault: it doesn't end.
    pub jitter_ns: u64,
    /// A packet's bytes change.
    pub corrupt_ppm: u32,
    /// How; `None` is any way.  UDP's checksum keeps most of what changes in between from a receiver, and
    /// no receiver could tell it from other data: so drawn plans only change lengths.
    pub corruption: Option<Corruption>,
    /// Nothing passes in these times.
    pub dead: Vec<Interval>,
    /// The path goes down and up again and again.
    pub flap: Option<Flap>,
    /// What comes in these times comes out at their end, all at once.
    pub clogs: Vec<Interval>,
    /// From here on there are no faults but delay and jitter.
    pub until_ns: u64,
}

/// A loss of packets in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// It begins with the first packet that comes from here on.
    pub at_ns: u64,
    /// How much is lost.
    pub length: BurstLength,
}

/// A burst that comes again and again; like [`Burst`], the same of several lines are simultaneous.
///
/// Packets without messages pass one that is counted in messages: it would never end when no messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated {
    /// From one to the next; the first begins after this time.
    pub every_ns: u64,
    /// How much each loses.
    pub length: BurstLength,
}

/// How much a burst loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BurstLength {
    /// So many packets.
    Packets(u64),
    /// Packets until so many messages are lost.
    Messages(u64),
}

impl BurstLength {
    fn count(self) -> u64 {
        match self {
            Self::Packets(count) | Self::Messages(count) => count,
        }
    }

    /// How much of it a packet with so many messages takes.
    fn taken_by(self, messages: u64) -> u64 {
        match self {
            Self::Packets(_) => 1,
            Self::Messages(_) => messages,
        }
    }
}

/// By how much a packet is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reorder {
    /// By a time, exponential with this mean, and at most ten times it.
    Delay {
        /// The mean.
        mean_ns: u64,
    },
    /// Until so many packets came after it, 1 to `packets_max`; but at most for `wait_ns_max`.
    Displacement {
        /// The most.
        packets_max: u32,
        /// Where no packets follow.
        wait_ns_max: u64,
    },
}

/// A time from `from_ns`, before `until_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Where it begins.
    pub from_ns: u64,
    /// Where it ends.
    pub until_ns: u64,
}

/// A path that goes down and up, beginning up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flap {
    /// Where it begins.
    pub from_ns: u64,
    /// How long it is up each time.
    pub up_ns: u64,
    /// How long it is down each time.
    pub down_ns: u64,
}

/// How bytes change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corruption {
    /// One bit is flipped.
    BitFlip,
    /// One to eight bytes in a row are other bytes.
    Bytes,
    /// The end is missing, perhaps all.
    Truncation,
    /// One to sixteen bytes follow.
    Extra,
}

impl FaultPlan {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self {
            loss_ppm: 0,
            bursts: Vec::new(),
            repeated: None,
            duplicate_ppm: 0,
            duplicate_delay_ns_max: 0,
            replay_ppm: 0,
            replay_age_ns_max: 0,
            reorder_ppm: 0,
            reorder: Reorder::Delay { mean_ns: 0 },
            delay_ns: 0,
            jitter_ns: 0,
            corrupt_ppm: 0,
            corruption: None,
            dead: Vec::new(),
            flap: None,
            clogs: Vec::new(),
            until_ns: u64::MAX,
        }
    }

    /// A plan as the simulation draws them: loss up to 30 %, duplicates up to 50 %, reordering, delay,
    /// corruption up to 1 %, dead and clogged times; faults end after [`DRAWN_FAULTS_NS`].
    ///
    /// Each kind is absent from half of the plans, and its chance is drawn so that each order of magnitude is as
    /// likely as another: small faults find other errors than large ones.
    #[must_use]
    pub fn draw(random: &mut Random) -> Self {
        let mut plan = Self {
            loss_ppm: draw_ppm(random, 300_000),
            duplicate_ppm: draw_ppm(random, 500_000),
            duplicate_delay_ns_max: random.below_u64(2 * MILLISECOND_NS),
            replay_ppm: draw_ppm(random, 2_000),
            replay_age_ns_max: random.below_u64(10 * SECOND_NS),
            reorder_ppm: draw_ppm(random, 200_000),
            corrupt_ppm: draw_ppm(random, 10_000),
            until_ns: DRAWN_FAULTS_NS,
            ..Self::none()
        };
        plan.corruption = Some(match random.one_in(2) {
            true => Corruption::Truncation,
            false => Corruption::Extra,
        });
        plan.reorder = match random.one_in(2) {
            true => Reorder::Delay {
                mean_ns: random.below_u64(2 * MILLISECOND_NS),
            },
            false => Reorder::Displacement {
                packets_max: 1 + random.below(64),
                wait_ns_max: 5 * MILLISECOND_NS,
            },
        };
        if random.one_in(4) {
            // 1 us to 1 s, each doubling alike.
            plan.delay_ns = 1_000 * u64::from(1 + random.log_uniform(1_000_000));
        }
        if random.one_in(4) {
            plan.dead.push(draw_interval(random, 10 * SECOND_NS));
        }
        if random.one_in(8) {
            plan.flap = Some(Flap {
                from_ns: random.below_u64(DRAWN_FAULTS_NS / 2),
                up_ns: 1 + random.below_u64(SECOND_NS),
                down_ns: 1 + random.below_u64(SECOND_NS),
            });
        }
        if random.one_in(4) {
            plan.clogs.push(draw_interval(random, 5 * SECOND_NS));
        }
        for _ in 0..random.geometric(1).min(4) {
            plan.bursts.push(Burst {
                at_ns: random.below_u64(DRAWN_FAULTS_NS),
                length: BurstLength::Messages(u64::from(1 + random.log_uniform(100_000))),
            });
        }
        plan
    }

    fn is_dead(&self, now: u64) -> bool {
        let flapped = self.flap.is_some_and(|flap| {
            let period = flap.up_ns.saturating_add(flap.down_ns).max(1);
            now.checked_sub(flap.from_ns)
                .is_some_and(|since| since % period >= flap.up_ns)
        });
        flapped || self.dead.iter().any(|interval| interval.contains(now))
    }

    /// When what comes now comes out of its clog.
    fn clogged_until(&self, now: u64) -> Option<u64> {
        self.clogs
            .iter()
            .filter(|interval| interval.contains(now))
            .map(|interval| interval.until_ns)
            .max()
    }
}

impl Interval {
    fn contains(&self, now: u64) -> bool {
        (self.from_ns..self.until_ns).contains(&now)
    }
}

/// Drawn plans have faults for 20 s of virtual time.
pub const DRAWN_FAULTS_NS: u64 = 20 * SECOND_NS;

const MILLISECOND_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// 0, or up to `max`, each doubling alike.
fn draw_ppm(random: &mut Random, max: u32) -> u32 {
    match random.one_in(2) {
        true => 0,
        false => 1 + random.log_uniform(max),
    }
}

fn draw_interval(random: &mut Random, length_max: u64) -> Interval {
    let from_ns = random.below_u64(DRAWN_FAULTS_NS);
    let until_ns = from_ns.saturating_add(random.below_u64(length_max));
    Interval {
        from_ns,
        until_ns: until_ns.min(DRAWN_FAULTS_NS),
    }
}

/// How many packets, and messages in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Messages.
    pub messages: u64,
}

impl Count {
    fn add(&mut self, messages: u64) {
        self.packets += 1;
        self.messages = self.messages.saturating_add(messages);
    }
}

/// What became of the packets so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultCounters {
    /// Came in.
    pub handled: Count,
    /// Went out, copies included.
    pub passed: Count,
    /// Lost by chance.
    pub lost: Count,
    /// Lost in a burst.
    pub burst_lost: Count,
    /// Lost because the path was dead.
    pub dead: Count,
    /// Lost because too much was held back already; copies included.
    pub overflowed: Count,
    /// Copies made to follow soon.
    pub duplicated: Count,
    /// Copies made to come again late.
    pub replayed: Count,
    /// Held back for others to overtake.
    pub reordered: Count,
    /// Held back by the constant delay.
    pub delayed: Count,
    /// Held back by a clog.
    pub clogged: Count,
    /// Changed.
    pub corrupted: Count,
}

/// What becomes of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It will come out, with what it carries unchanged.
    Passes,
    /// It will come out, changed.
    Corrupted,
    /// It is lost by chance.
    Lost,
    /// It is lost in a burst.
    BurstLost,
    /// It is lost because the path is dead.
    Dead,
    /// It is lost because too much is held back already.
    Overflowed,
}

/// The fault injector of one path.
#[derive(Debug)]
pub struct Fault {
    plan: FaultPlan,
    random: Random,
    messages_in: fn(&[u8]) -> u64,
    /// What is held, by when it is due and in which order it came.
    held: BTreeMap<(u64, u64), Packet>,
    held_bytes: usize,
    held_messages: u64,
    /// Those of `held` that come out when so many packets have come in.
    displaced: BTreeMap<(u64, u64), (u64, u64)>,
    /// How much is left of each burst.
    bursts_left: Vec<u64>,
    /// Which of the repeated bursts was the last, and how much is left of it.
    repeated_last: u64,
    repeated_left: u64,
    /// When the last packet would be due if nothing but delay and jitter befell it.
    last_due: u64,
    arrivals: u64,
    counters: FaultCounters,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Packet {
    bytes: Vec<u8>,
    messages: u64,
    /// Its place in `displaced`.
    displaced: Option<(u64, u64)>,
}

/// Buffers kept for use.
const SPARE_MAX: usize = 256;

impl Fault {
    /// An injector; `messages_in` says how many messages a packet carries.
    #[must_use]
    pub fn new(plan: FaultPlan, seed: u64, messages_in: fn(&[u8]) -> u64) -> Self {
        let bursts_left = plan
            .bursts
            .iter()
            .map(|burst| burst.length.count())
            .collect();
        Self {
            plan,
            random: Random::new(seed),
            messages_in,
            held: BTreeMap::new(),
            held_bytes: 0,
            held_messages: 0,
            displaced: BTreeMap::new(),
            bursts_left,
            repeated_last: 0,
            repeated_left: 0,
            last_due: 0,
            arrivals: 0,
            counters: FaultCounters::default(),
            spare: Vec::new(),
        }
    }

    /// Takes one packet, and says what becomes of it.
    pub fn handle_packet(&mut self, now: u64, packet: &[u8]) -> Fate {
        let fate = self.inject(now, packet);
        self.release_displaced(now);
        fate
    }

    fn inject(&mut self, now: u64, packet: &[u8]) -> Fate {
        let messages = (self.messages_in)(packet);
        self.counters.handled.add(messages);
        let faulty = now < self.plan.until_ns;
        if faulty && self.plan.is_dead(now) {
            self.counters.dead.add(messages);
            return Fate::Dead;
        }
        if faulty && self.in_burst(now, messages) {
            self.counters.burst_lost.add(messages);
            return Fate::BurstLost;
        }
        if faulty && self.random.chance_ppm(self.plan.loss_ppm) {
            self.counters.lost.add(messages);
            return Fate::Lost;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(packet);
        let corrupted = faulty && self.random.chance_ppm(self.plan.corrupt_ppm);
        if corrupted {
            let kind = self.plan.corruption;
            let kind = kind.unwrap_or_else(|| CORRUPTIONS[self.random.index(CORRUPTIONS.len())]);
            corrupt(&mut bytes, kind, &mut self.random);
        }
        let mut due = now.saturating_add(self.plan.delay_ns);
        if self.plan.jitter_ns > 0 {
            due = due.saturating_add(self.random.below_u64(self.plan.jitter_ns));
            due = due.max(self.last_due);
            self.last_due = due;
        }
        let clogged = faulty.then(|| self.plan.clogged_until(now)).flatten();
        due = due.max(clogged.unwrap_or(0));
        let reordered = faulty && self.random.chance_ppm(self.plan.reorder_ppm);
        let displacement = if reordered {
            self.reorder(&mut due)
        } else {
            None
        };
        let copies = if faulty { self.copies(due) } else { [None; 2] };
        for copy in copies.into_iter().flatten() {
            let (due, count) = match copy {
                Copied::Duplicate(due) => (due, &mut self.counters.duplicated),
                Copied::Replay(due) => (due, &mut self.counters.replayed),
            };
            count.add(messages);
            let mut again = self.spare.pop().unwrap_or_default();
            again.clear();
            again.extend_from_slice(&bytes);
            self.hold(due, again, messages, None);
        }
        if !self.hold(due, bytes, messages, displacement) {
            return Fate::Overflowed;
        }
        let counters = &mut self.counters;
        for (happened, count) in [
            (self.plan.delay_ns > 0, &mut counters.delayed),
            (clogged.is_some(), &mut counters.clogged),
            (reordered, &mut counters.reordered),
            (corrupted, &mut counters.corrupted),
        ] {
            if happened {
                count.add(messages);
            }
        }
        if corrupted {
            Fate::Corrupted
        } else {
            Fate::Passes
        }
    }

    /// Writes the next packet that is due into `packet`, in place of what it held.  `false`: none is.
    pub fn poll_transmit(&mut self, now: u64, packet: &mut Vec<u8>) -> bool {
        let Some(entry) = self.held.first_entry().filter(|entry| entry.key().0 <= now) else {
            return false;
        };
        let held = entry.remove();
        if let Some(place) = held.displaced {
            self.displaced.remove(&place);
        }
        self.held_bytes -= held.bytes.len();
        self.held_messages -= held.messages;
        self.counters.passed.add(held.messages);
        let old = core::mem::replace(packet, held.bytes);
        if self.spare.len() < SPARE_MAX {
            self.spare.push(old);
        }
        true
    }

    /// When [`Fault::poll_transmit`] will have a packet; `None` while nothing is held.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.held.first_key_value().map(|((due, _), _)| *due)
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &FaultCounters {
        &self.counters
    }

    /// What is held back.
    #[must_use]
    pub fn held(&self) -> Count {
        Count {
            packets: self.held.len() as u64,
            messages: self.held_messages,
        }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &FaultPlan {
        &self.plan
    }

    /// Whether a burst is on; it takes this packet then.
    fn in_burst(&mut self, now: u64, messages: u64) -> bool {
        let bursts = self.plan.bursts.iter().zip(&mut self.bursts_left);
        let on = bursts
            .filter(|(burst, left)| burst.at_ns <= now && **left > 0)
            .map(|(burst, left)| *left = left.saturating_sub(burst.length.taken_by(messages)));
        let planned = on.count() > 0;
        let Some(repeated) = self.plan.repeated else {
            return planned;
        };
        let number = now / repeated.every_ns.max(1);
        if number > self.repeated_last {
            self.repeated_last = number;
            self.repeated_left = repeated.length.count();
        }
        let taken = repeated.length.taken_by(messages);
        let on = self.repeated_left > 0 && taken > 0;
        self.repeated_left = self.repeated_left.saturating_sub(taken);
        planned || on
    }

    /// Puts a packet's time off, or gives the number of packets that are to pass before it.
    fn reorder(&mut self, due: &mut u64) -> Option<u64> {
        match self.plan.reorder {
            Reorder::Delay { mean_ns } => {
                let late = self.random.exponential(to_float(mean_ns));
                *due = due.saturating_add(late.min(mean_ns.saturating_mul(10)));
                None
            }
            Reorder::Displacement {
                packets_max,
                wait_ns_max,
            } => {
                *due = due.saturating_add(wait_ns_max);
                let packets = 1 + self.random.below(packets_max.max(1));
                Some(self.counters.handled.packets + u64::from(packets))
            }
        }
    }

    /// When copies of a packet are due.
    fn copies(&mut self, due: u64) -> [Option<Copied>; 2] {
        let plan = &self.plan;
        let duplicate = self.random.chance_ppm(plan.duplicate_ppm).then(|| {
            let later = self.random.below_u64(plan.duplicate_delay_ns_max);
            Copied::Duplicate(due.saturating_add(later))
        });
        let replay = self.random.chance_ppm(plan.replay_ppm).then(|| {
            let later = self.random.below_u64(plan.replay_age_ns_max);
            Copied::Replay(due.saturating_add(later))
        });
        [duplicate, replay]
    }

    /// Holds a packet until it is due, if there is room.
    fn hold(&mut self, due: u64, bytes: Vec<u8>, messages: u64, displacement: Option<u64>) -> bool {
        let full = self.held.len() >= FAULT_PACKETS_MAX
            || self.held_bytes.saturating_add(bytes.len()) > FAULT_BYTES_MAX;
        if full {
            self.counters.overflowed.add(messages);
            return false;
        }
        let arrival = self.arrivals;
        self.arrivals += 1;
        let displaced = displacement.map(|handled| (handled, arrival));
        if let Some(place) = displaced {
            self.displaced.insert(place, (due, arrival));
        }
        self.held_bytes += bytes.len();
        self.held_messages += messages;
        self.held.insert(
            (due, arrival),
            Packet {
                bytes,
                messages,
                displaced,
            },
        );
        true
    }

    /// Those after which enough packets came follow the last of these.
    fn release_displaced(&mut self, now: u64) {
        let due = now.saturating_add(self.plan.delay_ns);
        while let Some(entry) = self.displaced.first_entry() {
            if entry.key().0 > self.counters.handled.packets {
                return;
            }
            let key = entry.remove();
            if let Some(mut packet) = self.held.remove(&key) {
                packet.displaced = None;
                self.held.insert((due.min(key.0), self.arrivals), packet);
                self.arrivals += 1;
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Copied {
    Duplicate(u64),
    Replay(u64),
}

const CORRUPTIONS: [Corruption; 4] = [
    Corruption::BitFlip,
    Corruption::Bytes,
    Corruption::Truncation,
    Corruption::Extra,
];

/// Changes a packet's bytes.  An empty one can only get longer.
pub fn corrupt(bytes: &mut Vec<u8>, kind: Corruption, random: &mut Random) {
    let length = bytes.len();
    match kind {
        Corruption::BitFlip => {
            if let Some(byte) = bytes.get_mut(random.index(length)) {
                *byte ^= 1 << random.below(8);
            }
        }
        Corruption::Bytes => {
            let from = random.index(length);
            for byte in bytes
                .iter_mut()
                .skip(from)
                .take(random.between(1, 8) as usize)
            {
                *byte ^= random_byte(random).max(1);
            }
        }
        Corruption::Truncation => bytes.truncate(random.index(length)),
        Corruption::Extra => {
            for _ in 0..random.between(1, 16) {
                let byte = random_byte(random);
                bytes.push(byte);
            }
        }
    }
}

fn random_byte(random: &mut Random) -> u8 {
    u8::try_from(random.below(256)).unwrap_or(0)
}

/// The messages of a MoldUDP64 downstream packet, by its header; 0 for what is none, or carries none.
#[must_use]
pub fn moldudp64_messages(packet: &[u8]) -> u64 {
    tickcast_codecs::moldudp64::DownstreamPacket::parse(packet)
        .map_or(0, |packet| u64::from(packet.count()))
}

/// Delays are seconds: exact as a double.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn to_float(ns: u64) -> f64 {
    ns as f64
}
