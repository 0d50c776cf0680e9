//! The configuration as the feed's types.

use tickcast_feed::arbiter::ArbiterConfig;
use tickcast_feed::recovery::RecoveryConfig;
use tickcast_feed::shard::ShardConfig;
use tickcast_feed::snapshot::Share;

use super::{Channel, Recovery};

/// What the doubling of `request_timeout` ends at.
const TIMEOUT_FACTOR_MAX: u64 = 16;

impl Channel {
    /// One of the channel's shards; `number` is the upper half of its instrument ids.
    pub(crate) fn shard(&self, number: u16, share: Share) -> ShardConfig {
        let recovery = &self.recovery;
        ShardConfig {
            share,
            arbiter: ArbiterConfig {
                lines: count(self.lines.len()),
                reorder_wait_ns: recovery.reorder_wait.0,
                held_messages_max: size(recovery.held_messages_max),
                held_bytes_max: size(recovery.held_bytes_max.0),
                line_silent_ns: recovery.line_silent.0,
                line_down_ns: recovery.line_down.0,
                ..ArbiterConfig::default()
            },
            recovery: recovery.config(),
            ..ShardConfig::new(self.protocol, number, &self.venue)
        }
    }
}

impl Recovery {
    /// What a shard takes over while it runs.
    pub(crate) fn config(&self) -> RecoveryConfig {
        RecoveryConfig {
            request_servers: count(self.request_servers.len()),
            snapshot_servers: count(self.snapshot_servers.len()),
            request_timeout_ns: self.request_timeout.0,
            request_timeout_ns_max: self.request_timeout.0 * TIMEOUT_FACTOR_MAX,
            request_attempts_max: u32::try_from(self.request_attempts_max).unwrap_or(u32::MAX),
            requests_per_second_max: u32::try_from(self.requests_per_second_max)
                .unwrap_or(u32::MAX),
            gap_age_ns_max: self.gap_age_max.0,
            snapshot_attempts_max: u32::try_from(self.snapshot_attempts_max).unwrap_or(u32::MAX),
            ..RecoveryConfig::default()
        }
    }
}

/// Of lists that the reader bounds.
fn count(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
