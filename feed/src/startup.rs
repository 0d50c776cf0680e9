//! What a thread asked of the system when it started, and what it got: an edge.
//!
//! Each thread asks once ([`ThreadConfig::apply`]) and gets a [`Startup`], one line for people.  What may be
//! missing is policy, not luck: [`Startup::check`] refuses before the first packet.

use std::fmt;

use nix::sys::mman::{MlockAllFlags, mlockall};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use crate::limits::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFER_BYTES_MIN};
use crate::receiver::Lines;
use crate::socket::Granted;

/// What happens if the system doesn't grant what a thread asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// It is said, and the thread runs.
    #[default]
    Warn,
    /// The thread doesn't start.
    Refuse,
}

/// What a thread asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadConfig {
    /// The core that the thread is pinned to.
    pub core: Option<usize>,
    /// If the thread can't be pinned, or doesn't get its priority or its memory.
    pub policy: Policy,
    /// First in, first out among real-time threads, with this priority (1 to 99).  A thread that never sleeps
    /// takes its core from everything else.
    pub realtime_priority: Option<u8>,
    /// Whether all memory of the process is kept from being paged out.
    pub lock_memory: bool,
    /// The receive buffer that each line asked for.
    pub receive_buffer_bytes: usize,
    /// The least that a line on a real interface starts with; on loopback less is only said.
    pub receive_buffer_bytes_min: usize,
    /// The busy polling that each line asked for, in microseconds.
    pub busy_poll_us: u32,
}

impl Default for ThreadConfig {
    fn default() -> Self {
        Self {
            core: None,
            policy: Policy::Warn,
            realtime_priority: None,
            lock_memory: false,
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
            receive_buffer_bytes_min: RECEIVE_BUFFER_BYTES_MIN,
            busy_poll_us: 0,
        }
    }
}

/// What a thread asked for and what it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    config: ThreadConfig,
    /// Why it isn't pinned, though asked.
    unpinned: Option<String>,
    /// Why it hasn't its priority, though asked.
    unprioritized: Option<String>,
    /// Why the memory isn't locked, though asked.
    unlocked: Option<String>,
    /// What each line's socket got.
    lines: Vec<Granted>,
}

/// Why a thread doesn't start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The system refused something that the policy doesn't let pass.
    NotGranted(String),
    /// A line's receive buffer is too small.
    ReceiveBuffer {
        /// The line.
        line: usize,
        /// What it got.
        granted: usize,
        /// What it needs.
        min: usize,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGranted(what) => f.write_str(what),
            Self::ReceiveBuffer { line, granted, min } => write!(
                f,
                "line {line} has a receive buffer of {} KiB, {} KiB are needed: raise \
                 net.core.rmem_max, or lower receive_buffer_bytes_min",
                granted / 1024,
                min / 1024
            ),
        }
    }
}

impl core::error::Error for Refusal {}

impl ThreadConfig {
    /// Asks for the calling thread.  `lines` are those that it receives, if it does.
    #[must_use]
    pub fn apply(self, lines: Option<&Lines>) -> Startup {
        Startup {
            unpinned: self
                .core
                .filter(|core| !pin(Some(*core)))
                .map(|core| format!("pinning to core {core} was refused")),
            unprioritized: self.realtime_priority.and_then(prioritize),
            unlocked: self.lock_memory.then(lock_memory).flatten(),
            lines: lines.map_or_else(Vec::new, |lines| {
                lines.sockets().iter().map(|line| line.granted()).collect()
            }),
            config: self,
        }
    }
}

impl Startup {
    /// Whether the thread may run.
    ///
    /// # Errors
    ///
    /// What is missing that must not be.
    pub fn check(&self) -> Result<(), Refusal> {
        let missing = [&self.unpinned, &self.unprioritized, &self.unlocked];
        if self.config.policy == Policy::Refuse
            && let Some(what) = missing.into_iter().flatten().next()
        {
            return Err(Refusal::NotGranted(what.clone()));
        }
        let min = self.config.receive_buffer_bytes_min;
        for (line, granted) in self.lines.iter().enumerate() {
            if !granted.is_loopback && granted.receive_buffer_bytes < min {
                return Err(Refusal::ReceiveBuffer {
                    line,
                    granted: granted.receive_buffer_bytes,
                    min,
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Startup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        match (config.core, &self.unpinned) {
            (None, _) => f.write_str("not pinned")?,
            (Some(core), None) => write!(f, "pinned to core {core}")?,
            (Some(_), Some(why)) => f.write_str(why)?,
        }
        match (config.realtime_priority, &self.unprioritized) {
            (None, _) => {}
            (Some(priority), None) => write!(f, ", real-time priority {priority}")?,
            (Some(_), Some(why)) => write!(f, ", {why}")?,
        }
        match (config.lock_memory, &self.unlocked) {
            (false, _) => {}
            (true, None) => f.write_str(", memory locked")?,
            (true, Some(why)) => write!(f, ", {why}")?,
        }
        let granted = self.lines.iter().map(|line| line.receive_buffer_bytes);
        if let Some(granted) = granted.min() {
            let (asked, min) = (config.receive_buffer_bytes, config.receive_buffer_bytes_min);
            write!(
                f,
                ", receive buffer {} KiB of {} KiB asked",
                granted / 1024,
                asked / 1024
            )?;
            if granted < min {
                write!(f, " (too small for a real interface: {} KiB)", min / 1024)?;
            }
        }
        if config.busy_poll_us > 0
            && let Some(granted) = self.lines.iter().map(|line| line.busy_poll_us).min()
        {
            let asked = config.busy_poll_us;
            write!(f, ", busy poll {granted} us of {asked} us asked")?;
        }
        Ok(())
    }
}

/// Pins the calling thread; says whether it is.
pub(crate) fn pin(core: Option<usize>) -> bool {
    // Only a core that the process may use: the system's set of cores has no place for a number beyond it.
    core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .find(|known| Some(known.id) == core)
        .is_some_and(core_affinity::set_for_current)
}

/// Makes it a real-time thread; says why not.
fn prioritize(priority: u8) -> Option<String> {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    ThreadPriorityValue::try_from(priority)
        .map_err(|why| why.to_owned())
        .and_then(|value| {
            let priority = ThreadPriority::Crossplatform(value);
            set_thread_priority_and_policy(thread_native_id(), priority, policy)
                .map_err(|error| format!("{error:?}"))
        })
        .err()
        .map(|why| format!("real-time priority {priority} was refused: {why}"))
}

/// Keeps the process in memory; says why not.
fn lock_memory() -> Option<String> {
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
        .err()
        .map(|error| format!("locking memory was refused: {error}"))
}
