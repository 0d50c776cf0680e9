//! What a recorded file holds and what it lacks, line by line and session by session.
//!
//! A machine without I/O: packets in, JSON lines out ([`Index::write`]; the format is in `docs/record.md`).
//! Each line is followed for itself, as it was received: what one line lacks another may have.
//!
//! A session is followed by its identity, whatever comes between its packets; within one, numbering that
//! falls back while the send time jumps forward is a restart (IEX-TP only: MoldUDP64 has no send time).
//! Late packets fill the holes that they left.
//!
//! Invariant: of each line, `packets` is the sum over its sessions, `rejected`, `unrecognised` and
//! `beyond`.  An index is of the packets that are in its file: what was dropped before shows as missing.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tickcast_codecs::SessionId;
use tickcast_codecs::protocol::{Packet, Protocol};

use super::Line;
use super::ranges::Ranges;
use crate::limits::INDEX_SESSIONS_MAX;

/// Sessions that are followed into the next file: the present one, and some whose late copies may come.
const SESSIONS_KEPT: usize = 16;

/// A send time that is newer by this much makes a lower number a restart, and not a late copy.
const RESTART_NS_MIN: u64 = 1_000_000_000;

/// What a file holds.
#[derive(Debug, Clone, Default)]
pub struct Index {
    lines: Vec<LineIndex>,
}

#[derive(Debug, Clone)]
struct LineIndex {
    line: Line,
    protocol: Option<Protocol>,
    /// In order of appearance; a restart begins another one of the same identity.
    sessions: Vec<SessionIndex>,
    /// Whether the line's first session was seen, in this file or one before.
    begun: bool,
    packets: u64,
    bytes: u64,
    kernel_drops: u64,
    dropped: u64,
    unrecognised: u64,
    rejected: u64,
    beyond: u64,
    time: Option<(u64, u64)>,
}

/// One numbering from 1 on: a session, or what follows a restart within it.
#[derive(Debug, Clone)]
struct SessionIndex {
    session: SessionId,
    restarts: u64,
    /// The number behind the highest seen.
    next: u64,
    /// Send times, where the transport tells them: of the first packet, and the newest.
    first_sent: u64,
    newest_sent: u64,
    /// Lowest and highest message recorded.
    span: Option<(u64, u64)>,
    missing: Ranges,
    /// Missing in files before this one; a late packet may fill it here.
    earlier: Ranges,
    packets: u64,
    bytes: u64,
    messages: u64,
    heartbeats: u64,
    duplicates: u64,
    late: u64,
    ended: bool,
}

impl Index {
    /// Nothing recorded yet.
    #[must_use]
    pub fn new(lines: &[Line]) -> Self {
        let lines = lines.iter().cloned().map(LineIndex::new).collect();
        Self { lines }
    }

    /// The index of the next file: it goes on where this one ends.
    pub(super) fn next_file(&self) -> Self {
        let lines = self.lines.iter().map(LineIndex::next_file).collect();
        Self { lines }
    }

    /// Takes a packet that is in the file.
    pub(super) fn handle_packet(&mut self, line: u16, ts_recv: u64, payload: &[u8]) {
        if let Some(line) = self.lines.get_mut(usize::from(line)) {
            line.handle_packet(ts_recv, payload);
        }
    }

    /// Takes what was lost before the next packet of a line: by the kernel, and by the recorder.
    pub(super) fn handle_losses(&mut self, line: u16, kernel: u64, dropped: u64) {
        if let Some(line) = self.lines.get_mut(usize::from(line)) {
            line.kernel_drops += kernel;
            line.dropped += dropped;
        }
    }

    /// Packets of a line in the file, and packets lost before and between them.
    pub(super) fn line(&self, line: usize) -> (u64, u64) {
        self.lines.get(line).map_or((0, 0), |line| {
            (line.packets, line.kernel_drops + line.dropped)
        })
    }

    /// Writes one JSON object a line: of the file, of each line, of each session.
    #[must_use]
    pub fn write(&self) -> String {
        let sum =
            |of: fn(&LineIndex) -> u64| self.lines.iter().map(of).fold(0, u64::saturating_add);
        let first = self.lines.iter().filter_map(|line| Some(line.time?.0));
        let last = self.lines.iter().filter_map(|line| Some(line.time?.1));
        let mut text = String::new();
        let whole = json!({
            "type": "file",
            "packets": sum(|line| line.packets),
            "payload_bytes": sum(|line| line.bytes),
            "kernel_drops": sum(|line| line.kernel_drops),
            "dropped": sum(|line| line.dropped),
            "missing_messages": exact(sum(|line| {
                let missing = line.sessions.iter().map(|session| session.missing.count());
                missing.fold(0, u64::saturating_add)
            })),
            "ts_first": first.min().map(|ts| ts.to_string()),
            "ts_last": last.max().map(|ts| ts.to_string()),
        });
        let _ = writeln!(text, "{whole}");
        for (number, line) in self.lines.iter().enumerate() {
            let _ = writeln!(text, "{}", line.as_json(number));
            for session in line.sessions.iter().filter(|session| session.packets > 0) {
                let _ = writeln!(text, "{}", session.as_json(number, line.protocol));
            }
        }
        text
    }
}

impl LineIndex {
    fn new(line: Line) -> Self {
        Self {
            protocol: line.protocol,
            line,
            sessions: Vec::new(),
            begun: false,
            packets: 0,
            bytes: 0,
            kernel_drops: 0,
            dropped: 0,
            unrecognised: 0,
            rejected: 0,
            beyond: 0,
            time: None,
        }
    }

    fn next_file(&self) -> Self {
        let kept = self.sessions.len().saturating_sub(SESSIONS_KEPT);
        let sessions = self.sessions.iter().skip(kept);
        Self {
            protocol: self.protocol,
            sessions: sessions.map(SessionIndex::next_file).collect(),
            begun: self.begun,
            ..Self::new(self.line.clone())
        }
    }

    fn handle_packet(&mut self, ts_recv: u64, payload: &[u8]) {
        self.packets += 1;
        self.bytes += payload.len() as u64;
        let (first, last) = self.time.unwrap_or((ts_recv, ts_recv));
        self.time = Some((first.min(ts_recv), last.max(ts_recv)));
        let Some(protocol) = self.protocol.or_else(|| Protocol::detect(payload)) else {
            self.unrecognised += 1;
            return;
        };
        let Ok(packet) = Packet::parse(protocol, payload) else {
            self.rejected += 1;
            return;
        };
        if packet.count() > 0 {
            // A packet without messages proves too little to hold the line to it.
            self.protocol = Some(protocol);
        }
        match self.session(&packet) {
            Some(session) => session.handle_packet(&packet, payload.len() as u64),
            None => self.beyond += 1,
        }
    }

    /// The numbering that a packet belongs to, a new one if need be; `None` beyond the bound.
    fn session(&mut self, packet: &Packet<'_>) -> Option<&mut SessionIndex> {
        let (id, sent) = (packet.session(), packet.sent());
        let newest = self.sessions.iter().rposition(|known| known.session == id);
        let restarts = match newest.and_then(|at| self.sessions.get(at)) {
            Some(known) if known.is_restart(packet) => known.restarts + 1,
            // What was sent before the restart belongs to the numbering before it.
            Some(known) if sent < known.first_sent => {
                let before = |known: &SessionIndex| known.session == id && known.first_sent <= sent;
                let at = self.sessions.iter().rposition(before).or(newest)?;
                return self.sessions.get_mut(at);
            }
            Some(_) => return newest.and_then(|at| self.sessions.get_mut(at)),
            None => 0,
        };
        if self.sessions.len() >= INDEX_SESSIONS_MAX {
            return None;
        }
        // What came before the recording isn't missing in it; a session that begins meanwhile begins with 1.
        let next = if self.begun {
            packet.sequence().min(1)
        } else {
            packet.sequence()
        };
        self.begun = true;
        self.sessions
            .push(SessionIndex::new(id, restarts, next, sent));
        self.sessions.last_mut()
    }

    fn as_json(&self, number: usize) -> Value {
        json!({
            "type": "line",
            "line": number,
            "name": self.line.name,
            "group": self.line.group.to_string(),
            "protocol": self.protocol.map(Protocol::name),
            "packets": self.packets,
            "payload_bytes": self.bytes,
            "kernel_drops": self.kernel_drops,
            "dropped": self.dropped,
            "unrecognised": self.unrecognised,
            "rejected": self.rejected,
            "beyond": self.beyond,
        })
    }
}

impl SessionIndex {
    fn new(session: SessionId, restarts: u64, next: u64, sent: u64) -> Self {
        Self {
            session,
            restarts,
            next,
            first_sent: sent,
            newest_sent: sent,
            span: None,
            missing: Ranges::default(),
            earlier: Ranges::default(),
            packets: 0,
            bytes: 0,
            messages: 0,
            heartbeats: 0,
            duplicates: 0,
            late: 0,
            ended: false,
        }
    }

    fn next_file(&self) -> Self {
        Self {
            earlier: self.missing.clone(),
            newest_sent: self.newest_sent,
            ..Self::new(self.session, self.restarts, self.next, self.first_sent)
        }
    }

    fn is_restart(&self, packet: &Packet<'_>) -> bool {
        packet.sequence() < self.next
            && packet.sent() > self.newest_sent.saturating_add(RESTART_NS_MIN)
    }

    fn handle_packet(&mut self, packet: &Packet<'_>, bytes: u64) {
        let (first, count) = (packet.sequence(), u64::from(packet.count()));
        self.packets += 1;
        self.bytes += bytes;
        self.messages += count;
        self.ended |= packet.is_end_of_session();
        self.newest_sent = self.newest_sent.max(packet.sent());
        if first > self.next {
            self.missing.push(self.next, first - 1);
        }
        let behind = first.saturating_add(count);
        let known = self.next.min(behind);
        if count == 0 {
            self.heartbeats += 1;
        } else {
            if known > first {
                let filled =
                    self.missing.fill(first, known - 1) + self.earlier.fill(first, known - 1);
                self.late += filled;
                self.duplicates += (known - first).saturating_sub(filled);
            }
            let (from, to) = self.span.unwrap_or((first, first));
            self.span = Some((from.min(first), to.max(behind - 1)));
        }
        self.next = self.next.max(behind);
    }

    fn as_json(&self, line: usize, protocol: Option<Protocol>) -> Value {
        let missing = self.missing.list().iter();
        let missing = missing.map(|&(first, last)| [exact(first), exact(last)]);
        json!({
            "type": "session",
            "line": line,
            "protocol": protocol.map(Protocol::name),
            "session": self.session.to_string(),
            "restarts": self.restarts,
            "first": self.span.map(|(first, _)| exact(first)),
            "last": self.span.map(|(_, last)| exact(last)),
            "missing": missing.collect::<Vec<_>>(),
            "missing_messages": exact(self.missing.count()),
            "missing_ranges_omitted": self.missing.omitted(),
            "packets": self.packets,
            "payload_bytes": self.bytes,
            "messages": self.messages,
            "heartbeats": self.heartbeats,
            "duplicates": self.duplicates,
            "late": self.late,
            "ended": self.ended,
        })
    }
}

/// Above 2^53 a decimal string, as everywhere in our JSON.
fn exact(number: u64) -> Value {
    if number > 1 << 53 {
        Value::from(number.to_string())
    } else {
        Value::from(number)
    }
}
