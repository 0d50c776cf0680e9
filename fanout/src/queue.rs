//! What waits to be written to one subscriber: data messages, in order, within a bound of bytes.
//!
//! The bytes are shared with all other subscribers of the profile; the bound says how far one may fall behind, not
//! what it costs.  A queue that is full takes nothing more: what then becomes of the message is decided in
//! [`crate::subscriber`], never here.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::topic::Topic;

/// A queue keeps room for so many messages when it is empty; more is given back.
const KEPT_MESSAGES: usize = 32;

/// The message doesn't fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Data messages that wait for one subscriber.
#[derive(Debug, Default)]
pub struct DataQueue {
    messages: VecDeque<(Topic, Bytes)>,
    bytes: usize,
}

impl DataQueue {
    /// Adds a message.
    ///
    /// # Errors
    ///
    /// [`Full`] if more than `bytes_max` would wait; nothing changed.
    pub fn push(&mut self, topic: Topic, message: Bytes, bytes_max: usize) -> Result<(), Full> {
        let bytes = self.bytes.saturating_add(message.len());
        if bytes > bytes_max {
            return Err(Full);
        }
        self.bytes = bytes;
        self.messages.push_back((topic, message));
        Ok(())
    }

    /// Takes the oldest message.
    pub fn pop(&mut self) -> Option<Bytes> {
        let (_, message) = self.messages.pop_front()?;
        self.bytes -= message.len();
        if self.messages.is_empty() && self.messages.capacity() > KEPT_MESSAGES {
            self.messages.shrink_to(KEPT_MESSAGES);
        }
        Some(message)
    }

    /// Drops all messages of the topics that `gone` names, and says how many.
    pub fn drop_topics(&mut self, mut gone: impl FnMut(&Topic) -> bool) -> u64 {
        let mut dropped = 0;
        let bytes = &mut self.bytes;
        self.messages.retain(|(topic, message)| {
            let keep = !gone(topic);
            if !keep {
                *bytes -= message.len();
                dropped += 1;
            }
            keep
        });
        dropped
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes that wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use tickcast_codecs::outbound::Schema;

    use super::*;

    const fn topic(instrument_id: u32) -> Topic {
        Topic {
            schema: Schema::Mbp10,
            instrument_id,
        }
    }

    #[test]
    fn never_more_bytes_wait_than_allowed_and_none_are_lost_count_of() {
        let mut queue = DataQueue::default();
        for n in 0..100 {
            let pushed = queue.push(topic(n % 3), Bytes::from(vec![0; 7]), 50);
            assert_eq!(pushed.is_ok(), n < 7);
            assert!(queue.bytes() <= 50);
        }
        assert_eq!(queue.drop_topics(|t| t.instrument_id == 1), 2);
        assert_eq!((queue.len(), queue.bytes()), (5, 35));
        while queue.pop().is_some() {}
        assert_eq!((queue.bytes(), queue.is_empty()), (0, true));
    }

    #[test]
    fn a_message_longer_than_the_bound_never_enters() {
        let mut queue = DataQueue::default();
        assert_eq!(
            queue.push(topic(1), Bytes::from(vec![0; 51]), 50),
            Err(Full)
        );
        assert!(queue.is_empty());
    }
}
