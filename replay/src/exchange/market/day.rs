//! The day: what is told because it is time, and not because an order came.

use super::config::Schedule;
use super::instrument::State;
use super::messages::MPIDS;
use super::{Day, Market};

/// Where the day is: what is told when [`Market::agenda_ns`] comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    StartOfMessages,
    Directory { at: usize },
    Positions { at: usize, position: usize },
    DeclineLevels,
    StartOfSystemHours,
    FirstOrders { at: usize, order: u32 },
    StartOfMarketHours,
    OpeningCross { at: usize },
    EndOfMarketHours,
    ClosingCross { at: usize },
    EndOfSystemHours,
    Purge { at: usize },
    EndOfMessages,
    Over,
}

/// The imbalance messages before a cross: one instrument after the other, round and round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noiis {
    at: usize,
    cross_type: u8,
    /// When the cross is.
    until_ns: u64,
    pub(super) due_ns: u64,
}

impl Noiis {
    pub(super) const NONE: Self = Self {
        at: 0,
        cross_type: b'O',
        until_ns: 0,
        due_ns: u64::MAX,
    };
}

/// Start of day and first orders come at this distance, or closer where the day hasn't the time.
const OPENING_GAP_NS: u64 = 20_000;
/// Between the crosses of two instruments.
const CROSS_GAP_NS: u64 = 2_000;
/// Between the deletions after the end of system hours, likewise.
const PURGE_GAP_NS: u64 = 2_000;
/// Market participants that are told a position in each security.
const POSITIONS: usize = 3;
/// Outside market hours messages have this much longer distances.
const QUIET: f64 = 8.0;

impl Market {
    pub(super) fn schedule(&self) -> Option<Schedule> {
        match self.config.day {
            Day::Continuous => None,
            Day::Whole(schedule) => Some(schedule),
        }
    }

    /// How much slower than in market hours orders come; `None` where they don't.
    pub(super) fn slowness(&self) -> Option<f64> {
        match self.phase {
            Phase::FirstOrders { .. } | Phase::StartOfMarketHours => self.schedule().map(|_| QUIET),
            Phase::OpeningCross { .. } | Phase::EndOfMarketHours => Some(1.0),
            Phase::ClosingCross { .. } | Phase::EndOfSystemHours => Some(QUIET),
            _ => None,
        }
    }

    /// When the next thing is due that isn't an order.
    pub(super) fn agenda_ns(&self) -> u64 {
        self.phase_due_ns
            .min(self.noiis.due_ns)
            .min(self.halt.due_ns)
    }

    /// Tells what is due first; perhaps nothing.
    pub(super) fn follow_agenda(&mut self, out: &mut Vec<u8>) {
        let agenda = self.agenda_ns();
        if self.halt.due_ns == agenda {
            self.advance_halt(out);
        } else if self.phase_due_ns == agenda {
            self.advance_phase(out);
        } else {
            self.advance_noiis(out);
        }
    }

    fn advance_phase(&mut self, out: &mut Vec<u8>) {
        let schedule = self.schedule();
        match self.phase {
            Phase::StartOfMessages => {
                self.tell_event(b'O', out);
                self.gap_ns = self.directory_gap();
                self.follow(Phase::Directory { at: 0 });
            }
            Phase::Directory { at } => self.advance_directory(at, out),
            Phase::Positions { at, position } => {
                self.tell_position(at, position, out);
                self.follow(if position + 1 < POSITIONS {
                    Phase::Positions {
                        at,
                        position: position + 1,
                    }
                } else if at + 1 < self.instruments.len() {
                    Phase::Positions {
                        at: at + 1,
                        position: 0,
                    }
                } else {
                    Phase::DeclineLevels
                });
            }
            Phase::DeclineLevels => {
                self.tell_decline_levels(out);
                let due = schedule.map_or(0, |schedule| schedule.system_hours_ns);
                self.follow_at(due, Phase::StartOfSystemHours);
            }
            Phase::StartOfSystemHours => {
                self.tell_event(b'S', out);
                self.gap_ns = self.first_orders_gap();
                self.follow(Phase::FirstOrders { at: 0, order: 0 });
                if let Some(schedule) = schedule {
                    self.noiis = Noiis {
                        at: 0,
                        cross_type: b'O',
                        until_ns: schedule.market_hours_ns,
                        due_ns: schedule.opening_noii_ns.max(self.phase_due_ns),
                    };
                }
                self.flow.begin(self.offset_ns);
            }
            Phase::FirstOrders { at, order } => {
                self.first_order(at, order, out);
                self.after_first_order(at, order);
            }
            Phase::StartOfMarketHours => {
                self.tell_event(b'Q', out);
                self.noiis = Noiis::NONE;
                self.flow.open(self.offset_ns);
                match schedule {
                    None => self.begin_trading(),
                    Some(_) => {
                        self.gap_ns = CROSS_GAP_NS;
                        self.follow(Phase::OpeningCross { at: 0 });
                    }
                }
            }
            Phase::OpeningCross { at } => {
                self.begin_cross(at, b'O', out);
                if at + 1 < self.instruments.len() {
                    self.follow(Phase::OpeningCross { at: at + 1 });
                } else {
                    self.begin_trading();
                }
            }
            Phase::EndOfMarketHours if self.halt.is_active() => {
                // The cross closes what is open.
                self.phase_due_ns = self.halt.due_ns.saturating_add(1);
            }
            Phase::EndOfMarketHours => {
                self.tell_event(b'M', out);
                self.noiis = Noiis::NONE;
                self.halt.due_ns = u64::MAX;
                self.gap_ns = CROSS_GAP_NS;
                self.follow(Phase::ClosingCross { at: 0 });
            }
            Phase::ClosingCross { at } => {
                self.begin_cross(at, b'C', out);
                if at + 1 < self.instruments.len() {
                    self.follow(Phase::ClosingCross { at: at + 1 });
                } else {
                    let due = schedule.map_or(0, |schedule| schedule.system_close_ns);
                    self.follow_at(due, Phase::EndOfSystemHours);
                }
            }
            Phase::EndOfSystemHours => {
                self.tell_event(b'E', out);
                self.gap_ns = self.purge_gap();
                self.follow(Phase::Purge { at: 0 });
            }
            Phase::Purge { at } => self.purge(at, out),
            Phase::EndOfMessages => {
                self.tell_event(b'C', out);
                self.phase = Phase::Over;
                self.phase_due_ns = u64::MAX;
            }
            Phase::Over => {}
        }
    }

    /// The next phase, after the gap.
    fn follow(&mut self, phase: Phase) {
        self.phase = phase;
        self.phase_due_ns = self.offset_ns.saturating_add(self.gap_ns);
    }

    /// The next phase, at its time or after the gap.
    fn follow_at(&mut self, due_ns: u64, phase: Phase) {
        self.follow(phase);
        self.phase_due_ns = self.phase_due_ns.max(due_ns);
    }

    fn tell_event(&mut self, event_code: u8, out: &mut Vec<u8>) {
        self.event = Some(event_code);
        self.tell_system_event(event_code, out);
    }

    /// Directory, trading action and Reg SHO state of one instrument after the other.
    fn advance_directory(&mut self, at: usize, out: &mut Vec<u8>) {
        match self.instruments[at].told {
            0 => self.tell_stock_directory(at, out),
            1 => self.tell_trading_action(at, out),
            _ => self.tell_reg_sho(at, out),
        }
        let told = &mut self.instruments[at].told;
        *told += 1;
        if *told < 3 {
            return self.follow(Phase::Directory { at });
        }
        self.follow(if at + 1 < self.instruments.len() {
            Phase::Directory { at: at + 1 }
        } else if self.schedule().is_some() {
            Phase::Positions { at: 0, position: 0 }
        } else {
            Phase::StartOfSystemHours
        });
    }

    fn directory_gap(&self) -> u64 {
        let messages = self.instruments.len() as u64 * (3 + POSITIONS as u64) + 2;
        match self.schedule() {
            None => OPENING_GAP_NS,
            Some(schedule) => (schedule.system_hours_ns / messages).min(OPENING_GAP_NS),
        }
    }

    /// The first orders take half of the time up to the first imbalance.
    fn first_orders_gap(&self) -> u64 {
        let Some(schedule) = self.schedule() else {
            return OPENING_GAP_NS;
        };
        let orders: u64 = (0..self.instruments.len())
            .map(|at| u64::from(self.first_orders(at)))
            .sum();
        let time = schedule.opening_noii_ns.saturating_sub(self.offset_ns) / 2;
        time / orders.max(1)
    }

    /// How many orders an instrument has before trading; the first has the most.
    fn first_orders(&self, at: usize) -> u32 {
        let orders_max = self.instruments[at].orders_max;
        (orders_max / 8 * 5).max(orders_max.min(2 * self.config.shape.levels))
    }

    /// The next order of the round over all instruments that aren't full yet.
    fn after_first_order(&mut self, at: usize, order: u32) {
        let next = at + 1;
        if next < self.instruments.len() && self.first_orders(next) > order {
            return self.follow(Phase::FirstOrders { at: next, order });
        }
        let order = order + 1;
        if self.first_orders(0) > order {
            return self.follow(Phase::FirstOrders { at: 0, order });
        }
        let due = self
            .schedule()
            .map_or(0, |schedule| schedule.market_hours_ns);
        self.follow_at(due, Phase::StartOfMarketHours);
    }

    fn begin_trading(&mut self) {
        self.phase = Phase::EndOfMarketHours;
        self.phase_due_ns = u64::MAX;
        if let Some(schedule) = self.schedule() {
            self.phase_due_ns = schedule.market_close_ns.max(self.offset_ns);
            self.noiis = Noiis {
                at: 0,
                cross_type: b'C',
                until_ns: schedule.market_close_ns,
                due_ns: schedule.closing_noii_ns.max(self.offset_ns),
            };
        }
        self.schedule_halt();
    }

    fn advance_noiis(&mut self, out: &mut Vec<u8>) {
        let Noiis {
            at,
            cross_type,
            until_ns,
            due_ns,
        } = self.noiis;
        let Some(schedule) = self.schedule() else {
            self.noiis = Noiis::NONE;
            return;
        };
        let fast_for_ns = match cross_type {
            b'O' => schedule.opening_fast_for_ns,
            _ => schedule.closing_fast_for_ns,
        };
        let round = if until_ns.saturating_sub(due_ns) <= fast_for_ns {
            schedule.noii_fast_ns
        } else {
            schedule.noii_each_ns
        };
        let each = (round / self.instruments.len() as u64).max(1);
        self.noiis.at = (at + 1) % self.instruments.len();
        self.noiis.due_ns = due_ns.saturating_add(each);
        let instrument = &self.instruments[at];
        if instrument.state == State::Trading && instrument.accepts() {
            self.noii(at, cross_type, out);
        }
    }

    fn purge_gap(&self) -> u64 {
        let orders: u64 = self
            .instruments
            .iter()
            .map(|instrument| instrument.book.live().len() as u64)
            .sum();
        let time = self
            .schedule()
            .map_or(0, |schedule| schedule.end_ns - schedule.system_close_ns);
        (time / (orders + 1)).min(PURGE_GAP_NS)
    }

    /// Deletes one order; where there is none left, the next instrument is next.
    fn purge(&mut self, at: usize, out: &mut Vec<u8>) {
        let Some(instrument) = self.instruments.get(at) else {
            let due = self.schedule().map_or(0, |schedule| schedule.end_ns);
            return self.follow_at(due, Phase::EndOfMessages);
        };
        match instrument.book.live().last() {
            Some(&slot) => {
                self.delete(at, slot, out);
                self.follow(Phase::Purge { at });
            }
            None => self.phase = Phase::Purge { at: at + 1 },
        }
    }
}

const _: () = assert!(POSITIONS <= MPIDS.len());
