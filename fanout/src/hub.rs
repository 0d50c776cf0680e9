//! The hub: who is subscribed to what, and what each of them is to be sent.
//!
//! Takes (`handle_*`) updates from shards in ring order, text from subscribers, pongs and the time; gives
//! (`poll_*`) messages to write and what shards are asked for.  It decides everything and touches nothing: one
//! input gives one output.
//!
//! **Time.**  [`Hub::handle_timeout`] tells the time, monotonic and of the day.  Call it at the beginning of each
//! turn of the loop, before the updates: messages are stamped with the time told last.
//!
//! **A turn of the loop**: `handle_timeout`, then what arrived (`handle_update`, `handle_text`, …), then
//! `poll_report` until `None` with `handle_report` for each, then `poll_upstream` until `None`, then `poll_ready` until `None`, and for each subscriber it gives `poll_transmit`
//! until `None` or until the socket is full.  A subscriber whose socket was full isn't given again by `poll_ready`
//! for what waits already: the caller continues with `poll_transmit` when the socket can be written.
//! Sleep until `poll_timeout`.

mod audience;
mod feed;
mod queries;
mod requests;
mod updates;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;
use slab::Slab;
use tickcast_book::BookKind;
use tickcast_codecs::event::Header;
use tickcast_codecs::outbound::{Body, Reason, Schema, flags};

use self::audience::{Audience, Doom};
use self::feed::Telling;
pub(crate) use self::feed::feed_of;
use self::queries::Query;
use self::updates::flush;
use crate::counters::Counters;
use crate::directory::Directory;
use crate::error::{ErrorCode, Refusal};
use crate::limits::Limits;
use crate::mirror::Mirrors;
use crate::protocol::{Answer, ChannelState, Granted, PROTO, WelcomeLimits};
use crate::stream::{Encoder, Scratch, Sent, Standing, Stream};
use crate::subscriber::{Next, Subscriber};
use crate::topic::{CONFLATE_MS, Profile, Topic, is_book};

/// What of an instrument's book somebody is interested in: bits.
pub mod interest {
    /// Levels.
    pub const LEVELS: u8 = 1;
    /// Orders.
    pub const ORDERS: u8 = 2;
}

/// How a hub behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubConfig {
    /// The limits.
    pub limits: Limits,
    /// Between two heartbeats, ns.
    pub heartbeat_ns: u64,
    /// Between two WebSocket pings, ns.
    pub ping_ns: u64,
    /// A subscriber of which no pong was seen for so long is disconnected, ns.
    pub pong_ns_max: u64,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            heartbeat_ns: 1_000_000_000,
            ping_ns: 20_000_000_000,
            pong_ns_max: 60_000_000_000,
        }
    }
}

/// Which run of the server this is: told in `welcome`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerInfo {
    /// Names this run: `seq` of different sessions don't compare.
    pub session: String,
    /// Names the run's numbering of topics, for a resume.
    pub epoch: String,
}

/// A channel of a venue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelInfo {
    /// Its name.
    pub name: String,
    /// The venue, by its market identifier code.
    pub venue: String,
    /// Whether its books are by order: only those have `mbo`.
    pub by_order: bool,
}

/// The encoding of a connection's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// JSON in text frames; WebSocket subprotocol `tickcast.v1.json`.
    Json,
    /// FlatBuffers in binary frames; WebSocket subprotocol `tickcast.v1.fb`.
    FlatBuffers,
}

impl Encoding {
    /// The WebSocket subprotocol.
    #[must_use]
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "tickcast.v1.json",
            Self::FlatBuffers => "tickcast.v1.fb",
        }
    }
}

/// A subscriber: valid from [`Hub::connect`] to [`Hub::disconnect`] and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl SubscriberId {
    /// A small number that no other connected subscriber has, for tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// What to write to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// A text message.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A WebSocket ping.
    Ping,
    /// A WebSocket close; nothing follows.  Then [`Hub::disconnect`].
    Close {
        /// The code.
        code: u16,
        /// The reason.
        reason: &'static str,
    },
}

/// What a shard is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    /// The channel, as an index of what [`Hub::new`] was given.
    pub channel: usize,
    /// The instrument.
    pub instrument_id: u32,
    /// The bits of [`interest`] that hold from now on; the others are off.
    pub interest: u8,
    /// Whether a snapshot is wanted, in band.
    pub snapshot: bool,
}

/// A query for a book that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueryToken(pub(crate) u64);

/// Where a query for a book stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryState {
    /// The shard's snapshot isn't there yet.
    Pending,
    /// The answer, as JSON.  The query is over.
    Ready(Bytes),
    /// There is no such venue or symbol.  The query is over.
    NotFound,
    /// The shard didn't answer in time, or too many queries wait.  The query is over.
    Unavailable,
}

/// A channel: its state, and the books of it that somebody is interested in.
#[derive(Debug)]
struct Channel {
    info: ChannelInfo,
    /// Whether a gap is open, as the shard said last.
    gap_open: bool,
    /// Whether its books can't be trusted, as subscribers were told: while a gap is open, and until all books that a
    /// snapshot of the venue's replaced are known again.
    stale: bool,
    /// Books that may be wrong whatever the channel's state.
    stale_books: FxHashSet<u32>,
    mirrors: Mirrors,
    /// While somebody is subscribed to its `feed`.
    telling: Option<Telling>,
}

impl Channel {
    const fn state(&self) -> &'static str {
        if self.stale { "stale" } else { "live" }
    }

    /// The flag of messages about this instrument.
    fn bad(&self, instrument_id: u32) -> u8 {
        if self.stale || self.stale_books.contains(&instrument_id) {
            flags::MAYBE_BAD_BOOK
        } else {
            0
        }
    }
}

/// Streams that wait for the end of one interval of conflation.
#[derive(Debug)]
struct Due {
    interval_ms: u16,
    /// When it ends, monotonic ns; means something if there are streams.
    at: u64,
    streams: Vec<u32>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Hub {
    config: HubConfig,
    server: ServerInfo,
    now: u64,
    wall: u64,
    channels: Vec<Channel>,
    directory: Directory,
    audience: Audience,
    generation: u32,
    /// Subscribers whose patterns new instruments are matched with.
    watching: BTreeSet<u32>,
    streams: Slab<Stream>,
    profiles: FxHashMap<Profile, u32>,
    streams_of: FxHashMap<u32, Vec<u32>>,
    /// The number of the last message of each topic that isn't of a book.
    seqs: FxHashMap<Topic, u64>,
    due: Vec<Due>,
    encoder: Encoder,
    scratch: Scratch,
    upstream: VecDeque<Upstream>,
    /// Mirrors whose last user left, and when they may be dropped.
    idle: VecDeque<(u64, usize, u32)>,
    queries: BTreeMap<u64, Query>,
    last_query: u64,
    heartbeat: Bytes,
    heartbeat_at: u64,
    heartbeats: u64,
    shutdown_at: Option<u64>,
}

const fn kind_of(schema: Schema) -> BookKind {
    match schema {
        Schema::Mbo => BookKind::ByOrder,
        _ => BookKind::ByPrice,
    }
}

const fn bits(kind: BookKind) -> u8 {
    match kind {
        BookKind::ByPrice => interest::LEVELS,
        // The end of an event is told with its last level.
        BookKind::ByOrder => interest::LEVELS | interest::ORDERS,
    }
}

/// Whether the newest message of a topic says all there is to say: then one that joins gets it at once.
const fn has_last(schema: Schema) -> bool {
    matches!(schema, Schema::Status | Schema::Definition | Schema::Feed)
}

/// A venue's symbol, as an answer names it.
fn granted(directory: &Directory, instrument_id: u32) -> Granted {
    Granted {
        symbol: directory
            .instrument(instrument_id)
            .map(|instrument| instrument.symbol.clone())
            .unwrap_or_default(),
        instrument_id,
        state: None,
    }
}

impl Hub {
    /// A hub without subscribers.  `channels` are in the order of their numbers: the instruments of the first are
    /// 1..=65,535, those of the second 65,537 and on.
    #[must_use]
    pub fn new(config: HubConfig, server: ServerInfo, channels: Vec<ChannelInfo>) -> Self {
        let directory = Directory::new(&channels);
        let channels = channels
            .into_iter()
            .map(|info| Channel {
                gap_open: false,
                stale: false,
                stale_books: FxHashSet::default(),
                mirrors: Mirrors::new(info.by_order),
                telling: None,
                info,
            })
            .collect();
        Self {
            config,
            server,
            now: 0,
            wall: 0,
            channels,
            directory,
            audience: Audience {
                subscribers: Slab::new(),
                ready: VecDeque::new(),
                doomed: Vec::new(),
                limits: config.limits,
                counters: Counters::default(),
            },
            generation: 0,
            watching: BTreeSet::new(),
            streams: Slab::new(),
            profiles: FxHashMap::default(),
            streams_of: FxHashMap::default(),
            seqs: FxHashMap::default(),
            due: CONFLATE_MS
                .into_iter()
                .filter(|&interval_ms| interval_ms > 0)
                .map(|interval_ms| Due {
                    interval_ms,
                    at: 0,
                    streams: Vec::new(),
                })
                .collect(),
            encoder: Encoder::new(config.limits.snapshot_orders_max),
            scratch: Scratch::default(),
            upstream: VecDeque::new(),
            idle: VecDeque::new(),
            queries: BTreeMap::new(),
            last_query: 0,
            heartbeat: Bytes::new(),
            heartbeat_at: 0,
            heartbeats: 0,
            shutdown_at: None,
        }
    }

    // ---- connections

    /// A connection is open.  `now` is monotonic, ns.
    pub fn connect(&mut self, encoding: Encoding, now: u64) -> SubscriberId {
        self.now = self.now.max(now);
        self.generation = self.generation.wrapping_add(1);
        let subscriber = Subscriber::new(self.generation, encoding, self.now);
        let at = self.audience.subscribers.insert(subscriber);
        // Two to the 32 subscribers at a time don't fit into memory.
        let index = u32::try_from(at).unwrap_or(u32::MAX);
        self.audience.counters.connected += 1;
        let limits = &self.config.limits;
        let welcome = Answer::Welcome {
            proto: PROTO,
            session: &self.server.session,
            epoch: &self.server.epoch,
            server_time: self.wall.to_string(),
            limits: WelcomeLimits {
                message_bytes_max: limits.message_bytes_max,
                messages_per_second_max: limits.messages_per_second_max,
                message_burst_max: limits.message_burst_max,
                topics_max: limits.topics_max,
                subscriptions_max: limits.subscriptions_max,
                queue_bytes_max: limits.queue_bytes_max,
            },
            heartbeat_ms: self.config.heartbeat_ns / 1_000_000,
            channels: self.channel_states(),
        };
        let welcome = Bytes::from(welcome.encode());
        self.audience.answer(index, welcome);
        if self.shutdown_at.is_some_and(|at| at <= self.now) {
            self.audience.doomed.push((index, Doom::Restart));
        }
        self.reap();
        SubscriberId {
            index,
            generation: self.generation,
        }
    }

    fn channel_states(&self) -> Vec<ChannelState<'_>> {
        self.channels
            .iter()
            .map(|channel| ChannelState {
                channel: &channel.info.name,
                venue: &channel.info.venue,
                state: channel.state(),
            })
            .collect()
    }

    fn is_connected(&self, id: SubscriberId) -> bool {
        self.audience
            .subscribers
            .get(id.index())
            .is_some_and(|subscriber| subscriber.generation == id.generation)
    }

    /// The connection is gone.  The subscriber isn't given by `poll_ready` any more.
    pub fn disconnect(&mut self, id: SubscriberId) {
        if !self.is_connected(id) {
            return;
        }
        self.detach_all(id.index);
        self.audience.subscribers.remove(id.index());
        self.watching.remove(&id.index);
        self.audience.counters.disconnected += 1;
    }

    /// Disconnects those that were found to deserve it.
    fn reap(&mut self) {
        while let Some((index, doom)) = self.audience.doomed.pop() {
            let open = |subscriber: &mut Subscriber| subscriber.closing.is_none();
            if self.audience.get(index).is_some_and(open) {
                doom.count(&mut self.audience.counters);
                self.detach_all(index);
                self.watching.remove(&index);
                if let Some(subscriber) = self.audience.get(index) {
                    subscriber.close(doom.code());
                }
                self.audience.mark_ready(index);
            }
        }
    }

    /// A pong came from the subscriber.
    pub fn handle_pong(&mut self, id: SubscriberId, now: u64) {
        if self.is_connected(id)
            && let Some(subscriber) = self.audience.get(id.index)
        {
            subscriber.last_pong = now;
        }
    }

    /// A message of which only the length is known, because it exceeds
    /// [`message_bytes_max`](Limits::message_bytes_max), or that isn't text.
    pub fn handle_unreadable(&mut self, id: SubscriberId, now: u64) {
        self.now = self.now.max(now);
        if self.is_connected(id) {
            self.audience.counters.requests += 1;
            self.too_large(id.index);
            self.reap();
        }
    }

    fn too_large(&mut self, index: u32) {
        let bytes = self.config.limits.message_bytes_max;
        let refusal = Refusal::new(
            ErrorCode::TooLarge,
            format!("a message is text of at most {bytes} bytes"),
        );
        self.strike(index, refusal);
    }

    /// Refuses a message that isn't of the protocol at all.
    fn strike(&mut self, index: u32, refusal: Refusal) {
        let strikes = self.config.limits.bad_messages_max;
        let Some(subscriber) = self.audience.get(index) else {
            return;
        };
        subscriber.bad_messages += 1;
        let fatal = subscriber.bad_messages >= strikes;
        self.refuse(index, None, refusal, fatal);
        if fatal {
            self.audience.doomed.push((index, Doom::Bad));
        }
    }

    fn refuse(&mut self, index: u32, id: Option<Value>, refusal: Refusal, fatal: bool) {
        self.audience.counters.requests_refused += 1;
        self.answer(index, &Answer::error(id, refusal, fatal));
    }

    fn answer(&mut self, index: u32, answer: &Answer<'_>) {
        self.audience.answer(index, Bytes::from(answer.encode()));
    }

    // ---- time

    /// Tells the time: `now` is monotonic, `wall` since the Unix epoch, both ns.
    pub fn handle_timeout(&mut self, now: u64, wall: u64) {
        self.now = self.now.max(now);
        self.wall = wall;
        self.encoder.ts_out = wall;
        for at in 0..self.due.len() {
            if self.due[at].at <= self.now && !self.due[at].streams.is_empty() {
                self.flush_due(at);
            }
        }
        if self.now >= self.heartbeat_at {
            self.beat();
        }
        while let Some(&(at, channel, id)) = self.idle.front()
            && at <= self.now
        {
            self.idle.pop_front();
            let idle_until = self.now.saturating_sub(self.config.limits.mirror_linger_ns);
            if self.channels[channel].mirrors.expire(id, idle_until) {
                self.ask(channel, id, false);
                self.settle(channel);
            }
        }
        self.expire_queries();
        if self.shutdown_at.is_some_and(|at| at <= self.now) {
            self.close_all();
        }
        self.reap();
    }

    fn flush_due(&mut self, at: usize) {
        let interval_ms = self.due[at].interval_ms;
        for number in core::mem::take(&mut self.due[at].streams) {
            let Some(stream) = self.streams.get_mut(number as usize) else {
                continue;
            };
            if !stream.is_due || stream.profile.format.conflate_ms != interval_ms {
                continue;
            }
            stream.is_due = false;
            let channel = &self.channels[stream.channel];
            let id = stream.profile.topic.instrument_id;
            if !stream.is_primed() {
                continue;
            }
            if !channel.mirrors.is_consistent(id, BookKind::ByPrice) {
                stream.is_overdue = true;
                continue;
            }
            flush(
                stream,
                &channel.mirrors,
                &mut self.audience,
                &mut self.scratch,
                &mut self.encoder,
                channel.bad(id),
            );
        }
    }

    /// The server is alive: tells everybody, and finds who isn't.
    fn beat(&mut self) {
        self.heartbeats += 1;
        self.write_heartbeat();
        self.heartbeat_at = self
            .now
            .saturating_add(self.config.heartbeat_ns.max(1_000_000));
        for (index, subscriber) in &mut self.audience.subscribers {
            let Ok(index) = u32::try_from(index) else {
                continue;
            };
            if subscriber.closing.is_some() {
                continue;
            }
            subscriber.heartbeat_due = true;
            if self.now.saturating_sub(subscriber.last_pong) > self.config.pong_ns_max {
                self.audience.doomed.push((index, Doom::Idle));
            } else if self.now.saturating_sub(subscriber.last_ping) >= self.config.ping_ns {
                subscriber.last_ping = self.now;
                subscriber.ping_due = true;
            }
            if !subscriber.is_ready {
                subscriber.is_ready = true;
                self.audience.ready.push_back(index);
            }
        }
    }

    /// Also when a channel's state changes: one that waits to be written must not say what was before.
    fn write_heartbeat(&mut self) {
        let heartbeat = Answer::Heartbeat {
            n: self.heartbeats,
            server_time: self.wall.to_string(),
            channels: self.channel_states(),
        };
        self.heartbeat = Bytes::from(heartbeat.encode());
    }

    fn close_all(&mut self) {
        for (index, _) in &self.audience.subscribers {
            if let Ok(index) = u32::try_from(index) {
                self.audience.doomed.push((index, Doom::Restart));
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let due = self.due.iter().filter(|due| !due.streams.is_empty());
        let beat = (!self.audience.subscribers.is_empty()).then_some(self.heartbeat_at);
        due.map(|due| due.at)
            .chain(beat)
            .chain(self.idle.front().map(|&(at, _, _)| at))
            .chain(self.channels.iter().filter_map(|channel| {
                let telling = channel.telling.as_ref()?;
                Some(telling.read_at)
            }))
            .chain(self.queries.values().map(|query| query.deadline).min())
            .chain(
                self.shutdown_at
                    .filter(|_| !self.audience.subscribers.is_empty()),
            )
            .min()
    }

    /// Tells every subscriber that the server stops in `in_ms`, and closes them (1012) when that time is over.
    pub fn shutdown(&mut self, in_ms: u64, now: u64) {
        self.now = self.now.max(now);
        let at = self.now.saturating_add(in_ms.saturating_mul(1_000_000));
        self.shutdown_at = Some(self.shutdown_at.map_or(at, |known| known.min(at)));
        let message = Bytes::from(Answer::Shutdown { in_ms }.encode());
        let indices: Vec<usize> = self
            .audience
            .subscribers
            .iter()
            .map(|(index, _)| index)
            .collect();
        for index in indices {
            if let Ok(index) = u32::try_from(index) {
                self.audience.answer(index, message.clone());
            }
        }
        self.reap();
    }

    // ---- out

    /// The next thing to ask of a shard.
    pub fn poll_upstream(&mut self) -> Option<Upstream> {
        self.upstream.pop_front()
    }

    /// Whether [`poll_ready`](Self::poll_ready) may have something.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.audience.ready.is_empty()
    }

    /// The next subscriber that has something to be written.
    pub fn poll_ready(&mut self) -> Option<SubscriberId> {
        while let Some(index) = self.audience.ready.pop_front() {
            // One that went stays in the list; another may have its place.
            if let Some(subscriber) = self.audience.get(index)
                && subscriber.is_ready
            {
                subscriber.is_ready = false;
                return Some(SubscriberId {
                    index,
                    generation: subscriber.generation,
                });
            }
        }
        None
    }

    /// The next thing to write to the subscriber.
    pub fn poll_transmit(&mut self, id: SubscriberId) -> Option<Transmit> {
        if !self.is_connected(id) {
            return None;
        }
        let index = id.index;
        self.tell_joined(index);
        loop {
            let subscriber = self.audience.get(index)?;
            let encoding = subscriber.encoding;
            let transmit = match subscriber.next() {
                Next::Control(message) => Transmit::Text(message),
                Next::Heartbeat => Transmit::Text(self.heartbeat.clone()),
                Next::Ping => Transmit::Ping,
                Next::Data(message) => match encoding {
                    Encoding::Json => Transmit::Text(message),
                    Encoding::FlatBuffers => Transmit::Binary(message),
                },
                Next::Pending(topic) => {
                    self.pull(index, topic);
                    self.reap();
                    continue;
                }
                Next::Close(code) => Transmit::Close {
                    code: code.number(),
                    reason: code.reason(),
                },
                Next::Nothing => return None,
            };
            if let Transmit::Text(bytes) | Transmit::Binary(bytes) = &transmit {
                self.audience.counters.messages_transmitted += 1;
                self.audience.counters.bytes_transmitted += bytes.len() as u64;
            }
            return Some(transmit);
        }
    }

    /// Instruments that joined or left by themselves: tells all of a subscription at once.
    fn tell_joined(&mut self, index: u32) {
        let Some(subscriber) = self.audience.get(index) else {
            return;
        };
        if subscriber.left.is_empty() && subscriber.joined.is_empty() {
            return;
        }
        let left = core::mem::take(&mut subscriber.left);
        let joined = core::mem::take(&mut subscriber.joined);
        for (sub, symbols) in left {
            let gone = Answer::Unsubscribed {
                id: None,
                sub: Some(sub),
                topics: symbols.len(),
                symbols,
            };
            self.answer(index, &gone);
        }
        for (sub, symbols) in joined {
            if let Some(effective) = self.effective(index, sub) {
                let stale = self.stale_among(&symbols);
                let more = Answer::Subscribed {
                    id: None,
                    sub,
                    effective,
                    symbols,
                    failed: Vec::new(),
                };
                self.answer(index, &more);
                self.tell_stale(index, stale);
            }
        }
        self.forget_empty(index);
        self.reap();
    }

    /// Makes what the subscriber needs of a topic, now that it can take it: a snapshot, or word of a gap.
    fn pull(&mut self, index: u32, topic: Topic) {
        let Some(holding) = self
            .audience
            .get(index)
            .and_then(|subscriber| subscriber.topics.get(&topic).copied())
        else {
            return;
        };
        let Some(stream) = self.streams.get_mut(holding.stream as usize) else {
            return;
        };
        let Some(standing) = stream
            .members
            .get(holding.member as usize)
            .map(|member| member.standing)
        else {
            return;
        };
        if standing == Standing::Live {
            return;
        }
        let channel = &self.channels[stream.channel];
        let mirrors = &channel.mirrors;
        let id = topic.instrument_id;
        let bad = channel.bad(id);
        let mut messages: Vec<Bytes> = Vec::new();

        let told = channel.telling.as_ref().and_then(|one| one.told.as_ref());
        if topic.schema == Schema::Feed && told.is_none() {
            // Its report is read in this turn.
            stream.deferred.push(index);
            return;
        }

        if is_book(topic.schema) {
            let consistent = mirrors.is_consistent(id, kind_of(topic.schema));
            if !stream.is_primed() && consistent {
                stream.prime(mirrors);
            }
            // What is sent from a view is consistent at any time.
            let has_view = topic
                .schema
                .depth()
                .is_some_and(|depth| depth != usize::MAX);
            if !stream.is_primed() || !(has_view || consistent) {
                stream.deferred.push(index);
                return;
            }
            if !has_view && stream.has_events() {
                flush(
                    stream,
                    mirrors,
                    &mut self.audience,
                    &mut self.scratch,
                    &mut self.encoder,
                    bad,
                );
            }
        }
        let mut reason = Reason::Slow;
        match standing {
            Standing::Live => {}
            Standing::Waiting(why) => reason = why,
            Standing::Skipping {
                prev,
                from,
                to,
                count,
            } => {
                // Where the newest message says it all, it isn't part of the gap.
                let (to, count) = if has_last(topic.schema) {
                    (to - 1, count - 1)
                } else {
                    (to, count)
                };
                if count > 0 {
                    self.audience.counters.gaps_sent += 1;
                    let header = Header::default();
                    let sent = Sent { seq: to, prev };
                    let body = Body::Gap { from, to, count };
                    messages.push(stream.encode_body(
                        sent,
                        &header,
                        body,
                        flags::LAST | bad,
                        &mut self.encoder,
                    ));
                }
            }
        }
        if is_book(topic.schema) {
            self.audience.counters.snapshots_sent += 1;
            messages.extend_from_slice(stream.snapshot(
                reason,
                mirrors,
                &mut self.scratch,
                bad,
                &mut self.encoder,
            ));
        } else if has_last(topic.schema) && stream.seq > 0 {
            let sent = Sent {
                seq: stream.seq,
                prev: stream.seq - 1,
            };
            let known = self.directory.instrument(id);
            let message_flags = flags::LAST | flags::SNAPSHOT | bad;
            let last =
                match topic.schema {
                    Schema::Status => known
                        .and_then(|known| known.status.as_ref())
                        .map(|(header, status)| (*header, Body::Status(status))),
                    Schema::Feed => told.map(|told| (told.header, Body::Feed(&told.feed))),
                    _ => known.and_then(|known| known.definition.as_ref()).map(
                        |(header, definition)| {
                            let venue = self.directory.channel_mic(stream.channel);
                            (*header, Body::Definition { definition, venue })
                        },
                    ),
                };
            if let Some((header, body)) = last {
                messages.push(stream.encode_body(
                    sent,
                    &header,
                    body,
                    message_flags,
                    &mut self.encoder,
                ));
            }
        }
        if let Some(member) = stream.members.get_mut(holding.member as usize) {
            member.standing = Standing::Live;
        }
        if let Some(subscriber) = self.audience.get(index) {
            subscriber
                .sending
                .extend(messages.into_iter().map(|message| (topic, message)));
        }
    }
}
