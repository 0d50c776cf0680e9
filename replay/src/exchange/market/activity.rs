//! Whose turn it is, when, and with what: the activity of the instruments, the pace, and the mix.

use super::config::{Mix, Pace, SECOND_NS};
use crate::random::{Random, to_whole};

/// Draws instruments by their weights, in constant time: Walker's alias method, in integers.
#[derive(Debug, Clone)]
pub(super) struct Activity {
    columns: Vec<Column>,
}

/// A share of `1 / n` of all draws: below `keep` of 2^32 the column's own instrument, else the other.
#[derive(Debug, Clone, Copy)]
struct Column {
    keep: u32,
    other: u32,
}

impl Activity {
    pub(super) fn new(weights: &[u64]) -> Self {
        let sum = weights.iter().map(|&weight| u128::from(weight)).sum();
        let mut columns = vec![
            Column {
                keep: u32::MAX,
                other: 0,
            };
            weights.len()
        ];
        // Each column holds `sum`; a weight counts n-fold.
        let mut left: Vec<u128> = weights
            .iter()
            .map(|&weight| u128::from(weight) * weights.len() as u128)
            .collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|&at| left[at] < sum);
        while let (Some(at), Some(&other)) = (small.pop(), large.last()) {
            columns[at] = Column {
                keep: u32::try_from((left[at] << 32) / sum.max(1)).unwrap_or(u32::MAX),
                other: u32::try_from(other).unwrap_or(0),
            };
            left[other] -= sum - left[at];
            if left[other] < sum {
                large.pop();
                small.push(other);
            }
        }
        Self { columns }
    }

    pub(super) fn pick(&self, random: &mut Random) -> usize {
        let at = random.index(self.columns.len());
        match self.columns.get(at) {
            Some(column) if random.below(u32::MAX) >= column.keep => column.other as usize,
            _ => at,
        }
    }
}

/// When the next order message is due.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pace: Pace,
    /// Mean distance of two messages at the full rate.
    mean_ns: f64,
    due_ns: u64,
    /// When market hours began; `u64::MAX` before.
    opened_ns: u64,
    /// What is less than a nanosecond.
    fraction: f64,
    /// The instrument of a fast stretch of [`Pace::Natural`].
    burst: Option<usize>,
}

/// In a fast stretch messages come this much faster; a fifth of all messages does.
const BURST_SPEED: f64 = 5.0;
const BURST_BEGINS_ONE_IN: u32 = 400;
const BURST_ENDS_ONE_IN: u32 = 100;

impl Flow {
    pub(super) fn new(pace: Pace, messages_per_second: u32) -> Self {
        Self {
            pace,
            mean_ns: 1e9 / f64::from(messages_per_second),
            due_ns: 0,
            opened_ns: u64::MAX,
            fraction: 0.0,
            burst: None,
        }
    }

    pub(super) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    pub(super) fn burst(&self) -> Option<usize> {
        self.burst
    }

    /// Nothing is owed from before.
    pub(super) fn begin(&mut self, now: u64) {
        self.due_ns = self.due_ns.max(now);
    }

    /// Market hours begin.
    pub(super) fn open(&mut self, now: u64) {
        self.begin(now);
        self.opened_ns = now;
    }

    /// One message of the flow was told; `slow` times the mean distance to the next.
    pub(super) fn advance(&mut self, slow: f64, random: &mut Random, activity: &Activity) {
        let mean = self.mean_ns * slow;
        self.due_ns += match self.pace {
            Pace::Natural => {
                let speed = self.natural_speed(random, activity);
                random.exponential(mean * speed)
            }
            Pace::Constant => self.whole(mean),
            Pace::Bursts {
                every_ns,
                for_ns,
                times,
            } => {
                let (every, length) = (to_float(every_ns.max(1)), to_float(for_ns));
                let times = f64::from(times.max(1));
                if self.due_ns % every_ns.max(1) < for_ns {
                    self.whole(mean / times)
                } else {
                    // What the bursts leave of the mean, or a thousandth of it.
                    let left = (every - times * length) / (every - length);
                    self.whole(mean / left.max(0.001))
                }
            }
            Pace::Step {
                idle_per_second,
                after_ns,
            } if self.due_ns < self.opened_ns.saturating_add(after_ns) => {
                let step_ns = self.opened_ns.saturating_add(after_ns);
                let idle = SECOND_NS / u64::from(idle_per_second.max(1));
                idle.min(step_ns - self.due_ns).max(1)
            }
            Pace::Step { .. } => self.whole(mean),
        };
    }

    fn natural_speed(&mut self, random: &mut Random, activity: &Activity) -> f64 {
        if self.burst.is_some() {
            if random.one_in(BURST_ENDS_ONE_IN) {
                self.burst = None;
            }
            return 1.0 / BURST_SPEED;
        }
        if random.one_in(BURST_BEGINS_ONE_IN) {
            self.burst = Some(activity.pick(random));
        }
        // A fifth of the messages takes a fifth of its share of time; these take the rest.
        (1.0 - 0.2 / BURST_SPEED) / 0.8
    }

    /// Whole nanoseconds, the rest being kept for the next message.
    fn whole(&mut self, ns: f64) -> u64 {
        let exact = ns + self.fraction;
        let whole = to_whole(exact);
        self.fraction = exact - to_float(whole);
        whole
    }
}

/// Times as used here are far below 2^53 ns, which are 104 days.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn to_float(ns: u64) -> f64 {
    ns as f64
}

/// What an event of an instrument is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Replace,
    Execute,
    Cancel,
    HiddenTrade,
    /// An addition or a deletion, whichever the book needs.
    AddOrDelete,
}

/// Keeps the mix: a kind is drawn only while less of it was told than its share.
///
/// So whatever the state of the books turns a draw into, the shares come out.
#[derive(Debug, Clone)]
pub(super) struct Quotas {
    shares: [u32; 4],
    /// In ten-thousandths of a message.
    credits: [i64; 4],
}

const KINDS: [Kind; 4] = [
    Kind::Replace,
    Kind::Execute,
    Kind::Cancel,
    Kind::HiddenTrade,
];
const WHOLE: i64 = 10_000;
/// Where a kind was impossible for long, it isn't made up for at once.
const CREDIT_MAX: i64 = 100 * WHOLE;

impl Quotas {
    pub(super) fn new(mix: Mix) -> Self {
        Self {
            shares: [mix.replaces, mix.executes, mix.cancels, mix.hidden_trades]
                .map(|share| share.min(10_000)),
            credits: [0; 4],
        }
    }

    /// A message of the flow is told: each kind is entitled to its share of it.
    pub(super) fn advance(&mut self) {
        for (credit, share) in self.credits.iter_mut().zip(self.shares) {
            *credit = (*credit + i64::from(share)).min(CREDIT_MAX);
        }
    }

    /// A message of this kind was told.
    pub(super) fn spend(&mut self, kind: Kind) {
        if let Some(at) = KINDS.iter().position(|&other| other == kind) {
            self.credits[at] = (self.credits[at] - WHOLE).max(-CREDIT_MAX);
        }
    }

    pub(super) fn may_execute(&self) -> bool {
        self.credits[1] > 0
    }

    /// Each kind twice as often as its share, if it has credit.
    pub(super) fn draw(&self, random: &mut Random) -> Kind {
        let mut draw = random.below(10_000);
        for (at, &share) in self.shares.iter().enumerate() {
            match draw.checked_sub(2 * share) {
                Some(rest) => draw = rest,
                None if self.credits[at] > 0 => return KINDS[at],
                None => break,
            }
        }
        Kind::AddOrDelete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruments_are_picked_by_their_weights() {
        let weights = [8, 4, 2, 1, 1];
        let activity = Activity::new(&weights);
        let mut random = Random::new(9);
        let mut seen = [0_u32; 5];
        for _ in 0..160_000 {
            seen[activity.pick(&mut random)] += 1;
        }
        for (seen, weight) in seen.iter().zip([8, 4, 2, 1, 1]) {
            assert!(seen.abs_diff(weight * 10_000) < 600, "{seen} of {weight}");
        }
    }

    #[test]
    fn one_instrument_is_always_picked() {
        let activity = Activity::new(&[7]);
        assert_eq!(activity.pick(&mut Random::new(1)), 0);
    }

    /// Messages in each of `windows` windows of `window_ns`.
    fn histogram(pace: Pace, window_ns: u64, windows: usize) -> Vec<u32> {
        let activity = Activity::new(&[1]);
        let mut random = Random::new(5);
        let mut flow = Flow::new(pace, 100_000);
        flow.open(0);
        let mut seen = vec![0; windows];
        while let Some(count) = seen.get_mut(usize::try_from(flow.due_ns() / window_ns).unwrap()) {
            *count += 1;
            flow.advance(1.0, &mut random, &activity);
        }
        seen
    }

    #[test]
    fn a_constant_pace_is_constant() {
        let seen = histogram(Pace::Constant, 1_000_000, 1_000);
        assert!(seen.iter().all(|&n| n.abs_diff(100) <= 1), "{seen:?}");
    }

    #[test]
    fn a_microburst_is_so_many_times_the_mean_and_the_mean_stays() {
        let pace = Pace::Bursts {
            every_ns: 100_000_000,
            for_ns: 2_000_000,
            times: 20,
        };
        let seen = histogram(pace, 1_000_000, 1_000);
        let total: u32 = seen.iter().sum();
        assert!(total.abs_diff(100_000) < 1_000, "{total}");
        for (at, &n) in seen.iter().enumerate() {
            match at % 100 {
                // The last distance before a burst reaches into it.
                0 | 1 => assert!(n.abs_diff(2_000) <= 40, "{n} in ms {at}"),
                // 60 / 98 of the mean are left.
                _ => assert!(n.abs_diff(61) <= 2, "{n} in ms {at}"),
            }
        }
    }

    #[test]
    fn a_step_goes_from_idle_to_full() {
        let pace = Pace::Step {
            idle_per_second: 10,
            after_ns: 500_000_000,
        };
        let seen = histogram(pace, 100_000_000, 10);
        assert_eq!(seen[..5], [1; 5]);
        assert!(
            seen[5..].iter().all(|&n| n.abs_diff(10_000) <= 1),
            "{seen:?}"
        );
    }
}
