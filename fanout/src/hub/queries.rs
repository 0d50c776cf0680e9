//! What is asked over HTTP: a book, the instruments, the status.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tickcast_book::BookKind;
use tickcast_codecs::outbound::{Body, Message, MessageHeader, Reason, Schema, flags, json};
use tickcast_codecs::types::Level;

use super::{Hub, QueryState, QueryToken, SubscriberId, granted};
use crate::counters::Counters;
use crate::directory;
use crate::protocol::ChannelState;

/// A query for a book.
#[derive(Debug)]
pub(super) struct Query {
    /// The book; `None` once there is none, or no hope of one.
    pub(super) book: Option<(usize, u32)>,
    pub(super) found: bool,
    pub(super) depth: usize,
    pub(super) deadline: u64,
}

impl Hub {
    /// Begins a query for a book, `depth` levels a side.  [`poll_book`](Self::poll_book) gives the answer.
    pub fn request_book(
        &mut self,
        venue: &str,
        symbol: &str,
        depth: usize,
        now: u64,
    ) -> QueryToken {
        self.now = self.now.max(now);
        self.last_query += 1;
        let token = QueryToken(self.last_query);
        let id = self
            .directory
            .venue(venue)
            .and_then(|venue| self.directory.find(venue, symbol, Schema::MbpFull).ok());
        let place = id.and_then(|id| Some((self.channel_of(id)?, id)));
        let full = self.queries.len() >= self.config.limits.queries_max;
        let book = place.filter(|_| !full);
        if let Some((channel, id)) = book
            && self.channels[channel]
                .mirrors
                .acquire(id, BookKind::ByPrice)
        {
            self.ask(channel, id, true);
        }
        let query = Query {
            book,
            found: place.is_some(),
            depth,
            deadline: self.now.saturating_add(self.config.limits.query_ns_max),
        };
        // One that is refused is remembered only as long as it takes to say so.
        if !full {
            self.queries.insert(token.0, query);
        } else if place.is_some() {
            self.audience.counters.queries_failed += 1;
        }
        token
    }

    /// Where a query stands.
    pub fn poll_book(&mut self, token: QueryToken) -> QueryState {
        let Some(query) = self.queries.get(&token.0) else {
            return QueryState::Unavailable;
        };
        let (found, depth) = (query.found, query.depth);
        let Some((channel, id)) = query.book else {
            self.queries.remove(&token.0);
            return if found {
                QueryState::Unavailable
            } else {
                QueryState::NotFound
            };
        };
        // A venue may stop amid an event; the book is told then as it is, without the flag LAST.
        if self.channels[channel].mirrors.is_live(id).is_none() {
            return QueryState::Pending;
        }
        let body = self.book_json(channel, id, depth);
        self.cancel_book(token);
        self.audience.counters.queries_answered += 1;
        QueryState::Ready(body)
    }

    /// A snapshot as the socket would send it, and venue and symbol.
    pub(super) fn book_json(&self, channel: usize, id: u32, depth: usize) -> Bytes {
        let place = &self.channels[channel];
        let book = place.mirrors.book(id);
        let bids: Vec<Level> = book.bids().take(depth).collect();
        let asks: Vec<Level> = book.asks().take(depth).collect();
        let last = if place.mirrors.is_consistent(id, BookKind::ByPrice) {
            flags::LAST
        } else {
            0
        };
        let header = place.mirrors.header(id);
        let seq = place.mirrors.seq(id);
        let schema = Schema::ALL
            .into_iter()
            .find(|schema| schema.depth() == Some(depth))
            .unwrap_or(Schema::MbpFull);
        let message = Message {
            header: MessageHeader {
                schema,
                instrument_id: id,
                seq,
                prev: seq,
                ts_event: header.ts_event,
                ts_recv: header.ts_recv,
                ts_out: self.wall,
                flags: flags::SNAPSHOT | last | place.bad(id),
                sequence: (header.sequence != 0).then_some((header.sequence, header.sequence)),
            },
            body: Body::Snapshot {
                reason: Reason::Request,
                bids: &bids,
                asks: &asks,
                checksum: Some(tickcast_book::checksum(
                    bids.iter().copied(),
                    asks.iter().copied(),
                )),
            },
        };
        let mut out = Vec::new();
        json::encode(&message, false, &mut out);
        // The message is an object: two more fields before its end.
        if out.pop() == Some(b'}') {
            for (name, text) in [
                ("venue", place.info.venue.as_str()),
                ("symbol", &granted(&self.directory, id).symbol),
            ] {
                out.extend_from_slice(format!(",\"{name}\":{}", Value::from(text)).as_bytes());
            }
            out.push(b'}');
        }
        Bytes::from(out)
    }

    /// Forgets a query whose asker is gone.
    pub fn cancel_book(&mut self, token: QueryToken) {
        if let Some(query) = self.queries.remove(&token.0)
            && let Some((channel, id)) = query.book
        {
            self.release_mirror(channel, id);
        }
    }

    /// Queries that waited too long fail; those that nobody asks for any more are forgotten.
    pub(super) fn expire_queries(&mut self) {
        let over: Vec<u64> = self
            .queries
            .iter()
            .filter(|(_, query)| query.deadline <= self.now)
            .map(|(&token, _)| token)
            .collect();
        for token in over {
            let Some(query) = self.queries.get_mut(&token) else {
                continue;
            };
            match query.book.take() {
                Some((channel, id)) => {
                    query.deadline = self.now.saturating_add(self.config.limits.query_ns_max);
                    self.audience.counters.queries_failed += 1;
                    self.release_mirror(channel, id);
                }
                None => {
                    self.queries.remove(&token);
                }
            }
        }
    }

    /// All instruments, as JSON.
    #[must_use]
    pub fn instruments(&self) -> Bytes {
        #[derive(Serialize)]
        struct Entry<'a> {
            venue: &'a str,
            symbol: &'a str,
            instrument_id: u32,
            channel: &'a str,
            round_lot_size: u32,
            is_test: bool,
            is_etp: bool,
            status: Option<&'static str>,
        }
        #[derive(Serialize)]
        struct Instruments<'a> {
            instruments: Vec<Entry<'a>>,
        }
        let entry = |(instrument_id, instrument): (u32, &'_ directory::Instrument)| {
            let channel = self.channels.get(instrument.channel)?;
            let (_, definition) = instrument.definition.as_ref()?;
            Some(Entry {
                venue: &channel.info.venue,
                symbol: self
                    .directory
                    .instrument(instrument_id)
                    .map_or("", |known| &known.symbol),
                instrument_id,
                channel: &channel.info.name,
                round_lot_size: definition.round_lot_size,
                is_test: definition.is_test,
                is_etp: definition.is_etp,
                status: instrument
                    .status
                    .as_ref()
                    .map(|(_, status)| status.action.name()),
            })
        };
        let instruments = Instruments {
            instruments: self.directory.instruments().filter_map(entry).collect(),
        };
        Bytes::from(serde_json::to_vec(&instruments).unwrap_or_default())
    }

    /// Channels, subscribers and counters, as JSON.
    #[must_use]
    pub fn status(&self) -> Bytes {
        #[derive(Serialize)]
        struct Status<'a> {
            session: &'a str,
            epoch: &'a str,
            server_time: String,
            channels: Vec<ChannelState<'a>>,
            subscribers: usize,
            topics: usize,
            profiles: usize,
            books: usize,
            queued_bytes: usize,
            counters: Counters,
        }
        let subscribers = &self.audience.subscribers;
        let status = Status {
            session: &self.server.session,
            epoch: &self.server.epoch,
            server_time: self.wall.to_string(),
            channels: self.channel_states(),
            subscribers: subscribers.len(),
            topics: subscribers.iter().map(|(_, one)| one.topics.len()).sum(),
            profiles: self.streams.len(),
            books: self
                .channels
                .iter()
                .map(|channel| channel.mirrors.len())
                .sum(),
            queued_bytes: subscribers.iter().map(|(_, one)| one.queued_bytes()).sum(),
            counters: self.counters(),
        };
        Bytes::from(serde_json::to_vec(&status).unwrap_or_default())
    }

    /// The counters.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        Counters {
            messages_encoded: self.encoder.messages,
            bytes_encoded: self.encoder.bytes,
            ..self.audience.counters
        }
    }

    /// How many subscribers there are.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.audience.subscribers.len()
    }

    /// Bytes of data that wait for the subscriber: never more than
    /// [`queue_bytes_max`](crate::Limits::queue_bytes_max).
    #[must_use]
    pub fn queued_bytes(&self, id: SubscriberId) -> usize {
        if !self.is_connected(id) {
            return 0;
        }
        self.audience
            .subscribers
            .get(id.index())
            .map_or(0, |subscriber| subscriber.data.bytes())
    }
}
