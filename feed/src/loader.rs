//! The loader: an edge.  A thread of its own moves bytes between a snapshot server and a
//! [`Loader`].
//!
//! Recovery has to work at peak rate, so it has a processor of its own: the shard asks, goes on, and finds
//! the books ready later.  On the shard's side nothing waits: requests, answers and old books go
//! through bounded channels.  Books that were replaced are sent here to be dropped: a million orders aren't
//! freed on the thread that receives.
//!
//! One request is one attempt, at the next of the configured servers in turn; whether there is another
//! attempt is for the shard to decide.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, select};
use tickcast_book::report::{Reading, ReadingKind};

use crate::limits::{CONNECT_NS_MAX, LOADER_SLOTS};
use crate::snapshot::{LoadError, LoadRequest, Loaded, Loader, LoaderConfig};
use crate::startup::pin;

/// How long the thread waits for bytes before it looks at the clock and at newer requests.
const WAIT: Duration = Duration::from_millis(10);

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// An answer: the snapshot, or which request failed and why.
pub type Answer = Result<Box<Loaded>, (u64, LoadError)>;

macro_rules! counters {
    ($(#[doc = $help:literal] $name:ident,)+) => {
        /// What a loader counts.
        #[derive(Debug, Default)]
        struct Counters {
            $(#[doc = $help] $name: AtomicU64,)+
        }

        impl Counters {
            fn readings(&self) -> impl Iterator<Item = Reading> {
                [$(Reading {
                    name: concat!("load_", stringify!($name)),
                    help: $help.trim_ascii(),
                    kind: ReadingKind::Counter,
                    line: None,
                    value: self.$name.load(Ordering::Relaxed),
                },)+]
                .into_iter()
            }
        }
    };
}

counters! {
    /// Loads of a snapshot that were started.
    started,
    /// Snapshots that were complete.
    complete,
    /// Loads given up because a newer one was asked for.
    superseded,
    /// Bytes received from snapshot servers.
    bytes,
    /// Messages of complete snapshots.
    messages,
    /// Loads that failed because the server can't be reached or closed the connection.
    closed,
    /// Loads that failed because the server took too long.
    timed_out,
    /// Loads that failed because the server refused the login.
    rejected,
    /// Loads that failed because the server's bytes don't fit the protocol.
    malformed,
    /// Loads that failed because the snapshot was of another session.
    other_session,
    /// Loads that failed because the snapshot was older than what is missing.
    too_old,
    /// Loads that failed because the snapshot's messages don't fit each other.
    inconsistent,
    /// Loads that failed because the snapshot was larger than any venue's.
    too_large,
}

impl Counters {
    fn of(&self, error: LoadError) -> &AtomicU64 {
        match error {
            LoadError::Closed => &self.closed,
            LoadError::TimedOut => &self.timed_out,
            LoadError::Rejected => &self.rejected,
            LoadError::Malformed => &self.malformed,
            LoadError::OtherSession => &self.other_session,
            LoadError::TooOld => &self.too_old,
            LoadError::Inconsistent => &self.inconsistent,
            LoadError::TooLarge => &self.too_large,
        }
    }
}

/// The shard's end of a loader.  Dropping it ends the thread; it isn't waited for.
#[derive(Debug)]
pub struct LoaderHandle {
    requests: Sender<LoadRequest>,
    /// The other end of `requests`: what is superseded before the thread took it is taken back.
    superseded: Receiver<LoadRequest>,
    answers: Receiver<Answer>,
    old: Sender<Box<Loaded>>,
    counters: Arc<Counters>,
    thread: JoinHandle<()>,
}

impl LoaderHandle {
    /// Starts a loader's thread, pinned to `core` if one is given.
    ///
    /// # Errors
    ///
    /// The system's error if there is no thread to be had; [`ErrorKind::InvalidInput`] if there is no
    /// server.
    pub fn spawn(
        config: LoaderConfig,
        servers: Vec<SocketAddr>,
        core: Option<usize>,
    ) -> io::Result<Self> {
        if servers.is_empty() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "a loader needs a snapshot server",
            ));
        }
        let (request_sender, requests) = bounded(LOADER_SLOTS);
        let (answers, answer_receiver) = bounded(LOADER_SLOTS);
        let (old_sender, old) = bounded(LOADER_SLOTS);
        let counters = Arc::new(Counters::default());
        let thread = Thread {
            config,
            servers,
            turn: 0,
            requests: requests.clone(),
            answers,
            old,
            counters: Arc::clone(&counters),
            clock: Instant::now(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            out: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("loader-{}", config.number))
            .spawn(move || {
                let _ = pin(core);
                thread.run();
            })?;
        Ok(Self {
            requests: request_sender,
            superseded: requests,
            answers: answer_receiver,
            old: old_sender,
            counters,
            thread,
        })
    }

    /// Starts a load; an earlier one is given up.  Never waits.
    pub fn start(&self, request: LoadRequest) {
        let mut request = request;
        while let Err(TrySendError::Full(back)) = self.requests.try_send(request) {
            // The thread is busy to the last slot: what is newest wins.
            if self.superseded.try_recv().is_ok() {
                self.counters.superseded.fetch_add(1, Ordering::Relaxed);
            }
            request = back;
        }
    }

    /// An answer, if there is one.  It may be to an earlier request: look at its id.  Never waits.
    #[must_use]
    pub fn poll(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    /// Sends back books to be dropped there.  Never waits.
    pub fn recycle(&self, old: Box<Loaded>) {
        // There is room: each came from an answer, and the thread empties this before it gives another.
        let _ = self.old.try_send(old);
    }

    /// Whether the thread ended; it only does so by a panic.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Appends what was counted.
    pub fn readings(&self, readings: &mut Vec<Reading>) {
        readings.extend(self.counters.readings());
    }
}

/// The loader's thread.
struct Thread {
    config: LoaderConfig,
    servers: Vec<SocketAddr>,
    /// Attempts so far: says which server is next.
    turn: usize,
    requests: Receiver<LoadRequest>,
    answers: Sender<Answer>,
    old: Receiver<Box<Loaded>>,
    counters: Arc<Counters>,
    clock: Instant,
    buffer: Box<[u8]>,
    out: Vec<u8>,
}

/// How an attempt ended.
enum End {
    Answer(Answer),
    /// A newer request came.
    Superseded(LoadRequest),
    /// The shard is gone.
    Stopped,
}

impl Thread {
    /// Runs until the shard is gone.
    fn run(mut self) {
        let mut next = None;
        loop {
            let Some(request) = next.take().or_else(|| self.wait()) else {
                return;
            };
            self.drop_old();
            self.counters.started.fetch_add(1, Ordering::Relaxed);
            let end = match self.load(request) {
                Ok(end) => end,
                Err(error) => End::Answer(Err((request.id, error))),
            };
            match end {
                End::Answer(answer) => {
                    self.count(&answer);
                    match self.answer(answer) {
                        Ok(newer) => next = newer,
                        Err(Gone) => return,
                    }
                }
                End::Superseded(newer) => {
                    self.counters.superseded.fetch_add(1, Ordering::Relaxed);
                    next = Some(newer);
                }
                End::Stopped => return,
            }
        }
    }

    /// Waits for a request, and drops old books meanwhile.  `None`: the shard is gone.
    fn wait(&self) -> Option<LoadRequest> {
        loop {
            select! {
                recv(self.requests) -> request => return request.ok(),
                recv(self.old) -> old => drop(old.ok()?),
            }
        }
    }

    fn drop_old(&self) {
        while let Ok(old) = self.old.try_recv() {
            drop(old);
        }
    }

    /// Gives an answer, unless a newer request comes while there is no room for it.
    fn answer(&self, answer: Answer) -> Result<Option<LoadRequest>, Gone> {
        select! {
            send(self.answers, answer) -> sent => sent.map(|()| None).map_err(|_| Gone),
            recv(self.requests) -> newer => newer.map(Some).map_err(|_| Gone),
        }
    }

    /// One attempt at the next server.
    fn load(&mut self, request: LoadRequest) -> Result<End, LoadError> {
        let at = self.turn % self.servers.len();
        self.turn = self.turn.wrapping_add(1);
        let server = *self.servers.get(at).ok_or(LoadError::Closed)?;
        let mut loader = Loader::new(&self.config, request, self.now());
        let mut stream = connect(server).map_err(|_| LoadError::Closed)?;
        loader.handle_connected(self.now());
        let end = loop {
            while loader.poll_transmit(&mut self.out) {
                if stream.write_all(&self.out).is_err() {
                    loader.handle_closed(self.now());
                }
            }
            if let Some(outcome) = loader.poll() {
                break End::Answer(outcome.map_err(|error| (request.id, error)));
            }
            match self.requests.try_recv() {
                Ok(newer) => break End::Superseded(newer),
                Err(TryRecvError::Disconnected) => break End::Stopped,
                Err(TryRecvError::Empty) => {}
            }
            match stream.read(&mut self.buffer) {
                Ok(0) => loader.handle_closed(self.now()),
                Ok(read) => {
                    let now = self.now();
                    loader.handle_bytes(now, self.buffer.get(..read).unwrap_or_default());
                }
                Err(error) if is_nothing_yet(&error) => loader.handle_timeout(self.now()),
                Err(_) => loader.handle_closed(self.now()),
            }
        };
        self.counters
            .bytes
            .fetch_add(loader.bytes(), Ordering::Relaxed);
        Ok(end)
    }

    fn count(&self, answer: &Answer) {
        match answer {
            Ok(loaded) => {
                self.counters.complete.fetch_add(1, Ordering::Relaxed);
                self.counters
                    .messages
                    .fetch_add(loaded.messages, Ordering::Relaxed);
            }
            Err((_, error)) => {
                self.counters.of(*error).fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The shard is gone.
struct Gone;

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, Duration::from_nanos(CONNECT_NS_MAX))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(WAIT))?;
    // Logins and heartbeats are some bytes: a server that doesn't take them is dead.
    stream.set_write_timeout(Some(Duration::from_nanos(CONNECT_NS_MAX)))?;
    Ok(stream)
}

fn is_nothing_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
