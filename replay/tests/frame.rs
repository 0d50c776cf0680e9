//! Frames of every link layer that is read, whole, cut and hostile.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

use proptest::prelude::*;
use tickcast_replay::frame::{Datagram, FrameSkip, LinkType, udp};

#[test]
fn datagram_is_found_below_every_link_layer() {
    let v4 = ip_v4(&[], &udp_header(9), PAYLOAD);
    let v6 = ip_v6(17, &[], &udp_header(9), PAYLOAD);
    for (link_type, head_v4, head_v6) in [
        (LinkType::ETHERNET, ethernet(0x0800), ethernet(0x86dd)),
        (LinkType::RAW, vec![], vec![]),
        (LinkType::IPV4, vec![], vec![0xff]),
        (LinkType::IPV6, vec![0xff], vec![]),
        (LinkType::NULL, vec![2, 0, 0, 0], vec![30, 0, 0, 0]),
        (LinkType::NULL, vec![0, 0, 0, 2], vec![0, 0, 0, 24]),
        (LinkType::LOOP, vec![0, 0, 0, 2], vec![0, 0, 0, 24]),
        (LinkType::NULL, vec![2, 0, 0, 0], vec![28, 0, 0, 0]),
        (LinkType::NULL, vec![2, 0, 0, 0], vec![10, 0, 0, 0]),
        (LinkType::LINUX_SLL, sll(0x0800), sll(0x86dd)),
        (LinkType::LINUX_SLL2, sll2(0x0800), sll2(0x86dd)),
    ] {
        let frame = [&head_v4[..], &v4].concat();
        if link_type != LinkType::IPV6 {
            assert_eq!(udp(link_type, &frame), Ok(datagram_v4()), "{link_type}");
        }
        let frame = [&head_v6[..], &v6].concat();
        if link_type != LinkType::IPV4 {
            assert_eq!(udp(link_type, &frame), Ok(datagram_v6()), "{link_type}");
        }
    }
}

#[test]
fn tags_are_passed_and_the_outermost_two_are_told() {
    let packet = ip_v4(&[], &udp_header(9), PAYLOAD);
    let tag = |protocol: u16, id: u16| {
        let [a, b] = protocol.to_be_bytes();
        // Priority 5 and the drop bit are no part of the identifier.
        let [c, d] = (0xb000 | id).to_be_bytes();
        [a, b, c, d]
    };
    for (tags, vlans) in [
        (vec![(0x8100, 7)], [Some(7), None]),
        (vec![(0x88a8, 4095), (0x8100, 0)], [Some(4095), Some(0)]),
        (vec![(0x9100, 1), (0x8100, 2)], [Some(1), Some(2)]),
        (
            vec![
                (0x8100, 1),
                (0x8100, 2),
                (0x8100, 3),
                (0x88a8, 4),
                (0x9100, 5),
            ],
            [Some(1), Some(2)],
        ),
    ] {
        let mut frame = vec![0; 12];
        for (protocol, id) in &tags {
            frame.extend(tag(*protocol, *id));
        }
        frame.extend([8, 0]);
        frame.extend(&packet);
        assert_eq!(
            udp(LinkType::ETHERNET, &frame),
            Ok(Datagram {
                vlans,
                ..datagram_v4()
            })
        );
        for cut in 0..frame.len() {
            assert_eq!(
                udp(LinkType::ETHERNET, &frame[..cut]),
                Err(FrameSkip::Snapped)
            );
        }
    }
    // Linux cooked captures keep the tag too.
    let frame = [&sll(0x8100)[..], &[0, 9, 8, 0], &packet].concat();
    assert_eq!(
        udp(LinkType::LINUX_SLL, &frame).unwrap().vlans,
        [Some(9), None]
    );
}

#[test]
fn options_and_extension_headers_are_passed() {
    let options = [7, 4, 0, 0, 1, 1, 1, 0];
    let frame = [ethernet(0x0800), ip_v4(&options, &udp_header(9), PAYLOAD)].concat();
    assert_eq!(udp(LinkType::ETHERNET, &frame), Ok(datagram_v4()));

    // Hop by hop, destination options (16 bytes), routing, a fragment header that fragments nothing,
    // authentication.
    let extensions = [
        &[60, 0, 1, 4, 0, 0, 0, 0][..],
        &[43, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[44, 0, 3, 0, 0, 0, 0, 0],
        &[51, 0, 0, 0, 0, 0, 0, 1],
        &[17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1],
    ]
    .concat();
    let frame = [
        ethernet(0x86dd),
        ip_v6(0, &extensions, &udp_header(9), PAYLOAD),
    ]
    .concat();
    assert_eq!(udp(LinkType::ETHERNET, &frame), Ok(datagram_v6()));
    for cut in 0..frame.len() {
        assert_eq!(
            udp(LinkType::ETHERNET, &frame[..cut]),
            Err(FrameSkip::Snapped),
            "{cut}"
        );
    }
}

#[test]
fn lengths_come_from_ip_and_udp_and_never_from_the_frame() {
    for padding in [1, 4, 18, 1000] {
        for head in [ethernet(0x0800), sll(0x0800)] {
            let link_type = if head.len() == 14 {
                LinkType::ETHERNET
            } else {
                LinkType::LINUX_SLL
            };
            let mut frame = [head, ip_v4(&[], &udp_header(9), PAYLOAD)].concat();
            frame.resize(frame.len() + padding, 0xee);
            assert_eq!(udp(link_type, &frame), Ok(datagram_v4()));
        }
        let mut frame = [ethernet(0x86dd), ip_v6(17, &[], &udp_header(9), PAYLOAD)].concat();
        frame.resize(frame.len() + padding, 0xee);
        assert_eq!(udp(LinkType::ETHERNET, &frame), Ok(datagram_v6()));
    }
    // UDP shorter than IP: what follows isn't payload.
    let packet = ip_v4(&[], &udp_header(4), PAYLOAD);
    assert_eq!(udp(LinkType::RAW, &packet).unwrap().payload, &PAYLOAD[..4]);
    let packet = ip_v6(17, &[], &udp_header(0), PAYLOAD);
    assert_eq!(udp(LinkType::RAW, &packet).unwrap().payload, b"");
    // UDP longer than IP, though the frame has the bytes.
    let mut packet = ip_v4(&[], &udp_header(20), PAYLOAD);
    packet.extend([0xee; 40]);
    assert_eq!(udp(LinkType::RAW, &packet), Err(FrameSkip::Malformed));
    let mut packet = ip_v6(17, &[], &udp_header(20), PAYLOAD);
    packet.extend([0xee; 40]);
    assert_eq!(udp(LinkType::RAW, &packet), Err(FrameSkip::Malformed));
}

#[test]
fn lengths_below_their_header_are_malformed() {
    for length in 0..8_u16 {
        let mut header = udp_header(9);
        header[4..6].copy_from_slice(&length.to_be_bytes());
        assert_eq!(
            udp(LinkType::RAW, &ip_v4(&[], &header, PAYLOAD)),
            Err(FrameSkip::Malformed)
        );
        assert_eq!(
            udp(LinkType::RAW, &ip_v6(17, &[], &header, PAYLOAD)),
            Err(FrameSkip::Malformed)
        );
    }
    for total in 0..20_u16 {
        let mut packet = ip_v4(&[], &udp_header(9), PAYLOAD);
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        assert_eq!(udp(LinkType::RAW, &packet), Err(FrameSkip::Malformed));
    }
    // IP ends inside the UDP header.
    for inside in 20..28_u16 {
        let mut packet = ip_v4(&[], &udp_header(9), PAYLOAD);
        packet[2..4].copy_from_slice(&inside.to_be_bytes());
        assert_eq!(udp(LinkType::RAW, &packet), Err(FrameSkip::Malformed));
    }
    let mut packet = ip_v6(17, &[], &udp_header(9), PAYLOAD);
    packet[4..6].copy_from_slice(&[0, 0]);
    assert_eq!(udp(LinkType::RAW, &packet), Err(FrameSkip::Malformed));
    packet[4..6].copy_from_slice(&[0, 7]);
    assert_eq!(udp(LinkType::RAW, &packet), Err(FrameSkip::Malformed));
    // A header length of 4 words, and the other version.
    let mut packet = ip_v4(&[], &udp_header(9), PAYLOAD);
    packet[0] = 0x44;
    assert_eq!(udp(LinkType::RAW, &packet), Err(FrameSkip::Malformed));
    packet[0] = 0x65;
    assert_eq!(udp(LinkType::IPV4, &packet), Err(FrameSkip::Malformed));
    // Hop by hop not at the start.
    let extensions = [[0, 0, 1, 4, 0, 0, 0, 0], [17, 0, 1, 4, 0, 0, 0, 0]].concat();
    let packet = ip_v6(60, &extensions, &udp_header(9), PAYLOAD);
    assert_eq!(udp(LinkType::RAW, &packet), Err(FrameSkip::Malformed));
}

#[test]
fn fragments_are_skipped_whichever_they_are() {
    // More fragments; an offset; both.  "Don't fragment" is none.
    for (flags, fragment) in [
        (0x2000_u16, true),
        (0x0001, true),
        (0x3fff, true),
        (0x4000, false),
    ] {
        let mut packet = ip_v4(&[], &udp_header(9), PAYLOAD);
        packet[6..8].copy_from_slice(&flags.to_be_bytes());
        assert_eq!(
            udp(LinkType::RAW, &packet).err(),
            fragment.then_some(FrameSkip::Fragment)
        );
    }
    for offset_and_more in [1_u16, 8, 9] {
        let [a, b] = offset_and_more.to_be_bytes();
        let packet = ip_v6(44, &[17, 0, a, b, 0, 0, 0, 1], &udp_header(9), PAYLOAD);
        assert_eq!(udp(LinkType::RAW, &packet), Err(FrameSkip::Fragment));
    }
}

#[test]
fn what_is_not_udp_over_ip_is_skipped_with_its_reason() {
    let arp = [ethernet(0x0806), vec![0; 46]].concat();
    let length_field = [ethernet(46), vec![0x42; 46]].concat();
    let mut tcp = ip_v4(&[], &udp_header(9), PAYLOAD);
    tcp[9] = 6;
    let mut igmp = tcp.clone();
    igmp[9] = 2;
    let icmp = ip_v6(58, &[], &udp_header(9), PAYLOAD);
    let nothing = ip_v6(59, &[], &[], &[]);
    for (link_type, frame, skip) in [
        (LinkType::ETHERNET, &arp, FrameSkip::NotIp),
        (LinkType::ETHERNET, &length_field, FrameSkip::NotIp),
        (LinkType::RAW, &vec![0x12; 60], FrameSkip::NotIp),
        (LinkType::NULL, &vec![7, 0, 0, 0, 1], FrameSkip::NotIp),
        (LinkType::LOOP, &vec![2, 0, 0, 0, 1], FrameSkip::NotIp),
        (LinkType::RAW, &tcp, FrameSkip::NotUdp),
        (LinkType::RAW, &igmp, FrameSkip::NotUdp),
        (LinkType::RAW, &icmp, FrameSkip::NotUdp),
        (LinkType::RAW, &nothing, FrameSkip::NotUdp),
        (LinkType(147), &tcp, FrameSkip::LinkType),
        (LinkType(105), &tcp, FrameSkip::LinkType),
    ] {
        assert_eq!(udp(link_type, frame), Err(skip), "{link_type}");
    }
}

#[test]
fn every_cut_of_a_valid_frame_is_snapped() {
    let v4 = ip_v4(&[1, 1, 1, 0], &udp_header(9), PAYLOAD);
    let v6 = ip_v6(17, &[], &udp_header(9), PAYLOAD);
    for (link_type, frame) in [
        (LinkType::ETHERNET, [ethernet(0x0800), v4.clone()].concat()),
        (LinkType::ETHERNET, [ethernet(0x86dd), v6.clone()].concat()),
        (LinkType::LINUX_SLL, [sll(0x0800), v4.clone()].concat()),
        (LinkType::LINUX_SLL2, [sll2(0x86dd), v6.clone()].concat()),
        (LinkType::NULL, [vec![2, 0, 0, 0], v4.clone()].concat()),
        (LinkType::LOOP, [vec![0, 0, 0, 24], v6.clone()].concat()),
        (LinkType::RAW, v4),
        (LinkType::RAW, v6),
    ] {
        assert!(udp(link_type, &frame).is_ok());
        for cut in 0..frame.len() {
            assert_eq!(
                udp(link_type, &frame[..cut]),
                Err(FrameSkip::Snapped),
                "{link_type} {cut}"
            );
        }
    }
}

#[test]
fn reasons_have_distinct_counters_in_the_order_of_their_index() {
    for (index, skip) in FrameSkip::ALL.into_iter().enumerate() {
        assert_eq!(skip.index(), index);
        let same = FrameSkip::ALL
            .iter()
            .filter(|other| other.counter() == skip.counter());
        assert_eq!(same.count(), 1);
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_datagram_within_them_or_a_reason(
        link_type in prop_oneof![
            Just(0_u16), Just(1), Just(101), Just(108), Just(113), Just(228), Just(229), Just(276), any::<u16>()
        ],
        head in 0_usize..5,
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut frame = match head {
            0 => ethernet(0x0800),
            1 => ethernet(0x86dd),
            2 => [ethernet(0x8100), vec![0, 1, 8, 0]].concat(),
            3 => vec![0x45, 0],
            _ => vec![],
        };
        frame.extend(bytes);
        if let Ok(datagram) = udp(LinkType(link_type), &frame) {
            prop_assert!(frame.as_ptr_range().start <= datagram.payload.as_ptr());
            prop_assert!(datagram.payload.as_ptr_range().end <= frame.as_ptr_range().end);
        }
    }

    #[test]
    fn one_damaged_byte_of_a_valid_frame_never_makes_the_payload_longer_than_udp_says(
        at in 0_usize..51,
        value in any::<u8>(),
    ) {
        let mut frame = [ethernet(0x0800), ip_v4(&[], &udp_header(9), PAYLOAD)].concat();
        frame[at] = value;
        if let Ok(datagram) = udp(LinkType::ETHERNET, &frame) {
            prop_assert!(datagram.payload.len() <= PAYLOAD.len());
        }
    }
}

const PAYLOAD: &[u8] = b"a payload";

fn datagram_v4() -> Datagram<'static> {
    Datagram {
        src: "10.1.2.3:1000".parse().unwrap(),
        dst: "233.54.12.111:26477".parse().unwrap(),
        payload: PAYLOAD,
        vlans: [None; 2],
    }
}

fn datagram_v6() -> Datagram<'static> {
    Datagram {
        src: "[2001:db8::1]:1000".parse().unwrap(),
        dst: "[ff02::2]:26477".parse().unwrap(),
        ..datagram_v4()
    }
}

fn ethernet(ether_type: u16) -> Vec<u8> {
    [&[0; 12][..], &ether_type.to_be_bytes()].concat()
}

fn sll(ether_type: u16) -> Vec<u8> {
    [
        &[0, 2, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0][..],
        &ether_type.to_be_bytes(),
    ]
    .concat()
}

fn sll2(ether_type: u16) -> Vec<u8> {
    let rest = [0, 0, 0, 0, 0, 3, 0, 1, 2, 6, 1, 2, 3, 4, 5, 6, 0, 0];
    [&ether_type.to_be_bytes()[..], &rest].concat()
}

/// A UDP header for so many bytes, with a checksum that is wrong.
fn udp_header(payload: u16) -> [u8; 8] {
    let [a, b] = 1000_u16.to_be_bytes();
    let [c, d] = 26477_u16.to_be_bytes();
    let [e, f] = (8 + payload).to_be_bytes();
    [a, b, c, d, e, f, 0xba, 0xad]
}

fn ip_v4(options: &[u8], header: &[u8], payload: &[u8]) -> Vec<u8> {
    let total = 20 + options.len() + header.len() + payload.len();
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    let mut packet = vec![0x40 | words, 0];
    packet.extend(u16::try_from(total).unwrap().to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 5, 17, 0xba, 0xad]);
    packet.extend([10, 1, 2, 3, 233, 54, 12, 111]);
    packet.extend(options);
    packet.extend(header);
    packet.extend(payload);
    packet
}

fn ip_v6(next: u8, extensions: &[u8], header: &[u8], payload: &[u8]) -> Vec<u8> {
    let len = extensions.len() + header.len() + payload.len();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(len).unwrap().to_be_bytes());
    packet.extend([next, 5]);
    packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(extensions);
    packet.extend(header);
    packet.extend(payload);
    packet
}
