//! The MoldUDP64 re-request server.
//!
//! Implements the server's part of *MoldUDP64 Protocol Specification* V 1.00, "Request Packet": "The response to
//! a valid Request Packet is a standard Downstream Packet unicast back to the source"; "If the total size of
//! the requested messages exceeds the maximum payload size of the of one UDP packet, only the number of
//! messages that completely fit will be returned".
//!
//! The specification says nothing of who may ask.  Here: listed peers, each a limited number of times a
//! second; everybody else gets no byte.  A request that asks for nothing, for another session or for what
//! isn't there any more or not yet, is not answered either.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use tickcast_codecs::SessionId;
use tickcast_codecs::moldudp64::{self, PacketBuilder, Request};

use super::counters::counters;
use super::peers::{Admission, Peers};
use super::store::Store;
use crate::limits::{ANSWERS_MAX, REQUESTS_PER_SECOND_MAX};
use crate::random::Random;

/// How truthfully, and when, the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answering {
    /// As the specification says, at once.
    #[default]
    Honest,
    /// Truthfully, but so much later.
    Late {
        /// By how much.
        by_ns: u64,
    },
    /// Half of the answers are of another session, of numbers that nobody asked for, or no packets at all.
    Lying {
        /// Decides which.
        seed: u64,
    },
}

/// How to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestServerConfig {
    /// The session.
    pub session: SessionId,
    /// Whom to answer.
    pub peers: Vec<IpAddr>,
    /// How many requests of each in any second.
    pub requests_per_second_max: u32,
    /// Bytes of the largest packet, header included.
    pub packet_bytes_max: usize,
    /// How truthfully, and when.
    pub answering: Answering,
}

impl RequestServerConfig {
    /// A session's server that answers these peers: 100 requests a second each, 1,400 bytes, honest.
    #[must_use]
    pub fn new(session: SessionId, peers: Vec<IpAddr>) -> Self {
        Self {
            session,
            peers,
            requests_per_second_max: REQUESTS_PER_SECOND_MAX,
            packet_bytes_max: 1_400,
            answering: Answering::Honest,
        }
    }
}

counters! {
    /// What a request server counts; each request moves `requests` and one more.
    pub struct RequestServerCounters {
        /// Request packets received.
        requests,
        /// Requests answered with a packet.
        answered,
        /// Requests from addresses that aren't listed.
        unlisted,
        /// Requests of a peer that had asked often enough within the second.
        limited,
        /// Requests whose bytes don't fit the protocol, or that ask for nothing.
        malformed,
        /// Requests for another session.
        other_session,
        /// Requests for messages that aren't stored any more, or not yet.
        not_stored,
        /// Requests dropped because too many answers waited to be sent.
        dropped,
        /// Messages sent again.
        messages,
        /// Bytes sent.
        bytes,
    }
}

/// A re-request server; see the [module](self).
#[derive(Debug)]
pub struct RequestServer {
    session: SessionId,
    packet_bytes_max: usize,
    peers: Peers,
    late_ns: u64,
    /// Of a server that lies.
    lies: Option<Random>,
    answers: VecDeque<Answer>,
    counters: RequestServerCounters,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    peer: SocketAddr,
    sequence: u64,
    count: u16,
    /// When it may be sent.
    due: u64,
}

impl RequestServer {
    /// A server before its first request.
    #[must_use]
    pub fn new(config: &RequestServerConfig) -> Self {
        Self {
            session: config.session,
            packet_bytes_max: config.packet_bytes_max,
            peers: Peers::new(&config.peers, config.requests_per_second_max),
            late_ns: match config.answering {
                Answering::Late { by_ns } => by_ns,
                Answering::Honest | Answering::Lying { .. } => 0,
            },
            lies: match config.answering {
                Answering::Lying { seed } => Some(Random::new(seed)),
                Answering::Honest | Answering::Late { .. } => None,
            },
            answers: VecDeque::with_capacity(ANSWERS_MAX),
            counters: RequestServerCounters::default(),
        }
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &RequestServerCounters {
        &self.counters
    }

    /// Takes one UDP payload from `peer`.
    pub fn handle_request(&mut self, now: u64, peer: SocketAddr, bytes: &[u8], store: &Store) {
        self.counters.requests += 1;
        match self.peers.admit(now, peer.ip()) {
            Admission::Answer => {}
            Admission::Unlisted => {
                self.counters.unlisted += 1;
                return;
            }
            Admission::Limited => {
                self.counters.limited += 1;
                return;
            }
        }
        let refused = match Request::parse(bytes) {
            Ok(request) if request.count() == 0 => &mut self.counters.malformed,
            Ok(request) if request.session() != self.session => &mut self.counters.other_session,
            Ok(request) if store.get(request.sequence()).is_none() => &mut self.counters.not_stored,
            Ok(_) if self.answers.len() >= ANSWERS_MAX => &mut self.counters.dropped,
            Ok(request) => {
                self.answers.push_back(Answer {
                    peer,
                    sequence: request.sequence(),
                    count: request.count(),
                    due: now.saturating_add(self.late_ns),
                });
                return;
            }
            Err(_) => &mut self.counters.malformed,
        };
        *refused += 1;
    }

    /// Writes the next answer that is due into `packet`, in place of what it held; gives whom to send it to.
    pub fn poll_transmit(
        &mut self,
        now: u64,
        store: &Store,
        packet: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        while let Some(answer) = self.answers.pop_front_if(|answer| answer.due <= now) {
            let mut builder =
                PacketBuilder::new(packet, self.session, answer.sequence, self.packet_bytes_max);
            let wanted = answer.sequence..answer.sequence.saturating_add(u64::from(answer.count));
            for message in wanted.map_while(|sequence| store.get(sequence)) {
                // "only the number of messages that completely fit"
                if builder.push(message).is_err() {
                    break;
                }
            }
            let count = builder.count();
            if count == 0 {
                // Gone since it was asked for, or longer than a packet.
                self.counters.not_stored += 1;
                continue;
            }
            self.counters.answered += 1;
            self.counters.messages += u64::from(count);
            if let Some(random) = &mut self.lies
                && random.one_in(2)
            {
                lie(packet, random);
            }
            self.counters.bytes += packet.len() as u64;
            return Some(answer.peer);
        }
        None
    }
}

/// Another session, numbers that nobody asked for, or no packet at all.
fn lie(packet: &mut Vec<u8>, random: &mut Random) {
    let header = packet.first_chunk_mut::<{ moldudp64::HEADER_LEN }>();
    match (random.below(3), header) {
        (0, Some(header)) => header[..10].copy_from_slice(b"ELSEWHERE "),
        (1, Some(header)) => header[10] ^= 0x40,
        _ => packet.truncate(packet.len() / 2),
    }
}
