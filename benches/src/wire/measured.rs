//! From the stamps of a run to its figures.

use super::client::{Got, Heard};
use super::packets::Schedule;
use super::receiver::{Received, Taken};
use super::run::Run;
use super::sender::Sent;
use super::stages::{Collector, Latency, Stage};
use super::{Rate, To, WireRun, limits};
use crate::Failed;
use crate::limits::SLICES;
use crate::threads::ThreadUse;

/// The stamps of a run.
pub(super) struct Measured {
    pub(super) received: Received,
    pub(super) sent: Sent,
    pub(super) heard: Heard,
    pub(super) schedule: Schedule,
    pub(super) threads: Vec<ThreadUse>,
    pub(super) receive_buffer_bytes: usize,
}

impl Measured {
    /// From stamps to figures.
    pub(super) fn result(self, run: &Run<'_>) -> Result<WireRun, Failed> {
        let received: u64 = self.received.taken.iter().map(|taken| taken.count).sum();
        let messages = run.packets.messages();
        let last_due = run
            .packets
            .places()
            .last()
            .map_or(0, |place| self.schedule.due(place.first + place.count));
        let took = self
            .sent
            .last
            .max(last_due)
            .saturating_sub(self.schedule.start);
        let seconds = took as f64 / 1e9;
        let latencies = match run.to {
            To::Book => self.to_books()?,
            To::Subscriber => self.to_subscriber()?,
        };
        let mut result = WireRun {
            to: run.to,
            asked: Rate::PerSecond(run.rate),
            rate: messages as f64 / seconds.max(1e-9),
            seconds,
            messages,
            packets: run.packets.len() as u64,
            lost: messages.saturating_sub(received),
            kernel_drops: self.received.kernel_drops,
            late_ns_max: self.sent.late_ns_max,
            receive_buffer_bytes: self.receive_buffer_bytes as u64,
            updates: self.heard.got.len() as u64,
            fallbacks: self.heard.fallbacks,
            latencies,
            threads: self.threads.clone(),
            behind_ns: self.behind(run.to),
            limits: Vec::new(),
        };
        result.limits = limits::of(&result, run);
        Ok(result)
    }

    /// In which part of the run a message was due.
    fn part(&self, sequence: u64) -> usize {
        let last = self.received.taken.last().map_or(0, |taken| taken.first);
        let first = self.schedule.first;
        let all = last.saturating_sub(first) + 1;
        let at = sequence.saturating_sub(first) * SLICES as u64 / all;
        usize::try_from(at).unwrap_or(0).min(SLICES - 1)
    }

    fn to_books(&self) -> Result<Vec<Latency>, Failed> {
        let mut stages = Collectors::new(&BOOK_STAGES, &[Stage::WireToBook, Stage::DueToBook])?;
        for taken in &self.received.taken {
            let due = self.schedule.due(taken.first);
            let part = self.part(taken.first);
            let stamps = stamps_to_book(due, taken);
            stages.add(&stamps, (taken.kernel, due, taken.done), taken.count, part);
        }
        Ok(stages.finish())
    }

    fn to_subscriber(&self) -> Result<Vec<Latency>, Failed> {
        let sums = [Stage::WireToSubscriber, Stage::DueToSubscriber];
        let mut stages = Collectors::new(&SUBSCRIBER_STAGES, &sums)?;
        for got in &self.heard.got {
            let Some(taken) = self.taken(got) else {
                continue;
            };
            let due = self.schedule.due(taken.first);
            // A kernel that doesn't stamp TCP leaves the client's part with the writing.
            let written = got.written.unwrap_or(got.read);
            let [a, b, c, d, e, f] = stamps_to_book(due, taken);
            let stamps = [a, b, c, d, e, f, got.ts_out.max(f), written, got.read];
            let part = self.part(got.sequence);
            stages.add(&stamps, (taken.kernel, due, got.read), 1, part);
        }
        Ok(stages.finish())
    }

    /// The packet that an update is of; `None` if it is of the warm-up.
    fn taken(&self, got: &Got) -> Option<&Taken> {
        let all = &self.received.taken;
        let after = all.partition_point(|taken| taken.first <= got.sequence);
        let taken = all.get(after.checked_sub(1)?)?;
        (got.sequence < taken.first + taken.count).then_some(taken)
    }

    /// How long the last message took to the end of its way.
    fn behind(&self, to: To) -> u64 {
        match to {
            To::Book => {
                let last = self.received.taken.last();
                last.map_or(0, |taken| taken.done.saturating_sub(taken.kernel))
            }
            To::Subscriber => {
                let last = self.heard.got.iter().rev().find_map(|got| {
                    let taken = self.taken(got)?;
                    Some(got.read.saturating_sub(taken.kernel))
                });
                last.unwrap_or(0)
            }
        }
    }
}

/// The stages to a book, in order.
const BOOK_STAGES: [Stage; 5] = [
    Stage::Send,
    Stage::Socket,
    Stage::Batch,
    Stage::Arbiter,
    Stage::Book,
];

/// The stages to a subscriber, in order.
const SUBSCRIBER_STAGES: [Stage; 8] = [
    Stage::Send,
    Stage::Socket,
    Stage::Batch,
    Stage::Arbiter,
    Stage::Book,
    Stage::Ring,
    Stage::Write,
    Stage::Client,
];

/// Where one stage ends and the next begins.
fn stamps_to_book(due: u64, taken: &Taken) -> [u64; 6] {
    [
        due,
        taken.kernel,
        taken.received,
        taken.begun,
        taken.arbitrated,
        taken.done,
    ]
}

/// All stages of a run, and their sums: from the kernel's stamp, from when it was due.
struct Collectors {
    stages: Vec<Collector>,
    sums: Vec<Collector>,
}

impl Collectors {
    fn new(stages: &[Stage], sums: &[Stage]) -> Result<Self, Failed> {
        let of = |stages: &[Stage]| -> Result<Vec<_>, Failed> {
            stages.iter().map(|stage| Collector::new(*stage)).collect()
        };
        Ok(Self {
            stages: of(stages)?,
            sums: of(sums)?,
        })
    }

    fn add(
        &mut self,
        stamps: &[u64],
        (kernel, due, end): (u64, u64, u64),
        times: u64,
        part: usize,
    ) {
        for (stage, pair) in self.stages.iter_mut().zip(stamps.windows(2)) {
            if let &[from, to] = pair {
                stage.add(from, to, times, part);
            }
        }
        for (sum, from) in self.sums.iter_mut().zip([kernel, due]) {
            sum.add(from, end, times, part);
        }
    }

    fn finish(self) -> Vec<Latency> {
        let all = self.stages.into_iter().chain(self.sums);
        all.map(Collector::finish).collect()
    }
}
