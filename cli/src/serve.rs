//! `tickcast serve`: the daemon.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use tickcast_book::link::{self, Publisher, WhenFull};
use tickcast_codecs::protocol::Protocol;
use tickcast_fanout::edge::Feed;
use tickcast_feed::counters::ChannelStatus;
use tickcast_feed::drive::Drive;
use tickcast_feed::limits::RING_SLOTS;
use tickcast_feed::receiver::{Clock, Lines, Receiver, Wait};
use tickcast_feed::socket::{JoinConfig, MulticastSocket};
use tickcast_feed::startup::ThreadConfig;
use tickcast_feed::{Shard, ShardConfig};

use crate::Failure;
use crate::config::{Channel, Config};
use crate::serving::{self, Serving};

/// Receive multicast channels and serve subscribers, as the configuration says.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "tickcast.toml")]
    config: PathBuf,
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
    ) -> Result<(Self, Feed), Failure> {
        let mut sockets = Vec::with_capacity(channel.groups.len());
        for group in &channel.groups {
            let join = JoinConfig::any_source(*group, channel.interface);
            let socket = MulticastSocket::open(&join).map_err(|error| {
                Failure::Failed(format!(
                    "{}: can't join {group} on interface {}: {error}",
                    channel.name, channel.interface
                ))
            })?;
            sockets.push(socket);
        }
        let lines = Lines::new(sockets);
        let clock = Clock::new();
        let (shard, status, feed) = shard(&channel.name, &channel.venue, channel.protocol, number);
        let (core, wait, name) = (channel.core, channel.wait, channel.name.clone());
        let stop = Arc::clone(stop);
        let thread = spawn(&channel.name, move || {
            let config = ThreadConfig {
                core,
                ..ThreadConfig::default()
            };
            let startup = config.apply(Some(&lines));
            // What was asked for and what was granted, once.
            eprintln!("{name}: {startup}");
            startup.check().map_err(std::io::Error::other)?;
            Receiver::new(lines, Drive::new(shard, clock, None, None, status)).run(wait, &stop)
        })?;
        let name = channel.name.clone();
        Ok((Self { name, thread }, feed))
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
    venue: &str,
    protocol: Protocol,
    number: u16,
) -> (Shard<Publisher>, Arc<ChannelStatus>, Feed) {
    let (publisher, subscription) = link::link(RING_SLOTS, WhenFull::Overrun);
    let status = Arc::new(ChannelStatus::default());
    let info = serving::channel_info(name.to_owned(), venue, protocol);
    let feed = serving::feed(info, subscription, Arc::clone(&status));
    let config = ShardConfig::new(protocol, number, venue);
    let shard = Shard::new(&config, publisher, (), 0);
    (shard, status, feed)
}

/// How a demo's or a daemon's threads wait.
pub(crate) const SLEEP: Wait = Wait::Sleep;

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::read(&arguments.config)?;
    let listener = serving::listen(config.listen)?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut receiving = Vec::new();
    let mut feeds = Vec::new();
    for (number, channel) in (0..).zip(&config.channels) {
        let (one, feed) = Receiving::start(channel, number, &stop)?;
        receiving.push(one);
        feeds.push(feed);
    }
    let serving = Serving::start(listener, feeds)?;
    serving.announce(&config.channels[0].venue, "SYMBOL");
    serving::wait_for_signal(|| {
        serving.is_finished() || receiving.iter().any(Receiving::is_finished)
    })?;
    let served = serving.stop();
    stop.store(true, Ordering::Relaxed);
    for one in receiving {
        one.join()?;
    }
    served
}
