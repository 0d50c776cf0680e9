//! Which protocol a payload is of, and one view over all of them.
//!
//! A [`Protocol`] is a transport and what it carries.  [`Packet`] is a payload that was checked whole
//! (framing, and each message by its type's length) before any of its messages is looked at;
//! [`Message`] is any venue's message; [`Normalizer`] maps any protocol's messages to events.

use core::fmt;

use crate::DecodeError;
use crate::event::{self, Origin, Sink};
use crate::types::SessionId;
use crate::wire::Value;
use crate::{deep, deepplus, iextp, itch50, moldudp64, tops};

/// A transport and what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// TotalView-ITCH 5.0 in MoldUDP64.
    MoldUdp64Itch50,
    /// TotalView-ITCH 5.0 in a BinaryFILE.
    BinaryFileItch50,
    /// TOPS 1.5 in IEX-TP (0x8002).
    IexTpTops15,
    /// TOPS 1.6 in IEX-TP (0x8003).
    IexTpTops16,
    /// DEEP 1.0 in IEX-TP (0x8004).
    IexTpDeep10,
    /// DEEP+ 1.0 in IEX-TP (0x8005).
    IexTpDeepPlus10,
}

impl Protocol {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::MoldUdp64Itch50,
        Self::BinaryFileItch50,
        Self::IexTpTops15,
        Self::IexTpTops16,
        Self::IexTpDeep10,
        Self::IexTpDeepPlus10,
    ];

    /// The name: `transport/feed`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MoldUdp64Itch50 => "moldudp64/itch50",
            Self::BinaryFileItch50 => "binaryfile/itch50",
            Self::IexTpTops15 => "iextp/tops15",
            Self::IexTpTops16 => "iextp/tops16",
            Self::IexTpDeep10 => "iextp/deep10",
            Self::IexTpDeepPlus10 => "iextp/deepplus10",
        }
    }

    /// By its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.name() == name)
    }

    /// The venue's market identifier code (ISO 10383), unless a configuration says another.
    #[must_use]
    pub const fn venue(self) -> &'static str {
        match self {
            Self::MoldUdp64Itch50 | Self::BinaryFileItch50 => "XNAS",
            _ => "IEXG",
        }
    }

    /// Whether it tells every order, so that books have queues.
    #[must_use]
    pub const fn is_by_order(self) -> bool {
        matches!(
            self,
            Self::MoldUdp64Itch50 | Self::BinaryFileItch50 | Self::IexTpDeepPlus10
        )
    }

    /// Recognises a UDP payload by its content.
    ///
    /// An IEX-TP segment says what it carries.  MoldUDP64 doesn't: every message has to be one of ITCH 5.0
    /// and of exactly its length, and a packet without messages has to be a bare header with a session of
    /// printable characters.
    #[must_use]
    pub fn detect(payload: &[u8]) -> Option<Self> {
        if let Ok(segment) = iextp::Segment::parse(payload) {
            return Self::from_iextp(segment.protocol());
        }
        let packet = moldudp64::DownstreamPacket::parse(payload).ok()?;
        let printable = packet
            .session()
            .as_bytes()
            .iter()
            .all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        let is_itch = packet.blocks().all(|message| {
            message
                .first()
                .and_then(|&message_type| itch50::Message::length_of(message_type))
                == Some(message.len())
        });
        (printable && is_itch).then_some(Self::MoldUdp64Itch50)
    }

    fn from_iextp(protocol_id: u16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.iextp_id() == Some(protocol_id))
    }

    /// IEX-TP's id of what it carries; `None` for other transports.
    #[must_use]
    pub const fn iextp_id(self) -> Option<u16> {
        match self {
            Self::MoldUdp64Itch50 | Self::BinaryFileItch50 => None,
            Self::IexTpTops15 => Some(tops::v15::PROTOCOL_ID),
            Self::IexTpTops16 => Some(tops::PROTOCOL_ID),
            Self::IexTpDeep10 => Some(deep::PROTOCOL_ID),
            Self::IexTpDeepPlus10 => Some(deepplus::PROTOCOL_ID),
        }
    }

    /// Checks one message by its type's length.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] if it is shorter than its type, [`DecodeError::EmptyBlock`] if it is
    /// empty where the transport doesn't allow that.
    #[inline]
    pub fn check(self, message: &[u8]) -> Result<(), DecodeError> {
        match self {
            Self::MoldUdp64Itch50 | Self::BinaryFileItch50 => itch50::check(message),
            Self::IexTpTops15 => tops::v15::check(message),
            Self::IexTpTops16 => tops::check(message),
            Self::IexTpDeep10 => deep::check(message),
            Self::IexTpDeepPlus10 => deepplus::check(message),
        }
    }

    /// A typed view of one message.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it is malformed or of an unknown type.
    pub fn message(self, bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
        Ok(match self {
            Self::MoldUdp64Itch50 | Self::BinaryFileItch50 => {
                Message::Itch50(itch50::Message::parse(bytes)?)
            }
            Self::IexTpTops15 => Message::Tops15(tops::v15::Message::parse(bytes)?),
            Self::IexTpTops16 => Message::Tops16(tops::Message::parse(bytes)?),
            Self::IexTpDeep10 => Message::Deep(deep::Message::parse(bytes)?),
            Self::IexTpDeepPlus10 => Message::DeepPlus(deepplus::Message::parse(bytes)?),
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A UDP payload that was checked whole.
#[derive(Debug, Clone, Copy)]
pub enum Packet<'a> {
    /// MoldUDP64.
    MoldUdp64(moldudp64::DownstreamPacket<'a>),
    /// IEX-TP.
    IexTp(iextp::Segment<'a>),
}

impl<'a> Packet<'a> {
    /// Checks a payload of a protocol: its framing, and every message by its type's length.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: what doesn't fit, or that the payload is of another feed of the same transport.
    #[inline]
    pub fn parse(protocol: Protocol, payload: &'a [u8]) -> Result<Self, DecodeError> {
        let packet = match protocol {
            Protocol::MoldUdp64Itch50 | Protocol::BinaryFileItch50 => {
                Self::MoldUdp64(moldudp64::DownstreamPacket::parse(payload)?)
            }
            _ => {
                let segment = iextp::Segment::parse(payload)?;
                if Protocol::from_iextp(segment.protocol()) != Some(protocol) {
                    return Err(DecodeError::BadValue {
                        field: "message_protocol_id",
                        value: u64::from(segment.protocol()),
                    });
                }
                Self::IexTp(segment)
            }
        };
        for message in packet.messages() {
            protocol.check(message)?;
        }
        Ok(packet)
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        match self {
            Self::MoldUdp64(packet) => packet.session(),
            Self::IexTp(segment) => segment.session(),
        }
    }

    /// The sequence number of the first message; of the next one if there is none.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        match self {
            Self::MoldUdp64(packet) => packet.sequence(),
            Self::IexTp(segment) => segment.sequence(),
        }
    }

    /// How many messages.
    #[must_use]
    pub fn count(&self) -> u16 {
        match self {
            Self::MoldUdp64(packet) => packet.count(),
            Self::IexTp(segment) => segment.count(),
        }
    }

    /// When the venue sent it, where the transport tells, in nanoseconds since the Unix epoch; else 0.
    #[must_use]
    pub fn sent(&self) -> u64 {
        match self {
            Self::MoldUdp64(_) => 0,
            Self::IexTp(segment) => segment.send_time(),
        }
    }

    /// Whether it ends the session.
    #[must_use]
    pub fn is_end_of_session(&self) -> bool {
        match self {
            Self::MoldUdp64(packet) => packet.kind() == moldudp64::Kind::EndOfSession,
            Self::IexTp(_) => false,
        }
    }

    /// The messages, in the order of their sequence numbers.
    #[must_use]
    pub fn messages(&self) -> Messages<'a> {
        match self {
            Self::MoldUdp64(packet) => Messages::MoldUdp64(packet.blocks()),
            Self::IexTp(segment) => Messages::IexTp(segment.messages()),
        }
    }

    /// Calls `visit` with the name and value of each field of the transport's header.
    pub fn header_fields(&self, visit: &mut dyn FnMut(&'static str, Value<'a>)) {
        use crate::wire::Fields;
        match self {
            Self::MoldUdp64(packet) => packet.header().fields(visit),
            Self::IexTp(segment) => segment.header().fields(visit),
        }
    }
}

/// The messages of a packet.
#[derive(Debug, Clone)]
pub enum Messages<'a> {
    /// MoldUDP64's blocks.
    MoldUdp64(moldudp64::MessageBlocks<'a>),
    /// IEX-TP's blocks.
    IexTp(iextp::Messages<'a>),
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            Self::MoldUdp64(blocks) => blocks.next(),
            Self::IexTp(messages) => messages.next(),
        }
    }
}

/// Any venue's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// TotalView-ITCH 5.0.
    Itch50(itch50::Message<'a>),
    /// TOPS 1.5.
    Tops15(tops::v15::Message<'a>),
    /// TOPS 1.6.
    Tops16(tops::Message<'a>),
    /// DEEP 1.0.
    Deep(deep::Message<'a>),
    /// DEEP+ 1.0.
    DeepPlus(deepplus::Message<'a>),
}

impl<'a> Message<'a> {
    /// The message's name: the specification's, in snake case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Itch50(message) => message.name(),
            Self::Tops15(message) => message.name(),
            Self::Tops16(message) => message.name(),
            Self::Deep(message) => message.name(),
            Self::DeepPlus(message) => message.name(),
        }
    }

    /// Calls `visit` with the name and value of each field, in wire order.
    pub fn fields(&self, visit: &mut dyn FnMut(&'static str, Value<'a>)) {
        match self {
            Self::Itch50(message) => message.fields(visit),
            Self::Tops15(message) => message.fields(visit),
            Self::Tops16(message) => message.fields(visit),
            Self::Deep(message) => message.fields(visit),
            Self::DeepPlus(message) => message.fields(visit),
        }
    }
}

/// Maps the messages of any protocol to events.
#[derive(Debug, Clone)]
pub enum Normalizer {
    /// TotalView-ITCH 5.0.
    Itch50(itch50::Normalizer),
    /// TOPS 1.5.
    Tops15(tops::v15::Normalizer),
    /// TOPS 1.6.
    Tops16(tops::Normalizer),
    /// DEEP 1.0.
    Deep(deep::Normalizer),
    /// DEEP+ 1.0.
    DeepPlus(deepplus::Normalizer),
}

impl Normalizer {
    /// For a protocol, and our number of the channel: the upper half of its instrument ids.
    #[must_use]
    pub fn new(protocol: Protocol, channel: u16) -> Self {
        match protocol {
            Protocol::MoldUdp64Itch50 | Protocol::BinaryFileItch50 => {
                Self::Itch50(itch50::Normalizer::new(channel))
            }
            Protocol::IexTpTops15 => Self::Tops15(tops::v15::Normalizer::new(channel)),
            Protocol::IexTpTops16 => Self::Tops16(tops::Normalizer::new(channel)),
            Protocol::IexTpDeep10 => Self::Deep(deep::Normalizer::new(channel)),
            Protocol::IexTpDeepPlus10 => Self::DeepPlus(deepplus::Normalizer::new(channel)),
        }
    }

    /// Midnight of the venue's day in nanoseconds since the Unix epoch, where its times count from that and it
    /// is known.
    #[must_use]
    pub const fn midnight(&self) -> Option<u64> {
        match self {
            Self::Itch50(normalizer) => normalizer.midnight(),
            _ => None,
        }
    }

    /// Learns the venue's day from a message that is current, before old ones are mapped.
    pub fn learn_midnight(&mut self, message: &[u8], ts_recv: u64) {
        if let Self::Itch50(normalizer) = self {
            normalizer.learn_midnight(message, ts_recv);
        }
    }

    /// A new session begins: what belongs to the last one is forgotten.
    pub fn start_session(&mut self) {
        match self {
            Self::Itch50(normalizer) => normalizer.start_session(),
            Self::Tops15(normalizer) => normalizer.start_session(),
            Self::Tops16(normalizer) => normalizer.start_session(),
            Self::Deep(normalizer) => normalizer.start_session(),
            Self::DeepPlus(normalizer) => normalizer.start_session(),
        }
    }
}

impl event::Normalizer for Normalizer {
    #[inline]
    fn message<S: Sink>(
        &mut self,
        bytes: &[u8],
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        match self {
            Self::Itch50(normalizer) => normalizer.message(bytes, origin, sink),
            Self::Tops15(normalizer) => normalizer.message(bytes, origin, sink),
            Self::Tops16(normalizer) => normalizer.message(bytes, origin, sink),
            Self::Deep(normalizer) => normalizer.message(bytes, origin, sink),
            Self::DeepPlus(normalizer) => normalizer.message(bytes, origin, sink),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_protocol() {
        for protocol in Protocol::ALL {
            assert_eq!(Protocol::from_name(protocol.name()), Some(protocol));
        }
        assert_eq!(Protocol::from_name("fix"), None);
    }

    #[test]
    fn a_bare_header_with_printable_session_is_a_heartbeat_and_random_bytes_are_nothing() {
        let mut heartbeat = *b"ABCDEFGHIJ\0\0\0\0\0\0\0\x01\0\0";
        assert_eq!(
            Protocol::detect(&heartbeat),
            Some(Protocol::MoldUdp64Itch50)
        );
        heartbeat[3] = 0x07;
        assert_eq!(Protocol::detect(&heartbeat), None);
        assert_eq!(Protocol::detect(b""), None);
        assert_eq!(Protocol::detect(&[0xff; 60]), None);
    }
}
