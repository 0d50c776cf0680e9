//! What must hold for any bytes, one function for each target.

use tickcast_codecs::SessionId;
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::types::Text;
use tickcast_feed::Share;
use tickcast_feed::snapshot::{LoadError, LoadRequest, Loader, LoaderConfig};

#[path = "stream.rs"]
mod stream;

/// One target: takes any bytes.
pub type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const ALL: [(&str, Target); 3] = [
    ("load_glimpse", load_glimpse),
    ("load_iex", load_iex),
    ("stream", stream),
];

/// What happens to a channel, compared with a naive model.
pub fn stream(data: &[u8]) {
    stream::run(data);
}

/// A byte that says how the rest is cut, and what a GLIMPSE server sends.
pub fn load_glimpse(data: &[u8]) {
    load(
        Protocol::MoldUdp64Itch50,
        SessionId::from_padded(b"SESSION"),
        data,
    );
}

/// A byte that says how the rest is cut, and what an IEX gap fill server sends over TCP.
pub fn load_iex(data: &[u8]) {
    load(Protocol::IexTpDeep10, SessionId::from_number(77), data);
}

/// The outcome of a load in a form that can be compared.
type Outcome = Result<(u64, u64, usize), LoadError>;

/// However the bytes arrive, there is one outcome, and it is the same.
fn load(protocol: Protocol, session: SessionId, data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    let config = LoaderConfig {
        protocol,
        number: 1,
        venue: Text::from_padded(b"TEST"),
        share: Share {
            index: 1,
            of: 1 + u16::from(cut % 2),
        },
        username: Text::from_padded(b"user"),
        password: Text::from_padded(b"secret"),
        same_session: true,
    };
    let request = LoadRequest {
        id: 3,
        session,
        not_before: 5,
        midnight: None,
        iextp_channel: 1,
    };
    let whole = outcome(Loader::new(&config, request, 0), stream, usize::MAX);
    let parts = outcome(
        Loader::new(&config, request, 0),
        stream,
        usize::from(cut) + 1,
    );
    assert_eq!(whole, parts);
    if let Ok((sequence, ..)) = whole {
        assert!(sequence >= request.not_before);
    }
}

fn outcome(mut loader: Loader, stream: &[u8], piece: usize) -> Outcome {
    let mut out = Vec::new();
    let mut outcomes = Vec::new();
    let mut poll = |loader: &mut Loader| {
        if let Some(outcome) = loader.poll() {
            assert_eq!(loader.poll_timeout(), None);
            outcomes.push(outcome.map(|loaded| {
                assert_eq!(loaded.id, 3);
                assert_eq!(loaded.market.counters().faults(), 0);
                let orders = loaded.market.order_count();
                (loaded.sequence, loaded.messages, orders)
            }));
        }
    };
    loader.handle_connected(0);
    assert!(loader.poll_transmit(&mut out), "it asks first");
    for piece in stream.chunks(piece.min(stream.len().max(1))) {
        loader.handle_bytes(0, piece);
        assert!(!loader.poll_transmit(&mut out), "no time has passed");
        poll(&mut loader);
    }
    loader.handle_closed(0);
    poll(&mut loader);
    loader.handle_bytes(0, stream);
    poll(&mut loader);
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}
