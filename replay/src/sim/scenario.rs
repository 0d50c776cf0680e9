//! What happens in a run: plain data.

use tickcast_feed::{ArbiterConfig, RecoveryConfig};

use crate::exchange::{Day, LineConfig, Manner, MarketConfig, PublisherConfig, Schedule};
use crate::fault::{DRAWN_FAULTS_NS, FaultPlan};
use crate::random::Random;

/// A second, in nanoseconds.
const SECOND_NS: u64 = 1_000_000_000;

/// One line: how it packs, and what befalls it.
#[derive(Debug, Clone)]
pub struct LineSetup {
    /// How it packs.
    pub config: LineConfig,
    /// What befalls it.
    pub plan: FaultPlan,
}

/// How a request server behaves until the faults end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestManner {
    /// As the specification says.
    Honest,
    /// It never answers.
    Dead,
    /// Half of its answers are of another session, of numbers that nobody asked for, or no packets at all.
    Lying,
    /// It answers ten requests a second.
    Quota,
    /// It begins before what was asked for and goes on behind it, as far as a packet goes.
    Generous,
}

/// A request server and the paths to it and back.
#[derive(Debug, Clone)]
pub struct RequestSetup {
    /// How it behaves.
    pub manner: RequestManner,
    /// Bytes of its largest packet.
    pub packet_bytes_max: usize,
    /// What befalls requests.
    pub requests: FaultPlan,
    /// What befalls answers.
    pub replies: FaultPlan,
}

/// A snapshot server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotSetup {
    /// How it behaves until the faults end; `None`: nobody listens there.
    pub manner: Option<Manner>,
    /// How long a byte takes, each way.
    pub delay_ns: u64,
}

/// The exchange begins another session, with other books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roll {
    /// When.
    pub at_ns: u64,
    /// Whether the end of the old one is told.
    pub told: bool,
}

/// A run.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Decides what isn't said.
    pub seed: u64,
    /// The market.
    pub market: MarketConfig,
    /// The lines.
    pub lines: Vec<LineSetup>,
    /// The request servers.
    pub request_servers: Vec<RequestSetup>,
    /// The snapshot servers.
    pub snapshot_servers: Vec<SnapshotSetup>,
    /// How the receiver arbitrates; the number of lines is set from `lines`.
    pub arbiter: ArbiterConfig,
    /// How the receiver recovers; the numbers of servers are set from the lists.
    pub recovery: RecoveryConfig,
    /// The sessions after the first.
    pub rolls: Vec<Roll>,
    /// The receiver listens from here on.
    pub join_ns: u64,
    /// How many subscribers there are.
    pub subscribers: u8,
    /// Everybody behaves from here on.
    pub faults_until_ns: u64,
    /// The exchange ends the session here.
    pub end_ns: u64,
    /// Whether nothing at all goes wrong, so that no gap may be declared and nothing be asked for.
    pub is_clean: bool,
    /// Whether nothing goes wrong but that lines lose packets, so that only what all of them lost may be missing.
    pub is_only_lossy: bool,
}

impl Scenario {
    /// Two lines that packetise differently, an honest request server and an honest snapshot server; nothing
    /// goes wrong.  The exchange ends after `duration_ns`.
    #[must_use]
    pub fn calm(seed: u64, duration_ns: u64) -> Self {
        let line = |packet_bytes_max, flush_ns, offset_ns| LineSetup {
            config: LineConfig {
                publisher: PublisherConfig {
                    packet_bytes_max,
                    flush_ns,
                    ..PublisherConfig::default()
                },
                offset_ns,
            },
            plan: FaultPlan::none(),
        };
        Self {
            seed,
            market: MarketConfig {
                seed,
                instruments: 8,
                messages_per_second: 1_000,
                ..MarketConfig::default()
            },
            lines: vec![line(1_400, 200_000, 0), line(900, 150_000, 50_000)],
            request_servers: vec![RequestSetup {
                manner: RequestManner::Honest,
                packet_bytes_max: 1_400,
                requests: FaultPlan {
                    delay_ns: 200_000,
                    ..FaultPlan::none()
                },
                replies: FaultPlan {
                    delay_ns: 200_000,
                    ..FaultPlan::none()
                },
            }],
            snapshot_servers: vec![SnapshotSetup {
                manner: Some(Manner::Honest),
                delay_ns: 500_000,
            }],
            arbiter: ArbiterConfig::default(),
            recovery: RecoveryConfig::default(),
            rolls: Vec::new(),
            join_ns: 0,
            subscribers: 0,
            faults_until_ns: 0,
            end_ns: duration_ns,
            is_clean: true,
            is_only_lossy: false,
        }
    }

    /// The run of a seed: each kind of fault is there or not, small or large.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let random = &mut random;
        let mut scenario = Self::calm(seed, DRAWN_FAULTS_NS + REST_NS);
        scenario.is_clean = random.one_in(8);
        scenario.faults_until_ns = if scenario.is_clean {
            0
        } else {
            DRAWN_FAULTS_NS
        };
        scenario.subscribers = u8::try_from(random.below(5)).unwrap_or(0);
        let market = &mut scenario.market;
        market.instruments = u16::try_from(random.between(2, 24)).unwrap_or(2);
        // 100 to 2,000: each doubling alike.
        market.messages_per_second = 100 + random.log_uniform(1_900);
        if random.one_in(3) {
            market.day = Day::Whole(Schedule::compressed(scenario.end_ns));
        }
        for line in &mut scenario.lines {
            let publisher = &mut line.config.publisher;
            publisher.packet_bytes_max =
                usize::try_from(random.between(80, 1_400)).unwrap_or(1_400);
            publisher.flush_ns = random.below_u64(400_000);
        }
        if scenario.is_clean {
            return scenario;
        }
        scenario.is_only_lossy = random.one_in(8);
        if scenario.is_only_lossy {
            for line in &mut scenario.lines {
                line.plan.loss_ppm = 1_000 + random.log_uniform(200_000);
                line.plan.until_ns = DRAWN_FAULTS_NS;
            }
            return scenario;
        }
        if random.one_in(4) {
            let third = scenario.lines[1].clone();
            scenario.lines.push(third);
        } else if random.one_in(6) {
            scenario.lines.truncate(1);
        }
        for line in &mut scenario.lines {
            line.plan = FaultPlan::draw(random);
        }
        if random.one_in(3) {
            // What all lines lose at once.
            let bursts = FaultPlan::draw(random).bursts;
            for line in &mut scenario.lines {
                line.plan.bursts.extend_from_slice(&bursts);
            }
        }
        if random.one_in(4) {
            scenario.recovery.requests_per_second_max = random.between(5, 100);
        }
        if random.one_in(4) {
            scenario.join_ns = random.below_u64(DRAWN_FAULTS_NS);
        }
        for _ in 0..random.below(3) {
            scenario.rolls.push(Roll {
                at_ns: random.below_u64(DRAWN_FAULTS_NS),
                told: random.one_in(2),
            });
        }
        scenario.rolls.sort_by_key(|roll| roll.at_ns);
        scenario.request_servers = (0..random.below(3))
            .map(|_| RequestSetup::draw(random))
            .collect();
        scenario.snapshot_servers = (0..random.between(1, 2))
            .map(|_| SnapshotSetup::draw(random))
            .collect();
        scenario
    }
}

/// From the end of the faults to the end of the exchange: time for repair, and for being watched after it.
const REST_NS: u64 = super::REPAIR_NS_MAX + 2 * SECOND_NS;

impl RequestSetup {
    fn draw(random: &mut Random) -> Self {
        let path = |random: &mut Random| {
            let drawn = FaultPlan::draw(random);
            FaultPlan {
                // Answers come by unicast, through a network that is our own.
                bursts: Vec::new(),
                delay_ns: drawn.delay_ns.clamp(50_000, 20_000_000),
                ..drawn
            }
        };
        Self {
            manner: match random.below(10) {
                0..6 => RequestManner::Honest,
                6 => RequestManner::Dead,
                7 | 8 => RequestManner::Lying,
                _ => RequestManner::Quota,
            },
            packet_bytes_max: usize::try_from(random.between(80, 1_400)).unwrap_or(1_400),
            requests: path(random),
            replies: path(random),
        }
    }
}

impl SnapshotSetup {
    fn draw(random: &mut Random) -> Self {
        let manner = match random.below(16) {
            0..8 => Some(Manner::Honest),
            8 => None,
            9 => Some(Manner::Slow {
                pause_ns: random.below_u64(20_000_000),
            }),
            10 => Some(Manner::DiesHalfWay),
            11 => Some(Manner::NeverEnds),
            12 => Some(Manner::TooOld),
            13 => Some(Manner::Garbage),
            14 => Some(Manner::Rejects),
            _ => Some(
                *[Manner::OtherSession, Manner::Silent]
                    .get(random.index(2))
                    .unwrap_or(&Manner::Silent),
            ),
        };
        Self {
            manner,
            delay_ns: 1_000 * u64::from(1 + random.log_uniform(50_000)),
        }
    }
}
