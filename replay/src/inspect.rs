//! What a recording contains, packet by packet: one JSON line each, or text to read.
//!
//! Field names are the specification's in snake case, prices are decimal strings, integers above 2^53 are
//! decimal strings (as everywhere in our JSON).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use tickcast_codecs::DecodeError;
use tickcast_codecs::protocol::{Message, Packet, Protocol};
use tickcast_codecs::wire::Value;

use crate::capture::{CaptureError, CaptureReader, Item};
use crate::frame::{self, Datagram, FrameSkip};
use crate::limits::LOCATES_MAX;
use crate::recognise::Recogniser;

/// The largest integer that every JSON reader keeps exactly.
const EXACT_MAX: u64 = 1 << 53;

/// How packets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One JSON object a packet.
    Json,
    /// A line a packet and an indented line a message.
    Text,
    /// Only the statistics.
    Silent,
}

/// What to show.
#[derive(Debug, Clone)]
pub struct Options {
    /// How.
    pub style: Style,
    /// Only messages of this symbol.
    pub symbol: Option<String>,
    /// At most so many packets are shown.
    pub limit: Option<u64>,
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Records read: frames, or messages of a BinaryFILE.
    pub packets: u64,
    /// Packets shown.
    pub shown: u64,
    /// Frames without a whole UDP datagram, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Datagrams that no protocol recognises.
    pub unrecognised: u64,
    /// Packets that don't fit their protocol, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Packets by protocol.
    pub protocols: BTreeMap<&'static str, u64>,
    /// Messages by protocol and type.
    pub messages: BTreeMap<(&'static str, &'static str), u64>,
    /// Bytes of UDP payload, or of messages.
    pub bytes: u64,
    /// First and last time, ns since the Unix epoch.
    pub time: Option<(u64, u64)>,
}

/// Shows recordings.
#[derive(Debug)]
pub struct Inspector<W> {
    out: W,
    options: Options,
    recogniser: Recogniser,
    statistics: Statistics,
    line: String,
    /// ITCH messages name an instrument by its locate alone: those of the wanted symbol.
    locates: Vec<bool>,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There may be more.
    More,
    /// The limit is reached.
    Enough,
}

impl<W: Write> Inspector<W> {
    /// An inspector that writes to `out`.
    pub fn new(out: W, recogniser: Recogniser, options: Options) -> Self {
        Self {
            out,
            options,
            recogniser,
            statistics: Statistics::default(),
            line: String::new(),
            locates: vec![false; LOCATES_MAX],
        }
    }

    /// What was counted so far.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Shows the next record of a recording; `None` at its end.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if the recording can't be read any further, or `out` can't be written.
    pub fn step(&mut self, capture: &mut CaptureReader) -> Result<Option<Progress>, InspectError> {
        let Some(item) = capture.next_item()? else {
            return Ok(None);
        };
        self.statistics.packets += 1;
        match item {
            Item::Packet(packet) => {
                let time = self
                    .statistics
                    .time
                    .get_or_insert((packet.ts_recv, packet.ts_recv));
                time.1 = packet.ts_recv;
                match frame::udp(packet.link_type, packet.data) {
                    Ok(datagram) => self.datagram(packet.index, packet.ts_recv, &datagram)?,
                    Err(skip) => self.skip(skip),
                }
            }
            Item::Message(message) => self.file_message(message.index, message.bytes)?,
        }
        let enough = self
            .options
            .limit
            .is_some_and(|limit| self.statistics.shown >= limit);
        Ok(Some(if enough {
            Progress::Enough
        } else {
            Progress::More
        }))
    }

    fn skip(&mut self, skip: FrameSkip) {
        *self.statistics.skipped.entry(skip.counter()).or_default() += 1;
    }

    fn datagram(&mut self, index: u64, ts_recv: u64, datagram: &Datagram<'_>) -> io::Result<()> {
        let payload = datagram.payload;
        self.statistics.bytes += payload.len() as u64;
        let protocol = self.recogniser.protocol(datagram.dst, payload);
        self.line.clear();
        match self.options.style {
            Style::Json => {
                let _ = write!(self.line, "{{\"packet\":{index},\"ts_recv\":");
                json_uint(&mut self.line, ts_recv);
                let _ = write!(
                    self.line,
                    ",\"src\":\"{}\",\"dst\":\"{}\",\"protocol\":",
                    datagram.src, datagram.dst
                );
                match protocol {
                    Some(protocol) => {
                        let _ = write!(self.line, "\"{protocol}\"");
                    }
                    None => self.line.push_str("null"),
                }
            }
            Style::Text => {
                let (seconds, nanos) = (ts_recv / 1_000_000_000, ts_recv % 1_000_000_000);
                let _ = write!(
                    self.line,
                    "#{index} {seconds}.{nanos:09} {} > {} ",
                    datagram.src, datagram.dst
                );
                match protocol {
                    Some(protocol) => {
                        let _ = write!(self.line, "{protocol}");
                    }
                    None => self.line.push_str("unrecognised"),
                }
            }
            Style::Silent => {}
        }
        let Some(protocol) = protocol else {
            self.statistics.unrecognised += 1;
            let length = payload.len();
            match self.options.style {
                Style::Json => {
                    let _ = write!(self.line, ",\"payload_length\":{length}}}");
                }
                Style::Text => {
                    let _ = write!(self.line, ", {length} bytes");
                }
                Style::Silent => {}
            }
            return self.show(self.options.symbol.is_none());
        };
        *self
            .statistics
            .protocols
            .entry(protocol.name())
            .or_default() += 1;
        match Packet::parse(protocol, payload) {
            Ok(packet) => {
                self.header(&packet);
                let any = self.messages(protocol, packet.sequence(), packet.messages());
                self.show(any || self.options.symbol.is_none())
            }
            Err(error) => {
                self.reject(error);
                self.show(self.options.symbol.is_none())
            }
        }
    }

    fn file_message(&mut self, index: u64, bytes: &[u8]) -> io::Result<()> {
        let protocol = self
            .recogniser
            .forced()
            .unwrap_or(Protocol::BinaryFileItch50);
        self.statistics.bytes += bytes.len() as u64;
        *self
            .statistics
            .protocols
            .entry(protocol.name())
            .or_default() += 1;
        self.line.clear();
        match self.options.style {
            Style::Json => {
                let _ = write!(
                    self.line,
                    "{{\"packet\":{index},\"ts_recv\":null,\"src\":null,\"dst\":null,\"protocol\":\"{protocol}\",\"header\":{{\"message_length\":{}}}",
                    bytes.len()
                );
            }
            Style::Text => {
                let _ = write!(self.line, "#{index} {protocol}");
            }
            Style::Silent => {}
        }
        let any = match protocol.check(bytes) {
            Ok(()) => self.messages(protocol, index, std::iter::once(bytes)),
            Err(error) => {
                self.reject(error);
                false
            }
        };
        self.show(any || self.options.symbol.is_none())
    }

    fn header(&mut self, packet: &Packet<'_>) {
        let line = &mut self.line;
        match self.options.style {
            Style::Json => {
                line.push_str(",\"header\":{");
                let mut comma = false;
                packet.header_fields(&mut |name, value| {
                    separate(line, &mut comma);
                    json_field(line, name, value);
                });
                line.push('}');
            }
            Style::Text => packet.header_fields(&mut |name, value| text_field(line, name, value)),
            Style::Silent => {}
        }
    }

    /// Shows the messages; returns whether there was one that passes the filter.
    fn messages<'a>(
        &mut self,
        protocol: Protocol,
        first: u64,
        messages: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        let json = self.options.style == Style::Json;
        if json {
            self.line.push_str(",\"messages\":[");
        }
        let mut any = false;
        for (sequence, bytes) in (first..).zip(messages) {
            let message = protocol.message(bytes);
            let name = message.as_ref().map_or("unknown", Message::name);
            if !self.passes(message.as_ref().ok()) {
                continue;
            }
            *self
                .statistics
                .messages
                .entry((protocol.name(), name))
                .or_default() += 1;
            match self.options.style {
                Style::Json => {
                    separate(&mut self.line, &mut any);
                    json_message(&mut self.line, sequence, name, bytes, message);
                }
                Style::Text => text_message(&mut self.line, sequence, name, bytes, message),
                Style::Silent => {}
            }
            any = true;
        }
        if json {
            self.line.push_str("]}");
        }
        any
    }

    /// Whether a message is of the wanted symbol; learns its locate on the way.
    fn passes(&mut self, message: Option<&Message<'_>>) -> bool {
        let Some(symbol) = &self.options.symbol else {
            return true;
        };
        let Some(message) = message else {
            return false;
        };
        let mut named = None;
        let mut locate = None;
        message.fields(&mut |name, value| match (name, value) {
            ("stock" | "symbol", Value::Text(text)) => named = Some(text == symbol.as_bytes()),
            ("stock_locate", Value::Uint(number)) => locate = usize::try_from(number).ok(),
            _ => {}
        });
        let known = locate.and_then(|locate| self.locates.get_mut(locate));
        match (named, known) {
            (Some(named), Some(known)) => {
                *known = named;
                named
            }
            (Some(named), None) => named,
            (None, Some(known)) => *known,
            (None, None) => false,
        }
    }

    fn reject(&mut self, error: DecodeError) {
        *self.statistics.rejected.entry(error.counter()).or_default() += 1;
        match self.options.style {
            Style::Json => {
                self.line.push_str(",\"error\":");
                json_text(&mut self.line, error.to_string().as_bytes());
                self.line.push('}');
            }
            Style::Text => {
                let _ = write!(self.line, ", refused: {error}");
            }
            Style::Silent => {}
        }
    }

    fn show(&mut self, wanted: bool) -> io::Result<()> {
        if !wanted {
            return Ok(());
        }
        self.statistics.shown += 1;
        if self.options.style == Style::Silent {
            return Ok(());
        }
        self.line.push('\n');
        self.out.write_all(self.line.as_bytes())
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn separate(line: &mut String, comma: &mut bool) {
    if *comma {
        line.push(',');
    }
    *comma = true;
}

fn json_uint(line: &mut String, value: u64) {
    let _ = if value > EXACT_MAX {
        write!(line, "\"{value}\"")
    } else {
        write!(line, "{value}")
    };
}

fn json_text(line: &mut String, text: &[u8]) {
    line.push('"');
    for &byte in text {
        match byte {
            b'"' => line.push_str("\\\""),
            b'\\' => line.push_str("\\\\"),
            // Bytes beyond ASCII are shown as the Latin-1 character of the same number: one to one.
            0x00..=0x1f | 0x7f..=0xff => {
                let _ = write!(line, "\\u{byte:04x}");
            }
            _ => line.push(char::from(byte)),
        }
    }
    line.push('"');
}

fn json_field(line: &mut String, name: &str, value: Value<'_>) {
    let _ = write!(line, "\"{name}\":");
    match value {
        Value::Uint(number) => json_uint(line, number),
        Value::Int(number) if number.unsigned_abs() > EXACT_MAX => {
            let _ = write!(line, "\"{number}\"");
        }
        Value::Int(number) => {
            let _ = write!(line, "{number}");
        }
        Value::Price(price) => {
            let _ = write!(line, "\"{price}\"");
        }
        Value::Text(text) => json_text(line, text),
        Value::Char(0) => line.push_str("\"\""),
        Value::Char(letter) => json_text(line, &[letter]),
        Value::Flags(byte, table) => {
            line.push('{');
            let mut comma = false;
            for (flag, mask) in table {
                separate(line, &mut comma);
                let bits = (byte & mask) >> mask.trailing_zeros().min(7);
                let _ = write!(line, "\"{flag}\":{bits}");
            }
            line.push('}');
        }
    }
}

fn json_message(
    line: &mut String,
    sequence: u64,
    name: &str,
    bytes: &[u8],
    message: Result<Message<'_>, DecodeError>,
) {
    let _ = write!(line, "{{\"type\":\"{name}\",\"sequence\":");
    json_uint(line, sequence);
    let _ = write!(line, ",\"message_length\":{}", bytes.len());
    match message {
        Ok(message) => message.fields(&mut |name, value| {
            line.push(',');
            json_field(line, name, value);
        }),
        Err(error) => {
            line.push_str(",\"error\":");
            json_text(line, error.to_string().as_bytes());
            line.push_str(",\"bytes\":\"");
            for byte in bytes {
                let _ = write!(line, "{byte:02x}");
            }
            line.push('"');
        }
    }
    line.push('}');
}

fn text_field(line: &mut String, name: &str, value: Value<'_>) {
    let _ = write!(line, " {name}=");
    match value {
        Value::Uint(number) => {
            let _ = write!(line, "{number}");
        }
        Value::Int(number) => {
            let _ = write!(line, "{number}");
        }
        Value::Price(price) => {
            let _ = write!(line, "{price}");
        }
        Value::Text(text) => {
            let _ = write!(line, "{}", text.escape_ascii());
        }
        Value::Char(letter) => {
            let _ = write!(line, "{}", letter.escape_ascii());
        }
        Value::Flags(byte, _) => {
            let _ = write!(line, "0x{byte:02x}");
        }
    }
}

fn text_message(
    line: &mut String,
    sequence: u64,
    name: &str,
    bytes: &[u8],
    message: Result<Message<'_>, DecodeError>,
) {
    let _ = write!(line, "\n  {sequence} {name}");
    match message {
        Ok(message) => message.fields(&mut |name, value| {
            if name != "message_type" {
                text_field(line, name, value);
            }
        }),
        Err(error) => {
            let _ = write!(line, " ({} bytes): {error}", bytes.len());
        }
    }
}

/// Why inspection ended early.
#[derive(Debug)]
pub enum InspectError {
    /// The recording can't be read any further.
    Capture(CaptureError),
    /// The output can't be written.
    Output(io::Error),
}

impl From<CaptureError> for InspectError {
    fn from(error: CaptureError) -> Self {
        Self::Capture(error)
    }
}

impl From<io::Error> for InspectError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl std::fmt::Display for InspectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Capture(error) => error.fmt(f),
            Self::Output(error) => write!(f, "output: {error}"),
        }
    }
}

impl std::error::Error for InspectError {}
