//! Many seeds: whether all invariants held, whether everything that can go wrong did, and whether errors that
//! others made would have been found.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tickcast_feed::arbiter::canary;

use super::scenario::Scenario;
use super::world::{Outcome, run, run_with_canary};

/// What has to happen at least once in a campaign: a run that never met the dangerous state proves nothing
/// about it.  Names of counters, and sentences of the checker.
pub const SOMETIMES: &[&str] = &[
    "a gap was declared",
    "a line was down",
    "a line was silent",
    "a login was rejected",
    "a session rolled while a snapshot was loaded",
    "a snapshot server died",
    "a snapshot timed out",
    "a snapshot was loaded",
    "a snapshot was malformed",
    "a snapshot was of another session",
    "a snapshot was too old",
    "a subscriber stalled",
    "all_lines_down",
    "another session started",
    "filled_by_line",
    "filled_by_request",
    "filled_by_snapshot",
    "line_downs",
    "line_silences",
    "messages were lost",
    "messages_abandoned",
    "messages_duplicate",
    "messages_foreign",
    "messages_late",
    "messages_lost",
    "messages_missing",
    "messages_old_session",
    "messages_superseded",
    "messages_won",
    "numbers were passed over",
    "packets_rejected_trailing_bytes",
    "packets_rejected_truncated",
    "replies_useless",
    "request_servers_changed",
    "requests_deferred",
    "requests_exhausted",
    "requests_timed_out",
    "snapshots_exhausted",
    "snapshots_failed",
    "snapshots_loaded",
    "the end of a session was told",
];

/// The canaries, by name.
pub const CANARIES: &[(&str, fn(&Scenario) -> Outcome)] = &[
    (
        "the end of a gap is compared with ==",
        run_with_canary::<{ canary::GAP_END_EXACT }>,
    ),
    (
        "arbitration by packet",
        run_with_canary::<{ canary::BY_PACKET }>,
    ),
    (
        "0xFFFF taken for a count",
        run_with_canary::<{ canary::END_IS_COUNT }>,
    ),
    (
        "a message in 200,000 delivered twice",
        run_with_canary::<{ canary::TWICE }>,
    ),
    (
        "stale books not told",
        run_with_canary::<{ canary::STALE_UNTOLD }>,
    ),
    (
        "a snapshot applied with > for >=",
        run_with_canary::<{ canary::SNAPSHOT_AFTER }>,
    ),
];

/// A canary has to be found within so many seeds.
pub const CANARY_SEEDS: u64 = 50;

/// Each so-manieth seed is run twice, to compare the hashes.
const TWICE_EVERY: u64 = 20;

/// Which seeds to run, and how.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// The first seed.
    pub first_seed: u64,
    /// How many.
    pub seeds: u64,
    /// Threads.
    pub threads: usize,
}

/// What a campaign came to.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Runs.
    pub runs: u64,
    /// Runs in which an invariant didn't hold, by seed.
    pub violations: Vec<(u64, String)>,
    /// Seeds of which two runs differ.
    pub unequal: Vec<u64>,
    /// What happened at least once.
    pub seen: BTreeSet<&'static str>,
    /// Messages published.
    pub published: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Comparisons of all books.
    pub compared: u64,
    /// The longest repair after the last fault, in nanoseconds.
    pub repaired_after_ns_max: u64,
    /// One hash of all runs' hashes, in the order of their seeds.
    pub hash: u64,
    hashes: Vec<(u64, u64)>,
}

impl Findings {
    /// What should have happened and didn't.
    #[must_use]
    pub fn unseen(&self) -> Vec<&'static str> {
        SOMETIMES
            .iter()
            .copied()
            .filter(|name| !self.seen.contains(name))
            .collect()
    }

    fn add(&mut self, outcome: Outcome) {
        self.runs += 1;
        self.published += outcome.published;
        self.delivered += outcome.delivered;
        self.compared += outcome.compared;
        self.hashes.push((outcome.seed, outcome.hash));
        match outcome.violation {
            Some(violation) => self.violations.push((outcome.seed, violation.to_string())),
            None => {
                self.repaired_after_ns_max =
                    self.repaired_after_ns_max.max(outcome.repaired_after_ns);
            }
        }
        self.seen.extend(outcome.seen);
    }
}

impl Campaign {
    /// Runs all seeds; `progress` is called after each, from any thread.
    #[must_use]
    pub fn run(&self, progress: &(dyn Fn() + Sync)) -> Findings {
        let findings = Mutex::new(Findings::default());
        self.each(&|seed| {
            let scenario = Scenario::draw(seed);
            let outcome = run(&scenario);
            let again = seed
                .is_multiple_of(TWICE_EVERY)
                .then(|| run(&scenario).hash);
            if let Ok(mut findings) = findings.lock() {
                if again.is_some_and(|again| again != outcome.hash) {
                    findings.unequal.push(seed);
                }
                findings.add(outcome);
            }
            progress();
            true
        });
        let mut findings = findings.into_inner().unwrap_or_default();
        findings.hashes.sort_unstable();
        findings.violations.sort_unstable();
        findings.hash = findings.hashes.iter().fold(0_u64, |hash, (_, one)| {
            hash.wrapping_mul(0x100_0000_01b3) ^ one
        });
        findings
    }

    /// Looks for a canary: the seed that found it and what it violated.
    #[must_use]
    pub fn hunt(&self, run: fn(&Scenario) -> Outcome) -> Option<(u64, String)> {
        let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
        self.each(&|seed| {
            if let Some(violation) = run(&Scenario::draw(seed)).violation
                && let Ok(mut found) = found.lock()
                && found.as_ref().is_none_or(|(earlier, _)| seed < *earlier)
            {
                *found = Some((seed, violation.to_string()));
            }
            found.lock().is_ok_and(|found| found.is_none())
        });
        found.into_inner().ok().flatten()
    }

    /// Runs `each` for every seed until it gives false.
    fn each(&self, each: &(dyn Fn(u64) -> bool + Sync)) {
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= self.seeds || !each(self.first_seed + at) {
                            return;
                        }
                    }
                });
            }
        });
    }
}
