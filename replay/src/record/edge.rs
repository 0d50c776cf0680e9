//! Recording's only I/O: a thread that receives, and the caller's thread that writes.
//!
//! They share a bounded queue: the receiving thread never waits for the writing one, it counts.  Decisions
//! are the [`Recorder`]'s.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tickcast_feed::batch::Batch;
use tickcast_feed::receiver::wall_clock;
use tickcast_feed::socket::MulticastSocket;

use super::queue::{self, Sender};
use super::{Action, Notice, Received, Recorder};
use crate::limits::RECORD_QUEUE_BYTES;

/// Behind the name of a file that isn't finished.
const PART: &str = ".part";

/// Behind a file's name: its index.
const INDEX: &str = ".index.jsonl";

/// How long either thread rests when it has nothing to do.
const REST: Duration = Duration::from_micros(200);

/// Packets between two looks at the time and at whoever looks on.
const PACKETS_PER_ROUND: usize = 1_024;

/// How often the kernel is asked what it dropped; besides, whenever a batch was full.
const DROPS_EVERY: Duration = Duration::from_millis(100);

/// After the end so many batches of each line are still taken from the kernel: as many small datagrams as
/// its buffer holds; whoever sends faster than we receive doesn't keep us.
const DRAIN_ROUNDS_MAX: u32 = 1_024;

/// How often whoever looks on is asked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the receiving thread counts of a line, for all to read.
#[derive(Debug, Default)]
pub struct LineCounters {
    /// Packets received.
    pub received: AtomicU64,
    /// Packets that the kernel dropped.
    pub kernel_drops: AtomicU64,
    /// Packets that found the queue full.
    pub dropped: AtomicU64,
}

/// When to end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Until {
    /// After so many packets.
    pub packets: Option<u64>,
    /// After so long.
    pub duration: Option<Duration>,
}

/// What whoever looks on sees.
#[derive(Debug)]
pub struct View<'a> {
    /// The recorder.
    pub recorder: &'a Recorder,
    /// By the numbers of its lines.
    pub lines: &'a [LineCounters],
    /// What is to be told, with the error if there is one.
    pub notice: Option<(Notice, Option<&'a io::Error>)>,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Go on.
    Go,
    /// Finish the file and end.
    Stop,
}

/// Records until told to stop.  `sockets` are by the numbers of the recorder's lines; `look` is called about
/// ten times a second, and whenever there is something to tell.  Returns what was counted of each line.
///
/// # Errors
///
/// The first file can't be opened or written; a socket fails; the compressor has no memory.  A write that
/// fails later is no error: it is told and tried again.
pub fn run(
    sockets: Vec<MulticastSocket>,
    recorder: &mut Recorder,
    folder: &Path,
    until: Until,
    look: &mut dyn FnMut(&View<'_>) -> Turn,
) -> io::Result<Arc<[LineCounters]>> {
    let mut disk = Disk::new(folder);
    while let Some(action) = recorder.poll_action(0) {
        let is_open = matches!(action, Action::Open { .. });
        match disk.perform(&action) {
            Ok(()) => drop(recorder.handle_done(0)),
            Err(error) if is_open && is_taken(&error) && recorder.handle_exists() => {}
            Err(error) => {
                disk.abandon();
                return Err(error);
            }
        }
    }
    let lines: Arc<[LineCounters]> = sockets.iter().map(|_| LineCounters::default()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, mut receiver) = queue::queue(RECORD_QUEUE_BYTES);
    let receiving = thread::Builder::new().name("record".to_owned()).spawn({
        let (lines, stop) = (Arc::clone(&lines), Arc::clone(&stop));
        move || receive_all(sockets, sender, &lines, &stop)
    })?;
    let mut writing = Writing {
        recorder,
        disk,
        lines: &lines,
        clock: Instant::now(),
        looked: Instant::now(),
        packets_max: until.packets.unwrap_or(u64::MAX),
        look,
    };
    let written = loop {
        match writing.round(&mut receiver) {
            Ok(Turn::Go) => {}
            Ok(Turn::Stop) => break Ok(()),
            Err(error) => break Err(error),
        }
        let over = until
            .duration
            .is_some_and(|duration| writing.clock.elapsed() >= duration);
        if over || receiving.is_finished() {
            break Ok(());
        }
    };
    stop.store(true, Ordering::Relaxed);
    let received = receiving
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the receiving thread panicked")));
    let ended = written.and_then(|()| writing.finish(&mut receiver));
    let told = received?;
    ended?;
    // What was lost after the last packet.
    for (number, (kernel, dropped)) in (0_u16..).zip(told) {
        recorder.handle_losses(number, kernel, dropped);
    }
    Ok(lines)
}

/// The writing thread.
struct Writing<'a> {
    recorder: &'a mut Recorder,
    disk: Disk,
    lines: &'a [LineCounters],
    clock: Instant,
    looked: Instant,
    packets_max: u64,
    look: &'a mut dyn FnMut(&View<'_>) -> Turn,
}

impl Writing<'_> {
    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn round(&mut self, receiver: &mut queue::Receiver) -> io::Result<Turn> {
        let mut idle = true;
        for _ in 0..PACKETS_PER_ROUND {
            if self.is_enough() {
                return Ok(Turn::Stop);
            }
            if !self.act() {
                break;
            }
            let Some(received) = receiver.pop() else {
                break;
            };
            idle = false;
            let now = self.now();
            self.recorder.handle_packet(now, &received)?;
        }
        let now = self.now();
        self.recorder.handle_timeout(now, wall_clock())?;
        if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            if self.tell(None) == Turn::Stop {
                return Ok(Turn::Stop);
            }
        }
        if idle {
            thread::sleep(REST);
        }
        Ok(Turn::Go)
    }

    fn is_enough(&self) -> bool {
        self.recorder.counters().packets >= self.packets_max
    }

    /// Does what is to be done; `false` if something can't be.
    fn act(&mut self) -> bool {
        loop {
            let now = self.now();
            let Some(action) = self.recorder.poll_action(now) else {
                return self.recorder.is_ready();
            };
            let is_open = matches!(action, Action::Open { .. });
            let done = self.disk.perform(&action);
            let notice = match &done {
                Ok(()) => self.recorder.handle_done(now),
                Err(error) if is_open && is_taken(error) && self.recorder.handle_exists() => None,
                Err(_) => self.recorder.handle_failed(now),
            };
            if let Some(notice) = notice {
                self.tell(Some((notice, done.as_ref().err())));
            }
        }
    }

    fn tell(&mut self, notice: Option<(Notice, Option<&io::Error>)>) -> Turn {
        (self.look)(&View {
            recorder: self.recorder,
            lines: self.lines,
            notice,
        })
    }

    /// Writes what was received, as long as that is possible, and ends.
    fn finish(&mut self, receiver: &mut queue::Receiver) -> io::Result<()> {
        while !self.is_enough() && self.act() {
            let Some(received) = receiver.pop() else {
                break;
            };
            let now = self.now();
            self.recorder.handle_packet(now, &received)?;
        }
        let mut given_up = 0;
        while !self.is_enough() && receiver.pop().is_some() {
            given_up += 1;
        }
        self.recorder.handle_given_up(given_up);
        let now = self.now();
        self.recorder.handle_end(now)?;
        while self.recorder.poll_action(u64::MAX).is_some() {
            self.act();
        }
        Ok(())
    }
}

/// The file that is being written.
struct Disk {
    folder: PathBuf,
    open: Option<Part>,
}

struct Part {
    file: File,
    path: PathBuf,
    /// Where whole blocks end, and what stands behind them.
    whole: u64,
    tail: &'static [u8],
}

impl Disk {
    fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            open: None,
        }
    }

    fn path(&self, name: &str, suffix: &str) -> PathBuf {
        self.folder.join(format!("{name}{suffix}"))
    }

    fn perform(&mut self, action: &Action<'_>) -> io::Result<()> {
        match *action {
            Action::Open { name } => self.open(name),
            Action::Write { bytes, tail } => match &mut self.open {
                Some(part) => part.write(bytes, tail),
                None => Err(io::Error::other("no file is open")),
            },
            Action::Finish { name, index } => self.finish(name, index),
        }
    }

    fn open(&mut self, name: &str) -> io::Result<()> {
        let (done, path) = (self.path(name, ""), self.path(name, PART));
        if done.exists() {
            let why = format!("{} exists", done.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| named(&path, &error))?;
        self.open = Some(Part {
            file,
            path,
            whole: 0,
            tail: &[],
        });
        Ok(())
    }

    fn finish(&mut self, name: &str, index: Option<&str>) -> io::Result<()> {
        let Some(part) = &self.open else {
            return Err(io::Error::other("no file is open"));
        };
        part.file.sync_all()?;
        if let Some(index) = index {
            let (done, path) = (
                self.path(name, INDEX),
                self.path(name, &format!("{INDEX}{PART}")),
            );
            if let Err(error) = fs::write(&path, index) {
                let _ = fs::remove_file(&path);
                return Err(named(&path, &error));
            }
            fs::rename(&path, done)?;
        }
        fs::rename(&part.path, self.path(name, ""))?;
        self.open = None;
        Ok(())
    }

    /// Takes away a file that never began.
    fn abandon(&mut self) {
        if let Some(part) = self.open.take() {
            let _ = fs::remove_file(part.path);
        }
    }
}

impl Part {
    fn write(&mut self, bytes: &[u8], tail: &'static [u8]) -> io::Result<()> {
        let behind = self.whole + bytes.len() as u64;
        let written = self
            .file
            .write_all_at(bytes, self.whole)
            .and_then(|()| self.file.write_all_at(tail, behind));
        match written {
            Ok(()) => {
                self.whole = behind;
                self.tail = tail;
                Ok(())
            }
            Err(error) => {
                // Back to how it was; the room for it is the file's already.
                let _ = self.file.set_len(self.whole + self.tail.len() as u64);
                let _ = self.file.write_all_at(self.tail, self.whole);
                Err(named(&self.path, &error))
            }
        }
    }
}

/// Whether another name would do.
fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AlreadyExists
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The receiving thread: from the sockets to the queue until `stop`.  Returns each line's losses that no
/// packet told.
fn receive_all(
    mut sockets: Vec<MulticastSocket>,
    mut sender: Sender,
    lines: &[LineCounters],
    stop: &AtomicBool,
) -> io::Result<Vec<(u64, u64)>> {
    let mut batch = Batch::new();
    let mut untold = vec![(0_u32, 0_u32); sockets.len()];
    let mut asked = Instant::now();
    let mut rounds_left = DRAIN_ROUNDS_MAX;
    while rounds_left > 0 {
        // What the kernel has at the end belongs to the recording.
        let stopping = stop.load(Ordering::Relaxed);
        rounds_left -= u32::from(stopping);
        let ask = stopping || asked.elapsed() >= DROPS_EVERY;
        if ask {
            asked = Instant::now();
        }
        let mut idle = true;
        for (((number, socket), line), untold) in
            (0_u16..).zip(&mut sockets).zip(lines).zip(&mut untold)
        {
            idle &= socket.receive(&mut batch)? == 0;
            if ask || batch.is_full() {
                let lost = socket.kernel_drops()?;
                line.kernel_drops.fetch_add(lost, Ordering::Relaxed);
                let lost = u32::try_from(lost).unwrap_or(u32::MAX);
                untold.0 = untold.0.saturating_add(lost);
            }
            for packet in batch.packets() {
                line.received.fetch_add(1, Ordering::Relaxed);
                let received = Received {
                    line: number,
                    ts_recv: packet.ts_recv,
                    src: packet.source,
                    kernel_drops: untold.0,
                    dropped: untold.1,
                    payload: packet.payload,
                };
                if sender.push(&received) {
                    *untold = (0, 0);
                } else {
                    line.dropped.fetch_add(1, Ordering::Relaxed);
                    untold.1 = untold.1.saturating_add(1);
                }
            }
        }
        if idle && stopping {
            break;
        }
        if idle {
            thread::sleep(REST);
        }
    }
    Ok(untold
        .into_iter()
        .map(|(kernel, dropped)| (kernel.into(), dropped.into()))
        .collect())
}
