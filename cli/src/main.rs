//! The `tickcast` program: exchange multicast to WebSocket, and the tools around it.
//!
//! One file a subcommand.  Data goes to stdout, words for people to stderr.  Exit codes: 0 done, 1 failed,
//! 2 wrong usage.
#![forbid(unsafe_code)]

mod bench;
mod check_config;
mod config;
mod demo;
mod inspect;
mod metrics;
mod progress;
mod record;
mod replay;
mod serve;
mod serving;
mod simulate;
mod subscribe;

use std::fmt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Market-data feed handler: exchange multicast in, order books inside, WebSocket out.
#[derive(Debug, Parser)]
#[command(
    name = "tickcast",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "Start with `tickcast demo`, then open the page that it names.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Serve(serve::Arguments),
    CheckConfig(check_config::Arguments),
    Replay(replay::Arguments),
    Record(record::Arguments),
    Subscribe(subscribe::Arguments),
    Inspect(inspect::Arguments),
    Simulate(Box<simulate::Arguments>),
    Bench(Box<bench::Arguments>),
}

/// Why a command failed, in words that name the file, key or address.
#[derive(Debug)]
enum Failure {
    /// It can't be done, or not wholly: exit code 1.
    Failed(String),
    /// It was asked wrongly: exit code 2.
    Usage(String),
    /// Whoever read the output has gone: nobody is left to be told.
    OutputClosed,
}

impl Failure {
    fn output(error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Failed(format!("output: {error}"))
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) | Self::Usage(why) => f.write_str(why),
            Self::OutputClosed => f.write_str("output: closed"),
        }
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::CheckConfig(arguments) => check_config::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Record(arguments) => record::run(&arguments),
        Command::Subscribe(arguments) => subscribe::run(arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    };
    match done {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Failed(why)) => {
            eprintln!("tickcast: {why}");
            ExitCode::FAILURE
        }
        Err(Failure::Usage(why)) => {
            eprintln!("tickcast: {why}");
            ExitCode::from(2)
        }
    }
}

/// Reads a protocol's name; what it says otherwise lists them all.
fn protocol(name: &str) -> Result<tickcast_codecs::protocol::Protocol, String> {
    use tickcast_codecs::protocol::Protocol;
    Protocol::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Protocol::ALL.into_iter().map(Protocol::name).collect();
        format!("there is {}", names.join(", "))
    })
}
