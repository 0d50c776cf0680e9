//! What limits a run, in words: from its figures, not from a guess.

use tickcast_feed::limits::RECEIVE_BUFFER_BYTES;

use super::run::{Run, Seats};
use super::stages::Stage;
use super::{To, WireRun};

/// A thread that had its core for so much of the time has no more to give.
const BUSY: f64 = 0.9;

/// A thread that was kept waiting for so much of the time is held up by others.
const HELD_UP: f64 = 0.05;

/// Sentences, the weightiest first.
pub(super) fn of(result: &WireRun, run: &Run<'_>) -> Vec<String> {
    let mut limits = Vec::new();
    if result.lost > 0 {
        limits.push(loss(result));
    }
    if result.fallbacks > 0 {
        limits.push(format!(
            "the hub or the subscriber was too slow: its books fell back to snapshots {} times",
            result.fallbacks
        ));
    }
    if result.sender_is_late() {
        let sender = result.threads.iter().find(|thread| thread.name == "sender");
        let waited = sender.and_then(|sender| sender.kept_waiting);
        limits.push(match waited.filter(|part| *part > HELD_UP) {
            None => "the sender: it sent as fast as it could, and on loopback its system call pays for the delivery too".to_owned(),
            Some(_) => "the sender: another thread had its core, and it was late".to_owned(),
        });
    }
    let seats = Seats::of(run.to, run.cores);
    let cores = run.cores.count();
    if cores < seats.threads {
        limits.push(match run.to {
            To::Book => "one core: sender and receiver take turns".to_owned(),
            To::Subscriber => format!(
                "{cores} cores for 4 threads: {} share a core, and the sender sleeps in place of waiting awake",
                match cores {
                    1 => "all",
                    2 => "hub, client and sender",
                    _ => "client and sender",
                }
            ),
        });
    }
    for thread in &result.threads {
        if let Some(waiting) = thread.kept_waiting.filter(|part| *part > HELD_UP) {
            limits.push(format!(
                "{}: another thread had its core for {:.0} % of the time",
                thread.name,
                waiting * 100.0
            ));
        }
        // Receiver and sender never sleep for long: that they are busy means nothing.
        let sleeps = matches!(thread.name.as_str(), "hub" | "client");
        if let Some(busy) = thread.on_core.filter(|part| *part > BUSY && sleeps) {
            limits.push(format!(
                "{}: busy {:.0} % of the time",
                thread.name,
                busy * 100.0
            ));
        }
    }
    if let Some((stage, part)) = longest(result) {
        limits.push(format!(
            "longest stage at p99: {} ({:.0} % of all stages' p99)",
            stage.name(),
            part * 100.0
        ));
    }
    limits
}

fn loss(result: &WireRun) -> String {
    let granted = result.receive_buffer_bytes;
    let mut words = format!(
        "{} messages were lost ({} packets at the receiver's socket): the receive buffer of {} KiB ran over",
        result.lost,
        result.kernel_drops,
        granted / 1024
    );
    if granted < RECEIVE_BUFFER_BYTES as u64 {
        words.push_str(&format!(
            "; {} KiB were asked for: sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}",
            RECEIVE_BUFFER_BYTES / 1024
        ));
    }
    words
}

/// The stage with the highest p99 behind the kernel's stamp, and its part of the sum of all.
fn longest(result: &WireRun) -> Option<(Stage, f64)> {
    let stages = result.latencies.iter();
    let stages = stages.filter(|one| !one.stage.is_sum() && one.stage != Stage::Send);
    let sum: u64 = stages.clone().map(|one| one.p99).sum();
    let longest = stages.max_by_key(|one| one.p99)?;
    Some((longest.stage, longest.p99 as f64 / sum.max(1) as f64))
}
