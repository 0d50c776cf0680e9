//! Messages that came before their turn.
//!
//! A table by sequence number over one arena of bytes, both of a fixed size and allocated once (as address
//! space: a page costs memory when it is used first).  Putting in, looking up and taking out are O(1); nothing
//! allocates afterwards.
//!
//! Invariants: every message held has a number in `base..end`, which are never more than
//! [`BACKLOG_MESSAGES_MAX`]; its bytes are intact until it is taken out or [`Held::advance`] passes it.  The arena
//! gives space back in the order in which messages came, so one old message can keep younger space: the whole is
//! bounded all the same.

use core::fmt;

use crate::limits::{BACKLOG_BYTES_MAX, BACKLOG_MESSAGES_MAX};

/// Bytes before each message in the arena: its number, its receive time, its length.
const ENTRY_LEN: usize = 8 + 8 + 4;

/// Why a message wasn't held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The arena is full, or the number is too far ahead of what is held.
    Full,
    /// The number is too far behind what is held.
    Below,
    /// Its number is held already, with the same bytes.
    Duplicate,
    /// Its number is held already, with other bytes.
    Conflict,
}

/// Messages by sequence number.
pub(crate) struct Held {
    /// Where in the arena a number's entry begins, plus one: memory comes as zeros, and zero is "none".
    slots: Box<[u32]>,
    arena: Box<[u8]>,
    /// Where the oldest entry begins, and where the next will; both modulo the arena.
    head: usize,
    tail: usize,
    /// Bytes between them.
    used: usize,
    /// Where the last entry before the wrap ends, while entries wrap.
    wrap: usize,
    /// No number below this is held, nor one from `end` on.
    base: u64,
    end: u64,
    messages: usize,
}

/// A message that is held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeldMessage<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) ts_recv: u64,
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what is left of the division is far below any usize"
)]
fn index(sequence: u64) -> usize {
    (sequence % BACKLOG_MESSAGES_MAX as u64) as usize
}

impl fmt::Debug for Held {
    /// Without the bytes: they are too many to be looked at.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("numbers", &(self.base..self.end))
            .field("messages", &self.messages)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

impl Held {
    /// Nothing held.
    pub(crate) fn new() -> Self {
        Self {
            slots: vec![0; BACKLOG_MESSAGES_MAX].into_boxed_slice(),
            arena: vec![0; BACKLOG_BYTES_MAX].into_boxed_slice(),
            head: 0,
            tail: 0,
            used: 0,
            wrap: BACKLOG_BYTES_MAX,
            base: 0,
            end: 0,
            messages: 0,
        }
    }

    /// How many messages are held.
    pub(crate) fn len(&self) -> usize {
        self.messages
    }

    /// Bytes that they occupy.
    pub(crate) fn bytes(&self) -> usize {
        self.used
    }

    fn offset(&self, sequence: u64) -> Option<usize> {
        if sequence < self.base || sequence >= self.end {
            return None;
        }
        Some(self.slots[index(sequence)].checked_sub(1)? as usize)
    }

    /// The numbers that are held, in order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        (self.base..self.end).filter(|&number| self.offset(number).is_some())
    }

    /// What is held under a number.
    pub(crate) fn get(&self, sequence: u64) -> Option<HeldMessage<'_>> {
        let at = self.offset(sequence)?;
        let (_, ts_recv, length) = self.entry(at);
        let start = at + ENTRY_LEN;
        Some(HeldMessage {
            bytes: &self.arena[start..start + length],
            ts_recv,
        })
    }

    fn entry(&self, at: usize) -> (u64, u64, usize) {
        let word = |from: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&self.arena[from..from + 8]);
            u64::from_le_bytes(bytes)
        };
        let mut length = [0; 4];
        length.copy_from_slice(&self.arena[at + 16..at + ENTRY_LEN]);
        (word(at), word(at + 8), u32::from_le_bytes(length) as usize)
    }

    /// Holds a message.
    pub(crate) fn insert(
        &mut self,
        sequence: u64,
        ts_recv: u64,
        bytes: &[u8],
    ) -> Result<(), Refused> {
        if let Some(held) = self.get(sequence) {
            return Err(if held.bytes == bytes {
                Refused::Duplicate
            } else {
                Refused::Conflict
            });
        }
        if self.messages == 0 {
            self.base = sequence;
            self.end = sequence;
        }
        let most = BACKLOG_MESSAGES_MAX as u64;
        if sequence < self.base && self.end - sequence > most {
            return Err(Refused::Below);
        }
        if sequence >= self.base && sequence - self.base >= most {
            return Err(Refused::Full);
        }
        let at = self
            .make_room(ENTRY_LEN + bytes.len())
            .ok_or(Refused::Full)?;
        // A message comes from a datagram, so its length fits.
        let length = u32::try_from(bytes.len()).map_err(|_| Refused::Full)?;
        let offset = u32::try_from(at + 1).map_err(|_| Refused::Full)?;
        self.arena[at..at + 8].copy_from_slice(&sequence.to_le_bytes());
        self.arena[at + 8..at + 16].copy_from_slice(&ts_recv.to_le_bytes());
        self.arena[at + 16..at + ENTRY_LEN].copy_from_slice(&length.to_le_bytes());
        self.arena[at + ENTRY_LEN..at + ENTRY_LEN + bytes.len()].copy_from_slice(bytes);
        self.slots[index(sequence)] = offset;
        self.base = self.base.min(sequence);
        self.end = self.end.max(sequence.saturating_add(1));
        self.messages += 1;
        Ok(())
    }

    /// Room for an entry at the tail, in one piece.
    fn make_room(&mut self, need: usize) -> Option<usize> {
        if self.messages == 0 {
            self.head = 0;
            self.tail = 0;
            self.used = 0;
            self.wrap = self.arena.len();
        }
        if self.tail >= self.head && self.used < self.arena.len() {
            if self.arena.len() - self.tail >= need {
                return Some(self.take(need));
            }
            // What is left at the end stays empty.
            if self.head < need {
                return None;
            }
            self.wrap = self.tail;
            self.used += self.arena.len() - self.tail;
            self.tail = 0;
        }
        (self.head > self.tail && self.head - self.tail >= need).then(|| self.take(need))
    }

    fn take(&mut self, need: usize) -> usize {
        let at = self.tail;
        self.tail += need;
        self.used += need;
        at
    }

    /// Forgets one message.
    pub(crate) fn remove(&mut self, sequence: u64) {
        if self.offset(sequence).is_some() {
            self.slots[index(sequence)] = 0;
            self.messages -= 1;
        }
    }

    /// Forgets everything below `base`.  Gives how many messages that were.
    pub(crate) fn advance(&mut self, base: u64) -> usize {
        let before = self.messages;
        if before == 0 || base <= self.base {
            return 0;
        }
        for sequence in self.base..base.min(self.end) {
            self.remove(sequence);
        }
        self.base = base;
        self.reclaim();
        before - self.messages
    }

    /// Whether a number is ahead of all that is held.
    pub(crate) fn is_ahead(&self, sequence: u64) -> bool {
        self.messages == 0 || sequence >= self.end
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        if self.messages > 0 {
            self.slots.fill(0);
            self.messages = 0;
        }
    }

    /// Gives the space of forgotten messages at the head back.
    fn reclaim(&mut self) {
        while self.messages > 0 && self.used > 0 {
            if self.head >= self.wrap {
                self.used -= self.arena.len() - self.wrap;
                self.wrap = self.arena.len();
                self.head = 0;
                continue;
            }
            let (sequence, _, length) = self.entry(self.head);
            if self.offset(sequence) == Some(self.head) {
                break;
            }
            self.head += ENTRY_LEN + length;
            self.used -= ENTRY_LEN + length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_comes_out_as_it_came_in_whatever_the_order() {
        let mut held = Held::new();
        for sequence in [12, 10, 19, 11] {
            let bytes = sequence.to_string();
            assert_eq!(
                held.insert(sequence, sequence * 2, bytes.as_bytes()),
                Ok(())
            );
        }
        assert_eq!(held.insert(12, 0, b"12"), Err(Refused::Duplicate));
        assert_eq!(held.insert(12, 0, b"13"), Err(Refused::Conflict));
        let message = held.get(19).unwrap();
        assert_eq!((message.bytes, message.ts_recv), (&b"19"[..], 38));
        assert_eq!(held.advance(12), 2);
        assert!(held.get(11).is_none() && held.get(12).is_some());
        held.remove(12);
        assert_eq!(held.len(), 1);
    }

    #[test]
    fn a_full_backlog_refuses_and_gives_its_space_back() {
        let mut held = Held::new();
        let message = vec![7; 60_000];
        let mut next = 1;
        while held.insert(next, 0, &message) == Ok(()) {
            next += 1;
        }
        let fit = next - 1;
        assert!(fit >= BACKLOG_BYTES_MAX as u64 / 60_020 - 1, "{fit}");
        // Many times around the arena, always nearly full.
        for round in 0..5_000 {
            assert_eq!(held.advance(2 + round), 1);
            assert_eq!(held.insert(next, 0, &message), Ok(()), "round {round}");
            next += 1;
            assert!(held.bytes() <= BACKLOG_BYTES_MAX);
        }
        assert_eq!(held.len() as u64, fit);
    }

    #[test]
    fn an_empty_message_is_held_too() {
        let mut held = Held::new();
        assert_eq!(held.insert(1, 5, b""), Ok(()));
        assert_eq!(held.get(1).unwrap().bytes, b"");
    }

    #[test]
    fn the_table_spans_so_many_numbers_wherever_it_begins() {
        let span = BACKLOG_MESSAGES_MAX as u64;
        let mut held = Held::new();
        assert_eq!(held.insert(500, 0, b"x"), Ok(()));
        assert_eq!(held.insert(500 + span, 0, b"x"), Err(Refused::Full));
        assert_eq!(held.insert(499 + span, 0, b"x"), Ok(()));
        assert_eq!(held.insert(499, 0, b"x"), Err(Refused::Below));
        assert_eq!(held.advance(501), 1);
        // What it begins with isn't the least number that it may ever hold.
        held.clear();
        assert_eq!(held.len(), 0);
        assert_eq!(held.insert(1 + span, 0, b"x"), Ok(()));
        assert_eq!(held.insert(2, 0, b"y"), Ok(()));
        assert_eq!(held.insert(1, 0, b"z"), Err(Refused::Below));
        assert_eq!(held.get(2).unwrap().bytes, b"y");
    }

    #[test]
    fn the_last_number_that_there_is_is_held() {
        let mut held = Held::new();
        assert_eq!(held.insert(u64::MAX - 1, 0, b"x"), Ok(()));
        assert_eq!(held.get(u64::MAX - 1).unwrap().bytes, b"x");
        assert_eq!(held.advance(u64::MAX), 1);
    }
}
