//! Why a file can't be read, in words that name the file, the place and what was found.

use core::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Compression;

/// The name that errors show; "the capture" if it came from no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName(Option<Arc<str>>);

impl FileName {
    pub(super) fn of(path: &Path) -> Self {
        Self(Some(path.display().to_string().into()))
    }

    pub(super) fn none() -> Self {
        Self(None)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("the capture"))
    }
}

/// The first bytes of a file, shown in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstBytes {
    bytes: [u8; Self::LEN],
    len: usize,
}

impl FirstBytes {
    /// So many are shown.
    pub(super) const LEN: usize = 16;

    pub(super) fn of(head: &[u8]) -> Self {
        let len = head.len().min(Self::LEN);
        let mut bytes = [0; Self::LEN];
        bytes[..len].copy_from_slice(&head[..len]);
        Self { bytes, len }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Display for FirstBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.as_bytes().iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{byte:02x}")?;
        }
        Ok(())
    }
}

/// Why a recorded file can't be read, or not any further.
///
/// `offset` counts the bytes of what a compressed file unpacks to.
#[derive(Debug)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file can't be opened.
    Open {
        /// Its name.
        file: FileName,
        /// Why.
        source: io::Error,
    },
    /// The file can't be read any further; of a compressed file, also that it is damaged.
    Read {
        /// Its name.
        file: FileName,
        /// Whole records before.
        packets: u64,
        /// Bytes that could be read.
        offset: u64,
        /// The compression that is being undone.
        unpacking: Option<Compression>,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in the file.
    Empty {
        /// Its name.
        file: FileName,
    },
    /// The file is none of the formats.
    Unrecognised {
        /// Its name.
        file: FileName,
        /// What it begins with, after unpacking.
        found: FirstBytes,
        /// What it was packed with.
        within: Option<Compression>,
    },
    /// The file is of a known kind that isn't read.
    Unsupported {
        /// Its name.
        file: FileName,
        /// Which kind.
        what: &'static str,
    },
    /// The file ends inside a record.
    Truncated {
        /// Its name.
        file: FileName,
        /// Whole records before.
        packets: u64,
        /// Where the file ends.
        offset: u64,
        /// What isn't whole.
        part: Part,
        /// How many more bytes were announced, as far as that is known.
        missing: u64,
    },
    /// A record announces more bytes than any record may have.
    TooLarge {
        /// The file's name.
        file: FileName,
        /// Whole records before.
        packets: u64,
        /// Where the record begins.
        offset: u64,
        /// What is too large.
        what: &'static str,
        /// How large it says it is.
        announced: u64,
        /// How large it may be.
        max: u64,
    },
    /// A record contradicts itself or its file.
    Malformed {
        /// The file's name.
        file: FileName,
        /// Whole records before.
        packets: u64,
        /// Where the record begins.
        offset: u64,
        /// What is wrong.
        what: &'static str,
        /// The value that is wrong.
        value: u64,
    },
}

/// What a truncated file ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The header of the file or of a section.
    Header,
    /// The packet after the last whole record.
    Packet,
    /// The message after the last whole record.
    Message,
    /// A block of a pcapng file that isn't a packet.
    Block,
    /// The end of a compressed stream; what was unpacked ends between two records.
    Stream,
}

impl CaptureError {
    /// Whether the file is cut short and everything before the cut was read.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        matches!(self, Self::Truncated { .. })
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { file, source } => write!(f, "{file}: can't be opened: {source}"),
            Self::Read {
                file,
                packets,
                offset,
                unpacking,
                source,
            } => {
                write!(f, "{file}: can't be ")?;
                match unpacking {
                    Some(compression) => write!(f, "unpacked ({compression})")?,
                    None => f.write_str("read")?,
                }
                write!(
                    f,
                    " after record {} at byte {}: {source}",
                    Grouped(*packets),
                    Grouped(*offset)
                )
            }
            Self::Empty { file } => write!(f, "{file}: is empty"),
            Self::Unrecognised {
                file,
                found,
                within,
            } => {
                write!(f, "{file}: begins with {found}")?;
                if let Some(compression) = within {
                    write!(f, " inside {compression}")?;
                }
                f.write_str(
                    ", which is neither pcap, pcapng nor BinaryFILE with ITCH 5.0 (each plain, gzip or zstd)",
                )
            }
            Self::Unsupported { file, what } => write!(f, "{file}: {what} isn't read"),
            Self::Truncated {
                file,
                packets,
                offset,
                part,
                missing,
            } => {
                write!(f, "{file}: cut short in ")?;
                match part {
                    Part::Header => f.write_str("a header")?,
                    Part::Packet => write!(f, "packet {}", Grouped(packets.saturating_add(1)))?,
                    Part::Message => write!(f, "message {}", Grouped(packets.saturating_add(1)))?,
                    Part::Block => write!(f, "a block after record {}", Grouped(*packets))?,
                    Part::Stream => {
                        write!(
                            f,
                            "its compressed stream after record {}",
                            Grouped(*packets)
                        )?;
                    }
                }
                write!(f, " at byte {}", Grouped(*offset))?;
                match missing {
                    0 => Ok(()),
                    1 => f.write_str(": 1 more byte was announced"),
                    more => write!(f, ": {} more bytes were announced", Grouped(*more)),
                }
            }
            Self::TooLarge {
                file,
                packets,
                offset,
                what,
                announced,
                max,
            } => write!(
                f,
                "{file}: {what} after record {} at byte {} announces {} bytes, at most {} are read",
                Grouped(*packets),
                Grouped(*offset),
                Grouped(*announced),
                Grouped(*max)
            ),
            Self::Malformed {
                file,
                packets,
                offset,
                what,
                value,
            } => write!(
                f,
                "{file}: {what} ({}) after record {} at byte {}",
                Grouped(*value),
                Grouped(*packets),
                Grouped(*offset)
            ),
        }
    }
}

impl core::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What goes wrong below the reader, where neither the file's name nor the count of records is known.
#[derive(Debug)]
pub(super) enum Fault {
    Read {
        offset: u64,
        unpacking: Option<Compression>,
        source: io::Error,
    },
    Empty,
    Unrecognised {
        found: FirstBytes,
        within: Option<Compression>,
    },
    Unsupported(&'static str),
    Truncated {
        offset: u64,
        part: Part,
        missing: u64,
    },
    TooLarge {
        offset: u64,
        what: &'static str,
        announced: u64,
        max: u64,
    },
    Malformed {
        offset: u64,
        what: &'static str,
        value: u64,
    },
}

impl Fault {
    #[cold]
    pub(super) fn named(self, file: FileName, packets: u64) -> CaptureError {
        match self {
            Self::Read {
                offset,
                unpacking,
                source,
            } => CaptureError::Read {
                file,
                packets,
                offset,
                unpacking,
                source,
            },
            Self::Empty => CaptureError::Empty { file },
            Self::Unrecognised { found, within } => CaptureError::Unrecognised {
                file,
                found,
                within,
            },
            Self::Unsupported(what) => CaptureError::Unsupported { file, what },
            Self::Truncated {
                offset,
                part,
                missing,
            } => CaptureError::Truncated {
                file,
                packets,
                offset,
                part,
                missing,
            },
            Self::TooLarge {
                offset,
                what,
                announced,
                max,
            } => CaptureError::TooLarge {
                file,
                packets,
                offset,
                what,
                announced,
                max,
            },
            Self::Malformed {
                offset,
                what,
                value,
            } => CaptureError::Malformed {
                file,
                packets,
                offset,
                what,
                value,
            },
        }
    }
}

/// An integer with its thousands apart: 1,024.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str(",")?;
            }
            fmt::Write::write_char(f, digit)?;
        }
        Ok(())
    }
}
