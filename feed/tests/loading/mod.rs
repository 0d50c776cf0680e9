//! What the tests of loading have in common: messages, and a connection to a loader.
#![allow(dead_code, reason = "each test file uses a part")]

use tickcast_codecs::SessionId;
use tickcast_codecs::glimpse::EndOfSnapshot;
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::soupbintcp::Packet;
use tickcast_codecs::types::Text;
use tickcast_feed::Share;
use tickcast_feed::snapshot::{LoadError, LoadRequest, Loaded, Loader, LoaderConfig};

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const SESSION: &[u8] = b"20250102A";

pub(crate) fn session() -> SessionId {
    SessionId::from_padded(SESSION)
}

pub(crate) fn config(protocol: Protocol) -> LoaderConfig {
    LoaderConfig {
        protocol,
        number: 3,
        venue: Text::from_padded(b"TEST"),
        share: Share::WHOLE,
        username: Text::from_padded(b"user"),
        password: Text::from_padded(b"secret"),
        same_session: true,
    }
}

pub(crate) fn request(not_before: u64) -> LoadRequest {
    LoadRequest {
        id: 7,
        session: session(),
        not_before,
        midnight: None,
        iextp_channel: 1,
    }
}

/// An ITCH message: type, locate, tracking number, nanoseconds since midnight, the rest.
pub(crate) fn itch(message_type: u8, locate: u16, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![message_type];
    message.extend_from_slice(&locate.to_be_bytes());
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(&34_200_000_000_000_u64.to_be_bytes()[2..]);
    message.extend_from_slice(rest);
    message
}

/// Add Order.
pub(crate) fn add(locate: u16, order_id: u64, side: u8, shares: u32, price: u32) -> Vec<u8> {
    let mut rest = order_id.to_be_bytes().to_vec();
    rest.push(side);
    rest.extend_from_slice(&shares.to_be_bytes());
    rest.extend_from_slice(format!("S{locate:<7}").as_bytes());
    rest.extend_from_slice(&price.to_be_bytes());
    itch(b'A', locate, &rest)
}

/// Order Delete.
pub(crate) fn delete(locate: u16, order_id: u64) -> Vec<u8> {
    itch(b'D', locate, &order_id.to_be_bytes())
}

/// Ten orders of four instruments.
pub(crate) fn orders() -> Vec<Vec<u8>> {
    (0..10_u16)
        .map(|n| {
            let side = if n % 2 == 0 { b'B' } else { b'S' };
            let price = 50_000 + if n % 2 == 0 { 0 } else { 1_000 } + n;
            add(1 + n % 4, 1_000 + u64::from(n), side, 100, u32::from(price))
        })
        .collect()
}

/// One packet of the server.
pub(crate) fn packet(packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(&mut out).unwrap();
    out
}

pub(crate) fn accepted(sequence: u64) -> Vec<u8> {
    packet(&Packet::LoginAccepted {
        session: session(),
        sequence,
    })
}

pub(crate) fn end(sequence: u64) -> Vec<u8> {
    packet(&Packet::SequencedData(
        &EndOfSnapshot::new(sequence).encode(),
    ))
}

/// A whole answer of an honest server.
pub(crate) fn answer(messages: &[Vec<u8>], sequence: u64) -> Vec<u8> {
    let mut out = accepted(1);
    for message in messages {
        out.extend(packet(&Packet::SequencedData(message)));
    }
    out.extend(end(sequence));
    out
}

/// What a loader wants to send now.
pub(crate) fn sent(loader: &mut Loader) -> Vec<u8> {
    let mut all = Vec::new();
    let mut out = Vec::new();
    while loader.poll_transmit(&mut out) {
        all.extend_from_slice(&out);
    }
    all
}

pub(crate) fn connected(config: &LoaderConfig, request: LoadRequest) -> Loader {
    let mut loader = Loader::new(config, request, 0);
    loader.handle_connected(0);
    loader
}

/// The outcome of a load that gets these bytes at once.
pub(crate) fn load(
    config: &LoaderConfig,
    request: LoadRequest,
    bytes: &[u8],
) -> Option<Result<Box<Loaded>, LoadError>> {
    let mut loader = connected(config, request);
    let _ = sent(&mut loader);
    loader.handle_bytes(0, bytes);
    loader.poll()
}

pub(crate) fn error(outcome: Option<Result<Box<Loaded>, LoadError>>) -> Option<LoadError> {
    outcome.map(|outcome| outcome.unwrap_err())
}
