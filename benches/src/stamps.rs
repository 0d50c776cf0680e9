//! Times as they are compared here: nanoseconds in 64 bits.
//!
//! Stamps that are compared with the kernel's are of the wall clock (`CLOCK_REALTIME`), which is what
//! `SO_TIMESTAMPNS` gives.  A step of that clock while something is measured shows as a stage of 0 or of seconds.

use std::time::Duration;

pub use tickcast_feed::receiver::wall_clock;

/// A duration.
#[must_use]
pub fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
