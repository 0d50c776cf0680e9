//! Which core each thread of a measurement is pinned to, and what it got of it.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tickcast_feed::startup::ThreadConfig;

/// Cores that the calling thread may use.  A pinned thread has one only, so ask before.
#[must_use]
pub fn usable_cores() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    cores.into_iter().map(|core| core.id).collect()
}

/// The cores of a measurement, in the order in which threads take their seats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores(Vec<usize>);

impl Cores {
    /// These, or all that can be used.  They have to be chosen before any thread is pinned.
    ///
    /// # Errors
    ///
    /// The first core that can't be used.
    pub fn choose(asked: &[usize]) -> Result<Self, usize> {
        let usable = usable_cores();
        if let Some(&missing) = asked.iter().find(|core| !usable.contains(core)) {
            return Err(missing);
        }
        Ok(Self(match asked {
            [] => usable,
            asked => asked.to_vec(),
        }))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The core of the thread with this seat; those that come after the last core share it.
    #[must_use]
    pub fn seat(&self, seat: usize) -> Option<usize> {
        self.0.get(seat).or(self.0.last()).copied()
    }
}

/// Pins the calling thread and says, for people, whether it is.
#[must_use]
pub fn pin(core: Option<usize>) -> String {
    let asked = ThreadConfig {
        core,
        ..ThreadConfig::default()
    };
    asked.apply(None).to_string()
}

/// What a thread got while something was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreadUse {
    /// What it does.
    pub name: String,
    /// Where it ran.
    pub pinned: String,
    /// Part of the time that it was on its core.
    pub on_core: Option<f64>,
    /// Part of the time that it wanted to be and another thread was.
    pub kept_waiting: Option<f64>,
}

/// A thread whose use of its core is followed.
#[derive(Debug, Clone)]
pub struct Followed {
    name: &'static str,
    pinned: String,
    statistics: Option<PathBuf>,
    at: Option<Used>,
}

/// Since the thread's start, ns.
#[derive(Debug, Clone, Copy)]
struct Used {
    on_core: u64,
    kept_waiting: u64,
}

impl Followed {
    /// The calling thread, pinned.
    #[must_use]
    pub fn pinned(name: &'static str, core: Option<usize>) -> Self {
        // The kernel names it as process/task/thread.
        let task = fs::read_link("/proc/thread-self").ok();
        Self {
            name,
            pinned: pin(core),
            statistics: task.map(|task| PathBuf::from("/proc").join(task).join("schedstat")),
            at: None,
        }
    }

    fn used(&self) -> Option<Used> {
        let text = fs::read_to_string(self.statistics.as_ref()?).ok()?;
        let mut numbers = text.split_whitespace().map(str::parse);
        Some(Used {
            on_core: numbers.next()?.ok()?,
            kept_waiting: numbers.next()?.ok()?,
        })
    }

    /// From here on it counts.
    pub fn begin(&mut self) {
        self.at = self.used();
    }

    /// What it got in `ns` since [`begin`](Self::begin).
    #[must_use]
    pub fn end(&self, ns: u64) -> ThreadUse {
        let both = self.at.zip(self.used());
        let part = |of: fn(Used) -> u64| {
            let (before, after) = both?;
            Some(of(after).saturating_sub(of(before)) as f64 / ns.max(1) as f64)
        };
        ThreadUse {
            name: self.name.to_owned(),
            pinned: self.pinned.clone(),
            on_core: part(|used| used.on_core),
            kept_waiting: part(|used| used.kept_waiting),
        }
    }
}
