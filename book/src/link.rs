//! Where a shard and a reactor meet: a bounded single-producer single-consumer ring of updates one
//! way, interest bits and snapshot requests the other way.
//!
//! Invariants: the shard never waits for the reactor (unless it replays a file and is told to); a
//! reactor that was lapped reads an [`Item::Overrun`] at the place of the loss, before anything newer.
//! The ring is rtrb's; this file adds what is told when it is full, and who is interested in what.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::limits::SNAPSHOT_REQUESTS_MAX;
use crate::update::{Update, UpdateKind, UpdateSink, flags};

/// Interest bit: levels of the instrument.
pub const LEVELS: u8 = 1;
/// Interest bit: order events of the instrument.
pub const ORDERS: u8 = 2;

/// Instruments of a channel: the lower half of an instrument id.
const INSTRUMENTS: usize = 65_536;

/// What the reactor reads.
#[derive(Debug, Clone, Copy)]
pub enum Item {
    /// An update.
    Update(Update),
    /// The ring was full: this many updates are missing here.
    Overrun {
        /// How many.
        lost: u64,
    },
}

/// A snapshot that the reactor wants in band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SnapshotRequest {
    /// The instrument.
    pub instrument_id: u32,
    /// [`LEVELS`] or [`ORDERS`].
    pub what: u8,
}

/// What the producer does when the ring is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Counts and goes on: live data never waits.
    Overrun,
    /// Waits for the reader: a file can.
    Wait,
}

#[derive(Debug)]
struct Shared {
    interest: Box<[AtomicU8]>,
    waker: AtomicWaker,
    lost: AtomicU64,
    closed: AtomicBool,
}

/// The shard's end.
#[derive(Debug)]
pub struct Publisher {
    ring: rtrb::Producer<Item>,
    requests: Receiver<SnapshotRequest>,
    shared: Arc<Shared>,
    when_full: WhenFull,
    /// Held back until it is known whether it is the last of its venue message.
    pending: Option<Update>,
    /// Not yet told in band.
    lost: u64,
    /// Something was pushed since the reactor was woken.
    dirty: bool,
    slots: usize,
}

/// The reactor's end.
#[derive(Debug)]
pub struct Subscription {
    ring: rtrb::Consumer<Item>,
    requests: Sender<SnapshotRequest>,
    shared: Arc<Shared>,
}

/// A ring of `slots` items and what belongs to it.
#[must_use]
pub fn link(slots: usize, when_full: WhenFull) -> (Publisher, Subscription) {
    let (producer, consumer) = rtrb::RingBuffer::new(slots);
    let (sender, receiver) = crossbeam_channel::bounded(SNAPSHOT_REQUESTS_MAX);
    let shared = Arc::new(Shared {
        interest: (0..INSTRUMENTS).map(|_| AtomicU8::new(0)).collect(),
        waker: AtomicWaker::new(),
        lost: AtomicU64::new(0),
        closed: AtomicBool::new(false),
    });
    (
        Publisher {
            ring: producer,
            requests: receiver,
            shared: Arc::clone(&shared),
            when_full,
            pending: None,
            lost: 0,
            dirty: false,
            slots,
        },
        Subscription {
            ring: consumer,
            requests: sender,
            shared,
        },
    )
}

fn slot(instrument_id: u32) -> usize {
    (instrument_id & 0xffff) as usize
}

impl Publisher {
    /// The next snapshot that the reactor wants.
    pub fn poll_request(&mut self) -> Option<SnapshotRequest> {
        self.requests.try_recv().ok()
    }

    /// Tells what is to be told, and wakes the reactor if there is something new for it.  After each packet,
    /// and now and then while nothing comes: a loss behind which nothing follows is told too.
    pub fn flush(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.push(Item::Update(pending));
        }
        if self.lost > 0 && self.ring.push(Item::Overrun { lost: self.lost }).is_ok() {
            self.lost = 0;
            self.dirty = true;
        }
        if self.dirty {
            self.dirty = false;
            self.shared.waker.wake();
        }
    }

    /// Whether the ring has room for snapshots beside the stream: at least half of it is free.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.ring.slots() >= self.slots / 2
    }

    /// Whether the reactor is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }

    fn wanted(&self, update: &Update) -> bool {
        let bit = match update.kind {
            UpdateKind::Level { .. } => LEVELS,
            UpdateKind::Order(_) => ORDERS,
            _ => return true,
        };
        // Part of a snapshot that was asked for: the bit was set before the request was sent.
        update.flags & flags::SNAPSHOT != 0
            || self.shared.interest[slot(update.header.instrument_id)].load(Ordering::Relaxed) & bit
                != 0
    }

    fn push(&mut self, item: Item) {
        if self.lost > 0 {
            // The loss is told at its place, before anything newer.
            match self.ring.push(Item::Overrun { lost: self.lost }) {
                Ok(()) => {
                    self.lost = 0;
                    self.dirty = true;
                }
                Err(rtrb::PushError::Full(_)) => return self.lose(),
            }
        }
        let mut item = item;
        loop {
            match self.ring.push(item) {
                Ok(()) => {
                    self.dirty = true;
                    return;
                }
                Err(rtrb::PushError::Full(_)) if self.when_full == WhenFull::Overrun => {
                    return self.lose();
                }
                Err(rtrb::PushError::Full(back)) => {
                    if self.ring.is_abandoned() {
                        return;
                    }
                    item = back;
                    self.shared.waker.wake();
                    std::thread::yield_now();
                }
            }
        }
    }

    fn lose(&mut self) {
        self.lost += 1;
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
    }
}

impl UpdateSink for Publisher {
    #[inline]
    fn wants(&self, instrument_id: u32) -> bool {
        self.shared.interest[slot(instrument_id)].load(Ordering::Relaxed) != 0
    }

    fn update(&mut self, update: &Update) {
        let last = update.flags & flags::LAST != 0;
        if self.wanted(update) {
            if let Some(pending) = self.pending.replace(*update) {
                self.push(Item::Update(pending));
            }
        } else if last
            && let Some(pending) = &mut self.pending
            && pending.header.instrument_id == update.header.instrument_id
        {
            // The message's last update isn't wanted, but an earlier one was: that one is the last.
            pending.flags |= flags::LAST;
        }
        if last && let Some(pending) = self.pending.take() {
            self.push(Item::Update(pending));
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.flush();
        // Whether or not there was something new: the end is.
        self.shared.closed.store(true, Ordering::Release);
        self.shared.waker.wake();
    }
}

impl Subscription {
    /// The next item.
    pub fn poll(&mut self) -> Option<Item> {
        self.ring.pop().ok()
    }

    /// Items waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.slots()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Whether the shard has ended; what waits can still be read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Updates lost to a full ring since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Asks to be woken when there is something new.  Poll once more after it: what came before the
    /// call wakes nobody.
    pub fn register(&self, waker: &Waker) {
        self.shared.waker.register(waker);
    }

    /// Sets the interest bits of an instrument.
    pub fn set_interest(&self, instrument_id: u32, bits: u8) {
        self.shared.interest[slot(instrument_id)].store(bits, Ordering::Relaxed);
    }

    /// Asks for a snapshot in band.
    ///
    /// # Errors
    ///
    /// The request, if too many are waiting: ask again later.
    pub fn request(&self, request: SnapshotRequest) -> Result<(), SnapshotRequest> {
        self.requests
            .try_send(request)
            .map_err(|error| match error {
                TrySendError::Full(request) | TrySendError::Disconnected(request) => request,
            })
    }
}
