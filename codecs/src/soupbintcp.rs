//! `SoupBinTCP`: numbered messages over TCP; it carries GLIMPSE, and the feed where multicast isn't at
//! hand.
//!
//! Implements *SoupBinTCP Version 3.00* (updated 22 February 2017), sections 1.1 "Logical Packets" and
//! 2 "Packet Types", both directions.  Integers are big-endian (1.5).
//!
//! [`Frames`] cuts a byte stream into logical packets wherever TCP split or joined it (note to 1.1).
//! The length field bounds a packet to 65,537 bytes, and so bounds what is held.  A packet that can't be
//! understood doesn't lose the framing: the next one is found by its length.
//!
//! This module doesn't count messages, send heartbeats, or log in: see the snapshot client in
//! `tickcast-feed`.

use core::fmt;

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::DecodeError;
use crate::length_prefixed::{LENGTH_LEN, LengthPrefixed};
use crate::types::{SessionId, Text};
use crate::wire::{Alpha, Char, wire_struct};

/// Bytes of a message that one packet carries at most: the length field counts the type byte too.
pub const MESSAGE_BYTES_MAX: usize = 0xFFFF - 1;

/// Bytes before the payload: the length field and the type byte.
pub const HEADER_LEN: usize = size_of::<Header>();

wire_struct! {
    /// What every logical packet begins with (1.1).
    Header = "logical_packet_header", 3 {
        /// Number of bytes after this field until the next packet.
        0 packet_length: U16,
        /// The packet's type.
        2 packet_type: Char,
    }
}

wire_struct! {
    /// Login Accepted Packet (2.2.1).
    LoginAcceptedPacket = "login_accepted", 33 {
        /// Number of bytes after this field until the next packet: 31.
        0 packet_length: U16,
        /// `A`.
        2 packet_type: Char,
        /// The session that is now logged into, padded on the left with spaces.
        3 session: Alpha<10>,
        /// The sequence number of the next sequenced message, in ASCII, padded on the left with spaces.
        13 sequence_number: Alpha<20>,
    }
}

wire_struct! {
    /// Login Rejected Packet (2.2.2).
    LoginRejectedPacket = "login_rejected", 4 {
        /// Number of bytes after this field until the next packet: 2.
        0 packet_length: U16,
        /// `J`.
        2 packet_type: Char,
        /// `A` not authorized, `S` session not available.
        3 reject_reason_code: Char,
    }
}

wire_struct! {
    /// Login Request Packet (2.3.1).
    LoginRequestPacket = "login_request", 49 {
        /// Number of bytes after this field until the next packet: 47.
        0 packet_length: U16,
        /// `L`.
        2 packet_type: Char,
        /// User name, padded on the right with spaces; case doesn't matter.
        3 username: Alpha<6>,
        /// Password, padded on the right with spaces; case doesn't matter.
        9 password: Alpha<10>,
        /// The session wanted; blank for the active one.
        19 requested_session: Alpha<10>,
        /// The next sequence number wanted, in ASCII; 0 for the most recent message.
        29 requested_sequence_number: Alpha<20>,
    }
}

/// Why a login was rejected (2.2.2, "Login Reject Codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// `A`: user name and password don't fit.
    NotAuthorized,
    /// `S`: the requested session is invalid or not available.
    SessionNotAvailable,
    /// A code that the specification doesn't have.
    Other(u8),
}

impl RejectReason {
    /// From the wire.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            b'A' => Self::NotAuthorized,
            b'S' => Self::SessionNotAvailable,
            code => Self::Other(code),
        }
    }

    /// To the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::NotAuthorized => b'A',
            Self::SessionNotAvailable => b'S',
            Self::Other(code) => code,
        }
    }
}

/// What a client asks for when it logs in.  `Debug` doesn't show the password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LoginRequest {
    /// User name.
    pub username: Text<6>,
    /// Password.
    pub password: Text<10>,
    /// The session wanted; empty for the active one.
    pub requested_session: SessionId,
    /// The next sequence number wanted: 1 for all, 0 for the most recent message on.
    pub requested_sequence: u64,
}

impl fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginRequest")
            .field("username", &self.username)
            .field("requested_session", &self.requested_session)
            .field("requested_sequence", &self.requested_sequence)
            .finish_non_exhaustive()
    }
}

/// One logical packet, of either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `+`, both directions (2.1): text for people, to be ignored by programs.
    Debug(&'a [u8]),
    /// `A`, from the server (2.2.1): the login succeeded.
    LoginAccepted {
        /// The session that is now logged into.
        session: SessionId,
        /// The sequence number of the next sequenced message.
        sequence: u64,
    },
    /// `J`, from the server (2.2.2): the login failed; the server closes the connection.
    LoginRejected(RejectReason),
    /// `S`, from the server (2.2.3): one message; its sequence number is one more than the last one's.
    SequencedData(&'a [u8]),
    /// `H`, from the server (2.2.4).
    ServerHeartbeat,
    /// `Z`, from the server (2.2.5): no more messages in this session.
    EndOfSession,
    /// `L`, from the client (2.3.1).
    LoginRequest(LoginRequest),
    /// `U` (2.3.2): one message without a number.
    UnsequencedData(&'a [u8]),
    /// `R`, from the client (2.3.3).
    ClientHeartbeat,
    /// `O`, from the client (2.3.4).
    LogoutRequest,
}

/// A message is longer than [`MESSAGE_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TooLong {
    /// Its length.
    pub len: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a message of {} bytes exceeds the {MESSAGE_BYTES_MAX} that a SoupBinTCP packet carries",
            self.len
        )
    }
}

impl core::error::Error for TooLong {}

impl<'a> Packet<'a> {
    /// The type byte.
    #[must_use]
    pub const fn packet_type(&self) -> u8 {
        match self {
            Self::Debug(_) => b'+',
            Self::LoginAccepted { .. } => b'A',
            Self::LoginRejected(_) => b'J',
            Self::SequencedData(_) => b'S',
            Self::ServerHeartbeat => b'H',
            Self::EndOfSession => b'Z',
            Self::LoginRequest(_) => b'L',
            Self::UnsequencedData(_) => b'U',
            Self::ClientHeartbeat => b'R',
            Self::LogoutRequest => b'O',
        }
    }

    /// Reads one whole logical packet, its length field first.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`] or [`DecodeError::TrailingBytes`] if `bytes` isn't as long as its
    ///   length field says, or the payload not as long as its type says;
    /// - [`DecodeError::EmptyBlock`] if the length is 0, so that there is no type;
    /// - [`DecodeError::UnknownType`] if there is no such type;
    /// - [`DecodeError::BadValue`] if a sequence number isn't decimal, or doesn't fit 64 bits.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else {
            return Err(DecodeError::Truncated {
                what: "packet length",
                need: LENGTH_LEN,
                have: bytes.len(),
            });
        };
        exact(
            "logical packet",
            rest,
            usize::from(u16::from_be_bytes(*length)),
        )?;
        let Some((&packet_type, payload)) = rest.split_first() else {
            return Err(DecodeError::EmptyBlock);
        };
        let empty = |what, packet| exact(what, payload, 0).map(|()| packet);
        match packet_type {
            b'S' => Ok(Self::SequencedData(payload)),
            b'U' => Ok(Self::UnsequencedData(payload)),
            b'+' => Ok(Self::Debug(payload)),
            b'H' => empty("server heartbeat", Self::ServerHeartbeat),
            b'R' => empty("client heartbeat", Self::ClientHeartbeat),
            b'Z' => empty("end of session", Self::EndOfSession),
            b'O' => empty("logout request", Self::LogoutRequest),
            b'A' => {
                let packet = view::<LoginAcceptedPacket>("login accepted", bytes)?;
                Ok(Self::LoginAccepted {
                    session: session(&packet.session),
                    sequence: decimal("sequence_number", &packet.sequence_number.0)?,
                })
            }
            b'J' => {
                let packet = view::<LoginRejectedPacket>("login rejected", bytes)?;
                Ok(Self::LoginRejected(RejectReason::from_code(
                    packet.reject_reason_code.0,
                )))
            }
            b'L' => {
                let packet = view::<LoginRequestPacket>("login request", bytes)?;
                Ok(Self::LoginRequest(LoginRequest {
                    username: packet.username.text(),
                    password: packet.password.text(),
                    requested_session: session(&packet.requested_session),
                    requested_sequence: decimal(
                        "requested_sequence_number",
                        &packet.requested_sequence_number.0,
                    )?,
                }))
            }
            message_type => Err(DecodeError::UnknownType {
                protocol: "SoupBinTCP",
                message_type,
            }),
        }
    }

    /// Appends the packet to `out`.
    ///
    /// # Errors
    ///
    /// [`TooLong`] if the message doesn't fit one packet; nothing was written then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let packet_type = Char(self.packet_type());
        match *self {
            Self::Debug(message)
            | Self::SequencedData(message)
            | Self::UnsequencedData(message) => {
                encode_data(packet_type, message, out)?;
            }
            Self::ServerHeartbeat
            | Self::ClientHeartbeat
            | Self::EndOfSession
            | Self::LogoutRequest => encode_data(packet_type, &[], out)?,
            Self::LoginAccepted { session, sequence } => out.extend_from_slice(
                LoginAcceptedPacket {
                    packet_length: U16::new(31),
                    packet_type,
                    session: padded_session(session),
                    sequence_number: Alpha(decimal_20(sequence)),
                }
                .as_bytes(),
            ),
            Self::LoginRejected(reason) => out.extend_from_slice(
                LoginRejectedPacket {
                    packet_length: U16::new(2),
                    packet_type,
                    reject_reason_code: Char(reason.code()),
                }
                .as_bytes(),
            ),
            Self::LoginRequest(request) => out.extend_from_slice(
                LoginRequestPacket {
                    packet_length: U16::new(47),
                    packet_type,
                    username: Alpha(request.username.to_padded()),
                    password: Alpha(request.password.to_padded()),
                    requested_session: padded_session(request.requested_session),
                    requested_sequence_number: Alpha(decimal_20(request.requested_sequence)),
                }
                .as_bytes(),
            ),
        }
        Ok(())
    }
}

/// Cuts a byte stream into logical packets.
#[derive(Debug, Clone, Default)]
pub struct Frames {
    stream: LengthPrefixed,
}

impl Frames {
    /// A machine at the beginning of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes, and tells how many: all, unless about 128 KiB are held.  At least one is taken if
    /// [`Frames::poll`] gave `None` before.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> usize {
        self.stream.put(bytes)
    }

    /// The next whole packet, or why it can't be understood; `None` if more bytes are needed.
    ///
    /// An error concerns this one packet: the next call goes on behind it.
    pub fn poll(&mut self) -> Option<Result<Packet<'_>, DecodeError>> {
        self.stream.take().map(Packet::parse)
    }

    /// Bytes that wait for the rest of their packet, once [`Frames::poll`] gave `None`.
    #[must_use]
    pub fn held(&self) -> usize {
        self.stream.held().len()
    }
}

fn encode_data(packet_type: Char, message: &[u8], out: &mut Vec<u8>) -> Result<(), TooLong> {
    let too_long = TooLong { len: message.len() };
    let length = u16::try_from(message.len())
        .ok()
        .and_then(|len| len.checked_add(1))
        .ok_or(too_long)?;
    let header = Header {
        packet_length: U16::new(length),
        packet_type,
    };
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(message);
    Ok(())
}

/// Whether `bytes` has the length that is needed.
fn exact(what: &'static str, bytes: &[u8], need: usize) -> Result<(), DecodeError> {
    match bytes.len().checked_sub(need) {
        Some(0) => Ok(()),
        Some(excess) => Err(DecodeError::TrailingBytes { what, excess }),
        None => Err(DecodeError::Truncated {
            what,
            need,
            have: bytes.len(),
        }),
    }
}

/// A packet of a fixed length.
fn view<'a, T>(what: &'static str, bytes: &'a [u8]) -> Result<&'a T, DecodeError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    exact(what, bytes, size_of::<T>())?;
    T::ref_from_bytes(bytes).map_err(|_| DecodeError::Truncated {
        what,
        need: size_of::<T>(),
        have: bytes.len(),
    })
}

/// A session without its padding, on whichever side it is: `MoldUDP64` pads on the right.
fn session(wire: &Alpha<10>) -> SessionId {
    let start = wire.0.iter().position(|&byte| byte != b' ');
    SessionId::from_padded(wire.0.get(start.unwrap_or(0)..).unwrap_or_default())
}

/// A session padded on the left (2.2.1).
fn padded_session(session: SessionId) -> Alpha<10> {
    Alpha(padded_left(Alpha(session.to_padded()).trimmed()))
}

/// A decimal number in a field padded with spaces or zeros; NUL, a letter, a sign and no digit at all
/// are refused, naming the first byte that doesn't belong (of a number too great: its last digit).
pub(crate) fn decimal(field: &'static str, wire: &[u8]) -> Result<u64, DecodeError> {
    let first = wire.iter().position(|&byte| byte != b' ');
    let last = wire.iter().rposition(|&byte| byte != b' ');
    let digits = match (first, last) {
        (Some(first), Some(last)) => wire.get(first..=last).unwrap_or_default(),
        _ => &[],
    };
    let bad = |byte: u8| DecodeError::BadValue {
        field,
        value: u64::from(byte),
    };
    if digits.is_empty() {
        return Err(bad(b' '));
    }
    digits.iter().try_fold(0u64, |number, &byte| {
        let digit = match byte {
            b'0'..=b'9' => u64::from(byte.wrapping_sub(b'0')),
            byte => return Err(bad(byte)),
        };
        number
            .checked_mul(10)
            .and_then(|number| number.checked_add(digit))
            .ok_or(bad(byte))
    })
}

/// A number as 20 ASCII characters, padded on the left with spaces (2.2.1).
pub(crate) fn decimal_20(number: u64) -> [u8; 20] {
    padded_left(itoa::Buffer::new().format(number).as_bytes())
}

fn padded_left<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut wire = [b' '; N];
    for (to, from) in wire.iter_mut().rev().zip(text.iter().rev()) {
        *to = *from;
    }
    wire
}
