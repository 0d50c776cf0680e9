//! `tickcast bench`: measures this machine.

mod text;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use tickcast_benches::compare::{self, Compared};
use tickcast_benches::file::{self, FileConfig, FileResult};
use tickcast_benches::generate::Generate;
use tickcast_benches::limits::{
    FILE_MEMORY_PERCENT_MAX, MESSAGES_MAX, ROUNDS_MAX, ROUNDS_MIN, WIRE_RATE_MAX, WIRE_RATES_MAX,
    WIRE_SECONDS_MAX,
};
use tickcast_benches::machine::{self, Machine};
use tickcast_benches::results::{FORMAT, Results};
use tickcast_benches::threads::Cores;
use tickcast_benches::wire::{Rate, To, Wire, WireConfig, WireRun};
use tickcast_benches::{Failed, Step, plot};

use crate::Failure;
use crate::progress;

/// Measure this machine: what a message costs, and how long it takes from the wire to a book and to a subscriber.
///
/// Names the machine and its settings, measures, and checks every book on the way: what isn't right has no time.
/// Without a command it does both parts, the second one shortly.  docs/benchmarks.md says how to read the figures.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  tickcast bench --out today/
  tickcast bench file day.itch --rounds 15
  tickcast bench wire --rates 10000,100000,max --seconds 5 --out wire/
  tickcast bench compare before/results.json after/results.json")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    market: MarketOptions,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    File(FileArguments),
    Wire(WireArguments),
    Compare(CompareArguments),
}

/// Measure what a message costs from a file in memory: walked, decoded, into books, with changes told, by two shards.
///
/// All ways take turns; minimum, median and spread are of the rounds.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tickcast bench file
  tickcast bench file day.itch --rounds 15 --watched 500")]
struct FileArguments {
    /// A day of Nasdaq's TotalView-ITCH 5.0 as a BinaryFILE, from its beginning, not compressed.  [default: a
    /// generated market]
    file: Option<PathBuf>,
    /// Rounds of all ways.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = rounds)]
    rounds: usize,
    /// Instruments whose changes go to a ring: the busiest.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    watched: u16,
    #[command(flatten)]
    market: MarketOptions,
    #[command(flatten)]
    output: OutputOptions,
}

/// Measure latency by stage: multicast on loopback to books, and over WebSocket to a subscriber, in an open loop.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tickcast bench wire
  tickcast bench wire --rates 50000,500000 --to book --seconds 10")]
struct WireArguments {
    /// Messages a second, one run each; max is the highest at which nothing is lost.
    #[arg(long, value_name = "N,...|max", value_delimiter = ',', default_value = "10000,100000,1000000,max", value_parser = rate)]
    rates: Vec<Rate>,
    /// How long at each rate.  A run is shorter where it would take more messages than --messages.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    seconds: f64,
    /// How far messages are followed.  [default: both, one after the other]
    #[arg(long, value_enum)]
    to: Option<Destination>,
    /// Messages that are in the books before anything is measured.  [default: until every instrument has its first
    /// orders]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MESSAGES_MAX))]
    warm_up: Option<u64>,
    /// Instruments that the subscriber has: the eleventh busiest and those that follow.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=500))]
    subscribed: u16,
    #[command(flatten)]
    market: MarketOptions,
    #[command(flatten)]
    output: OutputOptions,
}

/// Compare two results, figure by figure: second ÷ first, and a verdict where it is beyond the spread.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tickcast bench compare before/results.json after/results.json")]
struct CompareArguments {
    /// The first results.
    a: PathBuf,
    /// The second results.
    b: PathBuf,
    /// As JSON on stdout.
    #[arg(long)]
    json: bool,
}

/// What is generated, and where threads run.
#[derive(Debug, Clone, clap::Args)]
struct MarketOptions {
    /// Messages of the generated market.
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1_000..=MESSAGES_MAX))]
    messages: u64,
    /// Its instruments.
    #[arg(long, value_name = "N", default_value_t = 8_000, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    instruments: u16,
    /// Decides it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Cores to pin threads to: receiver, hub, subscriber, sender; or work, reader of the ring.  [default: all]
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    cores: Vec<usize>,
}

/// Where the figures go.
#[derive(Debug, Clone, clap::Args)]
struct OutputOptions {
    /// The figures as JSON on stdout.
    #[arg(long)]
    json: bool,
    /// Write results.json, a .hgrm file for each latency, and pictures (SVG) into this folder; it is made if it
    /// isn't there.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// How far messages are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Destination {
    Book,
    Subscriber,
}

fn rounds(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(rounds) if (ROUNDS_MIN..=ROUNDS_MAX).contains(&rounds) => Ok(rounds),
        _ => Err(format!("it is a number from {ROUNDS_MIN} to {ROUNDS_MAX}")),
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    match (text, text.parse()) {
        ("max", _) => Ok(Rate::Max),
        (_, Ok(rate @ 1..=WIRE_RATE_MAX)) => Ok(Rate::PerSecond(rate)),
        _ => Err(format!(
            "it is a number of messages a second from 1 to {WIRE_RATE_MAX}, or max"
        )),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=WIRE_SECONDS_MAX).contains(&seconds) => Ok(seconds),
        _ => Err(format!(
            "it is a number of seconds from 0.01 to {WIRE_SECONDS_MAX}"
        )),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        None => both(arguments),
        Some(Command::File(file)) => {
            let mut bench = Bench::begin(&file.market, &file.output)?;
            bench.results.file = Some(bench.file(file)?);
            bench.end()
        }
        Some(Command::Wire(wire)) => {
            let mut bench = Bench::begin(&wire.market, &wire.output)?;
            bench.wire(wire)?;
            bench.end()
        }
        Some(Command::Compare(arguments)) => compare(arguments),
    }
}

/// Seconds at each rate of the short part.
const SHORT_SECONDS: f64 = 1.0;

fn both(arguments: &Arguments) -> Result<(), Failure> {
    let (market, output) = (arguments.market.clone(), arguments.output.clone());
    let mut bench = Bench::begin(&market, &arguments.output)?;
    bench.results.file = Some(bench.file(&FileArguments {
        file: None,
        rounds: ROUNDS_MIN,
        watched: 100,
        market: market.clone(),
        output: output.clone(),
    })?);
    bench.wire(&WireArguments {
        rates: vec![
            Rate::PerSecond(10_000),
            Rate::PerSecond(100_000),
            Rate::PerSecond(1_000_000),
        ],
        seconds: SHORT_SECONDS,
        to: None,
        warm_up: None,
        subscribed: 10,
        market,
        output,
    })?;
    bench.end()
}

/// A measurement under way.
struct Bench<'a> {
    output: &'a OutputOptions,
    cores: Cores,
    results: Results,
    bar: ProgressBar,
}

impl<'a> Bench<'a> {
    /// Says what the figures are of, before they are taken.
    fn begin(market: &MarketOptions, output: &'a OutputOptions) -> Result<Self, Failure> {
        let cores = Cores::choose(&market.cores).map_err(|core| {
            Failure::Usage(format!(
                "--cores: there is no core {core} that this program may use; it may use {:?}",
                tickcast_benches::threads::usable_cores()
            ))
        })?;
        if let Some(folder) = &output.out {
            fs::create_dir_all(folder).map_err(|error| cannot(folder, &error))?;
        }
        let machine = Machine::this();
        eprint!("{}", text::machine(&machine));
        Ok(Self {
            output,
            cores,
            results: Results {
                format: FORMAT,
                machine,
                ..Results::default()
            },
            bar: progress::steps(0),
        })
    }

    fn show(&self, step: Step<'_>) {
        self.bar.set_length(step.of);
        self.bar.set_position(step.done);
        self.bar.set_message(step.what.to_owned());
    }

    fn file(&self, arguments: &FileArguments) -> Result<FileResult, Failure> {
        let show = |step: Step<'_>| self.show(step);
        let (source, bytes) = match &arguments.file {
            Some(path) => (path.display().to_string(), read(path)?),
            None => {
                let generate = arguments.market.generate();
                (generate.words(), generate.run(&show).file)
            }
        };
        let config = FileConfig {
            rounds: arguments.rounds,
            watched: usize::from(arguments.watched),
            cores: self.cores.clone(),
        };
        let result = file::run(&source, &bytes, &config, &show)
            .map_err(|failed| Failure::Failed(format!("{source}: {failed}")))?;
        self.tell(&text::file(&result));
        Ok(result)
    }

    fn wire(&mut self, arguments: &WireArguments) -> Result<(), Failure> {
        let config = arguments.config(self.cores.clone())?;
        let failed = |failed: Failed| Failure::Failed(failed.to_string());
        let wire = Wire::prepare(&config, &|step| self.show(step)).map_err(failed)?;
        let destinations = match arguments.to {
            None => vec![To::Book, To::Subscriber],
            Some(Destination::Book) => vec![To::Book],
            Some(Destination::Subscriber) => vec![To::Subscriber],
        };
        let runs = (destinations.len() * config.rates.len()) as u64;
        for to in destinations {
            for rate in &config.rates {
                let what = text::run_words(to, *rate);
                self.show(Step {
                    what: &what,
                    done: self.results.wire.len() as u64,
                    of: runs,
                });
                let run: WireRun = wire
                    .run(to, *rate, &self.results.wire, &|step| {
                        self.bar.set_message(format!("{what}, {}", step.what))
                    })
                    .map_err(|failed| Failure::Failed(format!("{what}: {failed}")))?;
                self.tell(&text::wire(&run));
                self.results.wire.push(run);
            }
        }
        Ok(())
    }

    /// A part of the table, as soon as it is there.
    fn tell(&self, text: &str) {
        self.bar.suspend(|| eprint!("{text}"));
    }

    fn end(self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        if let Some(folder) = &self.output.out {
            self.write(folder)?;
        }
        if self.output.json {
            print(&self.results)?;
        }
        Ok(())
    }

    fn write(&self, folder: &Path) -> Result<(), Failure> {
        let written = self.results.write(folder);
        let mut written = written.map_err(|(path, error)| cannot(&path, &error))?;
        let failed = |failed: Failed| Failure::Failed(failed.to_string());
        let cost = plot::cost(&self.results).map_err(failed)?;
        let latency = plot::latency(&self.results).map_err(failed)?;
        for (name, picture) in [("cost.svg", cost), ("latency.svg", latency)] {
            if let Some(svg) = picture {
                let path = folder.join(name);
                fs::write(&path, svg).map_err(|error| cannot(&path, &error))?;
                written.push(path);
            }
        }
        eprintln!("{} files in {}", written.len(), folder.display());
        Ok(())
    }
}

impl MarketOptions {
    fn generate(&self) -> Generate {
        Generate {
            seed: self.seed,
            messages: self.messages,
            instruments: self.instruments,
        }
    }
}

impl WireArguments {
    fn config(&self, cores: Cores) -> Result<WireConfig, Failure> {
        if self.rates.len() > WIRE_RATES_MAX {
            return Err(Failure::Usage(format!(
                "--rates: {} are too many, {WIRE_RATES_MAX} at most",
                self.rates.len()
            )));
        }
        Ok(WireConfig {
            rates: self.rates.clone(),
            seconds: self.seconds,
            generate: self.market.generate(),
            warm_up: self.warm_up,
            subscribed: self.subscribed.min(self.market.instruments),
            cores,
        })
    }
}

/// A whole file, if there is room for it and for its books.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let size = fs::metadata(path)
        .map_err(|error| cannot(path, &error))?
        .len();
    if let Some(available) = machine::available_bytes()
        && size > available / 100 * FILE_MEMORY_PERCENT_MAX
    {
        return Err(Failure::Failed(format!(
            "{}: {} MiB are too many: the file and its books have to fit the {} MiB of memory that are free",
            path.display(),
            size >> 20,
            available >> 20
        )));
    }
    let bytes = fs::read(path).map_err(|error| cannot(path, &error))?;
    match bytes.as_slice() {
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(Failure::Failed(format!(
            "{}: it is compressed; decompress it first, that isn't measured here",
            path.display()
        ))),
        [0xd4, 0xc3, 0xb2, 0xa1, ..] | [0x0a, 0x0d, 0x0d, 0x0a, ..] => {
            Err(Failure::Failed(format!(
                "{}: it is a capture of packets; a BinaryFILE is needed",
                path.display()
            )))
        }
        _ => Ok(bytes),
    }
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}

fn print(value: &impl serde::Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(value)
        .map_err(|error| Failure::Failed(format!("output: {error}")))?;
    writeln!(io::stdout(), "{json}").map_err(|error| Failure::output(&error))
}

fn compare(arguments: &CompareArguments) -> Result<(), Failure> {
    let [a, b] = [&arguments.a, &arguments.b].map(|path| load(path));
    let (a, b) = (a?, b?);
    let compared: Vec<Compared> = compare::compare(&a, &b);
    if compared.is_empty() {
        return Err(Failure::Failed(format!(
            "{} and {} have no figure in common",
            arguments.a.display(),
            arguments.b.display()
        )));
    }
    if arguments.json {
        return print(&compared);
    }
    for warning in text::differences(&a.machine, &b.machine) {
        eprintln!("{warning}");
    }
    write!(io::stdout(), "{}", text::compared(&compared)).map_err(|error| Failure::output(&error))
}

fn load(path: &Path) -> Result<Results, Failure> {
    let bytes = fs::read(path).map_err(|error| cannot(path, &error))?;
    let results: Results = serde_json::from_slice(&bytes).map_err(|error| {
        Failure::Failed(format!(
            "{}: these are no results of tickcast bench: {error}",
            path.display()
        ))
    })?;
    if results.format != FORMAT {
        return Err(Failure::Failed(format!(
            "{}: format {} is of another version, this one reads {FORMAT}",
            path.display(),
            results.format
        )));
    }
    Ok(results)
}
