//! What a channel counts; each counter has one sentence.

use std::sync::Mutex;

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

/// Stand-in.
#[derive(Debug, Default)]
pub struct ChannelStatus(Mutex<tickcast_book::report::Report>);

impl ChannelStatus {
    /// Stand-in.
    pub fn store(&self, report: &tickcast_book::report::Report) {
        if let Ok(mut known) = self.0.try_lock() {
            known.clone_from(report);
        }
    }

    /// Stand-in.
    #[must_use]
    pub fn load(&self) -> tickcast_book::report::Report {
        self.0
            .lock()
            .map(|report| report.clone())
            .unwrap_or_default()
    }
}
