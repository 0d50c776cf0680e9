//! From multicast datagrams to books at saturation: what the receiving thread spends on a message, in rounds
//! that take the modes in turn.

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use tickcast_benches::udp::{Figures, Mode, Packets, Run, Sending, receive_to_book};
use tickcast_codecs::binaryfile::Messages;

/// Sends the messages of a BinaryFILE over multicast on the loopback interface and receives them: only walked
/// (plain `recvmmsg`), walked behind the product's sockets, and up to the books.
#[derive(Debug, Parser)]
struct Arguments {
    /// The BinaryFILE, TotalView-ITCH 5.0.
    file: PathBuf,
    /// How many messages of it; all by default.
    #[arg(long)]
    messages: Option<usize>,
    /// Bytes of a datagram.
    #[arg(long, default_value_t = 1_000)]
    datagram: usize,
    /// Fill every datagram up to that size, and send those of one size as one (`UDP_SEGMENT`).
    #[arg(long)]
    joined: bool,
    /// Don't let the kernel join datagrams (`UDP_GRO`), however they are sent.
    #[arg(long)]
    apart: bool,
    /// How many rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Lines with the same packets.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    lines: u8,
    /// One mode only: walk, receive or book.
    #[arg(long)]
    only: Option<String>,
    /// The sender's core.
    #[arg(long, default_value_t = 0)]
    sender_core: usize,
    /// The receiver's core.
    #[arg(long, default_value_t = 1)]
    receiver_core: usize,
}

const MODES: [(&str, Mode); 3] = [
    ("walk", Mode::Walk),
    ("receive", Mode::Receive),
    ("book", Mode::Book),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let packets = packets(&arguments)?;
    println!(
        "{} messages in {} datagrams of at most {} bytes, {} line(s)",
        packets.messages(),
        packets.len(),
        arguments.datagram,
        arguments.lines,
    );
    println!(
        "{:8} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8} {:>10}",
        "mode", "CPU ns/msg", "ns/dgram", "wall/msg", "dgrams", "a call", "lost", "best"
    );
    let mut least = [f64::INFINITY; MODES.len()];
    for _ in 0..arguments.rounds {
        for ((name, mode), least) in MODES.iter().zip(&mut least) {
            if arguments.only.as_ref().is_some_and(|only| only != name) {
                continue;
            }
            let figures = receive_to_book(&Run {
                packets: &packets,
                mode: *mode,
                sending: if arguments.joined {
                    Sending::Joined
                } else {
                    Sending::Each
                },
                join_datagrams: !arguments.apart,
                lines: arguments.lines,
                sender_core: Some(arguments.sender_core),
                receiver_core: Some(arguments.receiver_core),
            })?;
            print(name, &figures);
            *least = least.min(figures.cpu_ns_a_message());
        }
    }
    if let ([walk, receive, book], None) = (least, arguments.only) {
        println!(
            "least: walk {walk:.1}, receive {receive:.1}, book {book:.1} ns of CPU a message; \
             receive ÷ walk {:.2}, book ÷ walk {:.2}",
            receive / walk,
            book / walk,
        );
    }
    Ok(())
}

fn packets(arguments: &Arguments) -> Result<Packets, Box<dyn Error>> {
    let bytes = std::fs::read(&arguments.file)?;
    let messages = Messages::new(&bytes)
        .map_while(Result::ok)
        .take(arguments.messages.unwrap_or(usize::MAX));
    Ok(if arguments.joined {
        Packets::of_one_size(messages, arguments.datagram)?
    } else {
        Packets::new(messages, arguments.datagram)?
    })
}

fn print(name: &str, figures: &Figures) {
    println!(
        "{name:8} {:10.1} {:10.0} {:10.1} {:10} {:8.1} {:8} {:10}",
        figures.cpu_ns_a_message(),
        figures.cpu_ns_a_datagram(),
        figures.wall_ns_a_message(),
        figures.datagrams,
        figures.datagrams_a_receive(),
        figures.messages_lost + figures.kernel_drops,
        figures.best_changes,
    );
}
