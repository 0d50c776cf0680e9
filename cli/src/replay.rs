//! `tickcast replay`: recordings through the whole pipeline.

mod multicast;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tickcast_book::link::{self, Publisher, WhenFull};
use tickcast_book::{NoUpdates, UpdateSink};
use tickcast_codecs::SessionId;
use tickcast_codecs::protocol::Protocol;
use tickcast_feed::limits::RING_SLOTS;
use tickcast_replay::books_csv::{BooksCsv, Rows};
use tickcast_replay::capture::{CaptureReader, Item};
use tickcast_replay::frame;
use tickcast_replay::pacing::{Pacer, Speed};
use tickcast_replay::player::{Player, Summary};
use tickcast_replay::recognise::Recogniser;

use crate::Failure;
use crate::config::{self, Config};
use crate::progress::Progress;
use crate::serving::{self, Serving, Signals};

/// With --serve, the channels have to be known before the first subscriber: so many records of each file
/// are looked at first.
const PRESCAN_RECORDS: u64 = 200_000;

/// While waiting for the next record, subscribers' requests are looked at this often.
const REQUESTS_EVERY: Duration = Duration::from_millis(1);

/// Replay recordings: through the pipeline to books, to a file, to subscribers; or back on the wire.
///
/// Ends with a summary: messages by type, gaps, unknown orders, crossed books, messages a second; on the
/// wire, how precisely it kept the pace.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tickcast replay day.pcap.gz
  tickcast replay day.pcap.gz --books-out books.csv --depth 5
  tickcast replay day.pcap.gz --serve --speed 10
  tickcast replay day.pcap.gz --multicast --times forever
  tickcast replay day.pcap.gz --multicast --group-map 233.54.12.111:26477=239.1.1.1:7001")]
pub(crate) struct Arguments {
    /// The recordings, played one after the other.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How fast: 1 is as recorded, 10 ten times as fast, max without waiting.  [default: max, with
    /// --serve or --multicast 1]
    #[arg(long, value_name = "1|N|max")]
    speed: Option<Speed>,
    /// Cut silences of the recording to this many seconds.
    #[arg(long, value_name = "SECONDS")]
    idle_max: Option<f64>,
    /// Serve subscribers and the page; go on serving after the end.
    #[arg(long)]
    serve: bool,
    /// Where to listen with --serve.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Write a row for each message that changes a book (CSV; - is stdout).
    #[arg(long, value_name = "FILE")]
    books_out: Option<PathBuf>,
    /// Levels a side in each row.
    #[arg(long, value_name = "N", default_value_t = 10, requires = "books_out",
        value_parser = clap::value_parser!(u16).range(0..=10_000))]
    depth: u16,
    /// Take every datagram for this protocol, instead of recognising it by its content.
    #[arg(long, value_name = "PROTOCOL", value_parser = crate::protocol)]
    protocol: Option<Protocol>,
    /// Take the protocols of groups and ports from this configuration.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Send each datagram to its multicast group again, at the recorded pace.
    #[arg(long, conflicts_with_all = ["serve", "books_out"])]
    multicast: bool,
    /// The address of the local interface to send on with --multicast.  [default: 127.0.0.1, which nothing
    /// leaves]
    #[arg(long, value_name = "IP", requires = "multicast")]
    interface: Option<Ipv4Addr>,
    /// Send the datagrams of one recorded group to another; given twice for one FROM, to both.
    #[arg(long, value_name = "FROM=TO", requires = "multicast")]
    group_map: Vec<multicast::Mapping>,
    /// Play so many times, or forever.  Later laps have sessions of their own.
    #[arg(long, value_name = "N|forever", requires = "multicast")]
    times: Option<multicast::Times>,
    /// End the sleep so many microseconds before a packet is due, and spin from there.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 100, requires = "multicast",
        value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    spin_us: u64,
    /// The summary as JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn recogniser(&self) -> Result<Recogniser, Failure> {
        let mut recogniser = Recogniser::new(self.protocol);
        if let Some(path) = &self.config {
            let config =
                Config::read(path, None).map_err(|mistakes| config::refused(path, &mistakes))?;
            for channel in config.channels {
                for line in channel.lines {
                    recogniser.bind(line.group, channel.protocol);
                }
            }
        }
        Ok(recogniser)
    }

    fn pacer(&self) -> Result<Pacer, Failure> {
        let by_default = if self.serve {
            Speed::REAL_TIME
        } else {
            Speed::Max
        };
        let pacer = Pacer::new(self.speed.unwrap_or(by_default));
        Ok(match self.idle_max_ns()? {
            None => pacer,
            Some(idle) => pacer.with_idle_max(idle),
        })
    }

    fn idle_max_ns(&self) -> Result<Option<u64>, Failure> {
        let Some(seconds) = self.idle_max else {
            return Ok(None);
        };
        let idle = Duration::try_from_secs_f64(seconds).map_err(|_| {
            Failure::Usage(format!(
                "--idle-max {seconds}: it must be a number of seconds from 0 on"
            ))
        })?;
        Ok(Some(nanos(idle)))
    }

    fn rows(&self) -> Result<Rows, Failure> {
        let Some(path) = &self.books_out else {
            return Ok(Rows::default());
        };
        let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", path.display()));
        let out: Box<dyn Write> = if path == Path::new("-") {
            Box::new(BufWriter::with_capacity(1 << 16, io::stdout()))
        } else {
            let file = File::create(path).map_err(failed)?;
            Box::new(BufWriter::with_capacity(1 << 16, file))
        };
        let csv = BooksCsv::new(out, usize::from(self.depth)).map_err(failed)?;
        Ok(Rows(Some(Rc::new(RefCell::new(csv)))))
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.json && arguments.books_out.as_deref() == Some(Path::new("-")) {
        return Err(Failure::Usage(
            "--json and --books-out - both want stdout".to_owned(),
        ));
    }
    check_inputs(arguments)?;
    if arguments.multicast {
        return multicast::run(arguments);
    }
    if arguments.serve {
        return serve(arguments);
    }
    let rows = arguments.rows()?;
    let mut player = Player::new(
        arguments.recogniser()?,
        rows.clone(),
        Box::new(|_| Some(NoUpdates)),
    );
    let played = play(arguments, &mut player, &rows, &mut |_| Turn::Go);
    finish(arguments, &player.summary(), &rows, &played)?;
    played.result
}

/// Every recording has to be there and of a known kind before anything is written or served, and none of
/// them may be the file that the rows go to.
fn check_inputs(arguments: &Arguments) -> Result<(), Failure> {
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    for file in &arguments.files {
        drop(open(file)?);
        if let Some(out) = &arguments.books_out
            && same(file, out)
        {
            return Err(Failure::Usage(format!(
                "--books-out {}: that is a recording to be read",
                out.display()
            )));
        }
    }
    Ok(())
}

/// What a playing came to.
struct Played {
    took: Duration,
    result: Result<(), Failure>,
}

/// What whoever looks on wants.
enum Turn {
    Go,
    Stop,
}

/// Plays all files.  `idle` is called at least each millisecond while nothing is due.
fn play<U: UpdateSink>(
    arguments: &Arguments,
    player: &mut Player<U>,
    rows: &Rows,
    look: &mut dyn FnMut(&mut Player<U>) -> Turn,
) -> Played {
    let started = Instant::now();
    let mut result = Ok(());
    for file in &arguments.files {
        match play_file(arguments, file, player, rows, look, started) {
            Ok(Turn::Go) => {}
            Ok(Turn::Stop) => break,
            Err(failure) => {
                result = Err(failure);
                break;
            }
        }
    }
    player.handle_end();
    Played {
        took: started.elapsed(),
        result,
    }
}

fn play_file<U: UpdateSink>(
    arguments: &Arguments,
    file: &Path,
    player: &mut Player<U>,
    rows: &Rows,
    look: &mut dyn FnMut(&mut Player<U>) -> Turn,
    started: Instant,
) -> Result<Turn, Failure> {
    let mut capture = open(file)?;
    let mut pacer = arguments.pacer()?;
    let mut progress = Progress::new(&file.display().to_string(), &capture);
    loop {
        let Some(item) = capture
            .next_item()
            .map_err(|error| Failure::Failed(error.to_string()))?
        else {
            return Ok(Turn::Go);
        };
        let recorded = Player::<U>::recorded_at(&item);
        let due = started.elapsed()
            + Duration::from_nanos(pacer.wait_ns(recorded, nanos(started.elapsed())));
        loop {
            let left = due.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            if matches!(look(player), Turn::Stop) {
                return Ok(Turn::Stop);
            }
            std::thread::sleep(left.min(REQUESTS_EVERY));
        }
        let ts_recv = match item {
            Item::Packet(packet) => packet.ts_recv,
            Item::Message(_) => 0,
        };
        player.handle_item(&item, ts_recv);
        progress.step(&capture);
        if player.totals().records.is_multiple_of(64) && matches!(look(player), Turn::Stop) {
            return Ok(Turn::Stop);
        }
        if let Some(csv) = &rows.0
            && csv.borrow().has_failed()
        {
            // The reason is told when the rows are finished.
            return Ok(Turn::Stop);
        }
    }
}

fn open(file: &Path) -> Result<CaptureReader, Failure> {
    CaptureReader::open(file).map_err(|error| Failure::Failed(error.to_string()))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Writes what is left of the rows, and the summary.
fn finish(
    arguments: &Arguments,
    summary: &Summary,
    rows: &Rows,
    played: &Played,
) -> Result<(), Failure> {
    let mut written = 0;
    if let (Some(csv), Some(path)) = (&rows.0, &arguments.books_out) {
        written = csv.borrow().rows();
        csv.borrow_mut().finish().map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                Failure::OutputClosed
            } else {
                Failure::Failed(format!("{}: {error}", path.display()))
            }
        })?;
    }
    let seconds = played.took.as_secs_f64();
    let rate = summary.message_count() as f64 / seconds.max(1e-9);
    if arguments.json {
        let mut messages: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for (&(protocol, name), &count) in &summary.messages {
            messages.entry(protocol).or_default().insert(name, count);
        }
        let channels: Vec<_> = summary
            .channels
            .iter()
            .map(|(protocol, session)| json!({ "protocol": protocol, "session": session }))
            .collect();
        let value = json!({
            "packets": summary.records,
            "channels": channels,
            "messages": messages,
            "message_count": summary.message_count(),
            "instruments": summary.instruments,
            "live_orders": summary.live_orders,
            "gaps": summary.wire.get("gaps"),
            "missing": summary.wire.get("missing"),
            "restarts": summary.wire.get("restarts"),
            "unknown_orders": summary.books.get("unknown_order"),
            "crossed_books": summary.books.get("crossed"),
            "wire": summary.wire,
            "books": summary.books,
            "skipped": summary.skipped,
            "unrecognised": summary.unrecognised,
            "book_rows": written,
            "seconds": seconds,
            "messages_per_second": rate.round(),
        });
        return writeln!(io::stdout(), "{value}").map_err(|error| Failure::output(&error));
    }
    eprint!("{}", as_text(summary));
    if summary.message_count() == 0 && summary.records > 0 {
        eprintln!(
            "no message of a known protocol was found; `tickcast inspect --stats` says what is there"
        );
    }
    if arguments.books_out.is_some() {
        eprintln!("{written:>12} rows written");
    }
    eprintln!("{seconds:>12.3} s, {rate:.0} messages/s");
    Ok(())
}

fn as_text(summary: &Summary) -> String {
    let mut text = format!("{:>12} packets\n", summary.records);
    for (protocol, session) in &summary.channels {
        text.push_str(&format!("     channel {protocol}, session {session}\n"));
    }
    text.push_str(&format!("{:>12} instruments\n", summary.instruments));
    text.push_str(&format!(
        "{:>12} orders live at the end\n",
        summary.live_orders
    ));
    text.push_str(&format!("{:>12} messages\n", summary.message_count()));
    for ((protocol, name), count) in &summary.messages {
        text.push_str(&format!("{count:>12}   {protocol} {name}\n"));
    }
    // What people look for first is told even where it is nothing; of the rest only what happened.
    for (count, what) in [
        (summary.wire.get("gaps"), "gaps"),
        (summary.wire.get("missing"), "messages missing"),
        (
            summary.books.get("unknown_order"),
            "messages of unknown orders",
        ),
        (
            summary.books.get("crossed"),
            "times that a book became crossed",
        ),
    ] {
        text.push_str(&format!("{:>12} {what}\n", count.copied().unwrap_or(0)));
    }
    let told = ["packets", "messages", "gaps", "missing"];
    let told_of_books = ["unknown_order", "crossed", "gaps", "events", "book_events"];
    let wire = summary.wire.iter().filter(|(name, _)| !told.contains(name));
    let books = summary
        .books
        .iter()
        .filter(|(name, _)| !told_of_books.contains(name));
    for (name, count) in wire.chain(books).filter(|(_, count)| **count > 0) {
        text.push_str(&format!("{count:>12} {}\n", name.replace('_', " ")));
    }
    for (reason, count) in &summary.skipped {
        text.push_str(&format!("{count:>12} frames skipped: {reason}\n"));
    }
    if summary.unrecognised > 0 {
        text.push_str(&format!(
            "{:>12} datagrams of no known protocol\n",
            summary.unrecognised
        ));
    }
    text
}

/// A recogniser that knows the channels at the beginning of the files.
fn prescan(arguments: &Arguments) -> Result<Recogniser, Failure> {
    let mut recogniser = arguments.recogniser()?;
    for file in &arguments.files {
        let mut capture = open(file)?;
        // A cut file is told when it is played.
        while let Ok(Some(item)) = capture.next_item() {
            match item {
                Item::Packet(packet) => {
                    if let Ok(datagram) = frame::udp(packet.link_type, packet.data)
                        && let Some(protocol) = recogniser.protocol(datagram.dst, datagram.payload)
                    {
                        recogniser.channel(datagram.dst, protocol, datagram.payload);
                    }
                }
                Item::Message(_) => {
                    let protocol = recogniser.forced().unwrap_or(Protocol::BinaryFileItch50);
                    recogniser.channel_of(protocol, SessionId::default());
                    // Nothing else comes in such a file.
                    break;
                }
            }
            if capture.items() >= PRESCAN_RECORDS {
                break;
            }
        }
    }
    Ok(recogniser)
}

fn serve(arguments: &Arguments) -> Result<(), Failure> {
    let recogniser = prescan(arguments)?;
    let protocols: Vec<Protocol> = recogniser.channels().collect();
    if protocols.is_empty() {
        return Err(Failure::Failed(
            "no channel of a known protocol in the recordings; `tickcast inspect --stats` says what is there"
                .to_owned(),
        ));
    }
    let listener = serving::listen(arguments.listen)?;
    let signals = Signals::new()?;
    let rows = arguments.rows()?;
    let mut feeds = Vec::new();
    let mut publishers: Vec<Option<Publisher>> = Vec::new();
    let mut statuses = Vec::new();
    for (number, protocol) in protocols.iter().enumerate() {
        let (publisher, subscription) = link::link(RING_SLOTS, WhenFull::Wait);
        let status = Arc::new(tickcast_feed::counters::ChannelStatus::default());
        let name = format!("{}-{}", protocol.name().replace('/', "-"), number + 1);
        let info = serving::channel_info(name, protocol.venue(), *protocol);
        feeds.push(serving::feed(info, subscription, Arc::clone(&status)));
        publishers.push(Some(publisher));
        statuses.push(status);
    }
    let serving = Serving::start(listener, feeds)?;
    serving.announce(protocols[0].venue(), "SYMBOL");
    let mut player = Player::new(
        recogniser,
        rows.clone(),
        // A channel that appears later than the prescan looked is refused and counted.
        Box::new(move |channel| publishers.get_mut(channel.0).and_then(Option::take)),
    );
    let mut look = |player: &mut Player<Publisher>| {
        for (shard, status) in player.shards_mut().zip(&statuses) {
            shard.handle_requests();
            status.store(|report| shard.report(report));
        }
        if signals.came() || serving.is_finished() {
            Turn::Stop
        } else {
            Turn::Go
        }
    };
    let played = play(arguments, &mut player, &rows, &mut look);
    let told = finish(arguments, &player.summary(), &rows, &played);
    if let Err(Failure::Failed(why)) = &played.result {
        eprintln!("tickcast: {why}");
    }
    if !signals.came() && !serving.is_finished() {
        eprintln!("end of the recording; still serving, Ctrl-C ends");
    }
    while matches!(look(&mut player), Turn::Go) {
        std::thread::sleep(REQUESTS_EVERY);
    }
    serving.stop()?;
    told?;
    played.result
}
