//! Nasdaq `BinaryFILE` 1.00 with ITCH 5.0 messages: a big-endian 16-bit length before each message, a
//! length of 0 at the end of the session.
//!
//! The format has no magic, so it is recognised by its first messages: each of a type that ITCH 5.0
//! has, with that type's length.

use tickcast_codecs::itch50;

use super::error::{Fault, Part};
use super::stream::{Found, Stream};

#[derive(Debug)]
pub(super) struct Reader;

impl Reader {
    pub(super) fn recognise(stream: &mut Stream) -> Result<Option<Self>, Fault> {
        Ok(begins_with_messages(stream.peek(PROBE_BYTES)?).then_some(Self))
    }

    #[inline]
    pub(super) fn next(&mut self, stream: &mut Stream) -> Result<Option<Found>, Fault> {
        let Some(&length) = stream.peek_array::<LENGTH_LEN>(Part::Message)? else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes(length));
        if len == 0 {
            let offset = stream.offset();
            stream.take(LENGTH_LEN);
            // Nothing may follow the end of the session, nor may the compressed stream be cut there.
            return match stream.peek_array::<1>(Part::Stream)? {
                None => Ok(None),
                Some(_) => Err(Fault::Malformed {
                    offset,
                    what: "bytes follow the mark of the end of session",
                    value: 0,
                }),
            };
        }
        stream.whole(LENGTH_LEN + len, Part::Message)?;
        stream.take(LENGTH_LEN);
        Ok(Some(Found::Message {
            bytes: stream.take(len),
        }))
    }
}

/// Whether these could be the first bytes of a file, and the type of its first message is among
/// them.
fn begins_with_messages(mut head: &[u8]) -> bool {
    let mut seen = false;
    while let Some(([a, b, message_type], _)) = head.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([*a, *b]));
        if len == 0 {
            return seen;
        }
        if itch50::Message::length_of(*message_type) != Some(len) {
            return false;
        }
        seen = true;
        let Some(rest) = head.get(LENGTH_LEN + len..) else {
            break;
        };
        head = rest;
    }
    seen
}

const LENGTH_LEN: usize = 2;
/// So many bytes are looked at: ten messages at least.
const PROBE_BYTES: usize = 512;
