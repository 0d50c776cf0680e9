//! Recordings back on the wire: the machine, and real sockets on the loopback interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/disk.rs"]
mod disk;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use disk::{Disk, received};
use socket2::{Domain, Protocol, Socket, Type};
use tickcast_codecs::SessionId;
use tickcast_codecs::moldudp64::{DownstreamPacket, PacketBuilder};
use tickcast_replay::capture::{CaptureReader, Item};
use tickcast_replay::frame;
use tickcast_replay::multicast::edge::{Sending, Turn, run};
use tickcast_replay::multicast::{Playback, PlaybackConfig};
use tickcast_replay::pacing::Speed;
use tickcast_replay::recognise::Recogniser;
use tickcast_replay::record::{Files, Line, Recorder, RecorderConfig};

const GROUP: &str = "239.255.77.31:7001";
const MILLISECOND: u64 = 1_000_000;

fn mold(session: &str, sequence: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let session = SessionId::from_padded(session.as_bytes());
    let mut packet = PacketBuilder::new(&mut bytes, session, sequence, 1_400);
    packet.push(b"S\0\0\0\0\0\0\0\0\0\0O").unwrap();
    bytes
}

/// A recording of packets, each on the line of its group.
fn recording(groups: &[&str], packets: &[(u16, u64, Vec<u8>)]) -> Vec<u8> {
    let lines = groups
        .iter()
        .map(|group| Line {
            name: (*group).to_owned(),
            group: group.parse().unwrap(),
            protocol: None,
        })
        .collect();
    let config = RecorderConfig {
        files: Files::One("x".to_owned()),
        zstd: None,
    };
    let mut recorder = Recorder::new(config, lines, 0).unwrap();
    let mut disk = Disk::new(usize::MAX);
    for (line, ts, payload) in packets {
        disk.act(&mut recorder, 0);
        let packet = received(*line, *ts, payload);
        recorder.handle_packet(0, &packet).unwrap();
    }
    disk.act(&mut recorder, 0);
    recorder.handle_end(0).unwrap();
    disk.act(&mut recorder, 0);
    disk.files.remove("x").unwrap()
}

fn playback(speed: &str, groups: &[(&str, &str)]) -> Playback {
    let config = PlaybackConfig {
        speed: speed.parse().unwrap(),
        idle_max_ns: None,
        groups: groups
            .iter()
            .map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()))
            .collect(),
    };
    Playback::new(config, Recogniser::new(None)).unwrap()
}

#[test]
fn datagrams_go_to_their_groups_or_where_they_are_mapped_when_they_are_due() {
    let groups = [GROUP, "239.1.1.1:1", "[ff15::7]:7001", "10.0.0.1:5"];
    let packets: Vec<_> = [0, 1, 2, 3, 0]
        .into_iter()
        .zip(0..)
        .map(|(line, n)| (line, 1_000 + n * 10, mold("MON", 1 + n)))
        .collect();
    let file = recording(&groups, &packets);
    let mut playback = playback(
        "2",
        &[(groups[1], "239.2.2.2:2"), (groups[1], "239.3.3.3:3")],
    );
    let mut capture = CaptureReader::new(io::Cursor::new(file)).unwrap();
    let mut out = vec![];
    while let Some(item) = capture.next_item().unwrap() {
        // The clock stands still: waits add up to the schedule.
        let Some(wait) = playback.handle_item(&item, 500) else {
            continue;
        };
        let (groups, payload) = playback.datagram();
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        out.push((wait, groups, payload.to_vec()));
        playback.handle_sent(500 + wait + 3, 1, 0);
    }
    let two = vec!["239.2.2.2:2".to_owned(), "239.3.3.3:3".to_owned()];
    assert_eq!(
        out,
        [
            (0, vec![GROUP.to_owned()], mold("MON", 1)),
            (5, two, mold("MON", 2)),
            (20, vec![GROUP.to_owned()], mold("MON", 5)),
        ]
    );
    let totals = playback.totals();
    assert_eq!((totals.records, totals.packets, totals.late), (5, 3, 0));
    assert_eq!(totals.skipped["ipv6"], 1);
    assert_eq!(totals.skipped["not_multicast"], 1);
    let errors = playback.errors();
    assert_eq!((errors.len(), errors.min(), errors.max()), (3, 3, 3));
}

#[test]
fn a_packet_that_is_sent_late_is_an_error_and_flat_out_has_none() {
    let file = recording(&[GROUP], &[(0, 0, vec![1]), (0, MILLISECOND, vec![2])]);
    for (speed, errors) in [("1", 2), ("max", 0)] {
        let mut playback = playback(speed, &[]);
        let mut capture = CaptureReader::new(io::Cursor::new(file.clone())).unwrap();
        let mut now = 0;
        while let Some(item) = capture.next_item().unwrap() {
            playback.handle_item(&item, now).unwrap();
            playback.handle_sent(now, 1, 0);
            now += 4 * MILLISECOND;
        }
        assert_eq!(playback.errors().len(), errors);
        let max = playback.errors().max();
        assert_eq!(playback.totals().late, u64::from(errors > 0));
        // 4 ms after the start, 1 ms after the start was due; the histogram keeps three digits.
        assert!(errors == 0 || max.abs_diff(3 * MILLISECOND) <= 3 * MILLISECOND / 1_000);
    }
}

/// A receiver of the group on the loopback interface, at a free port.
fn receiver(group: Ipv4Addr) -> io::Result<(UdpSocket, SocketAddrV4)> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())?;
    socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let socket = UdpSocket::from(socket);
    let port = socket.local_addr()?.port();
    Ok((socket, SocketAddrV4::new(group, port)))
}

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata")
        .join(path)
}

/// The group and payloads of a capture.
fn payloads(file: &Path) -> (SocketAddr, Vec<Vec<u8>>) {
    let mut capture = CaptureReader::open(file).unwrap();
    let (mut group, mut all) = (None, vec![]);
    while let Some(item) = capture.next_item().unwrap() {
        let Item::Packet(packet) = item else {
            panic!("no packets")
        };
        let datagram = frame::udp(packet.link_type, packet.data).unwrap();
        assert_eq!(*group.get_or_insert(datagram.dst), datagram.dst);
        all.push(datagram.payload.to_vec());
    }
    (group.unwrap(), all)
}

fn sending(file: &Path, times: Option<u64>) -> Sending {
    Sending {
        files: vec![file.to_owned()],
        interface: Ipv4Addr::LOCALHOST,
        times,
        spin: Duration::from_micros(50),
    }
}

#[test]
fn a_receiver_gets_exactly_the_recorded_datagrams_in_order_and_a_new_session_each_lap() {
    let (socket, to) = match receiver(Ipv4Addr::new(239, 255, 77, 32)) {
        Ok(receiver) => receiver,
        Err(error) => {
            println!("skipped: no multicast on the loopback interface: {error}");
            return;
        }
    };
    for (file, is_mold) in [
        (
            "nasdaq-itch/ARL_2025-07-17_first_reencoded_moldudp64.pcap.gz",
            true,
        ),
        ("iex/deep10_2017-04-25_sessions1-3.pcap.gz", false),
    ] {
        let file = testdata(file);
        let (group, recorded) = payloads(&file);
        let recorded = &recorded[..recorded.len().min(1_000)];
        // At a pace that any socket buffer stands.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("beginning.pcapng");
        let packets: Vec<_> = (0..)
            .zip(recorded)
            .map(|(n, payload)| (0, n * MILLISECOND / 5, payload.clone()))
            .collect();
        std::fs::write(&path, recording(&[&group.to_string()], &packets)).unwrap();
        let mut playback = playback("1", &[(&group.to_string(), &to.to_string())]);
        let receiving = thread::spawn({
            let socket = socket.try_clone().unwrap();
            let count = recorded.len() * 2;
            move || {
                let mut buffer = [0; 65_536];
                let receive = |_| {
                    let length = socket.recv(&mut buffer).expect("a datagram is missing");
                    buffer[..length].to_vec()
                };
                (0..count).map(receive).collect::<Vec<_>>()
            }
        });
        run(&sending(&path, Some(2)), &mut playback, &mut |_| Turn::Go).unwrap();
        assert_eq!(playback.totals().packets, 2 * recorded.len() as u64);
        let got = receiving.join().unwrap();
        let (first, second) = got.split_at(recorded.len());
        assert!(first == recorded, "the first lap is as recorded");
        let session = |packet: &[u8]| {
            let field = if is_mold { 0..10 } else { 8..12 };
            packet[field].to_vec()
        };
        let sessions = |packets: &[Vec<u8>]| -> BTreeSet<Vec<u8>> {
            packets.iter().map(|packet| session(packet)).collect()
        };
        assert!(sessions(first).is_disjoint(&sessions(second)));
        assert_eq!(sessions(first).len(), sessions(second).len());
        for (one, two) in first.iter().zip(second) {
            let field = if is_mold { 0..10 } else { 8..12 };
            assert_eq!(one[..field.start], two[..field.start]);
            assert_eq!(one[field.end..], two[field.end..]);
            if is_mold {
                let sequence = |packet| DownstreamPacket::parse(packet).unwrap().sequence();
                assert_eq!(sequence(one), sequence(two));
            }
        }
    }
}

#[test]
fn the_pace_is_kept_never_early_and_a_stop_is_obeyed() {
    let (_socket, to) = match receiver(Ipv4Addr::new(239, 255, 77, 33)) {
        Ok(receiver) => receiver,
        Err(error) => {
            println!("skipped: no multicast on the loopback interface: {error}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("paced.pcapng");
    let packets: Vec<_> = (0..100)
        .map(|n| (0, n * MILLISECOND / 2, mold("MON", 1 + n)))
        .collect();
    std::fs::write(&path, recording(&[GROUP], &packets)).unwrap();
    let mut paced = playback("1", &[(GROUP, &to.to_string())]);
    let began = std::time::Instant::now();
    run(&sending(&path, Some(2)), &mut paced, &mut |_| Turn::Go).unwrap();
    // Two laps of 49.5 ms: never faster than recorded.
    assert!(began.elapsed() >= Duration::from_millis(99));
    let errors = paced.errors();
    assert_eq!((paced.totals().packets, errors.len()), (200, 200));
    let at = |quantile| errors.value_at_quantile(quantile);
    assert!(at(0.5) <= at(0.99) && at(0.99) <= errors.max());

    // For ever, until it is told to stop; a sleep of an hour doesn't hinder.
    let mut looks = 0;
    let mut playback = playback("0.000001", &[(GROUP, &to.to_string())]);
    run(&sending(&path, None), &mut playback, &mut |_| {
        looks += 1;
        if looks < 3 { Turn::Go } else { Turn::Stop }
    })
    .unwrap();
    assert_eq!((looks, playback.totals().packets), (3, 1));
}

#[test]
fn what_has_no_packets_or_cannot_be_reached_is_an_error_that_names_it() {
    let mut playback = playback(&Speed::Max.to_string(), &[]);
    let itch = testdata("nasdaq-itch/itch50_first1000_messages.itch");
    let error = run(&sending(&itch, Some(1)), &mut playback, &mut |_| Turn::Go).unwrap_err();
    assert!(error.to_string().contains("itch50_first1000_messages.itch"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.pcapng");
    std::fs::write(&path, recording(&[GROUP], &[(0, 0, vec![1])])).unwrap();
    let elsewhere = Sending {
        // A documentation address: no interface of ours.
        interface: Ipv4Addr::new(192, 0, 2, 1),
        ..sending(&path, Some(1))
    };
    let error = run(&elsewhere, &mut playback, &mut |_| Turn::Go).unwrap_err();
    assert!(error.to_string().contains(GROUP), "{error}");
}
