//! Several shards of one channel: the receiver hands each packet to all of them.  An edge.
//!
//! To each shard goes a ring of buffers that are filled, and back a ring of buffers that are free; there are
//! as many buffers as the ring has places.  Used next is the buffer that came back longest ago: the newest is
//! still in the other core's cache, and four times as dear to write (measured).
//!
//! Invariants: nothing is allocated after [`split`]; the receiver never waits.  Without a free buffer the
//! packet is dropped for that shard and counted: to the shard it is a gap like any other.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::arbiter::Source;
use crate::batch::{Batch, Packet};
use crate::drive::Drive;
use crate::limits::{BATCH_PACKETS_MAX, PACKET_BYTES_MAX};
use crate::receiver::{LineCounters, Rest, Wait};
use crate::shard::Observer;

/// A packet on its way to a shard.
#[derive(Debug)]
struct Slot {
    line: u8,
    ts_recv: u64,
    length: usize,
    bytes: Box<[u8]>,
}

impl Slot {
    fn fill(&mut self, line: u8, packet: &Packet<'_>) {
        self.line = line;
        self.ts_recv = packet.ts_recv;
        self.length = packet.payload.len();
        // A batch's payload isn't longer than its buffer, nor is this one.
        if let Some(bytes) = self.bytes.get_mut(..self.length) {
            bytes.copy_from_slice(packet.payload);
        }
    }
}

/// Wakes a shard that sleeps, and costs next to nothing while it doesn't.
#[derive(Debug)]
struct Bell {
    sleeping: AtomicBool,
    event: EventFd,
}

impl Bell {
    fn ring(&self) {
        // Either the shard sees what was pushed before this, or this sees that it is going to sleep.
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::Relaxed) {
            // It can fail only if the count is at its end: then the shard is awake.
            let _ = self.event.write(1);
        }
    }
}

/// The receiver's end of one shard.
#[derive(Debug)]
struct Outbox {
    filled: rtrb::Producer<Slot>,
    free: rtrb::Consumer<Slot>,
    overruns: Arc<AtomicU64>,
    bell: Arc<Bell>,
}

impl Outbox {
    fn hand(&mut self, line: u8, packet: &Packet<'_>) {
        let handed = self.free.pop().ok().and_then(|mut slot| {
            slot.fill(line, packet);
            self.filled.push(slot).ok()
        });
        if handed.is_none() {
            self.overruns.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The receiver's end of all shards.
#[derive(Debug)]
pub struct Splitter {
    shards: Vec<Outbox>,
}

impl Splitter {
    /// Hands the batch's packets to every shard.
    pub fn handle_batch(&mut self, line: u8, batch: &Batch) {
        for shard in &mut self.shards {
            for packet in batch.packets() {
                shard.hand(line, &packet);
            }
            shard.bell.ring();
        }
    }
}

/// A shard's end.
#[derive(Debug)]
pub struct Inbox {
    filled: rtrb::Consumer<Slot>,
    free: rtrb::Producer<Slot>,
    overruns: Arc<AtomicU64>,
    bell: Arc<Bell>,
    lines: Arc<[LineCounters]>,
}

impl Inbox {
    /// Packets that didn't reach this shard.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.overruns.load(Ordering::Relaxed)
    }

    /// Gives on up to a batch of packets: line, payload, and when it was received.  Says how many.
    pub fn receive(&mut self, mut each: impl FnMut(u8, &[u8], u64)) -> usize {
        let mut came = 0;
        while came < BATCH_PACKETS_MAX
            && let Ok(slot) = self.filled.pop()
        {
            came += 1;
            if let Some(payload) = slot.bytes.get(..slot.length) {
                each(slot.line, payload, slot.ts_recv);
            }
            // There is a place for each buffer.
            let _ = self.free.push(slot);
        }
        came
    }

    /// Says that the shard is going to sleep, unless there is something for it.
    fn may_sleep(&self) -> bool {
        self.bell.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.filled.is_empty()
    }

    fn woke(&self) {
        self.bell.sleeping.store(false, Ordering::Relaxed);
        // Empty if nobody rang.
        let _ = self.bell.event.read();
    }
}

/// Rings of `slots` packets to each of `shards` shards.
///
/// # Errors
///
/// The system's error: each shard needs a file descriptor to be woken by.
pub fn split(
    shards: u16,
    slots: usize,
    lines: &Arc<[LineCounters]>,
) -> io::Result<(Splitter, Vec<Inbox>)> {
    let mut outboxes = Vec::with_capacity(usize::from(shards));
    let mut inboxes = Vec::with_capacity(usize::from(shards));
    for _ in 0..shards {
        let (outbox, inbox) = pair(slots, lines)?;
        outboxes.push(outbox);
        inboxes.push(inbox);
    }
    Ok((Splitter { shards: outboxes }, inboxes))
}

fn pair(slots: usize, lines: &Arc<[LineCounters]>) -> io::Result<(Outbox, Inbox)> {
    let (to_shard, filled) = rtrb::RingBuffer::new(slots);
    let (mut free, from_shard) = rtrb::RingBuffer::new(slots);
    for _ in 0..slots {
        let slot = Slot {
            line: 0,
            ts_recv: 0,
            length: 0,
            bytes: vec![0; PACKET_BYTES_MAX].into_boxed_slice(),
        };
        // There is a place for each.
        let _ = free.push(slot);
    }
    let overruns = Arc::new(AtomicU64::new(0));
    let bell = Arc::new(Bell {
        sleeping: AtomicBool::new(false),
        event: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
    });
    let outbox = Outbox {
        filled: to_shard,
        free: from_shard,
        overruns: Arc::clone(&overruns),
        bell: Arc::clone(&bell),
    };
    let inbox = Inbox {
        filled,
        free,
        overruns,
        bell,
        lines: Arc::clone(lines),
    };
    Ok((outbox, inbox))
}

/// Runs a shard until `stop` is set or the reactor is gone.  Call it on a thread of its own.
///
/// # Errors
///
/// The system's error if there are no file descriptors left to wait with.
pub fn run<O: Observer>(
    mut drive: Drive<O>,
    mut inbox: Inbox,
    wait: Wait,
    stop: &AtomicBool,
) -> io::Result<()> {
    drive.watch(Arc::clone(&inbox.lines));
    drive.watch_ring(Arc::clone(&inbox.overruns));
    let mut batch = Batch::new();
    let clock = drive.clock();
    let ends = |drive: &Drive<O>| stop.load(Ordering::Relaxed) || drive.is_abandoned();
    while !ends(&drive) {
        let mut sockets: Vec<OwnedFd> = drive.waited_for()?;
        sockets.push(inbox.bell.event.as_fd().try_clone_to_owned()?);
        let mut rest = Rest::new(wait, sockets.iter());
        while !ends(&drive) && !drive.take_sockets_changed() {
            let now = clock.now();
            let came = inbox.receive(|line, payload, ts_recv| {
                drive.handle_packet(now, Source::Line(line), payload, ts_recv);
            });
            let came = came + drive.turn(now, &mut batch);
            let now = clock.now();
            if !rest.is_short(now, came > 0) {
                if inbox.may_sleep() {
                    rest.sleep(now, drive.poll_timeout());
                }
                inbox.woke();
            }
        }
    }
    drive.report(clock.now());
    Ok(())
}
