//! One channel: packets in, events out, in order, each message once.
//!
//! A machine without I/O: the arbiter picks the messages, the normalizer maps them to events, and the sink is
//! told in order what starts, is missing, or can't be trusted.

use tickcast_codecs::event::{Normalizer as _, Origin, Sink};
use tickcast_codecs::prefetch::prefetch_at;
use tickcast_codecs::protocol::{Normalizer, Packet, Protocol};
use tickcast_codecs::{DecodeError, SessionId, iextp, moldudp64};

use crate::arbiter::{Arbiter, ArbiterConfig, Output, Source, canary};
use crate::counters::ChannelCounters;
use crate::recovery::{RecoveryConfig, Request};
use crate::session::{Missing, Start};
use crate::snapshot::LoadRequest;

/// How far ahead a file's bytes are asked for: what some hundred messages take to apply is more than memory needs to
/// answer.
const AHEAD_BYTES: usize = 3_072;

/// Bytes of a message's length in a BinaryFILE.
const LENGTH_LEN: usize = 2;

/// Takes the events of a channel, and what happens between them.
pub trait ChannelSink: Sink {
    /// A session starts: the books of the one before are forgotten.
    fn start(&mut self, start: Start, session: SessionId);
    /// A message is delivered; its events follow.
    #[inline]
    fn message(&mut self, _message: &[u8], _origin: Origin) {}
    /// These numbers will not come.
    fn skip(&mut self, missing: Missing);
    /// Whether the books can be trusted from here on.
    fn trust(&mut self, live: bool);
}

/// What was decoded.
#[derive(Debug, Clone, Copy)]
struct Decoded {
    messages: u64,
    unknown_types: u64,
    refused_messages: u64,
    by_type: [u64; 256],
}

/// One channel.  Only tests set `CANARY`.
#[derive(Debug)]
pub struct Channel<const CANARY: u8 = { canary::NONE }> {
    protocol: Protocol,
    arbiter: Arbiter<CANARY>,
    normalizer: Normalizer,
    decoded: Decoded,
    /// IEX-TP's number of the exchange's channel, for requests.
    iextp_channel: u32,
    /// Sequence of messages that come without a transport (BinaryFILE), and their sessions.
    file_sequence: u64,
    file_sessions: u64,
    file_rejected: u64,
}

/// Messages into the normalizer, its events and the arbiter's states into a sink.
pub(crate) struct Deliver<'a, 'b, S> {
    normalizer: &'a mut Normalizer,
    decoded: &'a mut Decoded,
    sink: &'a mut S,
    /// A message that is current, and when it came: what the day is learnt from.
    current: Option<(&'b [u8], u64)>,
}

impl<S: ChannelSink> Output for Deliver<'_, '_, S> {
    #[cold]
    fn start(&mut self, start: Start, session: SessionId) {
        self.normalizer.start_session();
        if let Some((message, ts_recv)) = self.current {
            self.normalizer.learn_midnight(message, ts_recv);
        }
        self.sink.start(start, session);
    }

    #[inline]
    fn message(&mut self, message: &[u8], origin: Origin) {
        self.sink.message(message, origin);
        self.decoded
            .message(self.normalizer, message, origin, self.sink);
    }

    fn skip(&mut self, missing: Missing) {
        self.sink.skip(missing);
    }

    fn trust(&mut self, live: bool) {
        self.sink.trust(live);
    }
}

impl Decoded {
    #[inline]
    fn message<S: Sink>(
        &mut self,
        normalizer: &mut Normalizer,
        message: &[u8],
        origin: Origin,
        sink: &mut S,
    ) {
        if let Some(&message_type) = message.first() {
            self.by_type[usize::from(message_type)] += 1;
        }
        match normalizer.message(message, origin, sink) {
            Ok(()) => self.messages += 1,
            Err(DecodeError::UnknownType { .. }) => self.unknown_types += 1,
            Err(_) => self.refused_messages += 1,
        }
    }
}

impl<const CANARY: u8> Channel<CANARY> {
    /// A channel of a protocol; `number` is the upper half of its instrument ids.
    #[must_use]
    pub fn new(
        protocol: Protocol,
        number: u16,
        arbiter: ArbiterConfig,
        recovery: RecoveryConfig,
        now: u64,
    ) -> Self {
        Self {
            protocol,
            arbiter: Arbiter::new(arbiter, recovery, now),
            normalizer: Normalizer::new(protocol, number),
            decoded: Decoded {
                messages: 0,
                unknown_types: 0,
                refused_messages: 0,
                by_type: [0; 256],
            },
            iextp_channel: 0,
            file_sequence: 0,
            file_sessions: 0,
            file_rejected: 0,
        }
    }

    /// The protocol.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The session that is being received.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.arbiter.session().unwrap_or_default()
    }

    /// The arbiter.
    #[must_use]
    pub fn arbiter(&self) -> &Arbiter<CANARY> {
        &self.arbiter
    }

    /// Takes other timers and servers from now on.
    pub fn reconfigure(&mut self, recovery: RecoveryConfig) {
        self.arbiter.reconfigure(recovery);
    }

    /// What was counted, all lines together.
    #[must_use]
    pub fn counters(&self) -> ChannelCounters {
        let total = self.arbiter.counters();
        let mut counters = ChannelCounters {
            packets: self.file_sequence,
            rejected: self.file_rejected,
            messages: self.decoded.messages,
            unknown_types: self.decoded.unknown_types,
            refused_messages: self.decoded.refused_messages,
            gaps: total.gaps_declared,
            missing: total.messages_missing,
            sessions: total.sessions + self.file_sessions,
            restarts: total.restarts,
            by_type: self.decoded.by_type,
            ..ChannelCounters::default()
        };
        for line in self.arbiter.lines() {
            let line = line.counters();
            counters.packets += line.packets;
            counters.rejected += line.rejected();
            counters.heartbeats += line.heartbeats;
            counters.duplicates += line.messages_duplicate + line.messages_late;
            counters.old_session += line.messages_old_session;
        }
        counters
    }

    /// Takes one UDP payload that reached us at `ts_recv` (ns since the Unix epoch).
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the payload is malformed: counted, nothing of it is delivered.
    #[inline]
    pub fn handle_packet<S: ChannelSink>(
        &mut self,
        now: u64,
        source: Source,
        payload: &[u8],
        ts_recv: u64,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let packet = match Packet::parse(self.protocol, payload) {
            Ok(packet) => packet,
            Err(error) => {
                self.arbiter
                    .handle_rejected(now, source, payload.len(), &error);
                return Err(error);
            }
        };
        let midnight = self.normalizer.midnight();
        let other_session = self.arbiter.session() != Some(packet.session());
        let current = match source {
            Source::Line(_) if midnight.is_none() || other_session => packet.messages().next(),
            _ => None,
        };
        if let (Some(message), None, false) = (current, midnight, other_session) {
            self.normalizer.learn_midnight(message, ts_recv);
        }
        let mut out = Deliver {
            normalizer: &mut self.normalizer,
            decoded: &mut self.decoded,
            sink,
            current: current.map(|message| (message, ts_recv)),
        };
        self.arbiter
            .handle_packet(now, source, &packet, payload.len(), ts_recv, &mut out);
        if let (Packet::IexTp(segment), Source::Line(_)) = (&packet, source)
            && self.arbiter.session() == Some(segment.session())
        {
            self.iextp_channel = segment.channel();
        }
        Ok(())
    }

    /// The kernel dropped datagrams of a line.
    pub fn handle_kernel_drops(&mut self, line: u8, lost: u64) {
        self.arbiter.handle_kernel_drops(line, lost);
    }

    /// Time passes.
    #[inline]
    pub fn handle_timeout<S: ChannelSink>(&mut self, now: u64, sink: &mut S) {
        self.attend(sink, |arbiter, out| arbiter.handle_timeout(now, out));
    }

    /// When [`Channel::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.arbiter.poll_timeout()
    }

    /// Writes the next request that is due into `packet`, in place of what it held, and gives its server.
    pub fn poll_request(&mut self, now: u64, packet: &mut Vec<u8>) -> Option<u8> {
        let request = self.arbiter.poll_request(now)?;
        packet.clear();
        self.encode(&request, packet).then_some(request.server)
    }

    fn encode(&self, request: &Request, packet: &mut Vec<u8>) -> bool {
        let message_protocol_id = match self.protocol.iextp_id() {
            None => {
                let session = self.session();
                let request = moldudp64::Request::new(session, request.first, request.count);
                packet.extend_from_slice(&request.encode());
                return true;
            }
            Some(id) => id,
        };
        let stream = iextp::Stream {
            message_protocol_id,
            channel_id: self.iextp_channel,
            session_id: self.session().to_number().unwrap_or(0),
        };
        let last = request.first + u64::from(request.count) - 1;
        iextp::GapFillRequest::encode(packet, stream, &[(request.first, last)]).is_ok()
    }

    /// A snapshot that is wanted.
    pub fn poll_load(&mut self) -> Option<LoadRequest> {
        let request = self.arbiter.poll_load()?;
        Some(LoadRequest {
            midnight: self.normalizer.midnight(),
            iextp_channel: self.iextp_channel,
            ..request
        })
    }

    /// The books were replaced by a snapshot that [`Arbiter::check_load`] accepted.
    pub fn handle_loaded<S: ChannelSink>(&mut self, now: u64, sequence: u64, sink: &mut S) {
        self.attend(sink, |arbiter, out| {
            arbiter.handle_loaded(now, sequence, out);
        });
    }

    /// A snapshot failed.
    pub fn handle_load_failed<S: ChannelSink>(&mut self, now: u64, id: u64, sink: &mut S) {
        self.attend(sink, |arbiter, out| {
            arbiter.handle_load_failed(now, id, out);
        });
    }

    /// Lets the arbiter deliver.
    fn attend<S: ChannelSink>(
        &mut self,
        sink: &mut S,
        tell: impl FnOnce(&mut Arbiter<CANARY>, &mut Deliver<'_, '_, S>),
    ) {
        let mut out = Deliver {
            normalizer: &mut self.normalizer,
            decoded: &mut self.decoded,
            sink,
            current: None,
        };
        tell(&mut self.arbiter, &mut out);
    }

    /// The mapping as a snapshot's messages left it takes the place of ours.
    pub(crate) fn swap_normalizer(&mut self, normalizer: &mut Normalizer) {
        core::mem::swap(&mut self.normalizer, normalizer);
    }

    /// Takes the whole messages that the bytes of a BinaryFILE begin with, up to the mark of the session's end or a
    /// start of messages, and says how many bytes they were.  What is malformed is counted, not delivered.
    pub fn handle_file<S: Sink>(&mut self, bytes: &[u8], sink: &mut S) -> usize {
        let mut taken = 0;
        while let Some((length, rest)) = bytes.get(taken..).and_then(<[u8]>::split_first_chunk::<2>)
            && let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*length)))
            && let Some(&message_type) = message.first()
        {
            prefetch_at(bytes, taken + AHEAD_BYTES);
            let origin = Origin {
                sequence: self.file_sequence + 1,
                ts_recv: 0,
            };
            if let Normalizer::Itch50(normalizer) = &self.normalizer
                && let Some(order) = normalizer.order_event(message, origin)
            {
                self.file_sequence += 1;
                self.decoded.by_type[usize::from(message_type)] += 1;
                self.decoded.messages += 1;
                sink.order(&order);
            } else if matches!(message, [b'S', .., b'O']) {
                break;
            } else {
                let _ = self.handle_file_message(message, sink);
            }
            taken += LENGTH_LEN + message.len();
        }
        taken
    }

    /// Takes one message of a BinaryFILE, which has neither packets nor sequence numbers: they are
    /// counted from 1.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the message is malformed: it was not delivered, but it was numbered.
    pub fn handle_file_message<S: Sink>(
        &mut self,
        message: &[u8],
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        self.file_sequence += 1;
        if let Err(error) = self.protocol.check(message) {
            self.file_rejected += 1;
            return Err(error);
        }
        let origin = Origin {
            sequence: self.file_sequence,
            ts_recv: 0,
        };
        self.decoded
            .message(&mut self.normalizer, message, origin, sink);
        Ok(())
    }

    /// Whether a message of a BinaryFILE begins another day: ITCH's start of messages behind other
    /// messages, where files are read one after the other.  If so the numbering starts over.
    pub fn starts_file_session(&mut self, message: &[u8]) -> bool {
        let starts = self.file_sequence > 0 && matches!(message, [b'S', .., b'O']);
        if starts {
            self.file_sequence = 0;
            self.normalizer.start_session();
            self.file_sessions += 1;
        }
        starts
    }
}
