//! Writes files to read: pcap and pcapng in both byte orders, compressed in pieces.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;

use tickcast_replay::capture::Compression;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    pub(crate) fn u16(self, value: u16) -> [u8; 2] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    pub(crate) fn u32(self, value: u32) -> [u8; 4] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    pub(crate) fn i64(self, value: i64) -> [u8; 8] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }
}

/// A pcap file with Ethernet frames.
pub(crate) fn pcap(order: Order, nanos: bool, packets: &[(u64, &[u8])]) -> Vec<u8> {
    let mut file = vec![];
    let (magic, unit) = if nanos {
        (0xa1b2_3c4d, 1)
    } else {
        (0xa1b2_c3d4, 1_000)
    };
    file.extend(order.u32(magic));
    file.extend(order.u16(2));
    file.extend(order.u16(4));
    file.extend([0; 8]);
    file.extend(order.u32(65_535));
    file.extend(order.u32(1));
    for (ts, data) in packets {
        let len = u32::try_from(data.len()).unwrap();
        file.extend(order.u32(u32::try_from(ts / 1_000_000_000).unwrap()));
        file.extend(order.u32(u32::try_from(ts % 1_000_000_000 / unit).unwrap()));
        file.extend(order.u32(len));
        file.extend(order.u32(len));
        file.extend(*data);
    }
    file
}

/// A section of a pcapng file.
pub(crate) struct PcapNg {
    order: Order,
    bytes: Vec<u8>,
}

impl PcapNg {
    pub(crate) fn new(order: Order) -> Self {
        let mut section = Self {
            order,
            bytes: vec![],
        };
        let mut body = order.u32(0x1a2b_3c4d).to_vec();
        body.extend(order.u16(1));
        body.extend(order.u16(0));
        body.extend(order.i64(-1));
        body.extend(section.options(&[(4, b"a writer")]));
        section.block(0x0a0d_0d0a, &body);
        section
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn block(&mut self, kind: u32, body: &[u8]) {
        let padding = body.len().next_multiple_of(4) - body.len();
        let len = u32::try_from(12 + body.len() + padding).unwrap();
        self.bytes.extend(self.order.u32(kind));
        self.bytes.extend(self.order.u32(len));
        self.bytes.extend(body);
        self.bytes.extend(&[0; 3][..padding]);
        self.bytes.extend(self.order.u32(len));
    }

    pub(crate) fn interface(&mut self, link_type: u16, snap_len: u32, options: &[(u16, &[u8])]) {
        let mut body = self.order.u16(link_type).to_vec();
        body.extend([0; 2]);
        body.extend(self.order.u32(snap_len));
        body.extend(self.options(options));
        self.block(1, &body);
    }

    pub(crate) fn enhanced(
        &mut self,
        interface: u32,
        time: u64,
        data: &[u8],
        options: &[(u16, &[u8])],
    ) {
        let head = self.order.u32(interface);
        self.packet(6, &head, time, data, options);
    }

    pub(crate) fn obsolete(&mut self, interface: u16, time: u64, data: &[u8]) {
        // A drop count of 65,535 is "unknown".
        let head = [self.order.u16(interface), [0xff, 0xff]].concat();
        self.packet(2, &head, time, data, &[]);
    }

    pub(crate) fn simple(&mut self, original: u32, data: &[u8]) {
        let body = [&self.order.u32(original)[..], data].concat();
        self.block(3, &body);
    }

    fn packet(&mut self, kind: u32, head: &[u8], time: u64, data: &[u8], options: &[(u16, &[u8])]) {
        let [high, low] = [time >> 32, time & 0xffff_ffff].map(|half| u32::try_from(half).unwrap());
        let len = u32::try_from(data.len()).unwrap();
        let mut body = head.to_vec();
        for number in [high, low, len, len] {
            body.extend(self.order.u32(number));
        }
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(self.options(options));
        self.block(kind, &body);
    }

    fn options(&self, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![];
        for (code, value) in options {
            bytes.extend(self.order.u16(*code));
            bytes.extend(self.order.u16(u16::try_from(value.len()).unwrap()));
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        if !options.is_empty() {
            bytes.extend([0; 4]);
        }
        bytes
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packed {
    Plain,
    Gzip,
    Members,
    Zstd,
    Frames,
}

impl Packed {
    pub(crate) const ALL: [Self; 5] = [
        Self::Plain,
        Self::Gzip,
        Self::Members,
        Self::Zstd,
        Self::Frames,
    ];

    pub(crate) fn compression(self) -> Option<Compression> {
        match self {
            Self::Plain => None,
            Self::Gzip | Self::Members => Some(Compression::Gzip),
            Self::Zstd | Self::Frames => Some(Compression::Zstd),
        }
    }

    pub(crate) fn is_several(self) -> bool {
        matches!(self, Self::Members | Self::Frames)
    }
}

pub(crate) fn packed(packing: Packed, bytes: &[u8]) -> Vec<u8> {
    let (left, right) = bytes.split_at(bytes.len() / 2);
    match packing {
        Packed::Plain => bytes.to_vec(),
        Packed::Gzip => gzip(bytes),
        Packed::Members => [gzip(left), gzip(right)].concat(),
        Packed::Zstd => zstd(bytes),
        Packed::Frames => [zstd(left), zstd(right)].concat(),
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}
