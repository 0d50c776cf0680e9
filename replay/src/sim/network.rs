//! Paths to the exchange's servers, and how these behave.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tickcast_codecs::SessionId;
use tickcast_codecs::moldudp64::Request;
use tickcast_codecs::types::Text;
use tickcast_feed::snapshot::{LoadError, LoadRequest, Loaded, Loader, LoaderConfig};

use super::scenario::{RequestManner, RequestSetup, SnapshotSetup};
use crate::exchange::{
    Answering, GlimpseConfig, GlimpseServer, Manner, RequestServer, RequestServerConfig, Snapshot,
    Store,
};
use crate::fault::{Fault, moldudp64_messages};

/// Whoever asks.
const RECEIVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);

/// A connection that nobody accepts fails after so long.
const REFUSED_NS: u64 = 1_000_000;

fn no_messages(_: &[u8]) -> u64 {
    0
}

/// A request server behind its paths.
#[derive(Debug)]
pub(super) struct Asked {
    setup: RequestSetup,
    server: RequestServer,
    requests: Fault,
    replies: Fault,
    packet: Vec<u8>,
}

impl Asked {
    pub(super) fn new(setup: RequestSetup, session: SessionId, seed: u64) -> Self {
        let config = RequestServerConfig {
            session,
            peers: vec![RECEIVER.ip()],
            requests_per_second_max: match setup.manner {
                RequestManner::Quota => 10,
                _ => 10_000,
            },
            packet_bytes_max: setup.packet_bytes_max,
            answering: match setup.manner {
                RequestManner::Lying => Answering::Lying { seed: seed ^ 2 },
                _ => Answering::Honest,
            },
        };
        Self {
            server: RequestServer::new(&config),
            requests: Fault::new(setup.requests.clone(), seed, no_messages),
            replies: Fault::new(setup.replies.clone(), seed ^ 1, moldudp64_messages),
            packet: Vec::new(),
            setup,
        }
    }

    /// A server for another session, or one that behaves from now on.
    pub(super) fn renew(&mut self, session: SessionId, honest: bool) {
        if honest {
            self.setup.manner = RequestManner::Honest;
        }
        let again = Self::new(self.setup.clone(), session, 0);
        self.server = again.server;
    }

    pub(super) fn handle_request(&mut self, now: u64, packet: &[u8]) {
        self.requests.handle_packet(now, packet);
    }

    pub(super) fn poll_timeout(&self) -> Option<u64> {
        [self.requests.poll_timeout(), self.replies.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Moves what is under way, and gives the next answer that arrives.
    pub(super) fn poll_reply(&mut self, now: u64, store: &Store, reply: &mut Vec<u8>) -> bool {
        let mut request = Vec::new();
        while self.requests.poll_transmit(now, &mut request) {
            if self.setup.manner == RequestManner::Dead {
                continue;
            }
            if self.setup.manner == RequestManner::Generous {
                request = more(&request);
            }
            self.server.handle_request(now, RECEIVER, &request, store);
            while self
                .server
                .poll_transmit(now, store, &mut self.packet)
                .is_some()
            {
                self.replies.handle_packet(now, &self.packet);
            }
        }
        self.replies.poll_transmit(now, reply)
    }
}

/// A request for some messages before and all behind those that this one asks for.
fn more(request: &[u8]) -> Vec<u8> {
    let Ok(asked) = Request::parse(request) else {
        return request.to_vec();
    };
    let first = asked.sequence().saturating_sub(5).max(1);
    Request::new(asked.session(), first, u16::MAX - 1)
        .encode()
        .to_vec()
}

/// Bytes under way, and when they arrive.
type Wire = VecDeque<(u64, Vec<u8>)>;

/// One load of a snapshot: both ends, and the connection between them.
#[derive(Debug)]
pub(super) struct Load {
    id: u64,
    loader: Loader,
    /// `None`: nobody listens.
    server: Option<GlimpseServer>,
    connected_at: u64,
    connected: bool,
    delay_ns: u64,
    to_server: Wire,
    to_loader: Wire,
    /// When the server's end of the connection reaches the loader.
    closed_at: Option<u64>,
    outcome: Option<Result<Box<Loaded>, LoadError>>,
}

impl Load {
    pub(super) fn new(
        setup: SnapshotSetup,
        config: &LoaderConfig,
        session: SessionId,
        request: LoadRequest,
        now: u64,
    ) -> Self {
        let server = setup.manner.map(|manner| {
            let config = GlimpseConfig {
                session,
                username: Text::from_padded(b"TICK"),
                password: Text::from_padded(b"CAST"),
                manner,
            };
            GlimpseServer::new(config, now)
        });
        Self {
            id: request.id,
            loader: Loader::new(config, request, now),
            connected_at: now + setup.delay_ns * 2,
            closed_at: server.is_none().then_some(now + REFUSED_NS),
            server,
            connected: false,
            delay_ns: setup.delay_ns,
            to_server: Wire::new(),
            to_loader: Wire::new(),
            outcome: None,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The server's process dies.
    pub(super) fn handle_crash(&mut self, now: u64) {
        self.server = None;
        self.closed_at.get_or_insert(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<u64> {
        let server = self.server.as_ref().and_then(GlimpseServer::poll_timeout);
        let arrival = |wire: &Wire| wire.front().map(|(due, _)| *due);
        [
            (!self.connected && self.server.is_some()).then_some(self.connected_at),
            self.loader.poll_timeout(),
            server.filter(|_| self.connected),
            arrival(&self.to_server).filter(|_| self.server.is_some()),
            arrival(&self.to_loader),
            self.closed_at.filter(|_| self.to_loader.is_empty()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Moves what is due; gives the outcome once.
    pub(super) fn poll(
        &mut self,
        now: u64,
        snapshot: &mut dyn FnMut() -> Snapshot,
    ) -> Option<Result<Box<Loaded>, LoadError>> {
        if !self.connected && self.server.is_some() && now >= self.connected_at {
            self.connected = true;
            self.loader.handle_connected(now);
        }
        while let Some((_, bytes)) = self.to_loader.pop_front_if(|(due, _)| *due <= now) {
            self.loader.handle_bytes(now, &bytes);
        }
        if self.closed_at.is_some_and(|at| at <= now) && self.to_loader.is_empty() {
            self.closed_at = None;
            self.loader.handle_closed(now);
        }
        self.loader.handle_timeout(now);
        let mut bytes = Vec::new();
        while self.connected && self.loader.poll_transmit(&mut bytes) {
            self.to_server
                .push_back((now + self.delay_ns, core::mem::take(&mut bytes)));
        }
        if let Some(server) = &mut self.server {
            while let Some((_, bytes)) = self.to_server.pop_front_if(|(due, _)| *due <= now) {
                server.handle_bytes(now, &bytes, snapshot);
            }
            if self.connected {
                server.handle_timeout(now);
            }
            while server.poll_transmit(now, &mut bytes) {
                self.to_loader
                    .push_back((now + self.delay_ns, core::mem::take(&mut bytes)));
            }
            if server.is_closing() && self.closed_at.is_none() {
                self.closed_at = Some(now + self.delay_ns);
                self.server = None;
            }
        }
        if self.outcome.is_none() {
            self.outcome = self.loader.poll();
        }
        self.outcome.take()
    }
}

/// What a server is from the end of the faults on.
pub(super) fn honest(setup: SnapshotSetup) -> SnapshotSetup {
    SnapshotSetup {
        manner: Some(Manner::Honest),
        ..setup
    }
}
