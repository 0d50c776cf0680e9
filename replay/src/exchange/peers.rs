//! Whom a request server answers, and how often: what keeps it from being a reflector.
//!
//! A request of twenty bytes earns a packet seventy times its size, and its source address can be forged.
//! So only listed peers are answered, and each only so many times in any second.

use std::collections::VecDeque;
use std::net::IpAddr;

/// The listed peers.
#[derive(Debug)]
pub(super) struct Peers {
    peers: Vec<Peer>,
    per_second_max: usize,
}

#[derive(Debug)]
struct Peer {
    address: IpAddr,
    /// When its last answered requests came: `per_second_max` at most.
    answered: VecDeque<u64>,
}

/// What is done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Answer it.
    Answer,
    /// Its peer isn't listed.
    Unlisted,
    /// Its peer has asked often enough within the last second.
    Limited,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Peers {
    pub(super) fn new(addresses: &[IpAddr], per_second_max: u32) -> Self {
        let per_second_max = usize::try_from(per_second_max).unwrap_or(usize::MAX);
        let peers = addresses
            .iter()
            .map(|&address| Peer {
                address: address.to_canonical(),
                answered: VecDeque::new(),
            })
            .collect();
        Self {
            peers,
            per_second_max,
        }
    }

    /// Judges a request, and remembers it if it is to be answered.
    pub(super) fn admit(&mut self, now: u64, address: IpAddr) -> Admission {
        let address = address.to_canonical();
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.address == address) else {
            return Admission::Unlisted;
        };
        while let Some(&first) = peer.answered.front()
            && now.saturating_sub(first) >= SECOND_NS
        {
            peer.answered.pop_front();
        }
        if peer.answered.len() >= self.per_second_max {
            return Admission::Limited;
        }
        peer.answered.push_back(now);
        Admission::Answer
    }

    /// Whether the address is listed at all.
    pub(super) fn lists(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.peers.iter().any(|peer| peer.address == address)
    }
}
