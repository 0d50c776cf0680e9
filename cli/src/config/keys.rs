//! Every key of `tickcast.toml`, once: what it is, what it may be, what it is if left out.
//!
//! The reader checks against these rows, and `docs/configuration.md` is made of them.

use std::fmt;

use tickcast_feed::limits;

use super::units::{Bytes, Nanos};

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before the first section.
    Top,
    /// In `[[channel]]`.
    Channel,
    /// In `[[channel.line]]`.
    Line,
    /// In `[channel.recovery]`.
    Recovery,
}

impl Place {
    /// In the order of the page.
    const ALL: [Self; 4] = [Self::Top, Self::Channel, Self::Line, Self::Recovery];

    /// As it is written in a file.
    fn heading(self) -> &'static str {
        match self {
            Self::Top => "Top level",
            Self::Channel => "`[[channel]]`",
            Self::Line => "`[[channel.line]]`",
            Self::Recovery => "`[channel.recovery]`",
        }
    }
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A string; the rule says which.
    Text {
        default: Option<&'static str>,
        rule: &'static str,
    },
    /// One of these strings.
    Choice {
        default: Option<&'static str>,
        among: &'static [&'static str],
    },
    /// A list; the rule says of what.
    List { rule: &'static str },
    /// `true` or `false`.
    Flag { default: bool },
    /// A whole number.
    Number {
        default: Option<u64>,
        from: u64,
        to: u64,
    },
    /// A duration with its unit.
    Duration {
        default: Option<Nanos>,
        from: Nanos,
        to: Nanos,
    },
    /// A size with its unit.
    Size {
        default: Bytes,
        from: Bytes,
        to: Bytes,
    },
    /// Tables of their own.
    Section { rule: &'static str },
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Where it stands.
    pub(crate) place: Place,
    /// Its name.
    pub(crate) name: &'static str,
    /// What it may be.
    pub(crate) kind: Kind,
    /// Whether SIGHUP applies a change.
    pub(crate) reload: bool,
    /// One sentence.
    pub(crate) help: &'static str,
}

/// The rule, as an error and the page tell it.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { rule, .. } | Self::List { rule } | Self::Section { rule } => {
                f.write_str(rule)
            }
            Self::Choice { among, .. } => write!(f, "one of \"{}\"", among.join("\", \"")),
            Self::Flag { .. } => f.write_str("true or false"),
            Self::Number { from, to, .. } => write!(f, "a whole number from {from} to {to}"),
            Self::Duration { from, to, .. } => write!(f, "a duration from \"{from}\" to \"{to}\""),
            Self::Size { from, to, .. } => write!(f, "a size from \"{from}\" to \"{to}\""),
        }
    }
}

impl Key {
    /// What it is if left out, as the page tells it.
    fn default(&self) -> String {
        match self.kind {
            Kind::Text { default, .. } | Kind::Choice { default, .. } => {
                default.map_or(String::new(), |text| format!("\"{text}\""))
            }
            Kind::List { .. } => "[]".to_owned(),
            Kind::Flag { default } => default.to_string(),
            Kind::Number { default, .. } => default.map_or(String::new(), |n| n.to_string()),
            Kind::Duration { default, .. } => {
                default.map_or(String::new(), |time| format!("\"{time}\""))
            }
            Kind::Size { default, .. } => format!("\"{default}\""),
            Kind::Section { .. } => String::new(),
        }
    }
}

/// A table of all keys a section, in Markdown.
pub(crate) fn tables() -> String {
    let mut page = String::new();
    for place in Place::ALL {
        page.push_str(&format!(
            "## {}\n\n| key | what | may be | left out | on SIGHUP |\n| --- | --- | --- | --- | --- |\n",
            place.heading()
        ));
        for key in KEYS.iter().filter(|key| key.place == place) {
            let default = key.default();
            page.push_str(&format!(
                "| `{}` | {} | {} | {} | {} |\n",
                key.name,
                key.help,
                key.kind,
                if default.is_empty() {
                    String::new()
                } else {
                    format!("`{default}`")
                },
                if key.reload { "applied" } else { "restart" },
            ));
        }
        page.push('\n');
    }
    page
}

macro_rules! keys {
    ($($name:ident = $place:ident $key:literal, $kind:expr, $reload:literal, $help:literal;)+) => {
        $(pub(super) const $name: Key = Key {
            place: Place::$place,
            name: $key,
            kind: $kind,
            reload: $reload,
            help: $help,
        };)+
        /// All, in the order of the page.
        pub(crate) const KEYS: &[Key] = &[$($name),+];
    };
}

const fn text(default: Option<&'static str>, rule: &'static str) -> Kind {
    Kind::Text { default, rule }
}

const fn list(rule: &'static str) -> Kind {
    Kind::List { rule }
}

const fn section(rule: &'static str) -> Kind {
    Kind::Section { rule }
}

const fn number(default: Option<u64>, from: u64, to: u64) -> Kind {
    Kind::Number { default, from, to }
}

const fn duration(default: Option<Nanos>, from: Nanos, to: Nanos) -> Kind {
    Kind::Duration { default, from, to }
}

const fn size(default: Bytes, from: Bytes, to: Bytes) -> Kind {
    Kind::Size { default, from, to }
}

keys! {
    LISTEN = Top "listen", text(Some("127.0.0.1:8080"), "an address and port"), false,
        "Where subscribers connect: the page at `/`, the WebSocket at `/v1/ws`.";
    METRICS_LISTEN = Top "metrics_listen", text(None, "a loopback address and a port other than that of `listen`"), true,
        "Where `/metrics` is; left out, there is none.";
    CHANNEL = Top "channel", section("1 to 1024 sections [[channel]]"), false,
        "The channels.";

    NAME = Channel "name", text(None, "1 to 64 letters, digits, `-`, `_`, `.`; unique"), false,
        "What subscribers see; required.";
    PROTOCOL = Channel "protocol", Kind::Choice {
            default: None,
            among: &["moldudp64/itch50", "iextp/tops15", "iextp/tops16", "iextp/deep10", "iextp/deepplus10"],
        }, false,
        "What is received; required.";
    VENUE = Channel "venue", text(None, "a market identifier code: four upper-case letters or digits"), false,
        "The market; left out, `XNAS` for ITCH and `IEXG` for IEX.";
    INTERFACE = Channel "interface", text(None, "an address, the name or the number of a local interface"), false,
        "Where the groups are joined; required unless each line has its own.";
    SHARDS = Channel "shards", number(Some(1), 1, 32), false,
        "Threads that keep the books, each those of its instruments; subscribers and metrics see a channel each (`NAME.1`, …).  With 1 the receiver does it itself.";
    CORES = Channel "cores", list("the receiver's core, then, if `shards` is above 1, one for each shard"), false,
        "What the threads are pinned to; empty, they aren't.";
    PIN = Channel "pin", Kind::Choice { default: Some("require"), among: &["require", "warn"] }, false,
        "Whether a core or priority that can't be had ends the program or is only told.";
    WAIT = Channel "wait", Kind::Choice { default: Some("sleep"), among: &["sleep", "adaptive", "spin"] }, false,
        "How the receiver waits for packets: in the kernel, in the kernel after `spin` of looking, or never sleeping.";
    SPIN = Channel "spin", duration(Some(Nanos::us(50)), Nanos::us(1), Nanos::ms(100)), false,
        "How long an adaptive receiver looks before it sleeps.";
    RECEIVE_BUFFER = Channel "receive_buffer", size(Bytes(limits::RECEIVE_BUFFER_BYTES as u64), Bytes::kib(64), Bytes::mib(1024)), false,
        "The kernel's buffer that each line's socket asks for.";
    RECEIVE_BUFFER_MIN = Channel "receive_buffer_min", size(Bytes(limits::RECEIVE_BUFFER_BYTES_MIN as u64), Bytes(0), Bytes::mib(1024)), false,
        "If the kernel grants less, the program doesn't start; on loopback it is only told.";
    BUSY_POLL = Channel "busy_poll", duration(None, Nanos::us(1), Nanos::ms(1)), false,
        "How long the kernel polls the network card for a waiting socket (`SO_BUSY_POLL`); left out, not at all.";
    REALTIME_PRIORITY = Channel "realtime_priority", number(None, 1, 99), false,
        "`SCHED_FIFO` priority of the receiver and the shards; left out, they are ordinary threads.";
    MEMLOCK = Channel "memlock", Kind::Flag { default: false }, false,
        "Keep the program's memory from being swapped out; one channel that asks is enough.";
    LINE = Channel "line", section("1 to 8 sections [[channel.line]]"), false,
        "Its lines.";
    RECOVERY = Channel "recovery", section("one section [channel.recovery]"), true,
        "How it recovers what both lines lost; left out, all of it has its defaults.";

    LINE_NAME = Line "name", text(None, "1 to 16 letters, digits, `-`, `_`, `.`; unique in its channel"), false,
        "What reports and metrics call it; left out, `A`, `B`, … by its place.";
    GROUP = Line "group", text(None, "a multicast group and port, in no other line"), false,
        "Where it is received, as `233.54.12.111:26477` or `[ff0e::1]:26477`; required.";
    LINE_INTERFACE = Line "interface", text(None, "an address, the name or the number of a local interface"), false,
        "Where this line is joined, if not on the channel's interface.";
    SOURCES = Line "sources", list("up to 16 addresses of the group's family"), false,
        "The only senders that are listened to; empty, any.";
    SOURCE_SPECIFIC = Line "source_specific", Kind::Flag { default: false }, false,
        "Ask the network for these sources only (IGMPv3, MLDv2), instead of dropping what others send.";

    REQUEST_SERVERS = Recovery "request_servers", list("up to 8 addresses with ports"), true,
        "Where missing messages are asked for, in this order.";
    SNAPSHOT_SERVERS = Recovery "snapshot_servers", list("up to 8 addresses with ports"), true,
        "Where all books are loaded if requests don't help, in turn: GLIMPSE for ITCH, TCP gap fill for IEX.";
    SNAPSHOT_CORE = Recovery "snapshot_core", number(None, 0, 65_535), true,
        "What the thread that loads snapshots is pinned to; left out, it isn't.";
    SNAPSHOT_SAME_SESSION = Recovery "snapshot_same_session", Kind::Flag { default: true }, true,
        "GLIMPSE: refuse a snapshot of a server that doesn't name the session of the feed.";
    USERNAME = Recovery "username", text(Some(""), "up to 6 letters or digits"), true,
        "GLIMPSE: the login.";
    PASSWORD_FILE = Recovery "password_file", text(None, "a file of mode 0600 with up to 10 letters or digits"), true,
        "GLIMPSE: the password's file, relative to this one; left out, the password is empty.";
    REORDER_WAIT = Recovery "reorder_wait", duration(Some(Nanos(limits::REORDER_WAIT_NS)), Nanos(0), Nanos::ms(1_000)), false,
        "How long messages may be missing before that is a gap: the other line may bring them.";
    HELD_MESSAGES_MAX = Recovery "held_messages_max", number(Some(limits::HELD_MESSAGES_MAX as u64), 1, limits::BACKLOG_MESSAGES_MAX as u64), false,
        "Messages behind missing ones that make it a gap at once.";
    HELD_BYTES_MAX = Recovery "held_bytes_max", size(Bytes(limits::HELD_BYTES_MAX as u64), Bytes::kib(64), Bytes(limits::BACKLOG_BYTES_MAX as u64)), false,
        "Bytes behind missing messages that make it a gap at once.";
    REQUEST_TIMEOUT = Recovery "request_timeout", duration(Some(Nanos(limits::REQUEST_TIMEOUT_NS)), Nanos::ms(1), Nanos::ms(10_000)), true,
        "How long an answer may take; doubled with each attempt, up to sixteen times.";
    REQUEST_ATTEMPTS_MAX = Recovery "request_attempts_max", number(Some(limits::REQUEST_ATTEMPTS_MAX as u64), 1, 100), true,
        "Requests to one server before the next is asked; after the last, a snapshot has to help.";
    REQUESTS_PER_SECOND_MAX = Recovery "requests_per_second_max", number(Some(limits::REQUESTS_PER_SECOND_MAX as u64), 1, 10_000), true,
        "Unanswered requests in a second; venues have quotas.";
    GAP_AGE_MAX = Recovery "gap_age_max", duration(Some(Nanos(limits::GAP_AGE_NS_MAX)), Nanos::ms(10), Nanos::ms(60_000)), true,
        "How long nothing of a gap may come before a snapshot is loaded.";
    SNAPSHOT_ATTEMPTS_MAX = Recovery "snapshot_attempts_max", number(Some(limits::SNAPSHOT_ATTEMPTS_MAX as u64), 1, 100), true,
        "Snapshots tried one after the other before a longer pause.";
    LINE_SILENT = Recovery "line_silent", duration(Some(Nanos(limits::LINE_SILENT_NS)), Nanos::ms(10), Nanos::ms(600_000)), false,
        "A line of which nothing came for so long is silent; venues send heartbeats each second.";
    LINE_DOWN = Recovery "line_down", duration(Some(Nanos(limits::LINE_DOWN_NS)), Nanos::ms(10), Nanos::ms(600_000)), false,
        "A line of which nothing came for so long is down.";
}
