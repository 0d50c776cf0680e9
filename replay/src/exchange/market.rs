//! A seeded market that never closes, told as Nasdaq TotalView-ITCH 5.0 messages.
//!
//! [`Market::next`] appends one message and tells when it is due.  First comes the start of a day
//! (events `O`, `S`, `Q`; directory, trading action and Reg SHO state of every instrument; the first
//! orders), then continuous trading without end: each instrument's fair price is a mean-reverting
//! random walk, orders are put around it, and whoever crosses executes against the head of the
//! opposite queue.  Activity follows Zipf's law over the instruments, the first being the busiest.
//!
//! What holds after every message:
//!
//! - the books told by the messages are the books kept here ([`Market::levels`]);
//! - no book is locked or crossed; executions go in price and time priority;
//! - order reference and match numbers rise; no message names an order that isn't displayed;
//! - time never goes back, and memory doesn't grow beyond the caps of [`MarketConfig`].
//!
//! One seed gives one sequence of bytes, on every platform.  An order's risk of being deleted falls with its
//! age, so lifetimes have a heavy tail: most orders near the touch are gone soon, some stay for long.
//!
//! Not here: crosses, the close, more than one halt at a time, and any claim that the prices behave like
//! those of a real security.

use tickcast_codecs::itch50::{
    AddOrder, AddOrderWithMpid, BrokenTrade, Noii, OrderCancel, OrderDelete, OrderExecuted,
    OrderExecutedWithPrice, OrderReplace, RegShoRestriction, StockDirectory, StockTradingAction,
    SystemEvent, Trade,
};
use tickcast_codecs::wire::{Alpha, BePrice4, BeTimestamp48, Char};
use tickcast_codecs::{Level, Price, Side};
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

use super::orders::{Book, Orders};
use super::random::Random;

/// What market to invent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarketConfig {
    /// Decides everything that isn't configured.
    pub seed: u64,
    /// How many instruments; at least 1.  Their stock locates are 1, 2, …
    pub instruments: u16,
    /// Mean rate of continuous trading, in market time; at least 1.
    pub messages_per_second: u32,
    /// Time of day at offset 0, in nanoseconds since midnight, Eastern time.
    pub open_ns: u64,
    /// Displayed orders of one instrument; at least 64.  At this count old orders are deleted.
    pub orders_per_instrument_max: u32,
}

impl Default for MarketConfig {
    /// 24 instruments, 2,000 messages a second, from 9:30.
    fn default() -> Self {
        Self {
            seed: 1,
            instruments: 24,
            messages_per_second: 2_000,
            open_ns: (9 * 60 + 30) * 60 * SECOND_NS,
            orders_per_instrument_max: 256,
        }
    }
}

/// What [`Market::next`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// When the message is due, in nanoseconds of market time since the first.
    pub offset_ns: u64,
}

/// A market; see the [module](self).
#[derive(Debug)]
pub struct Market {
    config: MarketConfig,
    random: Random,
    phase: Phase,
    offset_ns: u64,
    /// Time that the messages so far were entitled to, and that didn't pass yet: the parts of one
    /// aggressive order follow each other at once, and the message after them waits for all.
    owed_ns: u64,
    burst: Option<usize>,
    instruments: Vec<Instrument>,
    /// Running sums of the instruments' weights.
    activity: Vec<u64>,
    orders: Orders,
    order_reference_number: u64,
    match_number: u64,
    sweep: Option<Sweep>,
    halt: Halt,
    recent: Recent,
}

#[derive(Debug)]
struct Instrument {
    stock: Alpha<8>,
    state: State,
    /// A tick in units of 1e-4, the wire's.
    tick_size: u32,
    /// Both in [`FAIR_UNIT`]ths of a tick.
    fair: i64,
    anchor: i64,
    /// How far fair goes from anchor, in the same unit.
    range: i64,
    book: Book,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Trading,
    Halted,
    Quotation,
}

/// Where the day is.  The numbers count what was done in the phase.
#[derive(Debug, Clone, Copy)]
enum Phase {
    StartOfMessages,
    Directory { at: usize, message: u8 },
    StartOfSystemHours,
    FirstOrders { at: usize, order: u32 },
    StartOfMarketHours,
    Continuous,
}

/// What is left of an aggressive order; there is always a next message in it.
#[derive(Debug, Clone, Copy)]
struct Sweep {
    at: usize,
    taker: Side,
    shares: u32,
    limit: u32,
}

#[derive(Debug)]
struct Halt {
    at: usize,
    due_ns: u64,
    /// Imbalance messages left before trading resumes.
    noii_left: u32,
}

/// The last executions, of which one may be broken.
#[derive(Debug)]
struct Recent {
    executions: [(u16, u64); 64],
    count: usize,
}

const SECOND_NS: u64 = 1_000_000_000;
/// Start of day and first orders come at this distance.
const OPENING_GAP_NS: u64 = 20_000;
/// Between the executions of one aggressive order.
const SWEEP_GAP_NS: u64 = 700;
/// Levels of a side: each is built at the opening, kept above the least, and below the most.
const LEVELS_AT_OPEN: u32 = 20;
const LEVELS_MIN: usize = 15;
const LEVELS_MAX: usize = 40;
/// Orders queued at each level at the opening.
const ORDERS_AT_OPEN: u32 = 3;
/// Farther than this from fair, no order is put deliberately.
const DISTANCE_TICKS_MAX: u32 = 24;
/// Parts of a tick in which fair moves.
const FAIR_UNIT: i64 = 1 << 24;
/// Largest move of fair in one event: 0.12 ticks.
const FAIR_STEP: u32 = 2_013_265;
/// The share of its distance that fair goes back in one event: the walk's deviation tends to 140 ticks.
const FAIR_REVERSION: i64 = 1 << 23;
/// In a burst messages come this much faster; a fifth of all messages does.
const BURST_SPEED: f64 = 5.0;
const BURST_BEGINS_ONE_IN: u32 = 400;
const BURST_ENDS_ONE_IN: u32 = 100;
/// Times of a halt.
const HALT_MEAN_NS: f64 = 45e9;
const HALTED_NS: u64 = 3 * SECOND_NS;
const NOII_EACH_NS: u64 = SECOND_NS;
const NOII_COUNT: u32 = 5;
const BROKEN_ONE_IN: u32 = 20_000;
/// Attributions; no member firm has these.
const MPIDS: [[u8; 4]; 6] = [*b"MMAA", *b"MMBB", *b"MMCC", *b"MMDD", *b"MMEE", *b"MMFF"];

impl Market {
    /// A market before its first message.  A configured value below its least is taken as the least.
    #[must_use]
    pub fn new(config: MarketConfig) -> Self {
        let config = MarketConfig {
            instruments: config.instruments.max(1),
            messages_per_second: config.messages_per_second.max(1),
            orders_per_instrument_max: config.orders_per_instrument_max.max(64),
            ..config
        };
        let mut random = Random::new(config.seed);
        let mut sum = 0;
        let instruments = (0..config.instruments)
            .map(|at| Instrument::new(at, &mut random))
            .collect();
        let activity = (1..=u64::from(config.instruments))
            .map(|rank| {
                sum += (1 << 32) / rank;
                sum
            })
            .collect();
        Self {
            config,
            random,
            phase: Phase::StartOfMessages,
            offset_ns: 0,
            owed_ns: 0,
            burst: None,
            instruments,
            activity,
            orders: Orders::default(),
            order_reference_number: 0,
            match_number: 0,
            sweep: None,
            halt: Halt {
                at: 0,
                due_ns: u64::MAX,
                noii_left: 0,
            },
            recent: Recent {
                executions: [(0, 0); 64],
                count: 0,
            },
        }
    }

    /// Appends the next message to `out`, and tells when it is due.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Step {
        match self.phase {
            Phase::Continuous => {
                self.pass_time();
                self.trade(out);
            }
            _ => {
                self.open(out);
                self.offset_ns += OPENING_GAP_NS;
                return Step {
                    offset_ns: self.offset_ns - OPENING_GAP_NS,
                };
            }
        }
        Step {
            offset_ns: self.offset_ns,
        }
    }

    /// Whether the start of the day is over: every instrument is defined and has its first orders.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Continuous)
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
                instrument
                    .book
                    .queues(side)
                    .iter()
                    .rev()
                    .map(|queue| Level {
                        px: Price::from_4_decimals(i64::from(instrument.wire_price(queue.tick))),
                        size: queue.shares,
                        count: queue.count,
                    })
            })
            .take(depth)
    }

    /// How many orders an instrument displays; 0 if there is no such stock locate.
    #[must_use]
    pub fn displayed_orders(&self, stock_locate: u16) -> usize {
        self.instrument(stock_locate)
            .map_or(0, |instrument| instrument.book.live().len())
    }

    fn instrument(&self, stock_locate: u16) -> Option<&Instrument> {
        self.instruments
            .get(usize::from(stock_locate).checked_sub(1)?)
    }

    /// Time until the next message: exponential, in two speeds.
    fn pass_time(&mut self) {
        let mean = 1e9 / f64::from(self.config.messages_per_second);
        let speed = if self.burst.is_some() {
            if self.random.one_in(BURST_ENDS_ONE_IN) {
                self.burst = None;
            }
            1.0 / BURST_SPEED
        } else {
            if self.random.one_in(BURST_BEGINS_ONE_IN) {
                self.burst = Some(self.pick_instrument());
            }
            // A fifth of the messages takes a fifth of its share of time; these take the rest.
            (1.0 - 0.2 / BURST_SPEED) / 0.8
        };
        self.owed_ns += self.random.exponential(mean * speed);
        let pass = match self.sweep {
            Some(_) => self.owed_ns.min(SWEEP_GAP_NS),
            None => self.owed_ns,
        };
        self.owed_ns -= pass;
        self.offset_ns += pass;
    }

    /// The messages before trading.
    fn open(&mut self, out: &mut Vec<u8>) {
        self.phase = match self.phase {
            Phase::StartOfMessages => {
                self.system_event(b'O', out);
                Phase::Directory { at: 0, message: 0 }
            }
            Phase::Directory { at, message } => {
                match message {
                    0 => self.stock_directory(at, out),
                    1 => self.trading_action(at, b'T', *b"    ", out),
                    _ => self.reg_sho(at, out),
                }
                if message < 2 {
                    Phase::Directory {
                        at,
                        message: message + 1,
                    }
                } else if at + 1 < self.instruments.len() {
                    Phase::Directory {
                        at: at + 1,
                        message: 0,
                    }
                } else {
                    Phase::StartOfSystemHours
                }
            }
            Phase::StartOfSystemHours => {
                self.system_event(b'S', out);
                Phase::FirstOrders { at: 0, order: 0 }
            }
            Phase::FirstOrders { at, order } => {
                self.first_order(at, order, out);
                let count = (2 * LEVELS_AT_OPEN * ORDERS_AT_OPEN)
                    .min(self.config.orders_per_instrument_max / 2);
                if order + 1 < count {
                    Phase::FirstOrders {
                        at,
                        order: order + 1,
                    }
                } else if at + 1 < self.instruments.len() {
                    Phase::FirstOrders {
                        at: at + 1,
                        order: 0,
                    }
                } else {
                    Phase::StartOfMarketHours
                }
            }
            Phase::StartOfMarketHours | Phase::Continuous => {
                self.system_event(b'Q', out);
                self.schedule_halt();
                Phase::Continuous
            }
        };
    }

    fn first_order(&mut self, at: usize, order: u32, out: &mut Vec<u8>) {
        let side = if order.is_multiple_of(2) {
            Side::Bid
        } else {
            Side::Ask
        };
        let distance = order / 2 % LEVELS_AT_OPEN;
        let tick = self.instruments[at].tick_at(side, distance);
        self.add(at, side, tick, out);
    }

    /// One message of continuous trading.
    fn trade(&mut self, out: &mut Vec<u8>) {
        if let Some(sweep) = self.sweep.take() {
            self.advance_sweep(sweep, out);
        } else if self.offset_ns >= self.halt.due_ns {
            self.advance_halt(out);
        } else if self.recent.count > 0 && self.random.one_in(BROKEN_ONE_IN) {
            self.break_trade(out);
        } else {
            for _ in 0..4 {
                let at = match self.burst {
                    Some(at) if self.random.one_in(2) => at,
                    _ => self.pick_instrument(),
                };
                if self.instruments[at].state != State::Halted {
                    return self.act(at, out);
                }
            }
            // The first is never halted.
            self.act(0, out);
        }
    }

    fn pick_instrument(&mut self) -> usize {
        let sum = self.activity.last().copied().unwrap_or(0);
        // 2^24 steps are fine enough: the rarest of 65,535 instruments has more than ten.
        let point = sum / (1 << 24) * u64::from(self.random.below(1 << 24));
        self.activity
            .partition_point(|&up_to| up_to <= point)
            .min(self.instruments.len() - 1)
    }

    /// One event of an instrument that accepts orders.
    fn act(&mut self, at: usize, out: &mut Vec<u8>) {
        let step = i64::from(self.random.below(2 * FAIR_STEP + 1)) - i64::from(FAIR_STEP);
        let instrument = &mut self.instruments[at];
        instrument.move_fair(step);
        let trading = instrument.state == State::Trading;
        let book = &instrument.book;
        let count = book.live().len();
        let cap = self.config.orders_per_instrument_max as usize;
        let fair = instrument.fair_tick();
        let beyond_ask = book.best_tick(Side::Ask).is_some_and(|ask| ask <= fair);
        let beyond_bid = book.best_tick(Side::Bid).is_some_and(|bid| bid > fair);
        if count >= cap {
            return self.delete_old(at, out);
        }
        let first = if self.random.one_in(2) {
            Side::Bid
        } else {
            Side::Ask
        };
        for side in [first, first.opposite()] {
            let levels = self.instruments[at].book.queues(side).len();
            if levels < LEVELS_MIN {
                return self.add_level(at, side, out);
            }
            if levels > LEVELS_MAX {
                return self.delete_worst(at, side, out);
            }
        }
        if trading && (beyond_ask || beyond_bid) && self.random.one_in(20) {
            let taker = if beyond_ask { Side::Bid } else { Side::Ask };
            return self.take(at, taker, out);
        }
        // Few orders attract more, many fewer: the count hovers around 5 / 8 of the cap.
        let add = if count < cap / 8 * 5 { 490 } else { 400 };
        match self.random.below(1_000) {
            ..20 if trading => self.take(at, first, out),
            20..30 if trading => self.hidden_trade(at, out),
            30..50 => self.cancel(at, out),
            50..140 => self.replace(at, out),
            draw if draw < 140 + add => self.add_passive(at, first, out),
            draw if draw.is_multiple_of(10) => self.delete_old(at, out),
            _ => self.delete_young(at, out),
        }
    }

    fn shares(&mut self) -> u32 {
        match self.random.below(8) {
            0 | 1 => self.random.between(1, 99),
            2..=5 => 100,
            6 => 100 * (1 + self.random.geometric(1)),
            _ => 100 * self.random.between(2, 20),
        }
    }

    /// A price at which an order of this side doesn't execute: mostly near fair, sometimes deeper.
    fn passive_tick(&mut self, at: usize, side: Side) -> u32 {
        let distance = if self.random.below(10) < 6 {
            self.random.geometric(1).min(DISTANCE_TICKS_MAX)
        } else {
            self.random.below(DISTANCE_TICKS_MAX)
        };
        let instrument = &self.instruments[at];
        let tick = instrument.tick_at(side, distance);
        match (side, instrument.book.best_tick(side.opposite())) {
            (Side::Bid, Some(ask)) => tick.min(ask - 1),
            (Side::Ask, Some(bid)) => tick.max(bid + 1),
            (_, None) => tick,
        }
    }

    fn add_passive(&mut self, at: usize, side: Side, out: &mut Vec<u8>) {
        let tick = self.passive_tick(at, side);
        let book = &self.instruments[at].book;
        if book.queues(side).len() < LEVELS_MAX || book.has_level(side, tick) {
            return self.add(at, side, tick, out);
        }
        // A new level takes the place of the worst, which goes order by order.
        match (side, book.worst_tick(side)) {
            (Side::Bid, Some(worst)) if tick < worst => self.add(at, side, worst, out),
            (Side::Ask, Some(worst)) if tick > worst => self.add(at, side, worst, out),
            _ => self.delete_worst(at, side, out),
        }
    }

    /// Makes a side deeper by one level.
    fn add_level(&mut self, at: usize, side: Side, out: &mut Vec<u8>) {
        let gap = 1 + self.random.below(2);
        let tick = match (side, self.instruments[at].book.worst_tick(side)) {
            (Side::Bid, Some(worst)) => worst.saturating_sub(gap).max(1),
            (Side::Ask, Some(worst)) => worst + gap,
            (_, None) => self.passive_tick(at, side),
        };
        self.add(at, side, tick, out);
    }

    fn add(&mut self, at: usize, side: Side, tick: u32, out: &mut Vec<u8>) {
        let shares = self.shares();
        self.add_shares(at, side, tick, shares, out);
    }

    fn add_shares(&mut self, at: usize, side: Side, tick: u32, shares: u32, out: &mut Vec<u8>) {
        self.order_reference_number += 1;
        let id = self.order_reference_number;
        let mpid = self
            .random
            .one_in(5)
            .then(|| MPIDS[self.random.index(MPIDS.len())]);
        let timestamp = self.timestamp();
        let instrument = &mut self.instruments[at];
        instrument
            .book
            .add(&mut self.orders, id, side, tick, shares);
        let (stock_locate, order_reference_number) = (locate(at), U64::new(id));
        let buy_sell_indicator = Char(wire_side(side));
        let (shares, price) = (U32::new(shares), instrument.price(tick));
        let (tracking_number, stock) = (U16::ZERO, instrument.stock);
        match mpid {
            None => write(
                &AddOrder {
                    message_type: Char(b'A'),
                    stock_locate,
                    tracking_number,
                    timestamp,
                    order_reference_number,
                    buy_sell_indicator,
                    shares,
                    stock,
                    price,
                },
                out,
            ),
            Some(mpid) => write(
                &AddOrderWithMpid {
                    message_type: Char(b'F'),
                    stock_locate,
                    tracking_number,
                    timestamp,
                    order_reference_number,
                    buy_sell_indicator,
                    shares,
                    stock,
                    price,
                    attribution: Alpha(mpid),
                },
                out,
            ),
        }
    }

    /// The order with the greatest (newest) or least of three random orders' numbers.
    fn pick_order(&mut self, at: usize, newest: bool) -> Option<u32> {
        let live = self.instruments[at].book.live();
        let picks = [(); 3].map(|()| live.get(self.random.index(live.len())).copied());
        let id = |slot: &u32| self.orders.order(*slot).id;
        let picks = picks.into_iter().flatten();
        if newest {
            picks.max_by_key(id)
        } else {
            picks.min_by_key(id)
        }
    }

    fn delete_young(&mut self, at: usize, out: &mut Vec<u8>) {
        match self.pick_order(at, true) {
            Some(slot) => self.delete(at, slot, out),
            None => self.add_passive(at, Side::Bid, out),
        }
    }

    fn delete_old(&mut self, at: usize, out: &mut Vec<u8>) {
        match self.pick_order(at, false) {
            Some(slot) => self.delete(at, slot, out),
            None => self.add_passive(at, Side::Ask, out),
        }
    }

    fn delete_worst(&mut self, at: usize, side: Side, out: &mut Vec<u8>) {
        match self.instruments[at].book.worst_head(side) {
            Some(slot) => self.delete(at, slot, out),
            None => self.add_passive(at, side, out),
        }
    }

    fn delete(&mut self, at: usize, slot: u32, out: &mut Vec<u8>) {
        let id = self.orders.order(slot).id;
        self.instruments[at].book.remove(&mut self.orders, slot);
        write(
            &OrderDelete {
                message_type: Char(b'D'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                order_reference_number: U64::new(id),
            },
            out,
        );
    }

    /// Takes off a part of an order; an order of one share goes whole.
    fn cancel(&mut self, at: usize, out: &mut Vec<u8>) {
        let Some(slot) = self.pick_order(at, true) else {
            return self.add_passive(at, Side::Bid, out);
        };
        let order = self.orders.order(slot);
        let (id, shares) = (order.id, order.shares);
        let canceled = match shares {
            ..2 => return self.delete(at, slot, out),
            2..200 => self.random.between(1, shares - 1),
            _ => 100 * self.random.between(1, (shares - 1) / 100),
        };
        self.instruments[at]
            .book
            .reduce(&mut self.orders, slot, canceled);
        write(
            &OrderCancel {
                message_type: Char(b'X'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                order_reference_number: U64::new(id),
                canceled_shares: U32::new(canceled),
            },
            out,
        );
    }

    /// Replaces an order: another price, another quantity, or both; the new order queues last.
    fn replace(&mut self, at: usize, out: &mut Vec<u8>) {
        let Some(slot) = self.pick_order(at, true) else {
            return self.add_passive(at, Side::Ask, out);
        };
        let order = self.orders.order(slot);
        let (original, side, old_tick) = (order.id, order.side, order.tick);
        let mut shares = order.shares;
        if self.random.one_in(3) {
            shares = self.shares();
        }
        let mut tick = self.passive_tick(at, side);
        let timestamp = self.timestamp();
        self.order_reference_number += 1;
        let instrument = &mut self.instruments[at];
        let book = &mut instrument.book;
        if book.queues(side).len() >= LEVELS_MAX && !book.has_level(side, tick) {
            tick = old_tick;
        }
        book.remove(&mut self.orders, slot);
        book.add(
            &mut self.orders,
            self.order_reference_number,
            side,
            tick,
            shares,
        );
        write(
            &OrderReplace {
                message_type: Char(b'U'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp,
                original_order_reference_number: U64::new(original),
                new_order_reference_number: U64::new(self.order_reference_number),
                shares: U32::new(shares),
                price: instrument.price(tick),
            },
            out,
        );
    }

    /// An order that crosses the spread.  Both sides have at least [`LEVELS_MIN`] levels here.
    fn take(&mut self, at: usize, taker: Side, out: &mut Vec<u8>) {
        let through = self.random.geometric(1).min(3);
        let shares = self.shares();
        let best = self.instruments[at].book.best_tick(taker.opposite());
        let Some(best) = best else {
            return self.add_passive(at, taker.opposite(), out);
        };
        let limit = match taker {
            Side::Bid => best + through,
            Side::Ask => best.saturating_sub(through).max(1),
        };
        self.advance_sweep(
            Sweep {
                at,
                taker,
                shares,
                limit,
            },
            out,
        );
    }

    /// One execution of an aggressive order, or what is left of it as a displayed order.
    fn advance_sweep(&mut self, mut sweep: Sweep, out: &mut Vec<u8>) {
        let Some(slot) = self.executable(&sweep) else {
            return self.add_shares(sweep.at, sweep.taker, sweep.limit, sweep.shares, out);
        };
        let order = self.orders.order(slot);
        let (id, tick) = (order.id, order.tick);
        let shares = order.shares.min(sweep.shares);
        let at = sweep.at;
        let (timestamp, match_number) = (self.timestamp(), self.new_match(at));
        // Now and then the taker gets half a tick more than the resting order displays.
        let improved = self.random.one_in(25);
        let instrument = &mut self.instruments[at];
        instrument.book.reduce(&mut self.orders, slot, shares);
        let half = instrument.tick_size / 2;
        let displayed = instrument.wire_price(tick);
        if improved && half > 0 {
            let price = match sweep.taker {
                Side::Bid => displayed - half,
                Side::Ask => displayed + half,
            };
            write(
                &OrderExecutedWithPrice {
                    message_type: Char(b'C'),
                    stock_locate: locate(at),
                    tracking_number: U16::ZERO,
                    timestamp,
                    order_reference_number: U64::new(id),
                    executed_shares: U32::new(shares),
                    match_number: U64::new(match_number),
                    printable: Char(b'Y'),
                    execution_price: BePrice4(U32::new(price)),
                },
                out,
            );
        } else {
            write(
                &OrderExecuted {
                    message_type: Char(b'E'),
                    stock_locate: locate(at),
                    tracking_number: U16::ZERO,
                    timestamp,
                    order_reference_number: U64::new(id),
                    executed_shares: U32::new(shares),
                    match_number: U64::new(match_number),
                },
                out,
            );
        }
        sweep.shares -= shares;
        if sweep.shares == 0 {
            return;
        }
        let book = &self.instruments[at].book;
        let room = book.live().len() < self.config.orders_per_instrument_max as usize
            && (book.queues(sweep.taker).len() < LEVELS_MAX
                || book.has_level(sweep.taker, sweep.limit));
        if self.executable(&sweep).is_some() || (room && self.random.one_in(2)) {
            self.sweep = Some(sweep);
        }
    }

    /// The order that the aggressive order executes against next.
    fn executable(&self, sweep: &Sweep) -> Option<u32> {
        let slot = self.instruments[sweep.at]
            .book
            .head(sweep.taker.opposite())?;
        let tick = self.orders.order(slot).tick;
        let crosses = match sweep.taker {
            Side::Bid => tick <= sweep.limit,
            Side::Ask => tick >= sweep.limit,
        };
        crosses.then_some(slot)
    }

    /// An execution at the middle of the spread, against an order that isn't displayed.
    fn hidden_trade(&mut self, at: usize, out: &mut Vec<u8>) {
        let shares = self.shares();
        let book = &self.instruments[at].book;
        let (Some(bid), Some(ask)) = (book.best_tick(Side::Bid), book.best_tick(Side::Ask)) else {
            return self.add_passive(at, Side::Bid, out);
        };
        let match_number = self.new_match(at);
        let instrument = &self.instruments[at];
        let middle = (instrument.wire_price(bid) + instrument.wire_price(ask)) / 2;
        write(
            &Trade {
                message_type: Char(b'P'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                order_reference_number: U64::ZERO,
                buy_sell_indicator: Char(b'B'),
                shares: U32::new(shares),
                stock: instrument.stock,
                price: BePrice4(U32::new(middle)),
                match_number: U64::new(match_number),
            },
            out,
        );
    }

    fn new_match(&mut self, at: usize) -> u64 {
        self.match_number += 1;
        self.recent.push(locate(at).get(), self.match_number);
        self.match_number
    }

    fn break_trade(&mut self, out: &mut Vec<u8>) {
        let (stock_locate, match_number) = self.recent.take(&mut self.random);
        write(
            &BrokenTrade {
                message_type: Char(b'B'),
                stock_locate: U16::new(stock_locate),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                match_number: U64::new(match_number),
            },
            out,
        );
    }

    fn schedule_halt(&mut self) {
        self.halt.due_ns = match self.instruments.len() {
            1 => u64::MAX,
            _ => self.offset_ns + self.random.exponential(HALT_MEAN_NS),
        };
    }

    /// Halt, quotation with an imbalance each second, trading: one instrument at a time, never the first.
    fn advance_halt(&mut self, out: &mut Vec<u8>) {
        let at = self.halt.at;
        match self.instruments[at].state {
            State::Trading => {
                let at = 1 + self.random.index(self.instruments.len() - 1);
                self.halt.at = at;
                self.halt.due_ns = self.offset_ns + HALTED_NS;
                self.instruments[at].state = State::Halted;
                self.trading_action(at, b'H', *b"T1  ", out);
            }
            State::Halted => {
                self.halt.noii_left = NOII_COUNT;
                self.halt.due_ns = self.offset_ns + NOII_EACH_NS;
                self.instruments[at].state = State::Quotation;
                self.trading_action(at, b'Q', *b"T3  ", out);
            }
            State::Quotation if self.halt.noii_left > 0 => {
                self.halt.noii_left -= 1;
                self.halt.due_ns = self.offset_ns + NOII_EACH_NS;
                self.noii(at, out);
            }
            State::Quotation => {
                self.instruments[at].state = State::Trading;
                self.trading_action(at, b'T', *b"    ", out);
                self.schedule_halt();
            }
        }
    }

    fn noii(&mut self, at: usize, out: &mut Vec<u8>) {
        let paired = u64::from(100 * self.random.between(10, 500));
        let direction = [b'B', b'S', b'N'][self.random.index(3)];
        let imbalance = match direction {
            b'N' => 0,
            _ => u64::from(100 * self.random.between(1, 100)),
        };
        let instrument = &self.instruments[at];
        let fair = instrument.fair_tick();
        write(
            &Noii {
                message_type: Char(b'I'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                paired_shares: U64::new(paired),
                imbalance_shares: U64::new(imbalance),
                imbalance_direction: Char(direction),
                stock: instrument.stock,
                far_price: instrument.price(fair),
                near_price: instrument.price(fair),
                current_reference_price: instrument.price(fair),
                cross_type: Char(b'H'),
                // The near price is the reference price: less than 1 % between them.
                price_variation_indicator: Char(b'L'),
            },
            out,
        );
    }

    fn system_event(&self, event_code: u8, out: &mut Vec<u8>) {
        write(
            &SystemEvent {
                message_type: Char(b'S'),
                stock_locate: U16::ZERO,
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                event_code: Char(event_code),
            },
            out,
        );
    }

    fn stock_directory(&self, at: usize, out: &mut Vec<u8>) {
        write(
            &StockDirectory {
                message_type: Char(b'R'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                stock: self.instruments[at].stock,
                market_category: Char(b"QGS"[at % 3]),
                financial_status_indicator: Char(b'N'),
                round_lot_size: U32::new(100),
                round_lots_only: Char(b'N'),
                // Common stock, no sub-type.
                issue_classification: Char(b'C'),
                issue_sub_type: Alpha(*b"Z "),
                authenticity: Char(b'P'),
                short_sale_threshold_indicator: Char(b'N'),
                ipo_flag: Char(b'N'),
                luld_reference_price_tier: Char(if at < 8 { b'1' } else { b'2' }),
                etp_flag: Char(b'N'),
                etp_leverage_factor: U32::ZERO,
                inverse_indicator: Char(b'N'),
            },
            out,
        );
    }

    fn trading_action(&self, at: usize, state: u8, reason: [u8; 4], out: &mut Vec<u8>) {
        write(
            &StockTradingAction {
                message_type: Char(b'H'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                stock: self.instruments[at].stock,
                trading_state: Char(state),
                reserved: Char(b' '),
                reason: Alpha(reason),
            },
            out,
        );
    }

    fn reg_sho(&self, at: usize, out: &mut Vec<u8>) {
        write(
            &RegShoRestriction {
                message_type: Char(b'Y'),
                locate_code: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                stock: self.instruments[at].stock,
                reg_sho_action: Char(b'0'),
            },
            out,
        );
    }

    /// Beyond 24 hours the day just goes on, so that time doesn't go back; the field wraps after 78 hours.
    fn timestamp(&self) -> BeTimestamp48 {
        BeTimestamp48::from_nanos(self.config.open_ns.wrapping_add(self.offset_ns))
    }
}

impl Instrument {
    fn new(at: u16, random: &mut Random) -> Self {
        // Mostly securities above a dollar, in cents; one in sixteen below it, in hundredths of a cent.
        let (tick_size, anchor) = match at {
            0 => (100, 10_000),
            at if at % 16 == 11 => (1, random.between(4_000, 9_000)),
            _ => (100, random.between(500, 40_000)),
        };
        let anchor_fair = i64::from(anchor) * FAIR_UNIT + FAIR_UNIT / 2;
        Self {
            stock: Alpha(stock(at)),
            state: State::Trading,
            tick_size,
            fair: anchor_fair,
            anchor: anchor_fair,
            range: i64::from(anchor / 5).min(400) * FAIR_UNIT,
            book: Book::default(),
        }
    }

    fn move_fair(&mut self, step: i64) {
        let pull = (self.anchor - self.fair) / FAIR_REVERSION;
        self.fair =
            (self.fair + step + pull).clamp(self.anchor - self.range, self.anchor + self.range);
    }

    /// The tick at or below fair.
    fn fair_tick(&self) -> u32 {
        // Within `range` of `anchor`, which is far from both ends of u32.
        u32::try_from(self.fair / FAIR_UNIT).unwrap_or(1)
    }

    /// So many ticks away from fair: 0 is the first on its side.
    fn tick_at(&self, side: Side, distance: u32) -> u32 {
        match side {
            Side::Bid => self.fair_tick().saturating_sub(distance).max(1),
            Side::Ask => self.fair_tick() + 1 + distance,
        }
    }

    fn wire_price(&self, tick: u32) -> u32 {
        tick * self.tick_size
    }

    fn price(&self, tick: u32) -> BePrice4 {
        BePrice4(U32::new(self.wire_price(tick)))
    }
}

impl Recent {
    fn push(&mut self, stock_locate: u16, match_number: u64) {
        if self.count < self.executions.len() {
            self.executions[self.count] = (stock_locate, match_number);
            self.count += 1;
        } else {
            let length = self.executions.len() as u64;
            let at = usize::try_from(match_number % length).unwrap_or(0);
            self.executions[at] = (stock_locate, match_number);
        }
    }

    /// Takes out any one: an execution is broken once.  There must be one.
    fn take(&mut self, random: &mut Random) -> (u16, u64) {
        let at = random.index(self.count);
        self.count -= 1;
        self.executions.swap(at, self.count);
        self.executions[self.count]
    }
}

/// `DEMO`, `TCAA` to `TCAZ`, then six letters, which no listed security has.
fn stock(at: u16) -> [u8; 8] {
    let mut stock = *b"DEMO    ";
    if at > 0 {
        let (mut rest, letters) = match at - 1 {
            rest @ ..26 => (rest, 2),
            rest => (rest - 26, 4),
        };
        stock = *b"TC      ";
        for letter in stock[2..2 + letters].iter_mut().rev() {
            *letter = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[usize::from(rest % 26)];
            rest /= 26;
        }
    }
    stock
}

/// The stock locate of the instrument at this index.
fn locate(at: usize) -> U16 {
    // At most 65,535 instruments.
    U16::new(u16::try_from(at + 1).unwrap_or(u16::MAX))
}

fn wire_side(side: Side) -> u8 {
    match side {
        Side::Bid => b'B',
        Side::Ask => b'S',
    }
}

fn write<T: IntoBytes + Immutable>(message: &T, out: &mut Vec<u8>) {
    out.extend_from_slice(message.as_bytes());
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
        assert!(market.orders.slot_count() <= 5 * 120);
        for instrument in &market.instruments {
            assert!(instrument.book.queues(Side::Bid).len() <= LEVELS_MAX + 1);
            assert!(instrument.book.queues(Side::Ask).len() <= LEVELS_MAX + 1);
        }
    }

    #[test]
    fn symbols_are_unique_and_artificial() {
        let text = |at| String::from_utf8(stock(at).to_vec()).unwrap();
        assert_eq!(text(0), "DEMO    ");
        assert_eq!(text(1), "TCAA    ");
        assert_eq!(text(26), "TCAZ    ");
        assert_eq!(text(27), "TCAAAA  ");
        let mut all: Vec<_> = (0..u16::MAX).map(stock).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), usize::from(u16::MAX));
    }
}
