//! What subscribers ask, and the topics that they come to have.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rustc_hash::FxHashSet;
use serde_json::Value;
use tickcast_codecs::outbound::{Reason, Schema};

use super::audience::Doom;
use super::{Encoding, Hub, SubscriberId, granted, has_last, kind_of};
use crate::error::{ErrorCode, Refusal};
use crate::protocol::{
    Answer, Effective, Failed, Granted, Listed, Op, Request, Selection, SubscriptionRequest,
    SymbolType, Target, excerpt,
};
use crate::stream::{Member, Standing, Stream};
use crate::subscriber::{Holding, Subscription};
use crate::topic::{Format, Profile, Topic, is_book};

impl Hub {
    /// A text message came from the subscriber.
    pub fn handle_text(&mut self, id: SubscriberId, text: &str, now: u64) {
        self.now = self.now.max(now);
        if !self.is_connected(id) {
            return;
        }
        let index = id.index;
        let limits = self.config.limits;
        self.audience.counters.requests += 1;
        let Some(subscriber) = self.audience.get(index) else {
            return;
        };
        if subscriber.closing.is_some() {
            return;
        }
        let rate = subscriber.rate(now, &limits);
        if text.len() > limits.message_bytes_max {
            self.too_large(index);
            return self.reap();
        }
        match (Request::parse(text, limits.symbols_max), rate) {
            (Err(refusal), _) => self.strike(index, refusal),
            (Ok(request), Err(retry_after_ms)) => {
                self.audience.counters.requests_rate_limited += 1;
                let fatal = self
                    .audience
                    .get(index)
                    .is_some_and(|subscriber| subscriber.rate_refusals >= limits.rate_refusals_max);
                let refusal = Refusal {
                    retry_after_ms: Some(retry_after_ms),
                    ..Refusal::new(
                        ErrorCode::RateLimited,
                        format!(
                            "at most {} messages a second, {} at once",
                            limits.messages_per_second_max, limits.message_burst_max
                        ),
                    )
                };
                self.refuse(index, request.id, refusal, fatal);
                if fatal {
                    self.audience.doomed.push((index, Doom::Rate));
                }
            }
            (
                Ok(Request {
                    id,
                    op: Err(refusal),
                }),
                Ok(()),
            ) => self.refuse(index, id, refusal, false),
            (Ok(Request { id, op: Ok(op) }), Ok(())) => self.request(index, id, op),
        }
        self.reap();
    }

    pub(super) fn request(&mut self, index: u32, id: Option<Value>, op: Op) {
        match op {
            Op::Subscribe(request) => {
                if let Err(refusal) = self.subscribe(index, id.clone(), request, false) {
                    self.refuse(index, id, refusal, false);
                }
            }
            Op::Unsubscribe(target) => match self.unsubscribe(index, &target) {
                Ok((sub, topics)) => self.answer(
                    index,
                    &Answer::Unsubscribed {
                        id,
                        sub,
                        topics,
                        symbols: Vec::new(),
                    },
                ),
                Err(refusal) => self.refuse(index, id, refusal, false),
            },
            Op::Set(requests) => self.set(index, id, requests),
            Op::List => self.list(index, id),
            Op::Snapshot(target) => match self.topics_of(index, &target) {
                Ok(topics) => {
                    let topics = topics
                        .into_iter()
                        .filter(|topic| is_book(topic.schema))
                        .collect::<Vec<_>>();
                    for topic in &topics {
                        self.request_snapshot(index, *topic);
                    }
                    let topics = topics.len();
                    self.answer(index, &Answer::Snapshots { id, topics });
                }
                Err(refusal) => self.refuse(index, id, refusal, false),
            },
            Op::Ping => {
                let server_time = self.wall.to_string();
                self.answer(index, &Answer::Pong { id, server_time });
            }
            // Whether a token is needed, and which, was decided before the connection was open.
            Op::Auth(_) => self.answer(index, &Answer::Authenticated { id }),
            Op::Resume => {
                let refusal = Refusal::new(
                    ErrorCode::Unavailable,
                    "this server keeps nothing to resume from: subscribe again, each book begins with a snapshot",
                );
                self.refuse(index, id, refusal, false);
            }
        }
    }

    pub(super) fn request_snapshot(&mut self, index: u32, topic: Topic) {
        let Some(holding) = self
            .audience
            .get(index)
            .and_then(|subscriber| subscriber.topics.get(&topic).copied())
        else {
            return;
        };
        if let Some(member) = self
            .streams
            .get_mut(holding.stream as usize)
            .and_then(|stream| stream.members.get_mut(holding.member as usize))
            && member.standing == Standing::Live
        {
            member.standing = Standing::Waiting(Reason::Request);
            self.audience.pend(index, topic);
        }
    }

    /// The venue that a selection's symbols are of; `None` if they are numbers.
    pub(super) fn venue(&self, selection: &Selection) -> Result<Option<usize>, Refusal> {
        match &selection.venue {
            Some(mic) => self.directory.venue(mic).map(Some).ok_or_else(|| {
                Refusal::new(
                    ErrorCode::UnknownVenue,
                    format!("no venue {:?}", excerpt(mic)),
                )
            }),
            None if selection.stype == SymbolType::InstrumentId => Ok(self.directory.only_venue()),
            None => self.directory.only_venue().map(Some).ok_or_else(|| {
                Refusal::new(
                    ErrorCode::BadRequest,
                    "venue is missing, and there is more than one",
                )
            }),
        }
    }

    /// The instrument that a symbol of a selection means.
    pub(super) fn resolve(
        &self,
        selection: &Selection,
        venue: Option<usize>,
        schema: Schema,
        symbol: &str,
    ) -> Result<u32, ErrorCode> {
        match selection.stype {
            SymbolType::RawSymbol => {
                self.directory
                    .find(venue.ok_or(ErrorCode::UnknownVenue)?, symbol, schema)
            }
            SymbolType::InstrumentId => {
                let id: u32 = symbol.parse().map_err(|_| ErrorCode::UnknownSymbol)?;
                // The channel itself (number 0) has a status.
                let is_channel =
                    id & 0xffff == 0 && schema == Schema::Status && self.channel_of(id).is_some();
                let known = self.directory.instrument(id).filter(|known| {
                    selection.venue.is_none() || self.directory.venue_of(known.channel) == venue
                });
                match known {
                    Some(_) if self.directory.offers(schema, id) => Ok(id),
                    Some(_) => Err(ErrorCode::BadRequest),
                    None if is_channel => Ok(id),
                    None => Err(ErrorCode::UnknownSymbol),
                }
            }
        }
    }

    /// The channels, by their number 0, that a symbol of a selection of `feed` means: by name, by a pattern, or by number.
    fn channels_named(
        &self,
        selection: &Selection,
        venue: Option<usize>,
        symbol: &str,
    ) -> Vec<u32> {
        let is_meant = |(number, channel): &(u32, &super::Channel)| {
            let known = self.directory.venue_of(*number as usize);
            let fits = match selection.stype {
                SymbolType::InstrumentId => symbol.parse() == Ok(*number << 16),
                SymbolType::RawSymbol => match symbol.strip_suffix('*') {
                    Some(prefix) => channel.info.name.starts_with(prefix),
                    None => channel.info.name == symbol,
                },
            };
            fits && (known == venue || selection.venue.is_none())
        };
        (0_u32..)
            .zip(&self.channels)
            .filter(is_meant)
            .map(|(number, _)| number << 16)
            .collect()
    }

    /// An instrument (of `feed`: a channel) as an answer to a subscription names it.
    pub(super) fn granted(&self, schema: Schema, id: u32) -> Granted {
        let place = self.channel_of(id).map(|channel| &self.channels[channel]);
        let mut granted = granted(&self.directory, id);
        if schema == Schema::Feed
            && let Some(place) = place
        {
            granted.symbol.clone_from(&place.info.name);
        }
        let faulty = place.is_some_and(|place| place.stale_books.contains(&id));
        granted.state = faulty.then_some("stale");
        granted
    }

    /// The channels of these instruments that are stale now.
    pub(super) fn stale_among(&self, symbols: &[Granted]) -> BTreeSet<usize> {
        symbols
            .iter()
            .filter_map(|granted| self.channel_of(granted.instrument_id))
            .filter(|&channel| self.channels[channel].stale)
            .collect()
    }

    /// Who subscribes while a channel is stale wasn't told so when it became it.
    pub(super) fn tell_stale(&mut self, index: u32, channels: BTreeSet<usize>) {
        for channel in channels {
            let place = &self.channels[channel];
            let answer = Answer::State {
                channel: &place.info.name,
                venue: &place.info.venue,
                state: place.state(),
            };
            let message = Bytes::from(answer.encode());
            self.audience.answer(index, message);
        }
    }

    /// The channel of an instrument's number.
    pub(super) fn channel_of(&self, instrument_id: u32) -> Option<usize> {
        let channel = (instrument_id >> 16) as usize;
        (channel < self.channels.len()).then_some(channel)
    }

    /// Adds a subscription and answers.  With `keep`, topics that are subscribed in the same way just go on.
    pub(super) fn subscribe(
        &mut self,
        index: u32,
        id: Option<Value>,
        request: SubscriptionRequest,
        keep: bool,
    ) -> Result<(u32, FxHashSet<Topic>), Refusal> {
        let limits = self.config.limits;
        let schema = request.schema;
        let venue = self.venue(&request.selection)?;
        if schema == Schema::Mbo && venue.is_some_and(|venue| !self.directory.has_orders(venue)) {
            return Err(Refusal::new(
                ErrorCode::BadRequest,
                "the venue's books are by price: it has no mbo",
            ));
        }
        let Some(subscriber) = self.audience.get(index) else {
            return Err(Refusal::new(ErrorCode::Internal, "not connected"));
        };
        if subscriber.subscriptions.len() >= limits.subscriptions_max {
            return Err(Refusal::new(
                ErrorCode::TooManySubscriptions,
                format!(
                    "at most {} subscriptions a connection",
                    limits.subscriptions_max
                ),
            ));
        }
        let format = Format {
            conflate_ms: request.conflate_ms,
            encoding: subscriber.encoding,
            checksum: request.checksum,
            decimal: request.decimal,
        }
        .effective(schema);

        let mut failed = Vec::new();
        let mut prefixes = Vec::new();
        let mut wanted = Vec::new();
        let mut seen = FxHashSet::default();
        for symbol in &request.selection.symbols {
            let code = if schema == Schema::Feed {
                let found = self.channels_named(&request.selection, venue, symbol);
                let code = found.is_empty().then_some(ErrorCode::UnknownSymbol);
                wanted.extend(found.into_iter().filter(|id| seen.insert(*id)));
                code
            } else if let Some(prefix) = symbol.strip_suffix('*') {
                prefixes.push(prefix.to_owned());
                if let Some(venue) = venue {
                    let found = self.directory.find_prefix(venue, prefix, schema);
                    wanted.extend(found.filter(|id| seen.insert(*id)));
                    // Everything of the venue: its channels have a status as well.
                    if prefix.is_empty() && schema == Schema::Status {
                        let channels = (0_u32..)
                            .zip(&self.channels)
                            .filter(|(number, _)| {
                                self.directory.venue_of(*number as usize) == Some(venue)
                            })
                            .map(|(number, _)| number << 16);
                        wanted.extend(channels.filter(|id| seen.insert(*id)));
                    }
                    None
                } else {
                    Some(ErrorCode::UnknownVenue)
                }
            } else {
                match self.resolve(&request.selection, venue, schema, symbol) {
                    Ok(id) => {
                        if seen.insert(id) {
                            wanted.push(id);
                        }
                        None
                    }
                    Err(code) => Some(code),
                }
            };
            if let Some(code) = code {
                failed.push(Failed {
                    symbol: symbol.clone(),
                    code: code.name(),
                });
            }
        }

        let Some(subscriber) = self.audience.get(index) else {
            return Err(Refusal::new(ErrorCode::Internal, "not connected"));
        };
        subscriber.last_sub += 1;
        let sub = subscriber.last_sub;
        let kept = !prefixes.is_empty();
        subscriber.subscriptions.push(Subscription {
            sub,
            request,
            format,
            venue,
            prefixes,
            topics: 0,
        });
        if kept {
            self.watching.insert(index);
        }

        let mut symbols = Vec::new();
        let mut topics = FxHashSet::default();
        for id in wanted {
            let topic = Topic {
                schema,
                instrument_id: id,
            };
            let Some(subscriber) = self.audience.get(index) else {
                break;
            };
            let held = subscriber.topics.contains_key(&topic);
            if !held && subscriber.topics.len() >= limits.topics_max {
                failed.push(Failed {
                    symbol: self.granted(schema, id).symbol,
                    code: ErrorCode::TooManySubscriptions.name(),
                });
                continue;
            }
            if !(keep && held && self.takes_over(index, topic, sub)) {
                self.attach(index, topic, sub);
            }
            topics.insert(topic);
            symbols.push(self.granted(schema, id));
        }

        let effective = self.effective(index, sub);
        self.forget_empty(index);
        if let Some(effective) = effective {
            let stale = self.stale_among(&symbols);
            self.answer(
                index,
                &Answer::Subscribed {
                    id,
                    sub,
                    effective,
                    symbols,
                    failed,
                },
            );
            self.tell_stale(index, stale);
        }
        Ok((sub, topics))
    }

    pub(super) fn effective(&self, index: u32, sub: u32) -> Option<Effective> {
        let subscriber = self.audience.subscribers.get(index as usize)?;
        let subscription = subscriber.subscription(sub)?;
        let (request, format) = (&subscription.request, &subscription.format);
        Some(Effective {
            schema: request.schema.name(),
            venue: subscription
                .venue
                .map(|venue| self.directory.mic(venue).to_owned()),
            stype: request.selection.stype,
            encoding: match format.encoding {
                Encoding::Json => "json",
                Encoding::FlatBuffers => "fb",
            },
            conflate_ms: format.conflate_ms,
            snapshot: request.snapshot && is_book(request.schema),
            checksum: format.checksum,
            on_slow: request.on_slow,
            decimal: format.decimal,
            patterns: subscription
                .prefixes
                .iter()
                .map(|prefix| format!("{prefix}*"))
                .collect(),
        })
    }

    /// Forgets subscriptions that have no topic and can't get one.
    pub(super) fn forget_empty(&mut self, index: u32) {
        if let Some(subscriber) = self.audience.get(index) {
            subscriber
                .subscriptions
                .retain(|known| known.topics > 0 || !known.prefixes.is_empty());
        }
    }

    /// The topics that the subscriber has and that a request means.
    pub(super) fn topics_of(&self, index: u32, target: &Target) -> Result<Vec<Topic>, Refusal> {
        let not_found = |message: &str| Refusal::new(ErrorCode::NotFound, message);
        let Some(subscriber) = self.audience.subscribers.get(index as usize) else {
            return Err(not_found("not connected"));
        };
        let mut topics = match target {
            Target::Subscription(sub) => {
                if subscriber.subscription(*sub).is_none() {
                    return Err(not_found("no such subscription"));
                }
                let of = subscriber
                    .topics
                    .iter()
                    .filter(|(_, holding)| holding.sub == *sub);
                of.map(|(topic, _)| *topic).collect::<Vec<_>>()
            }
            Target::Topics { schema, selection } => {
                let venue = self.venue(selection)?;
                let mut topics = Vec::new();
                for symbol in &selection.symbols {
                    let topic = |instrument_id| Topic {
                        schema: *schema,
                        instrument_id,
                    };
                    if *schema == Schema::Feed {
                        let named = self.channels_named(selection, venue, symbol);
                        let named = named.into_iter().map(topic);
                        topics.extend(named.filter(|one| subscriber.topics.contains_key(one)));
                    } else if let Some(prefix) = symbol.strip_suffix('*') {
                        topics.extend(subscriber.topics.keys().copied().filter(|topic| {
                            topic.schema == *schema
                                && self.directory.instrument(topic.instrument_id).is_some_and(
                                    |known| {
                                        known.symbol.starts_with(prefix)
                                            && self.directory.venue_of(known.channel) == venue
                                    },
                                )
                        }));
                    } else if let Ok(id) = self.resolve(selection, venue, *schema, symbol) {
                        topics.extend(
                            Some(topic(id)).filter(|topic| subscriber.topics.contains_key(topic)),
                        );
                    }
                }
                if topics.is_empty() {
                    return Err(not_found("none of these is subscribed"));
                }
                topics
            }
        };
        topics.sort_unstable();
        topics.dedup();
        Ok(topics)
    }

    pub(super) fn unsubscribe(
        &mut self,
        index: u32,
        target: &Target,
    ) -> Result<(Option<u32>, usize), Refusal> {
        let topics = match (self.topics_of(index, target), target) {
            (Ok(topics), _) => topics,
            // A pattern that nothing fits yet ends as well.
            (Err(_), Target::Topics { schema, selection })
                if self.has_pattern(index, *schema, selection) =>
            {
                Vec::new()
            }
            (Err(refusal), _) => return Err(refusal),
        };
        if let Some(subscriber) = self.audience.get(index) {
            match target {
                Target::Subscription(sub) => {
                    for known in &mut subscriber.subscriptions {
                        if known.sub == *sub {
                            known.prefixes.clear();
                        }
                    }
                }
                Target::Topics { schema, selection } => {
                    for known in &mut subscriber.subscriptions {
                        if known.request.schema == *schema {
                            known.prefixes.retain(|prefix| {
                                !selection
                                    .symbols
                                    .iter()
                                    .any(|symbol| symbol.strip_suffix('*') == Some(prefix))
                            });
                        }
                    }
                }
            }
        }
        self.detach(index, &topics);
        self.forget_empty(index);
        let sub = match target {
            Target::Subscription(sub) => Some(*sub),
            Target::Topics { .. } => None,
        };
        Ok((sub, topics.len()))
    }

    pub(super) fn has_pattern(&self, index: u32, schema: Schema, selection: &Selection) -> bool {
        let prefixes: Vec<&str> = selection
            .symbols
            .iter()
            .filter_map(|symbol| symbol.strip_suffix('*'))
            .collect();
        self.audience
            .subscribers
            .get(index as usize)
            .is_some_and(|subscriber| {
                subscriber
                    .subscriptions
                    .iter()
                    .filter(|known| known.request.schema == schema)
                    .flat_map(|known| &known.prefixes)
                    .any(|prefix| prefixes.contains(&prefix.as_str()))
            })
    }

    pub(super) fn set(
        &mut self,
        index: u32,
        id: Option<Value>,
        requests: Vec<Result<SubscriptionRequest, Refusal>>,
    ) {
        let Some(subscriber) = self.audience.get(index) else {
            return;
        };
        let before: Vec<u32> = subscriber
            .subscriptions
            .iter()
            .map(|known| known.sub)
            .collect();
        // The old ones don't count against the new.
        for known in &mut subscriber.subscriptions {
            known.prefixes.clear();
        }
        let mut kept = FxHashSet::default();
        let mut subs = Vec::new();
        for request in requests {
            match request.and_then(|request| self.subscribe(index, id.clone(), request, true)) {
                Ok((sub, topics)) => {
                    kept.extend(topics);
                    subs.push(Some(sub));
                }
                Err(refusal) => {
                    self.refuse(index, id.clone(), refusal, false);
                    subs.push(None);
                }
            }
        }
        if let Some(subscriber) = self.audience.get(index) {
            let gone = subscriber
                .topics
                .iter()
                .filter(|(topic, holding)| before.contains(&holding.sub) && !kept.contains(topic))
                .map(|(topic, _)| *topic)
                .collect::<Vec<_>>();
            self.detach(index, &gone);
        }
        self.forget_empty(index);
        self.answer(index, &Answer::Set { id, subs });
    }

    pub(super) fn list(&mut self, index: u32, id: Option<Value>) {
        let Some(subscriber) = self.audience.subscribers.get(index as usize) else {
            return;
        };
        let mut symbols: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (topic, holding) in &subscriber.topics {
            symbols
                .entry(holding.sub)
                .or_default()
                .push(topic.instrument_id);
        }
        let subscriptions = subscriber
            .subscriptions
            .iter()
            .filter_map(|known| {
                let mut ids = symbols.remove(&known.sub).unwrap_or_default();
                ids.sort_unstable();
                Some(Listed {
                    sub: known.sub,
                    effective: self.effective(index, known.sub)?,
                    symbols: ids
                        .into_iter()
                        .map(|id| self.granted(known.request.schema, id))
                        .collect(),
                })
            })
            .collect();
        self.answer(index, &Answer::List { id, subscriptions });
    }

    /// The topic, which the subscriber has, goes on under another subscription if its options are the same.
    pub(super) fn takes_over(&mut self, index: u32, topic: Topic, sub: u32) -> bool {
        let Some(subscriber) = self.audience.get(index) else {
            return false;
        };
        let Some(holding) = subscriber.topics.get(&topic).copied() else {
            return false;
        };
        let Some(new) = subscriber.subscription(sub) else {
            return false;
        };
        let (format, on_slow) = (new.format, new.request.on_slow);
        let Some(stream) = self.streams.get_mut(holding.stream as usize) else {
            return false;
        };
        let Some(member) = stream.members.get_mut(holding.member as usize) else {
            return false;
        };
        if stream.profile.format != format {
            return false;
        }
        member.on_slow = on_slow;
        for known in &mut subscriber.subscriptions {
            if known.sub == sub {
                known.topics += 1;
            } else if known.sub == holding.sub {
                known.topics = known.topics.saturating_sub(1);
            }
        }
        subscriber.topics.insert(topic, Holding { sub, ..holding });
        true
    }

    /// The subscriber has this topic from now on, as its subscription says.
    pub(super) fn attach(&mut self, index: u32, topic: Topic, sub: u32) {
        self.detach(index, &[topic]);
        let Some(channel) = self.channel_of(topic.instrument_id) else {
            return;
        };
        let Some((format, on_slow, snapshot)) = self.audience.get(index).and_then(|subscriber| {
            let known = subscriber
                .subscriptions
                .iter_mut()
                .find(|known| known.sub == sub)?;
            known.topics += 1;
            Some((known.format, known.request.on_slow, known.request.snapshot))
        }) else {
            return;
        };
        let number = self.stream(Profile { topic, format }, channel);
        let waits = if is_book(topic.schema) {
            snapshot
        } else {
            has_last(topic.schema)
        };
        let Some(stream) = self.streams.get_mut(number as usize) else {
            return;
        };
        let member = u32::try_from(stream.members.len()).unwrap_or(u32::MAX);
        stream.members.push(Member {
            subscriber: index,
            on_slow,
            standing: if waits {
                Standing::Waiting(Reason::Subscribe)
            } else {
                Standing::Live
            },
        });
        if let Some(subscriber) = self.audience.get(index) {
            let holding = Holding {
                sub,
                stream: number,
                member,
            };
            subscriber.topics.insert(topic, holding);
        }
        if waits {
            self.audience.pend(index, topic);
        }
    }

    /// The stream of a profile; a new one if nobody follows it yet.
    pub(super) fn stream(&mut self, profile: Profile, channel: usize) -> u32 {
        if let Some(&number) = self.profiles.get(&profile) {
            return number;
        }
        let topic = profile.topic;
        let id = topic.instrument_id;
        let mut stream = Stream::new(profile, channel);
        if is_book(topic.schema) {
            let kind = kind_of(topic.schema);
            if self.channels[channel].mirrors.acquire(id, kind) {
                self.ask(channel, id, true);
            }
            let mirrors = &self.channels[channel].mirrors;
            if mirrors.is_consistent(id, kind) {
                stream.prime(mirrors);
            }
        } else {
            if topic.schema == Schema::Feed {
                self.channels[channel].telling.get_or_insert_default();
            }
            stream.begin(self.seqs.get(&topic).copied().unwrap_or_default());
        }
        let number = u32::try_from(self.streams.insert(stream)).unwrap_or(u32::MAX);
        self.profiles.insert(profile, number);
        self.streams_of.entry(id).or_default().push(number);
        number
    }

    pub(super) fn detach_all(&mut self, index: u32) {
        let topics = match self.audience.get(index) {
            Some(subscriber) => {
                subscriber.subscriptions.clear();
                subscriber.topics.keys().copied().collect::<Vec<_>>()
            }
            None => return,
        };
        self.detach(index, &topics);
    }

    /// The subscriber doesn't have these topics any more, nor what waits of them.
    pub(super) fn detach(&mut self, index: u32, topics: &[Topic]) {
        let mut gone = FxHashSet::default();
        for &topic in topics {
            let Some(subscriber) = self.audience.get(index) else {
                return;
            };
            let Some(holding) = subscriber.topics.remove(&topic) else {
                continue;
            };
            gone.insert(topic);
            if let Some(known) = subscriber
                .subscriptions
                .iter_mut()
                .find(|known| known.sub == holding.sub)
            {
                known.topics = known.topics.saturating_sub(1);
            }
            let Some(stream) = self.streams.get_mut(holding.stream as usize) else {
                continue;
            };
            let at = holding.member as usize;
            if at < stream.members.len() {
                stream.members.swap_remove(at);
            }
            // The last one took its place.
            if let Some(moved) = stream.members.get(at).map(|member| member.subscriber)
                && let Some(other) = self.audience.get(moved)
                && let Some(theirs) = other.topics.get_mut(&topic)
            {
                theirs.member = holding.member;
            }
            stream.deferred.retain(|&waiting| waiting != index);
            if stream.members.is_empty() {
                self.drop_stream(holding.stream);
            }
        }
        if !gone.is_empty()
            && let Some(subscriber) = self.audience.get(index)
        {
            subscriber.purge(|topic| gone.contains(topic));
        }
    }

    pub(super) fn drop_stream(&mut self, number: u32) {
        let Some(stream) = self.streams.try_remove(number as usize) else {
            return;
        };
        let topic = stream.profile.topic;
        let id = topic.instrument_id;
        self.profiles.remove(&stream.profile);
        if let Some(numbers) = self.streams_of.get_mut(&id) {
            numbers.retain(|&other| other != number);
            if numbers.is_empty() {
                self.streams_of.remove(&id);
            }
        }
        if is_book(topic.schema) {
            self.release_mirror(stream.channel, id);
        }
        let follows = |number: &u32| {
            let stream = self.streams.get(*number as usize);
            stream.is_some_and(|stream| stream.profile.topic == topic)
        };
        let mut others = self.streams_of.get(&id).into_iter().flatten();
        if topic.schema == Schema::Feed && !others.any(follows) {
            self.channels[stream.channel].telling = None;
        }
    }

    pub(super) fn release_mirror(&mut self, channel: usize, id: u32) {
        if self.channels[channel].mirrors.release(id, self.now) {
            let at = self.now.saturating_add(self.config.limits.mirror_linger_ns);
            self.idle.push_back((at, channel, id));
        }
    }
}
