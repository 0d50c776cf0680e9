//! Pieces of work whose instructions `cargo xtask instructions` counts, one a run, under callgrind.
//!
//! `tickcast-instructions list` prints each case and the file that it needs; `tickcast-instructions run CASE FOLDER` reads the
//! file, prepares the case, does the work inside of [`tickcast_counted`], where alone instructions are counted, and prints by
//! how many messages the count is to be divided.  The first half of a file warms up what is measured (books, tables), the
//! second half is counted.
//!
//! It depends on the crates that it measures and on nothing that takes long to build; the files are the simulated market's.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;

use tickcast_book::link::{LEVELS, ORDERS, WhenFull, link};
use tickcast_book::{Limits, Market, Mic, NoUpdates, Update, UpdateSink};
use tickcast_codecs::SessionId;
use tickcast_codecs::binaryfile;
use tickcast_codecs::event::{Event, Header, Normalizer as _, Origin, Sink};
use tickcast_codecs::moldudp64::{DownstreamPacket, PacketBuilder};
use tickcast_codecs::outbound::{
    Body, Message, MessageHeader, OrderAction, OrderUpdate, Schema, fb, json,
};
use tickcast_codecs::protocol::{Normalizer, Protocol};
use tickcast_codecs::types::Level;
use tickcast_feed::channel::ChannelSink;
use tickcast_feed::session::{Missing, Start};
use tickcast_feed::{ArbiterConfig, Channel, RecoveryConfig, Shard, ShardConfig, Source};

const USAGE: &str = "usage: tickcast-instructions list | run CASE FOLDER";
const PROTOCOL: Protocol = Protocol::MoldUdp64Itch50;
const PACKET_BYTES_MAX: usize = 1_000;

/// A piece of work, and the messages that it is done for.
struct Work {
    messages: usize,
    run: Box<dyn FnMut()>,
}

impl Work {
    fn new(messages: usize, run: impl FnMut() + 'static) -> Self {
        let run = Box::new(run);
        Self { messages, run }
    }
}

/// Name, file, and how to prepare it.
type Case = (&'static str, &'static str, fn(&'static Input) -> Work);

const CASES: &[Case] = &[
    ("walk/file", "natural", walk_file),
    ("walk/packets", "natural", walk_packets),
    ("decode/itch50", "natural", decode),
    ("arbiter/one-line", "natural", |input| arbiter(input, 1)),
    ("arbiter/two-lines", "natural", |input| arbiter(input, 2)),
    ("book/natural", "natural", book),
    ("book/hot", "hot", book),
    ("book/deep", "deep", book),
    ("book/one-order-a-level", "one-order-a-level", book),
    ("book/one-level", "one-level", book),
    ("shard/packets", "natural", shard_packets),
    ("shard/file", "natural", shard_file),
    ("ring/all-watched", "natural", ring),
    ("snapshot/mbp-10", "natural", snapshot_levels),
    ("snapshot/mbo", "natural", snapshot_orders),
    ("encode/mbp-10-json", "natural", |input| {
        encode_levels(input, to_json())
    }),
    ("encode/mbp-10-flatbuffers", "natural", |input| {
        encode_levels(input, to_flatbuffers())
    }),
    ("encode/mbo-json", "natural", |input| {
        encode_order(input, to_json())
    }),
    ("encode/mbo-flatbuffers", "natural", |input| {
        encode_order(input, to_flatbuffers())
    }),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["list"] => {
            for (name, file, _) in CASES {
                println!("{name} {file}");
            }
            Ok(())
        }
        ["run", name, folder] => run(name, Path::new(folder)),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("tickcast-instructions: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, folder: &Path) -> Result<(), String> {
    let case = CASES.iter().find(|(of, ..)| *of == name);
    let (_, file, prepare) = case.ok_or_else(|| format!("there is no case {name}"))?;
    let path = folder.join(format!("{file}.itch"));
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    // It lives as long as the program.
    let input = Box::leak(Box::new(Input::new(bytes)?));
    let mut work = prepare(input);
    tickcast_counted(&mut *work.run);
    println!("{}", work.messages);
    Ok(())
}

/// What is counted: callgrind counts only while this runs, and finds it by its name.
#[inline(never)]
fn tickcast_counted(run: &mut dyn FnMut()) {
    run();
    // So that the call above isn't a jump out of here.
    black_box(());
}

/// What the normalizer makes of messages.
type Events = Vec<(Header, Event)>;

/// A BinaryFILE in two halves.
struct Input {
    /// The second half, each message behind its length.
    counted: Vec<u8>,
    warm_up: Vec<Vec<u8>>,
    messages: Vec<Vec<u8>>,
}

impl Input {
    fn new(bytes: Vec<u8>) -> Result<Self, String> {
        let mut warm_up: Vec<Vec<u8>> = binaryfile::Messages::new(&bytes)
            .map(|message| message.map(<[u8]>::to_vec))
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let messages = warm_up.split_off(warm_up.len() / 2);
        let mut counted = Vec::new();
        for message in &messages {
            if !binaryfile::encode(message, &mut counted) {
                return Err("a message without bytes".to_owned());
            }
        }
        Ok(Self {
            counted,
            warm_up,
            messages,
        })
    }

    /// The events of both halves.
    fn events(&self) -> (Events, Events) {
        let mut normalizer = Normalizer::new(PROTOCOL, 0);
        let mut sequence = 0;
        let mut events = |messages: &[Vec<u8>]| {
            let mut events = Vec::new();
            for message in messages {
                sequence += 1;
                let origin = Origin {
                    sequence,
                    ts_recv: 0,
                };
                // The market writes nothing that the normalizer refuses; its tests say so.
                let _ = normalizer.message(message, origin, &mut events);
            }
            events
        };
        (events(&self.warm_up), events(&self.messages))
    }

    /// Both halves in packets, the second beginning with a packet of its own.
    fn packets(&self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let warm_up = packets(&self.warm_up, 1);
        let next = self.warm_up.len() as u64 + 1;
        (warm_up, packets(&self.messages, next))
    }

    /// Books after the first half.
    fn market(&self) -> (Market, Events) {
        let mut market = Market::new(Mic::from_padded(b"XNAS"), 0, &Limits::default());
        let (warm_up, events) = self.events();
        for (header, event) in &warm_up {
            market.apply(header, event, &mut NoUpdates);
        }
        (market, events)
    }
}

fn packets(messages: &[Vec<u8>], first: u64) -> Vec<Vec<u8>> {
    let session = SessionId::from_padded(b"COUNT");
    let (mut packets, mut left, mut next) = (Vec::new(), messages, first);
    while !left.is_empty() {
        let mut packet = Vec::new();
        let mut builder = PacketBuilder::new(&mut packet, session, next, PACKET_BYTES_MAX);
        let fit = left
            .iter()
            .take_while(|message| builder.push(message).is_ok());
        // Every message of ITCH fits an empty packet.
        let count = fit.count().max(1);
        next = builder.next_sequence();
        left = left.get(count..).unwrap_or_default();
        packets.push(packet);
    }
    packets
}

fn walk_file(input: &'static Input) -> Work {
    Work::new(input.messages.len(), || {
        let messages = binaryfile::Messages::new(black_box(&input.counted));
        let bytes: usize = messages.flatten().map(<[u8]>::len).sum();
        black_box(bytes);
    })
}

fn walk_packets(input: &'static Input) -> Work {
    let packets = input.packets().1;
    Work::new(input.messages.len(), move || {
        for packet in &packets {
            if let Ok(packet) = DownstreamPacket::parse(black_box(packet)) {
                let bytes: usize = packet.blocks().map(<[u8]>::len).sum();
                black_box(bytes);
            }
        }
    })
}

/// Counts events, so that decoding isn't optimised away.
#[derive(Default)]
struct Count(u64);

impl Sink for Count {
    #[inline]
    fn event(&mut self, header: &Header, event: &Event) {
        self.0 += u64::from(header.instrument_id) + u64::from(matches!(event, Event::Add { .. }));
    }
}

impl ChannelSink for Count {
    fn start(&mut self, _: Start, _: SessionId) {}
    fn skip(&mut self, _: Missing) {}
    fn trust(&mut self, _: bool) {}
}

fn decode(input: &'static Input) -> Work {
    let mut normalizer = Normalizer::new(PROTOCOL, 0);
    Work::new(input.messages.len(), move || {
        let mut count = Count::default();
        for message in &input.messages {
            let _ = normalizer.message(black_box(message), Origin::default(), &mut count);
        }
        black_box(count.0);
    })
}

/// Each packet on all lines, one line after the other.
fn arbiter(input: &'static Input, lines: u8) -> Work {
    let config = ArbiterConfig {
        lines,
        ..ArbiterConfig::default()
    };
    let mut channel: Channel = Channel::new(PROTOCOL, 0, config, RecoveryConfig::default(), 0);
    let (warm_up, packets) = input.packets();
    let mut receive = move |packets: &[Vec<u8>]| {
        let mut count = Count::default();
        for packet in packets {
            for line in 0..lines {
                let source = Source::Line(line);
                let _ = channel.handle_packet(0, source, black_box(packet), 0, &mut count);
            }
        }
        black_box(count.0);
    };
    receive(&warm_up);
    Work::new(input.messages.len(), move || receive(&packets))
}

fn book(input: &'static Input) -> Work {
    let (mut market, events) = input.market();
    Work::new(input.messages.len(), move || {
        for (header, event) in &events {
            market.apply(header, black_box(event), &mut NoUpdates);
        }
    })
}

fn shard() -> Shard<NoUpdates> {
    let config = ShardConfig::new(PROTOCOL, 0, "XNAS");
    Shard::new(&config, NoUpdates, (), 0)
}

fn shard_packets(input: &'static Input) -> Work {
    let mut shard = shard();
    let (warm_up, packets) = input.packets();
    let mut receive = move |packets: &[Vec<u8>]| {
        for packet in packets {
            let _ = shard.handle_packet(0, Source::Line(0), black_box(packet), 0);
        }
    };
    receive(&warm_up);
    Work::new(input.messages.len(), move || receive(&packets))
}

fn shard_file(input: &'static Input) -> Work {
    let config = ShardConfig::recording(Protocol::BinaryFileItch50, 0, "XNAS");
    let mut shard = Shard::new(&config, NoUpdates, (), 0);
    for message in &input.warm_up {
        let _ = shard.handle_file_message(message);
    }
    Work::new(input.messages.len(), move || {
        for message in binaryfile::Messages::new(black_box(&input.counted)).flatten() {
            let _ = shard.handle_file_message(message);
        }
    })
}

/// Levels and orders of every instrument into a ring, and out of it again.
fn ring(input: &'static Input) -> Work {
    let (mut market, events) = input.market();
    let (mut publisher, mut subscription) = link(4_096, WhenFull::Overrun);
    for instrument_id in 0..=u32::from(u16::MAX) {
        subscription.set_interest(instrument_id, LEVELS | ORDERS);
    }
    Work::new(input.messages.len(), move || {
        for (header, event) in &events {
            market.apply(header, black_box(event), &mut publisher);
            while let Some(item) = subscription.poll() {
                black_box(item);
            }
        }
    })
}

/// The best ten levels of each book.
fn snapshot_levels(input: &'static Input) -> Work {
    let (market, _) = input.market();
    let instruments: Vec<u32> = market.instruments().map(|(id, _)| id).collect();
    Work::new(instruments.len(), move || {
        for &instrument_id in &instruments {
            black_box(market.book_snapshot(instrument_id, 10));
        }
    })
}

/// Drops updates where they can't be optimised away.
struct Told;

impl UpdateSink for Told {
    fn update(&mut self, update: &Update) {
        black_box(update);
    }
}

/// All orders of each book, gathered together as a shard does it; counted by order.
fn snapshot_orders(input: &'static Input) -> Work {
    let (mut market, _) = input.market();
    let instruments: Vec<u32> = market.instruments().map(|(id, _)| id).collect();
    Work::new(market.order_count(), move || {
        market.gather(&instruments);
        while !market.continue_gathering() {}
        for &instrument_id in &instruments {
            market.snapshot_gathered(instrument_id, &mut Told);
        }
    })
}

/// How often a message is encoded.
const ENCODED: usize = 1_000;

/// Encodes a message into memory that is used again.
type Encode = Box<dyn FnMut(&Message<'_>)>;

fn to_json() -> Encode {
    let mut out = Vec::with_capacity(4_096);
    Box::new(move |message| {
        out.clear();
        json::encode(message, false, &mut out);
        black_box(out.len());
    })
}

fn to_flatbuffers() -> Encode {
    let mut out = Vec::with_capacity(4_096);
    let mut encoder = fb::Encoder::new();
    Box::new(move |message| {
        out.clear();
        encoder.encode(message, &mut out);
        black_box(out.len());
    })
}

fn header(schema: Schema) -> MessageHeader {
    MessageHeader {
        schema,
        instrument_id: 77,
        seq: 123_456,
        prev: 123_455,
        ts_event: 1_767_623_400_123_456_789,
        ts_recv: 1_767_623_400_123_460_000,
        ts_out: 1_767_623_400_123_470_000,
        flags: 0,
        sequence: Some((9_876_543, 9_876_543)),
    }
}

fn repeat(message: &Message<'_>, encode: &mut Encode) {
    for _ in 0..ENCODED {
        encode(black_box(message));
    }
}

/// An update of two levels of a book.
fn encode_levels(input: &'static Input, mut encode: Encode) -> Work {
    let (market, _) = input.market();
    let book = market.book_snapshot(1, 1);
    Work::new(ENCODED, move || {
        let message = Message {
            header: header(Schema::Mbp10),
            body: Body::Update {
                bids: &book.bids,
                asks: &book.asks,
                checksum: Some(book.checksum()),
                events: 1,
            },
        };
        repeat(&message, &mut encode);
    })
}

/// An update of one order.
fn encode_order(input: &'static Input, mut encode: Encode) -> Work {
    let (market, _) = input.market();
    let best: Option<Level> = market.book(1).bids().next();
    let side = tickcast_codecs::Side::Bid;
    let order = market.book(1).orders(side).next();
    let orders: Vec<OrderUpdate> = best
        .zip(order)
        .map(|(level, order)| OrderUpdate {
            action: OrderAction::Add,
            order_id: order.order_id,
            side,
            px: level.px,
            size: order.size,
        })
        .into_iter()
        .collect();
    Work::new(ENCODED, move || {
        let message = Message {
            header: header(Schema::Mbo),
            body: Body::Orders { orders: &orders },
        };
        repeat(&message, &mut encode);
    })
}
