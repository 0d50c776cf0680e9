//! What a shard needs beside packets: answers, timers, requests, loads, and somebody to tell.  An edge.
//!
//! A [`Drive`] belongs to the thread that runs its shard, be it the receiver or a shard's own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tickcast_book::link::Publisher;
use tickcast_book::report::{Reading, ReadingKind};

use crate::arbiter::Source;
use crate::batch::Batch;
use crate::control::{Control, Reload, Servers};
use crate::counters::ChannelStatus;
use crate::limits::{PACKET_BYTES_MAX, REPORT_EVERY_NS};
use crate::loader::LoaderHandle;
use crate::receiver::{Clock, LineCounters};
use crate::shard::{Observer, Shard};
use crate::socket::RequestSocket;

/// A shard with its request socket, its loader and its status.
#[derive(Debug)]
pub struct Drive<O> {
    shard: Shard<Publisher, O>,
    clock: Clock,
    requests: Option<RequestSocket>,
    loader: Option<LoaderHandle>,
    status: Arc<ChannelStatus>,
    lines: Arc<[LineCounters]>,
    /// Of each line's kernel drops, what the shard was told.
    drops_told: Vec<u64>,
    /// Packets that the receiver dropped, because this shard's ring was full.
    overruns: Option<Arc<AtomicU64>>,
    /// Requests that the kernel didn't take.
    requests_unsent: u64,
    /// The packet of a request, written anew for each.
    request: Vec<u8>,
    report_at: u64,
    control: Option<Control>,
    /// The load that the loader was asked for last.
    load: Option<u64>,
    /// The request socket is another one.
    sockets_changed: bool,
}

impl<O: Observer> Drive<O> {
    /// A shard, the clock by which it was made, and the request and snapshot servers that it asks, if there are
    /// any.
    #[must_use]
    pub fn new(
        shard: Shard<Publisher, O>,
        clock: Clock,
        requests: Option<RequestSocket>,
        loader: Option<LoaderHandle>,
        status: Arc<ChannelStatus>,
    ) -> Self {
        Self {
            shard,
            clock,
            requests,
            loader,
            status,
            lines: Arc::default(),
            drops_told: Vec::new(),
            overruns: None,
            requests_unsent: 0,
            request: Vec::with_capacity(PACKET_BYTES_MAX),
            report_at: 0,
            control: None,
            load: None,
            sockets_changed: false,
        }
    }

    /// The same, and an operator may change how it recovers.
    #[must_use]
    pub fn with_control(mut self, control: Control) -> Self {
        self.control = Some(control);
        self
    }

    /// The shard.
    #[must_use]
    pub fn shard(&self) -> &Shard<Publisher, O> {
        &self.shard
    }

    /// The shard's time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Watches what is counted at the lines.
    pub(crate) fn watch(&mut self, lines: Arc<[LineCounters]>) {
        self.drops_told = vec![0; lines.len()];
        self.lines = lines;
    }

    /// Reports what is lost between the receiver and this shard.
    pub(crate) fn watch_ring(&mut self, overruns: Arc<AtomicU64>) {
        self.overruns = Some(overruns);
    }

    /// Takes one packet.
    #[inline]
    pub fn handle_packet(&mut self, now: u64, source: Source, payload: &[u8], ts_recv: u64) {
        // A malformed packet was counted; an edge has nothing to add.
        let _ = self.shard.handle_packet(now, source, payload, ts_recv);
    }

    /// Takes the packets that a line brought together.
    #[inline]
    pub fn handle_batch(&mut self, now: u64, line: u8, batch: &Batch) {
        let packets = batch.packets();
        self.shard.handle_packets(
            now,
            Source::Line(line),
            packets.map(|packet| (packet.payload, packet.ts_recv)),
        );
    }

    /// Everything that isn't a line's packet.  Says how many answers came.
    pub fn turn(&mut self, now: u64, batch: &mut Batch) -> usize {
        let came = self.take_answers(now, batch);
        for ((line, counters), told) in (0..).zip(&*self.lines).zip(&mut self.drops_told) {
            let drops = counters.kernel_drops.load(Ordering::Relaxed);
            if drops > *told {
                self.shard.handle_kernel_drops(line, drops - *told);
                *told = drops;
            }
        }
        self.shard.handle_timeout(now);
        self.send_requests(now);
        self.load(now);
        self.shard.handle_requests();
        if self.report_is_due(now) {
            self.report(now);
        }
        self.take_reload(now);
        came
    }

    fn take_reload(&mut self, now: u64) {
        let Some(control) = &self.control else {
            return;
        };
        let Some(Reload { recovery, servers }) = control.poll() else {
            return;
        };
        self.shard.reconfigure(recovery);
        control.give_back(Servers {
            requests: std::mem::replace(&mut self.requests, servers.requests),
            loader: std::mem::replace(&mut self.loader, servers.loader),
        });
        self.sockets_changed = true;
        if let Some(id) = self.load.take() {
            // The new loader knows nothing of it; a load that is over already is refused by its number.
            self.shard.handle_load_failed(now, id);
        }
    }

    /// Whether [`waited_for`](Self::waited_for) is another list than before; says so once.
    pub(crate) fn take_sockets_changed(&mut self) -> bool {
        std::mem::take(&mut self.sockets_changed)
    }

    fn take_answers(&mut self, now: u64, batch: &mut Batch) -> usize {
        let Some(requests) = &mut self.requests else {
            return 0;
        };
        // An error is of one datagram; a server that stays away is the shard's to notice.
        let came = requests.receive(batch).unwrap_or(0);
        if came > 0 {
            for packet in batch.packets() {
                if let Some(server) = requests.server(packet.source) {
                    let source = Source::Server(server);
                    let _ = self
                        .shard
                        .handle_packet(now, source, packet.payload, packet.ts_recv);
                }
            }
        }
        came
    }

    fn send_requests(&mut self, now: u64) {
        while let Some(server) = self.shard.poll_request(now, &mut self.request) {
            let sent = self
                .requests
                .as_ref()
                .is_some_and(|requests| requests.send(server, &self.request).is_ok());
            self.requests_unsent += u64::from(!sent);
        }
    }

    fn load(&mut self, now: u64) {
        if let Some(request) = self.shard.poll_load() {
            match &self.loader {
                Some(loader) => {
                    self.load = Some(request.id);
                    loader.start(request);
                }
                None => self.shard.handle_load_failed(now, request.id),
            }
        }
        let Some(loader) = &self.loader else {
            return;
        };
        match loader.poll() {
            Some(Ok(loaded)) => loader.recycle(self.shard.handle_loaded(now, loaded)),
            Some(Err((id, _))) => self.shard.handle_load_failed(now, id),
            None => {}
        }
    }

    /// When the next turn is due though nothing comes.
    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        self.shard.poll_timeout()
    }

    pub(crate) fn report_is_due(&self, now: u64) -> bool {
        now >= self.report_at
    }

    /// Writes the report to where other threads read it.
    pub(crate) fn report(&mut self, now: u64) {
        self.report_at = now + REPORT_EVERY_NS;
        self.status.store(|report| {
            self.shard.report(report);
            self.add_readings(&mut report.readings);
        });
    }

    /// What the edges count beside the shard.
    fn add_readings(&self, readings: &mut Vec<Reading>) {
        if let Some(loader) = &self.loader {
            loader.readings(readings);
        }
        let mut add = |name, help, line, value| {
            readings.push(Reading {
                name,
                help,
                kind: ReadingKind::Counter,
                line,
                value,
            });
        };
        for (line, counters) in (0..).zip(&*self.lines) {
            add(
                "packets_foreign_source",
                "datagrams from an address that isn't one of the line's sources",
                Some(line),
                counters.foreign_source.load(Ordering::Relaxed),
            );
            add(
                "packets_too_long",
                "datagrams longer than a buffer",
                Some(line),
                counters.too_long.load(Ordering::Relaxed),
            );
        }
        if let Some(overruns) = &self.overruns {
            add(
                "ring_overruns",
                "packets that didn't reach the shard because its ring was full",
                None,
                overruns.load(Ordering::Relaxed),
            );
        }
        if let Some(requests) = &self.requests {
            let refused = requests.refused();
            add(
                "replies_foreign_source",
                "datagrams at the request socket from an address that isn't a request server",
                None,
                refused.foreign,
            );
            add(
                "replies_too_long",
                "answers of request servers longer than a buffer",
                None,
                refused.too_long,
            );
            add(
                "requests_unsent",
                "requests that the system didn't take",
                None,
                self.requests_unsent,
            );
        }
    }

    /// Whether the reactor is gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.shard.is_abandoned()
    }

    /// Copies of the sockets to wait for.
    pub(crate) fn waited_for(&self) -> io::Result<Vec<OwnedFd>> {
        self.requests
            .iter()
            .map(|socket| socket.as_fd().try_clone_to_owned())
            .collect()
    }
}
