//! A GLIMPSE server: one SoupBinTCP connection that tells the books as they are.
//!
//! Implements the server's part of *SoupBinTCP Version 3.00* (1.2 "Protocol Flow", 1.3 "Heartbeats", 2.2
//! "Logical Packets Sent by a SoupBinTCP Server") and *GLIMPSE Version 5.0*, section 1 "Message Formats": the
//! books "at the time of login request", then the Snapshot message with the sequence number from which the
//! feed is to be processed.
//!
//! The snapshot's messages are made once at the login and sent in pieces of bounded size, as the connection
//! takes them.  A [`Manner`] makes the server misbehave, for those who test a client.
//!
//! Not here: a sequence number other than 1 at the login, which GLIMPSE doesn't know: whatever is asked for,
//! the snapshot begins with message 1, and the server says so.

use std::sync::Arc;

use tickcast_codecs::SessionId;
use tickcast_codecs::glimpse::EndOfSnapshot;
use tickcast_codecs::soupbintcp::{Frames, LoginRequest, Packet, RejectReason};
use tickcast_codecs::types::Text;

use crate::limits::{STREAM_CHUNK_BYTES, STREAM_IDLE_NS_MAX};

/// A snapshot to be served: messages, and what they are as of.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Each behind its length: two bytes, big-endian.
    messages: Arc<[u8]>,
    /// The first sequence number of the feed that isn't part of it.
    sequence: u64,
}

impl Snapshot {
    /// A snapshot that the feed joins at `sequence`; `tell` gives its messages.
    pub fn new(sequence: u64, tell: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Self {
        let mut messages = Vec::new();
        tell(&mut |message| {
            // No message of ITCH is longer than 52 bytes; one that is too long for a length is no message.
            if let Ok(len) = u16::try_from(message.len()) {
                messages.extend_from_slice(&len.to_be_bytes());
                messages.extend_from_slice(message);
            }
        });
        Self {
            messages: messages.into(),
            sequence,
        }
    }

    /// The first sequence number of the feed that isn't part of it.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Bytes of all messages and their lengths.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The message at `at`, and where the next one is.
    fn message(&self, at: usize) -> Option<(&[u8], usize)> {
        let (length, rest) = self.messages.get(at..)?.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        Some((rest.get(..length)?, at + 2 + length))
    }
}

/// How the server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// As the specifications say.
    #[default]
    Honest,
    /// Honest, but it sends a kilobyte at a time, and then nothing for a while.
    Slow {
        /// For how long.
        pause_ns: u64,
    },
    /// It closes the connection after half of the messages.
    DiesHalfWay,
    /// It sends all messages but the end of the snapshot, and then heartbeats for ever.
    NeverEnds,
    /// It says that the feed is to be processed from its first message on.
    TooOld,
    /// It sends bytes that are no packets, after half of the messages.
    Garbage,
    /// It rejects every login.
    Rejects,
    /// It names another session.
    OtherSession,
    /// It accepts the connection, and says nothing.
    Silent,
}

/// How to serve.  `Debug` doesn't show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct GlimpseConfig {
    /// The session.
    pub session: SessionId,
    /// Who may log in.
    pub username: Text<6>,
    /// With which password.
    pub password: Text<10>,
    /// How the server behaves.
    pub manner: Manner,
}

impl core::fmt::Debug for GlimpseConfig {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("GlimpseConfig")
            .field("session", &self.session)
            .field("username", &self.username)
            .field("manner", &self.manner)
            .finish_non_exhaustive()
    }
}

/// One connection's server; see the [module](self).
#[derive(Debug)]
pub struct GlimpseServer {
    config: GlimpseConfig,
    frames: Frames,
    state: State,
    snapshot: Snapshot,
    /// Where the next message to send is.
    at: usize,
    /// What is to be sent before anything else.
    waiting: Vec<u8>,
    last_transmit: u64,
    /// When the client was last heard.
    heard: u64,
    /// Not before this the next piece is sent.
    not_before: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The client hasn't logged in yet.
    LoggingIn,
    /// Messages are being sent.
    Telling,
    /// All is told: heartbeats.
    Told,
    /// What waits is sent, then the connection is closed.
    Closing,
}

/// "anytime more than 1 second has past since the server last sent any data" (1.3).
const HEARTBEAT_NS: u64 = 1_000_000_000;
/// Bytes that a slow server sends at a time.
const SLOW_BYTES: usize = 1_024;
/// What a session that isn't the server's is called.
const OTHER_SESSION: &[u8] = b"ELSEWHERE";
/// No packet: its length is too short for its type.
const GARBAGE: &[u8] = &[0, 1, b'A', 0, 0, 0xff, 0xff, 0xff];

impl GlimpseServer {
    /// A server whose client has just connected.
    #[must_use]
    pub fn new(config: GlimpseConfig, now: u64) -> Self {
        Self {
            config,
            frames: Frames::new(),
            state: State::LoggingIn,
            snapshot: Snapshot::default(),
            at: 0,
            waiting: Vec::new(),
            last_transmit: now,
            heard: now,
            not_before: now,
        }
    }

    /// Takes bytes from the client, split anywhere.  `snapshot` is asked once, when the client logs in.
    pub fn handle_bytes(
        &mut self,
        now: u64,
        mut bytes: &[u8],
        snapshot: &mut dyn FnMut() -> Snapshot,
    ) {
        if self.config.manner == Manner::Silent {
            return;
        }
        self.heard = now;
        while !bytes.is_empty() && self.state != State::Closing {
            let taken = self.frames.handle_bytes(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            while self.state != State::Closing
                && let Some(packet) = self.frames.poll()
            {
                match packet {
                    Ok(Packet::Debug(_) | Packet::ClientHeartbeat | Packet::UnsequencedData(_)) => {
                    }
                    Ok(Packet::LoginRequest(login)) if self.state == State::LoggingIn => {
                        let answer = self.judge(&login);
                        // A login's answer is never too long.
                        let _ = answer.encode(&mut self.waiting);
                        self.state = State::Closing;
                        if matches!(answer, Packet::LoginAccepted { .. }) {
                            self.snapshot = snapshot();
                            self.state = State::Telling;
                        }
                    }
                    // The logout, and whatever a client can't mean.
                    Ok(_) | Err(_) => self.state = State::Closing,
                }
            }
        }
    }

    /// The client closed the connection.
    pub fn handle_closed(&mut self) {
        self.waiting.clear();
        self.state = State::Closing;
    }

    /// Time has passed: heartbeats become due, and a silent client is given up.
    pub fn handle_timeout(&mut self, now: u64) {
        if now >= self.heard.saturating_add(STREAM_IDLE_NS_MAX) {
            self.handle_closed();
        }
        let is_due = now >= self.last_transmit.saturating_add(HEARTBEAT_NS);
        if is_due && matches!(self.state, State::Telling | State::Told) && self.waiting.is_empty() {
            let _ = Packet::ServerHeartbeat.encode(&mut self.waiting);
        }
    }

    /// When there is something to do; `None` once the connection is to be closed.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let dead = self.heard.saturating_add(STREAM_IDLE_NS_MAX);
        let heartbeat = self.last_transmit.saturating_add(HEARTBEAT_NS);
        match self.state {
            State::Closing => None,
            State::LoggingIn => Some(dead),
            State::Telling => Some(self.not_before.min(heartbeat).min(dead)),
            State::Told => Some(heartbeat.min(dead)),
        }
    }

    /// Writes the next bytes to send into `out`, in place of what it held: some 64 KiB at most.  `false`:
    /// there are none now.
    pub fn poll_transmit(&mut self, now: u64, out: &mut Vec<u8>) -> bool {
        out.clear();
        out.append(&mut self.waiting);
        if self.state == State::Telling && now >= self.not_before {
            self.tell(now, out);
        }
        if !out.is_empty() {
            self.last_transmit = now;
        }
        !out.is_empty()
    }

    /// Whether the connection is to be closed, once [`poll_transmit`](Self::poll_transmit) gives nothing.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.state == State::Closing
    }

    /// Whether all was told, the end included.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.state == State::Told
    }

    fn judge(&self, login: &LoginRequest) -> Packet<'static> {
        let config = &self.config;
        // "Both Username and Password are case-insensitive" (2.3.1).
        let known = login
            .username
            .as_bytes()
            .eq_ignore_ascii_case(config.username.as_bytes())
            && login
                .password
                .as_bytes()
                .eq_ignore_ascii_case(config.password.as_bytes());
        let session = login.requested_session;
        if config.manner == Manner::Rejects || !known {
            Packet::LoginRejected(RejectReason::NotAuthorized)
        } else if !session.is_empty() && session != config.session {
            Packet::LoginRejected(RejectReason::SessionNotAvailable)
        } else if config.manner == Manner::OtherSession {
            Packet::LoginAccepted {
                session: SessionId::from_padded(OTHER_SESSION),
                sequence: 1,
            }
        } else {
            Packet::LoginAccepted {
                session: config.session,
                sequence: 1,
            }
        }
    }

    /// Appends messages until the piece is large enough, and what comes after the last.
    fn tell(&mut self, now: u64, out: &mut Vec<u8>) {
        let (bytes_max, pause_ns) = match self.config.manner {
            Manner::Slow { pause_ns } => (SLOW_BYTES, pause_ns),
            _ => (STREAM_CHUNK_BYTES, 0),
        };
        self.not_before = now.saturating_add(pause_ns);
        while out.len() < bytes_max {
            let half_way = self.at >= self.snapshot.len() / 2;
            match self.config.manner {
                Manner::DiesHalfWay if half_way => return self.state = State::Closing,
                Manner::Garbage if half_way => {
                    out.extend_from_slice(GARBAGE);
                    return self.state = State::Closing;
                }
                _ => {}
            }
            let Some((message, next)) = self.snapshot.message(self.at) else {
                return self.tell_end(out);
            };
            // A length of two bytes never exceeds what a packet carries by more than one: such a message
            // doesn't exist.
            let _ = Packet::SequencedData(message).encode(out);
            self.at = next;
        }
    }

    fn tell_end(&mut self, out: &mut Vec<u8>) {
        self.state = State::Told;
        let sequence = match self.config.manner {
            Manner::NeverEnds => return,
            Manner::TooOld => 1,
            _ => self.snapshot.sequence,
        };
        let _ = Packet::SequencedData(&EndOfSnapshot::new(sequence).encode()).encode(out);
    }
}
