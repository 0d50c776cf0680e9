//! `tickcast.toml`: which channels to receive, how to recover them, and where to serve.
//!
//! A file is read whole and checked whole before any socket is opened: what is wrong is told all at once,
//! each mistake with its line, key, value and rule.  Nothing is repaired by a guess.

mod feed;
mod keys;
mod read;
mod units;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use tickcast_codecs::protocol::Protocol;
use tickcast_feed::limits::{CHANNELS_MAX, LINES_MAX};
use tickcast_feed::socket::Interface;
use toml::de::DeTable;

use self::keys::Place;
use self::read::{Section, Source};
use crate::Failure;

pub(crate) use self::keys::tables;
pub(crate) use self::read::Mistake;
pub(crate) use self::units::{Bytes, Nanos};
pub(crate) use self::warnings::{Machine, warnings};

/// Request servers, and snapshot servers, of a channel.
const SERVERS_MAX: usize = 8;

/// Senders of a line.
const SOURCES_MAX: usize = 16;

/// Characters of a channel's name.
const NAME_CHARACTERS_MAX: usize = 64;

/// Characters of a line's name.
const LINE_NAME_CHARACTERS_MAX: usize = 16;

/// The fields of SoupBinTCP's login (specification 3.00, "Login Request Packet").
const USERNAME_CHARACTERS_MAX: usize = 6;
const PASSWORD_CHARACTERS_MAX: usize = 10;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Config {
    /// Where subscribers connect.
    pub(crate) listen: SocketAddr,
    /// Where `/metrics` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// The channels.
    #[serde(rename = "channel")]
    pub(crate) channels: Vec<Channel>,
}

/// One channel of a venue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Channel {
    /// What subscribers see.
    pub(crate) name: String,
    /// The protocol.
    #[serde(serialize_with = "protocol_name")]
    pub(crate) protocol: Protocol,
    /// Market identifier code.
    pub(crate) venue: String,
    /// Threads that keep books.
    pub(crate) shards: u16,
    /// The receiver's core, then each shard's; or none.
    pub(crate) cores: Vec<usize>,
    /// What if a core or priority can't be had.
    pub(crate) pin: Pin,
    /// How the receiver waits.
    pub(crate) wait: Wait,
    /// How long an adaptive receiver looks before it sleeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spin: Option<Nanos>,
    /// The kernel's buffer that is asked for.
    pub(crate) receive_buffer: Bytes,
    /// With less the program doesn't start.
    pub(crate) receive_buffer_min: Bytes,
    /// How long the kernel polls the card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) busy_poll: Option<Nanos>,
    /// Of `SCHED_FIFO`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) realtime_priority: Option<u8>,
    /// Whether memory is locked.
    pub(crate) memlock: bool,
    /// Its lines.
    #[serde(rename = "line")]
    pub(crate) lines: Vec<Line>,
    /// What is done about gaps.
    pub(crate) recovery: Recovery,
}

/// One line of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// What reports call it.
    pub(crate) name: String,
    /// Multicast group and port.
    pub(crate) group: SocketAddr,
    /// The local interface that it is joined on.
    #[serde(serialize_with = "shown")]
    pub(crate) interface: Interface,
    /// The only senders; empty = any.
    pub(crate) sources: Vec<IpAddr>,
    /// Whether the network is asked for these only.
    pub(crate) source_specific: bool,
}

/// How a channel recovers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Recovery {
    /// Where missing messages are asked for.
    pub(crate) request_servers: Vec<SocketAddr>,
    /// Where snapshots are loaded.
    pub(crate) snapshot_servers: Vec<SocketAddr>,
    /// The core of the thread that loads snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot_core: Option<usize>,
    /// Whether a snapshot has to be of the feed's session by name.
    pub(crate) snapshot_same_session: bool,
    /// GLIMPSE's login.
    pub(crate) username: String,
    /// Where the password was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_file: Option<PathBuf>,
    /// What was read there.
    #[serde(skip)]
    pub(crate) password: Secret,
    /// How long messages may be missing before that is a gap.
    pub(crate) reorder_wait: Nanos,
    /// Messages behind missing ones that make it a gap.
    pub(crate) held_messages_max: u64,
    /// Bytes behind missing messages that make it a gap.
    pub(crate) held_bytes_max: Bytes,
    /// How long the first answer may take.
    pub(crate) request_timeout: Nanos,
    /// Requests of one range.
    pub(crate) request_attempts_max: u64,
    /// Requests of the channel.
    pub(crate) requests_per_second_max: u64,
    /// From here on a snapshot has to help.
    pub(crate) gap_age_max: Nanos,
    /// Snapshots tried.
    pub(crate) snapshot_attempts_max: u64,
    /// From here on a line is silent.
    pub(crate) line_silent: Nanos,
    /// From here on a line is down.
    pub(crate) line_down: Nanos,
}

/// How a receiver waits for packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wait {
    /// In the kernel.
    Sleep,
    /// It looks for a while, then sleeps.
    Adaptive,
    /// Never sleeping.
    Spin,
}

/// What if a core or priority can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pin {
    /// The program ends.
    Require,
    /// It is told.
    Warn,
}

/// A password: no `Debug`, log or output shows it.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Secret(String);

impl Secret {
    /// The password itself, for the login.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

fn shown<S: Serializer>(interface: &Interface, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(interface)
}

fn protocol_name<S: Serializer>(protocol: &Protocol, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(protocol.name())
}

/// A file that can't be used, and why, in words.
pub(crate) fn refused(path: &Path, mistakes: &[Mistake]) -> Failure {
    let shown = path.display();
    let mut words = format!("{shown} is refused");
    for mistake in mistakes {
        let line = mistake
            .line
            .map_or(String::new(), |line| format!(":{line}"));
        words.push_str(&format!("\n  {shown}{line}: {mistake}"));
    }
    Failure::Failed(words)
}

impl Config {
    /// Reads and checks a file.  Without a machine that it is to run on, cores and passwords aren't looked at.
    ///
    /// # Errors
    ///
    /// Every mistake, in the order of the file.
    pub(crate) fn read(path: &Path, machine: Option<&Machine>) -> Result<Self, Vec<Mistake>> {
        let text = fs::read_to_string(path).map_err(|error| {
            vec![Mistake {
                line: None,
                section: String::new(),
                key: String::new(),
                value: None,
                rule: error.to_string(),
            }]
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder, machine)
    }

    /// Checks a file's text; paths in it are relative to `folder`.
    ///
    /// # Errors
    ///
    /// Every mistake, in the order of the text.
    pub(crate) fn parse(
        text: &str,
        folder: &Path,
        machine: Option<&Machine>,
    ) -> Result<Self, Vec<Mistake>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let source = Source::new(text);
        if errors.is_empty() {
            let top = Section::new(&source, Place::Top, String::new(), table.get_ref(), 0);
            let config = Self::top(&top, folder, machine);
            let mistakes = source.into_mistakes();
            match config {
                Some(config) if mistakes.is_empty() => Ok(config),
                _ => Err(mistakes),
            }
        } else {
            for error in &errors {
                source.syntax(error);
            }
            Err(source.into_mistakes())
        }
    }

    fn top(top: &Section<'_>, folder: &Path, machine: Option<&Machine>) -> Option<Self> {
        let listen: Option<SocketAddr> = top.parsed(&keys::LISTEN);
        let metrics_listen: Option<SocketAddr> = top.parsed(&keys::METRICS_LISTEN);
        if let Some(metrics) = metrics_listen
            && (!metrics.ip().is_loopback() || (metrics.port() != 0 && metrics_listen == listen))
        {
            top.refuse_kind(&keys::METRICS_LISTEN);
        }
        let mut taken = Taken::default();
        let channels: Vec<Option<Channel>> = top
            .sections(
                &keys::CHANNEL,
                Place::Channel,
                CHANNELS_MAX,
                |number, name| name.map_or_else(|| format!("channel {number}"), str::to_owned),
            )
            .into_iter()
            .map(|section| Channel::section(&section, folder, machine, &mut taken))
            .collect();
        Some(Self {
            listen: listen?,
            metrics_listen,
            channels: channels.into_iter().collect::<Option<_>>()?,
        })
    }

    /// Takes over from `new` what can change while the program runs, and names what can't.
    pub(crate) fn reload(&mut self, new: Self) -> Vec<String> {
        let mut restart = Vec::new();
        self.metrics_listen = new.metrics_listen;
        if self.listen != new.listen {
            restart.push(keys::LISTEN.name.to_owned());
        }
        let mut others: BTreeMap<String, Channel> = new
            .channels
            .into_iter()
            .map(|channel| (channel.name.clone(), channel))
            .collect();
        for channel in &mut self.channels {
            match others.remove(&channel.name) {
                Some(other) => {
                    restart.extend(
                        channel
                            .differences(&other)
                            .into_iter()
                            .map(|key| format!("{}: {key}", channel.name)),
                    );
                    channel.recovery.reload(other.recovery);
                }
                None => restart.push(format!("{}: the channel is gone", channel.name)),
            }
        }
        restart.extend(
            others
                .into_keys()
                .map(|name| format!("{name}: a new channel")),
        );
        restart
    }
}

/// What only one channel or line can have.
#[derive(Debug, Default)]
struct Taken {
    names: BTreeSet<String>,
    groups: BTreeSet<SocketAddr>,
    /// And whose it is.
    cores: BTreeMap<usize, String>,
}

impl Channel {
    /// A channel with the defaults of everything that a file may leave out.
    pub(crate) fn new(name: &str, protocol: Protocol, lines: Vec<Line>) -> Self {
        let (table, source) = (DeTable::new(), Source::new(""));
        let empty = Section::new(&source, Place::Channel, String::new(), &table, 0);
        let mut channel = Self::settings(&empty);
        name.clone_into(&mut channel.name);
        protocol.venue().clone_into(&mut channel.venue);
        channel.protocol = protocol;
        channel.lines = lines;
        channel
    }

    /// What doesn't depend on anything else.
    fn settings(section: &Section<'_>) -> Self {
        Self {
            name: String::new(),
            protocol: Protocol::MoldUdp64Itch50,
            venue: String::new(),
            shards: narrow(section.number(&keys::SHARDS)).unwrap_or(1),
            cores: section
                .numbers(&keys::CORES, usize::from(u16::MAX))
                .into_iter()
                .map(|core| usize::try_from(core).unwrap_or(usize::MAX))
                .collect(),
            pin: match section.choice(&keys::PIN) {
                Some("warn") => Pin::Warn,
                _ => Pin::Require,
            },
            wait: match section.choice(&keys::WAIT) {
                Some("spin") => Wait::Spin,
                Some("adaptive") => Wait::Adaptive,
                _ => Wait::Sleep,
            },
            spin: section.duration(&keys::SPIN),
            receive_buffer: section.size(&keys::RECEIVE_BUFFER),
            receive_buffer_min: section.size(&keys::RECEIVE_BUFFER_MIN),
            busy_poll: section.duration(&keys::BUSY_POLL),
            realtime_priority: narrow(section.number(&keys::REALTIME_PRIORITY)),
            memlock: section.flag(&keys::MEMLOCK),
            lines: Vec::new(),
            recovery: Recovery::new(),
        }
    }

    fn section(
        section: &Section<'_>,
        folder: &Path,
        machine: Option<&Machine>,
        taken: &mut Taken,
    ) -> Option<Self> {
        let name = section.word(&keys::NAME, NAME_CHARACTERS_MAX);
        if let Some(name) = &name
            && !taken.names.insert(name.clone())
        {
            section.refuse(&keys::NAME, "another channel has this name");
        }
        if !section.has(&keys::NAME) {
            section.refuse_kind(&keys::NAME);
        }
        let protocol = section
            .choice(&keys::PROTOCOL)
            .and_then(Protocol::from_name);
        if protocol.is_none() && !section.has(&keys::PROTOCOL) {
            section.refuse_kind(&keys::PROTOCOL);
        }
        let mut channel = Self::settings(section);
        channel.protocol = protocol.unwrap_or(channel.protocol);
        channel.venue = venue(section, channel.protocol);
        channel.check_cores(section, machine, taken);
        if channel.receive_buffer_min > channel.receive_buffer {
            section.refuse(
                &keys::RECEIVE_BUFFER_MIN,
                format!("above receive_buffer, which is {}", channel.receive_buffer),
            );
        }
        if channel.wait != Wait::Adaptive {
            channel.spin = None;
            if section.has(&keys::SPIN) {
                section.refuse(&keys::SPIN, "only of use with wait = \"adaptive\"");
            }
        }
        let lines = lines(section, taken);
        if let Some(recovery) = section.section(
            &keys::RECOVERY,
            Place::Recovery,
            format!("{} recovery", section.name()),
        ) {
            channel.recovery = Recovery::section(&recovery, machine.map(|_| folder));
        }
        channel.name = name?;
        channel.lines = lines?;
        Some(channel)
    }

    /// Threads that can be pinned.
    fn threads(&self) -> usize {
        match self.shards {
            1 => 1,
            shards => 1 + usize::from(shards),
        }
    }

    fn check_cores(&self, section: &Section<'_>, machine: Option<&Machine>, taken: &mut Taken) {
        if !self.cores.is_empty() && self.cores.len() != self.threads() {
            section.refuse(
                &keys::CORES,
                format!(
                    "{} threads (the receiver{}) need {} cores, or none",
                    self.threads(),
                    if self.shards > 1 {
                        " and the shards"
                    } else {
                        ""
                    },
                    self.threads()
                ),
            );
        }
        for core in &self.cores {
            if let Some(other) = taken.cores.insert(*core, section.name().to_owned()) {
                section.refuse(
                    &keys::CORES,
                    format!("{core} is taken twice, first by {other}"),
                );
            }
            // With `pin = "warn"` it is a warning.
            if let Some(machine) = machine
                && self.pin == Pin::Require
                && !machine.cores.contains(core)
            {
                section.refuse(
                    &keys::CORES,
                    format!(
                        "{core} can't be had: this machine lets us use {:?}",
                        machine.cores
                    ),
                );
            }
        }
    }

    /// Keys of what can't change while the program runs.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let changed = [
            (&keys::PROTOCOL, self.protocol != other.protocol),
            (&keys::VENUE, self.venue != other.venue),
            (&keys::SHARDS, self.shards != other.shards),
            (&keys::CORES, self.cores != other.cores),
            (&keys::PIN, self.pin != other.pin),
            (&keys::WAIT, self.wait != other.wait),
            (&keys::SPIN, self.spin != other.spin),
            (
                &keys::RECEIVE_BUFFER,
                self.receive_buffer != other.receive_buffer,
            ),
            (
                &keys::RECEIVE_BUFFER_MIN,
                self.receive_buffer_min != other.receive_buffer_min,
            ),
            (&keys::BUSY_POLL, self.busy_poll != other.busy_poll),
            (
                &keys::REALTIME_PRIORITY,
                self.realtime_priority != other.realtime_priority,
            ),
            (&keys::MEMLOCK, self.memlock != other.memlock),
            (&keys::LINE, self.lines != other.lines),
            (
                &keys::REORDER_WAIT,
                self.recovery.reorder_wait != other.recovery.reorder_wait,
            ),
            (
                &keys::HELD_MESSAGES_MAX,
                self.recovery.held_messages_max != other.recovery.held_messages_max,
            ),
            (
                &keys::HELD_BYTES_MAX,
                self.recovery.held_bytes_max != other.recovery.held_bytes_max,
            ),
            (
                &keys::LINE_SILENT,
                self.recovery.line_silent != other.recovery.line_silent,
            ),
            (
                &keys::LINE_DOWN,
                self.recovery.line_down != other.recovery.line_down,
            ),
        ];
        changed
            .into_iter()
            .filter_map(|(key, changed)| changed.then_some(key.name))
            .collect()
    }
}

fn narrow<T: TryFrom<u64>>(number: Option<u64>) -> Option<T> {
    number.and_then(|number| T::try_from(number).ok())
}

fn venue(section: &Section<'_>, protocol: Protocol) -> String {
    if !section.has(&keys::VENUE) {
        return protocol.venue().to_owned();
    }
    let venue = section.word(&keys::VENUE, 4).unwrap_or_default();
    let code = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    if !venue.is_empty() && (venue.len() != 4 || !venue.bytes().all(code)) {
        section.refuse_kind(&keys::VENUE);
    }
    venue
}

fn lines(section: &Section<'_>, taken: &mut Taken) -> Option<Vec<Line>> {
    let interface = interface(section, &keys::INTERFACE);
    let mut names = BTreeSet::new();
    let sections = section.sections(&keys::LINE, Place::Line, LINES_MAX, |number, name| {
        let name = name.map_or_else(|| letter(number), str::to_owned);
        format!("{} line {name}", section.name())
    });
    let lines: Vec<Option<Line>> = (1..)
        .zip(&sections)
        .map(|(number, line)| {
            let name = if line.has(&keys::LINE_NAME) {
                line.word(&keys::LINE_NAME, LINE_NAME_CHARACTERS_MAX)?
            } else {
                letter(number)
            };
            if !names.insert(name.clone()) {
                line.refuse(
                    &keys::LINE_NAME,
                    format!("another line of {} is {name:?}", section.name()),
                );
            }
            let own = self::interface(line, &keys::LINE_INTERFACE);
            if own.is_none() && interface.is_none() {
                let known = line.has(&keys::LINE_INTERFACE) || section.has(&keys::INTERFACE);
                if !known {
                    line.refuse(
                        &keys::LINE_INTERFACE,
                        "missing here and in the channel: which local interface is it received on?",
                    );
                }
            }
            let group = group(line, taken)?;
            let sources = line.addresses(&keys::SOURCES, SOURCES_MAX);
            let other_family = |address: &IpAddr| address.is_ipv4() != group.is_ipv4();
            if sources.iter().any(other_family) {
                line.refuse_kind(&keys::SOURCES);
            }
            let interface = own.or_else(|| interface.clone())?;
            let source_specific = line.flag(&keys::SOURCE_SPECIFIC);
            if source_specific && sources.is_empty() {
                line.refuse(&keys::SOURCE_SPECIFIC, "it needs sources");
            }
            Some(Line {
                name,
                group,
                interface,
                sources,
                source_specific,
            })
        })
        .collect();
    lines.into_iter().collect()
}

fn interface(section: &Section<'_>, key: &keys::Key) -> Option<Interface> {
    let interface: Interface = section.parsed(key)?;
    if matches!(&interface, Interface::Name(name) if name.is_empty()) {
        section.refuse_kind(key);
    }
    Some(interface)
}

/// The name of a line by its place: A, B, …
fn letter(number: usize) -> String {
    ('A'..='Z')
        .nth(number.saturating_sub(1))
        .map_or(number.to_string(), String::from)
}

fn group(line: &Section<'_>, taken: &mut Taken) -> Option<SocketAddr> {
    let Some(group) = line.parsed::<SocketAddr>(&keys::GROUP) else {
        if !line.has(&keys::GROUP) {
            line.refuse_kind(&keys::GROUP);
        }
        return None;
    };
    if !group.ip().is_multicast() || group.port() == 0 {
        line.refuse(&keys::GROUP, "no multicast group and port");
    } else if !taken.groups.insert(group) {
        line.refuse(&keys::GROUP, "another line has this group and port");
    }
    Some(group)
}

impl Recovery {
    /// The defaults.
    fn new() -> Self {
        let (table, source) = (DeTable::new(), Source::new(""));
        Self::settings(&Section::new(
            &source,
            Place::Recovery,
            String::new(),
            &table,
            0,
        ))
    }

    fn settings(section: &Section<'_>) -> Self {
        let number = |key| section.number(key).unwrap_or_default();
        let duration = |key| section.duration(key).unwrap_or(Nanos(0));
        Self {
            request_servers: section.socket_addresses(&keys::REQUEST_SERVERS, SERVERS_MAX),
            snapshot_servers: section.socket_addresses(&keys::SNAPSHOT_SERVERS, SERVERS_MAX),
            snapshot_core: narrow(section.number(&keys::SNAPSHOT_CORE)),
            snapshot_same_session: section.flag(&keys::SNAPSHOT_SAME_SESSION),
            username: section.parsed(&keys::USERNAME).unwrap_or_default(),
            password_file: section.parsed(&keys::PASSWORD_FILE),
            password: Secret::default(),
            reorder_wait: duration(&keys::REORDER_WAIT),
            held_messages_max: number(&keys::HELD_MESSAGES_MAX),
            held_bytes_max: section.size(&keys::HELD_BYTES_MAX),
            request_timeout: duration(&keys::REQUEST_TIMEOUT),
            request_attempts_max: number(&keys::REQUEST_ATTEMPTS_MAX),
            requests_per_second_max: number(&keys::REQUESTS_PER_SECOND_MAX),
            gap_age_max: duration(&keys::GAP_AGE_MAX),
            snapshot_attempts_max: number(&keys::SNAPSHOT_ATTEMPTS_MAX),
            line_silent: duration(&keys::LINE_SILENT),
            line_down: duration(&keys::LINE_DOWN),
        }
    }

    /// Takes over what can change while the program runs.
    fn reload(&mut self, new: Self) {
        *self = Self {
            // The arbiter's.
            reorder_wait: self.reorder_wait,
            held_messages_max: self.held_messages_max,
            held_bytes_max: self.held_bytes_max,
            line_silent: self.line_silent,
            line_down: self.line_down,
            ..new
        };
    }

    fn section(section: &Section<'_>, secrets: Option<&Path>) -> Self {
        let mut recovery = Self::settings(section);
        if !is_login(&recovery.username, USERNAME_CHARACTERS_MAX) {
            section.refuse_kind(&keys::USERNAME);
        }
        if let (Some(file), Some(folder)) = (&recovery.password_file, secrets) {
            let file = folder.join(file);
            match password(&file) {
                Ok(password) => recovery.password = password,
                Err(why) => section.refuse(&keys::PASSWORD_FILE, why),
            }
            recovery.password_file = Some(file);
        }
        if recovery.line_down <= recovery.line_silent {
            section.refuse(
                &keys::LINE_DOWN,
                format!(
                    "it has to be above line_silent, which is {}",
                    recovery.line_silent
                ),
            );
        }
        if recovery.gap_age_max < recovery.request_timeout {
            section.refuse(
                &keys::GAP_AGE_MAX,
                format!(
                    "below request_timeout, which is {}: no answer would be waited for",
                    recovery.request_timeout
                ),
            );
        }
        recovery
    }
}

fn is_login(text: &str, length_max: usize) -> bool {
    text.len() <= length_max && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Reads a password that nobody else can read.
fn password(path: &Path) -> Result<Secret, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    let mode = metadata.permissions().mode() & 0o777;
    if !metadata.is_file() || mode & 0o077 != 0 {
        return Err(format!(
            "mode {mode:04o}: it has to be a file that only its owner can read (chmod 600)"
        ));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || !is_login(password, PASSWORD_CHARACTERS_MAX) {
        // What it contains is nobody's business.
        return Err(format!(
            "it has to contain 1 to {PASSWORD_CHARACTERS_MAX} letters or digits"
        ));
    }
    Ok(Secret(password.to_owned()))
}

#[cfg(test)]
mod tests;
