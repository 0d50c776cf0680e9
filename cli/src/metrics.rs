//! `/metrics`: what channels, hub and process count, in OpenMetrics text, on a loopback port of its own.
//!
//! Read-only.  Values are read at each scrape from the copies that shards and reactor keep; no label names a
//! subscriber, so the number of series is bounded by the configuration.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use tickcast_book::report::{Histogram, ReadingKind, Report};
use tickcast_fanout::HubStatus;
use tickcast_fanout::edge::server::names_this_machine;
use tokio::sync::watch;

use crate::Failure;

/// Connections at the same time: a scraper or two, and a person who looks.
const CONNECTIONS_MAX: usize = 16;

/// A client that hasn't sent its request's headers by then is dropped.
const HEADERS: Duration = Duration::from_secs(5);

/// How long the accept loop rests after an error (out of file descriptors).
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// States of a channel and of a line, for one series each.
const CHANNEL_STATES: [&str; 6] = [
    "idle",
    "backfill",
    "synchronized",
    "gap_fill",
    "loading",
    "lost",
];
const LINE_STATES: [&str; 3] = ["up", "silent", "down"];

/// A channel that is exported.
pub(crate) struct Exported {
    /// Its name.
    pub(crate) name: String,
    /// Its lines as the configuration calls them.
    pub(crate) lines: Vec<String>,
    /// Reads how it is now.
    pub(crate) report: Arc<dyn Fn() -> Report + Send + Sync>,
}

/// Where the values come from.
pub(crate) struct Sources {
    /// The channels.
    pub(crate) channels: Vec<Exported>,
    /// The hub.
    pub(crate) hub: Arc<HubStatus>,
    /// When the program started.
    pub(crate) started: Instant,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

type Labels = Vec<(&'static str, String)>;

/// One metric: its sentence, its type, its series.
struct Family {
    help: &'static str,
    kind: ReadingKind,
    series: Vec<(Labels, u64)>,
}

/// All metrics by name: the format wants the series of one together.
#[derive(Default)]
struct Families(BTreeMap<String, Family>);

impl Families {
    fn push(
        &mut self,
        name: String,
        help: &'static str,
        kind: ReadingKind,
        labels: Labels,
        value: u64,
    ) {
        self.0
            .entry(name)
            .or_insert_with(|| Family {
                help,
                kind,
                series: Vec::new(),
            })
            .series
            .push((labels, value));
    }

    fn gauge(&mut self, name: &str, help: &'static str, labels: &Labels, value: u64) {
        self.push(
            name.to_owned(),
            help,
            ReadingKind::Gauge,
            labels.clone(),
            value,
        );
    }

    /// One series a state, of which that of the present one is 1.
    fn states(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &Labels,
        states: &[&str],
        now: &str,
    ) {
        for state in states {
            let mut labels = labels.clone();
            labels.push(("state", (*state).to_owned()));
            self.gauge(name, help, &labels, u64::from(*state == now));
        }
    }

    fn channel(&mut self, exported: &Exported, report: &Report) {
        let channel: Labels = vec![("channel", exported.name.clone())];
        let of_line = |index: usize| {
            let name = exported.lines.get(index)?;
            let mut labels = channel.clone();
            labels.push(("line", name.clone()));
            Some(labels)
        };
        self.states(
            "channel_state",
            "1 for the state that the channel is in",
            &channel,
            &CHANNEL_STATES,
            report.state,
        );
        self.gauge(
            "channel_stale",
            "Whether the channel's books can't be trusted now",
            &channel,
            u64::from(report.stale),
        );
        self.gauge(
            "channel_next_sequence",
            "The sequence number expected next",
            &channel,
            report.next_sequence,
        );
        for (index, line) in report.lines.iter().enumerate() {
            if let Some(labels) = of_line(index) {
                self.states(
                    "line_state",
                    "1 for the state that the line is in",
                    &labels,
                    &LINE_STATES,
                    line.state,
                );
            }
        }
        for reading in &report.readings {
            let (prefix, labels) = match reading.line {
                None => ("channel", Some(channel.clone())),
                Some(line) => ("line", of_line(usize::from(line))),
            };
            if let Some(labels) = labels {
                let name = reading.name.strip_prefix("line_").unwrap_or(reading.name);
                let name = format!("{prefix}_{name}");
                self.push(name, reading.help, reading.kind, labels, reading.value);
            }
        }
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encoder
            .encode_descriptor("build", "The program.", None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        encoder
            .encode_descriptor(
                "uptime",
                "Time since the program started.",
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?
            .encode_gauge(&self.started.elapsed().as_secs_f64())?;
        let mut families = Families::default();
        let mut repairs = Vec::with_capacity(self.channels.len());
        for channel in &self.channels {
            let report = (channel.report)();
            families.channel(channel, &report);
            repairs.push((vec![("channel", channel.name.clone())], report.repair));
        }
        let (counters, subscribers) = self.hub.load();
        let subscribers = u64::try_from(subscribers).unwrap_or(u64::MAX);
        let help = "Subscribers that are connected";
        families.gauge("hub_subscribers", help, &Vec::new(), subscribers);
        for (name, help, value) in counters.each() {
            let name = format!("hub_{name}");
            families.push(name, help, ReadingKind::Counter, Vec::new(), value);
        }
        for (name, family) in &families.0 {
            encode_family(&mut encoder, name, family)?;
        }
        encode_repairs(&mut encoder, &repairs)
    }
}

fn encode_family(encoder: &mut DescriptorEncoder<'_>, name: &str, family: &Family) -> fmt::Result {
    let kind = match family.kind {
        ReadingKind::Counter => MetricType::Counter,
        ReadingKind::Gauge => MetricType::Gauge,
    };
    let help = format!("{}.", family.help.trim_end_matches('.'));
    let mut metric = encoder.encode_descriptor(name, &help, None, kind)?;
    for (labels, value) in &family.series {
        let mut series = metric.encode_family(labels)?;
        match family.kind {
            ReadingKind::Counter => series.encode_counter::<NoLabelSet, _, u64>(value, None)?,
            ReadingKind::Gauge => series.encode_gauge(value)?,
        }
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds of a histogram are shown, not counted"
)]
fn encode_repairs(
    encoder: &mut DescriptorEncoder<'_>,
    repairs: &[(Labels, Histogram)],
) -> fmt::Result {
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let mut metric = encoder.encode_descriptor(
        "channel_repair",
        "From the declaration of a gap until its repair.",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for (labels, repair) in repairs {
        // The last bucket has no bound, which the encoder writes as +Inf.
        let bounds = repair
            .bounds_ns
            .iter()
            .map(|&bound| seconds(bound))
            .chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds
            .zip(repair.counts.iter().copied().chain(std::iter::repeat(0)))
            .collect();
        let count = repair.counts.iter().sum();
        metric
            .encode_family(labels)?
            .encode_histogram::<NoLabelSet>(seconds(repair.sum_ns), count, &buckets, None)?;
    }
    Ok(())
}

/// The endpoint, on a thread of its own.
pub(crate) struct Metrics {
    /// Where it is.
    pub(crate) address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Metrics {
    /// Takes the address.
    pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
        TcpListener::bind(address)
            .map_err(|error| Failure::Failed(format!("metrics_listen = {address}: {error}")))
    }

    /// Starts to answer.
    pub(crate) fn start(listener: TcpListener, sources: Arc<Sources>) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::Failed(format!("metrics: {error}"));
        let address = listener.local_addr().map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let thread = thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || serve(listener, sources, stopped))
            .map_err(failed)?;
        Ok(Self {
            address,
            stop,
            thread,
        })
    }

    /// Ends the thread; an answer that is half written isn't waited for.
    pub(crate) fn stop(self) {
        let _ = self.stop.send(true);
        // The feed and its subscribers don't depend on it.
        let _ = self.thread.join();
    }
}

fn serve(
    listener: TcpListener,
    sources: Arc<Sources>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut registry = Registry::with_prefix("tickcast");
    registry.register_collector(Box::new(sources));
    let registry = Rc::new(registry);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let open = Rc::new(());
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if Rc::strong_count(&open) <= CONNECTIONS_MAX => {
                        let (registry, held) = (Rc::clone(&registry), Rc::clone(&open));
                        tokio::task::spawn_local(async move {
                            connection(&registry, stream).await;
                            drop(held);
                        });
                    }
                    // One too many: closed without an answer.
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(ACCEPT_REST).await,
                },
                _ = stop.changed() => return Ok(()),
            }
        }
    })
}

async fn connection(registry: &Rc<Registry>, stream: tokio::net::TcpStream) {
    let service = service_fn(|request| {
        let answer = answer(registry, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    // A client that breaks HTTP gets hyper's answer; nothing to add.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn answer(registry: &Registry, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let refuse = |status| {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = status;
        answer
    };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return refuse(StatusCode::METHOD_NOT_ALLOWED);
    }
    if !names_this_machine(request.headers()) {
        return refuse(StatusCode::FORBIDDEN);
    }
    if request.uri().path() != "/metrics" {
        return refuse(StatusCode::NOT_FOUND);
    }
    let mut body = String::new();
    if text::encode(&mut body, registry).is_err() {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    );
    answer
}

#[cfg(test)]
mod tests {
    use tickcast_book::report::{LineReport, Reading};

    use super::*;

    fn report() -> Report {
        let reading = |name, kind, line, value| Reading {
            name,
            help: "what it is",
            kind,
            line,
            value,
        };
        let line = |name: &str, state| LineReport {
            name: name.to_owned(),
            state,
            won: 0,
            duplicate: 0,
        };
        Report {
            state: "gap_fill",
            stale: true,
            next_sequence: 77,
            lines: vec![line("A", "up"), line("B", "down")],
            readings: vec![
                reading("gaps_declared", ReadingKind::Counter, None, 3),
                reading("held_messages", ReadingKind::Gauge, None, 4),
                reading("kernel_drops", ReadingKind::Counter, Some(0), 5),
                reading("kernel_drops", ReadingKind::Counter, Some(1), 6),
                reading("kernel_drops", ReadingKind::Counter, Some(9), 7),
            ],
            repair: Histogram {
                bounds_ns: &[1_000_000, 50_000_000],
                counts: vec![1, 2, 4],
                sum_ns: 2_500_000_000,
            },
            ..Report::default()
        }
    }

    #[test]
    fn channels_lines_and_repairs_are_series_of_their_own() {
        let exported = |name: &str| Exported {
            name: name.to_owned(),
            lines: vec!["A".to_owned(), "West".to_owned()],
            report: Arc::new(report),
        };
        let mut registry = Registry::with_prefix("tickcast");
        registry.register_collector(Box::new(Sources {
            channels: vec![exported("one"), exported("two")],
            hub: Arc::default(),
            started: Instant::now(),
        }));
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        for line in [
            "# HELP tickcast_line_kernel_drops what it is.",
            "# TYPE tickcast_line_kernel_drops counter",
            "tickcast_line_kernel_drops_total{channel=\"one\",line=\"A\"} 5",
            "tickcast_line_kernel_drops_total{channel=\"two\",line=\"West\"} 6",
            "tickcast_line_state{channel=\"one\",line=\"West\",state=\"down\"} 1",
            "tickcast_line_state{channel=\"one\",line=\"West\",state=\"up\"} 0",
            "tickcast_channel_gaps_declared_total{channel=\"two\"} 3",
            "# TYPE tickcast_channel_held_messages gauge",
            "tickcast_channel_held_messages{channel=\"two\"} 4",
            "tickcast_channel_stale{channel=\"one\"} 1",
            "tickcast_channel_next_sequence{channel=\"one\"} 77",
            "tickcast_channel_state{channel=\"one\",state=\"gap_fill\"} 1",
            "tickcast_channel_state{channel=\"one\",state=\"synchronized\"} 0",
            "# TYPE tickcast_channel_repair_seconds histogram",
            "tickcast_channel_repair_seconds_sum{channel=\"one\"} 2.5",
            "tickcast_channel_repair_seconds_count{channel=\"one\"} 7",
            "tickcast_channel_repair_seconds_bucket{le=\"0.001\",channel=\"one\"} 1",
            "tickcast_channel_repair_seconds_bucket{le=\"0.05\",channel=\"one\"} 3",
            "tickcast_channel_repair_seconds_bucket{le=\"+Inf\",channel=\"one\"} 7",
            "# HELP tickcast_hub_connected Subscribers that connected.",
            "tickcast_hub_connected_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        // A line that the report doesn't have isn't guessed at, and each family comes once.
        assert!(!text.contains("} 7\ntickcast_line"), "{text}");
        assert_eq!(
            text.matches("# TYPE tickcast_line_kernel_drops ").count(),
            1
        );
    }
}
