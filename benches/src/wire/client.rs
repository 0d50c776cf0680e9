//! The subscriber of a run: one WebSocket, read by a thread of its own, with the kernel's stamp of each segment.
//!
//! The kernel stamps a TCP segment when it reaches the receiving socket; on loopback that is within the sender's
//! system call.  So the stamp tells when the server wrote, without a probe in the server.  Where one read gives
//! several segments the stamp is the last one's.

use std::io::{self, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use serde::Deserialize;
use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

use crate::Failed;
use crate::limits::UPDATES_MAX;
use crate::stamps::wall_clock;

/// How long a read waits before it is looked whether the run is over.
const LOOK: Duration = Duration::from_millis(20);

/// How long the server may take for the subscription and its snapshots.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;

/// A stream that knows when what was read last had been written.
struct Stamped {
    stream: TcpStream,
    control: Vec<u8>,
    written: Option<u64>,
}

impl Read for Stamped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut slices = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.stream.as_raw_fd(),
            &mut slices,
            Some(&mut self.control),
            MsgFlags::empty(),
        )?;
        if let Ok(controls) = message.cmsgs() {
            for control in controls {
                if let ControlMessageOwned::ScmTimestampns(time) = control {
                    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
                    let rest = u64::try_from(time.tv_nsec()).unwrap_or(0);
                    self.written = Some(seconds * 1_000_000_000 + rest);
                }
            }
        }
        Ok(message.bytes)
    }
}

impl Write for Stamped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// An update as it came, wall clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Got {
    /// The number of the last message that is in it.
    pub(super) sequence: u64,
    /// When the hub took it from the ring, at the earliest.
    pub(super) ts_out: u64,
    /// When it was written to the socket; `None` = the kernel doesn't say.
    pub(super) written: Option<u64>,
    /// When the subscriber had it.
    pub(super) read: u64,
}

/// What other threads see of the subscriber.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// It has the snapshot of everything that it is subscribed to.
    pub(super) ready: AtomicBool,
    /// Updates since.
    pub(super) updates: AtomicU64,
}

/// What the subscriber had at the end.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) got: Vec<Got>,
    /// Snapshots because it, or the hub, was too slow for every update.
    pub(super) fallbacks: u64,
}

/// The fields of a message that are looked at.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a str,
    #[serde(borrow, default)]
    ts_out: Option<&'a str>,
    #[serde(default)]
    sequence: Option<(u64, u64)>,
    #[serde(borrow, default)]
    reason: Option<&'a str>,
    #[serde(default)]
    failed: Vec<serde::de::IgnoredAny>,
}

/// Subscribes to the best ten levels of these instruments and reads until `stop`.
pub(super) fn subscribe(
    server: SocketAddr,
    symbols: &[String],
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Heard, Failed> {
    let lost = |error: Error| Failed::new(format!("the subscriber's connection: {error}"));
    let mut socket = connect(server).map_err(|error| {
        Failed::new(format!("the subscriber can't connect to {server}: {error}"))
    })?;
    let request = json!({
        "op": "subscribe", "id": 1, "schema": "mbp-10", "venue": "XNAS", "symbols": symbols,
    });
    socket
        .send(Message::text(request.to_string()))
        .map_err(lost)?;
    let mut heard = Heard {
        got: Vec::with_capacity(UPDATES_MAX.min(1 << 20)),
        ..Heard::default()
    };
    let deadline = Instant::now() + PATIENCE;
    let mut waiting = symbols.len();
    while !stop.load(Ordering::Relaxed) {
        let text = match socket.read() {
            Ok(Message::Text(text)) => text,
            Ok(Message::Close(_)) => return Err(Failed::new("the server closed the subscriber")),
            Ok(_) => continue,
            Err(Error::Io(error)) if is_quiet(&error) => {
                if waiting > 0 && Instant::now() > deadline {
                    return Err(Failed::new(format!(
                        "the subscriber waited {} s for its snapshots, {waiting} are missing",
                        PATIENCE.as_secs()
                    )));
                }
                continue;
            }
            Err(error) => return Err(lost(error)),
        };
        let read = wall_clock();
        let fields: Fields<'_> = serde_json::from_str(&text).map_err(|error| {
            Failed::new(format!("a message to the subscriber: {error}: {text}"))
        })?;
        match fields.kind {
            "snapshot" if waiting > 0 => {
                waiting -= 1;
                if waiting == 0 {
                    progress.ready.store(true, Ordering::Release);
                }
            }
            "snapshot" => {
                heard.fallbacks += u64::from(matches!(fields.reason, Some("gap" | "slow")));
            }
            "update" => {
                let ts_out = fields.ts_out.and_then(|text| text.parse().ok());
                if let (Some((_, sequence)), Some(ts_out)) = (fields.sequence, ts_out)
                    && heard.got.len() < UPDATES_MAX
                {
                    heard.got.push(Got {
                        sequence,
                        ts_out,
                        written: socket.get_ref().written,
                        read,
                    });
                }
                progress.updates.fetch_add(1, Ordering::Relaxed);
            }
            "subscribed" if !fields.failed.is_empty() => {
                return Err(Failed::new(format!("the subscription was refused: {text}")));
            }
            "error" => return Err(Failed::new(format!("the server refused: {text}"))),
            _ => {}
        }
    }
    let _ = socket.close(None);
    let _ = socket.flush();
    Ok(heard)
}

fn connect(server: SocketAddr) -> Result<WebSocket<Stamped>, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    setsockopt(&stream, sockopt::ReceiveTimestampns, &true)?;
    let stamped = Stamped {
        stream,
        control: cmsg_space!(TimeSpec),
        written: None,
    };
    let config = WebSocketConfig::default().read_buffer_size(READ_BYTES);
    let url = format!("ws://{server}/v1/ws");
    let (socket, _) = client::client_with_config(url, stamped, Some(config))
        .map_err(|error| error.to_string())?;
    socket.get_ref().stream.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

/// Nothing came, which is no error.
fn is_quiet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
