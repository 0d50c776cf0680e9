//! Records multicast lines to pcapng files, and tells beside each file what it lacks.
//!
//! [`Recorder`] is a machine without I/O: packets in, [`Action`]s out, one at a time, each answered by
//! [`Recorder::handle_done`] or [`Recorder::handle_failed`].  [`edge`] receives, and performs the actions.
//! Formats: pcapng (draft-ietf-opsawg-pcapng) with times in nanoseconds, one interface a line; Zstandard
//! (RFC 8878), one frame a file; the index is described in `docs/record.md`.
//!
//! What is kept:
//!
//! - after each action a file ends with a whole block (and is a whole Zstandard stream), so that a recorder
//!   that is killed leaves what it had written;
//! - an index tells of the packets that are in its file, and of no other;
//! - while an action fails nothing more is taken ([`Recorder::is_ready`]) and nothing is lost that was: it
//!   is tried again until it is done.  Whoever receives has a bounded queue and counts what doesn't fit.
//!
//! Not done: packets aren't sorted, changed or decoded (but for the index); link-layer headers are unknown
//! to a socket and aren't invented.

pub(crate) mod block;
pub mod edge;
mod index;
mod name;
mod queue;
mod ranges;

use core::fmt;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;

use tickcast_codecs::protocol::Protocol;
use zstd::stream::write::Encoder;

use block::{Blocks, PACKET_BLOCK_BYTES, STATISTICS_BLOCK_BYTES};
pub use index::Index;

use crate::limits::{RECORD_BATCH_BYTES, RECORD_FLUSH_NS, RECORD_RETRY_NS, RECORD_TELL_NS};

/// An empty last block (RFC 8878, 3.1.1.2): ends a Zstandard frame after any block.
const ZSTD_END: &[u8] = &[1, 0, 0];

/// A line to record: an interface of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The name of the interface in the file.
    pub name: String,
    /// Multicast group and port.
    pub group: SocketAddr,
    /// What it carries; `None` = what the packets are recognised as.
    pub protocol: Option<Protocol>,
}

/// How to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecorderConfig {
    /// Which files.
    pub files: Files,
    /// Compress at this level.
    pub zstd: Option<i32>,
}

/// Which files to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// One, of this name.
    One(String),
    /// As many as it takes, named by time and number.
    Many {
        /// A file is finished before it would become larger than so many bytes.  Of a compressed file the
        /// bytes that aren't compressed yet count as they are, so it stays a little below.
        bytes_max: Option<u64>,
        /// A file is finished when UTC passes a multiple of so many nanoseconds.
        every_ns: Option<u64>,
    },
}

/// A received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    /// Which line, by its place in the list.
    pub line: u16,
    /// When it was received, ns since the Unix epoch.
    pub ts_recv: u64,
    /// Who sent it.
    pub src: SocketAddr,
    /// Packets of the line that the kernel dropped before it.
    pub kernel_drops: u32,
    /// Packets of the line that found the queue full before it.
    pub dropped: u32,
    /// What UDP carried.
    pub payload: &'a [u8],
}

/// What is to be done to files.  Names are relative to the folder of the recording.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Create the file under a name that says that it isn't finished.  A name that exists, finished or
    /// not, is answered by [`Recorder::handle_exists`].
    Open {
        /// The name that the finished file will have.
        name: &'a str,
    },
    /// Write behind what was written before, over the `tail` of that; on failure restore it.
    Write {
        /// Whole blocks.
        bytes: &'a [u8],
        /// To be written behind them, and overwritten by the next write.
        tail: &'static [u8],
    },
    /// Write the index if there is one, then give file and index their names.
    Finish {
        /// The file's name.
        name: &'a str,
        /// The index.
        index: Option<&'a str>,
    },
}

#[derive(Debug)]
enum Task {
    Open {
        name: String,
    },
    Write {
        bytes: Vec<u8>,
        tail: &'static [u8],
        packets: u64,
        /// As it is once this is written.
        index: Box<Index>,
    },
    Finish {
        name: String,
        index: Option<String>,
    },
}

/// What to tell people about writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// It fails; told at once and then at intervals.
    Failing {
        /// For how long, in nanoseconds.
        for_ns: u64,
    },
    /// It works again.
    Recovered {
        /// For how long it failed, in nanoseconds.
        after_ns: u64,
    },
}

/// What a recorder counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordCounters {
    /// Packets taken.
    pub packets: u64,
    /// Bytes of payload taken.
    pub payload_bytes: u64,
    /// Packets written.
    pub written: u64,
    /// Bytes written to files.
    pub file_bytes: u64,
    /// Files finished.
    pub files: u64,
    /// Packets that were taken and then given up, since the recording ended while writing failed.
    pub given_up: u64,
    /// Packets that the kernel dropped, as far as a later packet of the line told it.
    pub kernel_drops: u64,
    /// Packets that found the queue full, as far as a later packet of the line told it.
    pub dropped: u64,
    /// Actions that failed.
    pub failures: u64,
    /// Packets that no file can hold: longer than UDP allows.
    pub refused: u64,
}

impl RecordCounters {
    /// Name, value and sentence of each, in a fixed order.
    #[must_use]
    pub fn list(&self) -> [(&'static str, u64, &'static str); 10] {
        [
            ("packets", self.packets, "packets taken"),
            (
                "payload_bytes",
                self.payload_bytes,
                "bytes of their payload",
            ),
            ("written", self.written, "packets written"),
            ("file_bytes", self.file_bytes, "bytes written to files"),
            ("files", self.files, "files finished"),
            (
                "given_up",
                self.given_up,
                "packets given up since writing failed at the end",
            ),
            (
                "kernel_drops",
                self.kernel_drops,
                "packets that the kernel dropped",
            ),
            ("dropped", self.dropped, "packets that found the queue full"),
            (
                "failures",
                self.failures,
                "times that opening, writing or finishing failed",
            ),
            ("refused", self.refused, "packets longer than UDP allows"),
        ]
    }
}

/// Packets to files.
pub struct Recorder {
    config: RecorderConfig,
    lines: Vec<Line>,
    /// Losses of each line that no packet has told yet.
    losses: Vec<u64>,
    file: Option<RecordedFile>,
    /// What the next file's index goes on from.
    next_index: Index,
    number: u32,
    tasks: VecDeque<Task>,
    /// The index of what is written of the file that the first task is of.
    kept: Box<Index>,
    failing: Option<Failing>,
    ended: bool,
    counters: RecordCounters,
}

#[derive(Debug, Clone, Copy)]
struct Failing {
    since: u64,
    told: u64,
    retry_at: u64,
}

/// The file that packets go to.
struct RecordedFile {
    name: String,
    /// The interval of UTC that it belongs to, by number.
    slot: u64,
    blocks: Blocks<Vec<u8>>,
    encoder: Option<Encoder<'static, Vec<u8>>>,
    index: Index,
    /// Bytes handed over to be written.
    bytes: u64,
    packets: u64,
    /// Packets that aren't handed over yet, and since when.
    waiting: u64,
    waiting_since: u64,
    latest_ts: u64,
}

impl Recorder {
    /// Begins a recording: the first action opens its first file.  `wall` = ns since the Unix epoch.
    ///
    /// # Errors
    ///
    /// A compression level that zstd doesn't have.
    pub fn new(config: RecorderConfig, lines: Vec<Line>, wall: u64) -> io::Result<Self> {
        let mut recorder = Self {
            losses: vec![0; lines.len()],
            next_index: Index::new(&lines),
            config,
            lines,
            file: None,
            number: 0,
            tasks: VecDeque::new(),
            kept: Box::default(),
            failing: None,
            ended: false,
            counters: RecordCounters::default(),
        };
        recorder.open(wall)?;
        Ok(recorder)
    }

    /// Whether a packet may be put in: nothing waits to be done.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.tasks.is_empty() && !self.ended
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &RecordCounters {
        &self.counters
    }

    /// The lines, by their numbers.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Takes a packet, while [`Self::is_ready`].  Of a line that isn't known it is passed over.
    ///
    /// # Errors
    ///
    /// The compressor's: it has no memory.
    pub fn handle_packet(&mut self, now: u64, received: &Received<'_>) -> io::Result<()> {
        debug_assert!(self.is_ready(), "actions come before packets");
        let Some(line) = self.lines.get(usize::from(received.line)) else {
            return Ok(());
        };
        let group = line.group;
        let slot = self.slot(received.ts_recv);
        let room = self.room_for(received.payload.len());
        if let Some(file) = &self.file
            && file.packets > 0
            && (slot > file.slot || !room)
        {
            self.close()?;
        }
        if self.file.is_none() {
            self.open(received.ts_recv)?;
        }
        self.handle_losses(
            received.line,
            received.kernel_drops.into(),
            received.dropped.into(),
        );
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let lost = self.losses.get(usize::from(received.line)).copied();
        let added = file.blocks.packet(
            received.line,
            received.ts_recv,
            lost.unwrap_or(0),
            (received.src, group),
            received.payload,
        );
        if added.is_err() {
            self.counters.refused += 1;
            return Ok(());
        }
        if let Some(losses) = self.losses.get_mut(usize::from(received.line)) {
            *losses = 0;
        }
        if file.waiting == 0 {
            file.waiting_since = now;
        }
        file.packets += 1;
        file.waiting += 1;
        file.latest_ts = file.latest_ts.max(received.ts_recv);
        file.index
            .handle_packet(received.line, received.ts_recv, received.payload);
        self.counters.packets += 1;
        self.counters.payload_bytes += received.payload.len() as u64;
        if file.blocks.len() >= RECORD_BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Takes what was lost on a line: by the kernel, and by a full queue.
    pub fn handle_losses(&mut self, line: u16, kernel: u64, dropped: u64) {
        if kernel == 0 && dropped == 0 {
            return;
        }
        self.counters.kernel_drops += kernel;
        self.counters.dropped += dropped;
        if let Some(losses) = self.losses.get_mut(usize::from(line)) {
            *losses += kernel + dropped;
        }
        if let Some(file) = &mut self.file {
            file.index.handle_losses(line, kernel, dropped);
        }
    }

    /// Takes packets that were received and can't be put in any more: the recording ended while writing failed.
    pub fn handle_given_up(&mut self, packets: u64) {
        self.counters.given_up += packets;
    }

    /// Looks at the time: call it every now and then.  `wall` = ns since the Unix epoch.
    ///
    /// # Errors
    ///
    /// As [`Self::handle_packet`].
    pub fn handle_timeout(&mut self, now: u64, wall: u64) -> io::Result<()> {
        if !self.is_ready() {
            return Ok(());
        }
        let slot = self.slot(wall);
        let Some(file) = &self.file else {
            return Ok(());
        };
        if file.packets > 0 && slot > file.slot {
            return self.close();
        }
        if file.waiting > 0 && now.saturating_sub(file.waiting_since) >= RECORD_FLUSH_NS {
            return self.flush();
        }
        Ok(())
    }

    /// Ends the recording: what waits is written if it can be, and the file finished.  What fails from now
    /// on isn't tried again.
    ///
    /// # Errors
    ///
    /// As [`Self::handle_packet`].
    pub fn handle_end(&mut self, now: u64) -> io::Result<()> {
        self.close()?;
        self.ended = true;
        if let Some(failing) = &mut self.failing {
            failing.retry_at = now;
        }
        Ok(())
    }

    /// What to do now, if anything.
    pub fn poll_action(&mut self, now: u64) -> Option<Action<'_>> {
        if self.failing.is_some_and(|failing| failing.retry_at > now) {
            return None;
        }
        Some(match self.tasks.front()? {
            Task::Open { name } => Action::Open { name },
            Task::Write { bytes, tail, .. } => Action::Write { bytes, tail },
            Task::Finish { name, index } => Action::Finish {
                name,
                index: index.as_deref(),
            },
        })
    }

    /// The action was done.
    pub fn handle_done(&mut self, now: u64) -> Option<Notice> {
        match self.tasks.pop_front() {
            Some(Task::Open { .. }) => *self.kept = Index::new(&self.lines),
            Some(Task::Write {
                bytes,
                packets,
                index,
                ..
            }) => {
                self.counters.file_bytes += bytes.len() as u64;
                self.counters.written += packets;
                self.kept = index;
            }
            Some(Task::Finish { .. }) => self.counters.files += 1,
            None => {}
        }
        let failing = self.failing.take()?;
        Some(Notice::Recovered {
            after_ns: now.saturating_sub(failing.since),
        })
    }

    /// The action failed: it will come again, unless the recording has ended.
    pub fn handle_failed(&mut self, now: u64) -> Option<Notice> {
        self.counters.failures += 1;
        let since = self.failing.map_or(now, |failing| failing.since);
        let told = self.failing.map(|failing| failing.told);
        let tell = told.is_none_or(|told| now.saturating_sub(told) >= RECORD_TELL_NS);
        self.failing = Some(Failing {
            since,
            told: if tell { now } else { told.unwrap_or(now) },
            retry_at: now.saturating_add(if self.ended { 0 } else { RECORD_RETRY_NS }),
        });
        if self.ended {
            self.give_up();
        }
        tell.then_some(Notice::Failing {
            for_ns: now.saturating_sub(since),
        })
    }

    /// The name of the file to open is taken: it gets the next number.  `false`: the name was chosen, there
    /// is no other.
    pub fn handle_exists(&mut self) -> bool {
        if matches!(self.config.files, Files::One(_)) {
            return false;
        }
        self.number = self.number.saturating_add(1);
        let number = self.number;
        let renumber = |name: &mut String| {
            // The number is the last part before the suffix.
            if let Some((stem, rest)) = name.rsplit_once('-')
                && let Some((_, suffix)) = rest.split_once('.')
            {
                *name = format!("{stem}-{number:06}.{suffix}");
            }
        };
        // Of the tasks behind it at most one finishes a file, and that is this one.
        for task in &mut self.tasks {
            match task {
                Task::Open { name } | Task::Finish { name, .. } => renumber(name),
                Task::Write { .. } => {}
            }
        }
        if let Some(file) = &mut self.file {
            renumber(&mut file.name);
        }
        true
    }

    /// Gives up the first task, and what can't be done without it.
    fn give_up(&mut self) {
        match self.tasks.pop_front() {
            // Nothing of the file exists.
            Some(Task::Open { .. }) => {
                self.drop_writes();
                self.tasks.pop_front();
            }
            // The file ends with what is written, and its index tells of that.
            Some(Task::Write { packets, .. }) => {
                self.counters.given_up += packets;
                self.drop_writes();
                if let Some(Task::Finish { index, .. }) = self.tasks.front_mut() {
                    *index = Some(self.kept.write());
                }
            }
            // A file without its index is better than none.
            Some(Task::Finish {
                name,
                index: Some(_),
            }) => self.tasks.push_front(Task::Finish { name, index: None }),
            Some(Task::Finish { .. }) | None => {}
        }
    }

    fn drop_writes(&mut self) {
        while let Some(Task::Write { packets, .. }) = self.tasks.front() {
            self.counters.given_up += packets;
            self.tasks.pop_front();
        }
    }

    fn slot(&self, wall: u64) -> u64 {
        match self.config.files {
            Files::Many {
                every_ns: Some(interval),
                ..
            } => wall / interval.max(1),
            _ => 0,
        }
    }

    fn room_for(&self, payload: usize) -> bool {
        let Files::Many {
            bytes_max: Some(most),
            ..
        } = self.config.files
        else {
            return true;
        };
        let Some(file) = &self.file else {
            return true;
        };
        // IPv6 and UDP headers.
        let block = PACKET_BLOCK_BYTES + 48 + payload;
        let end = self.lines.len() * STATISTICS_BLOCK_BYTES + ZSTD_END.len();
        file.bytes + (file.blocks.len() + block + end) as u64 <= most
    }

    fn open(&mut self, wall: u64) -> io::Result<()> {
        let name = match &self.config.files {
            Files::One(name) => name.clone(),
            Files::Many { .. } => {
                self.number = self.number.saturating_add(1);
                name::file_name(wall, self.number, self.config.zstd.is_some())
            }
        };
        let encoder = match self.config.zstd {
            Some(level) => Some(Encoder::new(Vec::new(), level)?),
            None => None,
        };
        self.tasks.push_back(Task::Open { name: name.clone() });
        self.file = Some(RecordedFile {
            name,
            slot: self.slot(wall),
            blocks: Blocks::begin(Vec::new(), &self.lines)?,
            encoder,
            index: core::mem::take(&mut self.next_index),
            bytes: 0,
            packets: 0,
            waiting: 0,
            waiting_since: 0,
            latest_ts: wall,
        });
        // The head of the file at once: a folder that can't be written shows before the first packet.
        self.flush()
    }

    /// Hands over what was collected.
    fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            let task = file.batch(false)?;
            self.tasks.push_back(task);
        }
        Ok(())
    }

    /// Hands over the rest of the file and finishes it.
    fn close(&mut self) -> io::Result<()> {
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        for (number, _) in (0_u16..).zip(&self.lines) {
            let (received, lost) = file.index.line(usize::from(number));
            file.blocks
                .statistics(number, file.latest_ts, received, lost)?;
        }
        let last = file.batch(true)?;
        self.tasks.push_back(last);
        self.next_index = file.index.next_file();
        let index = Some(file.index.write());
        self.tasks.push_back(Task::Finish {
            name: file.name,
            index,
        });
        Ok(())
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("config", &self.config)
            .field("lines", &self.lines)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl RecordedFile {
    fn batch(&mut self, last: bool) -> io::Result<Task> {
        let blocks = self.blocks.bytes();
        let (bytes, tail): (Vec<u8>, &'static [u8]) = match self.encoder.take() {
            None => (core::mem::take(blocks), &[]),
            Some(mut encoder) => {
                encoder.write_all(blocks)?;
                blocks.clear();
                if last {
                    (encoder.finish()?, &[])
                } else {
                    encoder.flush()?;
                    let bytes = core::mem::take(encoder.get_mut());
                    self.encoder = Some(encoder);
                    (bytes, ZSTD_END)
                }
            }
        };
        self.bytes += bytes.len() as u64;
        Ok(Task::Write {
            bytes,
            tail,
            packets: core::mem::take(&mut self.waiting),
            index: Box::new(self.index.clone()),
        })
    }
}
