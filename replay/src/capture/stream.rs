//! The unpacked bytes of a file, through a window of bounded size.
//!
//! A record is brought into the window whole, then taken: it stays where it is until the window is
//! filled again, so it can be lent out without a copy.

use core::ops::Range;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use super::error::{Fault, Part};
use super::{Compression, RECORD_BYTES_MAX};
use crate::frame::LinkType;

/// A record in the window.
#[derive(Debug, Clone)]
pub(super) enum Found {
    Packet {
        ts_recv: u64,
        interface: u32,
        link_type: LinkType,
        data: Range<usize>,
    },
    Message {
        bytes: Range<usize>,
    },
}

pub(super) struct Stream {
    read: Box<dyn Read + Send>,
    compression: Option<Compression>,
    window: Vec<u8>,
    /// What isn't taken yet: `window[start..end]`.
    start: usize,
    end: usize,
    /// Offset of `window[0]` in the unpacked file.
    base: u64,
    ended: bool,
    /// The compressed stream ended before its end.
    was_cut: bool,
}

impl Stream {
    /// Recognises the compression by the first bytes, and undoes it.
    pub(super) fn unpack(read: impl Read + Send + 'static) -> Result<Self, Fault> {
        let mut packed = Packed::new(read);
        let head = packed.head().map_err(|source| Fault::Read {
            offset: 0,
            unpacking: None,
            source,
        })?;
        let compression = compression(head);
        let read: Box<dyn Read + Send> = match compression {
            None => Box::new(packed),
            Some(Compression::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Some(Compression::Zstd) => {
                let decoder = zstd::stream::read::Decoder::with_buffer(packed);
                Box::new(decoder.map_err(|source| Fault::Read {
                    offset: 0,
                    unpacking: compression,
                    source,
                })?)
            }
        };
        Ok(Self {
            read,
            compression,
            window: vec![0; WINDOW_BYTES],
            start: 0,
            end: 0,
            base: 0,
            ended: false,
            was_cut: false,
        })
    }

    pub(super) fn compression(&self) -> Option<Compression> {
        self.compression
    }

    pub(super) fn capacity(&self) -> usize {
        self.window.capacity()
    }

    /// Whether a compressed stream ended before its end.
    pub(super) fn was_cut(&self) -> bool {
        self.was_cut
    }

    /// Offset of the next byte that isn't taken.
    pub(super) fn offset(&self) -> u64 {
        self.base.saturating_add(wide(self.start))
    }

    /// The next `need` bytes, or as many as the file has.  `need` is at most [`RECORD_BYTES_MAX`].
    #[inline]
    pub(super) fn peek(&mut self, need: usize) -> Result<&[u8], Fault> {
        if self.end - self.start < need {
            self.fill(need)?;
        }
        let have = need.min(self.end - self.start);
        Ok(&self.window[self.start..self.start + have])
    }

    /// The next `N` bytes as an array; `None` at the end of the file; else the file is cut in `part`.
    #[inline]
    pub(super) fn peek_array<const N: usize>(
        &mut self,
        part: Part,
    ) -> Result<Option<&[u8; N]>, Fault> {
        if self.end - self.start < N {
            self.fill(N)?;
            let have = self.end - self.start;
            if have == 0 && !self.was_cut {
                return Ok(None);
            }
            if have == 0 {
                return Err(self.cut(Part::Stream, 0));
            }
            if have < N {
                return Err(self.cut(part, N - have));
            }
        }
        Ok(self.window[self.start..].first_chunk())
    }

    /// The next `need` bytes; the file is cut in `part` if there are fewer.
    #[inline]
    pub(super) fn whole(&mut self, need: usize, part: Part) -> Result<&[u8], Fault> {
        if self.end - self.start < need {
            self.fill(need)?;
            let have = self.end - self.start;
            if have < need {
                return Err(self.cut(part, need - have));
            }
        }
        Ok(&self.window[self.start..self.start + need])
    }

    /// Takes `count` bytes that were peeked, and tells where they lie until the next peek.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Range<usize> {
        let start = self.start;
        self.start = self.end.min(start + count);
        start..self.start
    }

    /// Takes `count` bytes of `part` without holding them; another `tail` bytes belong to it.
    pub(super) fn skip(&mut self, mut count: u64, tail: usize, part: Part) -> Result<(), Fault> {
        while count > 0 {
            let here = usize::try_from(count).map_or(WINDOW_BYTES, |n| n.min(WINDOW_BYTES));
            let have = self.peek(here)?.len();
            self.take(have);
            count -= wide(have);
            if have < here {
                let missing = usize::try_from(count).unwrap_or(usize::MAX);
                return Err(self.cut(part, missing.saturating_add(tail)));
            }
        }
        Ok(())
    }

    /// The bytes at a place that [`Self::take`] told.
    #[inline]
    pub(super) fn bytes(&self, place: Range<usize>) -> &[u8] {
        &self.window[place]
    }

    /// That the file ends here, inside `part`.
    #[cold]
    pub(super) fn cut(&self, part: Part, missing: usize) -> Fault {
        Fault::Truncated {
            offset: self.base.saturating_add(wide(self.end)),
            part,
            missing: wide(missing),
        }
    }

    /// Reads until `need` bytes are in the window or the file has ended.
    #[cold]
    fn fill(&mut self, need: usize) -> Result<(), Fault> {
        debug_assert!(need <= RECORD_BYTES_MAX);
        if self.start > 0 {
            self.window.copy_within(self.start..self.end, 0);
            self.base = self.base.saturating_add(wide(self.start));
            self.end -= self.start;
            self.start = 0;
        }
        if need > self.window.len() {
            let len = need.next_power_of_two();
            self.window.reserve_exact(len - self.window.len());
            self.window.resize(len, 0);
        }
        while self.end < need && !self.ended {
            match self.read.read(&mut self.window[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.ended = true;
                    self.was_cut = true;
                }
                Err(source) => {
                    return Err(Fault::Read {
                        offset: self.base.saturating_add(wide(self.end)),
                        unpacking: self.compression,
                        source,
                    });
                }
            }
        }
        Ok(())
    }
}

/// The file as it is stored, with its first bytes held back until the compression is known.
struct Packed {
    rest: BufReader<Box<dyn Read + Send>>,
    head: [u8; 4],
    head_len: usize,
    head_taken: usize,
}

impl Packed {
    fn new(read: impl Read + Send + 'static) -> Self {
        Self {
            rest: BufReader::with_capacity(PACKED_BYTES, Box::new(read)),
            head: [0; 4],
            head_len: 0,
            head_taken: 0,
        }
    }

    /// The first four bytes, or as many as there are.
    fn head(&mut self) -> io::Result<&[u8]> {
        while self.head_len < self.head.len() {
            match self.rest.read(&mut self.head[self.head_len..]) {
                Ok(0) => break,
                Ok(count) => self.head_len += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.head[..self.head_len])
    }
}

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.head_taken == self.head_len {
            return self.rest.read(buffer);
        }
        let mut head = &self.head[self.head_taken..self.head_len];
        let count = head.read(buffer)?;
        self.head_taken += count;
        Ok(count)
    }
}

impl BufRead for Packed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.head_taken == self.head_len {
            self.rest.fill_buf()
        } else {
            Ok(&self.head[self.head_taken..self.head_len])
        }
    }

    fn consume(&mut self, count: usize) {
        if self.head_taken == self.head_len {
            self.rest.consume(count);
        } else {
            self.head_taken = self.head_len.min(self.head_taken + count);
        }
    }
}

/// gzip by RFC 1952 section 2.3.1, Zstandard frames and skippable frames by RFC 8878 section 3.1.
fn compression(head: &[u8]) -> Option<Compression> {
    match head {
        _ if head.starts_with(&GZIP_MAGIC) => Some(Compression::Gzip),
        _ if head == ZSTD_MAGIC => Some(Compression::Zstd),
        [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some(Compression::Zstd),
        _ => None,
    }
}

/// Whether these few bytes are the beginning of a compressed file.
pub(super) fn could_begin(head: &[u8]) -> bool {
    GZIP_MAGIC.starts_with(head) || ZSTD_MAGIC.starts_with(head)
}

#[inline]
fn wide(len: usize) -> u64 {
    len as u64
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// The window to begin with: it grows only for a record that is larger.
const WINDOW_BYTES: usize = 64 * 1024;
/// What is read from the file at once.
const PACKED_BYTES: usize = 64 * 1024;
