//! Reads recorded files record by record, in constant memory.
//!
//! A file is recognised by what it holds and never by its name: gzip and Zstandard (several members or
//! frames, skippable ones too), and inside them, or plain,
//!
//! | format | what is read | specification |
//! | --- | --- | --- |
//! | pcap 2.4 | microseconds and nanoseconds, both byte orders | draft-ietf-opsawg-pcap |
//! | pcapng 1 | several sections and interfaces, each with its resolution and offset; enhanced, simple and obsolete packet blocks | draft-ietf-opsawg-pcapng |
//! | `BinaryFILE` | ITCH 5.0 messages with a length before each | Nasdaq BinaryFILE 1.00 |
//!
//! What is kept: records come in file order and whole, each numbered from 1 as other tools number
//! frames.  A file that was cut short gives every record before the cut, then
//! [`CaptureError::Truncated`], then nothing.  No length in a file makes the reader hold more than
//! [`RECORD_BYTES_MAX`].  (A Zstandard frame may ask for up to 128 MiB of history besides.)
//!
//! Not done: nothing is decoded ([`crate::frame`] and the codecs do that), nothing is sorted by time,
//! packets aren't reassembled, name resolution, statistics, secrets and comments are passed over.

mod binaryfile;
mod error;
mod pcap;
mod pcapng;
mod stream;

use core::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use error::{CaptureError, FileName, FirstBytes, Part};

use crate::frame::LinkType;
use error::Fault;
use stream::{Found, Stream};

/// A record may take this many bytes with its headers and options: 512 KiB, twice libpcap's longest
/// packet.
pub const RECORD_BYTES_MAX: usize = 2 * PACKET_BYTES_MAX;
/// A packet may have this many bytes: 256 KiB, as in libpcap.
pub const PACKET_BYTES_MAX: usize = 262_144;

/// One record of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A recorded frame, of pcap and pcapng.
    Packet(Packet<'a>),
    /// A message without a packet, of `BinaryFILE`.
    Message(Message<'a>),
}

/// A recorded frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Number in the file: 1 for the first frame, whatever it carries.  What other tools call the
    /// frame number.
    pub index: u64,
    /// When it was recorded, in nanoseconds since 1970.  A simple packet block has no time of its own
    /// and takes that of the packet before it (0 if it is the first).
    pub ts_recv: u64,
    /// Number of the interface in its section of the file; 0 in pcap.
    pub interface: u32,
    /// What the frame begins with.
    pub link_type: LinkType,
    /// The bytes that were kept of it.
    pub data: &'a [u8],
}

/// A message of a `BinaryFILE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Number in the file: 1 for the first.
    pub index: u64,
    /// The message without the length before it.
    pub bytes: &'a [u8],
}

/// What a file was recognised as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Classic pcap.
    Pcap,
    /// pcapng.
    PcapNg,
    /// Nasdaq `BinaryFILE`.
    BinaryFile,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcap => "pcap",
            Self::PcapNg => "pcapng",
            Self::BinaryFile => "BinaryFILE",
        })
    }
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Reads one recorded file.
pub struct CaptureReader {
    file: FileName,
    stream: Stream,
    records: Records,
    items: u64,
    bytes_read: Arc<AtomicU64>,
    bytes_total: Option<u64>,
    done: bool,
}

/// The state of the format that was recognised.
enum Records {
    Pcap(pcap::Reader),
    PcapNg(pcapng::Reader),
    BinaryFile(binaryfile::Reader),
}

impl CaptureReader {
    /// Opens a file and recognises it.
    ///
    /// # Errors
    /// If it can't be opened or read, is empty or cut short within its header, isn't recognised, or is
    /// a variant that isn't read.  The error names the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CaptureError> {
        let path = path.as_ref();
        let name = FileName::of(path);
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        match opened {
            Ok((metadata, file)) => {
                let total = metadata.is_file().then_some(metadata.len());
                Self::recognise(name, Box::new(file), total)
            }
            Err(source) => Err(CaptureError::Open { file: name, source }),
        }
    }

    /// Reads from anything, and recognises it.
    ///
    /// # Errors
    /// As [`Self::open`]; the error has no name to tell.
    pub fn new(read: impl Read + Send + 'static) -> Result<Self, CaptureError> {
        Self::recognise(FileName::none(), Box::new(read), None)
    }

    fn recognise(
        file: FileName,
        read: Box<dyn Read + Send>,
        bytes_total: Option<u64>,
    ) -> Result<Self, CaptureError> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            read,
            bytes: Arc::clone(&bytes_read),
        };
        let begun = Stream::unpack(counted).and_then(|mut stream| {
            let records = Records::recognise(&mut stream)?;
            Ok((stream, records))
        });
        match begun {
            Ok((stream, records)) => Ok(Self {
                file,
                stream,
                records,
                items: 0,
                bytes_read,
                bytes_total,
                done: false,
            }),
            Err(fault) => Err(fault.named(file, 0)),
        }
    }

    /// The next record, or `None` at the end.
    ///
    /// # Errors
    /// If the file is cut short, contradicts itself, or can't be read any further.  After an error
    /// there is nothing more: the next call gives `None`.
    #[inline]
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, CaptureError> {
        if self.done {
            return Ok(None);
        }
        let found = match &mut self.records {
            Records::Pcap(reader) => reader.next(&mut self.stream),
            Records::PcapNg(reader) => reader.next(&mut self.stream),
            Records::BinaryFile(reader) => reader.next(&mut self.stream),
        };
        match found {
            Ok(Some(found)) => {
                self.items += 1;
                Ok(Some(self.item(found)))
            }
            Ok(None) => {
                self.done = true;
                Ok(None)
            }
            Err(fault) => {
                self.done = true;
                Err(fault.named(self.file.clone(), self.items))
            }
        }
    }

    fn item(&self, found: Found) -> Item<'_> {
        let index = self.items;
        match found {
            Found::Packet {
                ts_recv,
                interface,
                link_type,
                data,
            } => Item::Packet(Packet {
                index,
                ts_recv,
                interface,
                link_type,
                data: self.stream.bytes(data),
            }),
            Found::Message { bytes } => Item::Message(Message {
                index,
                bytes: self.stream.bytes(bytes),
            }),
        }
    }

    /// What the file was recognised as.
    #[must_use]
    pub fn format(&self) -> Format {
        match self.records {
            Records::Pcap(_) => Format::Pcap,
            Records::PcapNg(_) => Format::PcapNg,
            Records::BinaryFile(_) => Format::BinaryFile,
        }
    }

    /// How the file is compressed, if it is.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        self.stream.compression()
    }

    /// Records given so far.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Bytes taken from the file as it is stored, up to [`Self::bytes_total`]: for a progress bar.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The file's length as it is stored; `None` for a pipe, and if there is no file.
    #[must_use]
    pub fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }

    /// Bytes that the buffer for records takes: [`RECORD_BYTES_MAX`] at most.
    #[must_use]
    pub fn buffer_capacity(&self) -> usize {
        self.stream.capacity()
    }
}

impl fmt::Debug for CaptureReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureReader")
            .field("file", &self.file)
            .field("format", &self.format())
            .field("compression", &self.compression())
            .field("items", &self.items)
            .finish_non_exhaustive()
    }
}

impl Records {
    fn recognise(stream: &mut Stream) -> Result<Self, Fault> {
        let head = stream.peek(4)?;
        let have = head.len();
        let begun =
            stream::could_begin(head) || pcap::could_begin(head) || pcapng::could_begin(head);
        if have < 4 && (stream.was_cut() || (have > 0 && begun)) {
            return Err(stream.cut(Part::Header, 4 - have));
        }
        if have == 0 {
            return Err(Fault::Empty);
        }
        if let Some(reader) = pcap::Reader::recognise(stream)? {
            return Ok(Self::Pcap(reader));
        }
        if let Some(reader) = pcapng::Reader::recognise(stream)? {
            return Ok(Self::PcapNg(reader));
        }
        if let Some(reader) = binaryfile::Reader::recognise(stream)? {
            return Ok(Self::BinaryFile(reader));
        }
        Err(Fault::Unrecognised {
            found: FirstBytes::of(stream.peek(FirstBytes::LEN)?),
            within: stream.compression(),
        })
    }
}

/// Counts what is read, where a progress bar can see it.
struct Counted {
    read: Box<dyn Read + Send>,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.read.read(buffer)?;
        let bytes = u64::try_from(count).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(count)
    }
}
