//! The client of a GLIMPSE server.
//!
//! Implements the client's part of *SoupBinTCP Version 3.00* (1.2 "Protocol Flow", 1.3 "Heartbeats", 1.4
//! "End of Session Marker") as far as *GLIMPSE Version 5.0* needs it: one connection, logged in at
//! sequence 1 ("must login to SoupBinTCP for sequence 1 to correctly receive data"), read until the
//! Snapshot message.  A connection that breaks isn't resumed: the next snapshot is newer.

use tickcast_codecs::DecodeError;
use tickcast_codecs::SessionId;
use tickcast_codecs::glimpse::{END_OF_SNAPSHOT, EndOfSnapshot};
use tickcast_codecs::soupbintcp::{Frames, LoginRequest, Packet};

use super::shadow::Shadow;
use super::{LoadError, LoadRequest, LoaderConfig, Step};
use crate::limits::LOAD_HEARTBEAT_NS;

/// One connection's client.
#[derive(Debug)]
pub(super) struct Glimpse {
    login: LoginRequest,
    /// The session that the server has to name.
    session: Option<SessionId>,
    frames: Frames,
    state: State,
    transmit: Vec<u8>,
    last_transmit: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The server hasn't accepted the login yet.
    LoggingIn,
    /// Logged in.
    LoggedIn,
}

/// The sequence number that a snapshot begins with.
const FIRST_SEQUENCE: u64 = 1;

impl Glimpse {
    pub(super) fn new(config: &LoaderConfig, request: &LoadRequest) -> Self {
        Self {
            login: LoginRequest {
                username: config.username,
                password: config.password,
                requested_session: SessionId::default(),
                requested_sequence: FIRST_SEQUENCE,
            },
            session: config.same_session.then_some(request.session),
            frames: Frames::new(),
            state: State::LoggingIn,
            transmit: Vec::new(),
            last_transmit: 0,
        }
    }

    /// "must send a Login Request Packet immediately upon establishing a new TCP/IP socket connection".
    pub(super) fn handle_connected(&mut self, now: u64) {
        self.send(now, &Packet::LoginRequest(self.login));
    }

    pub(super) fn handle_timeout(&mut self, now: u64) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.send(now, &Packet::ClientHeartbeat);
        }
    }

    /// When the next heartbeat is due: "once logged in, the client must send a Client Heartbeat packet
    /// anytime more than 1 second has past since the client last sent anything".
    pub(super) fn poll_timeout(&self) -> Option<u64> {
        let due = self.last_transmit.saturating_add(LOAD_HEARTBEAT_NS);
        (self.state == State::LoggedIn).then_some(due)
    }

    /// What waits to be sent.
    pub(super) fn transmit(&mut self) -> &mut Vec<u8> {
        &mut self.transmit
    }

    pub(super) fn handle_bytes(&mut self, mut bytes: &[u8], shadow: &mut Shadow) -> Step {
        while !bytes.is_empty() {
            let taken = self.frames.handle_bytes(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            while let Some(packet) = self.frames.poll() {
                let packet = packet.map_err(|_| LoadError::Malformed)?;
                let complete = match (packet, self.state) {
                    (Packet::Debug(_), _) | (Packet::ServerHeartbeat, State::LoggedIn) => None,
                    (Packet::LoginAccepted { session, sequence }, State::LoggingIn) => {
                        accept(self.session, session, sequence)?;
                        self.state = State::LoggedIn;
                        None
                    }
                    (Packet::LoginRejected(_), State::LoggingIn) => {
                        return Err(LoadError::Rejected);
                    }
                    (Packet::SequencedData(message), State::LoggedIn) => {
                        take_message(message, shadow)?
                    }
                    (Packet::EndOfSession, _) => return Err(LoadError::Closed),
                    // Nothing else is the server's to send, or not now.
                    _ => return Err(LoadError::Malformed),
                };
                if complete.is_some() {
                    return Ok(complete);
                }
            }
        }
        Ok(None)
    }

    fn send(&mut self, now: u64, packet: &Packet<'_>) {
        // Never too long: neither packet carries a message.
        let _ = packet.encode(&mut self.transmit);
        self.last_transmit = now;
    }
}

/// Whether the server starts where the snapshot does, in the session that is wanted.
///
/// Sequenced packets carry no number: what begins elsewhere could never be told from a whole snapshot.
fn accept(wanted: Option<SessionId>, session: SessionId, sequence: u64) -> Result<(), LoadError> {
    if wanted.is_some_and(|wanted| wanted != session) {
        return Err(LoadError::OtherSession);
    }
    if sequence != FIRST_SEQUENCE {
        return Err(LoadError::Inconsistent);
    }
    Ok(())
}

/// Takes one message; gives the feed's sequence number if it was the last one.
fn take_message(message: &[u8], shadow: &mut Shadow) -> Step {
    if message.first() == Some(&END_OF_SNAPSHOT) {
        let end = EndOfSnapshot::parse(message).map_err(|_| LoadError::Malformed)?;
        return end.sequence().map(Some).map_err(|_| LoadError::Malformed);
    }
    // GLIMPSE numbers its messages by themselves: the feed's number isn't known before the end.
    match shadow.message(message, 0)? {
        Ok(()) | Err(DecodeError::UnknownType { .. }) => Ok(None),
        Err(_) => Err(LoadError::Malformed),
    }
}
