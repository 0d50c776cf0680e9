//! The simulation as the fault catalogue uses it: scenarios to change, and outcomes to ask.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "for tests, of which each file uses a part"
)]

use tickcast_book::report::Reading;
use tickcast_replay::exchange::Pace;
use tickcast_replay::fault::{Burst, BurstLength, Interval};
use tickcast_replay::sim::{Outcome, Scenario, run};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;

/// Two honest lines, a request server and a snapshot server; so many messages a second, equally spread, with faults
/// until `faults_until_ns` and five seconds more.
pub(crate) fn scenario(seed: u64, messages_per_second: u32, faults_until_ns: u64) -> Scenario {
    let mut scenario = Scenario::calm(seed, faults_until_ns + 5 * SECOND);
    scenario.market.messages_per_second = messages_per_second;
    scenario.market.pace = Pace::Constant;
    scenario.is_clean = false;
    scenario.faults_until_ns = faults_until_ns;
    for line in &mut scenario.lines {
        line.plan.until_ns = faults_until_ns;
    }
    scenario
}

/// Both lines send each message in a packet of its own, so that they lose the same.
pub(crate) fn one_message_a_packet(scenario: &mut Scenario) {
    for line in &mut scenario.lines {
        line.config.publisher.flush_ns = 0;
        line.config.offset_ns = 0;
    }
}

/// All lines lose so many messages in a row.
pub(crate) fn lose(scenario: &mut Scenario, at_ns: u64, messages: u64) {
    let length = BurstLength::Messages(messages);
    for line in &mut scenario.lines {
        line.plan.bursts.push(Burst { at_ns, length });
    }
}

/// A line is dead.
pub(crate) fn kill(scenario: &mut Scenario, line: usize, from_ns: u64, until_ns: u64) {
    let plan = &mut scenario.lines[line].plan;
    plan.dead.push(Interval { from_ns, until_ns });
}

/// The run, in which every invariant held.
pub(crate) fn sound(scenario: &Scenario) -> Outcome {
    let outcome = run(scenario);
    if let Some(violation) = &outcome.violation {
        panic!("{violation}\n{scenario:#?}\n{outcome:#?}");
    }
    outcome
}

/// A counter of the channel; of one that only lines have, the sum.
pub(crate) fn reading(outcome: &Outcome, name: &str) -> u64 {
    let readings = outcome.report.readings.iter();
    let (own, lines): (Vec<&Reading>, Vec<&Reading>) = readings
        .filter(|reading| reading.name == name)
        .partition(|reading| reading.line.is_none());
    let counted = if own.is_empty() { lines } else { own };
    assert!(!counted.is_empty(), "there is no counter {name}");
    counted.iter().map(|reading| reading.value).sum()
}

/// A line's counter.
pub(crate) fn of_line(outcome: &Outcome, line: u8, name: &str) -> u64 {
    let readings = outcome.report.readings.iter();
    readings
        .filter(|reading| reading.name == name && reading.line == Some(line))
        .map(|reading| reading.value)
        .sum()
}

/// Nothing was missing, asked for or stale.
pub(crate) fn assert_untroubled(outcome: &Outcome) {
    for name in [
        "gaps_declared",
        "messages_missing",
        "requests_sent",
        "snapshots_requested",
        "messages_lost",
    ] {
        assert_eq!(reading(outcome, name), 0, "{name}");
    }
    assert_eq!(outcome.stales, 0);
    // Each roll comes between a message's being made and its being sent.
    let unsent = reading(outcome, "sessions") - 1;
    assert_eq!(outcome.delivered + unsent, outcome.published);
}

/// Requests did: no snapshot, nothing lost, and everything was delivered.
pub(crate) fn assert_filled(outcome: &Outcome) {
    assert_eq!(reading(outcome, "snapshots_requested"), 0);
    assert_eq!(reading(outcome, "messages_lost"), 0);
    assert_eq!(outcome.delivered, outcome.published);
    assert!(outcome.repaired_after_ns <= 2 * SECOND);
}
