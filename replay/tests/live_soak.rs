//! A whole exchange on real sockets, in a network namespace of its own: two lossy lines, a request server and a
//! snapshot server; at the end the books are the exchange's, and the counters add up to the packet.
//!
//! `TICKCAST_SOAK_SECONDS` and `TICKCAST_SOAK_RATE` (messages a second) make it long and fast; `cargo xtask
//! soak` runs it so in a release build.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod live;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use live::{Loopback, eventually, reading};
use tickcast_book::report::Report;
use tickcast_codecs::event::Origin;
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::types::Text;
use tickcast_feed::RecoveryConfig;
use tickcast_feed::counters::ChannelStatus;
use tickcast_feed::drive::Drive;
use tickcast_feed::limits::RECEIVE_BUFFER_BYTES;
use tickcast_feed::loader::LoaderHandle;
use tickcast_feed::receiver::{Clock, Lines as Sockets, Receiver, Wait};
use tickcast_feed::shard::Observer;
use tickcast_feed::snapshot::{LoaderConfig, Share};
use tickcast_feed::socket::RequestSocket;
use tickcast_replay::exchange::compare::first_difference;
use tickcast_replay::exchange::{
    GlimpseConfig, LineConfig, Lines, Manner, Market, MarketConfig, PublisherConfig,
    RequestServerConfig, Servers, Snapshot, Store,
};
use tickcast_replay::fault::{Burst, BurstLength, Fault, FaultPlan, moldudp64_messages};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SECOND: u64 = 1_000_000_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// The exchange's market, its lines and their faults, seen as one.
struct Exchange {
    market: Market,
    pending: Vec<u8>,
    due: u64,
    lines: Lines,
    faults: Vec<Fault>,
    store: Arc<Mutex<Store>>,
    packet: Vec<u8>,
}

impl Exchange {
    /// The next message: in the store, and in every snapshot, from now on.
    fn prepare(&mut self) {
        self.pending.clear();
        self.due = self.market.next(&mut self.pending).offset_ns;
        self.store.lock().unwrap().push(&self.pending);
    }

    /// What is due goes out; says when there is more.
    fn turn(&mut self, now: u64, publish: bool, send: &mut dyn FnMut(usize, &[u8])) -> u64 {
        while publish && self.due <= now {
            // As if it had been on time: packets are as full as they would have been.
            let due = self.due;
            self.lines.handle_message(due, &self.pending).unwrap();
            self.prepare();
            self.transmit(due, send);
        }
        self.transmit(now, send);
        self.due
    }

    fn transmit(&mut self, now: u64, send: &mut dyn FnMut(usize, &[u8])) {
        while let Some(line) = self.lines.poll_transmit(now, &mut self.packet) {
            self.faults[usize::from(line)].handle_packet(now, &self.packet);
        }
        for (line, fault) in self.faults.iter_mut().enumerate() {
            while fault.poll_transmit(now, &mut self.packet) {
                send(line, &self.packet);
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let sequence = self.store.lock().unwrap().next_sequence();
        Snapshot::new(sequence, |each| self.market.snapshot(each))
    }
}

/// Runs this test once more in a namespace with nothing but a loopback interface.  True in there.
fn in_namespace(test: &str) -> bool {
    const INSIDE: &str = "TICKCAST_TEST_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let this = std::env::current_exe().unwrap();
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    let possible = Command::new("unshare")
        .args(["-rn", "ip", "link", "set", "lo", "up"])
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("skipped: no network namespace can be made here");
        return false;
    }
    let status = Command::new("unshare")
        .args(["-rn", "sh", "-c", script, this.to_str().unwrap()])
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "in the namespace: {status}");
    false
}

#[test]
fn books_are_the_exchanges_and_counters_add_up_behind_two_lossy_lines() {
    if !in_namespace("books_are_the_exchanges_and_counters_add_up_behind_two_lossy_lines") {
        return;
    }
    let kernel_drops = run(&Settings {
        seconds: number("TICKCAST_SOAK_SECONDS", 4),
        rate: number("TICKCAST_SOAK_RATE", 20_000),
        instruments: u16::try_from(number("TICKCAST_SOAK_INSTRUMENTS", 200)).unwrap(),
        receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
        stall: None,
    });
    println!("kernel drops: {kernel_drops:?}");
}

#[test]
fn f19_what_a_stalled_receiver_loses_is_counted_exactly_by_the_kernel_and_then_repaired() {
    if !in_namespace(
        "f19_what_a_stalled_receiver_loses_is_counted_exactly_by_the_kernel_and_then_repaired",
    ) {
        return;
    }
    let kernel_drops = run(&Settings {
        seconds: 3,
        rate: 50_000,
        instruments: 50,
        receive_buffer_bytes: 128 * 1024,
        stall: Some(Duration::from_millis(100)),
    });
    assert!(
        kernel_drops.is_none_or(|drops| drops > 0),
        "nothing was lost"
    );
}

/// How to run.
struct Settings {
    seconds: u64,
    rate: u64,
    instruments: u16,
    receive_buffer_bytes: usize,
    /// For how long the receiver does nothing, once.
    stall: Option<Duration>,
}

/// Sleeps once, in the middle of a message.
struct Stall {
    left: u64,
    length: Option<Duration>,
}

impl Observer for Stall {
    fn message(&mut self, _: &[u8], _: Origin) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0
            && let Some(length) = self.length.take()
        {
            thread::sleep(length);
        }
    }
}

/// Runs it; gives the datagrams that the kernel dropped, or `None` if it can't be run here.
fn run(settings: &Settings) -> Option<u64> {
    let Settings {
        seconds,
        rate,
        instruments,
        receive_buffer_bytes,
        stall,
    } = *settings;
    let Loopback { sockets, senders } = Loopback::with_buffers(2, receive_buffer_bytes)?;
    let line = |packet_bytes_max, flush_ns| LineConfig {
        publisher: PublisherConfig {
            packet_bytes_max,
            flush_ns,
            ..PublisherConfig::default()
        },
        offset_ns: 0,
    };
    let lines = Lines::new(&[line(1_400, 200_000), line(1_000, 150_000)], 0);
    let session = lines.session();
    // 1 % lost on each line independently, and each second and a half a thousand messages on both.
    let bursts: Vec<Burst> = (1..)
        .map(|n| Burst {
            at_ns: n * 3 * SECOND / 2,
            length: BurstLength::Messages(1_000),
        })
        .take_while(|burst| burst.at_ns < seconds * SECOND)
        .collect();
    let plan = FaultPlan {
        loss_ppm: 10_000,
        bursts: bursts.clone(),
        until_ns: seconds * SECOND,
        ..FaultPlan::none()
    };
    let faults = (0..2)
        .map(|n| Fault::new(plan.clone(), 7 + n, moldudp64_messages))
        .collect();
    let store = Arc::new(Mutex::new(Store::new(256 << 20)));
    let mut exchange = Exchange {
        market: Market::new(MarketConfig {
            seed: 7,
            instruments,
            messages_per_second: u32::try_from(rate).unwrap(),
            ..MarketConfig::default()
        }),
        pending: Vec::new(),
        due: 0,
        lines,
        faults,
        store: Arc::clone(&store),
        packet: Vec::new(),
    };
    exchange.prepare();
    let exchange = Arc::new(Mutex::new(exchange));

    let mut servers = Servers::new(Arc::clone(&store), false);
    let mut asked = RequestServerConfig::new(session, vec![HERE]);
    asked.requests_per_second_max = 10_000;
    let request_server = servers.request(SocketAddr::new(HERE, 0), &asked).unwrap();
    let (username, password) = (Text::from_padded(b"user"), Text::from_padded(b"secret"));
    let glimpse = GlimpseConfig {
        session,
        username,
        password,
        manner: Manner::Honest,
    };
    let source = Arc::clone(&exchange);
    let snapshot_server = servers
        .glimpse(
            SocketAddr::new(HERE, 0),
            &glimpse,
            Arc::new(move || source.lock().unwrap().snapshot()),
        )
        .unwrap();

    let loader = LoaderConfig {
        protocol: Protocol::MoldUdp64Itch50,
        number: 0,
        venue: Text::from_padded(b"XNAS"),
        share: Share::WHOLE,
        username,
        password,
        same_session: true,
    };
    let loader = LoaderHandle::spawn(loader, vec![snapshot_server], None).unwrap();
    let requests = RequestSocket::open(&[request_server], Some(HERE)).unwrap();
    let recovery = RecoveryConfig {
        request_servers: 1,
        snapshot_servers: 1,
        ..RecoveryConfig::default()
    };
    let observer = Stall {
        // In the middle of the run.
        left: rate * seconds / 2,
        length: stall,
    };
    let (shard, subscription) = live::observed(Share::WHOLE, 2, recovery, observer);
    let status = Arc::new(ChannelStatus::default());
    let stop = Arc::new(AtomicBool::new(false));
    let receiving = thread::spawn({
        let (status, stop, exchange) = (status.clone(), stop.clone(), exchange.clone());
        move || {
            // Nobody is interested, but the ring has to have an end.
            let _subscription = subscription;
            let drive = Drive::new(shard, Clock::new(), Some(requests), Some(loader), status);
            let mut receiver = Receiver::new(Sockets::new(sockets), drive);
            let spin = Duration::from_micros(50);
            receiver.run(Wait::Adaptive { spin }, &stop).unwrap();
            let exchange = exchange.lock().unwrap();
            let market = receiver.drive().shard().market();
            let difference = first_difference(&exchange.market, market, |_| true);
            let live = receiver.drive().shard().is_live();
            (difference.map(|difference| difference.to_string()), live)
        }
    });
    assert!(eventually(|| !status.load().readings.is_empty()));

    let started = Instant::now();
    let mut send_errors = 0_u64;
    let end = Duration::from_secs(seconds);
    let mut send = |line: usize, packet: &[u8]| {
        send_errors += u64::from(senders[line].send(packet).is_err());
    };
    let mut late_ns_max = 0;
    // Faults end with the time; a while longer for heartbeats and repairs.
    while started.elapsed() < end + Duration::from_secs(3) {
        let now = u64::try_from(started.elapsed().as_nanos()).unwrap();
        let due = exchange
            .lock()
            .unwrap()
            .turn(now, started.elapsed() < end, &mut send);
        if started.elapsed() < end {
            late_ns_max = late_ns_max.max(now.saturating_sub(due));
        }
        thread::sleep(Duration::from_micros(50));
    }
    let published = {
        // The message that was prepared was never published: the market is ahead by it.
        let mut exchange = exchange.lock().unwrap();
        let now = u64::try_from(started.elapsed().as_nanos()).unwrap();
        let message = exchange.pending.clone();
        exchange.lines.handle_message(now, &message).unwrap();
        exchange.turn(now + SECOND, false, &mut send);
        exchange.lines.next_sequence() - 1
    };
    let whole = eventually(|| {
        let report = status.load();
        report.next_sequence == published + 1 && !report.stale
    });
    stop.store(true, Ordering::Relaxed);
    let (difference, live) = receiving.join().unwrap();
    let report = status.load();
    show(&report, &exchange.lock().unwrap(), published, seconds);
    println!(
        "publisher late by at most {} us, {send_errors} sends refused",
        late_ns_max / 1_000
    );
    println!("{:?}", servers.request_counters().unwrap());
    assert!(whole, "{report:?}");
    assert_eq!(difference, None);
    assert!(live);
    assert_eq!(send_errors, 0);
    add_up(&report, &exchange.lock().unwrap());
    servers.stop();
    Some(reading(&report, "kernel_drops"))
}

fn of_line(report: &Report, name: &str, line: u8) -> u64 {
    let mut readings = report.readings.iter();
    let found = readings.find(|reading| reading.name == name && reading.line == Some(line));
    found.unwrap_or_else(|| panic!("no {name}")).value
}

/// I2: every packet that went out came in or was dropped by the kernel, and every message of those that came in
/// moved exactly one counter.
fn add_up(report: &Report, exchange: &Exchange) {
    for (line, fault) in (0..).zip(&exchange.faults) {
        let of = |name| of_line(report, name, line);
        let passed = fault.counters().passed;
        assert_eq!(
            passed.packets,
            of("packets") + of("kernel_drops"),
            "line {line}"
        );
        let messages = of("messages_won")
            + of("messages_duplicate")
            + of("messages_late")
            + of("messages_no_room")
            + of("messages_conflicting")
            + of("messages_old_session")
            + of("messages_foreign")
            + of("messages_unconfirmed");
        if of("kernel_drops") == 0 {
            assert_eq!(passed.messages, messages, "line {line}");
        }
    }
    let won: u64 = (0..2)
        .map(|line| of_line(report, "messages_won", line))
        .sum();
    let by_request = reading(report, "filled_by_request");
    assert_eq!(
        report.next_sequence - 1,
        won + by_request + reading(report, "filled_by_snapshot"),
        "every message came first from one line, or from a server"
    );
    assert_eq!(
        reading(report, "messages"),
        won + by_request - reading(report, "messages_superseded")
    );
}

fn show(report: &Report, exchange: &Exchange, published: u64, seconds: u64) {
    println!("{published} messages in {seconds} s");
    for (line, fault) in (0..).zip(&exchange.faults) {
        let counters = fault.counters();
        println!(
            "line {line}: packets {} lost {} in bursts {} passed {}",
            counters.handled.packets,
            counters.lost.packets,
            counters.burst_lost.packets,
            counters.passed.packets
        );
        for reading in report
            .readings
            .iter()
            .filter(|reading| reading.line == Some(line))
        {
            if reading.value > 0 {
                println!("  {:<32}{:>12}", reading.name, reading.value);
            }
        }
    }
    for reading in report
        .readings
        .iter()
        .filter(|reading| reading.line.is_none())
    {
        if reading.value > 0 {
            println!("{:<34}{:>12}", reading.name, reading.value);
        }
    }
    println!("repairs {:?}", report.repair);
}
