//! The receiver of a run: the calls of `tickcast_feed`'s receiver in their order, with stamps between them.
//!
//! A packet's stamps are its messages': a message is in its book when the packet's last one is.  So each packet
//! costs four looks at the clock, whatever it holds, and none of them is in the product's code.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tickcast_book::{Market, NoUpdates};
use tickcast_codecs::event::Origin;
use tickcast_feed::batch::Batch;
use tickcast_feed::drive::Drive;
use tickcast_feed::receiver::Clock;
use tickcast_feed::shard::Observer;
use tickcast_feed::socket::MulticastSocket;
use tickcast_feed::{Shard, Source};

use super::packets::Packets;
use crate::books::Books;
use crate::stamps::wall_clock;

/// Packets of the warm-up between two pauses, in which a reactor can empty the ring.
const WARM_PACKETS: usize = 64;

/// A packet's way to its books, wall clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    /// The number of its first message.
    pub(super) first: u64,
    /// Its messages.
    pub(super) count: u64,
    /// The kernel's stamp.
    pub(super) kernel: u64,
    /// The system call that received it was back.
    pub(super) received: u64,
    /// The packets that were received with it and before it were done.
    pub(super) begun: u64,
    /// The arbiter gave its first message on.
    pub(super) arbitrated: u64,
    /// Its last message was in its book.
    pub(super) done: u64,
}

/// Notes when the arbiter gives the first message of a packet on.
#[derive(Debug, Default)]
pub(super) struct Arbitrated(Cell<Option<u64>>);

impl Observer for Arbitrated {
    #[inline]
    fn message(&mut self, _message: &[u8], _origin: Origin) {
        if self.0.get().is_none() {
            self.0.set(Some(wall_clock()));
        }
    }
}

/// What keeps the books.
pub(super) trait Keeper {
    /// Takes one packet.
    fn handle(&mut self, now: u64, payload: &[u8], ts_recv: u64);
    /// All else, once a round.
    fn turn(&mut self, now: u64, batch: &mut Batch);
    /// When the arbiter gave on the first message since the last call.
    fn arbitrated(&self) -> Option<u64>;
    /// The books.
    fn market(&self) -> &Market;
}

/// Books that nobody is told of.
impl Keeper for Shard<NoUpdates, Arbitrated> {
    fn handle(&mut self, now: u64, payload: &[u8], ts_recv: u64) {
        let _ = self.handle_packet(now, Source::Line(0), payload, ts_recv);
    }

    fn turn(&mut self, now: u64, _batch: &mut Batch) {
        self.handle_timeout(now);
    }

    fn arbitrated(&self) -> Option<u64> {
        self.observer().0.take()
    }

    fn market(&self) -> &Market {
        Shard::market(self)
    }
}

/// Books whose changes go to a reactor.
impl Keeper for Drive<Arbitrated> {
    fn handle(&mut self, now: u64, payload: &[u8], ts_recv: u64) {
        self.handle_packet(now, Source::Line(0), payload, ts_recv);
    }

    fn turn(&mut self, now: u64, batch: &mut Batch) {
        Drive::turn(self, now, batch);
    }

    fn arbitrated(&self) -> Option<u64> {
        self.shard().observer().0.take()
    }

    fn market(&self) -> &Market {
        self.shard().market()
    }
}

/// What other threads see of the receiver.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The warm-up is over.
    pub(super) warm: AtomicBool,
    /// Messages received since.
    pub(super) messages: AtomicU64,
}

/// What the receiver had at the end.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) taken: Vec<Taken>,
    /// Datagrams that the kernel dropped at the socket.
    pub(super) kernel_drops: u64,
    pub(super) books: Books,
    /// Messages that didn't fit their books.
    pub(super) faults: u64,
}

/// What a receiver works with.
pub(super) struct Reception<'a> {
    pub(super) clock: Clock,
    pub(super) socket: &'a mut MulticastSocket,
    /// What the books are made of before anything is measured.
    pub(super) warm: &'a Packets,
    /// Stamps are kept of so many packets.
    pub(super) packets_max: usize,
    /// Nobody else needs its core.
    pub(super) alone: bool,
    pub(super) progress: &'a Progress,
    pub(super) stop: &'a AtomicBool,
}

/// The keeper's warm-up, then all that comes to the socket until `stop`.
pub(super) fn receive<K: Keeper>(mut keeper: K, reception: Reception<'_>) -> io::Result<Received> {
    let Reception {
        clock,
        socket,
        warm,
        packets_max,
        alone,
        progress,
        stop,
    } = reception;
    let mut batch = Batch::new();
    for (number, (_, packet)) in warm.iter().enumerate() {
        keeper.handle(clock.now(), packet, wall_clock());
        keeper.turn(clock.now(), &mut batch);
        if number % WARM_PACKETS == 0 {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            thread::yield_now();
        }
    }
    keeper.arbitrated();
    let mut taken = Vec::with_capacity(packets_max);
    // Touched now, not while it is measured.
    taken.resize(packets_max, NOTHING);
    taken.clear();
    let mut messages = 0;
    progress.warm.store(true, Ordering::Release);
    while !stop.load(Ordering::Relaxed) {
        let now = clock.now();
        let came = socket.receive(&mut batch)?;
        if came > 0 {
            let received = wall_clock();
            let mut begun = received;
            for packet in batch.packets() {
                keeper.handle(now, packet.payload, packet.ts_recv);
                let done = wall_clock();
                let (first, count) = numbers(packet.payload);
                messages += count;
                if taken.len() < packets_max {
                    taken.push(Taken {
                        first,
                        count,
                        kernel: packet.ts_recv,
                        received,
                        begun,
                        arbitrated: keeper.arbitrated().unwrap_or(begun),
                        done,
                    });
                }
                begun = done;
            }
        }
        keeper.turn(now, &mut batch);
        if came > 0 {
            progress.messages.store(messages, Ordering::Relaxed);
        } else if !alone {
            thread::yield_now();
        }
    }
    Ok(Received {
        taken,
        kernel_drops: socket.kernel_drops()?,
        books: Books::of(keeper.market()),
        faults: keeper.market().counters().faults(),
    })
}

const NOTHING: Taken = Taken {
    first: 0,
    count: 0,
    kernel: 0,
    received: 0,
    begun: 0,
    arbitrated: 0,
    done: 0,
};

/// The number of a packet's first message, and how many it has (MoldUDP64 1.00, downstream packet header).
fn numbers(payload: &[u8]) -> (u64, u64) {
    let sequence = payload.get(10..).and_then(|rest| rest.first_chunk());
    let count = payload.get(18..).and_then(|rest| rest.first_chunk());
    (
        sequence.map_or(0, |bytes| u64::from_be_bytes(*bytes)),
        count.map_or(0, |bytes| u64::from(u16::from_be_bytes(*bytes))),
    )
}
