//! The loop of one reactor: rings in, hub, sockets out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashSet;
use tickcast_book::Report;
use tickcast_book::link::{Item, LEVELS, ORDERS, SnapshotRequest, Subscription};
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;

use crate::counters::HubStatus;
use crate::edge::server;
use crate::hub::{ChannelInfo, Hub, HubConfig, ServerInfo, SubscriberId, interest};

/// Items taken from one ring before the others and the subscribers get their turn.
const ITEMS_PER_TURN: usize = 4_096;

/// How long subscribers have between the word that the server stops and the close.
const SHUTDOWN: Duration = Duration::from_millis(500);

/// What a channel says of itself, for `feed` and `/v1/status`.  Read now and then, on the reactor's thread: it mustn't wait
/// for the channel's.
pub type ReadReport = Arc<dyn Fn() -> Report + Send + Sync>;

/// A channel that the reactor serves.
pub struct Feed {
    /// What subscribers see of it.
    pub info: ChannelInfo,
    /// The ring from its shard.
    pub subscription: Subscription,
    /// What it says of itself.
    pub report: ReadReport,
}

/// Says when to stop: set it to true.
pub type Stop = watch::Receiver<bool>;

/// What a reactor and its connections share.
pub struct Reactor {
    pub(super) hub: RefCell<Hub>,
    /// By [`SubscriberId::index`]: wakes the connection's task.
    pub(super) connections: RefCell<Vec<Option<Rc<Notify>>>>,
    /// Wakes the loop: the hub may have something for shards or subscribers.
    pub(super) turn: Notify,
    /// By the channels' order.
    pub(super) reports: Vec<(String, ReadReport)>,
    status: Arc<HubStatus>,
    pub(super) stop: Stop,
    /// Only programs of this machine can connect.
    pub(super) is_loopback: bool,
    started: Instant,
}

impl Reactor {
    /// Monotonic nanoseconds since the reactor started.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn wake(&self, id: SubscriberId) {
        if let Some(Some(notify)) = self.connections.borrow().get(id.index()) {
            notify.notify_one();
        }
    }

    /// Serves until `stop` becomes true, and keeps `status` up to date.  Call it on a thread of its own.
    ///
    /// # Errors
    ///
    /// The system's error if the runtime can't be made or the listener can't be used.
    pub fn run(
        listener: TcpListener,
        config: HubConfig,
        info: ServerInfo,
        feeds: Vec<Feed>,
        status: Arc<HubStatus>,
        stop: Stop,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut channels = Vec::with_capacity(feeds.len());
        let mut reports = Vec::with_capacity(feeds.len());
        let mut links = Vec::with_capacity(feeds.len());
        for feed in feeds {
            reports.push((feed.info.name.clone(), feed.report));
            channels.push(feed.info);
            links.push(Link {
                subscription: feed.subscription,
                waiting: VecDeque::new(),
                queued: FxHashSet::default(),
            });
        }
        let is_loopback = listener.local_addr()?.ip().is_loopback();
        let reactor = Rc::new(Self {
            hub: RefCell::new(Hub::new(config, info, channels)),
            connections: RefCell::new(Vec::new()),
            turn: Notify::new(),
            reports,
            status,
            stop,
            is_loopback,
            started: Instant::now(),
        });
        LocalSet::new().block_on(&runtime, async {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let accepting = tokio::task::spawn_local(server::accept(Rc::clone(&reactor), listener));
            turns(&reactor, links).await;
            accepting.abort();
            shut_down(&reactor).await;
            Ok(())
        })
    }
}

/// A ring, and the snapshot requests that didn't fit in its channel yet.
struct Link {
    subscription: Subscription,
    waiting: VecDeque<SnapshotRequest>,
    /// Those that wait: asked for again before it was sent, a book isn't sent for twice.
    queued: FxHashSet<SnapshotRequest>,
}

impl Link {
    fn queue(&mut self, request: SnapshotRequest) {
        if self.queued.insert(request) {
            self.waiting.push_back(request);
        }
    }

    /// Sends as many requests as there is room for.
    fn send(&mut self) {
        if self.subscription.is_closed() {
            // Nobody will answer.
            self.waiting.clear();
            self.queued.clear();
        }
        while let Some(&request) = self.waiting.front() {
            if self.subscription.request(request).is_err() {
                break;
            }
            self.waiting.pop_front();
            self.queued.remove(&request);
        }
    }
}

async fn turns(reactor: &Rc<Reactor>, mut links: Vec<Link>) {
    let mut stop = reactor.stop.clone();
    while !*stop.borrow_and_update() {
        let busy = turn(reactor, &mut links);
        if busy {
            // The connections' tasks get their turn.
            tokio::task::yield_now().await;
            continue;
        }
        let now = reactor.now();
        let until = reactor.hub.borrow().poll_timeout();
        let blocked = links.iter().any(|link| !link.waiting.is_empty());
        let wait = match until {
            // The timer's granularity is a millisecond.
            _ if blocked => Duration::from_millis(1),
            Some(at) => Duration::from_nanos(at.saturating_sub(now)),
            None => Duration::from_secs(1),
        };
        tokio::select! {
            () = arrival(&links) => {}
            () = reactor.turn.notified() => {}
            () = tokio::time::sleep(wait) => {}
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
}

/// Waits until a ring has something.
async fn arrival(links: &[Link]) {
    poll_fn(|context| {
        for link in links {
            link.subscription.register(context.waker());
        }
        // What came before the registration wakes nobody: look once more.
        if links.iter().any(|link| !link.subscription.is_empty()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// One turn; returns whether there may be more at once.
fn turn(reactor: &Reactor, links: &mut [Link]) -> bool {
    let mut hub = reactor.hub.borrow_mut();
    hub.handle_timeout(reactor.now(), wall_clock());
    let mut busy = false;
    for (channel, link) in links.iter_mut().enumerate() {
        for taken in 1..=ITEMS_PER_TURN {
            match link.subscription.poll() {
                Some(Item::Update(update)) => hub.handle_update(channel, &update),
                Some(Item::Overrun { .. }) => hub.handle_overrun(channel),
                None => break,
            }
            busy |= taken == ITEMS_PER_TURN;
        }
    }
    while let Some(channel) = hub.poll_report() {
        if let Some((_, report)) = reactor.reports.get(channel) {
            hub.handle_report(channel, &report());
        }
    }
    while let Some(upstream) = hub.poll_upstream() {
        let Some(link) = links.get_mut(upstream.channel) else {
            continue;
        };
        let by_order = upstream.interest & interest::ORDERS != 0;
        link.subscription
            .set_interest(upstream.instrument_id, upstream.interest);
        if upstream.snapshot {
            link.queue(SnapshotRequest {
                instrument_id: upstream.instrument_id,
                what: if by_order { ORDERS } else { LEVELS },
            });
        }
    }
    for link in links {
        link.send();
    }
    while let Some(id) = hub.poll_ready() {
        reactor.wake(id);
    }
    reactor.status.store(hub.counters(), hub.subscribers());
    busy
}

async fn shut_down(reactor: &Rc<Reactor>) {
    let in_ms = u64::try_from(SHUTDOWN.as_millis()).unwrap_or(0);
    reactor.hub.borrow_mut().shutdown(in_ms, reactor.now());
    let deadline = Instant::now() + SHUTDOWN * 2;
    while reactor.hub.borrow().subscribers() > 0 && Instant::now() < deadline {
        turn(reactor, &mut []);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Nanoseconds since the Unix epoch.
fn wall_clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        })
}
