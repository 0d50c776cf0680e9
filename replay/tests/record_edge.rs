//! Recording through real sockets on the loopback interface, to a real disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/disk.rs"]
mod disk;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tickcast_feed::receiver::wall_clock;
use tickcast_feed::socket::{JoinConfig, MulticastSocket};
use tickcast_replay::capture::CaptureReader;
use tickcast_replay::exchange::edge::{MarketChannel, multicast_sender, run as transmit};
use tickcast_replay::exchange::{LineConfig, Lines, Market, MarketConfig};
use tickcast_replay::inspect::{Inspector, Options, Style};
use tickcast_replay::recognise::Recogniser;
use tickcast_replay::record::edge::{LineCounters, Turn, Until, View, run};
use tickcast_replay::record::{Files, Line, Notice, Recorder, RecorderConfig};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A recording that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A line on the loopback interface at a free port: what to record, its socket, its sender.  `None` where
/// multicast isn't possible.
fn line(last: u8) -> Option<(Line, MulticastSocket, UdpSocket)> {
    let line = || -> io::Result<_> {
        let port = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?
            .local_addr()?
            .port();
        let group = SocketAddrV4::new(Ipv4Addr::new(239, 255, 78, last), port);
        let socket =
            MulticastSocket::open(&JoinConfig::any_source(SocketAddr::V4(group), LOOPBACK))?;
        let sender = multicast_sender(group, Ipv4Addr::LOCALHOST)?;
        let line = Line {
            name: format!("line {last}"),
            group: SocketAddr::V4(group),
            protocol: None,
        };
        Ok((line, socket, sender))
    };
    match line() {
        Ok(line) => Some(line),
        Err(error) => {
            println!("skipped: no multicast on the loopback interface: {error}");
            None
        }
    }
}

/// Looks on, and stops a recording once what was sent has been received.
struct Watch {
    began: Arc<AtomicBool>,
    /// Datagrams sent, once all are.
    sent: Arc<AtomicU64>,
    since: Instant,
}

impl Watch {
    fn new() -> Self {
        Self {
            began: Arc::default(),
            sent: Arc::new(AtomicU64::new(u64::MAX)),
            since: Instant::now(),
        }
    }

    fn look(&self, view: &View<'_>) -> Turn {
        self.began.store(true, Ordering::Relaxed);
        let received: u64 = view
            .lines
            .iter()
            .map(|line| line.received.load(Ordering::Relaxed))
            .sum();
        let enough = received >= self.sent.load(Ordering::Relaxed);
        // Where datagrams are lost the assertions say so.
        if enough || self.since.elapsed() > PATIENCE / 2 {
            Turn::Stop
        } else {
            Turn::Go
        }
    }
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(1));
    }
}

fn only_file(folder: &Path, suffix: &str) -> Vec<u8> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(suffix))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    fs::read(found.remove(0)).unwrap()
}

fn dropped(lines: &[LineCounters]) -> u64 {
    lines
        .iter()
        .map(|line| line.dropped.load(Ordering::Relaxed))
        .sum()
}

#[test]
fn a_generated_session_on_two_lines_is_recorded_packet_by_packet() {
    let (Some(a), Some(b)) = (line(1), line(2)) else {
        return;
    };
    for zstd in [None, Some(3)] {
        let rejoin = |line: &Line| {
            MulticastSocket::open(&JoinConfig::any_source(line.group, LOOPBACK)).unwrap()
        };
        let sockets = vec![rejoin(&a.0), rejoin(&b.0)];
        let folder = tempfile::tempdir().unwrap();
        let config = RecorderConfig {
            files: Files::Many {
                bytes_max: None,
                every_ns: None,
            },
            zstd,
        };
        let lines = vec![a.0.clone(), b.0.clone()];
        let mut recorder = Recorder::new(config, lines, wall_clock()).unwrap();
        let watch = Watch::new();
        let senders = [a.2.local_addr().unwrap(), b.2.local_addr().unwrap()];
        let stop = Arc::new(AtomicBool::new(false));
        let exchange = thread::spawn({
            let senders = [a.2.try_clone().unwrap(), b.2.try_clone().unwrap()];
            let (began, sent) = (Arc::clone(&watch.began), Arc::clone(&watch.sent));
            move || {
                wait_for(&began);
                let market = MarketConfig {
                    instruments: 4,
                    messages_per_second: 2_000,
                    ..MarketConfig::default()
                };
                let mut line = LineConfig::default();
                line.publisher.end_of_session_ns = 0;
                let lines = Lines::new(&[line; 2], 0);
                let mut channel = MarketChannel::new(Market::new(market), lines);
                let mut packets = [vec![], vec![]];
                transmit(
                    &mut channel,
                    |line, packet| {
                        let line = usize::from(line);
                        senders[line].send(packet)?;
                        packets[line].push(packet.to_vec());
                        if packets[line].len() >= 300 {
                            stop.store(true, Ordering::Relaxed);
                        }
                        Ok(())
                    },
                    &stop,
                )
                .unwrap();
                let count = packets.iter().map(|line| line.len() as u64).sum();
                sent.store(count, Ordering::Relaxed);
                packets
            }
        });
        run(
            sockets,
            &mut recorder,
            folder.path(),
            Until::default(),
            &mut |view| watch.look(view),
        )
        .unwrap();
        let sent = exchange.join().unwrap();
        let suffix = if zstd.is_some() {
            ".pcapng.zst"
        } else {
            ".pcapng"
        };
        let file = only_file(folder.path(), suffix);
        let (kept, whole) = disk::read(&file);
        assert!(whole);
        for (number, line) in [(0, &a.0), (1, &b.0)] {
            let of_line = kept.iter().filter(|(interface, ..)| *interface == number);
            let payloads: Vec<_> = of_line.clone().map(|(.., payload)| payload).collect();
            assert!(
                payloads.iter().copied().eq(&sent[number as usize]),
                "line {number}"
            );
            assert!(of_line.clone().all(|(.., dst, _)| *dst == line.group));
            let source = senders[number as usize];
            assert!(of_line.clone().all(|(_, _, src, ..)| *src == source));
            assert!(of_line.is_sorted_by_key(|(_, ts, ..)| *ts));
        }

        // The index says the same, and so does `inspect`.
        let index = String::from_utf8(only_file(folder.path(), ".index.jsonl")).unwrap();
        let sessions: Vec<Value> = index
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|value| value["type"] == "session")
            .collect();
        assert_eq!(sessions.len(), 2);
        let options = Options {
            style: Style::Silent,
            symbol: None,
            limit: None,
        };
        let mut inspector = Inspector::new(io::sink(), Recogniser::new(None), options);
        let mut capture = CaptureReader::new(io::Cursor::new(file)).unwrap();
        while inspector.step(&mut capture).unwrap().is_some() {}
        let messages: u64 = inspector.statistics().messages.values().sum();
        for (session, sent) in sessions.iter().zip(&sent) {
            assert_eq!(session["session"], "TICKCAST01");
            assert_eq!(session["packets"], sent.len());
            assert_eq!(session["missing_messages"], 0);
            assert_eq!(session["first"], 1);
            assert_eq!(session["last"], messages / 2);
            assert_eq!(session["ended"], true);
        }
    }
}

/// A file system of 1 MiB; needs root.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(at)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at));
        }
        println!("skipped: mounting a tmpfs needs root");
        None
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// Sends packets that don't fit the disk and records them.  With `make_room` the disk is emptied once
/// writing fails.
fn overfill(number: u8, make_room: bool) -> Option<(Recorder, Vec<Notice>, Vec<u8>, u64)> {
    let (line, socket, sender) = line(number)?;
    let folder = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(folder.path())?;
    let filler = folder.path().join("filler");
    fs::write(&filler, vec![1; 700 << 10]).unwrap();
    let config = RecorderConfig {
        files: Files::One("day.pcapng".to_owned()),
        zstd: None,
    };
    let mut recorder = Recorder::new(config, vec![line], wall_clock()).unwrap();
    let watch = Watch::new();
    let sending = thread::spawn({
        let (began, sent) = (Arc::clone(&watch.began), Arc::clone(&watch.sent));
        move || {
            wait_for(&began);
            for n in 0..2_000_u32 {
                let mut packet = [0; 400];
                packet[..4].copy_from_slice(&n.to_le_bytes());
                sender.send(&packet).unwrap();
                if n % 20 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            sent.store(2_000, Ordering::Relaxed);
        }
    });
    let mut told = vec![];
    let lines = run(
        vec![socket],
        &mut recorder,
        folder.path(),
        Until::default(),
        &mut |view| {
            if let Some((notice, error)) = view.notice {
                if matches!(notice, Notice::Failing { .. }) {
                    let error = error.unwrap();
                    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
                    assert!(error.to_string().contains("day.pcapng"), "{error}");
                    if make_room {
                        fs::remove_file(&filler).unwrap();
                    }
                }
                told.push(notice);
            }
            match watch.look(view) {
                // Not before it goes on.
                Turn::Stop if make_room && told.len() < 2 && watch.since.elapsed() < PATIENCE => {
                    Turn::Go
                }
                turn => turn,
            }
        },
    )
    .unwrap();
    sending.join().unwrap();
    let file = fs::read(folder.path().join("day.pcapng")).unwrap();
    let lost = dropped(&lines);
    drop(disk);
    Some((recorder, told, file, lost))
}

#[test]
fn a_disk_that_fills_is_told_receiving_goes_on_and_a_whole_file_is_left() {
    let Some((recorder, told, file, dropped)) = overfill(3, false) else {
        return;
    };
    assert!(matches!(told[0], Notice::Failing { .. }), "{told:?}");
    let counters = recorder.counters();
    let (kept, whole) = disk::read(&file);
    assert!(whole);
    assert_eq!(kept.len() as u64, counters.written);
    assert!(counters.written > 0 && counters.given_up > 0);
    // All that was sent was received.
    assert_eq!(counters.written + counters.given_up + dropped, 2_000);
}

#[test]
fn once_there_is_room_again_everything_that_was_received_is_written() {
    let Some((recorder, told, file, dropped)) = overfill(4, true) else {
        return;
    };
    assert!(
        matches!(told[..], [Notice::Failing { .. }, Notice::Recovered { .. }]),
        "{told:?}"
    );
    let counters = recorder.counters();
    assert_eq!(
        (counters.written, counters.given_up, dropped),
        (2_000, 0, 0)
    );
    let numbers: Vec<u32> = disk::read(&file)
        .0
        .iter()
        .map(|(.., payload)| u32::from_le_bytes(payload[..4].try_into().unwrap()))
        .collect();
    assert_eq!(numbers, (0..2_000).collect::<Vec<_>>());
}

#[test]
fn what_the_kernel_dropped_is_counted_told_in_the_file_and_missing_in_the_index() {
    let Some((line, socket, sender)) = line(5) else {
        return;
    };
    // Nobody reads while more is sent than the smallest buffer holds.
    drop(socket);
    let small = JoinConfig {
        receive_buffer_bytes: 32 << 10,
        ..JoinConfig::any_source(line.group, LOOPBACK)
    };
    let socket = MulticastSocket::open(&small).unwrap();
    let sent = 500;
    for sequence in 1..=sent {
        let mut packet = b"TICKCAST01".to_vec();
        packet.extend_from_slice(&u64::to_be_bytes(sequence));
        packet.extend_from_slice(&[0, 1, 0, 12]);
        packet.extend_from_slice(b"S\0\0\0\0\0\0\0\0\0\0O");
        sender.send(&packet).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let config = RecorderConfig {
        files: Files::One("day.pcapng".to_owned()),
        zstd: None,
    };
    let mut recorder = Recorder::new(config, vec![line], wall_clock()).unwrap();
    let mut last_sent = false;
    let lines = run(
        vec![socket],
        &mut recorder,
        folder.path(),
        Until::default(),
        &mut |view| {
            // One more, behind the hole.
            if !last_sent && view.recorder.counters().packets > 0 {
                last_sent = true;
                let mut packet = b"TICKCAST01".to_vec();
                packet.extend_from_slice(&u64::to_be_bytes(sent + 1));
                packet.extend_from_slice(&[0, 0]);
                sender.send(&packet).unwrap();
                return Turn::Go;
            }
            if last_sent { Turn::Stop } else { Turn::Go }
        },
    )
    .unwrap();
    let received = lines[0].received.load(Ordering::Relaxed);
    let lost = lines[0].kernel_drops.load(Ordering::Relaxed);
    assert!(lost > 0);
    assert_eq!(received + lost, sent + 1);
    assert_eq!(recorder.counters().kernel_drops, lost);
    let index = String::from_utf8(only_file(folder.path(), ".index.jsonl")).unwrap();
    let values: Vec<Value> = index
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(values[0]["kernel_drops"], lost);
    assert_eq!(values[0]["missing_messages"], lost);
}
