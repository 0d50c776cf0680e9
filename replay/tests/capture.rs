//! Recorded files of every kind, whole, cut and hostile.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

#[path = "support/writer.rs"]
mod writer;

use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tickcast_replay::capture::{
    CaptureError, CaptureReader, Compression, Format, Item, PACKET_BYTES_MAX, RECORD_BYTES_MAX,
};
use tickcast_replay::frame::{self, LinkType};
use writer::{Order, Packed, PcapNg, gzip, packed, pcap, zstd};

/// Each capture of `testdata`: frames, UDP datagrams, bytes of their payloads, times of the first and
/// the last frame, as tshark 4.0.17 tells them.
#[rustfmt::skip]
const RECORDED: &[(&str, u64, u64, usize, u64, u64)] = &[
    ("iex/deep10_2017-04-25_session12_first50000.pcap.gz", 50_000, 50_000, 4_402_711, 1_493_148_947_481_894_000, 1_493_149_510_439_659_000),
    ("iex/deep10_2017-04-25_sessions1-3.pcap.gz", 7_884, 7_884, 2_082_485, 1_493_132_598_746_881_000, 1_493_140_030_736_198_000),
    ("iex/tops16_2017-07-10_first9000.pcap.gz", 9_000, 9_000, 1_903_424, 1_499_697_138_433_824_000, 1_499_697_452_349_360_000),
    ("iex/tops16_2018-01-03_example1_truncated.pcapng", 2, 2, 1_509, 1_514_983_023_518_791_000, 1_514_983_024_499_887_000),
    ("nasdaq-itch/ARL_2025-07-17_first_reencoded_moldudp64.pcap.gz", 181, 181, 95_556, 1_752_739_502_360_677_248, 1_752_770_683_966_619_226),
    ("omi-packets/Iex/Deep.IexTp.v1.0/Heartbeat.pcap", 1, 1, 40, 1_611_690_683_242_757_000, 1_611_690_683_242_757_000),
    ("omi-packets/Iex/Deep.IexTp.v1.0/PriceLevelBuyUpdateMessage.pcap", 1, 1, 72, 1_611_692_981_299_914_000, 1_611_692_981_299_914_000),
    ("omi-packets/Iex/DeepPlus.IexTp.1.0.2/B_TradeBreak.pcap", 1, 1, 80, 1_727_790_988_389_447_000, 1_727_790_988_389_447_000),
    ("omi-packets/Iex/DeepPlus.IexTp.1.0.2/D_SecurityDirectory.pcap", 1, 1, 1_457, 1_727_770_091_066_947_000, 1_727_770_091_066_947_000),
    ("omi-packets/Iex/DeepPlus.IexTp.1.0.2/H_TradingStatus.pcap", 1, 1, 1_453, 1_727_770_066_599_582_000, 1_727_770_066_599_582_000),
    ("omi-packets/Iex/DeepPlus.IexTp.1.0.2/I_RetailLiquidityIndicator.pcap", 1, 1, 1_453, 1_727_770_066_599_582_000, 1_727_770_066_599_582_000),
    ("omi-packets/Iex/DeepPlus.IexTp.1.0.2/M_OrderModify.pcap", 1, 1, 80, 1_727_787_570_999_597_000, 1_727_787_570_999_597_000),
    ("omi-packets/Iex/DeepPlus.IexTp.1.0.2/O_OperationalHaltStatus.pcap", 1, 1, 1_453, 1_727_770_066_599_582_000, 1_727_770_066_599_582_000),
    ("omi-packets/Iex/DeepPlus.IexTp.1.0.2/R_OrderDelete.pcap", 1, 1, 68, 1_727_787_285_555_296_000, 1_727_787_285_555_296_000),
    ("omi-packets/Iex/DeepPlus.IexTp.1.0.2/S_SystemEvent.pcap", 1, 1, 1_453, 1_727_770_066_599_582_000, 1_727_770_066_599_582_000),
    ("omi-packets/Iex/DeepPlus.IexTp.1.0.2/a_AddOrder.pcap", 1, 1, 80, 1_727_787_282_638_070_000, 1_727_787_282_638_070_000),
    ("omi-packets/Iex/Tops.IexTp.v1.5/AuctionInformationMessage.pcap", 1, 1, 122, 1_517_060_400_128_208_000, 1_517_060_400_128_208_000),
    ("omi-packets/Iex/Tops.IexTp.v1.5/OfficialPriceMessage.pcap", 1, 1, 68, 1_517_064_180_131_889_000, 1_517_064_180_131_889_000),
    ("omi-packets/Iex/Tops.IexTp.v1.5/QuoteUpdateMessage.pcap", 1, 1, 84, 1_517_065_700_931_787_000, 1_517_065_700_931_787_000),
    ("omi-packets/Iex/Tops.IexTp.v1.5/SecurityDirectoryMessage.pcap", 1, 1, 1_455, 1_517_058_017_871_671_000, 1_517_058_017_871_671_000),
    ("omi-packets/Iex/Tops.IexTp.v1.5/SystemEventMessage.pcap", 1, 1, 52, 1_517_063_400_001_111_000, 1_517_063_400_001_111_000),
    ("omi-packets/Iex/Tops.IexTp.v1.5/TradeReportMessage.pcap", 1, 1, 80, 1_517_059_863_763_843_000, 1_517_059_863_763_843_000),
    ("omi-packets/Iex/Tops.IexTp.v1.6/QuoteUpdateMessage.pcap", 1, 1, 84, 1_517_065_700_931_787_000, 1_517_065_700_931_787_000),
    ("omi-packets/Nasdaq/Bx.Equities.TotalView.Itch.v5.0/AddOrderNoMpidAttributionMessage.pcap", 1, 1, 58, 1_692_711_000_000_086_608, 1_692_711_000_000_086_608),
    ("omi-packets/Nasdaq/Bx.Equities.TotalView.Itch.v5.0/OrderDeleteMessage.pcap", 1, 1, 41, 1_692_711_000_000_255_129, 1_692_711_000_000_255_129),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0.20230822/AddOrderNoMPID.pcap", 5, 5, 290, 1_692_711_000_000_059_094, 1_692_711_000_000_249_889),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0.20230822/AddOrderWithMPID.pcap", 5, 5, 310, 1_692_711_000_000_143_875, 1_692_711_000_000_367_992),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0.20230822/LULDAuctionCollar.pcap", 5, 5, 285, 1_692_711_015_592_597_169, 1_692_711_316_303_945_004),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0.20230822/MarketParticipantPosition.pcap", 5, 5, 240, 1_692_711_024_468_229_936, 1_692_711_243_930_496_985),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0.20230822/NonCrossTrade.pcap", 5, 5, 330, 1_692_711_000_000_851_123, 1_692_711_000_001_176_907),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0.20230822/OrderCancel.pcap", 5, 5, 225, 1_692_711_000_002_571_976, 1_692_711_000_007_354_792),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0.20230822/OrderExecuted.pcap", 5, 5, 265, 1_692_711_000_000_100_490, 1_692_711_000_000_733_092),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0.20230822/OrderExecutedWithPrice.pcap", 5, 5, 290, 1_692_711_000_001_338_283, 1_692_711_000_008_448_916),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0.20230822/RegSHORestriction.pcap", 5, 5, 210, 1_692_711_000_116_699_349, 1_692_711_000_161_803_290),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0.20230822/StockTradingAction.pcap", 5, 5, 235, 1_692_711_015_592_319_924, 1_692_711_060_850_066_510),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0/AddOrderNoMpidAttributionMessage.pcap", 1, 1, 58, 1_692_711_000_000_059_094, 1_692_711_000_000_059_094),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0/MarketParticipantPositionMessage.pcap", 1, 1, 48, 1_692_711_024_494_967_428, 1_692_711_024_494_967_428),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0/Multiple.Packets.pcap", 2, 2, 1_513, 1_692_711_000_007_661_955, 1_692_711_038_952_561_782),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0/NetOrderImbalanceIndicatorMessage.pcap", 1, 1, 72, 1_692_711_000_000_434_142, 1_692_711_000_000_434_142),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0/OrderDeleteMessage.pcap", 1, 1, 41, 1_692_711_000_000_059_938, 1_692_711_000_000_059_938),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0/OrderReplaceMessage.pcap", 1, 1, 57, 1_692_711_000_000_001_318, 1_692_711_000_000_001_318),
    ("omi-packets/Nasdaq/Nasdaq.Equities.TotalView.Itch.v5.0/StockTradingActionMessage.pcap", 1, 1, 47, 1_692_711_563_322_630_726, 1_692_711_563_322_630_726),
];

#[test]
fn recorded_captures_give_the_frames_times_and_payloads_that_tshark_sees() {
    for &(name, frames, datagrams, bytes, first, last) in RECORDED {
        let mut reader = CaptureReader::open(testdata(name)).unwrap();
        let mut seen = (0, 0, 0, None, 0);
        let end = loop {
            match reader.next_item() {
                Ok(Some(Item::Packet(packet))) => {
                    seen.0 += 1;
                    assert_eq!(packet.index, seen.0, "{name}");
                    seen.3.get_or_insert(packet.ts_recv);
                    seen.4 = packet.ts_recv;
                    match frame::udp(packet.link_type, packet.data) {
                        Ok(datagram) => {
                            seen.1 += 1;
                            seen.2 += datagram.payload.len();
                        }
                        Err(skip) => panic!("{name}: frame {}: {skip}", packet.index),
                    }
                }
                Ok(other) => break Ok(other.is_none()),
                Err(error) => break Err(error.to_string()),
            }
        };
        assert_eq!(
            seen,
            (frames, datagrams, bytes, Some(first), last),
            "{name}"
        );
        assert_eq!(reader.items(), frames);
        if name.contains("truncated") {
            let end = end.unwrap_err();
            assert!(
                end.ends_with(
                    "_truncated.pcapng: cut short in packet 3 at byte 4,966: 46 more bytes were announced"
                ),
                "{end}"
            );
        } else {
            assert_eq!(end, Ok(true), "{name}");
        }
        assert_eq!(Some(reader.bytes_read()), reader.bytes_total(), "{name}");
        assert!(reader.next_item().unwrap().is_none());
    }
}

#[test]
fn binaryfiles_are_recognised_and_give_their_messages() {
    for (name, messages, compression) in [
        ("nasdaq-itch/itch50_first1000_messages.itch", 1_000, None),
        (
            "nasdaq-itch/ARL_2025-07-17_first_reencoded_itch50.itch.gz",
            2_800,
            Some(Compression::Gzip),
        ),
    ] {
        let mut reader = CaptureReader::open(testdata(name)).unwrap();
        assert_eq!(reader.format(), Format::BinaryFile);
        assert_eq!(reader.compression(), compression);
        let mut count = 0;
        let mut bytes = 0;
        while let Some(item) = reader.next_item().unwrap() {
            let Item::Message(message) = item else {
                panic!("{item:?}");
            };
            count += 1;
            assert_eq!(message.index, count);
            assert!(message.bytes[0].is_ascii_alphabetic());
            bytes += 2 + message.bytes.len();
        }
        assert_eq!(count, messages);
        if compression.is_none() {
            assert_eq!(Some(bytes as u64), reader.bytes_total());
        }
    }
}

#[test]
fn end_of_session_mark_ends_a_binaryfile_and_nothing_may_follow_it() {
    let message = b"\0\x0cS\0\0\0\0\0\0\0\0\0\0O";
    let whole = [&message[..], b"\0\0"].concat();
    assert_eq!(read(&whole).0.len(), 1);
    assert!(read(&whole).1.is_none());
    assert!(read(message).1.is_none());
    let followed = [&whole[..], message].concat();
    let (items, error) = read(&followed);
    assert_eq!(items.len(), 1);
    assert!(matches!(
        error,
        Some(CaptureError::Malformed { offset: 14, .. })
    ));
    for cut in 3..message.len() {
        let error = read(&message[..cut]).1.unwrap();
        assert_eq!(
            error.to_string(),
            format!(
                "the capture: cut short in message 1 at byte {cut}: {}",
                announced(message.len() - cut)
            )
        );
    }
}

#[test]
fn all_four_pcap_magics_tell_order_and_resolution() {
    for order in [Order::Little, Order::Big] {
        for (nanos, ts) in [
            (true, 1_500_000_001_123_456_789),
            (false, 1_500_000_001_123_456_000),
        ] {
            let file = pcap(
                order,
                nanos,
                &[(1_500_000_001_123_456_789, b"abc"), (5_000, b"")],
            );
            for packing in Packed::ALL {
                let mut reader = open(&packed(packing, &file));
                assert_eq!(reader.format(), Format::Pcap);
                assert_eq!(reader.compression(), packing.compression());
                let items = drain(&mut reader).unwrap();
                assert_eq!(items[0], (1, ts, 0, 1, b"abc".to_vec()));
                assert_eq!(items[1], (2, 5_000, 0, 1, vec![]));
                assert_eq!(items.len(), 2);
            }
        }
    }
}

#[test]
fn link_type_of_pcap_is_the_lower_half_of_its_field() {
    let mut file = pcap(Order::Little, true, &[(1, b"abc")]);
    // 4 bytes of frame check sequence, and it is there: 0x24000000.
    file[20..24].copy_from_slice(&0x2400_0001_u32.to_le_bytes());
    assert_eq!(read(&file).0[0].3, LinkType::ETHERNET.0);
}

#[test]
fn each_interface_of_pcapng_has_its_own_link_type_resolution_and_offset() {
    for order in [Order::Little, Order::Big] {
        let mut file = PcapNg::new(order);
        file.interface(1, 0, &[]);
        file.interface(101, 0, &[(2, b"eth0"), (9, &[9])]);
        file.interface(113, 0, &[(9, &[0x80 | 20]), (1, b"a comment")]);
        file.interface(276, 0, &[(9, &[3]), (14, &order.i64(-10))]);
        file.interface(228, 0, &[(9, &[12]), (14, &order.i64(1_000))]);
        file.interface(229, 0, &[(9, &[0]), (0, &[]), (9, &[9])]);
        file.enhanced(0, 1_500_000_000_000_001, b"a", &[]);
        file.enhanced(
            1,
            1_500_000_000_000_000_001,
            b"bb",
            &[(1, b"a comment"), (2, &[0; 4])],
        );
        file.enhanced(2, (3 << 20) + (1 << 19), b"ccc", &[]);
        file.enhanced(3, 12_345, b"dddd", &[]);
        file.enhanced(4, 5_000_000, b"eeeee", &[]);
        file.enhanced(5, 7, b"", &[]);
        file.enhanced(3, 1, b"before 1970", &[]);
        file.enhanced(5, u64::MAX, b"never", &[]);
        for packing in Packed::ALL {
            let mut reader = open(&packed(packing, file.bytes()));
            assert_eq!(reader.format(), Format::PcapNg);
            let items = drain(&mut reader).unwrap();
            assert_eq!(
                items,
                [
                    (1, 1_500_000_000_000_001_000, 0, 1, b"a".to_vec()),
                    (2, 1_500_000_000_000_000_001, 1, 101, b"bb".to_vec()),
                    (3, 3_500_000_000, 2, 113, b"ccc".to_vec()),
                    (4, 2_345_000_000, 3, 276, b"dddd".to_vec()),
                    (5, 1_000_000_005_000, 4, 228, b"eeeee".to_vec()),
                    (6, 7_000_000_000, 5, 229, vec![]),
                    (7, 0, 3, 276, b"before 1970".to_vec()),
                    (8, u64::MAX, 5, 229, b"never".to_vec()),
                ]
            );
        }
    }
}

#[test]
fn every_resolution_that_a_byte_can_hold_gives_a_time() {
    for resolution in 0..=u8::MAX {
        let mut file = PcapNg::new(Order::Little);
        file.interface(1, 0, &[(9, &[resolution])]);
        for time in [0, 1, u64::from(u32::MAX), u64::MAX] {
            file.enhanced(0, time, b"x", &[]);
        }
        let (items, error) = read(file.bytes());
        assert!(error.is_none());
        assert!(items.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        let power = f64::from(resolution & 0x7f);
        let base: f64 = if resolution & 0x80 == 0 { 10.0 } else { 2.0 };
        let expected = (u64::MAX as f64) * 1e9 / base.powf(power);
        let got = items[3].1 as f64;
        assert!(
            (got - expected.min(u64::MAX as f64)).abs() <= 1.0 + expected.abs() * 1e-9
                || got == u64::MAX as f64 && expected > got,
            "{resolution}: {got} {expected}"
        );
    }
}

#[test]
fn simple_and_obsolete_packet_blocks_are_packets_and_other_blocks_are_not() {
    for order in [Order::Little, Order::Big] {
        let mut file = PcapNg::new(order);
        file.block(5, &[0; 20]);
        file.interface(1, 6, &[]);
        file.simple(4, b"abcd");
        file.obsolete(0, 2_000_000, b"obsolete");
        file.block(0x0bad_0001, &[7; 400]);
        // Captured up to the interface's 6 bytes, of 9.
        file.simple(9, b"abcdef");
        file.block(4, &[0; 4]);
        file.block(0x8000_0bad, &[]);
        let (items, error) = read(file.bytes());
        assert!(error.is_none());
        assert_eq!(
            items,
            [
                (1, 0, 0, 1, b"abcd".to_vec()),
                (2, 2_000_000_000, 0, 1, b"obsolete".to_vec()),
                (3, 2_000_000_000, 0, 1, b"abcdef".to_vec()),
            ]
        );
    }
}

#[test]
fn section_begins_with_its_own_byte_order_and_interfaces() {
    let mut first = PcapNg::new(Order::Big);
    first.interface(1, 0, &[]);
    first.interface(101, 0, &[(9, &[9])]);
    first.enhanced(1, 10, b"first", &[]);
    let mut second = PcapNg::new(Order::Little);
    second.interface(113, 0, &[(9, &[9])]);
    second.enhanced(0, 11, b"second", &[]);
    let both = [first.bytes(), second.bytes()].concat();
    let (items, error) = read(&both);
    assert!(error.is_none());
    assert_eq!(items[0], (1, 10, 1, 101, b"first".to_vec()));
    assert_eq!(items[1], (2, 11, 0, 113, b"second".to_vec()));

    second.enhanced(1, 12, b"an interface of the other section", &[]);
    let both = [first.bytes(), second.bytes()].concat();
    let (items, error) = read(&both);
    assert_eq!(items.len(), 2);
    assert!(
        error
            .unwrap()
            .to_string()
            .contains("names an interface that isn't described (1)")
    );
}

#[test]
fn several_gzip_members_and_zstd_frames_are_one_file() {
    let file = ten_packets_pcap();
    let (a, rest) = file.split_at(50);
    let (b, c) = rest.split_at(61);
    let members = [gzip(a), gzip(b""), gzip(b), gzip(c)].concat();
    let skippable = |magic: u32| {
        let mut frame = magic.to_le_bytes().to_vec();
        frame.extend(5_u32.to_le_bytes());
        frame.extend(b"skip!");
        frame
    };
    let frames = [
        skippable(0x184d_2a50),
        zstd(a),
        skippable(0x184d_2a5f),
        zstd(b),
        zstd(c),
        skippable(0x184d_2a57),
    ]
    .concat();
    for (bytes, compression) in [(members, Compression::Gzip), (frames, Compression::Zstd)] {
        let mut reader = open(&bytes);
        assert_eq!(reader.compression(), Some(compression));
        assert_eq!(drain(&mut reader).unwrap().len(), 10);
    }
}

#[test]
fn name_of_a_file_tells_nothing_and_errors_show_it() {
    let folder = std::env::temp_dir().join(format!("tickcast-capture-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let pcap = ten_packets_pcap();
    for (name, bytes, count) in [
        ("really-gzip.pcap", gzip(&pcap), 10),
        ("really-plain.gz", pcap.clone(), 10),
        (
            "really-zstd.pcapng.gz",
            zstd(&ten_packets_pcapng(Order::Big)),
            10,
        ),
        ("no-extension", ten_packets_pcapng(Order::Little), 10),
        (
            "really-itch.pcap",
            b"\0\x0cS\0\0\0\0\0\0\0\0\0\0O".to_vec(),
            1,
        ),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, &bytes).unwrap();
        let mut reader = CaptureReader::open(&path).unwrap();
        assert_eq!(reader.bytes_total(), Some(bytes.len() as u64));
        assert_eq!(drain(&mut reader).unwrap().len(), count, "{name}");
        assert_eq!(reader.bytes_read(), bytes.len() as u64);
    }

    let path = folder.join("text.pcap");
    std::fs::write(&path, "hello, world\n").unwrap();
    let shown = path.display();
    assert_eq!(
        CaptureReader::open(&path).unwrap_err().to_string(),
        format!(
            "{shown}: begins with 68 65 6c 6c 6f 2c 20 77 6f 72 6c 64 0a, which is neither pcap, \
             pcapng nor BinaryFILE with ITCH 5.0 (each plain, gzip or zstd)"
        )
    );
    std::fs::write(&path, gzip(&gzip(b"twice"))).unwrap();
    let error = CaptureReader::open(&path).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("{shown}: begins with 1f 8b 08")),
        "{error}"
    );
    assert!(error.contains(" inside gzip, which is neither"), "{error}");
    std::fs::write(&path, "").unwrap();
    assert_eq!(
        CaptureReader::open(&path).unwrap_err().to_string(),
        format!("{shown}: is empty")
    );
    std::fs::write(&path, &pcap[..pcap.len() - 1]).unwrap();
    let mut reader = CaptureReader::open(&path).unwrap();
    let error = drain(&mut reader).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "{shown}: cut short in packet 10 at byte {}: 1 more byte was announced",
            pcap.len() - 1
        )
    );
    std::fs::remove_dir_all(&folder).unwrap();
    let error = CaptureReader::open(&path).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("{shown}: can't be opened: "))
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn variants_and_versions_that_are_not_read_are_refused_by_name() {
    for magic in [
        0xa1b2_cd34_u32,
        0xa1e2_cb12,
        0xa12b_3c4d,
        0x1c00_01ac,
        0x1c00_01ab,
    ] {
        for bytes in [magic.to_le_bytes(), magic.to_be_bytes()] {
            let file = [&bytes[..], &[0; 40]].concat();
            let error = CaptureReader::new(Cursor::new(file)).unwrap_err();
            assert!(matches!(error, CaptureError::Unsupported { .. }));
            assert!(
                error.to_string().contains(&format!("{magic:08x}")),
                "{error}"
            );
        }
    }
    let mut old = ten_packets_pcap();
    old[6] = 2;
    assert!(matches!(
        CaptureReader::new(Cursor::new(old)).unwrap_err(),
        CaptureError::Unsupported { .. }
    ));
    let mut new = ten_packets_pcapng(Order::Little);
    new[12] = 2;
    assert!(matches!(
        CaptureReader::new(Cursor::new(new)).unwrap_err(),
        CaptureError::Unsupported { .. }
    ));
}

#[test]
fn file_cut_at_any_byte_gives_all_whole_packets_then_truncated_then_nothing() {
    for order in [Order::Little, Order::Big] {
        for file in [pcap(order, true, &ten_packets()), ten_packets_pcapng(order)] {
            let (whole, error) = read(&file);
            assert!(error.is_none());
            assert_eq!(whole.len(), 10);
            // What each packet needs of the file.
            let mut ends = vec![];
            let mut clean_cuts = 0;
            for cut in 1..file.len() {
                let (items, error) = read(&file[..cut]);
                assert_eq!(items, whole[..items.len()], "cut at {cut}");
                if ends.len() < items.len() {
                    assert_eq!(items.len(), ends.len() + 1);
                    ends.push(cut);
                }
                match error {
                    // Between two records nobody can tell.
                    None => clean_cuts += 1,
                    Some(CaptureError::Truncated {
                        packets,
                        offset,
                        missing,
                        ..
                    }) => {
                        assert_eq!(packets, items.len() as u64);
                        assert_eq!(offset, cut as u64);
                        assert!(missing > 0);
                    }
                    Some(other) => panic!("cut at {cut}: {other}"),
                }
            }
            assert_eq!(ends.len(), 9, "the tenth needs the whole file");
            assert!(ends.windows(2).all(|pair| pair[0] < pair[1]));
            assert!((10..=13).contains(&clean_cuts), "{clean_cuts}");
        }
    }
}

#[test]
fn compressed_file_cut_at_any_byte_is_truncated_wherever_the_cut_is() {
    for file in [ten_packets_pcap(), ten_packets_pcapng(Order::Little)] {
        let whole = read(&file).0;
        for packing in [Packed::Gzip, Packed::Members, Packed::Zstd, Packed::Frames] {
            let bytes = packed(packing, &file);
            let mut most = 0;
            for cut in 1..bytes.len() {
                let (items, error) = read(&bytes[..cut]);
                assert_eq!(items, whole[..items.len()], "{packing:?} cut at {cut}");
                most = most.max(items.len());
                match error {
                    Some(CaptureError::Truncated { packets, .. }) => {
                        assert_eq!(packets, items.len() as u64);
                    }
                    // Between two members nobody can tell.
                    None if packing.is_several() => {}
                    other => panic!("{packing:?} cut at {cut}: {other:?}"),
                }
            }
            if packing == Packed::Gzip {
                assert_eq!(most, 10, "a cut in the check sum loses no packet");
            }
        }
    }
}

#[test]
fn damage_in_a_compressed_file_is_told_and_is_no_truncation() {
    let file: Vec<(u64, &[u8])> = vec![(1, b"the same bytes again and again"); 500];
    let bytes = gzip(&pcap(Order::Little, true, &file));
    let mut damaged = bytes.clone();
    let at = bytes.len() - 6;
    damaged[at] ^= 0xff;
    let (items, error) = read(&damaged);
    assert_eq!(items.len(), 500, "the check sum comes last");
    let error = error.unwrap();
    assert!(matches!(error, CaptureError::Read { packets: 500, .. }));
    assert!(
        error
            .to_string()
            .starts_with("the capture: can't be unpacked (gzip) after record 500")
    );
    let mut followed = bytes;
    followed.extend(b"something else");
    let (items, error) = read(&followed);
    assert_eq!(items.len(), 500);
    assert!(error.is_some());
}

#[test]
fn hostile_lengths_of_pcap_are_refused_or_bounded() {
    for order in [Order::Little, Order::Big] {
        let max = PACKET_BYTES_MAX as u32;
        for (len, snap_len, outcome) in [
            (0, 65_535, "whole"),
            (100, 10, "whole"),
            (max, 65_535, "cut"),
            (max + 1, 0, "too large"),
            (0x7fff_ffff, 0x7fff_ffff, "too large"),
            (u32::MAX, u32::MAX, "too large"),
        ] {
            let mut file = pcap(order, false, &[(1, b"first")]);
            file[16..20].copy_from_slice(&order.u32(snap_len));
            file.extend(order.u32(1));
            file.extend(order.u32(1));
            file.extend(order.u32(len));
            file.extend(order.u32(len));
            file.extend([0; 100].iter().take(len as usize));
            let mut reader = open(&file);
            let mut seen = 0;
            let end = loop {
                match reader.next_item() {
                    Ok(Some(_)) => seen += 1,
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            assert!(reader.buffer_capacity() <= RECORD_BYTES_MAX);
            match (outcome, end) {
                ("whole", None) => assert_eq!(seen, 2),
                (
                    "cut",
                    Some(CaptureError::Truncated {
                        packets: 1,
                        missing,
                        ..
                    }),
                ) => {
                    assert_eq!(missing, u64::from(len) - 100);
                }
                (
                    "too large",
                    Some(CaptureError::TooLarge {
                        packets: 1,
                        offset: 45,
                        announced,
                        ..
                    }),
                ) => {
                    assert_eq!(announced, u64::from(len));
                    assert_eq!(reader.buffer_capacity(), open(&file).buffer_capacity());
                }
                (_, end) => panic!("{len} {outcome}: {end:?}"),
            }
        }
    }
}

#[test]
fn hostile_lengths_of_pcapng_are_refused_or_bounded() {
    let base = |order| {
        let mut file = PcapNg::new(order);
        file.interface(1, 0, &[]);
        file.enhanced(0, 1, b"first", &[]);
        file
    };
    for order in [Order::Little, Order::Big] {
        for kind in [1, 2, 3, 6, 10, 0x0a0d_0d0a] {
            for len in [0, 1, 8, 11, 13, 14, 15, 0x7fff_fffd, u32::MAX] {
                let mut file = base(order).bytes().to_vec();
                file.extend(order.u32(kind));
                file.extend(order.u32(len));
                file.extend(order.u32(0x1a2b_3c4d));
                file.extend([0; 64]);
                let (items, error) = read(&file);
                assert_eq!(items.len(), 1);
                assert!(
                    matches!(error, Some(CaptureError::Malformed { packets: 1, .. })),
                    "{kind} {len} {error:?}"
                );
            }
            let mut file = base(order).bytes().to_vec();
            file.extend(order.u32(kind));
            file.extend(order.u32(0xffff_fffc));
            file.extend(order.u32(0x1a2b_3c4d));
            file.extend([0; 640]);
            let mut reader = open(&file);
            let before = reader.buffer_capacity();
            let error = drain(&mut reader).unwrap_err();
            assert_eq!(reader.buffer_capacity(), before);
            // What is passed over needn't be held.
            assert_eq!(
                matches!(
                    error,
                    CaptureError::TooLarge {
                        announced: 0xffff_fffc,
                        ..
                    }
                ),
                kind != 10,
                "{error}"
            );
            assert_eq!(error.is_truncated(), kind == 10, "{error}");

            let mut file = base(order);
            file.block(
                kind,
                &[&order.u32(0x1a2b_3c4d)[..], &order.u16(1), &[0; 42]].concat(),
            );
            let mut file = file.bytes().to_vec();
            let at = file.len() - 4;
            file[at..].copy_from_slice(&order.u32(64));
            let (_, error) = read(&file);
            assert!(
                error
                    .unwrap()
                    .to_string()
                    .contains("ends with another length than it begins with (64)")
            );
        }
        // Lengths of the packet inside its block.
        for captured in [9_u32, 0x100, 0x7fff_ffff, u32::MAX - 3, u32::MAX] {
            let mut enhanced = base(order);
            let body = [
                &order.u32(0)[..],
                &[0; 8],
                &order.u32(captured),
                &order.u32(captured),
                b"8 bytes.",
            ]
            .concat();
            enhanced.block(6, &body);
            let mut obsolete = base(order);
            obsolete.block(2, &body);
            let mut simple = base(order);
            simple.block(3, &[&order.u32(captured)[..], b"8 bytes."].concat());
            for file in [enhanced, obsolete, simple] {
                let error = read(file.bytes()).1.unwrap().to_string();
                assert!(
                    error.contains("a packet is longer than its block"),
                    "{error}"
                );
            }
        }
        for kind in [1, 2, 3, 6] {
            let mut file = base(order);
            file.block(kind, &[]);
            let error = read(file.bytes()).1.unwrap().to_string();
            assert!(error.contains("too short (0)"), "{error}");
        }
    }
}

#[test]
fn options_that_lie_about_their_length_end_the_options() {
    let mut file = PcapNg::new(Order::Little);
    file.block(
        1,
        &[
            1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 9, 0, 0xff, 0xff,
        ],
    );
    file.enhanced(0, 77, b"x", &[]);
    assert_eq!(read(file.bytes()).0[0].1, 77);
}

#[test]
fn block_that_is_passed_over_may_be_larger_than_the_buffer() {
    let mut file = PcapNg::new(Order::Little);
    file.interface(1, 0, &[]);
    file.block(10, &vec![3; 3 * RECORD_BYTES_MAX]);
    file.enhanced(0, 1, b"after", &[]);
    let mut reader = open(file.bytes());
    let before = reader.buffer_capacity();
    assert_eq!(drain(&mut reader).unwrap()[0].4, b"after");
    assert_eq!(reader.buffer_capacity(), before);
}

#[test]
fn largest_packet_is_read_and_the_buffer_stays_within_its_bound() {
    let data = vec![5; PACKET_BYTES_MAX];
    let file = pcap(
        Order::Little,
        true,
        &[(1, &data), (2, b"small"), (3, &data)],
    );
    let mut reader = open(&file);
    let items = drain(&mut reader).unwrap();
    assert_eq!(items[2].4, data);
    assert!(reader.buffer_capacity() <= RECORD_BYTES_MAX);
}

#[test]
fn two_hundred_megabytes_are_read_through_a_buffer_that_does_not_grow() {
    /// pcap made on the fly.
    struct Endless {
        record: Vec<u8>,
        at: usize,
        left: usize,
    }
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.at == self.record.len() {
                if self.left == 0 {
                    return Ok(0);
                }
                self.left -= 1;
                self.record = pcap(Order::Little, true, &[(9, &[7; 1400])])[24..].to_vec();
                self.at = 0;
            }
            let count = (&self.record[self.at..]).read(buffer)?;
            self.at += count;
            Ok(count)
        }
    }
    let records = 200_000_000 / 1416;
    let header = pcap(Order::Little, true, &[]);
    let mut reader = CaptureReader::new(Endless {
        record: header,
        at: 0,
        left: records,
    })
    .unwrap();
    let capacity = reader.buffer_capacity();
    let mut count = 0;
    while let Some(Item::Packet(packet)) = reader.next_item().unwrap() {
        assert_eq!(packet.data.len(), 1400);
        count += 1;
        assert_eq!(reader.buffer_capacity(), capacity);
    }
    assert_eq!(count, records);
    assert_eq!(reader.bytes_read(), 24 + 1416 * records as u64);
    assert!(capacity <= 64 * 1024);
}

#[test]
fn reads_of_one_byte_and_interruptions_change_nothing() {
    struct Dribble(Cursor<Vec<u8>>, bool);
    impl Read for Dribble {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let one = buffer.len().min(1);
            self.0.read(&mut buffer[..one])
        }
    }
    for file in [ten_packets_pcap(), ten_packets_pcapng(Order::Big)] {
        for packing in Packed::ALL {
            let bytes = Cursor::new(packed(packing, &file));
            let mut reader = CaptureReader::new(Dribble(bytes, false)).unwrap();
            assert_eq!(drain(&mut reader).unwrap(), read(&file).0);
        }
    }
}

#[test]
fn failing_read_is_told_with_its_place_after_all_whole_packets() {
    struct Failing(Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("the disk is gone")),
                count => Ok(count),
            }
        }
    }
    let file = ten_packets_pcap();
    let mut reader = CaptureReader::new(Failing(Cursor::new(file.clone()))).unwrap();
    let mut seen = 0;
    let error = loop {
        match reader.next_item() {
            Ok(Some(_)) => seen += 1,
            Ok(None) => panic!("no error"),
            Err(error) => break error,
        }
    };
    assert_eq!(seen, 10);
    assert_eq!(
        error.to_string(),
        format!(
            "the capture: can't be read after record 10 at byte {}: the disk is gone",
            file.len()
        )
    );
    assert!(reader.next_item().unwrap().is_none());
}

proptest! {
    #[test]
    fn any_bytes_after_any_magic_end_without_a_panic(
        head in 0_usize..8,
        bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let mut file = match head {
            0 => pcap(Order::Little, true, &[]),
            1 => pcap(Order::Big, false, &[]),
            2 => PcapNg::new(Order::Little).bytes().to_vec(),
            3 => PcapNg::new(Order::Big).bytes().to_vec(),
            4 => vec![0x1f, 0x8b, 8, 0],
            5 => vec![0x28, 0xb5, 0x2f, 0xfd],
            6 => b"\0\x0cS\0\0\0\0\0\0\0\0\0\0O".to_vec(),
            _ => vec![],
        };
        file.extend(bytes);
        read(&file);
    }

    #[test]
    fn one_damaged_byte_never_changes_a_packet_before_it(
        at in 0_usize..10_000,
        value in any::<u8>(),
        ng in any::<bool>(),
    ) {
        let file = if ng { ten_packets_pcapng(Order::Little) } else { ten_packets_pcap() };
        let at = at % file.len();
        let before = read(&file[..at]).0;
        let mut damaged = file;
        damaged[at] = value;
        if let Ok(mut reader) = CaptureReader::new(Cursor::new(damaged)) {
            let mut items = vec![];
            while let Ok(Some(item)) = reader.next_item() {
                items.push(owned(item));
            }
            prop_assert!(items.len() >= before.len());
            prop_assert_eq!(&items[..before.len()], &before[..]);
        }
    }
}

type Owned = (u64, u64, u32, u16, Vec<u8>);

fn owned(item: Item<'_>) -> Owned {
    match item {
        Item::Packet(packet) => (
            packet.index,
            packet.ts_recv,
            packet.interface,
            packet.link_type.0,
            packet.data.to_vec(),
        ),
        Item::Message(message) => (message.index, 0, 0, 0, message.bytes.to_vec()),
    }
}

fn open(bytes: &[u8]) -> CaptureReader {
    CaptureReader::new(Cursor::new(bytes.to_vec())).unwrap()
}

fn drain(reader: &mut CaptureReader) -> Result<Vec<Owned>, CaptureError> {
    let mut items = vec![];
    while let Some(item) = reader.next_item()? {
        items.push(owned(item));
    }
    Ok(items)
}

/// All items and the error at the end, after which there must be nothing.
fn read(bytes: &[u8]) -> (Vec<Owned>, Option<CaptureError>) {
    let mut reader = match CaptureReader::new(Cursor::new(bytes.to_vec())) {
        Ok(reader) => reader,
        Err(error) => return (vec![], Some(error)),
    };
    let mut items = vec![];
    let error = loop {
        match reader.next_item() {
            Ok(Some(item)) => items.push(owned(item)),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(reader.next_item().unwrap().is_none());
    assert!(reader.buffer_capacity() <= RECORD_BYTES_MAX);
    (items, error)
}

fn announced(missing: usize) -> String {
    match missing {
        1 => "1 more byte was announced".into(),
        more => format!("{more} more bytes were announced"),
    }
}

fn ten_packets() -> Vec<(u64, &'static [u8])> {
    (0_u8..10)
        .map(|n| {
            let data: &[u8] = b"packet data!";
            (
                1_700_000_000_000_000_000 + u64::from(n),
                &data[..usize::from(n) + 1],
            )
        })
        .collect()
}

fn ten_packets_pcap() -> Vec<u8> {
    pcap(Order::Little, true, &ten_packets())
}

fn ten_packets_pcapng(order: Order) -> Vec<u8> {
    let mut file = PcapNg::new(order);
    file.interface(1, 0, &[(9, &[9])]);
    file.block(10, b"in between..");
    for (n, (ts, data)) in ten_packets().into_iter().enumerate() {
        match n {
            3 => file.simple(data.len() as u32, data),
            5 => file.obsolete(0, ts, data),
            _ => file.enhanced(0, ts, data, &[(1, b"comment")]),
        }
    }
    file.bytes().to_vec()
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata")
        .join(name)
}
