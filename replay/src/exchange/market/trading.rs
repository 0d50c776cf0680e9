//! Continuous trading: one event of one instrument at a time.

use tickcast_codecs::Side;

use super::activity::Kind;
use super::instrument::{State, locate};
use super::messages::{Execution, MPIDS};
use super::orders::New;
use super::{Market, Script};
use crate::random::Random;

/// What is left of an aggressive order; there is always a next message in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sweep {
    at: usize,
    taker: Side,
    shares: u32,
    /// In ticks.
    limit: u32,
}

/// The last executions, of which one may be broken.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    executions: [(u16, u64); 64],
    count: usize,
    next: usize,
}

const BROKEN_ONE_IN: u32 = 20_000;
const REG_SHO_ONE_IN: u32 = 100_000;
/// An aggressive order takes at most so many ticks beyond the best.
const THROUGH_TICKS_MAX: u32 = 3;

impl Market {
    /// One message of the flow.
    pub(super) fn trade(&mut self, out: &mut Vec<u8>) {
        if self.recent.count > 0 && self.random.one_in(BROKEN_ONE_IN) {
            let (stock_locate, match_number) = self.recent.take(&mut self.random);
            return self.tell_broken(stock_locate, match_number, out);
        }
        if self.random.one_in(REG_SHO_ONE_IN) {
            return self.turn_reg_sho(out);
        }
        for _ in 0..4 {
            let at = match self.flow.burst() {
                Some(at) if self.random.one_in(2) => at,
                _ => self.activity.pick(&mut self.random),
            };
            if self.instruments[at].accepts() {
                return self.act(at, out);
            }
        }
        // The first is never halted.
        self.act(0, out);
    }

    fn turn_reg_sho(&mut self, out: &mut Vec<u8>) {
        let at = self.activity.pick(&mut self.random);
        let action = &mut self.instruments[at].reg_sho;
        *action = if *action == b'0' { b'1' } else { b'0' };
        self.tell_reg_sho(at, out);
    }

    /// One event of an instrument that accepts orders.
    fn act(&mut self, at: usize, out: &mut Vec<u8>) {
        let shape = self.config.shape;
        let instrument = &mut self.instruments[at];
        instrument.move_fair(&mut self.random);
        let trading = instrument.state == State::Trading;
        let book = &instrument.book;
        if book.live().len() >= instrument.orders_max as usize {
            return self.delete_old(at, out);
        }
        let first = if self.random.one_in(2) {
            Side::Bid
        } else {
            Side::Ask
        };
        let fair = instrument.fair_tick();
        // The side whose best order fair has passed is executed first.
        let passed = match (book.best_tick(Side::Bid), book.best_tick(Side::Ask)) {
            (Some(bid), _) if bid > fair => Some(Side::Bid),
            (_, Some(ask)) if ask <= fair => Some(Side::Ask),
            _ => None,
        };
        let kind = if trading && passed.is_some() && self.quotas.may_execute() {
            Kind::Execute
        } else {
            self.quotas.draw(&mut self.random)
        };
        if kind != Kind::Cancel {
            for side in [first, first.opposite()] {
                if book.queues(side).len() < shape.levels_min() {
                    return self.add_level(at, side, out);
                }
            }
        }
        match kind {
            Kind::Execute if trading => self.take(at, passed.unwrap_or(first).opposite(), out),
            Kind::HiddenTrade if trading => self.hidden_trade(at, out),
            Kind::Cancel => self.cancel(at, out),
            Kind::Replace => self.replace(at, out),
            _ => self.add_or_delete(at, first, out),
        }
    }

    /// Few orders attract more, many fewer: the count hovers around 5 / 8 of the most.
    fn add_or_delete(&mut self, at: usize, first: Side, out: &mut Vec<u8>) {
        let instrument = &self.instruments[at];
        for side in [first, first.opposite()] {
            if instrument.book.queues(side).len() > self.config.shape.levels_max() {
                return self.delete_worst(at, side, out);
            }
        }
        let few = instrument.book.live().len() < instrument.orders_max as usize / 8 * 5;
        let adds = if few { 55 } else { 45 };
        if self.random.below(100) < adds {
            self.add_passive(at, first, out);
        } else if self.random.one_in(10) {
            self.delete_old(at, out);
        } else {
            self.delete_young(at, out);
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
        let distance_max = self.config.shape.distance_max();
        let distance = if self.random.below(10) < 6 {
            self.random.geometric(1).min(distance_max)
        } else {
            self.random.below(distance_max)
        };
        self.instruments[at].passive_tick(side, distance)
    }

    fn add_passive(&mut self, at: usize, side: Side, out: &mut Vec<u8>) {
        let tick = self.passive_tick(at, side);
        let book = &self.instruments[at].book;
        if book.queues(side).len() < self.config.shape.levels_max() || book.has_level(side, tick) {
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

    /// One of the orders that are there before trading: the levels in turn, both sides alike.
    pub(super) fn first_order(&mut self, at: usize, order: u32, out: &mut Vec<u8>) {
        let instrument = &self.instruments[at];
        if instrument.book.live().len() >= instrument.orders_max as usize {
            return;
        }
        let side = if order.is_multiple_of(2) {
            Side::Bid
        } else {
            Side::Ask
        };
        let distance = order / 2 % self.config.shape.levels;
        let tick = instrument.passive_tick(side, distance);
        let book = &instrument.book;
        if book.queues(side).len() < self.config.shape.levels_max() || book.has_level(side, tick) {
            self.add(at, side, tick, out);
        }
    }

    /// A new order at this price or, if its level is full, behind it.
    fn add(&mut self, at: usize, side: Side, tick: u32, out: &mut Vec<u8>) {
        let (shares, tick) = (self.shares(), self.place(at, side, tick));
        self.add_shares(at, side, tick, shares, out);
    }

    fn place(&self, at: usize, side: Side, tick: u32) -> u32 {
        match self.config.shape.orders_per_level_max {
            u32::MAX => tick,
            most => self.instruments[at].book.free_tick(side, tick, most),
        }
    }

    fn add_shares(&mut self, at: usize, side: Side, tick: u32, shares: u32, out: &mut Vec<u8>) {
        let id = self.engines.new_order(at, &mut self.random);
        let mpid = match self.random.one_in(5) {
            true => 1 + self.random.below(6),
            false => 0,
        };
        debug_assert!(mpid as usize <= MPIDS.len());
        let new = New {
            id,
            side,
            tick,
            shares,
            mpid: u8::try_from(mpid).unwrap_or(0),
        };
        let slot = self.instruments[at].book.add(new);
        self.tell_add(at, self.instruments[at].book.order(slot), out);
    }

    /// An order with few that are younger: see [`Random::log_uniform`].
    fn pick_young(&mut self, at: usize) -> Option<u32> {
        let live = self.instruments[at].book.live();
        let count = u32::try_from(live.len()).unwrap_or(u32::MAX);
        let younger = self.random.log_uniform(count) as usize;
        live.iter().rev().nth(younger).copied()
    }

    /// Any one of the older half.
    fn pick_old(&mut self, at: usize) -> Option<u32> {
        let live = self.instruments[at].book.live();
        live.get(self.random.index(live.len().div_ceil(2))).copied()
    }

    fn delete_young(&mut self, at: usize, out: &mut Vec<u8>) {
        match self.pick_young(at) {
            Some(slot) => self.delete(at, slot, out),
            None => self.add_passive(at, Side::Bid, out),
        }
    }

    fn delete_old(&mut self, at: usize, out: &mut Vec<u8>) {
        match self.pick_old(at) {
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

    pub(super) fn delete(&mut self, at: usize, slot: u32, out: &mut Vec<u8>) {
        let id = self.instruments[at].book.order(slot).id;
        self.instruments[at].book.remove(slot);
        self.tell_delete(at, id, out);
    }

    /// Takes off a part of an order; an order of one share goes whole.
    fn cancel(&mut self, at: usize, out: &mut Vec<u8>) {
        let Some(slot) = self.pick_young(at) else {
            return self.add_passive(at, Side::Bid, out);
        };
        let order = self.instruments[at].book.order(slot);
        let (id, shares) = (order.id, order.shares);
        let canceled = match shares {
            ..2 => return self.delete(at, slot, out),
            2..200 => self.random.between(1, shares - 1),
            _ => 100 * self.random.between(1, (shares - 1) / 100),
        };
        self.quotas.spend(Kind::Cancel);
        self.instruments[at].book.reduce(slot, canceled);
        self.tell_cancel(at, id, canceled, out);
    }

    /// Replaces an order: another price, another quantity, or both; the new order queues last.
    fn replace(&mut self, at: usize, out: &mut Vec<u8>) {
        let Some(slot) = self.pick_young(at) else {
            return self.add_passive(at, Side::Ask, out);
        };
        self.quotas.spend(Kind::Replace);
        let order = self.instruments[at].book.order(slot);
        let (original, side, old_tick, mpid) = (order.id, order.side, order.tick, order.mpid);
        let mut shares = order.shares;
        if self.random.one_in(3) {
            shares = self.shares();
        }
        let mut tick = self.passive_tick(at, side);
        let id = self.engines.new_order(at, &mut self.random);
        let book = &mut self.instruments[at].book;
        if book.queues(side).len() >= self.config.shape.levels_max() && !book.has_level(side, tick)
        {
            tick = old_tick;
        }
        book.remove(slot);
        let tick = self.place(at, side, tick);
        let new = New {
            id,
            side,
            tick,
            shares,
            mpid,
        };
        self.instruments[at].book.add(new);
        self.tell_replace(at, original, (id, shares, tick), out);
    }

    /// An order that crosses the spread.
    fn take(&mut self, at: usize, taker: Side, out: &mut Vec<u8>) {
        let through = match self.config.shape.moves() {
            true => self.random.geometric(1).min(THROUGH_TICKS_MAX),
            false => 0,
        };
        let shares = self.shares();
        let Some(best) = self.instruments[at].book.best_tick(taker.opposite()) else {
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
    pub(super) fn advance_sweep(&mut self, mut sweep: Sweep, out: &mut Vec<u8>) {
        let Sweep {
            at, taker, limit, ..
        } = sweep;
        let Some(slot) = self.executable(at, taker, limit) else {
            return self.add_shares(at, taker, limit, sweep.shares, out);
        };
        let order = self.instruments[at].book.order(slot);
        let tick = order.tick;
        let execution = Execution {
            at,
            id: order.id,
            shares: order.shares.min(sweep.shares),
            match_number: self.new_match(at),
        };
        self.quotas.spend(Kind::Execute);
        // Now and then the taker gets half a tick more than the resting order displays.
        let improved = self.random.one_in(25);
        let instrument = &mut self.instruments[at];
        instrument.book.reduce(slot, execution.shares);
        let half = instrument.tick_size / 2;
        let displayed = instrument.wire_price(tick);
        if improved && half > 0 {
            let price = match taker {
                Side::Bid => displayed - half,
                Side::Ask => displayed + half,
            };
            self.tell_executed_at(execution, true, price, out);
        } else {
            self.tell_executed(execution, out);
        }
        sweep.shares -= execution.shares;
        if sweep.shares == 0 {
            return;
        }
        if self.executable(at, taker, limit).is_some()
            || (self.rests(&sweep) && self.random.one_in(2))
        {
            self.script = Some(Script::Sweep(sweep));
        }
    }

    /// Whether there is room for what is left of an aggressive order.
    fn rests(&self, sweep: &Sweep) -> bool {
        let shape = self.config.shape;
        let instrument = &self.instruments[sweep.at];
        let book = &instrument.book;
        shape.moves()
            && book.live().len() < instrument.orders_max as usize
            && (book.queues(sweep.taker).len() < shape.levels_max()
                || book.has_level(sweep.taker, sweep.limit))
    }

    /// The order that is executed next by who takes up to `limit`.
    pub(super) fn executable(&self, at: usize, taker: Side, limit: u32) -> Option<u32> {
        let slot = self.instruments[at].book.head(taker.opposite())?;
        let tick = self.instruments[at].book.order(slot).tick;
        let crosses = match taker {
            Side::Bid => tick <= limit,
            Side::Ask => tick >= limit,
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
        self.quotas.spend(Kind::HiddenTrade);
        let match_number = self.new_match(at);
        let instrument = &self.instruments[at];
        let middle = (instrument.wire_price(bid) + instrument.wire_price(ask)) / 2;
        self.tell_trade(at, shares, middle, match_number, out);
    }

    pub(super) fn new_match(&mut self, at: usize) -> u64 {
        self.match_number += 1 + u64::from(self.random.geometric(2));
        self.recent.push(locate(at).get(), self.match_number);
        self.match_number
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            executions: [(0, 0); 64],
            count: 0,
            next: 0,
        }
    }
}

impl Recent {
    fn push(&mut self, stock_locate: u16, match_number: u64) {
        if self.count < self.executions.len() {
            self.executions[self.count] = (stock_locate, match_number);
            self.count += 1;
        } else {
            self.executions[self.next] = (stock_locate, match_number);
            self.next = (self.next + 1) % self.executions.len();
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
