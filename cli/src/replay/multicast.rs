//! `tickcast replay --multicast`: recordings back on the wire.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tickcast_replay::multicast::edge::{self, Sending, Turn};
use tickcast_replay::multicast::{Playback, PlaybackConfig};
use tickcast_replay::pacing::Speed;

use super::Arguments;
use crate::Failure;
use crate::progress;
use crate::serving::Signals;

/// Quantiles that are told, with their names in JSON.
const QUANTILES: [(f64, &str); 4] = [
    (0.5, "p50_us"),
    (0.9, "p90_us"),
    (0.99, "p99_us"),
    (0.999, "p99_9_us"),
];

/// How often to play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// So many laps.
    Count(u64),
    /// Until it is stopped.
    Forever,
}

impl FromStr for Times {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("forever", _) => Ok(Self::Forever),
            (_, Ok(count)) if count > 0 => Ok(Self::Count(count)),
            _ => Err("it is a number from 1 on, or forever".to_owned()),
        }
    }
}

/// A recorded group and where to send it instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapping {
    from: SocketAddr,
    to: SocketAddrV4,
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text
            .split_once('=')
            .ok_or("it is FROM=TO, such as 233.54.12.111:26477=239.1.1.1:7001")?;
        let from = from
            .parse()
            .map_err(|_| format!("{from} is no address and port"))?;
        let to: SocketAddrV4 = to
            .parse()
            .map_err(|_| format!("{to} is no IPv4 group and port"))?;
        if !to.ip().is_multicast() || to.port() == 0 {
            return Err(format!("{to} is no multicast group and port"));
        }
        Ok(Self { from, to })
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = PlaybackConfig {
        speed: arguments.speed.unwrap_or(Speed::REAL_TIME),
        idle_max_ns: arguments.idle_max_ns()?,
        groups: arguments
            .group_map
            .iter()
            .map(|mapping| (mapping.from, mapping.to))
            .collect(),
    };
    let mut playback = Playback::new(config, arguments.recogniser()?)
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let sending = Sending {
        files: arguments.files.clone(),
        interface: arguments.interface.unwrap_or(Ipv4Addr::LOCALHOST),
        times: match arguments.times.unwrap_or(Times::Count(1)) {
            Times::Count(count) => Some(count),
            Times::Forever => None,
        },
        spin: Duration::from_micros(arguments.spin_us),
    };
    let signals = Signals::new()?;
    let bar = progress::status();
    let started = Instant::now();
    let sent = edge::run(&sending, &mut playback, &mut |playback| {
        let totals = playback.totals();
        bar.set_message(format!(
            "lap {}, {} packets sent, {} not",
            playback.laps().lap() + 1,
            totals.packets,
            totals.not_sent
        ));
        bar.tick();
        if signals.came() { Turn::Stop } else { Turn::Go }
    });
    bar.finish_and_clear();
    let took = started.elapsed();
    // What went out is told even if the rest couldn't.
    if arguments.json {
        writeln!(io::stdout(), "{}", as_json(&playback, took))
            .map_err(|error| Failure::output(&error))?;
    } else {
        eprint!("{}", as_text(&playback, took));
    }
    sent.map_err(|error| Failure::Failed(error.to_string()))
}

fn rate(playback: &Playback, took: Duration) -> f64 {
    playback.totals().packets as f64 / took.as_secs_f64().max(1e-9)
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

fn as_json(playback: &Playback, took: Duration) -> Value {
    let (totals, errors) = (playback.totals(), playback.errors());
    let mut pacing = json!({
        "packets": errors.len(),
        "max_us": us(errors.max()),
        "late_over_1ms": totals.late,
    });
    for (quantile, name) in QUANTILES {
        pacing[name] = us(errors.value_at_quantile(quantile)).into();
    }
    json!({
        "records": totals.records,
        "packets": totals.packets,
        "payload_bytes": totals.bytes,
        "not_sent": totals.not_sent,
        "skipped": totals.skipped,
        "laps": playback.laps().lap() + 1,
        "sessions_unchanged": playback.laps().unnamed(),
        "seconds": took.as_secs_f64(),
        "packets_per_second": rate(playback, took).round(),
        "pacing_error": if errors.is_empty() { Value::Null } else { pacing },
    })
}

fn as_text(playback: &Playback, took: Duration) -> String {
    let (totals, errors) = (playback.totals(), playback.errors());
    let mut text = format!("{:>12} packets sent", totals.packets);
    text.push_str(&format!(
        ", {} bytes of payload, {} laps\n",
        totals.bytes,
        playback.laps().lap() + 1
    ));
    if totals.not_sent > 0 {
        text.push_str(&format!(
            "{:>12} packets that the system had no room for\n",
            totals.not_sent
        ));
    }
    for (reason, count) in &totals.skipped {
        text.push_str(&format!("{count:>12} records skipped: {reason}\n"));
    }
    if totals.skipped.contains_key("not_multicast") {
        text.push_str("             (--group-map gives them a group)\n");
    }
    if !errors.is_empty() {
        let of = |quantile| us(errors.value_at_quantile(quantile));
        text.push_str(&format!(
            "pacing error: p50 {:.1} us, p90 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, max {:.1} us; {} later than 1 ms\n",
            of(0.5),
            of(0.9),
            of(0.99),
            of(0.999),
            us(errors.max()),
            totals.late
        ));
    }
    text.push_str(&format!(
        "{:>12.3} s, {:.0} packets/s\n",
        took.as_secs_f64(),
        rate(playback, took)
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_mappings_are_read_or_refused_with_their_rule() {
        assert_eq!("3".parse(), Ok(Times::Count(3)));
        assert_eq!("forever".parse(), Ok(Times::Forever));
        assert!("0".parse::<Times>().unwrap_err().contains("forever"));
        let mapping: Mapping = "10.0.0.1:5=239.1.1.1:7001".parse().unwrap();
        assert_eq!(mapping.from, SocketAddr::from(([10, 0, 0, 1], 5)));
        for (wrong, said) in [
            ("239.1.1.1:7001", "FROM=TO"),
            ("x=239.1.1.1:1", "x is no address"),
            ("239.1.1.1:1=10.0.0.1:5", "10.0.0.1:5 is no multicast group"),
            ("239.1.1.1:1=[ff02::1]:5", "no IPv4 group"),
        ] {
            let why = wrong.parse::<Mapping>().unwrap_err();
            assert!(why.contains(said), "{why}");
        }
    }
}
