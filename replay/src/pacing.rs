//! When a recorded packet is due at a chosen speed.
//!
//! [`Pacer`] keeps the recording's own spacing: two packets that were recorded `d` apart are due
//! `d / speed` apart, measured from a fixed origin, so rounding doesn't add up over a day.  It reads
//! no clock and never sleeps: the caller brings `now` (monotonic nanoseconds) and does the waiting.
//!
//! A caller that falls behind is never told to wait until it has caught up; nothing is left out.

use core::fmt;
use core::str::FromStr;

/// How fast a recording is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Speed {
    /// So many times as fast as it was recorded.
    Factor(Factor),
    /// Without waiting.
    Max,
}

impl Speed {
    /// As fast as it was recorded.
    pub const REAL_TIME: Self = Self::Factor(Factor(Factor::ONE));
}

impl FromStr for Speed {
    type Err = SpeedError;

    /// From `max`, or a decimal greater than 0 with up to six digits after the point.
    ///
    /// # Errors
    /// If the text is neither.
    fn from_str(text: &str) -> Result<Self, SpeedError> {
        if text.eq_ignore_ascii_case("max") {
            return Ok(Self::Max);
        }
        decimal_millionths(text)
            .and_then(Factor::from_millionths)
            .map(Self::Factor)
            .ok_or_else(|| SpeedError { text: text.into() })
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Factor(factor) => factor.fmt(f),
            Self::Max => f.write_str("max"),
        }
    }
}

/// A multiple of the recorded speed: a number of millionths from 1 to 10^12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Factor(u64);

impl Factor {
    const ONE: u64 = 1_000_000;
    const MAX: u64 = 1_000_000 * Self::ONE;

    /// From millionths: 500,000 is half the recorded speed.  `None` outside 1 to 10^12.
    #[must_use]
    pub const fn from_millionths(millionths: u64) -> Option<Self> {
        if millionths == 0 || millionths > Self::MAX {
            None
        } else {
            Some(Self(millionths))
        }
    }

    /// The factor in millionths.
    #[must_use]
    pub const fn millionths(self) -> u64 {
        self.0
    }

    /// How long a recorded span lasts at this speed.  Saturates: 584 years.
    fn scale(self, recorded_ns: u64) -> u64 {
        let ns = u128::from(recorded_ns) * u128::from(Self::ONE) / u128::from(self.0);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, millionths) = (self.0 / Self::ONE, self.0 % Self::ONE);
        if millionths == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{millionths:06}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// A speed that isn't one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeedError {
    text: String,
}

impl fmt::Display for SpeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a speed is \"max\" or a decimal number from 0.000001 to 1000000, such as 1, 0.5 or 10; \
             {:?} is neither",
            self.text
        )
    }
}

impl core::error::Error for SpeedError {}

/// Decides when each packet of a recording is due.
#[derive(Debug, Clone)]
pub struct Pacer {
    speed: Speed,
    idle_max_ns: u64,
    started: Option<Started>,
    backwards: u64,
}

/// Recorded time and replay time, tied together.
#[derive(Debug, Clone, Copy)]
struct Started {
    /// Recorded time of the origin.
    origin_ts: u64,
    /// Monotonic time at which the origin was due.
    origin_due: u64,
    /// Latest recorded time since the origin.
    latest_ts: u64,
    /// When that was due.
    latest_due: u64,
}

impl Pacer {
    /// A pacer whose first packet is due at once.
    #[must_use]
    pub const fn new(speed: Speed) -> Self {
        Self {
            speed,
            idle_max_ns: u64::MAX,
            started: None,
            backwards: 0,
        }
    }

    /// Shortens every pause to at most so many nanoseconds of waiting: nights, halts, the time between
    /// two recordings in one file.
    #[must_use]
    pub const fn with_idle_max(mut self, idle_max_ns: u64) -> Self {
        self.idle_max_ns = idle_max_ns;
        self
    }

    /// Takes the next packet in file order and tells how many nanoseconds from `now` it is due; 0 if
    /// it is due already.
    ///
    /// Time that goes back a little is two lines interleaved, and the packet is due with the one
    /// before it.  Time that goes back by more than [`BACKWARDS_NS_MAX`] is another recording, or a
    /// clock that was set: replay goes on from there without a pause.
    pub fn wait_ns(&mut self, ts_recv: u64, now: u64) -> u64 {
        let factor = match self.speed {
            Speed::Max => return 0,
            Speed::Factor(factor) => factor,
        };
        let Some(started) = &mut self.started else {
            self.started = Some(Started {
                origin_ts: ts_recv,
                origin_due: now,
                latest_ts: ts_recv,
                latest_due: now,
            });
            return 0;
        };
        if ts_recv < started.latest_ts {
            self.backwards = self.backwards.saturating_add(1);
            if started.latest_ts - ts_recv > BACKWARDS_NS_MAX {
                started.origin_ts = ts_recv;
                started.origin_due = started.latest_due;
                started.latest_ts = ts_recv;
            }
            return started.latest_due.saturating_sub(now);
        }
        let mut due = started
            .origin_due
            .saturating_add(factor.scale(ts_recv - started.origin_ts));
        if due.saturating_sub(started.latest_due) > self.idle_max_ns {
            due = started.latest_due.saturating_add(self.idle_max_ns);
            started.origin_ts = ts_recv;
            started.origin_due = due;
        }
        started.latest_ts = ts_recv;
        started.latest_due = due;
        due.saturating_sub(now)
    }

    /// How far the caller is behind the recording at `now`: 0 at [`Speed::Max`], and while it waits.
    #[must_use]
    pub fn behind_ns(&self, now: u64) -> u64 {
        self.started
            .map_or(0, |started| now.saturating_sub(started.latest_due))
    }

    /// How many packets were recorded at an earlier time than one before them.
    #[must_use]
    pub const fn backwards(&self) -> u64 {
        self.backwards
    }
}

/// Recorded time may go back by this much and still be one recording: 1 s.
pub const BACKWARDS_NS_MAX: u64 = 1_000_000_000;

/// A plain decimal as millionths, exactly; `None` if it isn't one or is finer than that.
fn decimal_millionths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty())
        || (text.ends_with('.'))
        || fraction.len() > 6
        || !digits(whole)
        || !digits(fraction)
    {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let fraction: u64 = format!("{fraction:0<6}").parse().ok()?;
    whole.checked_mul(Factor::ONE)?.checked_add(fraction)
}
