//! The configuration as the feed's types.

use std::time::Duration;

use tickcast_codecs::types::Text;
use tickcast_feed::arbiter::ArbiterConfig;
use tickcast_feed::receiver;
use tickcast_feed::recovery::RecoveryConfig;
use tickcast_feed::shard::ShardConfig;
use tickcast_feed::snapshot::{LoaderConfig, Share};
use tickcast_feed::socket::JoinConfig;
use tickcast_feed::startup::{Policy, ThreadConfig};

use super::{Channel, Line, Pin, Recovery, Wait};

/// What the doubling of `request_timeout` ends at.
const TIMEOUT_FACTOR_MAX: u64 = 16;

impl Channel {
    /// What a line's socket joins.
    pub(crate) fn join(&self, line: &Line) -> JoinConfig {
        JoinConfig {
            sources: line.sources.clone(),
            source_specific: line.source_specific,
            receive_buffer_bytes: size(self.receive_buffer.0),
            busy_poll_us: self.busy_poll_us(),
            ..JoinConfig::any_source(line.group, line.interface.clone())
        }
    }

    /// What the channel's thread of this number asks of the system: 0 is the receiver.
    pub(crate) fn thread(&self, number: usize) -> ThreadConfig {
        ThreadConfig {
            core: self.cores.get(number).copied(),
            policy: match self.pin {
                Pin::Require => Policy::Refuse,
                Pin::Warn => Policy::Warn,
            },
            realtime_priority: self.realtime_priority,
            lock_memory: self.memlock,
            receive_buffer_bytes: size(self.receive_buffer.0),
            receive_buffer_bytes_min: size(self.receive_buffer_min.0),
            busy_poll_us: self.busy_poll_us(),
        }
    }

    fn busy_poll_us(&self) -> u32 {
        let micros = self.busy_poll.map_or(0, |time| time.0 / 1_000);
        u32::try_from(micros).unwrap_or(u32::MAX)
    }

    /// How its threads wait.
    pub(crate) fn wait(&self) -> receiver::Wait {
        match self.wait {
            Wait::Sleep => receiver::Wait::Sleep,
            Wait::Adaptive => receiver::Wait::Adaptive {
                spin: Duration::from_nanos(self.spin.map_or(0, |time| time.0)),
            },
            Wait::Spin => receiver::Wait::Spin,
        }
    }

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
    /// How a shard's loader loads.
    pub(crate) fn loader(&self, shard: &ShardConfig) -> LoaderConfig {
        LoaderConfig {
            protocol: shard.protocol,
            number: shard.number,
            venue: shard.venue,
            share: shard.share,
            username: Text::from_padded(self.username.as_bytes()),
            password: Text::from_padded(self.password.reveal().as_bytes()),
            same_session: self.snapshot_same_session,
        }
    }

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
