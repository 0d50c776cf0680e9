//! The loader's thread against the exchange's servers, on sockets of the loopback interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use tickcast_book::{Level, Market as Books, NoUpdates};
use tickcast_codecs::event::{Event, Header, Normalizer as _, Origin, Sink};
use tickcast_codecs::iextp::{Segment, Stream};
use tickcast_codecs::protocol::{Normalizer, Protocol};
use tickcast_codecs::types::{SessionId, Side, Text};
use tickcast_feed::Share;
use tickcast_feed::loader::{Answer, LoaderHandle};
use tickcast_feed::snapshot::{LoadError, LoadRequest, LoaderConfig};
use tickcast_replay::exchange::repeater::IEX_DEEP;
use tickcast_replay::exchange::{
    GapFillConfig, GlimpseConfig, Manner, Market, MarketConfig, Recorded, Servers, Snapshot, Store,
};

const MESSAGES: u64 = 20_000;

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn session() -> SessionId {
    SessionId::from_padded(b"TICKCAST01")
}

fn config(protocol: Protocol, share: Share) -> LoaderConfig {
    LoaderConfig {
        protocol,
        number: 2,
        venue: Text::from_padded(b"TEST"),
        share,
        username: Text::from_padded(b"user"),
        password: Text::from_padded(b"secret"),
        same_session: true,
    }
}

fn itch() -> LoaderConfig {
    config(Protocol::MoldUdp64Itch50, Share::WHOLE)
}

fn request(id: u64) -> LoadRequest {
    LoadRequest {
        id,
        session: session(),
        not_before: MESSAGES,
        midnight: None,
        iextp_channel: 1,
    }
}

fn snapshot() -> Snapshot {
    let mut market = Market::new(MarketConfig::default());
    let mut message = Vec::new();
    Snapshot::new(MESSAGES + 1, |each| {
        for _ in 0..MESSAGES {
            message.clear();
            market.next(&mut message);
            each(&message);
        }
    })
}

/// A server of this manner.
fn glimpse(servers: &mut Servers, manner: Manner) -> SocketAddr {
    let config = GlimpseConfig {
        session: session(),
        username: Text::from_padded(b"user"),
        password: Text::from_padded(b"secret"),
        manner,
    };
    servers
        .glimpse(local(0), &config, Arc::new(snapshot))
        .unwrap()
}

fn no_servers() -> Servers {
    Servers::new(Arc::new(Mutex::new(Store::new(0))), false)
}

/// An address where nobody listens.
fn dead() -> SocketAddr {
    TcpListener::bind(local(0)).unwrap().local_addr().unwrap()
}

fn answer(loader: &LoaderHandle) -> Answer {
    loop {
        if let Some(answer) = loader.poll() {
            return answer;
        }
        std::thread::yield_now();
    }
}

fn reading(loader: &LoaderHandle, name: &str) -> u64 {
    let mut readings = Vec::new();
    loader.readings(&mut readings);
    readings
        .iter()
        .find(|reading| reading.name == name)
        .unwrap()
        .value
}

/// All levels of all books of a share.
fn levels(books: &Books, share: Share) -> BTreeMap<(u32, bool), Vec<Level>> {
    books
        .instruments()
        .filter(|(id, _)| share.holds(*id))
        .flat_map(|(id, _)| [(id, Side::Bid), (id, Side::Ask)])
        .map(|(id, side)| {
            let levels = books.book(id).levels(side).collect();
            ((id, side == Side::Bid), levels)
        })
        .collect()
}

#[test]
fn books_are_loaded_from_a_glimpse_server_again_and_again() {
    let mut servers = no_servers();
    let address = glimpse(&mut servers, Manner::Honest);
    let loader = LoaderHandle::spawn(itch(), vec![address], None).unwrap();
    for id in 1..=5 {
        loader.start(request(id));
        let loaded = answer(&loader).unwrap();
        assert_eq!((loaded.id, loaded.sequence), (id, MESSAGES + 1));
        assert_eq!(loaded.messages, MESSAGES);
        assert_eq!(loaded.market.instruments().count(), 24);
        loader.recycle(loaded);
    }
    assert!(loader.poll().is_none());
    assert_eq!(reading(&loader, "load_started"), 5);
    assert_eq!(reading(&loader, "load_complete"), 5);
    assert_eq!(reading(&loader, "load_messages"), 5 * MESSAGES);
    assert!(!loader.is_finished());
}

#[test]
fn r9_of_several_servers_each_is_asked_in_turn_and_a_bad_one_gives_no_books() {
    let mut servers = no_servers();
    let manners = [
        (Manner::DiesHalfWay, LoadError::Closed, "load_closed"),
        (Manner::Garbage, LoadError::Malformed, "load_malformed"),
        (Manner::TooOld, LoadError::TooOld, "load_too_old"),
        (Manner::Rejects, LoadError::Rejected, "load_rejected"),
        (
            Manner::OtherSession,
            LoadError::OtherSession,
            "load_other_session",
        ),
    ];
    let mut addresses: Vec<SocketAddr> = manners
        .iter()
        .map(|&(manner, _, _)| glimpse(&mut servers, manner))
        .collect();
    addresses.push(dead());
    addresses.push(glimpse(&mut servers, Manner::Honest));
    let loader = LoaderHandle::spawn(itch(), addresses, None).unwrap();
    for (id, (_, error, counter)) in (1..).zip(manners) {
        loader.start(request(id));
        assert_eq!(answer(&loader).unwrap_err(), (id, error));
        assert!(reading(&loader, counter) >= 1, "{counter}");
    }
    loader.start(request(6));
    assert_eq!(answer(&loader).unwrap_err(), (6, LoadError::Closed));
    loader.start(request(7));
    assert_eq!(answer(&loader).unwrap().id, 7);
    assert_eq!(reading(&loader, "load_closed"), 2);
}

#[test]
fn r8_a_newer_request_ends_a_load_that_never_does() {
    let mut servers = no_servers();
    let endless = glimpse(&mut servers, Manner::NeverEnds);
    let honest = glimpse(&mut servers, Manner::Honest);
    let loader = LoaderHandle::spawn(itch(), vec![endless, honest], None).unwrap();
    loader.start(request(1));
    while reading(&loader, "load_started") == 0 {
        std::thread::yield_now();
    }
    loader.start(request(2));
    assert_eq!(answer(&loader).unwrap().id, 2);
    assert_eq!(reading(&loader, "load_superseded"), 1);
    assert!(loader.poll().is_none());
}

#[test]
fn a_storm_of_requests_is_bounded_and_the_newest_is_answered() {
    let mut servers = no_servers();
    let honest = glimpse(&mut servers, Manner::Honest);
    let loader = LoaderHandle::spawn(itch(), vec![honest], None).unwrap();
    for id in 1..=1_000 {
        loader.start(request(id));
    }
    let mut answers = 0;
    loop {
        answers += 1;
        if answer(&loader).unwrap().id == 1_000 {
            break;
        }
    }
    let superseded = reading(&loader, "load_superseded");
    assert_eq!(answers + superseded, 1_000);
    assert!(reading(&loader, "load_started") < 1_000);
}

#[test]
fn a_loader_whose_shard_is_gone_ends_its_load() {
    let listener = TcpListener::bind(local(0)).unwrap();
    let address = listener.local_addr().unwrap();
    let loader = LoaderHandle::spawn(itch(), vec![address], None).unwrap();
    loader.start(request(1));
    let (mut connection, _) = listener.accept().unwrap();
    drop(loader);
    let mut login = Vec::new();
    connection.read_to_end(&mut login).unwrap();
    assert_eq!(login.len(), 49, "the login, and the end of the connection");
}

#[test]
fn a_loader_without_a_server_is_refused() {
    let error = LoaderHandle::spawn(itch(), Vec::new(), None).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

/// Events into books, the share's alone.
struct Apply<'a>(&'a mut Books);

impl Sink for Apply<'_> {
    fn event(&mut self, header: &Header, event: &Event) {
        self.0.apply(header, event, &mut NoUpdates);
    }
}

#[test]
fn a_recorded_session_is_loaded_over_tcp_and_gives_the_books_of_who_was_there() {
    let recorded = Recorded::from_capture(IEX_DEEP).unwrap();
    let mut store = Store::new(16 << 20);
    let mut books = Books::new(
        Text::from_padded(b"TEST"),
        2,
        &tickcast_book::Limits::default(),
    );
    let mut normalizer = Normalizer::new(Protocol::IexTpDeep10, 2);
    let mut stream = None;
    for packet in &recorded {
        let segment = Segment::parse(&packet.payload).unwrap();
        stream = Some(Stream {
            message_protocol_id: segment.protocol(),
            channel_id: segment.channel(),
            session_id: segment.header().session_id.get(),
        });
        for (message, sequence) in segment.messages().zip(segment.sequence()..) {
            if sequence != store.next_sequence() {
                continue;
            }
            store.push(message);
            let origin = Origin {
                sequence,
                ts_recv: 0,
            };
            normalizer
                .message(message, origin, &mut Apply(&mut books))
                .unwrap();
        }
    }
    let stream = stream.unwrap();
    let next = store.next_sequence();
    assert!(next > 10_000, "{next}");
    assert_eq!(store.first_sequence(), 1);
    let mut servers = Servers::new(Arc::new(Mutex::new(store)), false);
    let peers = vec![local(0).ip()];
    let address = servers
        .gap_fill_tcp(local(0), &GapFillConfig::new(stream, peers))
        .unwrap();
    for index in 0..2 {
        let share = Share { index, of: 2 };
        let config = config(Protocol::IexTpDeep10, share);
        let loader = LoaderHandle::spawn(config, vec![address], None).unwrap();
        loader.start(LoadRequest {
            session: SessionId::from_number(stream.session_id),
            not_before: next,
            iextp_channel: stream.channel_id,
            ..request(1)
        });
        let loaded = answer(&loader).unwrap();
        assert_eq!((loaded.sequence, loaded.messages), (next, next - 1));
        assert_eq!(levels(&loaded.market, Share::WHOLE), levels(&books, share));
    }
}
