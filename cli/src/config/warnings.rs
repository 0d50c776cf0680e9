//! What is allowed and probably not meant: told by `check-config` and at the start, never refused.

use std::fs;

use tickcast_codecs::protocol::Protocol;

use super::{Channel, Config, Pin, Wait};

/// What the machine grants, as far as it says so without being asked for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Cores that a thread can be pinned to.
    pub(crate) cores: Vec<usize>,
    /// Cores that the kernel leaves alone (`isolcpus`); `None` = it doesn't say.
    pub(crate) isolated: Option<Vec<usize>>,
    /// The largest receive buffer without privileges, in bytes.
    pub(crate) receive_buffer_max: Option<u64>,
    /// The highest real-time priority without privileges.
    pub(crate) priority_max: Option<u64>,
    /// The memory that can be locked, in bytes.
    pub(crate) memlock_max: Option<u64>,
}

impl Machine {
    /// This one.
    pub(crate) fn this() -> Self {
        let number = |path| fs::read_to_string(path).ok()?.trim().parse().ok();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self {
            cores: core_affinity::get_core_ids()
                .unwrap_or_default()
                .into_iter()
                .map(|core| core.id)
                .collect(),
            isolated: fs::read_to_string("/sys/devices/system/cpu/isolated")
                .ok()
                .map(|text| cores(&text)),
            receive_buffer_max: number("/proc/sys/net/core/rmem_max"),
            priority_max: limit(&limits, "Max realtime priority"),
            memlock_max: limit(&limits, "Max locked memory"),
        }
    }
}

/// `0-3,8` as a list.
fn cores(text: &str) -> Vec<usize> {
    text.trim()
        .split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

/// The soft limit of one line of `/proc/self/limits`.
fn limit(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        soft => soft.parse().ok(),
    }
}

/// A sentence each.
pub(crate) fn warnings(config: &Config, machine: &Machine) -> Vec<String> {
    let mut warnings = Vec::new();
    if !config.listen.ip().is_loopback() {
        warnings.push(format!(
            "listen = {}: other machines can connect, without TLS and without tokens",
            config.listen
        ));
    }
    for channel in &config.channels {
        let mut told = Vec::new();
        recovery(channel, &mut told);
        host(channel, machine, &mut told);
        warnings.extend(
            told.into_iter()
                .map(|text| format!("{}: {text}", channel.name)),
        );
    }
    warnings
}

fn recovery(channel: &Channel, told: &mut Vec<String>) {
    let recovery = &channel.recovery;
    if channel.lines.len() == 1 {
        told.push("no second line: whatever this one loses has to be recovered".to_owned());
    }
    let requests = !recovery.request_servers.is_empty();
    let snapshots = !recovery.snapshot_servers.is_empty();
    match (requests, snapshots) {
        (false, false) => told.push(
            "no request server and no snapshot server: a gap leaves the books stale until the next session"
                .to_owned(),
        ),
        (true, false) => told.push(
            "no snapshot server: a gap that requests don't fill, or a start in the middle of the day, leaves the books stale"
                .to_owned(),
        ),
        (false, true) => told.push("no request server: every gap costs a snapshot".to_owned()),
        (true, true) => {}
    }
    let is_glimpse = channel.protocol == Protocol::MoldUdp64Itch50;
    if snapshots && is_glimpse && recovery.password_file.is_none() {
        told.push("no password_file: the snapshot servers get an empty password".to_owned());
    }
}

fn host(channel: &Channel, machine: &Machine, told: &mut Vec<String>) {
    for line in &channel.lines {
        if let Err(error) = line.interface.resolve() {
            told.push(format!("line {}: {error}", line.name));
        }
    }
    if let Some(max) = machine.receive_buffer_max
        && channel.receive_buffer.0 > max
    {
        told.push(format!(
            "receive_buffer = {} is above net.core.rmem_max = {max} bytes: without CAP_NET_ADMIN the kernel grants no more than that",
            channel.receive_buffer
        ));
    }
    if channel.wait == Wait::Spin && channel.cores.is_empty() {
        told.push("wait = \"spin\" without cores: it takes whichever core it is put on".to_owned());
    }
    let unknown: Vec<&usize> = channel
        .cores
        .iter()
        .filter(|core| !machine.cores.contains(core))
        .collect();
    if channel.pin == Pin::Warn && !unknown.is_empty() {
        told.push(format!(
            "cores {unknown:?} can't be had: this machine lets us use {:?}",
            machine.cores
        ));
    }
    if let Some(isolated) = &machine.isolated {
        let shared: Vec<&usize> = channel
            .cores
            .iter()
            .filter(|core| !isolated.contains(core))
            .collect();
        if !shared.is_empty() {
            told.push(format!(
                "cores {shared:?} aren't isolated (isolcpus): the kernel may run other threads there"
            ));
        }
    }
    if let (Some(asked), Some(max)) = (channel.realtime_priority, machine.priority_max)
        && u64::from(asked) > max
    {
        told.push(format!(
            "realtime_priority = {asked} is above this user's limit, {max} (ulimit -r)"
        ));
    }
    if channel.memlock && machine.memlock_max.is_some_and(|max| max != u64::MAX) {
        told.push("memlock: this user's limit isn't unlimited (ulimit -l)".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_and_limits_are_read_as_the_kernel_writes_them() {
        assert_eq!(cores("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(cores("\n"), [0usize; 0]);
        let text = "Max locked memory         8388608              unlimited            bytes\n\
                    Max realtime priority     0                    0\n";
        assert_eq!(limit(text, "Max locked memory"), Some(8_388_608));
        assert_eq!(limit(text, "Max realtime priority"), Some(0));
        assert_eq!(limit(text, "Max nonsense"), None);
    }
}
