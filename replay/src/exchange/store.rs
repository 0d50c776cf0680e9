//! What was published, to be asked for again: messages by sequence number.
//!
//! A ring of bytes and an index, both bounded: the oldest messages make room for the newest.  A message lies
//! in one piece, and finding it costs the same wherever it is.  Sequence numbers begin with 1 and have
//! no holes.

use std::collections::VecDeque;

/// Messages of one session.
#[derive(Debug)]
pub struct Store {
    bytes: Box<[u8]>,
    messages: VecDeque<Stored>,
    /// The sequence number of the oldest stored message.
    first_sequence: u64,
    /// Where in `bytes` the next message goes, if there is room up to the end.
    at: usize,
    /// Bytes of all messages so far, each with its block's length field: IEX-TP's stream offset.
    stream_offset: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stored {
    start: usize,
    len: usize,
    stream_offset: u64,
}

/// Bytes of a message block's length field.
const LENGTH_LEN: u64 = 2;

/// Index entries for each so many bytes of the ring: no feed's messages are shorter on average.
const BYTES_PER_MESSAGE: usize = 16;

impl Store {
    /// An empty store that keeps `bytes_max` bytes of messages; the index takes about as much again.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes: vec![0; bytes_max].into_boxed_slice(),
            messages: VecDeque::new(),
            first_sequence: 1,
            at: 0,
            stream_offset: 0,
        }
    }

    /// Takes the next message.  One that is longer than the whole store gets its number, and is gone.
    pub fn push(&mut self, message: &[u8]) {
        let stored = self.place(message.len());
        match stored.and_then(|start| self.bytes.get_mut(start..start + message.len())) {
            Some(to) => {
                to.copy_from_slice(message);
                self.at += message.len();
                self.messages.push_back(Stored {
                    start: self.at - message.len(),
                    len: message.len(),
                    stream_offset: self.stream_offset,
                });
            }
            None => {
                self.first_sequence = self.next_sequence() + 1;
                self.messages.clear();
            }
        }
        self.stream_offset += message.len() as u64 + LENGTH_LEN;
    }

    /// The sequence number that the next message gets.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.first_sequence + self.messages.len() as u64
    }

    /// The oldest sequence number that can still be had; [`next_sequence`](Self::next_sequence) if none can.
    #[must_use]
    pub fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// A message, if it is still there.
    #[must_use]
    pub fn get(&self, sequence: u64) -> Option<&[u8]> {
        let stored = self.stored(sequence)?;
        self.bytes.get(stored.start..stored.start + stored.len)
    }

    /// Where a message stands in the session's stream of bytes, if it is still there; of the next one, where
    /// it will.
    #[must_use]
    pub fn stream_offset(&self, sequence: u64) -> Option<u64> {
        if sequence == self.next_sequence() {
            return Some(self.stream_offset);
        }
        self.stored(sequence).map(|stored| stored.stream_offset)
    }

    fn stored(&self, sequence: u64) -> Option<&Stored> {
        let index = usize::try_from(sequence.checked_sub(self.first_sequence)?).ok()?;
        self.messages.get(index)
    }

    /// Makes room for a message; gives where it goes, which is also the new `at`.
    fn place(&mut self, len: usize) -> Option<usize> {
        if len > self.bytes.len() {
            return None;
        }
        while self.messages.len() > self.bytes.len() / BYTES_PER_MESSAGE {
            self.forget_first();
        }
        if self.at + len > self.bytes.len() {
            // What lies between here and the end is older than all that lies before.
            while self.messages.front().is_some_and(|m| m.start >= self.at) {
                self.forget_first();
            }
            self.at = 0;
        }
        // In the way are the oldest, and only those at or behind the place: what lies before it is newer.
        let end = self.at + len;
        while self
            .messages
            .front()
            .is_some_and(|m| m.start >= self.at && m.start < end)
        {
            self.forget_first();
        }
        Some(self.at)
    }

    fn forget_first(&mut self) {
        if self.messages.pop_front().is_some() {
            self.first_sequence += 1;
        }
    }
}
