//! The tables of `bench`, for people.

use tickcast_benches::compare::Compared;
use tickcast_benches::file::{FileResult, Way};
use tickcast_benches::machine::Machine;
use tickcast_benches::plot::thousands;
use tickcast_benches::wire::{Rate, To, WireRun};

/// A name and its value, in the form of the other commands.
fn row(text: &mut String, name: &str, value: &str) {
    text.push_str(&format!("{:<13}{value}\n", format!("{name}:")));
}

fn mib(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mib => format!("{mib} MiB"),
    }
}

/// The machine and its settings.
pub(super) fn machine(machine: &Machine) -> String {
    let mut text = String::new();
    let unknown = || "unknown".to_owned();
    let caches: Vec<String> = machine
        .caches
        .iter()
        .map(|cache| format!("{} {}", cache.name, cache.size))
        .collect();
    let mut cpu = format!("{}, {} cores", machine.cpu, machine.cores.len());
    if !caches.is_empty() {
        cpu.push_str(&format!(", {}", caches.join(", ")));
    }
    row(&mut text, "machine", &cpu);
    let turbo = match machine.turbo {
        Some(true) => "on",
        Some(false) => "off",
        None => "unknown",
    };
    row(
        &mut text,
        "settings",
        &format!(
            "governor {}, turbo {turbo}, huge pages {} ({} reserved), isolated cores {}",
            machine.governor.as_deref().unwrap_or("unknown"),
            machine
                .transparent_huge_pages
                .as_deref()
                .unwrap_or("unknown"),
            machine
                .huge_pages
                .map_or_else(unknown, |count| count.to_string()),
            machine.isolated.as_deref().unwrap_or("none"),
        ),
    );
    row(
        &mut text,
        "system",
        &format!(
            "Linux {}, virtual machine: {}, {} of memory, load {}",
            machine.kernel.as_deref().unwrap_or("unknown"),
            machine.virtual_machine.as_deref().unwrap_or("no"),
            machine.memory_bytes.map_or_else(unknown, mib),
            machine
                .load
                .map_or_else(unknown, |load| format!("{load:.1}")),
        ),
    );
    row(
        &mut text,
        "network",
        &format!(
            "rmem_max {}, rmem_default {}, netdev_max_backlog {}",
            machine.rmem_max.map_or_else(unknown, mib),
            machine.rmem_default.map_or_else(unknown, mib),
            machine
                .netdev_max_backlog
                .map_or_else(unknown, |count| count.to_string()),
        ),
    );
    let program = &machine.program;
    let features = match program.target_features.as_slice() {
        [] => format!("the least of {}", machine.arch),
        features => format!("{} with {}", machine.arch, features.join(", ")),
    };
    row(
        &mut text,
        "program",
        &format!(
            "tickcast {}, {} build for {features}; {}",
            program.version, program.profile, machine.date
        ),
    );
    if program.profile != "release" {
        text.push_str("this is no release build: its figures say nothing about one\n");
    }
    if machine.load.is_some_and(|load| load > 0.5) {
        text.push_str(
            "other programs are running: ratios and minima mean something, the rest may not\n",
        );
    }
    text
}

/// What a message costs.
pub(super) fn file(result: &FileResult) -> String {
    let mut text = format!(
        "\nfile: {}: {} messages of {} instruments, {:.1} bytes each with their length; {} rounds\n",
        result.source,
        thousands(result.messages as f64),
        thousands(result.instruments as f64),
        result.bytes as f64 / result.messages as f64,
        result.rounds,
    );
    let [work, other] = &result.pinned;
    text.push_str(&format!(
        "work {work}; ring's reader and second shard {other}\n\n"
    ));
    text.push_str(&format!(
        "{:<52} {:>8} {:>8} {:>8} {:>8} {:>8}\n",
        "ns a message", "min", "median", "max", "÷ walk", "Mmsg/s"
    ));
    for one in &result.ways {
        text.push_str(&format!(
            "{:<52} {:>8.1} {:>8.1} {:>8.1} {:>8.2} {:>8.1}\n",
            one.way.words(result.watched),
            one.min,
            one.median,
            one.max,
            one.to_walk,
            one.per_second / 1e6
        ));
    }
    text.push('\n');
    for one in &result.ways {
        if matches!(one.way, Way::Watched | Way::WatchedAll) {
            let updates = thousands(one.updates as f64);
            text.push_str(&format!(
                "{updates:>14} updates: {}\n",
                one.way.words(result.watched)
            ));
        }
    }
    let speedup = result.two_shards_speedup;
    text.push_str(&format!(
        "{speedup:>14.2} times as fast by two shards as by one\n"
    ));
    let books = &result.books;
    for (count, words) in [
        (result.best_changes, "changes of a best price or its shares"),
        (books.orders, "live orders at the end"),
        (books.levels, "levels at the end"),
        (result.memory.orders_max, "live orders at the height"),
    ] {
        text.push_str(&format!("{:>14} {words}\n", thousands(count as f64)));
    }
    if let Some(bytes) = result.memory.bytes_per_order() {
        text.push_str(&format!(
            "{bytes:>14.0} bytes a live order at the height: {} of orders, {} of levels\n",
            thousands(result.memory.order_bytes as f64),
            thousands(result.memory.level_bytes as f64),
        ));
    }
    text.push_str(&format!(
        "books {:016x}: equal in all rounds and ways, no message that doesn't fit\n",
        books.hash
    ));
    text
}

/// A run's name.
pub(super) fn run_words(to: To, rate: Rate) -> String {
    let to = match to {
        To::Book => "wire to book",
        To::Subscriber => "wire to subscriber",
    };
    match rate {
        Rate::PerSecond(rate) => format!("{to} at {} messages/s", thousands(rate as f64)),
        Rate::Max => format!("{to} at the highest rate"),
    }
}

/// Latency by stage.
pub(super) fn wire(run: &WireRun) -> String {
    let mut text = format!("\n{}", run_words(run.to, run.asked));
    if run.asked == Rate::Max {
        let rate = thousands(run.rate);
        text.push_str(&format!(" with nothing lost: {rate} messages/s"));
    }
    text.push_str(&format!(
        "\n{} messages in {} packets in {:.2} s, {} lost",
        thousands(run.messages as f64),
        thousands(run.packets as f64),
        run.seconds,
        thousands(run.lost as f64)
    ));
    if run.to == To::Subscriber {
        let updates = thousands(run.updates as f64);
        text.push_str(&format!(", {updates} updates at the subscriber"));
    }
    text.push_str(&format!(
        "\n\n{:<46} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        "microseconds", "p50", "p90", "p99", "p99.9", "max"
    ));
    let mut sums = false;
    for one in &run.latencies {
        if one.stage.is_sum() && !sums {
            text.push_str(&format!("{}\n", "-".repeat(96)));
            sums = true;
        }
        text.push_str(&format!("{:<46}", one.stage.words()));
        for ns in [one.p50, one.p90, one.p99, one.p99_9, one.max] {
            text.push_str(&format!(" {:>9}", us(ns)));
        }
        text.push('\n');
    }
    for thread in &run.threads {
        let percent = |part: Option<f64>| {
            part.map_or_else(|| "?".to_owned(), |part| format!("{:.0}", part * 100.0))
        };
        text.push_str(&format!(
            "{:<10} {}, on its core {} % of the time, kept waiting {} %\n",
            thread.name,
            thread.pinned,
            percent(thread.on_core),
            percent(thread.kept_waiting)
        ));
    }
    for limit in &run.limits {
        text.push_str(&format!("limit: {limit}\n"));
    }
    text
}

/// Three digits or more.
fn us(ns: u64) -> String {
    let us = ns as f64 / 1e3;
    match us {
        us if us < 10.0 => format!("{us:.2}"),
        us if us < 100.0 => format!("{us:.1}"),
        us => thousands(us),
    }
}

/// What has to be known of two machines before their figures are compared.
pub(super) fn differences(a: &Machine, b: &Machine) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, a: String, b: String| {
        if a != b {
            differences.push(format!("{what}: {a} and {b}"));
        }
    };
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    compare("the machines differ", a.cpu.clone(), b.cpu.clone());
    compare(
        "the cores differ",
        a.cores.len().to_string(),
        b.cores.len().to_string(),
    );
    compare("the kernels differ", known(&a.kernel), known(&b.kernel));
    compare(
        "the builds differ",
        format!("{} {:?}", a.program.profile, a.program.target_features),
        format!("{} {:?}", b.program.profile, b.program.target_features),
    );
    differences
}

/// Two runs, figure by figure.
pub(super) fn compared(compared: &[Compared]) -> String {
    let widths = compared
        .iter()
        .map(|one| one.name.chars().count() + one.unit.len() + 2);
    let width = widths.max().unwrap_or(0).max(20);
    let mut text = format!(
        "{:<width$} {:>12} {:>12} {:>7}\n",
        "", "first", "second", "ratio"
    );
    for one in compared {
        let name = match one.unit {
            "" => one.name.clone(),
            unit => format!("{}, {unit}", one.name),
        };
        let value = |value: f64| match value {
            value if value < 1e4 => format!("{value:.2}"),
            value => thousands(value),
        };
        let verdict = one.verdict.map_or("", |verdict| verdict.word());
        let line = format!(
            "{name:<width$} {:>12} {:>12} {:>7.3} {verdict}",
            value(one.a),
            value(one.b),
            one.ratio
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
