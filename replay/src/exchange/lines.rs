//! One stream of messages on several lines.
//!
//! Implements the redundancy that venues publish with: every line carries every message under the same
//! sequence number, but packs them by itself, so that the lines' packets overlap.  Each line is a
//! [`Publisher`].  A session may [roll](Lines::handle_roll) to another, and for tests the numbering may
//! [jump](Lines::handle_jump); what waits then is sent first, under its old numbers.
//!
//! Not here: faults, which are [`fault`](crate::fault)'s, and retransmission.

use std::collections::VecDeque;

use tickcast_codecs::SessionId;

use super::publisher::{PublishError, Publisher, PublisherConfig};
use crate::limits::LINES_MAX;

/// How one line packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineConfig {
    /// The publisher's own configuration; the session of the first line is that of all.
    pub publisher: PublisherConfig,
    /// So much later than the publisher would, a packet goes out that isn't full, and with it what has come
    /// until then.
    pub offset_ns: u64,
}

/// The lines of a channel.
#[derive(Debug)]
pub struct Lines {
    lines: Vec<Line>,
    next_sequence: u64,
    /// The line that is asked first: they take turns, so that none waits for another that is always due.
    turn: usize,
    ended: bool,
}

#[derive(Debug)]
struct Line {
    config: LineConfig,
    publisher: Publisher,
    /// Publishers of sessions and numberings before, until they have sent what waited.
    retiring: VecDeque<Publisher>,
}

impl Lines {
    /// Lines whose first message will have sequence number 1.  Lines beyond [`LINES_MAX`] are left out.
    #[must_use]
    pub fn new(configs: &[LineConfig], now: u64) -> Self {
        let session = configs.first().map(|config| config.publisher.session);
        let lines = configs.iter().take(LINES_MAX).map(|&config| {
            let mut config = config;
            config.publisher.session = session.unwrap_or(config.publisher.session);
            Line {
                config,
                publisher: Publisher::new(config.publisher, now),
                retiring: VecDeque::new(),
            }
        });
        Self {
            lines: lines.collect(),
            next_sequence: 1,
            turn: 0,
            ended: false,
        }
    }

    /// Takes one message for all lines.  Call [`Lines::poll_transmit`] until it gives nothing before the
    /// next one, or messages pile up.
    ///
    /// # Errors
    ///
    /// [`PublishError`] if one of the lines can't send it in this session; no line has it then.
    pub fn handle_message(&mut self, now: u64, message: &[u8]) -> Result<(), PublishError> {
        for line in &self.lines {
            line.publisher.check(message)?;
        }
        for line in &mut self.lines {
            line.publisher.handle_message(now, message)?;
        }
        self.next_sequence = self.next_sequence.saturating_add(1);
        Ok(())
    }

    /// Ends the session: what waits is sent, then the end of the session is told.
    pub fn handle_end(&mut self, now: u64) {
        self.ended = true;
        for line in &mut self.lines {
            line.publisher.handle_end(now);
        }
    }

    /// Begins another session with sequence number 1; `told` says whether the end of the old one is told
    /// first, once.
    pub fn handle_roll(&mut self, now: u64, session: SessionId, told: bool) {
        for line in &mut self.lines {
            line.config.publisher.session = session;
            line.renew(now, 1, told);
        }
        self.next_sequence = 1;
        self.ended = false;
    }

    /// Goes on with another sequence number in the same session, which no venue does.
    pub fn handle_jump(&mut self, now: u64, sequence: u64) {
        for line in &mut self.lines {
            line.renew(now, sequence, false);
        }
        self.next_sequence = sequence;
    }

    /// Writes the next packet that is due into `packet`, in place of what it held, and gives its line.
    pub fn poll_transmit(&mut self, now: u64, packet: &mut Vec<u8>) -> Option<u8> {
        for _ in 0..self.lines.len() {
            let at = self.turn % self.lines.len();
            self.turn = at + 1;
            if self.lines[at].poll_transmit(now, packet) {
                // At most `LINES_MAX`.
                return u8::try_from(at).ok();
            }
        }
        None
    }

    /// When [`Lines::poll_transmit`] will have a packet; `None` once the session's end was told on all lines
    /// for long enough.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.lines.iter().filter_map(Line::poll_timeout).min()
    }

    /// How many lines there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// The sequence number of the next message.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Whether the session was ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.lines
            .first()
            .map_or_else(SessionId::default, |line| line.config.publisher.session)
    }
}

impl Line {
    /// Another publisher takes over; the present one sends what waits.
    fn renew(&mut self, now: u64, sequence: u64, told: bool) {
        let next = Publisher::starting_at(self.config.publisher, now, sequence);
        let mut old = core::mem::replace(&mut self.publisher, next);
        old.handle_retire(now, told);
        if old.poll_timeout().is_some() {
            self.retiring.push_back(old);
        }
    }

    fn poll_transmit(&mut self, now: u64, packet: &mut Vec<u8>) -> bool {
        while let Some(old) = self.retiring.front_mut() {
            if old.poll_transmit(now, packet) {
                return true;
            }
            // A retiring publisher has nothing due later.
            self.retiring.pop_front();
        }
        self.due().is_some_and(|due| due <= now) && self.publisher.poll_transmit(now, packet)
    }

    fn poll_timeout(&self) -> Option<u64> {
        match self.retiring.front() {
            Some(old) => old.poll_timeout(),
            None => self.due(),
        }
    }

    fn due(&self) -> Option<u64> {
        let due = self.publisher.poll_timeout()?;
        // 0 is at once: a full packet, or the end.
        let late = if due == 0 { 0 } else { self.config.offset_ns };
        Some(due.saturating_add(late))
    }
}
