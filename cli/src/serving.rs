//! What `demo`, `serve` and `replay --serve` share: a reactor on a thread of its own.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tickcast_book::link::Subscription;
use tickcast_codecs::protocol::Protocol;
use tickcast_fanout::edge::{Feed, Reactor};
use tickcast_fanout::{ChannelInfo, HubConfig, HubStatus, ServerInfo};
use tickcast_feed::counters::ChannelStatus;
use tickcast_feed::receiver::wall_clock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::Failure;

/// A server that runs.
pub(crate) struct Serving {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What the hub counts.
    pub(crate) status: Arc<HubStatus>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<std::io::Result<()>>,
}

/// What subscribers see of a channel.
pub(crate) fn channel_info(name: String, venue: &str, protocol: Protocol) -> ChannelInfo {
    ChannelInfo {
        name,
        venue: venue.to_owned(),
        by_order: protocol.is_by_order(),
    }
}

/// A channel for the reactor.
pub(crate) fn feed(
    info: ChannelInfo,
    subscription: Subscription,
    status: Arc<ChannelStatus>,
) -> Feed {
    Feed {
        info,
        subscription,
        report: Arc::new(move || status.load()),
    }
}

/// Takes the address before anything else is started.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| {
        Failure::Failed(format!(
            "can't listen on {address}: {error}; choose another address with --listen"
        ))
    })
}

impl Serving {
    /// Starts a reactor.
    pub(crate) fn start(listener: TcpListener, feeds: Vec<Feed>) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::Failed(format!("server: {error}"));
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        // Sequence numbers of one run don't compare with those of another.
        let run = format!("{:x}", wall_clock());
        let info = ServerInfo {
            session: run.clone(),
            epoch: run,
        };
        let status = Arc::new(HubStatus::default());
        let known = Arc::clone(&status);
        let thread = thread::Builder::new()
            .name("reactor".to_owned())
            .spawn(move || {
                Reactor::run(listener, HubConfig::default(), info, feeds, known, stopped)
            })
            .map_err(failed)?;
        Ok(Self {
            address,
            status,
            stop,
            thread,
        })
    }

    /// Whether the reactor has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Tells subscribers, closes them and ends the thread.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        let _ = self.stop.send(true);
        match self.thread.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::Failed(format!("server: {error}"))),
            Err(_) => Err(Failure::Failed("the server's thread panicked".to_owned())),
        }
    }

    /// Where to look, for people.
    pub(crate) fn announce(&self, venue: &str, symbol: &str) {
        let address = self.address;
        eprintln!("page:        http://{address}/");
        eprintln!("WebSocket:   ws://{address}/v1/ws");
        eprintln!(
            "subscribe:   tickcast subscribe ws://{address}/v1/ws --venue {venue} --symbols {symbol}"
        );
        eprintln!("HTTP:        curl http://{address}/v1/book/{venue}/{symbol}");
    }
}

/// Blocks until Ctrl-C or SIGTERM, or until `ended` says that there is nothing left to wait for.
pub(crate) fn wait_for_signal(ended: impl Fn() -> bool) -> Result<(), Failure> {
    let signals = Signals::new()?;
    while !ended() && !signals.came() {
        thread::sleep(LOOK);
    }
    Ok(())
}

/// How often whoever waits for signals looks.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// Ctrl-C and SIGTERM, and SIGHUP where it is asked for, noticed by a thread of their own.
pub(crate) struct Signals {
    end: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    /// From now on Ctrl-C and SIGTERM end nothing by themselves.
    pub(crate) fn new() -> Result<Self, Failure> {
        Self::start(false)
    }

    /// As [`new`](Self::new), and neither does SIGHUP.
    pub(crate) fn with_reload() -> Result<Self, Failure> {
        Self::start(true)
    }

    fn start(with_reload: bool) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::Failed(format!("signals: {error}"));
        let (end, reload) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let listen = |kind| {
            let _inside = runtime.enter();
            signal(kind).map_err(failed)
        };
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let mut hangup = with_reload
            .then(|| listen(SignalKind::hangup()))
            .transpose()?;
        let signals = Self {
            end: Arc::clone(&end),
            reload: Arc::clone(&reload),
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    loop {
                        let hung_up = async {
                            match &mut hangup {
                                Some(hangup) => hangup.recv().await,
                                None => std::future::pending().await,
                            }
                        };
                        tokio::select! {
                            _ = interrupt.recv() => break,
                            _ = terminate.recv() => break,
                            _ = hung_up => reload.store(true, Ordering::Relaxed),
                        }
                    }
                });
                end.store(true, Ordering::Relaxed);
            })
            .map_err(failed)?;
        Ok(signals)
    }

    /// Whether the program shall end.
    pub(crate) fn came(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }

    /// Whether the configuration shall be read again; says so once for each time it was asked.
    pub(crate) fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }
}
