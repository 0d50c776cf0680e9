//! The subscribers, and what is done to them while streams are walked.

use std::collections::VecDeque;

use bytes::Bytes;
use slab::Slab;
use tickcast_codecs::outbound::Reason;

use crate::counters::Counters;
use crate::error::CloseCode;
use crate::limits::Limits;
use crate::stream::{Sent, Standing, Stream};
use crate::subscriber::{SlowStep, Subscriber, on_full};
use crate::topic::Topic;

/// The subscribers, and what is done to them while streams are walked.
#[derive(Debug)]
pub(super) struct Audience {
    pub(super) subscribers: Slab<Subscriber>,
    /// Those that have something to write.
    pub(super) ready: VecDeque<u32>,
    /// Those that are to be disconnected when the walk is over.
    pub(super) doomed: Vec<(u32, Doom)>,
    pub(super) limits: Limits,
    pub(super) counters: Counters,
}

impl Audience {
    pub(super) fn get(&mut self, index: u32) -> Option<&mut Subscriber> {
        self.subscribers.get_mut(index as usize)
    }

    pub(super) fn mark_ready(&mut self, index: u32) {
        if let Some(subscriber) = self.subscribers.get_mut(index as usize)
            && !subscriber.is_ready
        {
            subscriber.is_ready = true;
            self.ready.push_back(index);
        }
    }

    /// Puts an answer into the subscriber's own queue.
    pub(super) fn answer(&mut self, index: u32, message: Bytes) {
        let Some(subscriber) = self.subscribers.get_mut(index as usize) else {
            return;
        };
        if subscriber.closing.is_some() {
            return;
        }
        if subscriber.answer(message, &self.limits) {
            self.mark_ready(index);
        } else {
            self.doomed.push((index, Doom::Unread));
        }
    }

    /// Something of the topic is to be made for the subscriber when it can take it.
    pub(super) fn pend(&mut self, index: u32, topic: Topic) {
        if let Some(subscriber) = self.get(index) {
            subscriber.pending.push_back(topic);
            self.mark_ready(index);
        }
    }

    /// Gives a stream's next message to all its members: encoded when the first of them takes it.
    pub(super) fn deliver(
        &mut self,
        stream: &mut Stream,
        sent: Sent,
        encode: impl FnOnce(&Stream) -> Bytes,
    ) {
        let mut members = core::mem::take(&mut stream.members);
        let topic = stream.profile.topic;
        let mut encode = Some(encode);
        let mut message: Option<Bytes> = None;
        // Another one is first each time.
        let start = if stream.walk < members.len() {
            stream.walk
        } else {
            0
        };
        stream.walk = start + 1;
        let (behind, ahead) = members.split_at_mut(start);
        for member in ahead.iter_mut().chain(behind) {
            match &mut member.standing {
                Standing::Waiting(_) => continue,
                Standing::Skipping { to, count, .. } => {
                    *to = sent.seq;
                    *count += 1;
                    self.counters.slow_skipped += 1;
                    continue;
                }
                Standing::Live => {}
            }
            let Some(subscriber) = self.subscribers.get_mut(member.subscriber as usize) else {
                continue;
            };
            if subscriber.closing.is_some() {
                continue;
            }
            if let Some(encode) = encode.take() {
                message = Some(encode(stream));
            }
            let Some(message) = &message else { continue };
            let pushed = subscriber
                .data
                .push(topic, message.clone(), self.limits.queue_bytes_max);
            if pushed.is_ok() {
                self.counters.messages_queued += 1;
                if !subscriber.is_ready {
                    subscriber.is_ready = true;
                    self.ready.push_back(member.subscriber);
                }
                continue;
            }
            match on_full(topic, member.on_slow) {
                SlowStep::Conflate => {
                    self.counters.slow_conflated += 1;
                    self.counters.slow_dropped +=
                        1 + subscriber.data.drop_topics(|waiting| *waiting == topic);
                    member.standing = Standing::Waiting(Reason::Slow);
                }
                SlowStep::Resync => {
                    self.counters.slow_conflated += 1;
                    self.counters.slow_skipped += 1;
                    member.standing = Standing::Waiting(Reason::Slow);
                }
                SlowStep::Skip => {
                    self.counters.slow_skipped += 1;
                    member.standing = Standing::Skipping {
                        prev: sent.prev,
                        from: sent.seq,
                        to: sent.seq,
                        count: 1,
                    };
                }
                SlowStep::Disconnect => {
                    self.doomed.push((member.subscriber, Doom::Slow));
                    continue;
                }
            }
            self.pend(member.subscriber, topic);
        }
        stream.members = members;
    }

    /// All members need a snapshot: what the stream sent holds no more.
    pub(super) fn reset(&mut self, stream: &mut Stream, reason: Reason) {
        let topic = stream.profile.topic;
        for at in 0..stream.members.len() {
            let member = &mut stream.members[at];
            if member.standing == Standing::Live {
                member.standing = Standing::Waiting(reason);
                let index = member.subscriber;
                self.pend(index, topic);
            }
        }
    }

    /// Those that waited until the book was consistent can have their snapshots.
    pub(super) fn release(&mut self, stream: &mut Stream) {
        for index in core::mem::take(&mut stream.deferred) {
            self.pend(index, stream.profile.topic);
        }
    }
}

/// Why a subscriber is disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doom {
    /// Data waited, and it asked to be disconnected rather than to miss any.
    Slow,
    /// Answers waited.
    Unread,
    /// No pong came.
    Idle,
    /// It doesn't speak the protocol.
    Bad,
    /// It asks too fast, and doesn't stop.
    Rate,
    /// The server stops.
    Restart,
}

impl Doom {
    pub(super) const fn code(self) -> CloseCode {
        match self {
            Self::Slow | Self::Unread => CloseCode::SlowConsumer,
            Self::Idle => CloseCode::Idle,
            Self::Bad => CloseCode::BadRequest,
            Self::Rate => CloseCode::RateLimited,
            Self::Restart => CloseCode::Restart,
        }
    }

    pub(super) const fn count(self, counters: &mut Counters) {
        let counter = match self {
            Self::Slow => &mut counters.slow_disconnected,
            Self::Unread => &mut counters.control_overflows,
            Self::Idle => &mut counters.idle_disconnected,
            Self::Bad => &mut counters.bad_disconnected,
            Self::Rate => &mut counters.rate_disconnected,
            Self::Restart => &mut counters.restart_disconnected,
        };
        *counter += 1;
    }
}
