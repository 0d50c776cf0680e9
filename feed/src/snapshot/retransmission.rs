//! The client of an IEX gap fill server: all messages of the session before the live ones.
//!
//! Implements the receiver's part of *IEX Transport Specification* 1.26, "TCP Gap Fill": the request goes out
//! as soon as the connection is there (the server ends one that stays silent), asks for one range "from
//! the start of a given session", and is answered by "one or more standard Outbound Segments".
//!
//! The range ends far ahead, "to account for new message publication during retransmission": the replay of a
//! day takes longer than live messages can be held, so it has to go on until it "has caught up with the most
//! current publication".  Then the server closes the connection; one that only falls silent has caught up
//! as well.
//!
//! What is applied is the feed itself, so it is applied as the feed is: messages of unknown types, and
//! those that mean nothing, are skipped.  TCP loses nothing: a hole in the answer is an error.

use tickcast_codecs::SessionId;
use tickcast_codecs::iextp::{GapFillRequest, Segment, Segments, Stream};
use tickcast_codecs::protocol::Protocol;

use super::shadow::Shadow;
use super::{LoadError, LoadRequest, LoaderConfig, Step};
use crate::limits::RETRANSMISSION_AHEAD_MESSAGES;

/// One connection's client.
#[derive(Debug)]
pub(super) struct Retransmission {
    protocol: Protocol,
    session: SessionId,
    channel_id: u32,
    not_before: u64,
    /// The sequence number of the next message.
    next: u64,
    segments: Segments,
    transmit: Vec<u8>,
}

/// The sequence number that a session begins with.
const FIRST_SEQUENCE: u64 = 1;

impl Retransmission {
    pub(super) fn new(config: &LoaderConfig, request: &LoadRequest) -> Self {
        Self {
            protocol: config.protocol,
            session: request.session,
            channel_id: request.iextp_channel,
            not_before: request.not_before,
            next: FIRST_SEQUENCE,
            segments: Segments::new(),
            transmit: Vec::new(),
        }
    }

    /// Asks for everything.
    pub(super) fn handle_connected(&mut self) -> Step {
        if self.not_before <= FIRST_SEQUENCE {
            // Nothing came before the live data.
            return Ok(Some(FIRST_SEQUENCE));
        }
        let last = self
            .not_before
            .saturating_add(RETRANSMISSION_AHEAD_MESSAGES);
        let stream = Stream {
            message_protocol_id: self.protocol.iextp_id().ok_or(LoadError::Malformed)?,
            channel_id: self.channel_id,
            session_id: self.session.to_number().ok_or(LoadError::OtherSession)?,
        };
        GapFillRequest::encode(&mut self.transmit, stream, &[(FIRST_SEQUENCE, last)])
            .map_err(|_| LoadError::Malformed)?;
        Ok(None)
    }

    /// The sequence number that live data joins at, as soon as nothing before it is missing.
    pub(super) fn complete(&self) -> Option<u64> {
        (self.next >= self.not_before).then_some(self.next)
    }

    /// What waits to be sent.
    pub(super) fn transmit(&mut self) -> &mut Vec<u8> {
        &mut self.transmit
    }

    pub(super) fn handle_bytes(&mut self, mut bytes: &[u8], shadow: &mut Shadow) -> Step {
        while !bytes.is_empty() {
            let taken = self.segments.handle_bytes(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            while let Some(segment) = self.segments.poll() {
                let segment = segment.map_err(|_| LoadError::Malformed)?;
                if segment.session() != self.session {
                    return Err(LoadError::OtherSession);
                }
                if segment.channel() != self.channel_id
                    || Some(segment.protocol()) != self.protocol.iextp_id()
                {
                    return Err(LoadError::Malformed);
                }
                self.next = take_segment(&segment, self.next, shadow)?;
            }
        }
        Ok(None)
    }
}

/// Applies what is new of a segment; gives the sequence number that is next.
fn take_segment(segment: &Segment<'_>, next: u64, shadow: &mut Shadow) -> Result<u64, LoadError> {
    if segment.is_heartbeat() {
        // It tells what will be next at the server, not here.
        return Ok(next);
    }
    if segment.sequence() > next {
        return Err(LoadError::Inconsistent);
    }
    for (message, sequence) in segment.messages().zip(segment.sequence()..) {
        if sequence >= next {
            let _ = shadow.message(message, sequence)?;
        }
    }
    Ok(segment.next_sequence().max(next))
}
