//! One line: whether it lives, and what came of its packets.
//!
//! A machine without I/O.  A line knows nothing of the other lines: what it is worth is counted by the arbiter
//! through [`Line::counters`].

use tickcast_codecs::DecodeError;

/// Whether a line lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineState {
    /// Packets come.
    Up,
    /// None came for a while; heartbeats should have.
    Silent,
    /// None came for so long that the line must be broken.
    Down,
}

impl LineState {
    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Silent => "silent",
            Self::Down => "down",
        }
    }
}

/// What came of a line's packets and messages.  Every packet is counted once as received and, unless all of its
/// messages were looked at, once for the reason; every message of the others is counted exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineCounters {
    /// Packets received.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets without a message.
    pub heartbeats: u64,
    /// Messages that this line brought first.
    pub messages_won: u64,
    /// Messages that had come before.
    pub messages_duplicate: u64,
    /// Messages that came after they had been given up.
    pub messages_late: u64,
    /// Numbers that this line passed over, whatever the others brought.
    pub messages_missing: u64,
    /// Messages ahead of a gap for which there was no room.
    pub messages_no_room: u64,
    /// Messages whose bytes differ from those that came before under the same number.
    pub messages_conflicting: u64,
    /// Messages in packets of a session that had ended.
    pub messages_old_session: u64,
    /// Messages in packets of a session that isn't this channel's.
    pub messages_foreign: u64,
    /// Messages in packets whose numbers are so far ahead that they wait for a second packet to confirm them.
    pub messages_unconfirmed: u64,
    /// Packets refused because bytes are missing.
    pub rejected_truncated: u64,
    /// Packets refused because bytes are left over.
    pub rejected_trailing_bytes: u64,
    /// Packets refused because of an empty message.
    pub rejected_empty_block: u64,
    /// Packets refused because of a value that can't be.
    pub rejected_bad_value: u64,
    /// Packets of a session that had ended.
    pub packets_old_session: u64,
    /// Packets of a session that isn't this channel's.
    pub packets_foreign: u64,
    /// Datagrams that the kernel dropped because the receive buffer was full; joined ones count as one.
    pub kernel_drops: u64,
    /// Times that the line fell silent.
    pub silences: u64,
    /// Times that the line went down.
    pub downs: u64,
}

impl LineCounters {
    /// Packets refused for their bytes, whatever the reason.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected_truncated
            + self.rejected_trailing_bytes
            + self.rejected_empty_block
            + self.rejected_bad_value
    }

    /// Messages of the packets that were not refused.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.messages_won
            + self.messages_duplicate
            + self.messages_late
            + self.messages_no_room
            + self.messages_conflicting
            + self.messages_old_session
            + self.messages_foreign
            + self.messages_unconfirmed
    }
}

/// One line of a channel, or the answers of its request servers.
#[derive(Debug, Clone)]
pub struct Line {
    state: LineState,
    /// When the last packet came, or when the line was made.
    heard: u64,
    /// The number that the line's next packet should begin with.
    next: Option<u64>,
    counters: LineCounters,
}

impl Line {
    /// A line that wasn't heard yet.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self {
            state: LineState::Silent,
            heard: now,
            next: None,
            counters: LineCounters::default(),
        }
    }

    /// Whether it lives.
    #[must_use]
    pub fn state(&self) -> LineState {
        self.state
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &LineCounters {
        &self.counters
    }

    /// What is counted by the arbiter.
    pub(crate) fn counters_mut(&mut self) -> &mut LineCounters {
        &mut self.counters
    }

    /// A packet came, of whatever bytes.
    #[inline]
    pub fn handle_packet(&mut self, now: u64, bytes: usize) {
        self.state = LineState::Up;
        self.heard = now;
        self.counters.packets += 1;
        self.counters.bytes += bytes as u64;
    }

    /// A packet of the session came: are there numbers that this line passed over?
    #[inline]
    pub fn handle_range(&mut self, first: u64, end: u64) {
        if let Some(next) = self.next
            && first > next
        {
            self.counters.messages_missing =
                self.counters.messages_missing.saturating_add(first - next);
        }
        self.next = Some(self.next.map_or(end, |next| next.max(end)));
    }

    /// The numbering starts over.
    pub fn start_session(&mut self) {
        self.next = None;
    }

    /// A packet was refused for its bytes.
    #[cold]
    pub fn handle_rejected(&mut self, error: &DecodeError) {
        let counter = match error {
            DecodeError::Truncated { .. } => &mut self.counters.rejected_truncated,
            DecodeError::TrailingBytes { .. } => &mut self.counters.rejected_trailing_bytes,
            DecodeError::EmptyBlock => &mut self.counters.rejected_empty_block,
            // An unknown type doesn't refuse a packet.
            _ => &mut self.counters.rejected_bad_value,
        };
        *counter += 1;
    }

    /// Time passes.
    pub fn handle_timeout(&mut self, now: u64, silent_ns: u64, down_ns: u64) {
        let since = now.saturating_sub(self.heard);
        let state = match since {
            _ if since >= down_ns => LineState::Down,
            _ if since >= silent_ns => LineState::Silent,
            _ => return,
        };
        if state != self.state {
            match state {
                LineState::Down => self.counters.downs += 1,
                _ => self.counters.silences += 1,
            }
            self.state = state;
        }
    }

    /// When the state changes if nothing comes.
    #[must_use]
    pub fn poll_timeout(&self, silent_ns: u64, down_ns: u64) -> Option<u64> {
        match self.state {
            LineState::Up => Some(self.heard.saturating_add(silent_ns)),
            LineState::Silent => Some(self.heard.saturating_add(down_ns)),
            LineState::Down => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_packets_is_silent_then_down_and_up_with_the_next_packet() {
        let mut line = Line::new(0);
        line.handle_packet(100, 20);
        assert_eq!(line.poll_timeout(1_500, 3_000), Some(1_600));
        line.handle_timeout(1_599, 1_500, 3_000);
        assert_eq!(line.state(), LineState::Up);
        line.handle_timeout(1_600, 1_500, 3_000);
        assert_eq!(line.state(), LineState::Silent);
        line.handle_timeout(3_100, 1_500, 3_000);
        assert_eq!(line.state(), LineState::Down);
        assert_eq!(line.poll_timeout(1_500, 3_000), None);
        line.handle_packet(4_000, 20);
        assert_eq!(line.state(), LineState::Up);
        assert_eq!((line.counters().silences, line.counters().downs), (1, 1));
    }

    #[test]
    fn numbers_that_the_line_passed_over_are_counted_whatever_comes_later() {
        let mut line = Line::new(0);
        line.handle_range(5, 8);
        line.handle_range(10, 12);
        line.handle_range(8, 10);
        line.handle_range(12, 12);
        assert_eq!(line.counters().messages_missing, 2);
    }
}
