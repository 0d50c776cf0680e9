//! A subscriber: what it is subscribed to, and what waits to be written to it.
//!
//! States: *open* from the beginning; *closing* once a reason was given: it gets no more data, and
//! its last answers and the close frame are written; then nothing.
//!
//! Two queues.  Answers have one of their own and are never dropped: whoever lets them pile up is disconnected.
//! Data wait in the other one, within a bound ([`DataQueue`]); beyond it [`on_full`] decides.  Snapshots don't wait:
//! they are made when the subscriber can take them (its queue is empty), of the newest state at that moment.  So
//! one that reads slowly, or that subscribes to everything at once, costs the same bounded memory.
//!
//! A heartbeat that couldn't be written yet is replaced by the next.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::error::CloseCode;
use crate::hub::Encoding;
use crate::limits::Limits;
use crate::protocol::{Granted, OnSlow, SubscriptionRequest};
use crate::queue::DataQueue;
use crate::topic::{Format, Topic};

/// What becomes of a message that a subscriber's queue has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowStep {
    /// What waits of the topic is dropped; one snapshot of the newest state replaces it.
    Conflate,
    /// What waits of the topic is sent; a snapshot of the newest state follows.
    Resync,
    /// What waits is sent; what was skipped is told by a gap, and followed by a snapshot where there is a book.
    Skip,
    /// The subscriber is disconnected.
    Disconnect,
}

/// Decides what becomes of a message that a subscriber's queue has no room for.
///
/// The one place that does: a ladder with warnings goes here.
#[must_use]
pub const fn on_full(topic: Topic, on_slow: OnSlow) -> SlowStep {
    match (on_slow, topic.schema.depth().is_some()) {
        (OnSlow::Disconnect, _) => SlowStep::Disconnect,
        (OnSlow::Conflate, true) => SlowStep::Conflate,
        (OnSlow::Skip, true) => SlowStep::Resync,
        // Every trade and every order event counts: they can't be replaced by newer ones.
        (OnSlow::Conflate | OnSlow::Skip, false) => SlowStep::Skip,
    }
}

/// A topic that a subscriber has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holding {
    /// The subscription that it is of.
    pub(crate) sub: u32,
    /// The stream, and the place among its members.
    pub(crate) stream: u32,
    pub(crate) member: u32,
}

/// A subscription as granted.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) sub: u32,
    pub(crate) request: SubscriptionRequest,
    pub(crate) format: Format,
    /// The venue that symbols and patterns are of.
    pub(crate) venue: Option<usize>,
    /// Beginnings of symbols that instruments defined later are matched with.
    pub(crate) prefixes: Vec<String>,
    /// Topics that it has.
    pub(crate) topics: usize,
}

/// A subscriber.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) generation: u32,
    pub(crate) encoding: Encoding,
    pub(crate) topics: FxHashMap<Topic, Holding>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) last_sub: u32,
    control: VecDeque<Bytes>,
    control_bytes: usize,
    pub(crate) data: DataQueue,
    /// A snapshot that is being written: chunks that all subscribers of the stream share.
    pub(crate) sending: VecDeque<(Topic, Bytes)>,
    /// Topics that need a snapshot, or to be told of a gap, first come first served.
    pub(crate) pending: VecDeque<Topic>,
    /// Instruments that joined subscriptions by their patterns, and that left them, to be told together.
    pub(crate) joined: BTreeMap<u32, Vec<Granted>>,
    pub(crate) left: BTreeMap<u32, Vec<Granted>>,
    /// Whether it stands in the list of those that have something to write.
    pub(crate) is_ready: bool,
    pub(crate) heartbeat_due: bool,
    pub(crate) ping_due: bool,
    pub(crate) last_ping: u64,
    pub(crate) last_pong: u64,
    /// When all of its requests so far would have been due at the permitted rate.
    requests_paid_until: u64,
    /// Requests refused because they came too fast, since it was last quiet.
    pub(crate) rate_refusals: u32,
    pub(crate) bad_messages: u32,
    pub(crate) closing: Option<CloseCode>,
    pub(crate) close_written: bool,
}

/// What a subscriber's own state has to write next.
#[derive(Debug)]
pub(crate) enum Next {
    Control(Bytes),
    Heartbeat,
    Ping,
    Data(Bytes),
    /// This topic needs a snapshot, or to be told of a gap.
    Pending(Topic),
    Close(CloseCode),
    Nothing,
}

impl Subscriber {
    pub(crate) fn new(generation: u32, encoding: Encoding, now: u64) -> Self {
        Self {
            generation,
            encoding,
            topics: FxHashMap::default(),
            subscriptions: Vec::new(),
            last_sub: 0,
            control: VecDeque::new(),
            control_bytes: 0,
            data: DataQueue::default(),
            sending: VecDeque::new(),
            pending: VecDeque::new(),
            joined: BTreeMap::new(),
            left: BTreeMap::new(),
            is_ready: false,
            heartbeat_due: false,
            ping_due: false,
            last_ping: now,
            last_pong: now,
            requests_paid_until: now,
            rate_refusals: 0,
            bad_messages: 0,
            closing: None,
            close_written: false,
        }
    }

    /// Adds an answer.  Gives false if too many wait: then the subscriber is to be disconnected.
    pub(crate) fn answer(&mut self, message: Bytes, limits: &Limits) -> bool {
        let full = self.control.len() >= limits.control_messages_max
            || self.control_bytes >= limits.control_bytes_max;
        if !full {
            self.control_bytes += message.len();
            self.control.push_back(message);
        }
        !full
    }

    /// Bytes that wait: data and answers, not the chunks that are shared.
    pub(crate) const fn queued_bytes(&self) -> usize {
        self.data.bytes() + self.control_bytes
    }

    /// Takes a request in account.  `Err` holds the milliseconds after which it may be repeated.
    pub(crate) fn rate(&mut self, now: u64, limits: &Limits) -> Result<(), u64> {
        let each = 1_000_000_000 / u64::from(limits.messages_per_second_max.max(1));
        let ahead_max = each.saturating_mul(u64::from(limits.message_burst_max.saturating_sub(1)));
        if self.requests_paid_until <= now {
            self.requests_paid_until = now;
            self.rate_refusals = 0;
        }
        let ahead = self.requests_paid_until - now;
        if ahead > ahead_max {
            self.rate_refusals = self.rate_refusals.saturating_add(1);
            return Err((ahead - ahead_max).div_ceil(1_000_000));
        }
        self.requests_paid_until = self.requests_paid_until.saturating_add(each);
        Ok(())
    }

    /// What to write next, in this order: answers, pings, the heartbeat, the snapshot that is being written, data, and
    /// when all that is written, the next topic that needs a snapshot.
    pub(crate) fn next(&mut self) -> Next {
        if let Some(message) = self.control.pop_front() {
            self.control_bytes -= message.len();
            return Next::Control(message);
        }
        if let Some(code) = self.closing {
            if self.close_written {
                return Next::Nothing;
            }
            self.close_written = true;
            return Next::Close(code);
        }
        if core::mem::take(&mut self.ping_due) {
            return Next::Ping;
        }
        if core::mem::take(&mut self.heartbeat_due) {
            return Next::Heartbeat;
        }
        if let Some((_, chunk)) = self.sending.pop_front() {
            if self.sending.is_empty() {
                self.sending = VecDeque::new();
            }
            return Next::Data(chunk);
        }
        if let Some(message) = self.data.pop() {
            return Next::Data(message);
        }
        match self.pending.pop_front() {
            Some(topic) => Next::Pending(topic),
            None => Next::Nothing,
        }
    }

    /// No more data for it.
    pub(crate) fn close(&mut self, code: CloseCode) {
        if self.closing.is_none() {
            self.closing = Some(code);
            self.data.clear();
            self.sending = VecDeque::new();
            self.pending = VecDeque::new();
        }
    }

    /// Drops what waits of these topics, which it doesn't have any more.  Says how many messages.
    pub(crate) fn purge(&mut self, gone: impl Fn(&Topic) -> bool) -> u64 {
        self.pending.retain(|topic| !gone(topic));
        self.sending.retain(|(topic, _)| !gone(topic));
        self.data.drop_topics(|topic| gone(topic))
    }

    pub(crate) fn subscription(&self, sub: u32) -> Option<&Subscription> {
        self.subscriptions.iter().find(|known| known.sub == sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_that_waits_for_nothing_takes_less_than_1_kib() {
        // Nothing of a new one is on the heap.
        assert!(
            size_of::<Subscriber>() < 1024,
            "{}",
            size_of::<Subscriber>()
        );
    }

    #[test]
    fn after_a_burst_requests_are_taken_at_the_permitted_rate() {
        let limits = Limits::default();
        let mut subscriber = Subscriber::new(0, Encoding::Json, 0);
        for _ in 0..limits.message_burst_max {
            assert_eq!(subscriber.rate(0, &limits), Ok(()));
        }
        assert_eq!(subscriber.rate(0, &limits), Err(200));
        assert_eq!(subscriber.rate(150_000_000, &limits), Err(50));
        assert_eq!(subscriber.rate(200_000_000, &limits), Ok(()));
        assert_eq!(subscriber.rate(200_000_000, &limits), Err(200));
        let taken = (1..=100)
            .filter(|n| {
                subscriber
                    .rate(200_000_000 + n * 100_000_000, &limits)
                    .is_ok()
            })
            .count();
        assert_eq!(taken, 50);
    }
}
