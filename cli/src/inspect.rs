//! `tickcast inspect`: what a recording contains.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use serde_json::{Value, json};
use tickcast_codecs::protocol::Protocol;
use tickcast_replay::capture::CaptureReader;
use tickcast_replay::inspect::{
    InspectError, Inspector, Options, Progress as Step, Statistics, Style,
};
use tickcast_replay::recognise::Recogniser;

use crate::Failure;
use crate::progress::Progress;

/// Decode a recording: a line a packet, fields by the specification's names.
///
/// Reads pcap, pcapng and Nasdaq BinaryFILE, plain or compressed by gzip or zstd, whatever the file is
/// called.  A file that is cut short is shown up to the cut, with exit code 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tickcast inspect day.pcap.gz | less
  tickcast inspect day.pcap.gz --json --symbol AAPL | jq '.messages[]'
  tickcast inspect day.pcap.gz --stats")]
pub(crate) struct Arguments {
    /// The recording.
    file: PathBuf,
    /// One JSON object a packet (with --stats: one object at the end).
    #[arg(long)]
    json: bool,
    /// Take every datagram for this protocol, instead of recognising it by its content.
    #[arg(long, value_name = "PROTOCOL", value_parser = crate::protocol)]
    protocol: Option<Protocol>,
    /// Only messages of this symbol (as the venue writes it).
    #[arg(long)]
    symbol: Option<String>,
    /// Show at most this many packets.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Count instead of showing: packets and messages by type, what was skipped and why.
    #[arg(long)]
    stats: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut capture =
        CaptureReader::open(&arguments.file).map_err(|error| Failure::Failed(error.to_string()))?;
    let style = match (arguments.stats, arguments.json) {
        (true, _) => Style::Silent,
        (false, true) => Style::Json,
        (false, false) => Style::Text,
    };
    let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut inspector = Inspector::new(
        out,
        Recogniser::new(arguments.protocol),
        Options {
            style,
            symbol: arguments.symbol.clone(),
            limit: arguments.limit,
        },
    );
    let mut progress = Progress::new(&arguments.file.display().to_string(), &capture);
    let ended = loop {
        if arguments.limit == Some(0) {
            break Ok(());
        }
        match inspector.step(&mut capture) {
            Ok(Some(Step::More)) => progress.step(&capture),
            Ok(Some(Step::Enough) | None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    drop(progress);
    inspector.flush().map_err(|error| Failure::output(&error))?;
    if arguments.stats {
        let statistics = inspector.statistics();
        let text = if arguments.json {
            format!("{}\n", as_json(statistics))
        } else {
            as_text(statistics, &capture)
        };
        io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| Failure::output(&error))?;
    }
    match ended {
        Ok(()) => Ok(()),
        // What was read is kept: it was shown above.
        Err(InspectError::Capture(error)) => Err(Failure::Failed(error.to_string())),
        Err(InspectError::Output(error)) => Err(Failure::output(&error)),
    }
}

fn as_json(statistics: &Statistics) -> Value {
    let mut messages: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for (&(protocol, name), &count) in &statistics.messages {
        messages.entry(protocol).or_default().insert(name, count);
    }
    json!({
        "packets": statistics.packets,
        "shown": statistics.shown,
        "payload_bytes": statistics.bytes,
        "protocols": statistics.protocols,
        "messages": messages,
        "unrecognised": statistics.unrecognised,
        "rejected": statistics.rejected,
        "skipped": statistics.skipped,
        "ts_first": statistics.time.map(|(first, _)| first.to_string()),
        "ts_last": statistics.time.map(|(_, last)| last.to_string()),
    })
}

fn as_text(statistics: &Statistics, capture: &CaptureReader) -> String {
    let mut text = format!("{}", capture.format());
    if let Some(compression) = capture.compression() {
        text.push_str(&format!(" in {compression}"));
    }
    text.push_str(&format!(
        ", {} packets, {} bytes of payload\n",
        statistics.packets, statistics.bytes
    ));
    for (protocol, count) in &statistics.protocols {
        text.push_str(&format!("{count:>12} packets of {protocol}\n"));
    }
    for ((protocol, name), count) in &statistics.messages {
        text.push_str(&format!("{count:>12} {protocol} {name}\n"));
    }
    if statistics.unrecognised > 0 {
        text.push_str(&format!(
            "{:>12} datagrams of no known protocol\n",
            statistics.unrecognised
        ));
    }
    for (reason, count) in &statistics.rejected {
        text.push_str(&format!("{count:>12} packets refused: {reason}\n"));
    }
    for (reason, count) in &statistics.skipped {
        text.push_str(&format!("{count:>12} frames skipped: {reason}\n"));
    }
    text
}
