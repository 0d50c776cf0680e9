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
use tickcast_feed::counters::ChannelStatus;
use tickcast_feed::limits::RING_SLOTS;
use tickcast_feed::receiver::{self, Wait};
use tickcast_feed::snapshot::Share;
use tickcast_feed::socket::MulticastSocket;
use tickcast_feed::{Shard, ShardConfig};

use crate::Failure;
use crate::config::{self, Channel, Config, Machine};
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
pub(crate) struct Started {
    /// Its thread.
    pub(crate) receiving: Receiving,
    /// What the reactor takes of it.
    pub(crate) feed: Feed,
    /// What it counts.
    pub(crate) status: Arc<ChannelStatus>,
}

/// A channel's thread.
pub(crate) struct Receiving {
    name: String,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Receiving {
    /// Joins the groups, then starts the thread: an error comes before anything runs.
    pub(crate) fn start(
        channel: &Channel,
        number: u16,
        stop: &Arc<AtomicBool>,
    ) -> Result<Started, Failure> {
        let failed = |why: String| Failure::Failed(format!("{}: {why}", channel.name));
        let mut sockets = Vec::with_capacity(channel.lines.len());
        for line in &channel.lines {
            let (group, interface) = (line.group, line.interface);
            let socket = MulticastSocket::join(group, interface).map_err(|error| {
                failed(format!(
                    "line {}: can't join {group} on interface {interface}: {error}",
                    line.name
                ))
            })?;
            let granted = socket.receive_buffer_bytes() as u64;
            if granted < channel.receive_buffer_min.0 {
                return Err(failed(format!(
                    "line {}: receive_buffer = {} was asked for, {} KiB were granted, receive_buffer_min is {}: raise net.core.rmem_max",
                    line.name,
                    channel.receive_buffer,
                    granted / 1024,
                    channel.receive_buffer_min
                )));
            }
            sockets.push(socket);
        }
        let granted = sockets
            .iter()
            .map(MulticastSocket::receive_buffer_bytes)
            .min()
            .unwrap_or(0);
        let (shard, status, feed) = shard(
            &channel.name,
            &channel.shard(number, Share::WHOLE),
            &channel.venue,
        );
        let (core, name) = (channel.cores.first().copied(), channel.name.clone());
        let wait = match channel.wait {
            config::Wait::Sleep | config::Wait::Adaptive => Wait::Sleep,
            config::Wait::Spin => Wait::Spin,
        };
        let stop = Arc::clone(stop);
        let known = Arc::clone(&status);
        let thread = spawn(&channel.name, move || {
            let mut shard = shard;
            let pinned = receiver::pin(core);
            // What was asked for and what was granted, once.
            eprintln!(
                "{name}: receive buffer {} KiB, {}",
                granted / 1024,
                match (core, pinned) {
                    (None, _) => "not pinned".to_owned(),
                    (Some(core), true) => format!("pinned to core {core}"),
                    (Some(core), false) => format!("pinning to core {core} was refused"),
                }
            );
            receiver::run(&mut shard, &mut sockets, wait, &status, &stop)
        })?;
        let name = channel.name.clone();
        Ok(Started {
            receiving: Self { name, thread },
            feed,
            status: known,
        })
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
pub(crate) fn shard(
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
        let restart = self.config.reload(new);
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
    for (number, channel) in (0..).zip(&config.channels) {
        let one = Receiving::start(channel, number, &stop)?;
        let status = one.status;
        channels.push(Exported {
            name: channel.name.clone(),
            lines: channel.lines.iter().map(|line| line.name.clone()).collect(),
            report: Arc::new(move || status.load()),
        });
        receiving.push(one.receiving);
        feeds.push(one.feed);
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
