//! Which bounded ring between two threads: crossbeam-channel, crossbeam's `ArrayQueue`, or rtrb.
//!
//! *Updates* is what a shard tells a reactor: 128 bytes by value.  *Buffers* is what a receiver hands to a
//! shard: a payload of 1,400 bytes is copied into a buffer that goes over one ring and comes back by another.
//! *Round trip* is one item there and one back: twice the time until the other thread sees it.
//!
//! Both threads are pinned and never sleep.
#![allow(missing_docs)]

use std::hint::{black_box, spin_loop};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;

/// As large as an update with what the ring adds.
type Update = [u64; 16];
/// A receive buffer.
type Buffer = Box<[u8; 9_216]>;

const UPDATES: usize = 65_536;
const BUFFERS: usize = 4_096;
const PAYLOAD: usize = 1_400;

trait Sender<T>: Send + 'static {
    fn try_push(&mut self, item: T) -> Result<(), T>;
}

trait Receiver<T>: Send + 'static {
    fn try_pop(&mut self) -> Option<T>;
}

impl<T: Send + 'static> Sender<T> for crossbeam_channel::Sender<T> {
    #[inline]
    fn try_push(&mut self, item: T) -> Result<(), T> {
        self.try_send(item).map_err(|error| error.into_inner())
    }
}

impl<T: Send + 'static> Receiver<T> for crossbeam_channel::Receiver<T> {
    #[inline]
    fn try_pop(&mut self) -> Option<T> {
        self.try_recv().ok()
    }
}

impl<T: Send + 'static> Sender<T> for Arc<ArrayQueue<T>> {
    #[inline]
    fn try_push(&mut self, item: T) -> Result<(), T> {
        self.push(item)
    }
}

impl<T: Send + 'static> Receiver<T> for Arc<ArrayQueue<T>> {
    #[inline]
    fn try_pop(&mut self) -> Option<T> {
        self.pop()
    }
}

impl<T: Send + 'static> Sender<T> for rtrb::Producer<T> {
    #[inline]
    fn try_push(&mut self, item: T) -> Result<(), T> {
        self.push(item).map_err(|rtrb::PushError::Full(item)| item)
    }
}

impl<T: Send + 'static> Receiver<T> for rtrb::Consumer<T> {
    #[inline]
    fn try_pop(&mut self) -> Option<T> {
        self.pop().ok()
    }
}

fn push<T>(ring: &mut impl Sender<T>, mut item: T) {
    while let Err(back) = ring.try_push(item) {
        item = back;
        spin_loop();
    }
}

fn pop<T>(ring: &mut impl Receiver<T>) -> T {
    loop {
        if let Some(item) = ring.try_pop() {
            return item;
        }
        spin_loop();
    }
}

fn pin(id: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id });
}

/// Runs `there` on the other core and `here` on this one, and times until both are done.  What `there` gives
/// back is dropped afterwards.
fn both<T: Send + 'static>(
    here: impl FnOnce(),
    there: impl FnOnce() -> T + Send + 'static,
) -> Duration {
    let ready = Arc::new(Barrier::new(2));
    let other = thread::spawn({
        let ready = Arc::clone(&ready);
        move || {
            pin(1);
            ready.wait();
            let rings = there();
            (Instant::now(), rings)
        }
    });
    pin(0);
    ready.wait();
    let began = Instant::now();
    here();
    let ended = Instant::now();
    let there_ended = other.join().map_or(ended, |(there_ended, _)| there_ended);
    there_ended.max(ended) - began
}

fn updates<S: Sender<Update>, R: Receiver<Update>>(count: u64, ring: (S, R)) -> Duration {
    let (mut sender, mut receiver) = ring;
    both(
        || {
            for number in 0..count {
                push(&mut sender, [number; 16]);
            }
        },
        move || {
            for _ in 0..count {
                black_box(pop(&mut receiver));
            }
            receiver
        },
    )
}

fn buffers<S: Sender<Buffer>, R: Receiver<Buffer>>(
    count: u64,
    there: (S, R),
    back: (S, R),
) -> Duration {
    let (mut filled, mut to_read) = there;
    let (mut to_free, mut free) = back;
    let payload = black_box([7_u8; PAYLOAD]);
    for _ in 0..BUFFERS {
        let _ = to_free.try_push(Box::new([0; 9_216]));
    }
    both(
        || {
            for _ in 0..count {
                let mut buffer = pop(&mut free);
                buffer[..PAYLOAD].copy_from_slice(&payload);
                push(&mut filled, buffer);
            }
        },
        move || {
            for _ in 0..count {
                let buffer = pop(&mut to_read);
                black_box(buffer[0] ^ buffer[PAYLOAD - 1]);
                push(&mut to_free, buffer);
            }
            (to_read, to_free)
        },
    )
}

fn round_trips<S: Sender<Update>, R: Receiver<Update>>(
    count: u64,
    there: (S, R),
    back: (S, R),
) -> Duration {
    let (mut ask, mut asked) = there;
    let (mut answer, mut answered) = back;
    both(
        || {
            for number in 0..count {
                push(&mut ask, [number; 16]);
                black_box(pop(&mut answered));
            }
        },
        move || {
            for _ in 0..count {
                let item = pop(&mut asked);
                push(&mut answer, item);
            }
            (asked, answer)
        },
    )
}

fn array_queue<T>(slots: usize) -> (Arc<ArrayQueue<T>>, Arc<ArrayQueue<T>>) {
    let queue = Arc::new(ArrayQueue::new(slots));
    (Arc::clone(&queue), queue)
}

/// One function of all three rings.
macro_rules! compare {
    ($group:expr, $run:ident, $($slots:expr),+) => {
        $group.bench_function(BenchmarkId::from_parameter("crossbeam-channel"), |bencher| {
            bencher.iter_custom(|count| $run(count, $(crossbeam_channel::bounded($slots)),+));
        });
        $group.bench_function(BenchmarkId::from_parameter("ArrayQueue"), |bencher| {
            bencher.iter_custom(|count| $run(count, $(array_queue($slots)),+));
        });
        $group.bench_function(BenchmarkId::from_parameter("rtrb"), |bencher| {
            bencher.iter_custom(|count| $run(count, $(rtrb::RingBuffer::new($slots)),+));
        });
    };
}

fn rings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("updates");
    group.throughput(Throughput::Elements(1));
    compare!(group, updates, UPDATES);
    group.finish();
    let mut group = criterion.benchmark_group("buffers");
    group.throughput(Throughput::Elements(1));
    compare!(group, buffers, BUFFERS, BUFFERS);
    group.finish();
    let mut group = criterion.benchmark_group("round-trip");
    compare!(group, round_trips, UPDATES, UPDATES);
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = rings
}
criterion_main!(benches);
