//! What a recorded file holds and what it lacks, line by line and session by session.
//!
//! A machine without I/O: packets in, JSON lines out ([`Index::write`], the format is in `docs/record.md`).
//! Sessions, their restarts and what is missing are told by [`tickcast_feed::session::Session`], one for
//! each line; on top of it late packets fill the holes that they left.
//!
//! Invariant: of each line, `packets` is the sum over its sessions, `old_session`, `rejected`,
//! `unrecognised` and `beyond`.  An index is of the packets that are in its file; what was dropped before
//! shows as missing.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tickcast_codecs::SessionId;
use tickcast_codecs::protocol::{Packet, Protocol};
use tickcast_feed::session::{Place, Session, Start};

use super::Line;
use super::ranges::Ranges;
use crate::limits::INDEX_SESSIONS_MAX;

/// What a file holds.
#[derive(Debug, Clone, Default)]
pub struct Index {
    lines: Vec<LineIndex>,
}

#[derive(Debug, Clone)]
struct LineIndex {
    line: Line,
    protocol: Option<Protocol>,
    session: Session,
    /// Where the session that is being received is in `sessions`; `None` before the first, or beyond the bound.
    current: Option<usize>,
    sessions: Vec<SessionIndex>,
    packets: u64,
    bytes: u64,
    kernel_drops: u64,
    dropped: u64,
    unrecognised: u64,
    rejected: u64,
    old_session: u64,
    beyond: u64,
    time: Option<(u64, u64)>,
}

/// One numbering from 1 on: a session, or what follows a restart within it.
#[derive(Debug, Clone)]
struct SessionIndex {
    session: SessionId,
    restarts: u64,
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
            for session in &line.sessions {
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
            session: Session::new(),
            current: None,
            sessions: Vec::new(),
            packets: 0,
            bytes: 0,
            kernel_drops: 0,
            dropped: 0,
            unrecognised: 0,
            rejected: 0,
            old_session: 0,
            beyond: 0,
            time: None,
        }
    }

    fn next_file(&self) -> Self {
        let current = self.current.and_then(|at| self.sessions.get(at));
        Self {
            protocol: self.protocol,
            session: self.session.clone(),
            current: current.map(|_| 0),
            sessions: current.map(SessionIndex::next_file).into_iter().collect(),
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
        self.place(&packet, payload.len() as u64);
    }

    fn place(&mut self, packet: &Packet<'_>, bytes: u64) {
        let place = Place {
            session: packet.session(),
            sequence: packet.sequence(),
            count: u64::from(packet.count()),
            sent: packet.sent(),
        };
        let verdict = self.session.handle_packet(&place);
        if verdict.old_session {
            self.old_session += 1;
            return;
        }
        if let Some(start) = verdict.start {
            self.begin(place.session, start);
        }
        let Some(session) = self.current.and_then(|at| self.sessions.get_mut(at)) else {
            self.beyond += 1;
            return;
        };
        // What came before the recording isn't missing in it.
        if let Some(missing) = verdict.missing
            && verdict.start != Some(Start::First)
        {
            session.missing.push(missing.first, missing.last);
        }
        session.handle_packet(&place, verdict.skip, bytes);
        session.ended |= packet.is_end_of_session();
    }

    fn begin(&mut self, session: SessionId, start: Start) {
        let before = self.current.and_then(|at| self.sessions.get(at));
        let restarts = match (start, before) {
            (Start::Restart, Some(before)) => before.restarts + 1,
            _ => 0,
        };
        self.current = (self.sessions.len() < INDEX_SESSIONS_MAX).then_some(self.sessions.len());
        if self.current.is_some() {
            self.sessions.push(SessionIndex::new(session, restarts));
        }
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
            "old_session": self.old_session,
            "beyond": self.beyond,
        })
    }
}

impl SessionIndex {
    fn new(session: SessionId, restarts: u64) -> Self {
        Self {
            session,
            restarts,
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
            ..Self::new(self.session, self.restarts)
        }
    }

    fn handle_packet(&mut self, place: &Place, skip: u64, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
        self.messages += place.count;
        if place.count == 0 {
            self.heartbeats += 1;
            return;
        }
        let last = place.sequence.saturating_add(place.count - 1);
        if skip > 0 {
            let known = place.sequence.saturating_add(skip - 1);
            let filled =
                self.missing.fill(place.sequence, known) + self.earlier.fill(place.sequence, known);
            self.late += filled;
            self.duplicates += skip.saturating_sub(filled);
        }
        let (from, to) = self.span.unwrap_or((place.sequence, last));
        self.span = Some((from.min(place.sequence), to.max(last)));
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
