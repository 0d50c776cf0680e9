//! Halts: of news, after a leap of the price, and of the exchange's own making; one instrument at a time,
//! and never the first.
//!
//! | halt | messages |
//! | --- | --- |
//! | news | `H` halted `T1`, `H` quotation `T3`, imbalances, cross `H`, `H` trading |
//! | limit up, limit down | `H` paused `LUDP`, collar `J`, `H` quotation `T7`, imbalances, cross `H`, `H` trading |
//! | operational | `h` halted, `h` resumed |

use super::config::SECOND_NS;
use super::instrument::{Interest, State};
use super::{Day, Market};

#[derive(Debug, Clone)]
pub(super) struct Halt {
    at: usize,
    stage: Stage,
    /// [`u64::MAX`] where there won't be another.
    pub(super) due_ns: u64,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is halted.
    Begin,
    Collar,
    Quotation,
    Noii {
        left: u32,
    },
    Cross,
    /// The cross is under way, or done: the next halt is to be planned.
    Crossed,
    OperationalResume,
}

/// How long things take.
#[derive(Debug, Clone, Copy)]
struct Times {
    mean_ns: u64,
    halted_ns: u64,
    noii_each_ns: u64,
    /// No halt begins from here on.
    until_ns: u64,
}

const NOII_COUNT: u32 = 5;
/// Of eight halts so many are of news, and the next so many pauses; the rest is operational.
const NEWS: u32 = 4;
const PAUSES: u32 = 3;

impl Halt {
    pub(super) fn none() -> Self {
        Self {
            at: 0,
            stage: Stage::Begin,
            due_ns: u64::MAX,
        }
    }

    /// Whether an instrument is halted, or about to be released.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.stage, Stage::Begin | Stage::Crossed)
    }
}

impl Market {
    /// Plans the next halt.
    pub(super) fn schedule_halt(&mut self) {
        let times = self.halt_times();
        let due = self
            .offset_ns
            .saturating_add(self.random.exponential(mean(times.mean_ns)));
        let takes = times.halted_ns + (u64::from(NOII_COUNT) + 2) * times.noii_each_ns;
        let possible = self.instruments.len() > 1 && due.saturating_add(takes) < times.until_ns;
        self.halt.stage = Stage::Begin;
        self.halt.due_ns = if possible { due } else { u64::MAX };
    }

    fn halt_times(&self) -> Times {
        match self.config.day {
            Day::Continuous => Times {
                mean_ns: 45 * SECOND_NS,
                halted_ns: 3 * SECOND_NS,
                noii_each_ns: SECOND_NS,
                until_ns: u64::MAX,
            },
            Day::Whole(schedule) => Times {
                mean_ns: schedule.halt_mean_ns,
                halted_ns: schedule.halted_ns,
                noii_each_ns: schedule.noii_fast_ns,
                until_ns: schedule.closing_noii_ns,
            },
        }
    }

    pub(super) fn advance_halt(&mut self, out: &mut Vec<u8>) {
        let Halt { at, stage, .. } = self.halt;
        let times = self.halt_times();
        let (stage, wait) = match stage {
            Stage::Begin => (self.begin_halt(out), times.halted_ns),
            Stage::Collar => {
                let fair = self.instruments[at].fair_tick();
                self.tell_collar(at, fair, out);
                (Stage::Quotation, times.halted_ns)
            }
            Stage::Quotation => {
                let reason = match self.instruments[at].state {
                    State::Paused => *b"T7  ",
                    _ => *b"T3  ",
                };
                self.set_state(at, State::Quotation, reason, out);
                self.instruments[at].interest = Interest::default();
                (Stage::Noii { left: NOII_COUNT }, times.noii_each_ns)
            }
            Stage::Noii { left } => {
                self.noii(at, b'H', out);
                let stage = match left {
                    ..2 => Stage::Cross,
                    _ => Stage::Noii { left: left - 1 },
                };
                (stage, times.noii_each_ns)
            }
            Stage::Cross => {
                self.begin_cross(at, b'H', out);
                (Stage::Crossed, 0)
            }
            Stage::Crossed => return self.schedule_halt(),
            Stage::OperationalResume => {
                self.instruments[at].operational = Some(b'T');
                self.tell_operational_halt(at, out);
                return self.schedule_halt();
            }
        };
        self.halt.stage = stage;
        self.halt.due_ns = match stage {
            // The collar is told with the pause.
            Stage::Collar => self.offset_ns,
            _ => self.offset_ns.saturating_add(wait),
        };
    }

    fn begin_halt(&mut self, out: &mut Vec<u8>) -> Stage {
        let at = 1 + self.random.index(self.instruments.len() - 1);
        self.halt.at = at;
        match self.random.below(8) {
            ..NEWS => {
                self.set_state(at, State::Halted, *b"T1  ", out);
                Stage::Quotation
            }
            draw if draw < NEWS + PAUSES => {
                self.set_state(at, State::Paused, *b"LUDP", out);
                Stage::Collar
            }
            _ => {
                self.instruments[at].operational = Some(b'H');
                self.tell_operational_halt(at, out);
                Stage::OperationalResume
            }
        }
    }

    /// After the cross.
    pub(super) fn resume(&mut self, at: usize, out: &mut Vec<u8>) {
        self.set_state(at, State::Trading, *b"    ", out);
    }

    fn set_state(&mut self, at: usize, state: State, reason: [u8; 4], out: &mut Vec<u8>) {
        let instrument = &mut self.instruments[at];
        (instrument.state, instrument.reason) = (state, reason);
        self.tell_trading_action(at, out);
    }
}

/// Halts are hours apart at most: exact as a double.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn mean(ns: u64) -> f64 {
    ns as f64
}
