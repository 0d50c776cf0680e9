//! A market as a file: our own readers find in it what the market told, and end with the market's books.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Cursor;
use std::net::SocketAddrV4;

use tickcast_book::NoUpdates;
use tickcast_codecs::SessionId;
use tickcast_codecs::moldudp64::{DownstreamPacket, Kind};
use tickcast_feed::Shard;
use tickcast_replay::books_csv::Rows;
use tickcast_replay::capture::{CaptureReader, Format, Item};
use tickcast_replay::exchange::writer::MIDNIGHT_NS;
use tickcast_replay::exchange::{
    Market, MarketConfig, MarketWriter, Pace, PublisherConfig, WriterConfig, Written, compare,
};
use tickcast_replay::frame;
use tickcast_replay::inspect::{Inspector, Options, Style};
use tickcast_replay::player::Player;
use tickcast_replay::recognise::Recogniser;

const FORMATS: [Format; 3] = [Format::BinaryFile, Format::Pcap, Format::PcapNg];
const SECOND: u64 = 1_000_000_000;

fn config(market: MarketConfig, format: Format, messages_max: u64) -> WriterConfig {
    WriterConfig {
        market,
        format,
        messages_max,
        duration_ns_max: u64::MAX,
        publisher: PublisherConfig {
            packet_bytes_max: 1_000,
            session: SessionId::from_padded(b"FILE"),
            ..PublisherConfig::default()
        },
        source: SocketAddrV4::new([10, 1, 2, 3].into(), 4_000),
        group: SocketAddrV4::new([239, 1, 2, 3].into(), 5_000),
    }
}

fn write(config: &WriterConfig) -> (Vec<u8>, Written) {
    let mut file = Vec::new();
    let mut writer = MarketWriter::new(config, &mut file).unwrap();
    while writer.step().unwrap() {}
    let written = writer.finish().unwrap();
    (file, written)
}

/// Hands each record to `each`.
fn read(file: &[u8], format: Format, mut each: impl FnMut(&Item<'_>)) {
    let mut reader = CaptureReader::new(Cursor::new(file.to_vec())).unwrap();
    assert_eq!(reader.format(), format);
    while let Some(item) = reader.next_item().unwrap() {
        each(&item);
    }
}

/// The books of whoever plays the file.
fn play(file: &[u8], format: Format) -> Player<NoUpdates> {
    let connect = Box::new(|_| Some(NoUpdates));
    let mut player = Player::new(Recogniser::new(None), Rows::default(), connect);
    read(file, format, |item| {
        player.handle_item(item, Player::<NoUpdates>::recorded_at(item));
    });
    player.handle_end();
    player
}

fn shapes() -> Vec<(&'static str, MarketConfig)> {
    let few = |config: MarketConfig| MarketConfig {
        orders_per_instrument_max: 2_000,
        ..config
    };
    vec![
        ("natural", MarketConfig::default()),
        ("hot", MarketConfig::single_hot()),
        ("deep", few(MarketConfig::deep())),
        ("one order a level", few(MarketConfig::one_order_a_level())),
        ("one level", few(MarketConfig::one_level())),
        ("a day", MarketConfig::compressed_day(20 * SECOND)),
    ]
}

#[test]
fn every_file_of_every_shape_leads_to_the_markets_books_with_no_order_unknown() {
    for (shape, market) in shapes() {
        for format in FORMATS {
            let (file, written) = write(&config(market, format, 60_000));
            let player = play(&file, format);
            let shards: Vec<&Shard<_, _>> = player.shards().collect();
            let [shard] = shards.as_slice() else {
                panic!("{shape} as {format}: {} channels", shards.len());
            };
            let books = shard.market();
            let what = format!("{shape} as {format}");
            let difference = compare::first_difference(&written.market, books, |_| true);
            assert_eq!(difference, None, "{what}");
            assert_eq!(
                compare::books_hash(books),
                written.market.state_hash(),
                "{what}"
            );
            assert_eq!(books.order_count() as u64, written.orders, "{what}");
            let counters = books.counters();
            assert_eq!(counters.unknown_order, 0, "{what}");
            let feed = shard.counters();
            assert_eq!(feed.messages, written.messages, "{what}");
            assert_eq!(player.totals().unrecognised, 0, "{what}");
            // Who reads a BinaryFILE is told of its end by the reader.
            assert_eq!(shard.is_ended(), format != Format::BinaryFile, "{what}");
        }
    }
}

#[test]
fn one_configuration_gives_one_file_and_another_seed_another() {
    for format in FORMATS {
        let of = |seed| {
            let market = MarketConfig {
                seed,
                ..MarketConfig::default()
            };
            write(&config(market, format, 20_000)).0
        };
        let file = of(5);
        assert!(file == of(5), "{format}");
        assert!(file != of(6), "{format}");
    }
}

#[test]
fn a_binaryfile_has_the_markets_messages_and_the_mark_of_the_end() {
    let (file, written) = write(&config(MarketConfig::default(), Format::BinaryFile, 30_000));
    assert_eq!(file[file.len() - 2..], [0, 0]);
    let mut market = Market::new(MarketConfig::default());
    let (mut message, mut count) = (Vec::new(), 0);
    read(&file, Format::BinaryFile, |item| {
        let Item::Message(read) = item else {
            panic!("a packet")
        };
        message.clear();
        market.next(&mut message);
        assert_eq!(read.bytes, message);
        count += 1;
        assert_eq!(read.index, count);
    });
    assert_eq!(
        (count, written.messages, written.packets),
        (30_000, 30_000, 0)
    );
    assert_eq!(written.by_type.iter().sum::<u64>(), 30_000);
}

#[test]
fn packets_have_the_messages_in_order_within_the_size_and_end_the_session() {
    for format in [Format::Pcap, Format::PcapNg] {
        let config = config(MarketConfig::default(), format, 30_000);
        let (file, written) = write(&config);
        let mut market = Market::new(config.market);
        let mut message = Vec::new();
        let (mut next, mut packets, mut before) = (1, 0, 0);
        let mut last = Kind::Data;
        read(&file, format, |item| {
            let Item::Packet(packet) = item else {
                panic!("a message")
            };
            let datagram = frame::udp(packet.link_type, packet.data).unwrap();
            assert_eq!(datagram.src, config.source.into());
            assert_eq!(datagram.dst, config.group.into());
            assert!(datagram.payload.len() <= 1_000);
            let view = DownstreamPacket::parse(datagram.payload).unwrap();
            assert_eq!(view.session(), config.publisher.session);
            assert_eq!(view.sequence(), next);
            let began = MIDNIGHT_NS + config.market.open_ns;
            let sent = packet.ts_recv - began;
            assert!(sent >= before);
            before = sent;
            for block in view.blocks() {
                message.clear();
                let due = market.next(&mut message).offset_ns;
                assert_eq!(block, message);
                // Not before it is told, nor later than a message may wait.
                let waits = config.publisher.flush_ns;
                assert!((due..=due + waits).contains(&sent), "{due}, sent {sent}");
            }
            next = view.next_sequence();
            packets += 1;
            last = view.kind();
        });
        assert_eq!((next, packets), (30_001, written.packets));
        assert_eq!(last, Kind::EndOfSession);
    }
}

#[test]
fn a_fast_market_fills_its_packets() {
    let market = MarketConfig {
        messages_per_second: 1_000_000,
        ..MarketConfig::default()
    };
    let (_, written) = write(&config(market, Format::Pcap, 200_000));
    let each = written.messages / written.packets;
    assert!((25..=40).contains(&each), "{each} messages a packet");
}

#[test]
fn inspect_counts_what_was_written() {
    for format in FORMATS {
        let (file, written) = write(&config(MarketConfig::default(), format, 20_000));
        let mut reader = CaptureReader::new(Cursor::new(file)).unwrap();
        let options = Options {
            style: Style::Silent,
            symbol: None,
            limit: None,
        };
        let mut inspector = Inspector::new(std::io::sink(), Recogniser::new(None), options);
        while inspector.step(&mut reader).unwrap().is_some() {}
        let statistics = inspector.statistics();
        let messages: u64 = statistics.messages.values().sum();
        assert_eq!(messages, written.messages, "{format}");
        let wrong = (&statistics.skipped, &statistics.rejected);
        assert!(
            wrong.0.is_empty() && wrong.1.is_empty(),
            "{format}: {wrong:?}"
        );
    }
}

#[test]
fn a_step_from_idle_to_full_is_seen_in_the_times_of_packets() {
    let market = MarketConfig {
        messages_per_second: 50_000,
        pace: Pace::Step {
            idle_per_second: 20,
            after_ns: 3 * SECOND,
        },
        ..MarketConfig::default()
    };
    let (file, _) = write(&config(market, Format::PcapNg, 100_000));
    let opened = {
        let mut market = Market::new(market);
        let mut out = Vec::new();
        let mut at = 0;
        while !market.is_open() {
            at = market.next(&mut out).offset_ns;
        }
        MIDNIGHT_NS + market_open_ns() + at
    };
    let mut seconds = [0_u32; 4];
    read(&file, Format::PcapNg, |item| {
        let Item::Packet(packet) = item else {
            panic!("a message")
        };
        let datagram = frame::udp(packet.link_type, packet.data).unwrap();
        let view = DownstreamPacket::parse(datagram.payload).unwrap();
        let Some(since) = packet.ts_recv.checked_sub(opened) else {
            return;
        };
        if let Some(count) = seconds.get_mut(usize::try_from(since / SECOND).unwrap()) {
            *count += u32::try_from(view.blocks().count()).unwrap();
        }
    });
    println!("{seconds:?}");
    assert!(
        seconds[..3].iter().all(|n| (15..=60).contains(n)),
        "{seconds:?}"
    );
    assert!(seconds[3].abs_diff(50_000) < 2_500, "{seconds:?}");
}

fn market_open_ns() -> u64 {
    MarketConfig::default().open_ns
}

#[test]
fn a_silent_market_sends_heartbeats() {
    let market = MarketConfig {
        messages_per_second: 1,
        instruments: 1,
        pace: Pace::Constant,
        ..MarketConfig::default()
    };
    let publisher = PublisherConfig {
        heartbeat_ns: SECOND / 4,
        ..PublisherConfig::default()
    };
    let config = WriterConfig {
        publisher,
        duration_ns_max: 20 * SECOND,
        ..config(market, Format::Pcap, u64::MAX)
    };
    let (file, written) = write(&config);
    assert!((20 * SECOND..22 * SECOND).contains(&written.duration_ns));
    let mut heartbeats = 0;
    read(&file, Format::Pcap, |item| {
        let Item::Packet(packet) = item else {
            panic!("a message")
        };
        let datagram = frame::udp(packet.link_type, packet.data).unwrap();
        let view = DownstreamPacket::parse(datagram.payload).unwrap();
        heartbeats += u32::from(view.kind() == Kind::Heartbeat);
    });
    assert!((50..=70).contains(&heartbeats), "{heartbeats}");
}

#[test]
fn a_whole_day_ends_by_itself_with_empty_books() {
    let market = MarketConfig::compressed_day(10 * SECOND);
    let (file, written) = write(&config(market, Format::BinaryFile, u64::MAX));
    assert!(written.market.is_over());
    assert_eq!((written.orders, written.levels), (0, 0));
    assert_eq!(
        play(&file, Format::BinaryFile).totals().records,
        written.messages
    );
    assert_eq!(written.by_type[usize::from(b'S')], 6);
}

#[test]
fn the_mix_of_trading_is_the_measured_one_and_heights_are_those_of_the_books() {
    let market = MarketConfig {
        instruments: 500,
        orders_per_instrument_max: 320,
        depth_by_activity: true,
        ..MarketConfig::default()
    };
    let (_, written) = write(&config(market, Format::BinaryFile, 1_000_000));
    let of = |counts: &[u64; 256], types: &[u8]| -> u64 {
        let counts = types.iter().map(|of| counts[usize::from(*of)]);
        counts.sum()
    };
    let opening: u64 = written.opening_by_type.iter().sum();
    let trading = written.messages - opening;
    // Three messages of each instrument, two events (the third opens), and orders put.
    assert_eq!(opening, of(&written.opening_by_type, b"AF") + 3 * 500 + 2);
    for (types, wanted) in [
        (&b"AF"[..], 43.0),
        (b"D", 41.0),
        (b"U", 9.0),
        (b"EC", 4.0),
        (b"X", 2.0),
    ] {
        let seen = of(&written.by_type, types) - of(&written.opening_by_type, types);
        let share = seen as f64 * 100.0 / trading as f64;
        let name = String::from_utf8_lossy(types);
        assert!((share - wanted).abs() < 0.5, "{name}: {share} %");
    }
    let orders: usize = (1..=500)
        .map(|locate| written.market.displayed_orders(locate))
        .sum();
    assert_eq!(written.orders, orders as u64);
    assert!(written.orders_max >= written.orders && written.levels_max >= written.levels);
    let mean = written.orders_max / 500;
    assert!((180..=220).contains(&mean), "{mean} orders an instrument");
}

#[test]
fn what_cant_be_written_is_an_error_and_no_panic() {
    /// A disk with so much room.
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for format in FORMATS {
        let config = config(MarketConfig::default(), format, u64::MAX);
        let mut writer = MarketWriter::new(&config, Full(10_000)).unwrap();
        let error = loop {
            match writer.step() {
                Ok(true) => {}
                Ok(false) => panic!("the disk isn't full"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{format}");
    }
    let mut tiny = config(MarketConfig::default(), Format::Pcap, 10);
    tiny.publisher.packet_bytes_max = 40;
    let mut writer = MarketWriter::new(&tiny, Vec::new()).unwrap();
    let error = (0..10).find_map(|_| writer.step().err()).unwrap();
    assert!(error.to_string().contains("packet"), "{error}");
}
