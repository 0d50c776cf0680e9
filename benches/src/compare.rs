//! Two runs, figure by figure.
//!
//! A verdict is given only where the two spreads don't touch: from the quickest round to the middle one for times,
//! over the parts of the run for latencies.  Anything else is noise as far as these two runs can tell.

use serde::Serialize;

use crate::results::Results;
use crate::wire::{Rate, To};

/// A figure of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// Its unit.
    pub unit: &'static str,
    /// Its value.
    pub value: f64,
    /// From where to where it might as well have been.
    pub spread: (f64, f64),
    /// Whether more is better.
    pub more_is_better: bool,
}

/// A figure of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// What it is.
    pub name: String,
    /// Its unit.
    pub unit: &'static str,
    /// The first run's.
    pub a: f64,
    /// The second run's.
    pub b: f64,
    /// Second ÷ first.
    pub ratio: f64,
    /// What changed, if it is beyond the spread.
    pub verdict: Option<Verdict>,
}

/// What changed from the first to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The second is better.
    Better,
    /// The second is worse.
    Worse,
}

impl Verdict {
    /// What people read.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
        }
    }
}

/// The figures of a run that two runs are compared by.
#[must_use]
pub fn figures(results: &Results) -> Vec<Figure> {
    let mut figures = Vec::new();
    let less = |name: String, unit, value, spread| Figure {
        name,
        unit,
        value,
        spread,
        more_is_better: false,
    };
    if let Some(file) = &results.file {
        for one in &file.ways {
            let name = one.way.words(file.watched);
            figures.push(less(name, "ns a message", one.min, (one.min, one.median)));
        }
        for one in file.ways.iter().skip(1) {
            let name = format!("{} ÷ walk", one.way.words(file.watched));
            let (low, high) = (one.to_walk, one.to_walk_median);
            figures.push(less(name, "", one.to_walk, (low.min(high), low.max(high))));
        }
        if let Some(bytes) = file.memory.bytes_per_order() {
            let spread = (bytes * 0.99, bytes * 1.01);
            figures.push(less(
                "memory".to_owned(),
                "bytes a live order",
                bytes,
                spread,
            ));
        }
    }
    for run in &results.wire {
        let to = match run.to {
            To::Book => "wire to book",
            To::Subscriber => "wire to subscriber",
        };
        let at = match run.asked {
            Rate::PerSecond(rate) => format!("{rate}/s"),
            Rate::Max => "the highest rate".to_owned(),
        };
        if let Some(latency) = run.from_wire() {
            let us = |ns: u64| ns as f64 / 1e3;
            let parts = |of: Option<(u64, u64)>, value| match of {
                Some((low, high)) => (us(low), us(high)),
                None => (value, value),
            };
            for (percentile, ns, of_parts) in [
                ("p50", latency.p50, latency.p50_of_parts),
                ("p99", latency.p99, latency.p99_of_parts),
            ] {
                let name = format!("{to}, {at}, {percentile}");
                let spread = parts(of_parts, us(ns));
                figures.push(less(name, "us", us(ns), spread));
            }
        }
        if run.asked == Rate::Max {
            figures.push(Figure {
                name: format!("{to}, highest rate with nothing lost"),
                unit: "messages/s",
                value: run.rate,
                // The search ends when it is within 6 %.
                spread: (run.rate * 0.94, run.rate * 1.06),
                more_is_better: true,
            });
        }
    }
    figures
}

/// The figures that both have, in the first one's order.
#[must_use]
pub fn compare(a: &Results, b: &Results) -> Vec<Compared> {
    let other = figures(b);
    let compared = figures(a).into_iter().filter_map(|a| {
        let b = other.iter().find(|b| b.name == a.name)?;
        let lower = b.spread.1 < a.spread.0;
        let higher = b.spread.0 > a.spread.1;
        let verdict = match (lower, higher) {
            (false, false) => None,
            (lower, _) if lower != a.more_is_better => Some(Verdict::Better),
            _ => Some(Verdict::Worse),
        };
        Some(Compared {
            ratio: b.value / a.value,
            a: a.value,
            b: b.value,
            name: a.name,
            unit: a.unit,
            verdict,
        })
    });
    compared.collect()
}
