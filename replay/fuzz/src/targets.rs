//! What must hold for any bytes, one function for each target.

use std::io::{Cursor, Read};

use tickcast_replay::capture::{CaptureReader, Format, Item, PACKET_BYTES_MAX, RECORD_BYTES_MAX};
use tickcast_replay::frame::{self, Datagram, LinkType};

/// One target: takes any bytes.
pub type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const ALL: [(&str, Target); 3] = [("pcap", pcap), ("pcapng", pcapng), ("frame", frame)];

/// Any file that begins like pcap, or like nothing.
pub fn pcap(data: &[u8]) {
    capture(data);
}

/// Any file that begins like pcapng, or like nothing.
pub fn pcapng(data: &[u8]) {
    capture(data);
}

/// A frame after a byte that chooses its link layer.
pub fn frame(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let link_type = match choice {
        0 => LinkType::ETHERNET,
        1 => LinkType::RAW,
        2 => LinkType::NULL,
        3 => LinkType::LOOP,
        4 => LinkType::LINUX_SLL,
        5 => LinkType::LINUX_SLL2,
        6 => LinkType::IPV4,
        7 => LinkType::IPV6,
        other => LinkType(other.into()),
    };
    let whole = frame::udp(link_type, bytes);
    if let Ok(datagram) = whole {
        assert!(bytes.as_ptr_range().start <= datagram.payload.as_ptr());
        assert!(datagram.payload.as_ptr_range().end <= bytes.as_ptr_range().end);
    }
    // Lengths don't come from the frame: what is found is found the same with more or fewer bytes after.
    let padded = [bytes, &[0xee; 60]].concat();
    if let Ok(found) = whole {
        assert_eq!(frame::udp(link_type, &padded), Ok(found));
    }
    for cut in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
        if let Ok(found) = frame::udp(link_type, &bytes[..cut]) {
            let same: Result<Datagram<'_>, _> = whole;
            assert_eq!(same, Ok(found));
        }
    }
}

fn capture(data: &[u8]) {
    let (format, whole) = read(Cursor::new(data.to_vec()));
    let (dribbled_format, dribbled) = read(Dribble(Cursor::new(data.to_vec())));
    let (cut_format, cut) = read(Cursor::new(data[..data.len() / 2].to_vec()));
    // How much of a damaged stream is unpacked before the damage is noticed depends on the reads.
    let packed = matches!(
        data,
        [0x1f, 0x8b, ..] | [_, 0xb5 | 0x2a, 0x2f | 0x4d, 0xfd | 0x18, ..]
    );
    if packed {
        assert!(whole.starts_with(&dribbled) || dribbled.starts_with(&whole));
    } else {
        assert_eq!(format, dribbled_format);
        assert!(
            whole == dribbled,
            "how the bytes arrive changes what is read"
        );
    }
    // Without a magic, half the bytes may look like another file.
    if cut_format == format && format != Some(Format::BinaryFile) {
        assert!(
            whole.starts_with(&cut) || (packed && cut.starts_with(&whole)),
            "a cut changes a packet before it"
        );
    }
}

/// What identifies a record, and a sum of its bytes.
type Record = (u64, u64, u32, u16, usize, u64);

fn read(bytes: impl Read + Send + 'static) -> (Option<Format>, Vec<Record>) {
    let mut records = vec![];
    let Ok(mut reader) = CaptureReader::new(bytes) else {
        return (None, records);
    };
    loop {
        let item = reader.next_item();
        let end = !matches!(item, Ok(Some(_)));
        match item {
            Ok(Some(Item::Packet(packet))) => {
                assert!(packet.data.len() <= PACKET_BYTES_MAX);
                // Whatever it is, it doesn't panic.
                let _ = frame::udp(packet.link_type, packet.data);
                records.push((
                    packet.index,
                    packet.ts_recv,
                    packet.interface,
                    packet.link_type.0,
                    packet.data.len(),
                    sum(packet.data),
                ));
            }
            Ok(Some(Item::Message(message))) => {
                records.push((
                    message.index,
                    0,
                    0,
                    0,
                    message.bytes.len(),
                    sum(message.bytes),
                ));
            }
            Ok(None) => {}
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        assert!(reader.buffer_capacity() <= RECORD_BYTES_MAX);
        if end {
            break;
        }
        assert_eq!(records.len() as u64, reader.items());
        // A small compressed input may hold a million records.
        if records.len() > 10_000 {
            return (Some(reader.format()), records);
        }
    }
    assert!(matches!(reader.next_item(), Ok(None)), "an end is an end");
    (Some(reader.format()), records)
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(7, |sum: u64, &byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    })
}

/// Gives seven bytes at a time.
struct Dribble(Cursor<Vec<u8>>);

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(7);
        self.0.read(&mut buffer[..len])
    }
}
