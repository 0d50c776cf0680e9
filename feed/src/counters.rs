//! What a channel counts, each with one sentence, and the copy that other threads read.

use std::sync::Mutex;

use tickcast_book::Market;
use tickcast_book::report::{LineReport, Reading, ReadingKind, Report};

use crate::channel::Channel;
use crate::limits::REPORTED_GAPS_MAX;

/// The counters of a channel as a recording's summary tells them, all lines together.
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
    /// Name and value of each, in a fixed order.
    #[must_use]
    pub fn list(&self) -> [(&'static str, u64); 12] {
        [
            ("packets", self.packets),
            ("rejected", self.rejected),
            ("heartbeats", self.heartbeats),
            ("messages", self.messages),
            ("duplicates", self.duplicates),
            ("old_session", self.old_session),
            ("unknown_types", self.unknown_types),
            ("refused_messages", self.refused_messages),
            ("gaps", self.gaps),
            ("missing", self.missing),
            ("sessions", self.sessions),
            ("restarts", self.restarts),
        ]
    }
}

/// The report of a channel as other threads read it.  Written by the channel's thread now and then, never
/// waited for.
#[derive(Debug, Default)]
pub struct ChannelStatus {
    report: Mutex<Report>,
}

impl ChannelStatus {
    /// Lets the channel write, unless a reader is looking right now: then the next time.
    pub fn store(&self, write: impl FnOnce(&mut Report)) {
        if let Ok(mut report) = self.report.try_lock() {
            write(&mut report);
        }
    }

    /// The report as it was written last.
    #[must_use]
    pub fn load(&self) -> Report {
        self.report
            .lock()
            .map(|report| report.clone())
            .unwrap_or_default()
    }
}

/// Writes down how a channel is.  Allocates nothing once `report` has room for it.
pub(crate) fn report<const CANARY: u8>(
    channel: &Channel<CANARY>,
    market: &Market,
    report: &mut Report,
) {
    let arbiter = channel.arbiter();
    report.state = arbiter.phase().name();
    report.stale = !arbiter.is_live();
    report.session.clear();
    let session = channel.session();
    report.session.push_str(session.as_str().unwrap_or("?"));
    report.next_sequence = arbiter.next_sequence();
    report.gaps.clear();
    let gaps = arbiter.gaps().declared().take(REPORTED_GAPS_MAX);
    report.gaps.extend(gaps.map(|gap| (gap.first, gap.last)));
    report.readings.clear();
    let readings = &mut report.readings;
    let mut lines = arbiter.lines().iter().zip(0_u8..);
    report
        .lines
        .resize_with(arbiter.lines().len(), || LineReport {
            name: String::new(),
            state: "silent",
            won: 0,
            duplicate: 0,
        });
    for (told, (line, index)) in report.lines.iter_mut().zip(&mut lines) {
        if told.name.is_empty() {
            told.name.push(char::from(b'A'.saturating_add(index)));
        }
        let counters = line.counters();
        told.state = line.state().name();
        told.won = counters.messages_won;
        told.duplicate = counters.messages_duplicate;
        for (name, value, help) in [
            ("packets", counters.packets, "packets received on the line"),
            ("bytes", counters.bytes, "bytes of these packets"),
            (
                "heartbeats",
                counters.heartbeats,
                "packets without a message",
            ),
            (
                "messages_won",
                counters.messages_won,
                "messages that the line brought first",
            ),
            (
                "messages_duplicate",
                counters.messages_duplicate,
                "messages that had come before",
            ),
            (
                "messages_late",
                counters.messages_late,
                "messages that came after they had been given up",
            ),
            (
                "messages_missing",
                counters.messages_missing,
                "numbers that the line passed over, whatever the others brought",
            ),
            (
                "messages_no_room",
                counters.messages_no_room,
                "messages ahead of a gap for which there was no room",
            ),
            (
                "messages_conflicting",
                counters.messages_conflicting,
                "messages whose bytes differ from those that came before under the same number",
            ),
            (
                "messages_old_session",
                counters.messages_old_session,
                "messages of a session that had ended",
            ),
            (
                "messages_foreign",
                counters.messages_foreign,
                "messages of a session that isn't this channel's",
            ),
            (
                "messages_unconfirmed",
                counters.messages_unconfirmed,
                "messages so far ahead that a second packet has to confirm them",
            ),
            (
                "packets_rejected",
                counters.rejected(),
                "packets refused for their bytes, whatever the reason",
            ),
            (
                "packets_rejected_truncated",
                counters.rejected_truncated,
                "packets refused because bytes are missing",
            ),
            (
                "packets_rejected_trailing_bytes",
                counters.rejected_trailing_bytes,
                "packets refused because bytes are left over",
            ),
            (
                "packets_rejected_empty_block",
                counters.rejected_empty_block,
                "packets refused because of an empty message",
            ),
            (
                "packets_rejected_bad_value",
                counters.rejected_bad_value,
                "packets refused because of a value that can't be",
            ),
            (
                "packets_old_session",
                counters.packets_old_session,
                "packets of a session that had ended",
            ),
            (
                "packets_foreign",
                counters.packets_foreign,
                "packets of a session that isn't this channel's",
            ),
            (
                "kernel_drops",
                counters.kernel_drops,
                "datagrams that the kernel dropped because the receive buffer was full; those that it had joined (UDP_GRO) count as one",
            ),
            (
                "line_silences",
                counters.silences,
                "times that the line fell silent",
            ),
            (
                "line_downs",
                counters.downs,
                "times that the line went down",
            ),
        ] {
            readings.push(Reading {
                name,
                help,
                kind: ReadingKind::Counter,
                line: Some(index),
                value,
            });
        }
    }
    let counted = channel.counters();
    let total = arbiter.counters();
    let asked = arbiter.recovery().counters();
    let mut tell = |kind, list: &[(&'static str, u64, &'static str)]| {
        for &(name, value, help) in list {
            readings.push(Reading {
                name,
                help,
                kind,
                line: None,
                value,
            });
        }
    };
    tell(
        ReadingKind::Counter,
        &[
            ("messages", counted.messages, "messages delivered to books"),
            (
                "unknown_types",
                counted.unknown_types,
                "messages of a type that the specification doesn't have",
            ),
            (
                "refused_messages",
                counted.refused_messages,
                "messages that fit their length but not their meaning",
            ),
            (
                "sessions",
                total.sessions,
                "sessions that started, the first included",
            ),
            (
                "restarts",
                total.restarts,
                "restarts of the numbering within one session id",
            ),
            ("gaps_declared", total.gaps_declared, "gaps declared"),
            (
                "messages_missing",
                total.messages_missing,
                "messages missing in declared gaps",
            ),
            (
                "filled_by_line",
                total.filled_by_line,
                "missing messages that a line brought after all",
            ),
            (
                "filled_by_request",
                total.filled_by_request,
                "missing messages that a request server brought",
            ),
            (
                "filled_by_snapshot",
                total.filled_by_snapshot,
                "missing messages that a snapshot made unnecessary",
            ),
            (
                "messages_lost",
                total.messages_lost,
                "missing messages that nobody brought and no snapshot replaces, or not before the session was over",
            ),
            (
                "messages_superseded",
                total.messages_superseded,
                "held messages that a snapshot contained",
            ),
            (
                "messages_evicted",
                total.messages_evicted,
                "held messages forgotten because their copies differ",
            ),
            (
                "messages_abandoned",
                total.messages_abandoned,
                "held messages forgotten because a session started",
            ),
            (
                "messages_overflowed",
                total.messages_overflowed,
                "held messages forgotten because the backlog was full",
            ),
            ("requests_sent", asked.requests_sent, "requests sent"),
            (
                "requests_timed_out",
                asked.requests_timed_out,
                "requests that weren't answered in time",
            ),
            (
                "requests_deferred",
                asked.requests_deferred,
                "times that a request had to wait for the budget",
            ),
            (
                "request_servers_changed",
                asked.servers_changed,
                "times that the next request server was asked because one didn't answer",
            ),
            (
                "requests_exhausted",
                asked.requests_exhausted,
                "times that no request server answered",
            ),
            ("replies", total.replies, "answers of request servers"),
            (
                "replies_useless",
                total.replies_useless,
                "answers that brought nothing that was missing",
            ),
            (
                "sequence_regressed",
                total.sequence_regressed,
                "times that the numbering stayed behind what was delivered",
            ),
            (
                "forward_jumps",
                total.forward_jumps,
                "times that the numbering jumped farther than can be asked for",
            ),
            (
                "all_lines_down",
                total.all_lines_down,
                "times that all lines were down, or brought nothing of the session for as long",
            ),
            (
                "snapshots_requested",
                total.snapshots_requested,
                "snapshots asked for",
            ),
            (
                "snapshots_loaded",
                total.snapshots_loaded,
                "snapshots that replaced the books",
            ),
            (
                "snapshots_failed",
                total.snapshots_failed,
                "snapshots that failed or were of no use",
            ),
            (
                "snapshots_exhausted",
                total.snapshots_exhausted,
                "times that all attempts at a snapshot failed",
            ),
        ],
    );
    tell(
        ReadingKind::Gauge,
        &[
            (
                "held_messages",
                arbiter.held() as u64,
                "messages that wait for a missing one",
            ),
            (
                "missing_messages",
                arbiter.gaps().count(),
                "messages missing now",
            ),
            (
                "live_orders",
                market.order_count() as u64,
                "orders in all books",
            ),
        ],
    );
    for (name, help, value) in market.counters().iter() {
        let kind = if name.ends_with("_now") {
            ReadingKind::Gauge
        } else {
            ReadingKind::Counter
        };
        readings.push(Reading {
            name,
            help,
            kind,
            line: None,
            value,
        });
    }
    arbiter.repairs().write(&mut report.repair);
}
