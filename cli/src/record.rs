//! `tickcast record`: multicast groups to pcapng files.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar};
use serde_json::{Value, json};
use tickcast_feed::receiver::wall_clock;
use tickcast_feed::socket::{JoinConfig, MulticastSocket};
use tickcast_replay::record::edge::{self, LineCounters, Turn, Until, View};
use tickcast_replay::record::{Files, Line, Notice, Recorder, RecorderConfig};

use crate::Failure;
use crate::config::{self, Config};
use crate::progress;
use crate::serving::Signals;

/// A file can't be kept below less: one packet and the file's head have to fit.
const ROTATE_BYTES_MIN: u64 = 128 << 10;

/// Record multicast groups to pcapng files with nanosecond times, and an index of gaps beside each.
///
/// While a file is written its name ends in .part; it gets its name when it is finished.  A disk that is
/// full is told and waited for: receiving goes on, and what doesn't fit 64 MiB of memory is dropped and
/// counted.  Ctrl-C and SIGTERM finish the file.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tickcast record --group 233.54.12.111:26477 --interface 10.1.1.5 --out day.pcapng
  tickcast record -c tickcast.toml --out /captures/ --rotate-every 1h --rotate-size 1GB --zstd
  tickcast inspect day.pcapng --stats
  jq 'select(.type==\"session\")' day.pcapng.index.jsonl")]
pub(crate) struct Arguments {
    /// A multicast group and port to join; may be given several times.
    #[arg(long, value_name = "GROUP:PORT", value_parser = group, required_unless_present = "config",
        requires = "interface")]
    group: Vec<SocketAddr>,
    /// The address of the local interface to join on (for IPv6 groups ::INDEX).
    #[arg(long, value_name = "IP", requires = "group")]
    interface: Option<IpAddr>,
    /// Record the channels of this configuration.
    #[arg(short, long, value_name = "FILE", conflicts_with = "group")]
    config: Option<PathBuf>,
    /// A file to write; or a folder (one that exists, or a name that ends in /) for files named by UTC time
    /// and number.
    #[arg(long, value_name = "FILE|FOLDER")]
    out: PathBuf,
    /// Begin another file before one becomes larger than this (KB, MB, GB, KiB, MiB, GiB).
    #[arg(long, value_name = "SIZE", value_parser = size)]
    rotate_size: Option<u64>,
    /// Begin another file at each multiple of this in UTC (s, m, h): 1h = on the hour.
    #[arg(long, value_name = "TIME", value_parser = time)]
    rotate_every: Option<u64>,
    /// Compress; each file is one zstd stream.  Level 1 to 19, 3 if none is given.
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, default_missing_value = "3",
        value_parser = clap::value_parser!(i32).range(1..=19))]
    zstd: Option<i32>,
    /// End after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// End after so many packets.
    #[arg(long, value_name = "N")]
    packets: Option<u64>,
    /// The summary as JSON on stdout.
    #[arg(long)]
    json: bool,
}

fn group(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(group) if group.ip().is_multicast() && group.port() != 0 => Ok(group),
        _ => Err("it is a multicast group and port, such as 239.1.1.1:7001".to_owned()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let units = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("KB", 1_000),
    ];
    amount(text, &units)
        .filter(|bytes| *bytes >= ROTATE_BYTES_MIN)
        .ok_or_else(|| "it is a size from 128KiB on, such as 1GB or 512MiB".to_owned())
}

fn time(text: &str) -> Result<u64, String> {
    let second = 1_000_000_000;
    amount(
        text,
        &[("s", second), ("m", 60 * second), ("h", 3_600 * second)],
    )
    .filter(|ns| *ns > 0)
    .ok_or_else(|| "it is a time, such as 1h, 15m or 30s".to_owned())
}

/// A whole number and a unit.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(at);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    count.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Lines to record, each with how it is joined.
fn lines(arguments: &Arguments) -> Result<Vec<(Line, JoinConfig)>, Failure> {
    if let Some(path) = &arguments.config {
        let config =
            Config::read(path, None).map_err(|mistakes| config::refused(path, &mistakes))?;
        let of_channel = |channel: config::Channel| {
            let (name, protocol) = (channel.name, channel.protocol);
            channel.lines.into_iter().map(move |line| {
                let join = JoinConfig {
                    sources: line.sources,
                    source_specific: line.source_specific,
                    // Each datagram has a stamp of its own, and each drop is counted.
                    join_datagrams: false,
                    ..JoinConfig::any_source(line.group, line.interface)
                };
                let line = Line {
                    name: format!("{name}/{}", line.name),
                    group: line.group,
                    protocol: Some(protocol),
                };
                (line, join)
            })
        };
        return Ok(config.channels.into_iter().flat_map(of_channel).collect());
    }
    let Some(interface) = arguments.interface else {
        return Err(Failure::Usage("--group needs --interface".to_owned()));
    };
    let of_group = |group: &SocketAddr| {
        let line = Line {
            name: format!("{group} on {interface}"),
            group: *group,
            protocol: None,
        };
        let join = JoinConfig {
            join_datagrams: false,
            ..JoinConfig::any_source(*group, interface)
        };
        (line, join)
    };
    Ok(arguments.group.iter().map(of_group).collect())
}

/// The folder, and which files in it.
fn files(arguments: &Arguments) -> Result<(PathBuf, Files), Failure> {
    let out = &arguments.out;
    let named = out.as_os_str().as_encoded_bytes().ends_with(b"/");
    if named || out.is_dir() {
        std::fs::create_dir_all(out)
            .map_err(|error| Failure::Failed(format!("{}: {error}", out.display())))?;
        let files = Files::Many {
            bytes_max: arguments.rotate_size,
            every_ns: arguments.rotate_every,
        };
        return Ok((out.clone(), files));
    }
    if arguments.rotate_size.is_some() || arguments.rotate_every.is_some() {
        return Err(Failure::Usage(format!(
            "--out {}: several files need a folder; end it with / to create one",
            out.display()
        )));
    }
    let name = out.file_name().and_then(|name| name.to_str());
    let Some(name) = name else {
        return Err(Failure::Usage(format!(
            "--out {}: that names no file",
            out.display()
        )));
    };
    let folder = out.parent().unwrap_or(Path::new("."));
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    Ok((folder.to_owned(), Files::One(name.to_owned())))
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (folder, files) = files(arguments)?;
    let mut sockets = Vec::new();
    let mut recorded = Vec::new();
    for (line, join) in lines(arguments)? {
        let socket = MulticastSocket::open(&join).map_err(|error| {
            Failure::Failed(format!(
                "{}: can't join {} on interface {}: {error}",
                line.name, line.group, join.interface
            ))
        })?;
        sockets.push(socket);
        recorded.push(line);
    }
    let granted = sockets
        .iter()
        .map(|socket| socket.granted().receive_buffer_bytes);
    eprintln!(
        "recording {} {} to {}, receive buffer {} KiB; Ctrl-C ends",
        recorded.len(),
        if recorded.len() == 1 { "line" } else { "lines" },
        arguments.out.display(),
        granted.min().unwrap_or(0) / 1024
    );
    let config = RecorderConfig {
        files,
        zstd: arguments.zstd,
    };
    let failed = |error: io::Error| Failure::Failed(error.to_string());
    let mut recorder = Recorder::new(config, recorded, wall_clock()).map_err(failed)?;
    let until = Until {
        packets: arguments.packets,
        duration: arguments.duration.map(Duration::from_secs),
    };
    let signals = Signals::new()?;
    let bar = progress::status();
    let started = Instant::now();
    let counted = edge::run(sockets, &mut recorder, &folder, until, &mut |view| {
        if let Some((notice, error)) = &view.notice {
            bar.suspend(|| eprintln!("tickcast: {}", words(*notice, *error, view.lines)));
        }
        show(&bar, view);
        if signals.came() { Turn::Stop } else { Turn::Go }
    });
    bar.finish_and_clear();
    let lines = counted.map_err(failed)?;
    let took = started.elapsed();
    if arguments.json {
        writeln!(io::stdout(), "{}", as_json(&recorder, &lines, took))
            .map_err(|error| Failure::output(&error))?;
    } else {
        eprint!("{}", as_text(&recorder, &lines, took));
    }
    match recorder.counters().given_up {
        0 => Ok(()),
        packets => Err(Failure::Failed(format!(
            "{packets} packets couldn't be written"
        ))),
    }
}

fn sum(lines: &[LineCounters], of: fn(&LineCounters) -> &AtomicU64) -> u64 {
    lines
        .iter()
        .map(|line| of(line).load(Ordering::Relaxed))
        .sum()
}

fn show(bar: &ProgressBar, view: &View<'_>) {
    if !io::stderr().is_terminal() {
        return;
    }
    let counters = view.recorder.counters();
    bar.set_message(format!(
        "{} packets, {} files, {}, {} dropped, {} lost by the kernel",
        counters.packets,
        counters.files,
        HumanBytes(counters.file_bytes),
        sum(view.lines, |line| &line.dropped),
        sum(view.lines, |line| &line.kernel_drops),
    ));
    bar.tick();
}

fn words(notice: Notice, error: Option<&io::Error>, lines: &[LineCounters]) -> String {
    let dropped = sum(lines, |line| &line.dropped);
    match notice {
        Notice::Failing { for_ns } => {
            let why = error.map(ToString::to_string).unwrap_or_default();
            format!(
                "can't write for {:.0} s: {why}; receiving goes on, {dropped} packets dropped so far",
                for_ns as f64 / 1e9
            )
        }
        Notice::Recovered { after_ns } => format!(
            "writing goes on after {:.1} s, {dropped} packets dropped so far",
            after_ns as f64 / 1e9
        ),
    }
}

fn as_json(recorder: &Recorder, lines: &[LineCounters], took: Duration) -> Value {
    let mut value = json!({ "seconds": took.as_secs_f64() });
    for (name, count, _) in recorder.counters().list() {
        value[name] = count.into();
    }
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    value["lines"] = recorder
        .lines()
        .iter()
        .zip(lines)
        .map(|(line, counters)| {
            json!({
                "name": line.name,
                "group": line.group.to_string(),
                "received": of(&counters.received),
                "kernel_drops": of(&counters.kernel_drops),
                "dropped": of(&counters.dropped),
            })
        })
        .collect();
    value
}

fn as_text(recorder: &Recorder, lines: &[LineCounters], took: Duration) -> String {
    let mut text = String::new();
    let always = ["packets", "written", "files", "kernel_drops", "dropped"];
    for (name, count, help) in recorder.counters().list() {
        if count > 0 || always.contains(&name) {
            text.push_str(&format!("{count:>12} {help}\n"));
        }
    }
    for (line, counters) in recorder.lines().iter().zip(lines) {
        text.push_str(&format!(
            "{:>12} packets of {}\n",
            counters.received.load(Ordering::Relaxed),
            line.name
        ));
    }
    text.push_str(&format!("{:>12.3} s\n", took.as_secs_f64()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_need_a_unit_and_a_sensible_amount() {
        assert_eq!(size("1GB"), Ok(1_000_000_000));
        assert_eq!(size("512MiB"), Ok(512 << 20));
        assert_eq!(time("1h"), Ok(3_600_000_000_000));
        assert_eq!(time("15m"), Ok(900_000_000_000));
        for wrong in ["1", "", "GB", "1TB", "1.5GB", "127KiB", "99999999999GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        for wrong in ["0s", "1", "1d", "-1s"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
