//! What a channel counts; each counter has one sentence.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of a channel.  Every packet and message moves exactly one of those it belongs to.
#[derive(Debug, Clone)]
pub struct ChannelCounters {
    /// Packets received (of a BinaryFILE: messages read).
    pub packets: u64,
    /// Packets whose bytes don't fit the protocol; nothing of them was delivered.
    pub rejected: u64,
    /// Packets without a message.
    pub heartbeats: u64,
    /// Messages delivered.
    pub messages: u64,
    /// Messages skipped because they were delivered before.
    pub duplicates: u64,
    /// Messages of a session that had ended.
    pub old_session: u64,
    /// Messages of a type that the specification doesn't have.
    pub unknown_types: u64,
    /// Messages that fit their length but not their meaning.
    pub refused_messages: u64,
    /// Times that messages were missing.
    pub gaps: u64,
    /// Messages missing.
    pub missing: u64,
    /// Sessions that started, the first included.
    pub sessions: u64,
    /// Sessions that started because the numbering fell back within one session id.
    pub restarts: u64,
    /// Messages by their type byte.
    pub by_type: [u64; 256],
}

impl Default for ChannelCounters {
    fn default() -> Self {
        Self {
            packets: 0,
            rejected: 0,
            heartbeats: 0,
            messages: 0,
            duplicates: 0,
            old_session: 0,
            unknown_types: 0,
            refused_messages: 0,
            gaps: 0,
            missing: 0,
            sessions: 0,
            restarts: 0,
            by_type: [0; 256],
        }
    }
}

impl ChannelCounters {
    /// Name, value and sentence of each, in a fixed order.
    #[must_use]
    pub fn list(&self) -> [(&'static str, u64, &'static str); 12] {
        [
            ("packets", self.packets, "packets received"),
            (
                "rejected",
                self.rejected,
                "packets whose bytes don't fit the protocol",
            ),
            ("heartbeats", self.heartbeats, "packets without a message"),
            ("messages", self.messages, "messages delivered"),
            (
                "duplicates",
                self.duplicates,
                "messages that were delivered before",
            ),
            (
                "old_session",
                self.old_session,
                "messages of a session that had ended",
            ),
            (
                "unknown_types",
                self.unknown_types,
                "messages of an unknown type",
            ),
            (
                "refused_messages",
                self.refused_messages,
                "messages that fit their length but not their meaning",
            ),
            ("gaps", self.gaps, "times that messages were missing"),
            ("missing", self.missing, "messages missing"),
            (
                "sessions",
                self.sessions,
                "sessions that started, the first included",
            ),
            (
                "restarts",
                self.restarts,
                "restarts of the numbering within one session id",
            ),
        ]
    }
}

/// The copy of a channel's counters that other threads read.  Written by the shard now and then, never
/// waited for.
#[derive(Debug, Default)]
pub struct ChannelStatus {
    wire: [AtomicU64; 12],
    faults: Mutex<Vec<(&'static str, u64)>>,
}

impl ChannelStatus {
    /// Takes over what the channel counted.
    pub fn store(&self, counters: &ChannelCounters) {
        for (cell, (_, value, _)) in self.wire.iter().zip(counters.list()) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Takes over what the market counted, unless a reader is looking right now: then the next time.
    pub fn store_faults(&self, faults: impl Iterator<Item = (&'static str, u64)>) {
        if let Ok(mut known) = self.faults.try_lock() {
            known.clear();
            known.extend(faults);
        }
    }

    /// Name and value of each counter.
    #[must_use]
    pub fn load(&self) -> Vec<(&'static str, u64)> {
        let names = ChannelCounters::default().list();
        let mut all: Vec<(&'static str, u64)> = names
            .iter()
            .zip(&self.wire)
            .map(|(&(name, _, _), cell)| (name, cell.load(Ordering::Relaxed)))
            .collect();
        if let Ok(faults) = self.faults.lock() {
            all.extend(faults.iter().copied());
        }
        all
    }
}
