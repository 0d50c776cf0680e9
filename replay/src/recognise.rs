//! Which protocol the datagrams of a recording are of, and which channel they belong to.
//!
//! Three sources, the surest first: what the user bound to a group and port, the protocol forced for the
//! whole recording, the content.  A group that was recognised once stays what it is, so that a damaged
//! packet on it is an error of that protocol and not something unknown.
//!
//! Lines A and B of one feed come on two groups with the same session: they are one channel.  Another
//! group with another session is another channel.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tickcast_codecs::SessionId;
use tickcast_codecs::protocol::{Packet, Protocol};

use tickcast_feed::limits::CHANNELS_MAX;

use crate::limits::GROUPS_MAX;

/// A channel's place in the order of appearance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelIndex(pub usize);

#[derive(Debug, Clone, Copy)]
struct Known {
    protocol: Protocol,
    channel: Option<ChannelIndex>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    protocol: Protocol,
    session: SessionId,
}

/// Recognises datagrams.
#[derive(Debug, Clone, Default)]
pub struct Recogniser {
    forced: Option<Protocol>,
    groups: BTreeMap<SocketAddr, Known>,
    channels: Vec<Seen>,
}

impl Recogniser {
    /// By content, unless a protocol is forced.
    #[must_use]
    pub fn new(forced: Option<Protocol>) -> Self {
        Self {
            forced,
            ..Self::default()
        }
    }

    /// Binds a group and port to a protocol.
    pub fn bind(&mut self, group: SocketAddr, protocol: Protocol) {
        self.groups.insert(
            group,
            Known {
                protocol,
                channel: None,
            },
        );
    }

    /// The protocol that the user forced.
    #[must_use]
    pub fn forced(&self) -> Option<Protocol> {
        self.forced
    }

    /// The protocol of a datagram; `None` if nothing recognises it.
    pub fn protocol(&mut self, group: SocketAddr, payload: &[u8]) -> Option<Protocol> {
        if let Some(known) = self.groups.get(&group) {
            return Some(known.protocol);
        }
        if self.forced.is_some() {
            return self.forced;
        }
        let protocol = Protocol::detect(payload)?;
        // A packet without messages proves little: don't hold the group to it.
        let proves = Packet::parse(protocol, payload).is_ok_and(|packet| packet.count() > 0);
        if proves && self.groups.len() < GROUPS_MAX {
            self.groups.insert(
                group,
                Known {
                    protocol,
                    channel: None,
                },
            );
        }
        Some(protocol)
    }

    /// The channel of a datagram of a protocol, a new one if need be.
    ///
    /// `None` for a payload that isn't whole on a group that has no channel yet.
    pub fn channel(
        &mut self,
        group: SocketAddr,
        protocol: Protocol,
        payload: &[u8],
    ) -> Option<ChannelIndex> {
        if let Some(channel) = self.groups.get(&group).and_then(|known| known.channel) {
            return Some(channel);
        }
        let packet = Packet::parse(protocol, payload).ok()?;
        // A bare header of MoldUDP64 says nothing of what the group carries: wait for its first message.
        let proves = packet.count() > 0 || !matches!(packet, Packet::MoldUdp64(_));
        if !proves && self.forced.is_none() && !self.groups.contains_key(&group) {
            return None;
        }
        let channel = self.channel_of(protocol, packet.session())?;
        if self.groups.len() < GROUPS_MAX || self.groups.contains_key(&group) {
            self.groups.insert(
                group,
                Known {
                    protocol,
                    channel: Some(channel),
                },
            );
        }
        Some(channel)
    }

    /// The channel of a protocol and session, a new one if need be; `None` beyond the bound.
    pub fn channel_of(&mut self, protocol: Protocol, session: SessionId) -> Option<ChannelIndex> {
        let same = |seen: &Seen| seen.protocol == protocol && seen.session == session;
        if let Some(at) = self.channels.iter().position(same) {
            return Some(ChannelIndex(at));
        }
        if self.channels.len() >= CHANNELS_MAX {
            return None;
        }
        self.channels.push(Seen { protocol, session });
        Some(ChannelIndex(self.channels.len() - 1))
    }

    /// The protocols of the channels found so far, by index.
    pub fn channels(&self) -> impl Iterator<Item = Protocol> + '_ {
        self.channels.iter().map(|seen| seen.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickcast_codecs::moldudp64;

    fn packet(session: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let session = SessionId::from_padded(session.as_bytes());
        let mut packet = moldudp64::PacketBuilder::new(&mut bytes, session, 1, 1_400);
        // A system event.
        packet.push(b"S\0\0\0\0\0\0\0\0\0\0O").unwrap();
        bytes
    }

    #[test]
    fn a_bare_header_of_moldudp64_makes_no_channel() {
        let mut bytes = Vec::new();
        moldudp64::encode_heartbeat(&mut bytes, SessionId::from_padded(b"MON"), 1);
        let protocol = Protocol::MoldUdp64Itch50;
        let mut recogniser = Recogniser::new(None);
        assert_eq!(recogniser.protocol(group(1), &bytes), Some(protocol));
        assert_eq!(recogniser.channel(group(1), protocol, &bytes), None);
        assert_eq!(recogniser.channels().count(), 0);
    }

    fn group(last: u8) -> SocketAddr {
        SocketAddr::from(([233, 54, 12, last], 26_477))
    }

    #[test]
    fn two_groups_with_one_session_are_one_channel_and_another_session_is_another() {
        let protocol = Protocol::MoldUdp64Itch50;
        let mut recogniser = Recogniser::new(None);
        let a = recogniser.channel(group(1), protocol, &packet("MON"));
        let b = recogniser.channel(group(2), protocol, &packet("MON"));
        let other = recogniser.channel(group(3), protocol, &packet("BX"));
        assert_eq!(a, b);
        assert_eq!((a, other), (Some(ChannelIndex(0)), Some(ChannelIndex(1))));
        // A roll on a known group stays on its channel.
        let roll = recogniser.channel(group(1), protocol, &packet("TUE"));
        assert_eq!(roll, a);
    }

    #[test]
    fn a_bound_group_is_what_it_was_bound_to_whatever_it_carries() {
        let mut recogniser = Recogniser::new(None);
        recogniser.bind(group(1), Protocol::IexTpDeep10);
        assert_eq!(
            recogniser.protocol(group(1), b"garbage"),
            Some(Protocol::IexTpDeep10)
        );
        assert_eq!(recogniser.protocol(group(2), b"garbage"), None);
        let mut forced = Recogniser::new(Some(Protocol::IexTpTops16));
        assert_eq!(
            forced.protocol(group(2), b"garbage"),
            Some(Protocol::IexTpTops16)
        );
    }
}
