//! A disk in memory for the recorder's actions, with a size.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::io::Cursor;
use std::net::SocketAddr;

use tickcast_replay::capture::{CaptureReader, Item};
use tickcast_replay::frame;
use tickcast_replay::record::{Action, Notice, Received, Recorder};

/// Files in memory.
pub(crate) struct Disk {
    /// Finished ones.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Indexes by the names of their files.
    pub(crate) indexes: BTreeMap<String, String>,
    /// The one that is being written.
    pub(crate) part: Option<(String, Vec<u8>)>,
    /// Where the tail of the part begins.
    whole: usize,
    /// Bytes that fit in all.
    pub(crate) capacity: usize,
    /// Called with the part after each action.
    pub(crate) watch: fn(&[u8]),
}

impl Disk {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            files: BTreeMap::new(),
            indexes: BTreeMap::new(),
            part: None,
            whole: 0,
            capacity,
            watch: |_| {},
        }
    }

    fn used(&self) -> usize {
        let files = self.files.values().map(Vec::len).sum::<usize>();
        let indexes = self.indexes.values().map(String::len).sum::<usize>();
        files + indexes + self.part.as_ref().map_or(0, |(_, bytes)| bytes.len())
    }

    /// Performs an action; `false` = there is no room.
    pub(crate) fn perform(&mut self, action: &Action<'_>) -> bool {
        let used = self.used();
        match *action {
            Action::Open { name } => {
                assert!(self.part.is_none(), "the last file isn't finished");
                assert!(!self.files.contains_key(name));
                self.part = Some((name.to_owned(), Vec::new()));
                self.whole = 0;
            }
            Action::Write { bytes, tail } => {
                let part = &mut self.part.as_mut().unwrap().1;
                let len = self.whole + bytes.len() + tail.len();
                if used - part.len() + len > self.capacity {
                    return false;
                }
                part.truncate(self.whole);
                part.extend_from_slice(bytes);
                self.whole = part.len();
                part.extend_from_slice(tail);
            }
            Action::Finish { name, index } => {
                if let Some(index) = index {
                    if used + index.len() > self.capacity {
                        return false;
                    }
                    self.indexes.insert(name.to_owned(), index.to_owned());
                }
                let (opened, bytes) = self.part.take().unwrap();
                assert_eq!(opened, name);
                self.files.insert(opened, bytes);
            }
        }
        if let Some((_, part)) = &self.part {
            (self.watch)(part);
        }
        true
    }

    /// Performs all that can be; what was told.
    pub(crate) fn act(&mut self, recorder: &mut Recorder, now: u64) -> Vec<Notice> {
        let mut told = vec![];
        while let Some(action) = recorder.poll_action(now) {
            told.extend(if self.perform(&action) {
                recorder.handle_done(now)
            } else {
                recorder.handle_failed(now)
            });
        }
        told
    }
}

/// A packet of a recording: line, time, source, group, payload.
pub(crate) type Kept = (u32, u64, SocketAddr, SocketAddr, Vec<u8>);

/// All packets of a file, and whether it was whole.
pub(crate) fn read(file: &[u8]) -> (Vec<Kept>, bool) {
    let mut kept = vec![];
    let Ok(mut reader) = CaptureReader::new(Cursor::new(file.to_vec())) else {
        return (kept, false);
    };
    loop {
        match reader.next_item() {
            Ok(Some(Item::Packet(packet))) => {
                let datagram = frame::udp(packet.link_type, packet.data).unwrap();
                kept.push((
                    packet.interface,
                    packet.ts_recv,
                    datagram.src,
                    datagram.dst,
                    datagram.payload.to_vec(),
                ));
            }
            Ok(Some(Item::Message(_))) => panic!("no pcapng"),
            Ok(None) => return (kept, true),
            Err(_) => return (kept, false),
        }
    }
}

/// A packet without losses.
pub(crate) fn received(line: u16, ts_recv: u64, payload: &[u8]) -> Received<'_> {
    Received {
        line,
        ts_recv,
        src: SocketAddr::from(([10, 9, 8, 7], 4_321)),
        kernel_drops: 0,
        dropped: 0,
        payload,
    }
}
