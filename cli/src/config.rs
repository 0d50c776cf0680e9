//! `tickcast.toml`: which channels to receive, and where to serve.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::Deserialize;
use tickcast_codecs::protocol::Protocol;
use tickcast_feed::limits::CHANNELS_MAX;
use tickcast_feed::receiver::Wait;

use crate::Failure;

/// The whole configuration.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where subscribers connect.
    pub(crate) listen: SocketAddr,
    /// The channels.
    pub(crate) channels: Vec<Channel>,
}

/// One channel of a venue.
#[derive(Debug)]
pub(crate) struct Channel {
    /// What subscribers see.
    pub(crate) name: String,
    /// Market identifier code.
    pub(crate) venue: String,
    /// The protocol.
    pub(crate) protocol: Protocol,
    /// Its lines.
    pub(crate) groups: Vec<SocketAddr>,
    /// The local interface that the groups are joined on.
    pub(crate) interface: IpAddr,
    /// The core that the thread is pinned to.
    pub(crate) core: Option<usize>,
    /// How the thread waits.
    pub(crate) wait: Wait,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "default_listen")]
    listen: SocketAddr,
    #[serde(default)]
    channel: Vec<FileChannel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileChannel {
    name: String,
    protocol: String,
    venue: Option<String>,
    groups: Vec<SocketAddr>,
    interface: IpAddr,
    core: Option<usize>,
    #[serde(default)]
    spin: bool,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

/// The cores that a thread can be pinned to.
fn cores() -> Vec<usize> {
    core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .map(|core| core.id)
        .collect()
}

impl Config {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Failed(format!("{shown}: {error}")))?;
        Self::parse(&text).map_err(|why| Failure::Failed(format!("{shown}: {why}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        if file.channel.is_empty() {
            return Err("channel: at least one [[channel]] is needed".to_owned());
        }
        if file.channel.len() > CHANNELS_MAX {
            return Err(format!("channel: at most {CHANNELS_MAX} are possible"));
        }
        let mut names = BTreeSet::new();
        let mut groups = BTreeSet::new();
        let mut channels = Vec::with_capacity(file.channel.len());
        for channel in file.channel {
            let name = channel.name;
            if name.is_empty() || !names.insert(name.clone()) {
                return Err(format!(
                    "name = {name:?}: it must be there once and not empty"
                ));
            }
            let protocol = crate::protocol(&channel.protocol)
                .map_err(|rule| format!("{name}: protocol = {:?}: {rule}", channel.protocol))?;
            let venue = channel.venue.unwrap_or_else(|| protocol.venue().to_owned());
            if venue.len() != 4
                || !venue
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
            {
                return Err(format!(
                    "{name}: venue = {venue:?}: a market identifier code has four letters or digits"
                ));
            }
            if protocol == Protocol::BinaryFileItch50 {
                return Err(format!(
                    "{name}: protocol = {:?}: a file format, not received by multicast",
                    channel.protocol
                ));
            }
            if let Some(core) = channel.core
                && !cores().contains(&core)
            {
                return Err(format!(
                    "{name}: core = {core}: this machine lets us use {:?}",
                    cores()
                ));
            }
            if channel.groups.is_empty() {
                return Err(format!("{name}: groups: at least one group:port is needed"));
            }
            for group in &channel.groups {
                if !group.ip().is_multicast() || group.port() == 0 {
                    return Err(format!(
                        "{name}: groups: {group} is no multicast group and port"
                    ));
                }
                if !groups.insert(*group) {
                    return Err(format!(
                        "{name}: groups: {group} belongs to another channel too"
                    ));
                }
            }
            channels.push(Channel {
                name,
                venue,
                protocol,
                groups: channel.groups,
                interface: channel.interface,
                core: channel.core,
                wait: if channel.spin {
                    Wait::Spin
                } else {
                    Wait::Sleep
                },
            });
        }
        Ok(Self {
            listen: file.listen,
            channels,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        listen = "127.0.0.1:9000"
        [[channel]]
        name = "totalview"
        protocol = "moldudp64/itch50"
        groups = ["233.54.12.111:26477"]
        interface = "127.0.0.1"
        core = 0
    "#;

    #[test]
    fn a_whole_channel_is_read() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(config.listen.port(), 9000);
        let channel = &config.channels[0];
        assert_eq!((channel.venue.as_str(), channel.core), ("XNAS", Some(0)));
        assert_eq!(channel.protocol, Protocol::MoldUdp64Itch50);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_key_value_and_rule() {
        for (from, to, said) in [
            ("core = 0", "cores = 1", "unknown field `cores`"),
            ("core = 0", "core = 9999", "core = 9999: this machine"),
            (
                "moldudp64/itch50",
                "fix",
                "protocol = \"fix\": there is moldudp64/itch50",
            ),
            (
                "233.54.12.111:26477",
                "10.0.0.1:1",
                "10.0.0.1:1 is no multicast group",
            ),
            ("name = \"totalview\"", "name = \"\"", "name = \"\""),
            (
                "core = 0",
                "venue = \"Nasdaq\"",
                "venue = \"Nasdaq\": a market identifier code",
            ),
        ] {
            let why = Config::parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
        assert!(Config::parse("").unwrap_err().contains("[[channel]]"));
    }
}
