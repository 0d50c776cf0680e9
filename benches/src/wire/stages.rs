//! Latency by stage, from stamps.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::Failed;
use crate::limits::{LATENCY_NS_MAX, SLICES};

/// A stage of the way, or a sum of stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// From when a message was due to the kernel's receive stamp: the sender's lateness, and the loopback.
    Send,
    /// From the kernel's receive stamp until the system call that received it was back.
    Socket,
    /// Behind packets that were received with it and before it.
    Batch,
    /// Until the arbiter gave its packet's first message on.
    Arbiter,
    /// Until its packet's last message was in its book.
    Book,
    /// Until the hub's turn that took it from the ring began.
    Ring,
    /// Encoded, queued, framed and written to the socket.
    Write,
    /// Until the subscriber had it.
    Client,
    /// From the kernel's receive stamp to the book.
    WireToBook,
    /// From when it was due to the book.
    DueToBook,
    /// From the kernel's receive stamp to the subscriber.
    WireToSubscriber,
    /// From when it was due to the subscriber.
    DueToSubscriber,
}

impl Stage {
    /// What a file or a key is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Socket => "socket",
            Self::Batch => "batch",
            Self::Arbiter => "arbiter",
            Self::Book => "book",
            Self::Ring => "ring",
            Self::Write => "write",
            Self::Client => "client",
            Self::WireToBook => "wire-to-book",
            Self::DueToBook => "due-to-book",
            Self::WireToSubscriber => "wire-to-subscriber",
            Self::DueToSubscriber => "due-to-subscriber",
        }
    }

    /// What people read.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Send => "send: due -> kernel's receive stamp",
            Self::Socket => "socket: stamp -> received by the loop",
            Self::Batch => "batch: behind packets received before it",
            Self::Arbiter => "arbiter: until it gives the message on",
            Self::Book => "book: decoded and applied",
            Self::Ring => "ring: until the hub's turn that reads it",
            Self::Write => "write: encoded and written to the socket",
            Self::Client => "client: until the subscriber has it",
            Self::WireToBook => "wire to book",
            Self::DueToBook => "due to book",
            Self::WireToSubscriber => "wire to subscriber",
            Self::DueToSubscriber => "due to subscriber",
        }
    }

    /// Whether it is a sum of others.
    #[must_use]
    pub const fn is_sum(self) -> bool {
        matches!(
            self,
            Self::WireToBook | Self::DueToBook | Self::WireToSubscriber | Self::DueToSubscriber
        )
    }
}

/// A stage's latency, in ns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The stage.
    pub stage: Stage,
    /// How many messages, or updates, it is of.
    pub count: u64,
    /// The least.
    pub min: u64,
    /// Half took no longer.
    pub p50: u64,
    /// Nine of ten took no longer.
    pub p90: u64,
    /// All but one of a hundred.
    pub p99: u64,
    /// All but one of a thousand.
    pub p99_9: u64,
    /// The most.
    pub max: u64,
    /// The least and the most of `p50` in equal parts of the run; sums only.
    pub p50_of_parts: Option<(u64, u64)>,
    /// The least and the most of `p99` in equal parts of the run; sums only.
    pub p99_of_parts: Option<(u64, u64)>,
    /// All of it.
    #[serde(skip)]
    pub histogram: Option<Histogram<u64>>,
}

/// Collects one stage.
pub(super) struct Collector {
    stage: Stage,
    all: Histogram<u64>,
    parts: Vec<Histogram<u64>>,
}

fn histogram() -> Result<Histogram<u64>, Failed> {
    // Three digits, and twice the most that is recorded.
    Histogram::new_with_bounds(1, LATENCY_NS_MAX * 2, 3)
        .map_err(|error| Failed::new(format!("a histogram: {error}")))
}

impl Collector {
    pub(super) fn new(stage: Stage) -> Result<Self, Failed> {
        let parts = if stage.is_sum() { SLICES } else { 0 };
        Ok(Self {
            stage,
            all: histogram()?,
            parts: (0..parts).map(|_| histogram()).collect::<Result<_, _>>()?,
        })
    }

    /// `times` messages took from one stamp to the other, in this part of the run.  Stamps of different threads
    /// may be in the wrong order; that counts as 0.
    pub(super) fn add(&mut self, from: u64, to: u64, times: u64, part: usize) {
        let took = to.saturating_sub(from).min(LATENCY_NS_MAX);
        // It is within the bounds.
        let _ = self.all.record_n(took, times);
        if let Some(histogram) = self.parts.get_mut(part) {
            let _ = histogram.record_n(took, times);
        }
    }

    pub(super) fn finish(self) -> Latency {
        let all = &self.all;
        let of_parts = |quantile| {
            let parts = self.parts.iter().filter(|part| !part.is_empty());
            let values: Vec<u64> = parts.map(|part| part.value_at_quantile(quantile)).collect();
            values
                .iter()
                .min()
                .copied()
                .zip(values.iter().max().copied())
        };
        Latency {
            stage: self.stage,
            count: all.len(),
            min: all.min(),
            p50: all.value_at_quantile(0.5),
            p90: all.value_at_quantile(0.9),
            p99: all.value_at_quantile(0.99),
            p99_9: all.value_at_quantile(0.999),
            max: all.max(),
            p50_of_parts: of_parts(0.5),
            p99_of_parts: of_parts(0.99),
            histogram: Some(self.all.clone()),
        }
    }
}
