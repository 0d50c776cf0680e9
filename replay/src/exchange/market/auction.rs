//! Crosses, and the imbalance messages before them.
//!
//! What waits for a cross isn't displayed: shares that match among themselves, and an imbalance of one
//! side.  The imbalance takes displayed orders of the other side in price and time priority, each told as
//! a non-printable execution at the cross price; then one Cross Trade tells all shares of the cross
//! (ITCH 5.0, 1.4.2 and 1.5.2: non-printable executions are included in the bulk print).

use tickcast_codecs::Side;

use super::instrument::Interest;
use super::messages::{Execution, Imbalance};
use super::{Market, Script};

/// A cross under way; there is always a next message in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cross {
    at: usize,
    cross_type: u8,
    taker: Side,
    /// What the imbalance still takes.
    left: u32,
    /// The cross price in ticks.
    tick: u32,
    /// All shares of the cross.
    shares: u64,
}

/// Shares and price at which the book would clear.
#[derive(Debug, Clone, Copy)]
struct Clearing {
    taker: Side,
    taken: u32,
    tick: u32,
}

/// A cross takes at most so many levels of the displayed book.
const CROSS_LEVELS_MAX: usize = 3;
/// Once in so many times nobody is interested in a cross.
const NO_INTEREST_ONE_IN: u32 = 16;

impl Market {
    /// The next imbalance message of an instrument.
    pub(super) fn noii(&mut self, at: usize, cross_type: u8, out: &mut Vec<u8>) {
        let instrument = &mut self.instruments[at];
        instrument.interest.grow(&mut self.random);
        let Interest {
            paired,
            imbalance,
            buys,
        } = instrument.interest;
        let clearing = self.clearing(at);
        let instrument = &self.instruments[at];
        let reference = match clearing.taker {
            Side::Bid => instrument.book.best_tick(Side::Ask),
            Side::Ask => instrument.book.best_tick(Side::Bid),
        };
        let told = Imbalance {
            paired: u64::from(paired),
            imbalance,
            direction: match (imbalance, buys) {
                (0, _) => b'N',
                (_, true) => b'B',
                (_, false) => b'S',
            },
            far: instrument.fair_tick(),
            near: clearing.tick,
            reference: reference.unwrap_or(clearing.tick),
            cross_type,
        };
        self.tell_noii(at, told, out);
    }

    /// Begins a cross, and tells its first message.
    pub(super) fn begin_cross(&mut self, at: usize, cross_type: u8, out: &mut Vec<u8>) {
        let instrument = &mut self.instruments[at];
        if self.random.one_in(NO_INTEREST_ONE_IN) {
            instrument.interest = Interest::default();
        }
        let paired = instrument.interest.paired;
        let clearing = self.clearing(at);
        self.instruments[at].interest = Interest::default();
        let cross = Cross {
            at,
            cross_type,
            taker: clearing.taker,
            left: clearing.taken,
            tick: clearing.tick,
            shares: u64::from(paired) + u64::from(clearing.taken),
        };
        self.advance_cross(cross, out);
    }

    /// One execution of a cross, or its bulk print.
    pub(super) fn advance_cross(&mut self, mut cross: Cross, out: &mut Vec<u8>) {
        let Cross {
            at, taker, tick, ..
        } = cross;
        let price = self.instruments[at].wire_price(tick);
        let next = match cross.left {
            0 => None,
            _ => self.executable(at, taker, tick),
        };
        let match_number = self.new_match(at);
        let Some(slot) = next else {
            let price = if cross.shares == 0 { 0 } else { price };
            self.tell_cross(
                at,
                (cross.shares, price),
                match_number,
                cross.cross_type,
                out,
            );
            if cross.cross_type == b'H' {
                self.script = Some(Script::Resume { at });
            }
            return;
        };
        let order = self.instruments[at].book.order(slot);
        let execution = Execution {
            at,
            id: order.id,
            shares: order.shares.min(cross.left),
            match_number,
        };
        cross.left -= execution.shares;
        self.instruments[at].book.reduce(slot, execution.shares);
        self.tell_executed_at(execution, false, price, out);
        self.script = Some(Script::Cross(cross));
    }

    /// What the present imbalance would take of the displayed book, and the price of the last of it.
    fn clearing(&self, at: usize) -> Clearing {
        let instrument = &self.instruments[at];
        let Interest {
            imbalance, buys, ..
        } = instrument.interest;
        let taker = if buys { Side::Bid } else { Side::Ask };
        // Without an imbalance the price is fair, within the spread.
        let book = &instrument.book;
        let mut tick = instrument.fair_tick();
        if let Some(bid) = book.best_tick(Side::Bid) {
            tick = tick.max(bid);
        }
        if let Some(ask) = book.best_tick(Side::Ask) {
            tick = tick.min(ask);
        }
        let mut taken = 0_u64;
        let queues = book.queues(taker.opposite()).iter().rev();
        for queue in queues.take(CROSS_LEVELS_MAX) {
            if taken >= u64::from(imbalance) {
                break;
            }
            taken += queue.shares;
            tick = queue.tick;
        }
        Clearing {
            taker,
            // At most the imbalance, which is 32 bits.
            taken: u32::try_from(taken.min(u64::from(imbalance))).unwrap_or(imbalance),
            tick,
        }
    }
}
