//! What both lines lose is asked for over real sockets: of a request server, and of a snapshot server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod live;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use live::{Loopback, each_message, eventually, reading, send, session};
use tickcast_book::report::Report;
use tickcast_codecs::SessionId;
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::types::Text;
use tickcast_feed::RecoveryConfig;
use tickcast_feed::counters::ChannelStatus;
use tickcast_feed::drive::Drive;
use tickcast_feed::loader::LoaderHandle;
use tickcast_feed::receiver::{Clock, Lines, Receiver, Wait};
use tickcast_feed::snapshot::{LoaderConfig, Share};
use tickcast_feed::socket::RequestSocket;
use tickcast_replay::exchange::{
    GlimpseConfig, Manner, RequestServerConfig, Servers, Snapshot, Store,
};

const MESSAGES: u64 = 20_000;
const NAME: &[u8] = b"MON";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Runs a receiver while `publish` sends, until its books are live and the session is whole.
fn receive(
    recovery: RecoveryConfig,
    requests: Option<RequestSocket>,
    loader: Option<LoaderHandle>,
    publish: impl FnOnce(&[UdpSocket]),
) -> Option<Report> {
    let Loopback { sockets, senders } = Loopback::open(2)?;
    let (shard, _subscription) = live::recovering(0, 1, 2, recovery);
    let status = Arc::new(ChannelStatus::default());
    let stop = Arc::new(AtomicBool::new(false));
    let lines = Lines::new(sockets);
    let receiving = thread::spawn({
        let (status, stop) = (Arc::clone(&status), Arc::clone(&stop));
        move || {
            let drive = Drive::new(shard, Clock::new(), requests, loader, status);
            Receiver::new(lines, drive).run(Wait::Sleep, &stop)
        }
    });
    assert!(eventually(|| !status.load().readings.is_empty()));
    publish(&senders);
    let whole = eventually(|| {
        let report = status.load();
        report.next_sequence == MESSAGES + 1 && !report.stale
    });
    stop.store(true, Ordering::Relaxed);
    receiving.join().unwrap().unwrap();
    let report = status.load();
    assert!(whole, "{report:?}");
    Some(report)
}

#[test]
fn what_both_lines_lose_a_request_server_brings() {
    let mut store = Store::new(1 << 24);
    each_message(MESSAGES, |_, message| store.push(message));
    let mut servers = Servers::new(Arc::new(Mutex::new(store)), false);
    let config = RequestServerConfig::new(SessionId::from_padded(NAME), vec![HERE]);
    let address = servers.request(SocketAddr::new(HERE, 0), &config).unwrap();
    let socket = RequestSocket::open(&[address], Some(HERE)).unwrap();
    let recovery = RecoveryConfig {
        request_servers: 1,
        ..RecoveryConfig::default()
    };
    let packets = session(NAME, MESSAGES);
    let lost = |number: usize| number % 700 == 350;
    let report = receive(recovery, Some(socket), None, |senders| {
        let kept = packets.iter().enumerate().filter(|(n, _)| !lost(*n));
        send(kept.map(|(_, packet)| packet), senders);
    });
    let Some(report) = report else {
        return;
    };
    assert_eq!(reading(&report, "messages"), MESSAGES);
    assert!(reading(&report, "filled_by_request") > 0);
    assert_eq!(reading(&report, "messages_lost"), 0);
    assert_eq!(reading(&report, "requests_unsent"), 0);
    assert_eq!(reading(&report, "replies_foreign_source"), 0);
}

#[test]
fn a_late_joiner_loads_a_snapshot_and_goes_on_from_it() {
    const AT: u64 = 15_000;
    let snapshot = || Snapshot::new(AT + 1, |each| each_message(AT, |_, message| each(message)));
    let (username, password) = (Text::from_padded(b"user"), Text::from_padded(b"secret"));
    let config = GlimpseConfig {
        session: SessionId::from_padded(NAME),
        username,
        password,
        manner: Manner::default(),
    };
    let mut servers = Servers::new(Arc::new(Mutex::new(Store::new(1))), false);
    let address = servers
        .glimpse(SocketAddr::new(HERE, 0), &config, Arc::new(snapshot))
        .unwrap();
    let config = LoaderConfig {
        protocol: Protocol::MoldUdp64Itch50,
        number: 0,
        venue: Text::from_padded(b"XNAS"),
        share: Share::WHOLE,
        username,
        password,
        same_session: true,
    };
    let loader = LoaderHandle::spawn(config, vec![address], None).unwrap();
    let recovery = RecoveryConfig {
        snapshot_servers: 1,
        ..RecoveryConfig::default()
    };
    let packets = session(NAME, MESSAGES);
    let report = receive(recovery, None, Some(loader), |senders| {
        send(packets.iter().skip(packets.len() / 2), senders);
    });
    let Some(report) = report else {
        return;
    };
    assert!(reading(&report, "filled_by_snapshot") > 0);
    assert_eq!(reading(&report, "snapshots_loaded"), 1);
    assert_eq!(reading(&report, "load_complete"), 1);
}
