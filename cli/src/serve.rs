//! `tickcast serve`: the daemon.
//!
//! The configuration is read and checked whole, then the addresses are taken, then the groups are joined, then
//! threads start: what can fail fails before anything runs.  SIGHUP reads the file again and applies what can
//! change; a file that is refused changes nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tickcast_book::link::{self, Publisher, WhenFull};
use tickcast_fanout::edge::Feed;
use tickcast_feed::control::{Operator, Reload, Servers, control};
use tickcast_feed::counters::ChannelStatus;
use tickcast_feed::drive::Drive;
use tickcast_feed::limits::{RING_SLOTS, SHARD_RING_PACKETS};
use tickcast_feed::loader::LoaderHandle;
use tickcast_feed::receiver::{self, Clock, Lines, Receiver};
use tickcast_feed::shards;
use tickcast_feed::snapshot::Share;
use tickcast_feed::socket::{MulticastSocket, RequestSocket};
use tickcast_feed::startup::ThreadConfig;
use tickcast_feed::{Shard, ShardConfig};

use crate::Failure;
use crate::config::{self, Channel, Config, Machine, Recovery};
use crate::metrics::{Exported, Metrics, Sources};
use crate::serving::{self, Serving, Signals};

/// Receive multicast channels and serve subscribers, as the configuration says.
///
/// SIGHUP reads the configuration again; SIGTERM and Ctrl-C tell subscribers, then end.  `tickcast check-config`
/// says what a configuration means.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "tickcast.toml")]
    config: PathBuf,
}

/// A channel that runs.
#[derive(Default)]
pub(crate) struct Started {
    /// Its threads.
    pub(crate) threads: Vec<Receiving>,
    /// What the reactor takes of it, a feed a shard.
    pub(crate) feeds: Vec<Feed>,
    /// What the metrics tell of it.
    exported: Vec<Exported>,
    /// What can be changed of it.
    shards: Vec<(Operator, ShardConfig)>,
}

/// A thread.
pub(crate) struct Receiving {
    name: String,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Receiving {
    /// Joins the groups and opens what the shards ask with, then starts the threads: an error comes before
    /// anything runs.  `number` is the first shard's, see [`ShardConfig::number`].
    pub(crate) fn start(
        channel: &Channel,
        number: u16,
        stop: &Arc<AtomicBool>,
    ) -> Result<Started, Failure> {
        let failed = |error: std::io::Error| Failure::Failed(format!("{}: {error}", channel.name));
        let mut sockets = Vec::with_capacity(channel.lines.len());
        for line in &channel.lines {
            let (group, interface) = (line.group, &line.interface);
            let socket = MulticastSocket::open(&channel.join(line)).map_err(|error| {
                Failure::Failed(format!(
                    "{}: line {}: can't join {group} on interface {interface}: {error}",
                    channel.name, line.name
                ))
            })?;
            sockets.push(socket);
        }
        let lines = Lines::new(sockets);
        let mut started = Started::default();
        let mut drives = Vec::new();
        for index in 0..channel.shards {
            let share = Share {
                index,
                of: channel.shards,
            };
            let config = channel.shard(number.saturating_add(index), share);
            drives.push(started.drive(channel, &config)?);
        }
        let name = &channel.name;
        let wait = channel.wait();
        if channel.shards == 1
            && let Some(drive) = drives.pop()
        {
            let (asked, shown, stop) = (channel.thread(0), name.clone(), Arc::clone(stop));
            started.threads.push(Self::spawn(name, move || {
                begin(&shown, asked, Some(&lines))?;
                Receiver::new(lines, drive).run(wait, &stop)
            })?);
            return Ok(started);
        }
        let (splitter, inboxes) =
            shards::split(channel.shards, SHARD_RING_PACKETS, &lines.counters()).map_err(failed)?;
        for (number, (drive, inbox)) in (1..).zip(drives.into_iter().zip(inboxes)) {
            let (name, stop) = (format!("{name}.{number}"), Arc::clone(stop));
            let asked = channel.thread(number);
            let shown = name.clone();
            started.threads.push(Self::spawn(&name, move || {
                begin(&shown, asked, None)?;
                shards::run(drive, inbox, wait, &stop)
            })?);
        }
        let (asked, shown, stop) = (channel.thread(0), name.clone(), Arc::clone(stop));
        started.threads.push(Self::spawn(name, move || {
            begin(&shown, asked, Some(&lines))?;
            receiver::run_split(lines, splitter, wait, &stop)
        })?);
        Ok(started)
    }

    /// The thread that runs `body`, under a channel's name.
    pub(crate) fn spawn(
        name: &str,
        body: impl FnOnce() -> std::io::Result<()> + Send + 'static,
    ) -> Result<Self, Failure> {
        let thread = spawn(name, body)?;
        Ok(Self {
            name: name.to_owned(),
            thread,
        })
    }

    /// Whether the thread has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread's end.
    pub(crate) fn join(self) -> Result<(), Failure> {
        match self.thread.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::Failed(format!("{}: {error}", self.name))),
            Err(_) => Err(Failure::Failed(format!(
                "{}: its thread panicked",
                self.name
            ))),
        }
    }
}

impl Started {
    /// A shard with what it asks with, and its ends for everybody else.
    pub(crate) fn drive(
        &mut self,
        channel: &Channel,
        config: &ShardConfig,
    ) -> Result<Drive<()>, Failure> {
        // Each shard is a channel of its own to subscribers: it may be stale while its sisters aren't.
        let name = match config.share.of {
            1 => channel.name.clone(),
            _ => format!("{}.{}", channel.name, config.share.index + 1),
        };
        let clock = Clock::new();
        let (shard, status, feed) = shard(&name, config, &channel.venue);
        let servers = servers(&channel.recovery, config)
            .map_err(|why| Failure::Failed(format!("{name}: {why}")))?;
        let (operator, control) = control();
        self.shards.push((operator, *config));
        self.feeds.push(feed);
        let known = Arc::clone(&status);
        self.exported.push(Exported {
            name,
            lines: channel.lines.iter().map(|line| line.name.clone()).collect(),
            report: Arc::new(move || known.load()),
        });
        let drive = Drive::new(shard, clock, servers.requests, servers.loader, status);
        Ok(drive.with_control(control))
    }
}

/// Opens what a shard asks with.
fn servers(recovery: &Recovery, config: &ShardConfig) -> Result<Servers, String> {
    let mut servers = Servers::default();
    if !recovery.request_servers.is_empty() {
        let socket = RequestSocket::open(&recovery.request_servers, None)
            .map_err(|error| format!("request_servers: {error}"))?;
        servers.requests = Some(socket);
    }
    if !recovery.snapshot_servers.is_empty() {
        let loader = LoaderHandle::spawn(
            recovery.loader(config),
            recovery.snapshot_servers.clone(),
            recovery.snapshot_core,
        )
        .map_err(|error| format!("snapshot_servers: {error}"))?;
        servers.loader = Some(loader);
    }
    Ok(servers)
}

/// Asks the system for what a thread is to have, and says what was granted, once.
fn begin(name: &str, asked: ThreadConfig, lines: Option<&Lines>) -> std::io::Result<()> {
    let startup = asked.apply(lines);
    eprintln!("{name}: {startup}");
    startup.check().map_err(std::io::Error::other)
}

fn spawn(
    name: &str,
    body: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> Result<JoinHandle<std::io::Result<()>>, Failure> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| Failure::Failed(format!("{name}: {error}")))
}

/// A shard whose updates go to a reactor, and the reactor's end of it.
fn shard(
    name: &str,
    config: &ShardConfig,
    venue: &str,
) -> (Shard<Publisher>, Arc<ChannelStatus>, Feed) {
    let (publisher, subscription) = link::link(RING_SLOTS, WhenFull::Overrun);
    let status = Arc::new(ChannelStatus::default());
    let info = serving::channel_info(name.to_owned(), venue, config.protocol);
    let feed = serving::feed(info, subscription, Arc::clone(&status));
    let shard = Shard::new(config, publisher, (), 0);
    // Whoever looks before its thread runs sees a channel that is idle.
    status.store(|report| shard.report(report));
    (shard, status, feed)
}

/// What SIGHUP can change.
struct Running<'a> {
    path: &'a Path,
    config: Config,
    metrics: Option<Metrics>,
    sources: Arc<Sources>,
    /// Of each channel its shards.
    shards: Vec<Vec<(Operator, ShardConfig)>>,
}

impl Running<'_> {
    /// Reads the file again and applies what can change; what is told goes to people.
    fn reload(&mut self) {
        let path = self.path.display();
        let machine = Machine::this();
        let new = match Config::read(self.path, Some(&machine)) {
            Ok(new) => new,
            Err(mistakes) => {
                let why = config::refused(self.path, &mistakes);
                eprintln!("reload: {why}\nreload: nothing was changed");
                return;
            }
        };
        let warnings = config::warnings(&new, &machine);
        let metrics = self.config.metrics_listen;
        let before: Vec<Recovery> = self
            .config
            .channels
            .iter()
            .map(|channel| channel.recovery.clone())
            .collect();
        let restart = self.config.reload(new);
        for ((channel, before), shards) in
            (self.config.channels.iter_mut().zip(before)).zip(&self.shards)
        {
            if channel.recovery == before {
                continue;
            }
            match change(&channel.recovery, shards) {
                Ok(()) => eprintln!("reload: {}: recovery was changed", channel.name),
                Err(why) => {
                    eprintln!("reload: {}: {why}; it stays as it was", channel.name);
                    channel.recovery = before;
                }
            }
        }
        if self.config.metrics_listen != metrics
            && let Err(why) = self.move_metrics()
        {
            eprintln!("reload: {why}; it stays as it was");
            self.config.metrics_listen = metrics;
        }
        for warning in warnings {
            eprintln!("warning: {warning}");
        }
        for key in restart {
            eprintln!("reload: {key}: needs a restart");
        }
        eprintln!("reload: {path} was read again");
    }

    /// Starts the endpoint where it is to be, then stops the old one.
    fn move_metrics(&mut self) -> Result<(), Failure> {
        let new = start_metrics(self.config.metrics_listen, &self.sources)?;
        if let Some(old) = std::mem::replace(&mut self.metrics, new) {
            old.stop();
        }
        Ok(())
    }
}

/// Gives the shards of a channel another recovery: all of them, or, if one can't have it, none.
fn change(recovery: &Recovery, shards: &[(Operator, ShardConfig)]) -> Result<(), String> {
    let mut ready = Vec::with_capacity(shards.len());
    for (operator, config) in shards {
        let servers = servers(recovery, config)?;
        let recovery = recovery.config();
        ready.push((operator, Reload { recovery, servers }));
    }
    for (operator, reload) in ready {
        operator
            .reload(reload)
            .map_err(|_| "a shard hasn't taken the last change yet")?;
    }
    Ok(())
}

fn start_metrics(
    address: Option<SocketAddr>,
    sources: &Arc<Sources>,
) -> Result<Option<Metrics>, Failure> {
    let Some(address) = address else {
        return Ok(None);
    };
    let metrics = Metrics::start(Metrics::listen(address)?, Arc::clone(sources))?;
    eprintln!("metrics:     curl http://{}/metrics", metrics.address);
    Ok(Some(metrics))
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let started = Instant::now();
    let path = arguments.config.as_path();
    let machine = Machine::this();
    let config =
        Config::read(path, Some(&machine)).map_err(|mistakes| config::refused(path, &mistakes))?;
    for warning in config::warnings(&config, &machine) {
        eprintln!("warning: {warning}");
    }
    let listener = serving::listen(config.listen)?;
    let signals = Signals::with_reload()?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut receiving = Vec::new();
    let mut feeds = Vec::new();
    let mut channels = Vec::new();
    let mut shards = Vec::new();
    let mut number = 0_u16;
    for channel in &config.channels {
        let started = Receiving::start(channel, number, &stop)?;
        number = number.saturating_add(channel.shards);
        receiving.extend(started.threads);
        feeds.extend(started.feeds);
        channels.extend(started.exported);
        shards.push(started.shards);
    }
    let serving = Serving::start(listener, feeds)?;
    let sources = Arc::new(Sources {
        channels,
        hub: Arc::clone(&serving.status),
        started,
    });
    let mut running = Running {
        path,
        metrics: start_metrics(config.metrics_listen, &sources)?,
        config,
        sources,
        shards,
    };
    if let Some(channel) = running.config.channels.first() {
        serving.announce(&channel.venue, "SYMBOL");
    }
    while !signals.came() && !serving.is_finished() && !receiving.iter().any(Receiving::is_finished)
    {
        if signals.take_reload() {
            running.reload();
        }
        thread::sleep(serving::LOOK);
    }
    let served = serving.stop();
    stop.store(true, Ordering::Relaxed);
    for one in receiving {
        one.join()?;
    }
    if let Some(metrics) = running.metrics {
        metrics.stop();
    }
    served
}
