//! The run: an event loop over machines, on a virtual clock.

use std::collections::BTreeSet;

use tickcast_book::link::{self, Publisher, WhenFull};
use tickcast_codecs::SessionId;
use tickcast_codecs::moldudp64::DownstreamPacket;
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::types::Text;
use tickcast_feed::arbiter::{Phase, canary};
use tickcast_feed::limits::ROLL_CONFIRM_NS;
use tickcast_feed::line::LineState;
use tickcast_feed::snapshot::LoaderConfig;
use tickcast_feed::{Shard, ShardConfig, Share, Source};

use super::audience::Audience;
use super::checker::{Checker, Delivered, Published, Violation};
use super::network::{Asked, Load, honest};
use super::scenario::Scenario;
use crate::exchange::compare::first_difference;
use crate::exchange::{Lines, Market, MarketConfig, Snapshot};
use crate::fault::{Fate, Fault, FaultCounters, moldudp64_messages};

/// A second: the longest until a heartbeat.
const SECOND_NS: u64 = 1_000_000_000;

/// Slots of the ring to the hub: few, so that it is full now and then.
const RING_SLOTS: usize = 4_096;

/// Bytes of one session that can be asked for again: all of it.
const STORE_BYTES: usize = 64 << 20;

/// How long the end of the session is watched.
const AFTER_END_NS: u64 = 4_000_000_000;

/// The arbiter's own check looks at each known number: it is made where they are few.
const CHECKED_MESSAGES_MAX: u64 = 64;

/// Events at one moment; more is an endless loop.
const TURNS_MAX: u64 = 5_000_000;

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The scenario's.
    pub seed: u64,
    /// Of all that was delivered, told and transmitted, in order.
    pub hash: u64,
    /// The first invariant that didn't hold.
    pub violation: Option<Violation>,
    /// What happened at least once.
    pub seen: BTreeSet<&'static str>,
    /// Messages published.
    pub published: u64,
    /// Messages delivered to the books.
    pub delivered: u64,
    /// Comparisons of all books.
    pub compared: u64,
    /// The receiver's report at the end.
    pub report: tickcast_book::Report,
    /// From the end of the faults until the books were live and right for good, in nanoseconds.
    pub repaired_after_ns: u64,
    /// How often the books became stale.
    pub stales: u64,
    /// The longest time for which they were, in nanoseconds.
    pub stale_ns_max: u64,
    /// The longest time from a message's publication to its delivery, in nanoseconds.
    pub latency_ns_max: u64,
    /// What befell the packets of each line.
    pub paths: Vec<FaultCounters>,
    /// Messages that every line lost, by the network's own count.
    pub lost_on_all: u64,
}

/// Runs a scenario.
#[must_use]
pub fn run(scenario: &Scenario) -> Outcome {
    run_with_canary::<{ canary::NONE }>(scenario)
}

/// Runs a scenario with an error in the receiver.
#[must_use]
pub fn run_with_canary<const CANARY: u8>(scenario: &Scenario) -> Outcome {
    let mut world = World::<CANARY>::new(scenario);
    for _ in 0..TURNS_MAX {
        if !world.turn() || world.checker.violation.is_some() {
            return world.finish();
        }
    }
    let now = world.now;
    let arbiter = world.shard.channel().arbiter();
    let what = format!(
        "time doesn't pass: due {:?}, {}, {:?}",
        world.dues(),
        arbiter.phase().name(),
        arbiter.gaps().ranges()
    );
    world.checker.violate("I8", now, what);
    world.finish()
}

/// The exchange: its market, and what it published.
struct Exchange {
    market: Market,
    started: u64,
    /// The next message, which is in the store already, and when it is due.
    pending: Vec<u8>,
    due: Option<u64>,
    lines: Lines,
    published: Vec<Published>,
    ended: bool,
}

impl Exchange {
    fn new(config: MarketConfig, lines: Lines, now: u64) -> Self {
        let session = lines.session();
        let mut exchange = Self {
            market: Market::new(config),
            started: now,
            pending: Vec::new(),
            due: None,
            lines,
            published: vec![Published::new(session, STORE_BYTES)],
            ended: false,
        };
        exchange.prepare();
        exchange
    }

    /// The next message: the market has moved on by it, so that it is in every snapshot from here on.
    fn prepare(&mut self) {
        self.pending.clear();
        let step = self.market.next(&mut self.pending);
        self.due = (!self.pending.is_empty()).then(|| self.started + step.offset_ns);
        if let (Some(due), Some(published)) = (self.due, self.published.last_mut()) {
            published.store.push(&self.pending);
            published.times.push(due);
        }
    }

    fn publish_due(&mut self, now: u64) {
        while !self.ended && self.due.is_some_and(|due| due <= now) {
            // Every ITCH message fits the smallest packet that a scenario has.
            let _ = self.lines.handle_message(now, &self.pending);
            self.prepare();
        }
    }

    fn roll(&mut self, now: u64, session: SessionId, told: bool, config: MarketConfig) {
        self.published.push(Published::new(session, STORE_BYTES));
        self.lines.handle_roll(now, session, told);
        self.market = Market::new(config);
        self.started = now;
        self.prepare();
    }

    fn snapshot(&self) -> Snapshot {
        let sequence = self
            .published
            .last()
            .map_or(1, |published| published.store.next_sequence());
        Snapshot::new(sequence, |each| self.market.snapshot(each))
    }
}

/// A message that is on its way on several lines.
#[derive(Debug, Default)]
struct LossCount {
    /// Of each number of the session, on how many lines it was lost.
    lost: Vec<u8>,
    lost_on_all: u64,
}

struct World<'a, const CANARY: u8> {
    scenario: &'a Scenario,
    now: u64,
    exchange: Exchange,
    paths: Vec<Fault>,
    asked: Vec<Asked>,
    load: Option<Load>,
    load_config: LoaderConfig,
    loads: usize,
    shard: Shard<Publisher, Delivered, CANARY>,
    audience: Audience,
    checker: Checker,
    rolls: usize,
    faults_ended: bool,
    end_told: bool,
    repaired_at: Option<u64>,
    losses: LossCount,
    packet: Vec<u8>,
}

impl<'a, const CANARY: u8> World<'a, CANARY> {
    fn new(scenario: &'a Scenario) -> Self {
        let configs: Vec<_> = scenario.lines.iter().map(|line| line.config).collect();
        let lines = Lines::new(&configs, 0);
        let session = lines.session();
        let seed = |n: u64| scenario.seed.wrapping_mul(1_000).wrapping_add(n);
        let paths = (0..)
            .zip(&scenario.lines)
            .map(|(n, line)| Fault::new(line.plan.clone(), seed(n), moldudp64_messages))
            .collect();
        let asked = (0..)
            .zip(&scenario.request_servers)
            .map(|(n, setup)| Asked::new(setup.clone(), session, seed(100 + n * 10)))
            .collect();
        let mut config = ShardConfig::new(Protocol::MoldUdp64Itch50, 0, "XNAS");
        config.arbiter = scenario.arbiter;
        config.arbiter.lines = u8::try_from(scenario.lines.len()).unwrap_or(u8::MAX);
        config.recovery = scenario.recovery;
        let count = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        config.recovery.request_servers = count(scenario.request_servers.len());
        config.recovery.snapshot_servers = count(scenario.snapshot_servers.len());
        let (publisher, subscription) = link::link(RING_SLOTS, WhenFull::Overrun);
        let join = scenario.join_ns;
        Self {
            now: 0,
            exchange: Exchange::new(scenario.market, lines, 0),
            paths,
            asked,
            load: None,
            load_config: LoaderConfig {
                protocol: config.protocol,
                number: config.number,
                venue: config.venue,
                share: Share::WHOLE,
                username: Text::from_padded(b"TICK"),
                password: Text::from_padded(b"CAST"),
                same_session: true,
            },
            loads: 0,
            shard: Shard::with_canary(&config, publisher, Delivered::default(), join),
            audience: Audience::new(subscription, scenario.subscribers, seed(200)),
            checker: Checker::new(),
            rolls: 0,
            faults_ended: scenario.faults_until_ns == 0,
            end_told: false,
            repaired_at: None,
            losses: LossCount::default(),
            packet: Vec::new(),
            scenario,
        }
    }

    /// The next moment at which something is due.
    fn due(&self) -> u64 {
        self.dues().into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// When each part has something to do.
    fn dues(&self) -> [Option<u64>; 12] {
        let scenario = self.scenario;
        let joined = self.now >= scenario.join_ns;
        [
            (!self.exchange.ended).then_some(scenario.end_ns),
            (!self.faults_ended).then_some(scenario.faults_until_ns),
            scenario.rolls.get(self.rolls).map(|roll| roll.at_ns),
            (!joined).then_some(scenario.join_ns),
            Some(scenario.end_ns + AFTER_END_NS),
            (!self.exchange.ended)
                .then_some(self.exchange.due)
                .flatten(),
            self.exchange.lines.poll_timeout(),
            self.load.as_ref().and_then(Load::poll_timeout),
            joined.then(|| self.shard.poll_timeout()).flatten(),
            Some(self.audience.poll_timeout()),
            self.paths.iter().filter_map(Fault::poll_timeout).min(),
            self.asked.iter().filter_map(Asked::poll_timeout).min(),
        ]
    }

    /// Goes to the next moment and does what is due; false at the end.
    fn turn(&mut self) -> bool {
        self.now = self.due().max(self.now + 1);
        if self.now > self.scenario.end_ns + AFTER_END_NS {
            return false;
        }
        self.follow_plan();
        self.exchange.publish_due(self.now);
        self.transmit();
        self.receive();
        if self.now >= self.scenario.join_ns {
            self.recover();
            self.shard.handle_timeout(self.now);
            self.shard.handle_requests();
            self.check();
        }
        self.audience
            .turn(self.now, !self.faults_ended, &mut self.checker);
        true
    }

    fn follow_plan(&mut self) {
        let now = self.now;
        if let Some(roll) = self.scenario.rolls.get(self.rolls)
            && roll.at_ns <= now
            && !self.exchange.ended
        {
            self.rolls += 1;
            let session = format!("SESSION{:03}", self.rolls);
            let session = SessionId::from_padded(session.as_bytes());
            let config = MarketConfig {
                seed: self.scenario.market.seed.wrapping_add(self.rolls as u64),
                ..self.scenario.market
            };
            if self.shard.channel().arbiter().phase() == Phase::Loading {
                self.checker
                    .seen
                    .insert("a session rolled while a snapshot was loaded");
            }
            self.exchange.roll(now, session, roll.told, config);
            self.losses.lost.clear();
            for server in &mut self.asked {
                server.renew(session, self.faults_ended);
            }
            self.crash_load();
        }
        if !self.faults_ended && now >= self.scenario.faults_until_ns {
            self.faults_ended = true;
            let session = self.exchange.lines.session();
            for server in &mut self.asked {
                server.renew(session, true);
            }
            // Servers that misbehaved are started anew.
            self.crash_load();
        }
        if !self.exchange.ended && now >= self.scenario.end_ns {
            self.exchange.ended = true;
            // What the market was about to say isn't said any more.
            if self.exchange.due.take().is_some() {
                let _ = self
                    .exchange
                    .lines
                    .handle_message(now, &self.exchange.pending);
            }
            self.exchange.lines.handle_end(now);
        }
    }

    fn crash_load(&mut self) {
        if let Some(load) = &mut self.load {
            load.handle_crash(self.now);
        }
    }

    /// Packets of the lines, into the network.
    fn transmit(&mut self) {
        while let Some(line) = self
            .exchange
            .lines
            .poll_transmit(self.now, &mut self.packet)
        {
            let fate = self.paths[usize::from(line)].handle_packet(self.now, &self.packet);
            if fate != Fate::Passes && self.now >= self.scenario.join_ns {
                self.count_loss();
            }
        }
    }

    /// Messages that were lost, of the present session.
    fn count_loss(&mut self) {
        let Ok(packet) = DownstreamPacket::parse(&self.packet) else {
            return;
        };
        if packet.session() != self.exchange.lines.session() {
            return;
        }
        for sequence in packet.sequence()..packet.next_sequence() {
            let at = usize::try_from(sequence).unwrap_or(usize::MAX);
            if self.losses.lost.len() <= at {
                self.losses.lost.resize(at + 1, 0);
            }
            self.losses.lost[at] += 1;
            if usize::from(self.losses.lost[at]) == self.paths.len() {
                self.losses.lost_on_all += 1;
            }
        }
    }

    /// Packets of the network, to the receiver.
    fn receive(&mut self) {
        for line in 0..self.paths.len() {
            let source = u8::try_from(line).unwrap_or(u8::MAX);
            let mut packet = core::mem::take(&mut self.packet);
            while self.paths[line].poll_transmit(self.now, &mut packet) {
                if self.now >= self.scenario.join_ns {
                    self.deliver(Source::Line(source), &packet);
                }
            }
            self.packet = packet;
        }
    }

    /// I2: each message of an accepted packet, or each refused packet, moves exactly one counter.
    fn deliver(&mut self, source: Source, packet: &[u8]) {
        let counted = |shard: &Shard<Publisher, Delivered, CANARY>| {
            let arbiter = shard.channel().arbiter();
            let line = match source {
                Source::Line(line) => &arbiter.lines()[usize::from(line)],
                Source::Server(_) => arbiter.replies(),
            };
            let counters = line.counters();
            let refused = counters.messages_old_session
                + counters.messages_foreign
                + counters.messages_unconfirmed;
            let counted = (counters.packets, counters.messages(), counters.rejected());
            (counted, refused)
        };
        let (before, refused) = counted(&self.shard);
        let messages = moldudp64_messages(packet);
        let taken = self.shard.handle_packet(self.now, source, packet, self.now);
        let (after, refused_then) = counted(&self.shard);
        let expected = match taken {
            Ok(()) => (before.0 + 1, before.1 + messages, before.2),
            Err(_) => (before.0 + 1, before.1, before.2 + 1),
        };
        if after != expected {
            let what = format!("{source:?}: counted {after:?}, expected {expected:?}");
            self.checker.violate("I2", self.now, what);
        }
        let arbiter = self.shard.channel().arbiter();
        if let (Source::Line(_), Ok(packet)) = (source, DownstreamPacket::parse(packet))
            && refused_then == refused
            && packet.count() > 0
            && taken.is_ok()
            && arbiter.known_end() < packet.next_sequence()
        {
            let what = format!("what came before {} is forgotten", packet.next_sequence());
            self.checker.violate("I2", self.now, what);
        }
        if arbiter.known_end() - arbiter.next_sequence() <= CHECKED_MESSAGES_MAX
            && let Err(what) = arbiter.check()
        {
            self.checker.violate("I1", self.now, what);
        }
        self.check_delivered();
    }

    /// Requests out, answers in, snapshots loaded.
    fn recover(&mut self) {
        let now = self.now;
        let mut packet = core::mem::take(&mut self.packet);
        while let Some(server) = self.shard.poll_request(now, &mut packet) {
            self.checker.hash_bytes(&packet);
            if let Some(asked) = self.asked.get_mut(usize::from(server)) {
                asked.handle_request(now, &packet);
            }
        }
        for at in 0..self.asked.len() {
            let source = Source::Server(u8::try_from(at).unwrap_or(u8::MAX));
            loop {
                let store = &self.exchange.published.last();
                let Some(published) = store else { break };
                if !self.asked[at].poll_reply(now, &published.store, &mut packet) {
                    break;
                }
                self.deliver(source, &packet);
            }
        }
        self.packet = packet;
        if let Some(request) = self.shard.poll_load() {
            let servers = &self.scenario.snapshot_servers;
            let mut setup = servers[self.loads % servers.len()];
            self.loads += 1;
            if self.faults_ended {
                setup = honest(setup);
            }
            let session = self.exchange.lines.session();
            self.load = Some(Load::new(setup, &self.load_config, session, request, now));
        }
        let exchange = &self.exchange;
        let Some(load) = &mut self.load else { return };
        let Some(outcome) = load.poll(now, &mut || exchange.snapshot()) else {
            return;
        };
        let id = load.id();
        self.load = None;
        match outcome {
            Ok(loaded) => drop(self.shard.handle_loaded(now, loaded)),
            Err(error) => {
                self.checker.seen.insert(match error {
                    tickcast_feed::snapshot::LoadError::Closed => "a snapshot server died",
                    tickcast_feed::snapshot::LoadError::TimedOut => "a snapshot timed out",
                    tickcast_feed::snapshot::LoadError::Rejected => "a login was rejected",
                    tickcast_feed::snapshot::LoadError::TooOld => "a snapshot was too old",
                    tickcast_feed::snapshot::LoadError::OtherSession => {
                        "a snapshot was of another session"
                    }
                    _ => "a snapshot was malformed",
                });
                self.shard.handle_load_failed(now, id);
            }
        }
        self.check_delivered();
    }

    fn check_delivered(&mut self) {
        let instruments = self.exchange.market.instruments();
        let mut delivered = core::mem::take(self.shard.observer_mut());
        let market = self.shard.market();
        self.checker.handle(
            self.now,
            &mut delivered,
            &self.exchange.published,
            market,
            instruments,
        );
        *self.shard.observer_mut() = delivered;
    }

    /// What has to hold at any moment.
    fn check(&mut self) {
        self.check_delivered();
        let now = self.now;
        let arbiter = self.shard.channel().arbiter();
        let phase = arbiter.phase();
        let stale = self.shard.market().state(0) == tickcast_book::BookState::Stale;
        match phase {
            Phase::GapFill => self.checker.seen.insert("a gap was declared"),
            Phase::Loading => self.checker.seen.insert("a snapshot was loaded"),
            Phase::Lost => self.checker.seen.insert("messages were lost"),
            Phase::Idle | Phase::Synchronized => false,
        };
        let troubled = matches!(phase, Phase::GapFill | Phase::Loading | Phase::Lost);
        if troubled && !stale {
            let what = format!(
                "the books are live while the channel is in {}",
                phase.name()
            );
            self.checker.violate("I3", now, what);
        }
        for line in arbiter.lines() {
            match line.state() {
                LineState::Up => {}
                LineState::Silent => _ = self.checker.seen.insert("a line was silent"),
                LineState::Down => _ = self.checker.seen.insert("a line was down"),
            }
        }
        let live_and_complete = !stale && !troubled && phase != Phase::Idle;
        if !live_and_complete {
            self.repaired_at = None;
        } else if self.faults_ended {
            self.repaired_at.get_or_insert(now);
        }
        let slowest = self
            .scenario
            .lines
            .iter()
            .map(|line| line.plan.delay_ns)
            .max();
        // A session whose beginning nobody heard is believed late, and only then can anything be repaired.
        let believed = self.checker.session_started.min(
            self.scenario
                .faults_until_ns
                .saturating_add(ROLL_CONFIRM_NS)
                .saturating_add(SECOND_NS),
        );
        let limit = self
            .scenario
            .faults_until_ns
            .max(self.scenario.join_ns)
            .max(believed)
            .saturating_add(super::REPAIR_NS_MAX)
            .saturating_add(slowest.unwrap_or(0));
        if now > limit && !live_and_complete && !arbiter.is_ended() {
            let what = format!(
                "{} s after the last fault the channel is in {}{}",
                super::REPAIR_NS_MAX / 1_000_000_000,
                phase.name(),
                if stale { ", stale" } else { "" }
            );
            self.checker.violate("I4", now, what);
        }
        if arbiter.is_ended() && !self.end_told {
            self.end_told = true;
            self.checker.seen.insert("the end of a session was told");
        }
    }

    fn finish(mut self) -> Outcome {
        let now = self.now;
        let mut report = tickcast_book::Report::default();
        self.shard.report(&mut report);
        if self.checker.violation.is_none() {
            self.check_end(now);
        }
        for reading in &report.readings {
            if reading.value > 0 {
                self.checker.seen.insert(reading.name);
            }
            self.checker.hash(reading.value);
        }
        let published = self
            .exchange
            .published
            .iter()
            .map(|published| published.store.next_sequence() - 1)
            .sum();
        Outcome {
            seed: self.scenario.seed,
            hash: self.checker.finish(),
            published,
            delivered: self.checker.delivered,
            compared: self.checker.compared,
            report,
            repaired_after_ns: self.repaired_at.map_or(u64::MAX, |at| {
                at.saturating_sub(self.scenario.faults_until_ns)
            }),
            stales: self.checker.stales,
            stale_ns_max: self.checker.stale_ns_max(now),
            latency_ns_max: self.checker.latency_ns_max,
            paths: self.paths.iter().map(|path| *path.counters()).collect(),
            lost_on_all: self.losses.lost_on_all,
            violation: self.checker.violation,
            seen: self.checker.seen,
        }
    }

    /// What has to hold at the end.
    fn check_end(&mut self, now: u64) {
        let arbiter = self.shard.channel().arbiter();
        let Some(published) = self.exchange.published.last() else {
            return;
        };
        if !self.checker.is_at_end(published) {
            let what = format!(
                "message {} is next, {} were published",
                self.checker.next(),
                published.store.next_sequence() - 1
            );
            self.checker.violate("I4", now, what);
        }
        if !self.shard.is_live() || self.shard.market().state(0) != tickcast_book::BookState::Live {
            let what = format!("at the end the channel is in {}", arbiter.phase().name());
            self.checker.violate("I4", now, what);
        }
        let faults = self.shard.market().counters().faulty_now;
        if faults > 0 {
            let what = format!("{faults} books have faults of their own");
            self.checker.violate("I3", now, what);
        }
        let counters = *arbiter.counters();
        if self.scenario.is_clean
            && (counters.gaps_declared > 0 || arbiter.recovery().counters().requests_sent > 0)
        {
            let what = format!(
                "nothing was lost, and {} gaps declared",
                counters.gaps_declared
            );
            self.checker.violate("I1", now, what);
        }
        if self.scenario.is_only_lossy && counters.messages_missing > self.losses.lost_on_all {
            let what = format!(
                "{} messages were missing, all lines lost {}",
                counters.messages_missing, self.losses.lost_on_all
            );
            self.checker.violate("I1", now, what);
        }
        let instruments = self.exchange.market.instruments();
        let market = self.shard.market();
        self.checker
            .compare(now, &self.exchange.published, market, instruments);
        if let Some(difference) = first_difference(&self.exchange.market, market, |_| true) {
            self.checker.violate("I3", now, difference.to_string());
        }
        self.audience
            .compare(now, market, instruments, &mut self.checker);
    }
}
