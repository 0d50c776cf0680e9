//! `BinaryFILE`: how Nasdaq stores a day of messages in a file.
//!
//! Implements Nasdaq's *BinaryFILE* Version 1.00 (30 March 2010): each message is a big-endian 16-bit
//! length and that many bytes; a length of 0 marks the end of the session.  A file without the mark
//! may be cut short; a file that ends inside a message certainly is.
//!
//! [`Messages`] walks a file that is in memory, [`Reader`] one that arrives in chunks (a
//! decompressor's, say).  Both give the same messages and the same verdict on the end.  The messages
//! have no sequence numbers of their own: the first is number 1, by convention.

use crate::DecodeError;
use crate::length_prefixed::{LENGTH_LEN, LengthPrefixed, needed};

/// How a file ended whose messages were all whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// With the end-of-session mark.
    Marked,
    /// After a whole message, without the mark: perhaps more was to come.
    Unmarked,
}

/// The messages of a file in memory.
///
/// Gives an error at most once, as the last item: [`DecodeError::Truncated`] with the bytes of an
/// unfinished message, or [`DecodeError::TrailingBytes`] if anything follows the end-of-session mark.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
    ending: Ending,
}

impl<'a> Messages<'a> {
    /// Walks the file's bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            ending: Ending::Unmarked,
        }
    }

    /// Whether the end-of-session mark has been met; to be asked after the last item.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Bytes not yet walked.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<&'a [u8], DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let bytes = core::mem::take(&mut self.rest);
        let whole = bytes
            .split_first_chunk::<LENGTH_LEN>()
            .and_then(|(length, rest)| {
                rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
            });
        match whole {
            None => Some(Err(truncated(bytes))),
            Some(([], rest)) => {
                self.ending = Ending::Marked;
                (!rest.is_empty()).then(|| Err(trailing(rest.len())))
            }
            Some((message, rest)) => {
                self.rest = rest;
                Some(Ok(message))
            }
        }
    }
}

impl core::iter::FusedIterator for Messages<'_> {}

/// The messages of a file that arrives in chunks, cut anywhere.
///
/// ```
/// use tickcast_codecs::binaryfile::{Ending, Reader};
///
/// let mut reader = Reader::new();
/// let mut messages = Vec::new();
/// for chunk in [&b"\0\x02S"[..], b"O\0\x01", b"D\0\0"] {
///     let mut rest = chunk;
///     while !rest.is_empty() {
///         rest = &rest[reader.handle_bytes(rest)..];
///         while let Some(message) = reader.poll() {
///             messages.push(message.to_vec());
///         }
///     }
/// }
/// assert_eq!(messages, [b"SO".to_vec(), b"D".to_vec()]);
/// assert_eq!(reader.finish(), Ok(Ending::Marked));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Reader {
    stream: LengthPrefixed,
    ended: bool,
    /// Bytes that came after the end-of-session mark and were dropped.
    dropped: usize,
}

impl Reader {
    /// A reader at the beginning of a file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes, and tells how many: all, unless about 128 KiB are held.  At least one is taken if
    /// [`Reader::poll`] gave `None` before.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> usize {
        if self.ended {
            self.dropped = self.dropped.saturating_add(bytes.len());
            return bytes.len();
        }
        self.stream.put(bytes)
    }

    /// The next whole message; `None` if more bytes are needed or the session has ended.
    #[inline]
    pub fn poll(&mut self) -> Option<&[u8]> {
        if self.ended {
            return None;
        }
        let message = self.stream.take()?.get(LENGTH_LEN..)?;
        if message.is_empty() {
            self.ended = true;
            return None;
        }
        Some(message)
    }

    /// Whether the end-of-session mark has been met.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The verdict on the end of the file; to be asked after [`Reader::poll`] gave `None`.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`] if the file ends inside a message, with the bytes that are there;
    /// - [`DecodeError::TrailingBytes`] if bytes follow the end-of-session mark.
    pub fn finish(&self) -> Result<Ending, DecodeError> {
        let held = self.stream.held();
        if self.ended {
            match self.dropped.saturating_add(held.len()) {
                0 => Ok(Ending::Marked),
                excess => Err(trailing(excess)),
            }
        } else if held.is_empty() {
            Ok(Ending::Unmarked)
        } else {
            Err(truncated(held))
        }
    }
}

/// Appends one message to a file's bytes; whether it could be (1 to 65,535 bytes).
#[must_use]
pub fn encode(message: &[u8], out: &mut Vec<u8>) -> bool {
    match u16::try_from(message.len()) {
        Ok(len) if len != 0 => {
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(message);
            true
        }
        _ => false,
    }
}

/// Appends the end-of-session mark.
pub fn encode_end_of_session(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; LENGTH_LEN]);
}

fn truncated(held: &[u8]) -> DecodeError {
    DecodeError::Truncated {
        what: "BinaryFILE message",
        need: needed(held),
        have: held.len(),
    }
}

fn trailing(excess: usize) -> DecodeError {
    DecodeError::TrailingBytes {
        what: "BinaryFILE session",
        excess,
    }
}
