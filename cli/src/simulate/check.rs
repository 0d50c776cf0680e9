//! `tickcast simulate --check`: many runs on a virtual clock, and the tests of the tests.

use std::io::{self, Write as _};
use std::num::NonZero;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::{Value, json};
use tickcast_replay::sim::campaign::{CANARIES, CANARY_SEEDS};
use tickcast_replay::sim::{self, Campaign, Findings, Outcome, Scenario};

use crate::Failure;
use crate::progress;

/// What is checked.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Check, without a network")]
pub(super) struct Options {
    /// Publish nothing; run the simulation on a virtual clock, and check whether all that has to hold does.
    #[arg(long)]
    check: bool,
    /// Runs.
    #[arg(long, value_name = "N", default_value_t = 200, requires = "check", conflicts_with = "seed",
        value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first one's seed.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        requires = "check",
        conflicts_with = "seed"
    )]
    first_seed: u64,
    /// Threads [default: one a core].
    #[arg(long, value_name = "N", requires = "check")]
    threads: Option<NonZero<u16>>,
    /// Don't look for the errors that are built in to see whether they are found.
    #[arg(long, requires = "check")]
    no_canaries: bool,
}

impl Options {
    pub(super) fn is_asked(&self) -> bool {
        self.check
    }

    fn threads(&self) -> usize {
        match self.threads {
            Some(threads) => threads.get().into(),
            None => thread::available_parallelism().map_or(1, NonZero::get),
        }
    }
}

/// One of the errors that are built in, and which seed found it.
struct Canary {
    name: &'static str,
    found: Option<(u64, String)>,
}

pub(super) fn run(options: &Options, seed: Option<u64>, json: bool) -> Result<(), Failure> {
    if let Some(seed) = seed {
        return one(seed, json);
    }
    let started = Instant::now();
    let campaign = Campaign {
        first_seed: options.first_seed,
        seeds: options.seeds,
        threads: options.threads(),
    };
    let canaries = if options.no_canaries {
        0
    } else {
        CANARIES.len()
    };
    let bar = progress::steps(options.seeds + canaries as u64);
    bar.set_message("runs");
    let findings = campaign.run(&|| bar.inc(1));
    let canaries = hunt(options, canaries, &bar);
    bar.finish_and_clear();
    let took = started.elapsed();
    if json {
        print(&as_json(&campaign, &findings, &canaries, took))?;
    } else {
        eprint!("{}", as_text(&findings, &canaries, took));
    }
    verdict(&findings, &canaries)
}

fn hunt(options: &Options, count: usize, bar: &ProgressBar) -> Vec<Canary> {
    let campaign = Campaign {
        first_seed: options.first_seed,
        seeds: CANARY_SEEDS,
        threads: options.threads(),
    };
    let canaries = CANARIES.iter().take(count).map(|(name, run)| {
        bar.set_message(format!("canary: {name}"));
        let found = campaign.hunt(*run);
        bar.inc(1);
        Canary { name, found }
    });
    canaries.collect()
}

/// A campaign of few runs can't have seen everything: what wasn't reached fails only one of as many runs as
/// the project's own test has.
const RUNS_THAT_SEE_ALL: u64 = 200;

fn verdict(findings: &Findings, canaries: &[Canary]) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    let mut add = |count: usize, what: &str| {
        if count > 0 {
            wrong.push(format!("{count} {what}"));
        }
    };
    add(findings.violations.len(), "runs violate an invariant");
    add(findings.unequal.len(), "seeds gave two different runs");
    if findings.runs >= RUNS_THAT_SEE_ALL {
        add(findings.unseen().len(), "things were never reached");
    }
    let missed = canaries.iter().filter(|canary| canary.found.is_none());
    add(missed.count(), "canaries weren't found");
    match wrong.as_slice() {
        [] => Ok(()),
        wrong => Err(Failure::Failed(wrong.join(", "))),
    }
}

fn print(value: &Value) -> Result<(), Failure> {
    writeln!(io::stdout(), "{value}").map_err(|error| Failure::output(&error))
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn as_json(campaign: &Campaign, findings: &Findings, canaries: &[Canary], took: Duration) -> Value {
    let violations = findings.violations.iter();
    let violations: Value = violations
        .map(|(seed, what)| json!({ "seed": seed, "violation": what }))
        .collect();
    let canaries: Value = canaries
        .iter()
        .map(|Canary { name, found }| {
            let (seed, what) = found.clone().unzip();
            json!({ "name": name, "seed": seed, "violation": what })
        })
        .collect();
    json!({
        "first_seed": campaign.first_seed,
        "runs": findings.runs,
        "published": findings.published,
        "delivered": findings.delivered,
        "comparisons": findings.compared,
        "repair_ms_max": ms(findings.repaired_after_ns_max),
        "hash": format!("{:016x}", findings.hash),
        "violations": violations,
        "unequal": findings.unequal,
        "never_reached": findings.unseen(),
        "canaries": canaries,
        "seconds": took.as_secs_f64(),
    })
}

fn as_text(findings: &Findings, canaries: &[Canary], took: Duration) -> String {
    let mut text = String::new();
    for (count, words) in [
        (findings.runs, "runs"),
        (findings.published, "messages published"),
        (findings.delivered, "messages delivered"),
        (findings.compared, "comparisons of all books"),
    ] {
        text.push_str(&format!("{count:>12} {words}\n"));
    }
    text.push_str(&format!(
        "{:>12.0} ms until all was right again after the last fault, at most\n",
        ms(findings.repaired_after_ns_max)
    ));
    text.push_str(&format!("{:>12.1} s\n", took.as_secs_f64()));
    text.push_str(&format!("hash {:016x}\n", findings.hash));
    for (seed, what) in &findings.violations {
        text.push_str(&format!("violation, seed {seed}: {what}\n"));
    }
    for seed in &findings.unequal {
        text.push_str(&format!("two runs of seed {seed} differ\n"));
    }
    let excuse = match findings.runs < RUNS_THAT_SEE_ALL {
        true => format!(" (fails from {RUNS_THAT_SEE_ALL} runs on)"),
        false => String::new(),
    };
    for name in findings.unseen() {
        text.push_str(&format!("never reached: {name}{excuse}\n"));
    }
    for Canary { name, found } in canaries {
        text.push_str(&match found {
            Some((seed, what)) => format!("canary \"{name}\": found by seed {seed}: {what}\n"),
            None => format!("canary \"{name}\": not found in {CANARY_SEEDS} seeds\n"),
        });
    }
    text
}

/// One seed, in detail.
fn one(seed: u64, json: bool) -> Result<(), Failure> {
    let scenario = Scenario::draw(seed);
    let started = Instant::now();
    let outcome = sim::run(&scenario);
    let took = started.elapsed();
    if json {
        print(&outcome_as_json(&outcome, took))?;
    } else {
        eprintln!("{scenario:#?}");
        eprint!("{}", outcome_as_text(&outcome, took));
    }
    match &outcome.violation {
        None => Ok(()),
        Some(violation) => Err(Failure::Failed(format!("seed {seed}: {violation}"))),
    }
}

fn outcome_as_json(outcome: &Outcome, took: Duration) -> Value {
    let mut counters = serde_json::Map::new();
    for reading in &outcome.report.readings {
        let name = match reading.line {
            Some(line) => format!("{}.{line}", reading.name),
            None => reading.name.to_owned(),
        };
        counters.insert(name, reading.value.into());
    }
    json!({
        "seed": outcome.seed,
        "published": outcome.published,
        "delivered": outcome.delivered,
        "comparisons": outcome.compared,
        "lost_on_all_lines": outcome.lost_on_all,
        "repair_ms": (outcome.repaired_after_ns < u64::MAX).then(|| ms(outcome.repaired_after_ns)),
        "hash": format!("{:016x}", outcome.hash),
        "violation": outcome.violation.as_ref().map(ToString::to_string),
        "seen": outcome.seen,
        "counters": counters,
        "seconds": took.as_secs_f64(),
    })
}

fn outcome_as_text(outcome: &Outcome, took: Duration) -> String {
    let mut text = String::new();
    for reading in outcome.report.readings.iter().filter(|one| one.value > 0) {
        let line = reading.line.map(|line| format!(", line {line}"));
        let line = line.unwrap_or_default();
        text.push_str(&format!("{:>12} {}{line}\n", reading.value, reading.name));
    }
    for (count, words) in [
        (outcome.published, "messages published"),
        (outcome.delivered, "messages delivered"),
        (outcome.lost_on_all, "messages that all lines lost"),
        (outcome.compared, "comparisons of all books"),
    ] {
        text.push_str(&format!("{count:>12} {words}\n"));
    }
    if outcome.repaired_after_ns < u64::MAX {
        let repaired = ms(outcome.repaired_after_ns);
        text.push_str(&format!(
            "{repaired:>12.0} ms until all was right again after the last fault\n"
        ));
    }
    text.push_str(&format!("{:>12.1} s\n", took.as_secs_f64()));
    text.push_str(&format!("hash {:016x}\n", outcome.hash));
    text
}
