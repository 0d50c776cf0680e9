//! The servers' only I/O: sockets and threads that run the machines against what was published.
//!
//! Each server has a thread, each connection one more.  They listen on loopback and private addresses only:
//! what is invented here has no business elsewhere, unless somebody says so.
//!
//! Threads look at the stop flag every few milliseconds; [`Servers::stop`], and dropping, waits for them.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tickcast_feed::receiver::wall_clock;

use super::counters::counters;
use super::gap_fill_server::{GapFillConfig, GapFillConnection, GapFillCounters, GapFillServer};
use super::glimpse_server::{GlimpseConfig, GlimpseServer, Snapshot};
use super::peers::Peers;
use super::request_server::{RequestServer, RequestServerConfig, RequestServerCounters};
use super::store::Store;
use crate::limits::CONNECTIONS_MAX;

/// How long a thread waits for bytes before it looks at the clock and at the stop flag.
const WAIT: Duration = Duration::from_millis(5);

/// How long a connection rests when there was nothing to read and nothing to write.
const REST: Duration = Duration::from_micros(500);

/// Larger than any request: what is cut can't be valid.
const REQUEST_BYTES: usize = 2_048;

/// Makes the snapshot that a client gets who logs in now.
pub type SnapshotSource = Arc<dyn Fn() -> Snapshot + Send + Sync>;

counters! {
    /// What a server over TCP counts.
    pub struct ConnectionCounters {
        /// Connections accepted.
        accepted,
        /// Connections refused because the address isn't listed.
        unlisted,
        /// Connections refused because too many were open.
        busy,
        /// Bytes sent.
        bytes,
    }
}

#[derive(Debug, Default)]
struct Connections {
    open: AtomicUsize,
    accepted: AtomicU64,
    unlisted: AtomicU64,
    busy: AtomicU64,
    bytes: AtomicU64,
}

/// The running servers of one session.
pub struct Servers {
    store: Arc<Mutex<Store>>,
    allow_public: bool,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    request: Option<Arc<Mutex<RequestServer>>>,
    gap_fill: Option<Arc<Mutex<GapFillServer>>>,
    connections: Arc<Connections>,
}

impl Servers {
    /// No server yet.  What they answer with is in `store`, which the publisher fills.
    #[must_use]
    pub fn new(store: Arc<Mutex<Store>>, allow_public: bool) -> Self {
        Self {
            store,
            allow_public,
            stop: Arc::default(),
            threads: Vec::new(),
            request: None,
            gap_fill: None,
            connections: Arc::default(),
        }
    }

    /// Starts a MoldUDP64 re-request server; gives the address that it is bound to.
    ///
    /// # Errors
    ///
    /// The system's, or [`ErrorKind::PermissionDenied`] for an address that isn't private.
    pub fn request(
        &mut self,
        address: SocketAddr,
        config: &RequestServerConfig,
    ) -> io::Result<SocketAddr> {
        let (socket, address) = self.bind(address)?;
        let machine = Arc::new(Mutex::new(RequestServer::new(config)));
        self.request = Some(Arc::clone(&machine));
        let store = Arc::clone(&self.store);
        let mut packet = Vec::new();
        self.spawn("request-server", move |stop, clock| {
            run_udp(&socket, stop, |payload| {
                let mut machine = lock(&machine);
                let store = lock(&store);
                if let Some((peer, bytes)) = payload {
                    machine.handle_request(now(clock), peer, bytes, &store);
                }
                while let Some(peer) = machine.poll_transmit(now(clock), &store, &mut packet) {
                    // A reply that the system has no room for is lost, as on a network.
                    let _ = socket.send_to(&packet, peer);
                }
            });
        })?;
        Ok(address)
    }

    /// Starts an IEX gap fill server over UDP; gives the address that it is bound to.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn gap_fill_udp(
        &mut self,
        address: SocketAddr,
        config: &GapFillConfig,
    ) -> io::Result<SocketAddr> {
        let (socket, address) = self.bind(address)?;
        let machine = Arc::new(Mutex::new(GapFillServer::new(config)));
        self.gap_fill = Some(Arc::clone(&machine));
        let store = Arc::clone(&self.store);
        let mut packet = Vec::new();
        self.spawn("gap-fill-udp", move |stop, clock| {
            run_udp(&socket, stop, |payload| {
                let mut machine = lock(&machine);
                let store = lock(&store);
                if let Some((peer, bytes)) = payload {
                    machine.handle_request(now(clock), peer, bytes, &store);
                }
                while let Some(peer) = machine.poll_transmit(wall_clock(), &store, &mut packet) {
                    let _ = socket.send_to(&packet, peer);
                }
            });
        })?;
        Ok(address)
    }

    /// Starts an IEX gap fill server over TCP; gives the address that it is bound to.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn gap_fill_tcp(
        &mut self,
        address: SocketAddr,
        config: &GapFillConfig,
    ) -> io::Result<SocketAddr> {
        let stream = config.stream;
        let peers = Peers::new(&config.peers, config.requests_per_second_max);
        let store = Arc::clone(&self.store);
        self.listen("gap-fill-tcp", address, Some(peers), move |now| {
            Connection::GapFill {
                machine: GapFillConnection::new(stream, now),
                store: Arc::clone(&store),
            }
        })
    }

    /// Starts a GLIMPSE server; gives the address that it is bound to.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn glimpse(
        &mut self,
        address: SocketAddr,
        config: &GlimpseConfig,
        source: SnapshotSource,
    ) -> io::Result<SocketAddr> {
        let config = config.clone();
        self.listen("glimpse", address, None, move |now| Connection::Glimpse {
            machine: GlimpseServer::new(config.clone(), now),
            source: Arc::clone(&source),
        })
    }

    /// What the re-request server counted, if there is one.
    #[must_use]
    pub fn request_counters(&self) -> Option<RequestServerCounters> {
        self.request
            .as_ref()
            .map(|machine| *lock(machine).counters())
    }

    /// What the gap fill server over UDP counted, if there is one.
    #[must_use]
    pub fn gap_fill_counters(&self) -> Option<GapFillCounters> {
        self.gap_fill
            .as_ref()
            .map(|machine| *lock(machine).counters())
    }

    /// What the servers over TCP counted together.
    #[must_use]
    pub fn connection_counters(&self) -> ConnectionCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ConnectionCounters {
            accepted: read(&self.connections.accepted),
            unlisted: read(&self.connections.unlisted),
            busy: read(&self.connections.busy),
            bytes: read(&self.connections.bytes),
        }
    }

    /// Stops all servers and waits for them; open connections are closed.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }

    fn bind(&self, address: SocketAddr) -> io::Result<(UdpSocket, SocketAddr)> {
        self.check(address)?;
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(WAIT))?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    }

    fn check(&self, address: SocketAddr) -> io::Result<()> {
        if self.allow_public || is_private(address.ip()) {
            return Ok(());
        }
        Err(io::Error::new(
            ErrorKind::PermissionDenied,
            format!("{address} is neither a loopback nor a private address"),
        ))
    }

    fn listen(
        &mut self,
        name: &str,
        address: SocketAddr,
        peers: Option<Peers>,
        open: impl Fn(u64) -> Connection + Send + 'static,
    ) -> io::Result<SocketAddr> {
        self.check(address)?;
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let connections = Arc::clone(&self.connections);
        self.spawn(name, move |stop, clock| {
            run_tcp(&listener, stop, clock, peers.as_ref(), &open, &connections);
        })?;
        Ok(address)
    }

    fn spawn(
        &mut self,
        name: &str,
        run: impl FnOnce(&AtomicBool, Instant) + Send + 'static,
    ) -> io::Result<()> {
        let stop = Arc::clone(&self.stop);
        let clock = Instant::now();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&stop, clock))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether nothing sent to this address leaves the site: loopback, private, link-local.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

fn now(clock: Instant) -> u64 {
    u64::try_from(clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// What a thread that panicked left is as good as any: the machines are whole between two calls.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives each datagram to `step`, and nothing every few milliseconds.
fn run_udp(
    socket: &UdpSocket,
    stop: &AtomicBool,
    mut step: impl FnMut(Option<(SocketAddr, &[u8])>),
) {
    let mut buffer = [0; REQUEST_BYTES];
    while !stop.load(Ordering::Relaxed) {
        // An error is what an earlier reply met (a port that is closed): not this server's end.
        match socket.recv_from(&mut buffer) {
            Ok((len, peer)) => step(Some((peer, buffer.get(..len).unwrap_or_default()))),
            Err(_) => step(None),
        }
    }
}

/// A connection's machine, and what it answers from.
enum Connection {
    Glimpse {
        machine: GlimpseServer,
        source: SnapshotSource,
    },
    GapFill {
        machine: GapFillConnection,
        store: Arc<Mutex<Store>>,
    },
}

impl Connection {
    fn handle_bytes(&mut self, now: u64, bytes: &[u8]) {
        match self {
            Self::Glimpse { machine, source } => {
                machine.handle_bytes(now, bytes, &mut || source());
            }
            Self::GapFill { machine, .. } => machine.handle_bytes(bytes),
        }
    }

    fn handle_timeout(&mut self, now: u64) {
        match self {
            Self::Glimpse { machine, .. } => machine.handle_timeout(now),
            Self::GapFill { machine, .. } => machine.handle_timeout(now),
        }
    }

    fn poll_transmit(&mut self, now: u64, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Glimpse { machine, .. } => machine.poll_transmit(now, out),
            Self::GapFill { machine, store } => {
                machine.poll_transmit(wall_clock(), &lock(store), out)
            }
        }
    }

    fn is_closing(&self) -> bool {
        match self {
            Self::Glimpse { machine, .. } => machine.is_closing(),
            Self::GapFill { machine, .. } => machine.is_closing(),
        }
    }
}

/// Accepts connections until `stop`, and waits for those that are open then.
fn run_tcp(
    listener: &TcpListener,
    stop: &AtomicBool,
    clock: Instant,
    peers: Option<&Peers>,
    open: &dyn Fn(u64) -> Connection,
    connections: &Connections,
) {
    let count = |counter: &AtomicU64| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            // An error is of a connection that is gone already, or there is none.
            let Ok((stream, peer)) = listener.accept() else {
                std::thread::park_timeout(WAIT);
                continue;
            };
            if peers.is_some_and(|peers| !peers.lists(peer.ip())) {
                count(&connections.unlisted);
                continue;
            }
            if connections.open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                connections.open.fetch_sub(1, Ordering::Relaxed);
                count(&connections.busy);
                continue;
            }
            count(&connections.accepted);
            let connection = open(now(clock));
            scope.spawn(move || {
                // A connection that breaks is the client's to open again.
                let _ = serve(stream, connection, stop, clock, &connections.bytes);
                connections.open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
}

/// Moves bytes between a socket and a machine until either is done.
fn serve(
    mut stream: TcpStream,
    mut connection: Connection,
    stop: &AtomicBool,
    clock: Instant,
    sent: &AtomicU64,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let mut input = [0; REQUEST_BYTES];
    let mut out = Vec::new();
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut idle = true;
        match stream.read(&mut input) {
            Ok(0) => return Ok(()),
            Ok(len) => {
                idle = false;
                connection.handle_bytes(now(clock), input.get(..len).unwrap_or_default());
            }
            Err(error) if is_nothing_yet(&error) => connection.handle_timeout(now(clock)),
            Err(error) => return Err(error),
        }
        if written == out.len() {
            written = 0;
            if !connection.poll_transmit(now(clock), &mut out) && connection.is_closing() {
                return Ok(());
            }
        }
        match stream.write(out.get(written..).unwrap_or_default()) {
            Ok(len) => {
                idle &= len == 0;
                written += len;
                sent.fetch_add(len as u64, Ordering::Relaxed);
            }
            Err(error) if is_nothing_yet(&error) => {}
            Err(error) => return Err(error),
        }
        if idle {
            std::thread::park_timeout(REST);
        }
    }
    Ok(())
}

fn is_nothing_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
