//! Playback's only I/O: reads the files, waits, sends.
//!
//! The wait is asleep until shortly before a packet is due and spins from there: a sleep ends some tens of
//! microseconds late, by the kernel's timer slack and its scheduler.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::Playback;
use crate::capture::{CaptureReader, Format};
use crate::exchange::edge::multicast_sender;
use crate::limits::GROUPS_MAX;

/// The longest sleep: how late a stop may be noticed.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// At the longest so many packets are sent between two looks at whether to stop.
const PACKETS_PER_LOOK: u64 = 1_024;

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Go on.
    Go,
    /// End.
    Stop,
}

/// What to send, and how.
#[derive(Debug, Clone)]
pub struct Sending {
    /// The recordings, one after the other.
    pub files: Vec<PathBuf>,
    /// The address of the local interface to send on.
    pub interface: Ipv4Addr,
    /// How many laps; `None` = for ever.
    pub times: Option<u64>,
    /// So long before a packet is due the sleep ends and the spin begins.
    pub spin: Duration,
}

/// Plays all files so many times, or until `look` says to stop.  It is asked at least each 50 ms or 1,024
/// packets.
///
/// # Errors
///
/// A file that can't be read whole; a group that can't be sent to; more groups than [`GROUPS_MAX`].
pub fn run(
    sending: &Sending,
    playback: &mut Playback,
    look: &mut dyn FnMut(&Playback) -> Turn,
) -> io::Result<()> {
    let mut wire = Wire {
        interface: sending.interface,
        spin: sending.spin,
        clock: Instant::now(),
        sockets: BTreeMap::new(),
    };
    let mut lap = 0;
    while sending.times.is_none_or(|times| lap < times) {
        if lap > 0 {
            playback.start_lap();
        }
        let records = playback.totals().records;
        for file in &sending.files {
            let mut capture = CaptureReader::open(file).map_err(io::Error::other)?;
            if capture.format() == Format::BinaryFile {
                return Err(io::Error::other(format!(
                    "{}: a BinaryFILE has no packets to put on the wire",
                    file.display()
                )));
            }
            playback.start_file();
            if wire.play(&mut capture, playback, look)? == Turn::Stop {
                return Ok(());
            }
        }
        if playback.totals().records == records {
            // For ever nothing.
            return Ok(());
        }
        lap += 1;
    }
    Ok(())
}

struct Wire {
    interface: Ipv4Addr,
    spin: Duration,
    clock: Instant,
    sockets: BTreeMap<SocketAddrV4, UdpSocket>,
}

impl Wire {
    fn play(
        &mut self,
        capture: &mut CaptureReader,
        playback: &mut Playback,
        look: &mut dyn FnMut(&Playback) -> Turn,
    ) -> io::Result<Turn> {
        while let Some(item) = capture.next_item().map_err(io::Error::other)? {
            let now = self.clock.elapsed();
            if let Some(wait_ns) = playback.handle_item(&item, nanos(now)) {
                let due = now + Duration::from_nanos(wait_ns);
                if self.wait(due, &mut || look(playback)) == Turn::Stop {
                    return Ok(Turn::Stop);
                }
                let (sent, not_sent) = self.send(playback.datagram())?;
                playback.handle_sent(nanos(self.clock.elapsed()), sent, not_sent);
            }
            if playback.totals().records.is_multiple_of(PACKETS_PER_LOOK)
                && look(playback) == Turn::Stop
            {
                return Ok(Turn::Stop);
            }
        }
        Ok(Turn::Go)
    }

    fn wait(&self, due: Duration, look: &mut dyn FnMut() -> Turn) -> Turn {
        loop {
            let left = due.saturating_sub(self.clock.elapsed());
            if left.is_zero() {
                return Turn::Go;
            }
            match left.checked_sub(self.spin) {
                Some(asleep) if !asleep.is_zero() => {
                    thread::sleep(asleep.min(SLEEP_MAX));
                    if asleep > SLEEP_MAX && look() == Turn::Stop {
                        return Turn::Stop;
                    }
                }
                _ => core::hint::spin_loop(),
            }
        }
    }

    /// Sends to each group; returns how many took it, and for how many there was no room.
    fn send(&mut self, (groups, payload): (&[SocketAddrV4], &[u8])) -> io::Result<(u64, u64)> {
        let (mut sent, mut not_sent) = (0, 0);
        for group in groups {
            let failed = |error: io::Error| {
                io::Error::new(error.kind(), format!("can't send to {group}: {error}"))
            };
            if !self.sockets.contains_key(group) {
                if self.sockets.len() >= GROUPS_MAX {
                    return Err(io::Error::other(format!("more than {GROUPS_MAX} groups")));
                }
                let socket = multicast_sender(*group, self.interface).map_err(failed)?;
                self.sockets.insert(*group, socket);
            }
            let Some(socket) = self.sockets.get(group) else {
                continue;
            };
            match socket.send(payload) {
                Ok(_) => sent += 1,
                Err(error) if has_no_room(&error) => not_sent += 1,
                Err(error) => return Err(failed(error)),
            }
        }
        Ok((sent, not_sent))
    }
}

/// Whether a later datagram may go through.
fn has_no_room(error: &io::Error) -> bool {
    /// Linux: `ENOBUFS`.
    const NO_BUFFERS: i32 = 105;
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::OutOfMemory
    ) || error.raw_os_error() == Some(NO_BUFFERS)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
