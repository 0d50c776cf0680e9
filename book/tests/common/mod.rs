//! A naive book to compare with, random events, and the check that ties them: shared by the property tests,
//! the seeded runs, the corpus and the fuzzer.

// Each user takes what it needs; and clippy knows only functions with `#[test]` as tests.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use tickcast_book::{
    Book, BookKind, BookState, Level, Limits, Market, Mic, Order, Replica, Update, UpdateKind,
    flags,
};
use tickcast_codecs::event::{Definition, Event, Header, Status, StatusAction, Trade, TradeKind};
use tickcast_codecs::types::{Price, Side, Symbol, Text};

pub const CHANNEL: u16 = 3;
/// Instruments 1 to 5 are defined from the start, the last one not.
pub const INSTRUMENTS: u32 = 6;

pub fn id(number: u32) -> u32 {
    u32::from(CHANNEL) << 16 | number
}

// ---- Where choices come from ----

/// Gives the bytes that random events are made of.
pub trait Choices {
    /// None: the run is over.
    fn byte(&mut self) -> Option<u8>;

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.byte()?, self.byte()?]))
    }
}

/// A fuzzer's or proptest's bytes.
pub struct Bytes<'a>(pub &'a [u8]);

impl Choices for Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }
}

/// What order ids a run draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    pub first: u64,
    /// Added for each new order, around the end of 64 bits.
    pub step: u64,
    /// Some are behind the last, and some far off.
    pub odd: bool,
}

impl Ids {
    pub const COUNTED: Self = Self {
        first: 1,
        step: 1,
        odd: false,
    };

    /// Every way of counting that is told apart by where orders are kept.
    pub const SHAPES: [Self; 8] = [
        Self::COUNTED,
        Self {
            odd: true,
            ..Self::COUNTED
        },
        // Many numbers of a page, few, one of some.
        Self::strided(3, 7),
        Self::strided(1 << 40, 100),
        Self::strided(5, 4099),
        // Falling.
        Self::strided(1 << 50, u64::MAX),
        // Over the end of 64 bits, and of the 32 that are counted from the first.
        Self::strided(u64::MAX - 1000, 1),
        Self::strided(1 << 63, (1 << 32) / 150),
    ];

    const fn strided(first: u64, step: u64) -> Self {
        Self {
            first,
            step,
            odd: true,
        }
    }
}

/// SplitMix64, without end.
pub struct Seeded(pub u64);

impl Choices for Seeded {
    fn byte(&mut self) -> Option<u8> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some((z >> 56).to_le_bytes()[0])
    }
}

// ---- The naive book ----

/// What the reference says should become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub changed: bool,
    pub fault: Option<&'static str>,
    pub crossed: bool,
}

type Queues = [BTreeMap<i64, Vec<Order>>; 2];
type Sizes = [BTreeMap<i64, u64>; 2];

/// Books as one would write them without a thought for speed, from the sentences of the documentation.
pub struct Reference {
    limits: Limits,
    kind: Option<BookKind>,
    queues: BTreeMap<u32, Queues>,
    sizes: BTreeMap<u32, Sizes>,
    /// Live orders: instrument, side, price.
    live: HashMap<u64, (u32, Side, i64)>,
    defined: BTreeSet<u32>,
    pub faulty: BTreeSet<u32>,
    crossed: BTreeSet<u32>,
    pub times_crossed: u64,
    pub counted: BTreeMap<&'static str, u64>,
    /// Ids that were live at some time, to choose from.
    ids: Vec<u64>,
    next_id: u64,
    shape: Ids,
}

impl Reference {
    pub fn new(limits: Limits, shape: Ids) -> Self {
        Self {
            limits,
            kind: None,
            queues: BTreeMap::new(),
            sizes: BTreeMap::new(),
            live: HashMap::new(),
            defined: BTreeSet::new(),
            faulty: BTreeSet::new(),
            crossed: BTreeSet::new(),
            times_crossed: 0,
            counted: BTreeMap::new(),
            ids: Vec::new(),
            next_id: shape.first,
            shape,
        }
    }

    pub fn levels(&self, instrument: u32, side: Side) -> Vec<Level> {
        let at = side as usize;
        let mut levels: Vec<Level> = match self.kind {
            Some(BookKind::ByPrice) => self.sizes.get(&instrument).map_or(vec![], |book| {
                let level = |(&px, &size): (&i64, &u64)| Level {
                    px: Price(px),
                    size,
                    count: 0,
                };
                book[at].iter().map(level).collect()
            }),
            _ => self.queues.get(&instrument).map_or(vec![], |book| {
                let level = |(&px, queue): (&i64, &Vec<Order>)| Level {
                    px: Price(px),
                    size: queue.iter().map(|order| u64::from(order.size)).sum(),
                    count: u32::try_from(queue.len()).expect("few"),
                };
                book[at].iter().map(level).collect()
            }),
        };
        if side == Side::Bid {
            levels.reverse();
        }
        levels
    }

    pub fn level(&self, instrument: u32, side: Side, px: Price) -> Option<Level> {
        let at = side as usize;
        if self.kind == Some(BookKind::ByPrice) {
            let &size = self.sizes.get(&instrument)?[at].get(&px.0)?;
            return Some(Level { px, size, count: 0 });
        }
        let queue = self.queues.get(&instrument)?[at].get(&px.0)?;
        Some(Level {
            px,
            size: queue.iter().map(|order| u64::from(order.size)).sum(),
            count: u32::try_from(queue.len()).expect("few"),
        })
    }

    pub fn orders(&self, instrument: u32, side: Side) -> Vec<Order> {
        let Some(book) = self.queues.get(&instrument) else {
            return vec![];
        };
        let queues = book[side as usize].values();
        match side {
            Side::Bid => queues.rev().flatten().copied().collect(),
            Side::Ask => queues.flatten().copied().collect(),
        }
    }

    pub fn queue(&self, instrument: u32, side: Side, px: Price) -> &[Order] {
        self.queues
            .get(&instrument)
            .and_then(|book| book[side as usize].get(&px.0))
            .map_or(&[], Vec::as_slice)
    }

    pub fn checksum(&self, instrument: u32) -> u32 {
        let mut bytes = Vec::new();
        for side in [Side::Ask, Side::Bid] {
            for level in self.levels(instrument, side).iter().take(10) {
                bytes.extend(level.px.0.to_le_bytes());
                bytes.extend(level.size.to_le_bytes());
            }
        }
        bitwise_crc32(&bytes)
    }

    fn is_crossed(&self, instrument: u32) -> bool {
        let best = |side: Side| {
            let prices: Box<dyn DoubleEndedIterator<Item = i64>> = match self.kind {
                Some(BookKind::ByPrice) => {
                    Box::new(self.sizes.get(&instrument)?[side as usize].keys().copied())
                }
                _ => Box::new(self.queues.get(&instrument)?[side as usize].keys().copied()),
            };
            let mut prices = prices;
            match side {
                Side::Bid => prices.next_back(),
                Side::Ask => prices.next(),
            }
        };
        matches!((best(Side::Bid), best(Side::Ask)), (Some(bid), Some(ask)) if bid > ask)
    }

    fn takes_out(&mut self, order_id: u64) -> Order {
        let (instrument, side, px) = self.live.remove(&order_id).expect("live");
        let book = self.queues.get_mut(&instrument).expect("has a book");
        let queue = book[side as usize].get_mut(&px).expect("has a level");
        let at = queue.iter().position(|order| order.order_id == order_id);
        let order = queue.remove(at.expect("is in its queue"));
        if queue.is_empty() {
            book[side as usize].remove(&px);
        }
        order
    }

    fn puts_in(&mut self, instrument: u32, order: Order) {
        let place = (instrument, order.side, order.px.0);
        self.live.insert(order.order_id, place);
        self.ids.push(order.order_id);
        let book = self.queues.entry(instrument).or_default();
        let level = book[order.side as usize].entry(order.px.0).or_default();
        level.push(order);
    }

    fn resting(&mut self, order_id: u64) -> Option<&mut Order> {
        let &(instrument, side, px) = self.live.get(&order_id)?;
        let queue = self.queues.get_mut(&instrument)?[side as usize].get_mut(&px)?;
        queue.iter_mut().find(|order| order.order_id == order_id)
    }

    pub fn order(&self, order_id: u64) -> Option<(u32, Order)> {
        let &(instrument, side, px) = self.live.get(&order_id)?;
        let queue = self.queue(instrument, side, Price(px));
        let order = queue.iter().find(|order| order.order_id == order_id)?;
        Some((instrument, *order))
    }

    fn lacks_room(&self, instrument: u32, side: Side, px: i64) -> bool {
        let Some(book) = self.queues.get(&instrument) else {
            return false;
        };
        let side = &book[side as usize];
        !side.contains_key(&px) && side.len() >= self.limits.side_levels_max
    }

    fn add(&mut self, instrument: u32, order: Order) -> Result<(), &'static str> {
        let Order {
            order_id,
            side,
            px,
            size,
        } = order;
        if size == 0 {
            return Err("zero_size");
        }
        if px.0 <= 0 {
            return Err("bad_price");
        }
        if let Some(&(owner, ..)) = self.live.get(&order_id) {
            self.faulty.insert(owner);
            return Err("duplicate_order");
        }
        if self.live.len() >= self.limits.orders_max {
            return Err("orders_full");
        }
        if self.lacks_room(instrument, side, px.0) {
            return Err("levels_full");
        }
        self.puts_in(instrument, order);
        Ok(())
    }

    /// The outer error: refused.  The inner one: applied, with a fault.
    fn book_event(
        &mut self,
        instrument: u32,
        event: &Event,
    ) -> Result<Option<&'static str>, &'static str> {
        let by_price = matches!(event, Event::LevelSet { .. } | Event::Quote { .. });
        let kind = if by_price {
            BookKind::ByPrice
        } else {
            BookKind::ByOrder
        };
        if *self.kind.get_or_insert(kind) != kind {
            return Err("other_kind");
        }
        if let Event::Execute { order_id, .. }
        | Event::Cancel { order_id, .. }
        | Event::Delete { order_id }
        | Event::Replace { order_id, .. }
        | Event::Modify { order_id, .. } = event
        {
            match self.live.get(order_id) {
                None => return Err("unknown_order"),
                Some(&(owner, ..)) if owner != instrument => {
                    self.faulty.insert(owner);
                    return Err("other_instrument");
                }
                Some(_) => {}
            }
        }
        match *event {
            Event::Add {
                order_id,
                side,
                px,
                size,
            } => {
                let order = Order {
                    order_id,
                    side,
                    px,
                    size,
                };
                self.add(instrument, order).map(|()| None)
            }
            Event::Execute { order_id, size, .. } | Event::Cancel { order_id, size } => {
                if size == 0 {
                    return Err("zero_size");
                }
                let bad_px = matches!(event, Event::Execute { px: Some(px), .. } if px.0 <= 0);
                let order = self.resting(order_id).expect("live");
                let remained = order.size;
                if size < remained {
                    order.size -= size;
                } else {
                    self.takes_out(order_id);
                }
                if size > remained {
                    Ok(Some("over_reduced"))
                } else {
                    Ok(bad_px.then_some("bad_price"))
                }
            }
            Event::Delete { order_id } => {
                self.takes_out(order_id);
                Ok(None)
            }
            Event::Replace {
                order_id,
                new_order_id,
                px,
                size,
            } => {
                let old = self.takes_out(order_id);
                let new = Order {
                    order_id: new_order_id,
                    side: old.side,
                    px,
                    size,
                };
                Ok(self.add(instrument, new).err())
            }
            Event::Modify {
                order_id,
                px,
                size,
                keeps_priority,
            } => {
                if size == 0 {
                    self.takes_out(order_id);
                    return Ok(None);
                }
                if px.0 <= 0 {
                    return Err("bad_price");
                }
                let old = *self.resting(order_id).expect("live");
                if old.px == px && keeps_priority {
                    self.resting(order_id).expect("live").size = size;
                    return Ok(None);
                }
                let alone = self.queue(instrument, old.side, old.px).len() == 1;
                if !alone && self.lacks_room(instrument, old.side, px.0) {
                    return Err("levels_full");
                }
                self.takes_out(order_id);
                self.puts_in(instrument, Order { px, size, ..old });
                Ok(None)
            }
            Event::LevelSet { side, px, size, .. } => {
                if px.0 <= 0 {
                    return Err("bad_price");
                }
                let all: usize = self.sizes.values().flatten().map(BTreeMap::len).sum();
                let levels = &mut self.sizes.entry(instrument).or_default()[side as usize];
                if size == 0 {
                    levels.remove(&px.0);
                } else if !levels.contains_key(&px.0)
                    && (levels.len() >= self.limits.side_levels_max
                        || all >= self.limits.levels_max)
                {
                    return Err("levels_full");
                } else {
                    levels.insert(px.0, u64::from(size));
                }
                Ok(None)
            }
            Event::Quote {
                bid_px,
                bid_size,
                ask_px,
                ask_size,
            } => {
                let quoted = [(bid_px, bid_size), (ask_px, ask_size)];
                if quoted.iter().any(|(px, size)| *size > 0 && px.0 <= 0) {
                    return Err("bad_price");
                }
                let others = self.sizes.iter().filter(|(other, _)| **other != instrument);
                let others: usize = others.flat_map(|(_, book)| book).map(BTreeMap::len).sum();
                let wanted = quoted.iter().filter(|(_, size)| *size > 0).count();
                if wanted > 0 && others + wanted > self.limits.levels_max {
                    return Err("levels_full");
                }
                let book = quoted.map(|(px, size)| {
                    let level = (size > 0).then_some((px.0, u64::from(size)));
                    level.into_iter().collect()
                });
                self.sizes.insert(instrument, book);
                Ok(None)
            }
            _ => unreachable!("no book event"),
        }
    }

    pub fn apply(&mut self, instrument_id: u32, event: &Event) -> Expected {
        let number = instrument_id & 0xffff;
        let expected = self.decide(instrument_id, event);
        if let Some(fault) = expected.fault {
            *self.counted.entry(fault).or_default() += 1;
            let is_book_event = is_book_event(event);
            if number != 0 && fault != "bad_instrument" && is_book_event {
                self.faulty.insert(instrument_id);
            }
        }
        expected
    }

    fn decide(&mut self, instrument_id: u32, event: &Event) -> Expected {
        let mut expected = Expected {
            changed: false,
            fault: None,
            crossed: false,
        };
        let number = instrument_id & 0xffff;
        let needs_instrument = is_book_event(event) || matches!(event, Event::Definition(_));
        if instrument_id >> 16 != u32::from(CHANNEL) || (number == 0 && needs_instrument) {
            expected.fault = Some("bad_instrument");
            return expected;
        }
        match event {
            Event::Clear => {
                expected.changed = true;
                let all: Vec<u32> = if number == 0 {
                    (0..=INSTRUMENTS).map(id).collect()
                } else {
                    vec![instrument_id]
                };
                for instrument in all {
                    self.queues.remove(&instrument);
                    self.sizes.remove(&instrument);
                    self.live.retain(|_, (owner, ..)| *owner != instrument);
                    self.faulty.remove(&instrument);
                    self.crossed.remove(&instrument);
                }
                return expected;
            }
            Event::Definition(_) => {
                self.defined.insert(instrument_id);
                return expected;
            }
            _ => {}
        }
        let undefined = number != 0 && !self.defined.contains(&instrument_id);
        let unknown = undefined.then_some("unknown_instrument");
        if !is_book_event(event) {
            expected.fault = unknown;
            return expected;
        }
        match self.book_event(instrument_id, event) {
            Err(fault) => {
                expected.fault = Some(fault);
                return expected;
            }
            Ok(fault) => {
                expected.changed = true;
                expected.fault = fault.or(unknown);
            }
        }
        if matches!(
            event,
            Event::LevelSet {
                complete: false,
                ..
            }
        ) {
            return expected;
        }
        if self.is_crossed(instrument_id) {
            expected.crossed = self.crossed.insert(instrument_id);
            self.times_crossed += u64::from(expected.crossed);
        } else {
            self.crossed.remove(&instrument_id);
        }
        expected
    }

    /// An id that is new, most of the time.
    fn draw(&mut self, odd: u8) -> u64 {
        let Ids { step, odd: any, .. } = self.shape;
        self.next_id = self.next_id.wrapping_add(step);
        match odd {
            15 if any => self.next_id.wrapping_sub(step.wrapping_mul(2000) + 1),
            16 if any => self.next_id ^ 1 << 45,
            // Behind the first, and the last that a number of 32 bits can be of, counted from the first page.
            17 if any => self.shape.first.wrapping_sub(step.wrapping_mul(3)),
            18 if any => self.shape.first.wrapping_add(u64::from(u32::MAX)),
            19 if any => u64::from(u32::MAX),
            20 if any => u64::MAX,
            _ => self.next_id,
        }
    }

    /// An id that is live, most of the time; none if there are none.
    fn choose(&mut self, choices: &mut impl Choices) -> Option<u64> {
        let word = usize::from(choices.word()?);
        while !self.ids.is_empty() {
            let at = word % self.ids.len();
            if self.live.contains_key(&self.ids[at]) {
                return Some(self.ids[at]);
            }
            self.ids.swap_remove(at);
        }
        Some(0)
    }
}

fn is_book_event(event: &Event) -> bool {
    matches!(
        event,
        Event::Add { .. }
            | Event::Execute { .. }
            | Event::Cancel { .. }
            | Event::Delete { .. }
            | Event::Replace { .. }
            | Event::Modify { .. }
            | Event::LevelSet { .. }
            | Event::Quote { .. }
    )
}

/// The definition of the CRC, bit by bit.
fn bitwise_crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        }
    }
    !crc
}

pub fn definition() -> Event {
    Event::Definition(Definition {
        symbol: Symbol::from_padded(b"TEST"),
        round_lot_size: 100,
        is_test: true,
        is_etp: false,
    })
}

// ---- Random events ----

/// Bids at 0.1000 and below, asks from 0.0999 on: sometimes locked, sometimes crossed.
fn near(side: Side, step: i64) -> Price {
    Price(match side {
        Side::Bid => (1000 - step) * 100_000,
        Side::Ask => (999 + step) * 100_000,
    })
}

/// The next event, made with an eye on what is live, so that most are valid and any fault comes up.
fn next_event(
    choices: &mut impl Choices,
    reference: &mut Reference,
    kind: BookKind,
    live_orders_max: usize,
) -> Option<(u32, Event)> {
    let what = choices.byte()?;
    let odd = choices.byte()?;
    let mut instrument = id(1 + u32::from(choices.byte()?) % INSTRUMENTS);
    let side = if odd & 1 == 0 { Side::Bid } else { Side::Ask };
    let step = i64::from(choices.byte()? % 32);
    let mut px = near(side, step);
    let mut size = u32::from(choices.byte()?) + 1;
    match odd >> 1 {
        0 => size = 0,
        1 => px = Price(0),
        2 => px = Price(-1),
        3 => px = Price(i64::MAX),
        4 => px = Price(i64::MIN),
        5 => size = u32::MAX,
        6 => instrument = id(0),
        7 => instrument = id(1) | 1 << 31,
        // No multiple of 10^-4; beyond 32 bits of those.
        21 | 22 => px.0 += 1 + step,
        23 => px.0 += 100_000 * i64::from(u32::MAX),
        _ => {}
    }
    // Rare events, for either kind of book.
    if what == 255 {
        let rare = choices.byte()?;
        let event = match rare {
            0..8 => Event::Clear,
            8 => {
                instrument = id(0);
                Event::Clear
            }
            9..16 => definition(),
            16..40 => Event::Status(Status {
                action: StatusAction::Halt,
                code: b'H',
                reason: Text::default(),
            }),
            40..60 => Event::TradeBreak {
                trade_id: 1,
                px: None,
                size: 0,
            },
            60..90 => Event::Trade(Trade {
                kind: TradeKind::Hidden,
                side: None,
                px,
                size: u64::from(size),
                trade_id: 9,
                printable: true,
                conditions: 0,
            }),
            // The other kind.
            90..100 if kind == BookKind::ByOrder => Event::LevelSet {
                side,
                px,
                size,
                complete: true,
            },
            90..100 => Event::Delete { order_id: 1 },
            _ => Event::LevelSet {
                side,
                px,
                size: 0,
                complete: rare & 1 == 0,
            },
        };
        return Some((instrument, event));
    }
    if kind == BookKind::ByPrice {
        let event = match what {
            0..220 => Event::LevelSet {
                side,
                px,
                size: if what < 80 { 0 } else { size },
                complete: what & 3 != 0,
            },
            _ => Event::Quote {
                bid_px: px,
                bid_size: if what & 1 == 0 { size } else { 0 },
                ask_px: Price(px.0.saturating_add(i64::from(what & 6) - 2)),
                ask_size: if what & 8 == 0 { size } else { 0 },
            },
        };
        return Some((instrument, event));
    }
    if what < 96 && reference.live.len() < live_orders_max {
        let order_id = if odd >> 1 == 8 {
            reference.choose(choices)?
        } else {
            reference.draw(odd >> 1)
        };
        let event = Event::Add {
            order_id,
            side,
            px,
            size,
        };
        return Some((instrument, event));
    }
    let mut order_id = reference.choose(choices)?;
    let known = reference.order(order_id);
    if odd >> 1 >= 8
        && let Some((owner, order)) = known
    {
        instrument = owner;
        // Mostly less than remains, sometimes all, seldom more.
        size = match size % 16 {
            0 => order.size,
            1 if odd >> 1 == 9 => order.size.saturating_add(1),
            _ => size % order.size.max(2) + u32::from(order.size == 1),
        };
        px = match odd & 2 {
            0 => order.px,
            _ => near(order.side, step),
        };
    }
    match odd >> 1 {
        10 => order_id = u64::MAX - 1,
        11 => instrument = id(1),
        _ => {}
    }
    let event = match what % 8 {
        0 | 1 => Event::Execute {
            order_id,
            size,
            px: (odd & 64 != 0).then_some(px),
            trade_id: 7,
            printable: odd & 32 != 0,
            conditions: 0,
        },
        2 => Event::Cancel { order_id, size },
        3 | 4 => Event::Delete { order_id },
        5 => {
            let new_order_id = match odd >> 1 {
                12 => reference.choose(choices)?,
                13 => order_id,
                odd => reference.draw(odd),
            };
            Event::Replace {
                order_id,
                new_order_id,
                px,
                size,
            }
        }
        _ => Event::Modify {
            order_id,
            px,
            size: if odd >> 1 == 14 { 0 } else { size },
            keeps_priority: odd & 128 != 0,
        },
    };
    Some((instrument, event))
}

/// So many random events in a row, definitions first.
pub fn events(
    kind: BookKind,
    count: usize,
    live_orders_max: usize,
    ids: Ids,
    choices: &mut impl Choices,
) -> Vec<(u32, Event)> {
    let mut reference = Reference::new(Limits::default(), ids);
    let mut events = Vec::new();
    for number in 1..INSTRUMENTS {
        events.push((id(number), definition()));
    }
    while let Some((instrument_id, event)) =
        next_event(choices, &mut reference, kind, live_orders_max)
        && events.len() < count
    {
        reference.apply(instrument_id, &event);
        events.push((instrument_id, event));
    }
    events
}

// ---- The check ----

/// The queue of the touched level is compared every so many events.
const QUEUE_EVERY: u64 = 101;

/// A subscriber that joined with a snapshot of one instrument.
struct Joiner {
    instrument: u32,
    replica: Replica,
}

/// How a run is made.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub kind: BookKind,
    pub limits: Limits,
    /// No more events than this.
    pub events_max: u64,
    /// All views of all books are compared every so many events; the touched level after each.
    pub compare_every: u64,
    /// All views of the touched book are compared after each event.
    pub compare_touched: bool,
    /// A subscriber joins every so many events.
    pub join_every: u64,
    /// About so many orders are kept live.
    pub live_orders_max: usize,
    pub ids: Ids,
}

/// What a run was.
#[derive(Debug, Default)]
pub struct Summary {
    pub events: u64,
    pub faults: u64,
    pub crossed: u64,
    pub joins: u64,
    pub compared: u64,
    pub orders_max: usize,
}

/// Runs random events through a market, the reference and replicas, and panics at the first difference.
pub fn run(run: Run, choices: &mut impl Choices) -> Summary {
    let mut market = Market::new(Mic::from_padded(b"TEST"), CHANNEL, &run.limits);
    let mut reference = Reference::new(run.limits, run.ids);
    let mut by_price = Replica::new(BookKind::ByPrice, &Limits::default());
    let mut by_order = Replica::new(BookKind::ByOrder, &Limits::default());
    let mut joiners: VecDeque<Joiner> = VecDeque::new();
    let mut updates: Vec<Update> = Vec::new();
    let mut summary = Summary::default();
    let mut sequence = 0;
    let mut defined: VecDeque<u32> = (1..INSTRUMENTS).map(id).collect();
    while sequence < run.events_max {
        let next = match defined.pop_front() {
            Some(instrument) => Some((instrument, definition())),
            None => next_event(choices, &mut reference, run.kind, run.live_orders_max),
        };
        let Some((instrument_id, event)) = next else {
            break;
        };
        sequence += 1;
        let header = Header {
            instrument_id,
            sequence,
            ts_event: sequence,
            ts_recv: sequence,
        };
        updates.clear();
        let before = touches(&reference, &event);
        let expected = reference.apply(instrument_id, &event);
        let applied = market.apply(&header, &event, &mut updates);

        let seen = Expected {
            changed: applied.book_changed,
            fault: applied.fault.map(|error| error.fault.counter()),
            crossed: applied.crossed,
        };
        assert_eq!(seen, expected, "event {sequence}: {event:?}");
        if let Some(error) = applied.fault {
            assert_eq!(
                (error.sequence, error.instrument_id),
                (sequence, instrument_id)
            );
        }
        check_updates(&updates, &reference, instrument_id, &event, sequence);
        for update in &updates {
            by_price.apply(update).expect("levels follow updates");
            by_order.apply(update).expect("orders follow updates");
            for joiner in &mut joiners {
                let number = update.header.instrument_id;
                if number == joiner.instrument || number == id(0) {
                    joiner.replica.apply(update).expect("fits the snapshot");
                }
            }
        }
        for order_id in names(&event) {
            let known = reference.order(order_id);
            let here = known.filter(|(owner, _)| *owner == instrument_id);
            let found = market.book(instrument_id).order(order_id);
            if instrument_id >> 16 == u32::from(CHANNEL) {
                assert_eq!(
                    found,
                    here.map(|(_, order)| order),
                    "event {sequence}: {event:?}"
                );
            }
        }
        // The touched levels, after every event.
        for (side, px) in before
            .into_iter()
            .chain(touches(&reference, &event))
            .flatten()
        {
            if instrument_id >> 16 == u32::from(CHANNEL) {
                let level = reference.level(instrument_id, side, px);
                let book = market.book(instrument_id);
                assert_eq!(book.level(side, px), level, "event {sequence}: {event:?}");
                assert_eq!(by_price.book(instrument_id).level(side, px), level);
                // A market has no list of a level's orders, so that is looked at less often.
                if sequence.is_multiple_of(QUEUE_EVERY) {
                    let queue = reference.queue(instrument_id, side, px);
                    assert!(
                        book.orders_at(side, px).eq(queue.iter().copied()),
                        "event {sequence}: {event:?}"
                    );
                }
            }
        }
        let all = sequence.is_multiple_of(run.compare_every);
        if all || run.compare_touched {
            summary.compared += 1;
            // The first book event decides the kind, whatever the run meant to send.
            let kind = reference.kind.unwrap_or(run.kind);
            for instrument in (0..=INSTRUMENTS).map(id) {
                if !all && instrument != instrument_id {
                    continue;
                }
                compare(&reference, instrument, &market.book(instrument), kind);
                compare(
                    &reference,
                    instrument,
                    &by_price.book(instrument),
                    BookKind::ByPrice,
                );
                if kind == BookKind::ByOrder {
                    compare(&reference, instrument, &by_order.book(instrument), kind);
                }
                let stale = reference.faulty.contains(&instrument);
                assert_eq!(market.state(instrument) == BookState::Stale, stale);
            }
            for joiner in &joiners {
                let instrument = joiner.instrument;
                if !all && instrument != instrument_id {
                    continue;
                }
                let book = joiner.replica.book(instrument);
                let what = joiner.replica.what();
                if what == BookKind::ByOrder && kind == BookKind::ByPrice {
                    // Joined before the kind was known: there are no orders to follow.
                    continue;
                }
                compare(&reference, instrument, &book, what);
            }
            let counters = market.counters();
            assert_eq!(counters.crossed, reference.times_crossed);
            assert_eq!(counters.crossed_now, reference.crossed.len() as u64);
            assert_eq!(counters.faulty_now, reference.faulty.len() as u64);
            assert_eq!(counters.faults(), reference.counted.values().sum::<u64>());
            assert_eq!(market.order_count(), reference.live.len());
        }
        if sequence % run.join_every == 0 {
            summary.joins += 1;
            let instrument = id(1 + u32::try_from(summary.joins).expect("few") % INSTRUMENTS);
            let orders =
                summary.joins & 1 == 0 && reference.kind.unwrap_or(run.kind) == BookKind::ByOrder;
            let what = if orders {
                BookKind::ByOrder
            } else {
                BookKind::ByPrice
            };
            joiners.push_back(join(&market, instrument, what));
            if joiners.len() > 4 {
                joiners.pop_front();
            }
        }
        summary.orders_max = summary.orders_max.max(market.order_count());
    }
    for (name, _, value) in market.counters().iter() {
        let counted = reference.counted.get(name).copied();
        if let Some(counted) = counted {
            assert_eq!(value, counted, "{name}");
        }
    }
    let counters = market.counters();
    assert_eq!(counters.events, sequence);
    summary.events = sequence;
    summary.faults = counters.faults();
    summary.crossed = counters.crossed;
    summary
}

/// The orders that an event names.
fn names(event: &Event) -> impl Iterator<Item = u64> {
    let (one, other) = match *event {
        Event::Add { order_id, .. }
        | Event::Execute { order_id, .. }
        | Event::Cancel { order_id, .. }
        | Event::Delete { order_id }
        | Event::Modify { order_id, .. } => (Some(order_id), None),
        Event::Replace {
            order_id,
            new_order_id,
            ..
        } => (Some(order_id), Some(new_order_id)),
        _ => (None, None),
    };
    one.into_iter().chain(other)
}

/// The levels that an event names, or that the order stands at which it names.
fn touches(reference: &Reference, event: &Event) -> [Option<(Side, Price)>; 2] {
    match *event {
        Event::Add { side, px, .. } | Event::LevelSet { side, px, .. } => [Some((side, px)), None],
        Event::Execute { order_id, .. }
        | Event::Cancel { order_id, .. }
        | Event::Delete { order_id }
        | Event::Modify { order_id, .. } => {
            [reference.order(order_id).map(|(_, o)| (o.side, o.px)), None]
        }
        Event::Replace {
            order_id,
            new_order_id,
            ..
        } => [order_id, new_order_id]
            .map(|order_id| reference.order(order_id).map(|(_, o)| (o.side, o.px))),
        Event::Quote { bid_px, ask_px, .. } => {
            [Some((Side::Bid, bid_px)), Some((Side::Ask, ask_px))]
        }
        _ => [None, None],
    }
}

/// What every series of updates of one event keeps.
fn check_updates(
    updates: &[Update],
    reference: &Reference,
    instrument_id: u32,
    event: &Event,
    sequence: u64,
) {
    // A doubt about another instrument is an event of its own, and comes first.
    let own = updates
        .iter()
        .position(|update| update.header.instrument_id == instrument_id)
        .unwrap_or(updates.len());
    for update in &updates[..own] {
        assert_eq!(update.kind, UpdateKind::Stale);
        assert_eq!(update.flags, flags::LAST | flags::MAYBE_BAD_BOOK);
    }
    let complete = !matches!(
        event,
        Event::LevelSet {
            complete: false,
            ..
        }
    );
    let updates = &updates[own..];
    let stale = reference.faulty.contains(&instrument_id);
    for (at, update) in updates.iter().enumerate() {
        assert_eq!(update.header.instrument_id, instrument_id);
        assert_eq!(update.header.sequence, sequence);
        let last = complete && at + 1 == updates.len();
        assert_eq!(update.is_last(), last, "{event:?}: {updates:?}");
        assert_eq!(update.maybe_bad_book(), stale, "{event:?}: {updates:?}");
        assert!(!update.is_snapshot());
    }
}

fn join(market: &Market, instrument: u32, what: BookKind) -> Joiner {
    let mut snapshot: Vec<Update> = Vec::new();
    if !market.snapshot(instrument, what, &mut snapshot) {
        assert_eq!(
            (what, market.kind()),
            (BookKind::ByOrder, Some(BookKind::ByPrice))
        );
        return join(market, instrument, BookKind::ByPrice);
    }
    let mut replica = Replica::new(what, &Limits::default());
    assert_eq!(
        snapshot.first().map(|u| u.kind),
        Some(UpdateKind::SnapshotBegin)
    );
    assert_eq!(
        snapshot.last().map(|u| u.kind),
        Some(UpdateKind::SnapshotEnd)
    );
    let ends = snapshot.iter().filter(|update| update.is_last()).count();
    assert_eq!(ends, 1);
    for update in &snapshot {
        assert!(update.is_snapshot());
        assert_eq!(update.header.instrument_id, instrument);
        assert_eq!(update.header.sequence, market.last().sequence);
        let stale = market.state(instrument) == BookState::Stale;
        assert_eq!(update.maybe_bad_book(), stale);
        replica
            .apply(update)
            .expect("a snapshot fits an empty book");
    }
    Joiner {
        instrument,
        replica,
    }
}

/// All views of one book.
fn compare(reference: &Reference, instrument: u32, book: &Book<'_>, what: BookKind) {
    let uncounted = reference.kind == Some(BookKind::ByPrice);
    for side in [Side::Bid, Side::Ask] {
        let levels = reference.levels(instrument, side);
        assert!(
            book.levels(side).eq(levels.iter().copied()),
            "{instrument:x} {side:?}"
        );
        assert_eq!(book.levels(side).len(), levels.len());
        assert_eq!(book.level_count(side), levels.len());
        assert_eq!(book.best(side), levels.first().copied());
        for level in &levels {
            assert_eq!(book.level(side, level.px), Some(*level));
            assert!(level.size > 0 && (level.count > 0 || uncounted));
        }
        let orders = match what {
            BookKind::ByOrder => reference.orders(instrument, side),
            BookKind::ByPrice => vec![],
        };
        let found: Vec<Order> = book.orders(side).collect();
        assert_eq!(found, orders, "{instrument:x} {side:?}");
        for order in &orders {
            assert_eq!(book.order(order.order_id), Some(*order));
        }
        if what == BookKind::ByOrder {
            let mut queues = found.chunk_by(|a, b| a.px == b.px);
            for level in &levels {
                let queue = reference.queue(instrument, side, level.px);
                assert_eq!(queues.next(), Some(queue));
            }
            assert_eq!(queues.next(), None);
            if let Some(level) = levels.first() {
                let queue = reference.queue(instrument, side, level.px);
                assert!(book.orders_at(side, level.px).eq(queue.iter().copied()));
            }
        }
    }
    assert_eq!(book.checksum(), reference.checksum(instrument));
    assert_eq!(book.is_crossed(), reference.is_crossed(instrument));
}

/// Runs bytes of any origin: the first one says how, the others are the events.
pub fn run_bytes(bytes: &[u8]) -> Summary {
    let mut choices = Bytes(bytes);
    let Some(how) = choices.byte() else {
        return Summary::default();
    };
    let shape = how;
    let limits = if how & 2 == 0 {
        Limits::default()
    } else {
        Limits {
            orders_max: 12,
            levels_max: 9,
            side_levels_max: 4,
        }
    };
    let kind = if how & 1 == 0 {
        BookKind::ByOrder
    } else {
        BookKind::ByPrice
    };
    let how = Run {
        kind,
        limits,
        events_max: 4096,
        compare_every: 16,
        compare_touched: true,
        join_every: 7,
        live_orders_max: 1000,
        ids: Ids::SHAPES[usize::from(shape >> 2) % Ids::SHAPES.len()],
    };
    run(how, &mut choices)
}
