//! What shards tell: the directory is filled, mirrors follow, and streams' next messages go to their members.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tickcast_book::{Update, UpdateKind};
use tickcast_codecs::event::{Definition, Header};
use tickcast_codecs::outbound::{Body, Reason, Schema, flags};

use super::{Audience, Hub, Upstream, bits, granted, kind_of};
use crate::directory::Defined;
use crate::mirror::{Change, Mirrors};
use crate::protocol::{Answer, Granted, SymbolType};
use crate::stream::{Encoder, Scratch, Stream};
use crate::topic::{Topic, is_book};

impl Hub {
    /// Takes an update of a channel, in the order of its ring.
    pub fn handle_update(&mut self, channel: usize, update: &Update) {
        self.audience.counters.updates += 1;
        if channel >= self.channels.len() {
            self.audience.counters.updates_unknown_channel += 1;
            return;
        }
        let header = &update.header;
        let id = header.instrument_id;
        match update.kind {
            UpdateKind::Definition(definition) => self.define(channel, update, &definition),
            UpdateKind::Status(status) => {
                let known = &mut self.directory.heard(channel, id).status;
                // A snapshot repeats what is known.
                let repeated = update.is_snapshot()
                    && known.as_ref().is_some_and(|(_, known)| *known == status);
                // A restriction or a collar doesn't replace what is known of the phase of trading.
                if status.action.is_phase() || known.is_none() {
                    *known = Some((*header, status));
                }
                if !repeated {
                    self.publish(channel, Schema::Status, header, Body::Status(&status));
                }
            }
            UpdateKind::Trade(trade) => {
                self.publish(channel, Schema::Trades, header, Body::Trade(&trade));
            }
            UpdateKind::TradeBreak { trade_id, px, size } => {
                let body = Body::TradeBreak { trade_id, px, size };
                self.publish(channel, Schema::Trades, header, body);
            }
            UpdateKind::Imbalance(imbalance) => {
                self.publish(
                    channel,
                    Schema::Imbalance,
                    header,
                    Body::Imbalance(&imbalance),
                );
            }
            UpdateKind::Stale | UpdateKind::Live => {
                self.set_stale(channel, id, update.kind == UpdateKind::Stale);
            }
            UpdateKind::Clear => self.clear(channel, header),
            UpdateKind::Resync => self.handle_overrun(channel),
            UpdateKind::SnapshotBegin
            | UpdateKind::SnapshotEnd
            | UpdateKind::Level { .. }
            | UpdateKind::Order(_) => {
                let change = self.channels[channel].mirrors.handle(update);
                self.react(channel, id, change);
                if update.kind == UpdateKind::SnapshotEnd && !update.maybe_bad_book() {
                    self.set_stale(channel, id, false);
                }
            }
        }
        self.reap();
    }

    /// Updates of the channel were lost between its shard and the hub: nothing of it holds any more.  Books are
    /// asked for again; subscribers of the other schemas are told of a gap of unknown length.
    pub fn handle_overrun(&mut self, channel: usize) {
        self.audience.counters.overruns += 1;
        if channel >= self.channels.len() {
            return;
        }
        // What isn't of a book was lost too: number 0 asks for definitions, statuses and the channel's state.
        if let Ok(number) = u32::try_from(channel) {
            self.upstream.push_back(Upstream {
                channel,
                instrument_id: number << 16,
                interest: 0,
                snapshot: true,
            });
        }
        for id in self.channels[channel].mirrors.lost() {
            self.lose(channel, id);
        }
        let streams: Vec<u32> = self.stream_numbers(|stream| {
            stream.channel == channel && !is_book(stream.profile.topic.schema)
        });
        let mut topics: BTreeMap<Topic, u64> = BTreeMap::new();
        for number in streams {
            let Some(stream) = self.streams.get_mut(number as usize) else {
                continue;
            };
            let topic = stream.profile.topic;
            let seqs = &mut self.seqs;
            // One number stands for all that was lost.
            let seq = *topics.entry(topic).or_insert_with(|| {
                let seq = seqs.entry(topic).or_default();
                *seq += 1;
                *seq
            });
            let header = Header::default();
            let sent = stream.advance_to(seq, &header);
            let body = Body::Gap {
                from: seq,
                to: seq,
                count: 0,
            };
            let encoder = &mut self.encoder;
            self.audience.deliver(stream, sent, |stream| {
                stream.encode_body(sent, &header, body, flags::LAST, encoder)
            });
        }
        self.reap();
    }

    pub(super) fn stream_numbers(&self, wanted: impl Fn(&Stream) -> bool) -> Vec<u32> {
        self.streams
            .iter()
            .filter(|(_, stream)| wanted(stream))
            .filter_map(|(number, _)| u32::try_from(number).ok())
            .collect()
    }

    /// The mirror holds no more: its shard is asked for a snapshot, and its subscribers wait for it.
    pub(super) fn lose(&mut self, channel: usize, id: u32) {
        for number in self.streams_of.get(&id).into_iter().flatten() {
            if let Some(stream) = self.streams.get_mut(*number as usize)
                && is_book(stream.profile.topic.schema)
            {
                stream.lose();
                self.audience.reset(stream, Reason::Gap);
            }
        }
        self.ask(channel, id, true);
    }

    /// Tells the shard what is wanted of a book.
    pub(super) fn ask(&mut self, channel: usize, id: u32, snapshot: bool) {
        let kind = self.channels[channel].mirrors.wanted(id);
        if snapshot {
            self.audience.counters.snapshots_requested += 1;
        }
        self.upstream.push_back(Upstream {
            channel,
            instrument_id: id,
            interest: kind.map_or(0, bits),
            snapshot,
        });
    }

    /// A mirror changed: whoever follows it is told.
    pub(super) fn react(&mut self, channel: usize, id: u32, change: Change) {
        match change {
            Change::None => {}
            Change::Ignored => self.audience.counters.updates_ignored += 1,
            Change::Broken => self.lose(channel, id),
            Change::Event => self.event(channel, id),
            Change::Cleared => {
                let reason = if self.channels[channel].bad(id) == 0 {
                    Reason::SessionStart
                } else {
                    Reason::Gap
                };
                self.restart(channel, id, Some(reason));
            }
            Change::Rebuilt { told } => {
                self.audience.counters.snapshots_received += 1;
                self.restart(channel, id, (!told).then_some(Reason::Gap));
            }
        }
    }

    /// An event of a book is complete.
    pub(super) fn event(&mut self, channel: usize, id: u32) {
        let Some(numbers) = self.streams_of.get(&id) else {
            self.channels[channel].mirrors.event_told(id);
            return;
        };
        let bad = self.channels[channel].bad(id);
        let mirrors = &mut self.channels[channel].mirrors;
        let header = mirrors.header(id);
        let (touched, orders) = mirrors.event(id);
        for &number in numbers {
            let Some(stream) = self.streams.get_mut(number as usize) else {
                continue;
            };
            let topic = stream.profile.topic;
            if !is_book(topic.schema) || !stream.is_primed() {
                continue;
            }
            if topic.schema == Schema::Mbo {
                if !orders.is_empty() {
                    let sent = stream.advance_orders(mirrors);
                    let encoder = &mut self.encoder;
                    self.audience.deliver(stream, sent, |stream| {
                        stream.encode_orders(sent, orders, bad, encoder)
                    });
                }
                continue;
            }
            stream.event(&header, touched);
        }
        mirrors.event_told(id);
        let mirrors = &*mirrors;
        for &number in numbers {
            let Some(stream) = self.streams.get_mut(number as usize) else {
                continue;
            };
            let topic = stream.profile.topic;
            if !is_book(topic.schema) {
                continue;
            }
            if !stream.is_primed() {
                if mirrors.is_consistent(id, kind_of(topic.schema)) {
                    stream.prime(mirrors);
                }
            } else if topic.schema != Schema::Mbo {
                let interval_ms = stream.profile.format.conflate_ms;
                if interval_ms == 0 || stream.is_overdue {
                    flush(
                        stream,
                        mirrors,
                        &mut self.audience,
                        &mut self.scratch,
                        &mut self.encoder,
                        bad,
                    );
                } else if !stream.is_due {
                    stream.is_due = true;
                    if let Some(due) = self
                        .due
                        .iter_mut()
                        .find(|due| due.interval_ms == interval_ms)
                    {
                        if due.streams.is_empty() {
                            let interval = u64::from(interval_ms) * 1_000_000;
                            due.at = (self.now / interval + 1) * interval;
                        }
                        due.streams.push(number);
                    }
                }
            }
            if !stream.deferred.is_empty() && stream.is_primed() {
                self.audience.release(stream);
            }
        }
    }

    /// A book is known from here on, or anew: its streams begin (again).  With a reason, whoever knew a former state
    /// is told by a snapshot that it holds no more.
    pub(super) fn restart(&mut self, channel: usize, id: u32, reason: Option<Reason>) {
        let mirrors = &self.channels[channel].mirrors;
        for &number in self.streams_of.get(&id).into_iter().flatten() {
            let Some(stream) = self.streams.get_mut(number as usize) else {
                continue;
            };
            let schema = stream.profile.topic.schema;
            if !is_book(schema) || !mirrors.is_consistent(id, kind_of(schema)) {
                continue;
            }
            let begun = stream.is_primed();
            if !begun || reason.is_some() {
                stream.prime(mirrors);
            }
            if let (true, Some(reason)) = (begun, reason) {
                self.audience.reset(stream, reason);
            }
            self.audience.release(stream);
        }
    }

    /// The venue emptied a book, or all of a channel.
    pub(super) fn clear(&mut self, channel: usize, header: &Header) {
        let ids: BTreeSet<u32> = if header.instrument_id & 0xffff == 0 {
            let place = &self.channels[channel];
            let stale = place.stale_books.iter().copied();
            place.mirrors.ids().into_iter().chain(stale).collect()
        } else {
            BTreeSet::from([header.instrument_id])
        };
        for instrument_id in ids {
            let header = Header {
                instrument_id,
                ..*header
            };
            self.set_stale(channel, instrument_id, false);
            let change = self.channels[channel].mirrors.clear(&header);
            self.react(channel, instrument_id, change);
        }
    }

    /// A channel (number 0) or a book can't be trusted from now on, or can again.
    pub(super) fn set_stale(&mut self, channel: usize, id: u32, stale: bool) {
        let place = &mut self.channels[channel];
        let (changed, answer, whole) = if id & 0xffff == 0 {
            let changed = place.stale != stale;
            place.stale = stale;
            let answer = Answer::State {
                channel: &place.info.name,
                venue: &place.info.venue,
                state: place.state(),
            };
            (changed, answer, true)
        } else {
            let changed = if stale {
                place.stale_books.insert(id)
            } else {
                place.stale_books.remove(&id)
            };
            let answer = Answer::BookState {
                instrument_id: id,
                state: if stale { "stale" } else { "live" },
            };
            (changed, answer, false)
        };
        if !changed {
            return;
        }
        let message = Bytes::from(answer.encode());
        let concerned: BTreeSet<u32> = if whole {
            self.streams
                .iter()
                .filter(|(_, stream)| stream.channel == channel)
                .flat_map(|(_, stream)| &stream.members)
                .map(|member| member.subscriber)
                .collect()
        } else {
            self.streams_of
                .get(&id)
                .into_iter()
                .flatten()
                .filter_map(|&number| self.streams.get(number as usize))
                .flat_map(|stream| &stream.members)
                .map(|member| member.subscriber)
                .collect()
        };
        for index in concerned {
            self.audience.answer(index, message.clone());
        }
    }

    /// The next message of a topic that isn't of a book.
    pub(super) fn publish(
        &mut self,
        channel: usize,
        schema: Schema,
        header: &Header,
        body: Body<'_>,
    ) {
        let id = header.instrument_id;
        let topic = Topic {
            schema,
            instrument_id: id,
        };
        let seq = self.seqs.entry(topic).or_default();
        *seq += 1;
        let seq = *seq;
        let message_flags = flags::LAST | self.channels[channel].bad(id);
        for &number in self.streams_of.get(&id).into_iter().flatten() {
            let Some(stream) = self.streams.get_mut(number as usize) else {
                continue;
            };
            if stream.profile.topic.schema != schema {
                continue;
            }
            let sent = stream.advance_to(seq, header);
            let encoder = &mut self.encoder;
            self.audience.deliver(stream, sent, |stream| {
                stream.encode_body(sent, header, body, message_flags, encoder)
            });
        }
    }

    pub(super) fn define(&mut self, channel: usize, update: &Update, definition: &Definition) {
        let id = update.header.instrument_id;
        let known = self
            .directory
            .instrument(id)
            .and_then(|known| known.definition)
            .is_some_and(|(_, known)| known == *definition);
        let before = granted(&self.directory, id);
        let defined = self.directory.define(channel, &update.header, definition);
        if defined == Defined::Renamed {
            self.renamed(&before);
        }
        if defined != Defined::Again {
            self.join(channel, id);
        }
        // A snapshot repeats what is known.
        if !(known && update.is_snapshot()) {
            let venue = self.directory.channel_mic(channel).to_owned();
            let body = Body::Definition {
                definition,
                venue: &venue,
            };
            self.publish(channel, Schema::Definition, &update.header, body);
        }
    }

    /// A venue gave an instrument's number to another symbol: who subscribed to the symbol, and not to the number
    /// or to a pattern that fits both, isn't subscribed any more.
    pub(super) fn renamed(&mut self, before: &Granted) {
        let id = before.instrument_id;
        let symbol = granted(&self.directory, id).symbol;
        let mut held = Vec::new();
        for &number in self.streams_of.get(&id).into_iter().flatten() {
            let Some(stream) = self.streams.get(number as usize) else {
                continue;
            };
            let topic = stream.profile.topic;
            held.extend(
                stream
                    .members
                    .iter()
                    .map(|member| (member.subscriber, topic)),
            );
        }
        for (index, topic) in held {
            let Some(subscriber) = self.audience.get(index) else {
                continue;
            };
            let Some(sub) = subscriber.topics.get(&topic).map(|holding| holding.sub) else {
                continue;
            };
            let keeps = subscriber.subscription(sub).is_some_and(|subscription| {
                subscription.request.selection.stype == SymbolType::InstrumentId
                    || subscription
                        .prefixes
                        .iter()
                        .any(|prefix| symbol.starts_with(prefix.as_str()))
            });
            if keeps {
                subscriber.joined.entry(sub).or_default().push(Granted {
                    symbol: symbol.clone(),
                    instrument_id: id,
                });
            } else {
                subscriber.left.entry(sub).or_default().push(before.clone());
                self.detach(index, &[topic]);
            }
            self.audience.mark_ready(index);
        }
    }

    /// A new instrument joins the subscriptions whose patterns fit it.
    pub(super) fn join(&mut self, channel: usize, id: u32) {
        let venue = self.directory.venue_of(channel);
        let symbol = granted(&self.directory, id).symbol;
        for index in self.watching.clone() {
            let Some(subscriber) = self.audience.get(index) else {
                continue;
            };
            // By schema, the subscription made last.
            let mut fits: BTreeMap<Schema, u32> = BTreeMap::new();
            for subscription in &subscriber.subscriptions {
                let fit = subscription.venue == venue
                    && subscription
                        .prefixes
                        .iter()
                        .any(|prefix| symbol.starts_with(prefix.as_str()));
                if fit {
                    fits.insert(subscription.request.schema, subscription.sub);
                }
            }
            for (schema, sub) in fits {
                let topic = Topic {
                    schema,
                    instrument_id: id,
                };
                let topics = self.config.limits.topics_max;
                let room = self.audience.get(index).is_some_and(|subscriber| {
                    subscriber.topics.len() < topics && !subscriber.topics.contains_key(&topic)
                });
                if room && self.directory.is_meant(id, schema) {
                    self.attach(index, topic, sub);
                    if let Some(subscriber) = self.audience.get(index) {
                        let joined = Granted {
                            symbol: symbol.clone(),
                            instrument_id: id,
                        };
                        subscriber.joined.entry(sub).or_default().push(joined);
                    }
                    self.audience.mark_ready(index);
                }
            }
        }
    }
}

/// Sends a stream's members what changed in the book since the last message.
pub(super) fn flush(
    stream: &mut Stream,
    mirrors: &Mirrors,
    audience: &mut Audience,
    scratch: &mut Scratch,
    encoder: &mut Encoder,
    bad: u8,
) {
    stream.is_overdue = false;
    if let Some(sent) = stream.advance(mirrors, scratch) {
        audience.deliver(stream, sent, |stream| {
            stream.encode_update(sent, mirrors, scratch, bad, encoder)
        });
        stream.told();
    }
}
