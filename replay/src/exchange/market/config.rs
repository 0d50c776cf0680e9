//! What market to invent: its size, its day, its pace and the form of its books.

use crate::random::{to_whole, zipf_weight};

/// What market to invent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarketConfig {
    /// Decides everything that isn't configured.
    pub seed: u64,
    /// How many instruments; at least 1.  Their stock locates are 1, 2, …
    pub instruments: u16,
    /// Mean rate of orders in market hours, in market time; at least 1.  Imbalances, crosses and halts come
    /// on top.  Outside market hours a day has an eighth of it.
    pub messages_per_second: u32,
    /// Time of day at offset 0, in nanoseconds since midnight, Eastern time.
    pub open_ns: u64,
    /// Displayed orders of one instrument; at least 64.  At this count old orders are deleted; the books
    /// hover around 5 / 8 of it.
    pub orders_per_instrument_max: u32,
    /// Whether that is the mean of all instruments, and busier ones have more: in proportion to the
    /// square root of their activity.
    pub depth_by_activity: bool,
    /// The exponent of Zipf's law over the instruments, in hundredths: 100 is 1 / rank, 0 all alike.
    pub zipf_percent: u32,
    /// When the market opens and closes.
    pub day: Day,
    /// Which messages continuous trading consists of.
    pub mix: Mix,
    /// The form of the books.
    pub shape: Shape,
    /// How the messages are spread over time.
    pub pace: Pace,
}

impl Default for MarketConfig {
    /// 24 instruments, 2,000 messages a second, from 9:30 for ever.
    fn default() -> Self {
        Self {
            seed: 1,
            instruments: 24,
            messages_per_second: 2_000,
            open_ns: (9 * 60 + 30) * 60 * SECOND_NS,
            orders_per_instrument_max: 256,
            depth_by_activity: false,
            zipf_percent: 100,
            day: Day::Continuous,
            mix: Mix::default(),
            shape: Shape::NATURAL,
            pace: Pace::Natural,
        }
    }
}

impl MarketConfig {
    /// A market of the size of Nasdaq's: 8,000 instruments, and 1.6 million orders displayed at the height.
    #[must_use]
    pub fn full_size() -> Self {
        Self {
            instruments: 8_000,
            messages_per_second: 100_000,
            orders_per_instrument_max: 320,
            depth_by_activity: true,
            ..Self::default()
        }
    }

    /// One instrument that gets everything.
    #[must_use]
    pub fn single_hot() -> Self {
        Self {
            instruments: 1,
            messages_per_second: 100_000,
            ..Self::default()
        }
    }

    /// Few instruments with thousands of levels.
    #[must_use]
    pub fn deep() -> Self {
        Self {
            instruments: 4,
            orders_per_instrument_max: 40_000,
            shape: Shape::DEEP,
            ..Self::default()
        }
    }

    /// Books in which each order has a level to itself.
    #[must_use]
    pub fn one_order_a_level() -> Self {
        Self {
            instruments: 4,
            orders_per_instrument_max: 40_000,
            shape: Shape::ONE_ORDER_A_LEVEL,
            ..Self::default()
        }
    }

    /// Books that have one level a side, with all orders queued there.
    #[must_use]
    pub fn one_level() -> Self {
        Self {
            instruments: 4,
            orders_per_instrument_max: 40_000,
            shape: Shape::ONE_LEVEL,
            ..Self::default()
        }
    }

    /// A whole day in so short a time, its clock running at the ordinary pace from 9:30.
    #[must_use]
    pub fn compressed_day(total_ns: u64) -> Self {
        Self {
            day: Day::Whole(Schedule::compressed(total_ns)),
            ..Self::default()
        }
    }

    /// A whole day at its real times.
    #[must_use]
    pub fn real_day() -> Self {
        Self {
            open_ns: Schedule::REAL_START_NS,
            day: Day::Whole(Schedule::REAL),
            ..Self::default()
        }
    }

    /// The same with each value at least its least.
    pub(super) fn bounded(self) -> Self {
        let levels = self.shape.levels.clamp(1, LEVELS_MAX);
        Self {
            instruments: self.instruments.max(1),
            messages_per_second: self.messages_per_second.max(1),
            orders_per_instrument_max: self.orders_per_instrument_max.max(ORDERS_MIN),
            zipf_percent: self.zipf_percent.min(ZIPF_PERCENT_MAX),
            shape: Shape {
                levels,
                orders_per_level_max: self.shape.orders_per_level_max.max(1),
            },
            ..self
        }
    }

    /// The weight of the instrument at this index, of which the first has the most; at least 1.
    pub(super) fn activity(&self, at: u16) -> u64 {
        self.weight(at, f64::from(self.zipf_percent) / 100.0)
    }

    /// How many orders the instrument at this index displays at most.
    pub(super) fn orders_max(&self, at: u16, depth_sum: u64) -> u32 {
        let mean = u128::from(self.orders_per_instrument_max);
        let share = if self.depth_by_activity {
            let all = mean * u128::from(self.instruments);
            all * u128::from(self.depth(at)) / u128::from(depth_sum.max(1))
        } else {
            mean
        };
        let Shape {
            levels,
            orders_per_level_max,
        } = self.shape;
        let fits = (3 * levels).saturating_mul(orders_per_level_max);
        u32::try_from(share)
            .unwrap_or(u32::MAX)
            .max(ORDERS_MIN)
            .min(fits.max(4))
    }

    /// The sum of all instruments' weights of depth.
    pub(super) fn depth_sum(&self) -> u64 {
        (0..self.instruments).map(|at| self.depth(at)).sum()
    }

    fn depth(&self, at: u16) -> u64 {
        self.weight(at, f64::from(self.zipf_percent) / 200.0)
    }

    fn weight(&self, at: u16, exponent: f64) -> u64 {
        let weight = zipf_weight(u32::from(at) + 1, exponent);
        to_whole(weight * WEIGHT_SCALE).max(1)
    }
}

/// When the market opens and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Day {
    /// It opens at once, with no cross, and never closes; one instrument at a time is halted.
    Continuous,
    /// One day from the start to the end of messages.
    Whole(Schedule),
}

/// The times of a day, each from the start of messages, and in their order.
///
/// A time before the one above it is taken as that; what has to be told first may put off what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Start of system hours: orders are accepted, and executed where they cross.
    pub system_hours_ns: u64,
    /// The first imbalance message of the opening cross.
    pub opening_noii_ns: u64,
    /// Start of market hours, and the opening cross.
    pub market_hours_ns: u64,
    /// The first imbalance message of the closing cross.
    pub closing_noii_ns: u64,
    /// End of market hours, and the closing cross.
    pub market_close_ns: u64,
    /// End of system hours: what is still displayed is deleted.
    pub system_close_ns: u64,
    /// End of messages.
    pub end_ns: u64,
    /// Each instrument's imbalance is told once in this time.
    pub noii_each_ns: u64,
    /// Towards the cross once in this time.
    pub noii_fast_ns: u64,
    /// Towards the opening cross is so long before it.
    pub opening_fast_for_ns: u64,
    /// Towards the closing cross is so long before it.
    pub closing_fast_for_ns: u64,
    /// Mean time from one halt to the next, in market hours.
    pub halt_mean_ns: u64,
    /// How long a halt or pause lasts until the quotation period, which takes five imbalance messages.
    pub halted_ns: u64,
}

impl Schedule {
    /// Nasdaq's times.  Imbalances are told from 9:25 and 15:50 on each 10 s, and each second from 9:28
    /// and 15:55 on (ITCH 5.0, 1.6).
    pub const REAL: Self = Self {
        system_hours_ns: HOUR_NS,
        opening_noii_ns: 6 * HOUR_NS + 25 * MINUTE_NS,
        market_hours_ns: 6 * HOUR_NS + 30 * MINUTE_NS,
        closing_noii_ns: 12 * HOUR_NS + 50 * MINUTE_NS,
        market_close_ns: 13 * HOUR_NS,
        system_close_ns: 17 * HOUR_NS,
        end_ns: 17 * HOUR_NS + 5 * MINUTE_NS,
        noii_each_ns: 10 * SECOND_NS,
        noii_fast_ns: SECOND_NS,
        opening_fast_for_ns: 2 * MINUTE_NS,
        closing_fast_for_ns: 5 * MINUTE_NS,
        halt_mean_ns: 10 * MINUTE_NS,
        halted_ns: 5 * MINUTE_NS,
    };

    /// When [`Schedule::REAL`] begins: 3:00, in nanoseconds since midnight.
    pub const REAL_START_NS: u64 = 3 * HOUR_NS;

    /// A whole day in so short a time; trading gets two thirds of it.  At least a millisecond.
    #[must_use]
    pub fn compressed(total_ns: u64) -> Self {
        let total = total_ns.max(1_000_000);
        let part = |thousandths: u64| total / 1_000 * thousandths;
        Self {
            system_hours_ns: part(40),
            opening_noii_ns: part(110),
            market_hours_ns: part(150),
            closing_noii_ns: part(780),
            market_close_ns: part(820),
            system_close_ns: part(930),
            end_ns: part(1_000),
            noii_each_ns: part(10),
            noii_fast_ns: part(5),
            opening_fast_for_ns: part(20),
            closing_fast_for_ns: part(20),
            halt_mean_ns: part(40),
            halted_ns: part(20),
        }
    }

    /// The same with its times in order, and none of its pauses 0.
    pub(super) fn ordered(self) -> Self {
        let opening_noii_ns = self.opening_noii_ns.max(self.system_hours_ns);
        let market_hours_ns = self.market_hours_ns.max(opening_noii_ns);
        let closing_noii_ns = self.closing_noii_ns.max(market_hours_ns);
        let market_close_ns = self.market_close_ns.max(closing_noii_ns);
        let system_close_ns = self.system_close_ns.max(market_close_ns);
        Self {
            opening_noii_ns,
            market_hours_ns,
            closing_noii_ns,
            market_close_ns,
            system_close_ns,
            end_ns: self.end_ns.max(system_close_ns),
            noii_each_ns: self.noii_each_ns.max(1),
            noii_fast_ns: self.noii_fast_ns.max(1),
            halt_mean_ns: self.halt_mean_ns.max(1),
            ..self
        }
    }
}

/// How many of 10,000 messages of continuous trading are what.
///
/// The rest are additions and deletions, which balance: with the default, 43 % and 41 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// Order Replace (`U`).
    pub replaces: u32,
    /// Order Executed (`E`, `C`).
    pub executes: u32,
    /// Order Cancel (`X`).
    pub cancels: u32,
    /// Trade (`P`), against orders that aren't displayed.
    pub hidden_trades: u32,
}

impl Default for Mix {
    /// 9 %, 4 %, 2 %, 0.7 %: as measured on days of Nasdaq's feed.
    fn default() -> Self {
        Self {
            replaces: 900,
            executes: 400,
            cancels: 200,
            hidden_trades: 70,
        }
    }
}

/// The form of the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Levels of a side: each side has so many at the opening, then three quarters of it to twice as many.
    /// With 1, prices don't move, and all orders of a side queue at one level.
    pub levels: u32,
    /// Orders of a level.
    pub orders_per_level_max: u32,
}

impl Shape {
    /// 20 levels, most orders near the touch.
    pub const NATURAL: Self = Self {
        levels: 20,
        orders_per_level_max: u32::MAX,
    };
    /// 2,000 levels.
    pub const DEEP: Self = Self {
        levels: 2_000,
        ..Self::NATURAL
    };
    /// 500 levels of one order each.
    pub const ONE_ORDER_A_LEVEL: Self = Self {
        levels: 500,
        orders_per_level_max: 1,
    };
    /// One level.
    pub const ONE_LEVEL: Self = Self {
        levels: 1,
        ..Self::NATURAL
    };

    pub(super) fn levels_min(self) -> usize {
        (self.levels as usize * 3 / 4).max(1)
    }

    pub(super) fn levels_max(self) -> usize {
        match self.levels {
            1 => 1,
            levels => 2 * levels as usize,
        }
    }

    /// Farther than this from fair, no order is put deliberately.
    pub(super) fn distance_max(self) -> u32 {
        match self.levels {
            1 => 0,
            levels => levels * 6 / 5,
        }
    }

    pub(super) fn moves(self) -> bool {
        self.levels > 1
    }
}

/// How the messages are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At random, in two speeds: a fifth of the messages comes five times as fast, half of those being
    /// of one instrument.
    Natural,
    /// Equally.
    Constant,
    /// Equally, but for `for_ns` of each `every_ns` the rate is `times` the mean.  The mean stays, if
    /// `times * for_ns` leaves something for the rest.
    Bursts {
        /// From the beginning of one burst to that of the next.
        every_ns: u64,
        /// How long a burst lasts.
        for_ns: u64,
        /// How many times the mean rate.
        times: u32,
    },
    /// A step from idle to full: until `after_ns` of market hours so many messages a second, then the mean.
    Step {
        /// Messages a second before the step; at least 1.
        idle_per_second: u32,
        /// How long after the start of market hours the step is.
        after_ns: u64,
    },
}

pub(super) const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;
const HOUR_NS: u64 = 60 * MINUTE_NS;
/// Least number of orders of an instrument: 20 levels a side, and some room.
const ORDERS_MIN: u32 = 64;
/// Most levels of a side: prices stay below 2^32 with them.
const LEVELS_MAX: u32 = 1 << 17;
/// Beyond 1 / rank^3 only the first instrument would be left.
const ZIPF_PERCENT_MAX: u32 = 300;
/// Unit of weights.
const WEIGHT_SCALE: f64 = 4_294_967_296.0;
