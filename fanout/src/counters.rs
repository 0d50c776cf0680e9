//! What happened, counted.  Every discard and every refusal moves exactly one of these.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Makes the struct of counters, each with the sentence that explains it to people who watch it.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The counters of one hub.  They only rise.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// Each counter's name, its sentence, and its value.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($doc),+).trim_ascii(), self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Updates taken from shards.
    updates,
    /// Updates of books that nobody is interested in, or whose snapshot hasn't begun.
    updates_ignored,
    /// Updates of a channel that doesn't exist.
    updates_unknown_channel,
    /// Times that a shard was faster than the hub, and updates were lost in between.
    overruns,
    /// Times that all books of a channel were replaced by a snapshot of the venue's, and asked for anew.
    resyncs,
    /// Snapshots of books asked of shards.
    snapshots_requested,
    /// Snapshots of books received from shards, whole.
    snapshots_received,
    /// Reports of channels taken, while somebody subscribed to their `feed`.
    reports,
    /// Data messages encoded, snapshots included.
    messages_encoded,
    /// Bytes of data messages encoded.
    bytes_encoded,
    /// Data messages put into subscribers' queues.
    messages_queued,
    /// Messages handed out to be written: data and control.
    messages_transmitted,
    /// Bytes handed out to be written.
    bytes_transmitted,
    /// Snapshots given to subscribers.
    snapshots_sent,
    /// Times that a topic of a slow subscriber fell back to its newest state.
    slow_conflated,
    /// Queued messages dropped because a newer state of their topic replaces them.
    slow_dropped,
    /// Messages skipped for slow subscribers, and told by a gap or a snapshot.
    slow_skipped,
    /// Gap messages sent.
    gaps_sent,
    /// Subscribers disconnected because they were too slow.
    slow_disconnected,
    /// Subscribers disconnected because they asked without reading the answers.
    control_overflows,
    /// Subscribers disconnected because nothing was heard of them.
    idle_disconnected,
    /// Subscribers disconnected because they don't speak the protocol.
    bad_disconnected,
    /// Subscribers disconnected because they kept asking too fast.
    rate_disconnected,
    /// Subscribers disconnected because the server stopped.
    restart_disconnected,
    /// Subscribers that connected.
    connected,
    /// Subscribers that went, by themselves or not.
    disconnected,
    /// Requests received.
    requests,
    /// Requests refused, for whatever reason.
    requests_refused,
    /// Requests refused because they came too fast.
    requests_rate_limited,
    /// Queries for books answered.
    queries_answered,
    /// Queries for books that no snapshot came for in time, or that were too many.
    queries_failed,
}

/// The copy of a hub's counters that other threads read.  Written by the reactor at each turn, never waited
/// for.
#[derive(Debug, Default)]
pub struct HubStatus(Mutex<(Counters, usize)>);

impl HubStatus {
    /// Takes over what the hub counted, unless a reader is looking right now: then the next time.
    pub(crate) fn store(&self, counters: Counters, subscribers: usize) {
        if let Ok(mut known) = self.0.try_lock() {
            *known = (counters, subscribers);
        }
    }

    /// The counters, and how many subscribers are connected.
    #[must_use]
    pub fn load(&self) -> (Counters, usize) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
