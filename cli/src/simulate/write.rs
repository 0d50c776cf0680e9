//! `tickcast simulate --write`: a market as a file, to measure with and to replay.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tickcast_codecs::SessionId;
use tickcast_replay::capture::Format;
use tickcast_replay::exchange::{Day, MarketWriter, PublisherConfig, WriterConfig, Written};

use super::{Arguments, Books, SECOND_NS, hash};
use crate::Failure;
use crate::progress;

/// What is written.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Write, without a network")]
#[group(skip)]
pub(super) struct Options {
    /// Publish nothing; write the market to this file: .pcap and .pcapng are MoldUDP64 packets to line A's group, any
    /// other name is a BinaryFILE.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "check", "line_b", "request_server", "snapshot_server", "peer", "loss", "burst_every", "duplicate",
        "reorder", "corrupt", "lag_b", "dead_a", "servers", "username", "password",
    ])]
    write: Option<PathBuf>,
    /// End after so many messages; definitions and first orders count (1.6 million of the natural market).
    #[arg(long, value_name = "N", requires = "write", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// Payload of a packet at most.
    #[arg(long, value_name = "BYTES", default_value_t = 1_000, requires = "write", value_parser = clap::value_parser!(u16).range(100..=1_472))]
    packet_bytes: u16,
    /// How long a message may wait for others to share its packet.
    #[arg(long, value_name = "US", default_value_t = 200, requires = "write", value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    packet_wait: u64,
}

impl Options {
    pub(super) fn is_asked(&self) -> bool {
        self.write.is_some()
    }
}

/// Of what the file is, by the ending of its name.
fn format(path: &Path) -> Result<Format, Failure> {
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
    match ending.as_deref().and_then(|ending| ending.to_str()) {
        Some("pcap") => Ok(Format::Pcap),
        Some("pcapng") => Ok(Format::PcapNg),
        Some("gz" | "zst") => Err(Failure::Usage(format!(
            "--write {}: files are written uncompressed; name it without the ending, and compress it afterwards",
            path.display()
        ))),
        _ => Ok(Format::BinaryFile),
    }
}

/// Larger than what the kernel needs to be fast, small beside a cache.
const BUFFER_BYTES: usize = 256 << 10;

/// The bar is told this often (in messages).
const EVERY: u64 = 16_384;

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Some(path) = arguments.write.write.as_deref() else {
        return Ok(());
    };
    let config = config(arguments, path)?;
    let books = arguments
        .books_out
        .as_deref()
        .map(Books::create)
        .transpose()?;
    let started = Instant::now();
    let written = write(path, &config)
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    let took = started.elapsed();
    if let Some(books) = books {
        books.write(&written.market)?;
    }
    let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
    let summary = Summary {
        path,
        config: &config,
        written: &written,
        bytes,
        took,
    };
    if arguments.json {
        writeln!(io::stdout(), "{}", summary.as_json()).map_err(|error| Failure::output(&error))
    } else {
        eprint!("{}", summary.as_text());
        Ok(())
    }
}

fn config(arguments: &Arguments, path: &Path) -> Result<WriterConfig, Failure> {
    let options = &arguments.write;
    let endless = arguments.day == Day::Continuous && arguments.duration.is_none();
    if endless && options.messages.is_none() {
        return Err(Failure::Usage(
            "--write: this market never ends; say --messages, --duration or --day".to_owned(),
        ));
    }
    let group = arguments.line_a;
    Ok(WriterConfig {
        market: arguments.written(),
        format: format(path)?,
        messages_max: options.messages.unwrap_or(u64::MAX),
        duration_ns_max: arguments
            .duration
            .map_or(u64::MAX, |seconds| seconds.saturating_mul(SECOND_NS)),
        publisher: PublisherConfig {
            session: SessionId::from_padded(b"SIMULATED"),
            packet_bytes_max: options.packet_bytes.into(),
            flush_ns: options.packet_wait * 1_000,
            ..PublisherConfig::default()
        },
        source: SocketAddrV4::new(arguments.interface, group.port()),
        group,
    })
}

fn write(path: &Path, config: &WriterConfig) -> io::Result<Written> {
    let file = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
    let mut writer = MarketWriter::new(config, file)?;
    let bar = match config.messages_max {
        u64::MAX => progress::status(),
        messages => progress::steps(messages),
    };
    bar.set_message(format!("messages to {}", path.display()));
    while writer.step()? {
        if writer.messages().is_multiple_of(EVERY) {
            bar.set_position(writer.messages());
        }
    }
    bar.finish_and_clear();
    writer.finish()
}

struct Summary<'a> {
    path: &'a Path,
    config: &'a WriterConfig,
    written: &'a Written,
    bytes: u64,
    took: Duration,
}

/// What changes books, and trades, by the letters of their types.
const KINDS: [(&str, &str, &[u8]); 6] = [
    ("adds", "added", b"AF"),
    ("deletes", "deleted", b"D"),
    ("replaces", "replaced", b"U"),
    ("executions", "executed", b"EC"),
    ("cancels", "reduced", b"X"),
    (
        "trades",
        "trades against orders that aren't displayed",
        b"P",
    ),
];

impl Summary<'_> {
    /// Messages of these types: all, and those from the opening on.
    fn counts(&self, types: &[u8]) -> (u64, u64) {
        let of = |counts: &[u64; 256]| -> u64 {
            let counts = types.iter().filter_map(|of| counts.get(usize::from(*of)));
            counts.sum()
        };
        let (all, opening) = (of(&self.written.by_type), of(&self.written.opening_by_type));
        (all, all - opening)
    }

    fn opening(&self) -> u64 {
        self.written.opening_by_type.iter().sum()
    }

    fn as_json(&self) -> Value {
        let Self {
            config, written, ..
        } = self;
        let kinds: serde_json::Map<String, Value> = KINDS
            .iter()
            .map(|(name, _, types)| {
                let (all, trading) = self.counts(types);
                let counts = json!({ "messages": all, "after_opening": trading });
                ((*name).to_owned(), counts)
            })
            .collect();
        let by_type: serde_json::Map<String, Value> = (0_u8..=255)
            .zip(written.by_type)
            .filter(|(_, count)| *count > 0)
            .map(|(letter, count)| (char::from(letter).to_string(), count.into()))
            .collect();
        json!({
            "file": self.path.display().to_string(),
            "format": config.format.to_string(),
            "seed": config.market.seed,
            "instruments": written.market.instruments(),
            "messages": written.messages,
            "opening_messages": self.opening(),
            "kinds": kinds,
            "by_type": by_type,
            "bytes": self.bytes,
            "packets": written.packets,
            "orders_max": written.orders_max,
            "levels_max": written.levels_max,
            "orders": written.orders,
            "levels": written.levels,
            "books_hash": hash(&written.market),
            "market_seconds": seconds(written.duration_ns),
            "seconds": self.took.as_secs_f64(),
        })
    }

    fn as_text(&self) -> String {
        let Self {
            config, written, ..
        } = self;
        let opening = self.opening();
        let trading = written.messages - opening;
        let mut text = format!(
            "{}: {}, {} bytes\n",
            self.path.display(),
            config.format,
            self.bytes
        );
        text.push_str(&format!(
            "{:>12} messages of {} instruments, {opening} before the opening\n",
            written.messages,
            written.market.instruments()
        ));
        let share = |count: u64, of: u64| match of {
            0 => 0.0,
            of => count as f64 * 100.0 / of as f64,
        };
        for (_, words, types) in KINDS {
            let (all, after) = self.counts(types);
            text.push_str(&format!(
                "{all:>12} {words}: {:.1} %, after the opening {:.1} %\n",
                share(all, written.messages),
                share(after, trading)
            ));
        }
        if written.packets > 0 {
            text.push_str(&format!(
                "{:>12} packets, {:.1} messages each\n",
                written.packets,
                written.messages as f64 / written.packets as f64
            ));
        }
        text.push_str(&format!(
            "{:>12} orders at {} prices at the height\n",
            written.orders_max, written.levels_max
        ));
        text.push_str(&format!(
            "{:>12} orders at {} prices at the end\n",
            written.orders, written.levels
        ));
        text.push_str(&format!("books {}\n", hash(&written.market)));
        text.push_str(&format!(
            "{:>12.3} s of the market in {:.3} s\n",
            seconds(written.duration_ns),
            self.took.as_secs_f64()
        ));
        text
    }
}

fn seconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_the_format_and_compression_is_refused() {
        for (name, expected) in [
            ("a.pcap", Format::Pcap),
            ("a.PCAP", Format::Pcap),
            ("a.b.pcapng", Format::PcapNg),
            ("a.itch", Format::BinaryFile),
            ("a", Format::BinaryFile),
            ("pcap", Format::BinaryFile),
        ] {
            let of = format(Path::new(name));
            assert!(matches!(of, Ok(format) if format == expected), "{name}");
        }
        for name in ["a.pcap.gz", "a.itch.zst"] {
            let refused = format(Path::new(name));
            assert!(matches!(refused, Err(Failure::Usage(_))), "{name}");
        }
    }
}
