//! A seeded market, told as Nasdaq TotalView-ITCH 5.0 messages: one trading day, or one that never closes.
//!
//! [`Market::next`] appends one message and tells when it is due.  A day ([`Day::Whole`]) is
//!
//! | | messages |
//! | --- | --- |
//! | start of messages | event `O`; directory, trading action, Reg SHO of each security; market participants, circuit breaker levels |
//! | system hours | event `S`; the first orders, and light trading; imbalances before the opening cross |
//! | market hours | event `Q`; the opening cross of each security; continuous trading, halts; imbalances before the closing cross |
//! | after the close | event `M`; the closing cross; light trading |
//! | after system hours | event `E`; what is still displayed is deleted; event `C` |
//!
//! and [`Day::Continuous`] is the start without crosses, then trading without end.
//!
//! Each instrument's fair price is a mean-reverting random walk, orders are put around it, and whoever
//! crosses executes against the head of the opposite queue.  Activity follows Zipf's law over the
//! instruments, the first being the busiest.  The mix of the messages is that of [`Mix`].
//!
//! What holds after every message:
//!
//! - the books told by the messages are the books kept here ([`Market::levels`]);
//! - no book is locked or crossed; executions go in price and time priority;
//! - order reference and match numbers rise; no message names an order that isn't displayed;
//! - time never goes back, and memory doesn't grow beyond the caps of [`MarketConfig`].
//!
//! One seed gives one sequence of bytes, on every platform.
//!
//! # Lifetimes
//!
//! Nine of ten deletions, and all replaces and cancels, pick an order by how many younger ones its book
//! has: the chance falls as `1 / (younger + 1)`.  So an order's risk falls as it ages, and lifetimes have a
//! heavy tail, roughly a power law: counted in messages of its instrument, the 99th percentile is some thirty
//! times the median (`replay/tests/exchange_market.rs`), where an exponential law has 6.6.  The tenth deletion takes any of the older
//! half, which bounds the tail: books keep their size.
//!
//! Not here: securities that trade for the first time, retail interest, market-wide halts, more than one
//! halt at a time, and any claim that the prices behave like those of a real security.

use tickcast_codecs::{Level, Price, Side};

use self::activity::{Activity, Flow, Quotas};
use self::auction::Cross;
use self::day::{Noiis, Phase};
use self::engines::Engines;
use self::halt::Halt;
use self::instrument::Instrument;
use self::trading::{Recent, Sweep};
use crate::random::Random;

mod activity;
mod auction;
mod config;
mod day;
mod engines;
mod halt;
mod instrument;
mod messages;
mod orders;
mod snapshot;
mod trading;

pub use config::{Day, MarketConfig, Mix, Pace, Schedule, Shape};

/// What [`Market::next`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// When the message is due, in nanoseconds of market time since the first.
    pub offset_ns: u64,
}

/// A market; see the [module](self).
#[derive(Debug, Clone)]
pub struct Market {
    config: MarketConfig,
    random: Random,
    offset_ns: u64,
    phase: Phase,
    phase_due_ns: u64,
    /// Between the messages of a phase that tells many.
    gap_ns: u64,
    noiis: Noiis,
    halt: Halt,
    flow: Flow,
    script: Option<Script>,
    instruments: Vec<Instrument>,
    activity: Activity,
    quotas: Quotas,
    engines: Engines,
    match_number: u64,
    recent: Recent,
    /// The last system event.
    event: Option<u8>,
}

/// Messages that follow each other at once.
#[derive(Debug, Clone, Copy)]
enum Script {
    Sweep(Sweep),
    Cross(Cross),
    /// Trading goes on after a halt's cross.
    Resume {
        at: usize,
    },
}

/// Between the messages of a script.
const SCRIPT_GAP_NS: u64 = 700;

impl Market {
    /// A market before its first message.  A configured value below its least is taken as the least.
    #[must_use]
    pub fn new(config: MarketConfig) -> Self {
        let mut config = config.bounded();
        if let Day::Whole(schedule) = config.day {
            config.day = Day::Whole(schedule.ordered());
        }
        let mut random = Random::new(config.seed);
        let depth_sum = config.depth_sum();
        let instruments = (0..config.instruments)
            .map(|at| Instrument::new(at, &config, depth_sum, &mut random))
            .collect();
        let weights: Vec<u64> = (0..config.instruments)
            .map(|at| config.activity(at))
            .collect();
        Self {
            random,
            offset_ns: 0,
            phase: Phase::StartOfMessages,
            phase_due_ns: 0,
            gap_ns: 0,
            noiis: Noiis::NONE,
            halt: Halt::none(),
            flow: Flow::new(config.pace, config.messages_per_second),
            script: None,
            instruments,
            activity: Activity::new(&weights),
            quotas: Quotas::new(config.mix),
            engines: Engines::new(&weights),
            match_number: 0,
            recent: Recent::default(),
            event: None,
            config,
        }
    }

    /// Appends the next message to `out`, and tells when it is due.  When the day [is
    /// over](Self::is_over) it appends nothing.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Step {
        let before = out.len();
        while out.len() == before && !self.is_over() {
            self.step(out);
        }
        Step {
            offset_ns: self.offset_ns,
        }
    }

    /// One thing, which is a message with few exceptions.
    fn step(&mut self, out: &mut Vec<u8>) {
        if let Some(script) = self.script.take() {
            self.offset_ns += SCRIPT_GAP_NS;
            return match script {
                Script::Sweep(sweep) => {
                    self.advance_flow();
                    self.advance_sweep(sweep, out);
                }
                Script::Cross(cross) => self.advance_cross(cross, out),
                Script::Resume { at } => self.resume(at, out),
            };
        }
        let agenda = self.agenda_ns();
        let flow = match self.slowness() {
            Some(_) => self.flow.due_ns(),
            None => u64::MAX,
        };
        self.offset_ns = self.offset_ns.max(agenda.min(flow));
        if agenda <= flow {
            self.follow_agenda(out);
        } else {
            self.advance_flow();
            self.trade(out);
        }
    }

    /// A message of the flow is about to be told: the next one is due later.
    fn advance_flow(&mut self) {
        let slow = self.slowness().unwrap_or(1.0);
        self.flow.advance(slow, &mut self.random, &self.activity);
        self.quotas.advance();
    }

    /// Whether the start of the day is over: every instrument is defined and has its first orders.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.event
            .is_some_and(|event| !matches!(event, b'O' | b'S'))
    }

    /// Whether the end of messages was told.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The code of the last system event; `None` before the first.
    #[must_use]
    pub fn system_event(&self) -> Option<u8> {
        self.event
    }

    /// How many instruments there are; their stock locates are 1 to this.
    #[must_use]
    pub fn instruments(&self) -> u16 {
        self.config.instruments
    }

    /// An instrument's symbol, padded with spaces; `None` if there is no such stock locate.
    #[must_use]
    pub fn symbol(&self, stock_locate: u16) -> Option<&[u8; 8]> {
        Some(&self.instrument(stock_locate)?.stock.0)
    }

    /// The true book: the first `depth` levels of a side, best first.  Empty if there is no such stock
    /// locate.
    pub fn levels(
        &self,
        stock_locate: u16,
        side: Side,
        depth: usize,
    ) -> impl Iterator<Item = Level> + '_ {
        self.instrument(stock_locate)
            .into_iter()
            .flat_map(move |instrument| {
                let queues = instrument.book.queues(side);
                queues.iter().rev().map(|queue| Level {
                    px: px(instrument, queue.tick),
                    size: queue.shares,
                    count: queue.count,
                })
            })
            .take(depth)
    }

    /// The true book's orders of a side: best price first, then in queue order.  Empty if there is no such
    /// stock locate.
    pub fn resting(
        &self,
        stock_locate: u16,
        side: Side,
    ) -> impl Iterator<Item = tickcast_book::Order> + '_ {
        self.instrument(stock_locate)
            .into_iter()
            .flat_map(move |instrument| {
                let orders = instrument.book.orders(side);
                orders.map(move |order| tickcast_book::Order {
                    order_id: order.id,
                    side,
                    px: px(instrument, order.tick),
                    size: order.shares,
                })
            })
    }

    /// How many orders an instrument displays; 0 if there is no such stock locate.
    #[must_use]
    pub fn displayed_orders(&self, stock_locate: u16) -> usize {
        self.instrument(stock_locate)
            .map_or(0, |instrument| instrument.book.live().len())
    }

    /// How many orders an instrument displays, and at how many prices; nothing if there is no such stock
    /// locate.
    pub(super) fn size(&self, stock_locate: u16) -> (u32, u32) {
        self.instrument(stock_locate)
            .map_or((0, 0), |instrument| instrument.book.size())
    }

    fn instrument(&self, stock_locate: u16) -> Option<&Instrument> {
        self.instruments
            .get(usize::from(stock_locate).checked_sub(1)?)
    }
}

fn px(instrument: &Instrument, tick: u32) -> Price {
    Price::from_4_decimals(i64::from(instrument.wire_price(tick)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_stops_growing_at_the_caps() {
        let config = MarketConfig {
            instruments: 5,
            orders_per_instrument_max: 120,
            ..MarketConfig::default()
        };
        let mut market = Market::new(config);
        let mut out = Vec::new();
        for _ in 0..500_000 {
            out.clear();
            market.next(&mut out);
        }
        let levels_max = config.shape.levels_max();
        for instrument in &market.instruments {
            assert!(instrument.book.slot_count() <= 120);
            assert!(instrument.book.queues(Side::Bid).len() <= levels_max + 1);
            assert!(instrument.book.queues(Side::Ask).len() <= levels_max + 1);
        }
    }
}
