//! Any bytes as what can happen to a channel, and a naive model of what has to come of it.
//!
//! The model keeps every copy in a map and knows nothing of timers, limits and servers: what is received and
//! comes next is delivered, unless a snapshot is waited for; what is passed over was declared; what is live is
//! whole.  At the end everybody behaves, and the channel has to be live again.
#![allow(
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a target fails by panicking; what is cut was divided first"
)]

use std::collections::{BTreeMap, VecDeque};

use tickcast_codecs::SessionId;
use tickcast_codecs::event::{Event, Header, Origin, Sink};
use tickcast_codecs::moldudp64::{self, PacketBuilder};
use tickcast_codecs::protocol::Protocol;
use tickcast_feed::arbiter::Phase;
use tickcast_feed::channel::ChannelSink;
use tickcast_feed::limits::UNCONFIRMED_JUMP_MESSAGES_MAX;
use tickcast_feed::session::{Missing, Start};
use tickcast_feed::snapshot::LoadRequest;
use tickcast_feed::{ArbiterConfig, Channel, RecoveryConfig, Source};

/// Things that happen in one run: fewer than holes that a channel can have.
const OPERATIONS_MAX: usize = 240;

/// After so long of good behaviour everything has to be repaired.
const REPAIR_NS: u64 = 15_000_000_000;

const MS: u64 = 1_000_000;

/// Takes bytes one by one; 0 when there are no more.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u64 {
        let Some((&byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        u64::from(byte)
    }
}

/// What the channel told.
enum Told {
    Start(SessionId),
    Message(u64, Vec<u8>),
    Skip(Missing),
    Trust(bool),
}

#[derive(Default)]
struct Recorder(Vec<Told>);

impl Sink for Recorder {
    fn event(&mut self, _: &Header, _: &Event) {}
}

impl ChannelSink for Recorder {
    fn start(&mut self, _: Start, session: SessionId) {
        self.0.push(Told::Start(session));
    }

    fn message(&mut self, message: &[u8], origin: Origin) {
        self.0
            .push(Told::Message(origin.sequence, message.to_vec()));
    }

    fn skip(&mut self, missing: Missing) {
        self.0.push(Told::Skip(missing));
    }

    fn trust(&mut self, live: bool) {
        self.0.push(Told::Trust(live));
    }
}

/// A message of a session, as ITCH's order delete; copies of different `version` differ.
fn message(session: u8, number: u64, version: u8) -> Vec<u8> {
    let mut message = vec![0; 19];
    message[0] = b'D';
    message[2] = 1;
    message[3] = session;
    message[10] = version;
    message[11..].copy_from_slice(&number.to_be_bytes());
    message
}

fn session_id(session: u8) -> SessionId {
    SessionId::from_padded(format!("S{session}").as_bytes())
}

/// What is in a packet.
struct Sent {
    session: u8,
    first: u64,
    messages: Vec<Vec<u8>>,
    end_of_session: bool,
}

impl Sent {
    fn new(session: u8, first: u64, count: u64) -> Self {
        Self {
            session,
            first,
            messages: (first..first + count)
                .map(|number| message(session, number, 0))
                .collect(),
            end_of_session: false,
        }
    }

    fn end(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    fn encode(&self) -> Vec<u8> {
        let mut packet = Vec::new();
        let session = session_id(self.session);
        if self.end_of_session {
            moldudp64::encode_end_of_session(&mut packet, session, self.first);
            return packet;
        }
        let mut builder = PacketBuilder::new(&mut packet, session, self.first, 65_000);
        for message in &self.messages {
            builder.push(message).expect("it is short");
        }
        packet
    }
}

/// What the channel should know and have delivered of its session.
struct Model {
    session: Option<SessionId>,
    next: u64,
    known_end: u64,
    /// Received and not delivered.
    waiting: BTreeMap<u64, Vec<u8>>,
    delivered: BTreeMap<u64, Vec<u8>>,
    /// What was told last.
    told_live: Option<bool>,
    /// Something was passed over that no snapshot contains.
    holed: bool,
    /// Lines differ about something delivered since the last snapshot.
    doubted: bool,
    settled: u64,
    /// Whether there is more than one source: otherwise copies aren't compared.
    copies: bool,
    /// Messages in accepted packets, of each line, then in answers.
    sent: Vec<u64>,
}

impl Model {
    fn is_live(&self) -> bool {
        self.told_live == Some(true)
    }

    fn begin(&mut self, session: SessionId) {
        self.session = Some(session);
        self.next = 1;
        self.known_end = 1;
        self.waiting.clear();
        self.delivered.clear();
        self.holed = false;
        self.doubted = false;
        self.settled = 0;
    }

    /// A packet of the session that is believed.
    fn take(&mut self, sent: &Sent, answer: bool) {
        let known_end = self.known_end;
        if !answer {
            self.known_end = known_end.max(sent.end());
        }
        for (number, message) in (sent.first..).zip(&sent.messages) {
            if number < self.next {
                let differs = self
                    .delivered
                    .get(&number)
                    .is_some_and(|was| was != message);
                self.doubted |= self.copies && differs && !answer && number >= self.settled;
                continue;
            }
            if answer && (number >= known_end || self.waiting.contains_key(&number)) {
                continue;
            }
            match self.waiting.get(&number) {
                Some(held) if held != message => drop(self.waiting.remove(&number)),
                Some(_) => {}
                None => drop(self.waiting.insert(number, message.clone())),
            }
        }
    }

    fn handle(&mut self, told: Vec<Told>, loaded: bool) {
        for told in told {
            match told {
                Told::Start(session) => {
                    assert_eq!(None, Some(session), "it starts before anything else of it");
                }
                Told::Message(number, message) => {
                    assert_eq!(number, self.next, "in order and once");
                    let received = self.waiting.remove(&number);
                    assert_eq!(received.as_ref(), Some(&message), "as it was received");
                    self.delivered.insert(number, message);
                    self.next += 1;
                }
                Told::Skip(missing) => {
                    assert_eq!(missing.first, self.next);
                    assert!(missing.last >= missing.first);
                    self.next = missing.last + 1;
                    self.waiting = self.waiting.split_off(&self.next);
                    self.holed |= !loaded;
                }
                Told::Trust(live) => {
                    assert_ne!(Some(live), self.told_live, "told when it changes");
                    self.told_live = Some(live);
                }
            }
        }
    }
}

struct Run {
    channel: Channel,
    told: Recorder,
    model: Model,
    now: u64,
    lines: u8,
    snapshot_servers: u8,
    session: u8,
    /// The number of the next message that the exchange publishes.
    head: u64,
    jumps: u64,
    requests: VecDeque<(u64, u64)>,
    load: Option<LoadRequest>,
}

/// Runs a channel as the bytes say.
///
/// # Panics
///
/// If something doesn't hold.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let mut run = Run::new(input.byte());
    for _ in 0..OPERATIONS_MAX {
        if input.0.is_empty() {
            break;
        }
        run.operate(&mut input);
        run.check();
    }
    run.repair();
}

impl Run {
    fn new(setup: u64) -> Self {
        let lines = 1 + (setup % 3) as u8;
        let recovery = RecoveryConfig {
            request_servers: (setup / 3 % 3) as u8,
            snapshot_servers: (setup / 9 % 2) as u8,
            ..RecoveryConfig::default()
        };
        let arbiter = ArbiterConfig {
            lines,
            ..ArbiterConfig::default()
        };
        Self {
            channel: Channel::new(Protocol::MoldUdp64Itch50, 0, arbiter, recovery, 0),
            told: Recorder::default(),
            model: Model {
                session: None,
                next: 1,
                known_end: 1,
                waiting: BTreeMap::new(),
                delivered: BTreeMap::new(),
                told_live: None,
                holed: false,
                doubted: false,
                settled: 0,
                copies: lines > 1 || recovery.request_servers > 0,
                sent: vec![0; usize::from(lines) + 1],
            },
            now: 0,
            lines,
            snapshot_servers: recovery.snapshot_servers,
            session: 0,
            head: 1,
            jumps: 0,
            requests: VecDeque::new(),
            load: None,
        }
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let operation = input.byte() % 16;
        let (a, b) = (input.byte(), input.byte());
        let line = (a % u64::from(self.lines)) as u8;
        // What was published lately, often what is next, sometimes with something left out.
        let back = (b % 64).saturating_sub(24);
        let left_out = if b >= 224 { b % 8 } else { 0 };
        let first = self.head.saturating_sub(back).max(1) + left_out;
        match operation {
            0..=5 => self.line(line, &Sent::new(self.session, first, a / 3 % 16)),
            6 => self.line(line, &Sent::new(self.session, first, 0)),
            7 => {
                let mut sent = Sent::new(self.session, first, 0);
                sent.end_of_session = true;
                self.line(line, &sent);
            }
            8 => self.pass(a * MS / 50),
            9 => self.pass(a * 20 * MS),
            10 => {
                self.session = self.session.wrapping_add(1);
                self.head = 1;
                self.line(line, &Sent::new(self.session, 1 + b % 3, 1 + a / 3 % 4));
            }
            11 => {
                let session = self.session.wrapping_sub(1 + (b % 2) as u8);
                self.foreign(line, &Sent::new(session, 1 + b, a / 3 % 4));
            }
            12 => {
                self.jumps += 1;
                let far = self.jumps << 40;
                self.foreign(line, &Sent::new(self.session, far, a / 3 % 4));
            }
            13 => self.answer(a, b),
            14 => self.load(a, b),
            _ => {
                let mut sent = Sent::new(self.session, first, 1 + a / 3 % 4);
                sent.messages[0] = message(self.session, first, 1);
                self.line(line, &sent);
            }
        }
        self.poll();
    }

    /// What the exchange publishes.
    fn line(&mut self, line: u8, sent: &Sent) {
        self.head = self.head.max(sent.end());
        self.foreign(line, sent);
    }

    fn foreign(&mut self, line: u8, sent: &Sent) {
        self.packet(Source::Line(line), sent);
    }

    fn packet(&mut self, source: Source, sent: &Sent) {
        let unconfirmed = |channel: &Channel| -> u64 {
            let lines = channel.arbiter().lines().iter();
            lines.map(|line| line.counters().messages_unconfirmed).sum()
        };
        let was_unconfirmed = unconfirmed(&self.channel);
        self.channel
            .handle_packet(self.now, source, &sent.encode(), self.now, &mut self.told)
            .expect("it is well formed");
        let at = match source {
            Source::Line(line) => usize::from(line),
            Source::Server(_) => usize::from(self.lines),
        };
        self.model.sent[at] += sent.messages.len() as u64;
        if let Some(Told::Start(session)) = self.told.0.first() {
            self.model.begin(*session);
            self.told.0.remove(0);
        }
        let far = sent.first > self.model.known_end + UNCONFIRMED_JUMP_MESSAGES_MAX;
        if !sent.messages.is_empty() {
            assert!(far || unconfirmed(&self.channel) == was_unconfirmed);
        }
        // Each jump is to another place, so none is ever confirmed.
        if self.model.session == Some(session_id(sent.session)) && !far {
            let answer = matches!(source, Source::Server(_));
            self.model.take(sent, answer);
        }
        self.model.handle(core::mem::take(&mut self.told.0), false);
    }

    fn pass(&mut self, ns: u64) {
        self.now += ns;
        self.channel.handle_timeout(self.now, &mut self.told);
        self.model.handle(core::mem::take(&mut self.told.0), false);
        self.poll();
        let due = self.channel.poll_timeout();
        assert!(
            due.is_none_or(|due| due > self.now),
            "due at {due:?}, it is {}",
            self.now
        );
    }

    /// Takes requests and loads out.
    fn poll(&mut self) {
        let mut packet = Vec::new();
        while self.channel.poll_request(self.now, &mut packet).is_some() {
            let request = moldudp64::Request::parse(&packet).expect("it is well formed");
            assert!(request.count() > 0 && request.count() < u16::MAX);
            self.requests
                .push_back((request.sequence(), u64::from(request.count())));
        }
        while self.requests.len() > 8 {
            self.requests.pop_front();
        }
        if let Some(load) = self.channel.poll_load() {
            assert!(self.snapshot_servers > 0);
            assert_eq!(Some(load.session), self.model.session);
            assert!(load.not_before >= self.model.next);
            self.load = Some(load);
        }
    }

    /// A request server answers: rightly, with less, with more, with something else, or late.
    fn answer(&mut self, a: u64, b: u64) {
        let request = if a.is_multiple_of(2) {
            self.requests.pop_front()
        } else {
            self.requests.pop_back()
        };
        let Some((first, count)) = request else {
            return;
        };
        // Nobody has what wasn't published.
        let count = count
            .min(1_000)
            .min(self.model.known_end.saturating_sub(first));
        let sent = match a / 2 % 8 {
            0..=3 => Sent::new(self.session, first, count),
            4 => Sent::new(self.session, first, count.min(1 + b % 8)),
            5 => Sent::new(self.session, first, count + b % 8),
            6 => Sent::new(self.session, first.saturating_sub(b % 8).max(1), count),
            _ => Sent::new(self.session ^ 0x80, first, count),
        };
        self.packet(Source::Server(0), &sent);
    }

    /// A snapshot server answers: with what is wanted, with more, with too little, or not at all.
    fn load(&mut self, a: u64, b: u64) {
        let Some(load) = self.load else {
            return;
        };
        if !b.is_multiple_of(4) {
            self.load = None;
        }
        let known_end = self.model.known_end.max(load.not_before);
        match a % 4 {
            0 => self.loaded(load.id, load.not_before),
            1 => self.loaded(load.id, known_end + b % 3),
            2 => self.loaded(load.id, load.not_before.saturating_sub(b % 16)),
            _ => {
                self.channel
                    .handle_load_failed(self.now, load.id, &mut self.told);
                self.model.handle(core::mem::take(&mut self.told.0), false);
            }
        }
    }

    fn loaded(&mut self, id: u64, sequence: u64) {
        match self.channel.arbiter().check_load(id, sequence) {
            Ok(()) => {
                assert!(sequence >= self.model.next);
                self.channel
                    .handle_loaded(self.now, sequence, &mut self.told);
                self.model.holed = false;
                self.model.doubted = false;
                self.model.settled = sequence;
                self.model.known_end = self.model.known_end.max(sequence);
                self.head = self.head.max(sequence);
                self.model.handle(core::mem::take(&mut self.told.0), true);
            }
            Err(None) => {}
            Err(Some(_)) => {
                self.channel
                    .handle_load_failed(self.now, id, &mut self.told);
                self.model.handle(core::mem::take(&mut self.told.0), false);
            }
        }
    }

    /// What has to hold at any time.
    fn check(&self) {
        let arbiter = self.channel.arbiter();
        let model = &self.model;
        assert_eq!(arbiter.check(), Ok(()));
        assert_eq!(arbiter.session(), model.session);
        assert_eq!(arbiter.next_sequence(), model.next);
        assert_eq!(arbiter.known_end(), model.known_end);
        assert_eq!(arbiter.is_live(), model.is_live());
        assert!(
            !model.is_live() || !(model.holed || model.doubted),
            "live, though holed: {}, doubted: {}",
            model.holed,
            model.doubted
        );
        assert!(!model.is_live() || arbiter.gaps().declared().next().is_none());
        assert!(
            arbiter.phase() == Phase::Loading || !model.waiting.contains_key(&model.next),
            "{} was received, and {:?}",
            model.next,
            arbiter.phase()
        );
        assert_eq!(arbiter.held(), model.waiting.len());
        for number in model.next..model.known_end {
            let missing = arbiter.gaps().contains(number);
            assert_eq!(missing, !model.waiting.contains_key(&number), "{number}");
        }
        let counted = arbiter.lines().iter().chain([arbiter.replies()]);
        for (line, &sent) in counted.zip(&model.sent) {
            assert_eq!(line.counters().messages(), sent, "{:?}", line.counters());
        }
    }

    /// Everybody behaves: in the end all is delivered, and live.
    fn repair(&mut self) {
        let until = self.now + REPAIR_NS;
        while self.now < until {
            let Some(session) = self.model.session else {
                return;
            };
            let number = (0..=u8::MAX).find(|number| session_id(*number) == session);
            self.session = number.unwrap_or_default();
            for line in 0..self.lines {
                let beat = Sent::new(self.session, self.model.known_end, 0);
                self.packet(Source::Line(line), &beat);
            }
            self.poll();
            while !self.requests.is_empty() {
                self.answer(0, 0);
            }
            if let Some(load) = self.load.take() {
                self.loaded(load.id, self.model.known_end);
            }
            self.check();
            if self.model.is_live() && self.model.next == self.model.known_end {
                return;
            }
            self.pass(50 * MS);
        }
        let arbiter = self.channel.arbiter();
        assert_eq!(self.model.next, self.model.known_end);
        let can_be = self.snapshot_servers > 0 || !(self.model.holed || self.model.doubted);
        assert!(
            !can_be,
            "not live: {:?} {:?}",
            arbiter.phase(),
            arbiter.gaps()
        );
    }
}
