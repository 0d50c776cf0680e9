//! New sessions for each lap of a recording, so that receivers see a session begin and not a sequence that
//! falls back.
//!
//! In the first lap sessions are the recorded ones.  In later laps each recorded session gets a new one,
//! the same in all of its packets and on all of its lines:
//!
//! - IEX-TP 1.0: the session id in the header (offset 8) is a number; the next one is taken.
//! - MoldUDP64 1.00: the session in the header (offset 0) is ten characters; up to six of the recorded ones
//!   are kept, and a number of four follows.
//!
//! Nothing else is touched: sequence numbers, send times and messages are the recorded ones.
//!
//! Invariant: no new session equals a recorded one or another new one, as long as there are no more than
//! [`LAP_SESSIONS_MAX`] recorded and the numbers last (36^4 of MoldUDP64).

use core::ops::Range;
use std::collections::BTreeMap;

use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::{iextp, moldudp64};

use crate::limits::LAP_SESSIONS_MAX;

/// Where IEX-TP's header has its session id (specification, "Segment Header").
const IEX_SESSION: Range<usize> = 8..12;
/// Where MoldUDP64's header has its session (specification, "Header").
const MOLD_SESSION: Range<usize> = 0..10;
/// Characters of a new MoldUDP64 session that are a number.
const MOLD_DIGITS: usize = 4;

/// Gives each lap's packets their sessions.
#[derive(Debug, Default)]
pub struct Laps {
    lap: u32,
    /// The recorded sessions, and what each is called in this lap.
    iex: BTreeMap<u32, u32>,
    mold: BTreeMap<[u8; 10], [u8; 10]>,
    iex_highest: u32,
    mold_number: u32,
    unnamed: u64,
}

impl Laps {
    /// The first lap.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many laps were completed.
    #[must_use]
    pub fn lap(&self) -> u32 {
        self.lap
    }

    /// Packets that kept their recorded session in a later lap: there were too many sessions.
    #[must_use]
    pub fn unnamed(&self) -> u64 {
        self.unnamed
    }

    /// A lap is complete, the next one begins: every session that was recorded gets a new one.
    pub fn start_lap(&mut self) {
        self.lap = self.lap.wrapping_add(1);
        for name in self.iex.values_mut() {
            self.iex_highest = self.iex_highest.wrapping_add(1);
            *name = self.iex_highest;
        }
        let recorded: Vec<[u8; 10]> = self.mold.keys().copied().collect();
        for session in recorded {
            let name = self.new_mold(&session);
            self.mold.insert(session, name);
        }
    }

    /// Puts the lap's session into a packet.  What is too short for a header is left as it is.
    pub fn handle_packet(&mut self, protocol: Protocol, payload: &mut [u8]) {
        match protocol {
            Protocol::MoldUdp64Itch50 | Protocol::BinaryFileItch50 => self.mold_packet(payload),
            _ => self.iex_packet(payload),
        }
    }

    fn mold_packet(&mut self, payload: &mut [u8]) {
        if payload.len() < moldudp64::HEADER_LEN {
            return;
        }
        let Some(field) = payload.get_mut(MOLD_SESSION) else {
            return;
        };
        let Ok(recorded) = <[u8; 10]>::try_from(&*field) else {
            return;
        };
        let session = match self.mold.get(&recorded) {
            Some(session) => *session,
            None if self.mold.len() >= LAP_SESSIONS_MAX => {
                self.unnamed += u64::from(self.lap > 0);
                return;
            }
            None => {
                let session = if self.lap == 0 {
                    recorded
                } else {
                    self.new_mold(&recorded)
                };
                self.mold.insert(recorded, session);
                session
            }
        };
        field.copy_from_slice(&session);
    }

    fn iex_packet(&mut self, payload: &mut [u8]) {
        if payload.len() < iextp::SegmentHeader::LENGTH {
            return;
        }
        let Some(field) = payload.get_mut(IEX_SESSION) else {
            return;
        };
        let Ok(recorded) = <[u8; 4]>::try_from(&*field).map(u32::from_le_bytes) else {
            return;
        };
        let session = match self.iex.get(&recorded) {
            Some(session) => *session,
            None if self.iex.len() >= LAP_SESSIONS_MAX => {
                self.unnamed += u64::from(self.lap > 0);
                return;
            }
            None => {
                self.iex_highest = if self.lap == 0 {
                    self.iex_highest.max(recorded)
                } else {
                    self.iex_highest.wrapping_add(1)
                };
                let session = if self.lap == 0 {
                    recorded
                } else {
                    self.iex_highest
                };
                self.iex.insert(recorded, session);
                session
            }
        };
        field.copy_from_slice(&session.to_le_bytes());
    }

    fn new_mold(&mut self, recorded: &[u8; 10]) -> [u8; 10] {
        let kept = recorded.trim_ascii_end();
        let kept = kept.get(..10 - MOLD_DIGITS).unwrap_or(kept);
        loop {
            self.mold_number = self.mold_number.wrapping_add(1);
            let mut session = [b' '; 10];
            let digits = base36(self.mold_number);
            for (to, from) in session.iter_mut().zip(kept.iter().chain(&digits)) {
                *to = *from;
            }
            // One of the next 4,097 isn't recorded.
            if !self.mold.contains_key(&session) {
                return session;
            }
        }
    }
}

fn base36(mut number: u32) -> [u8; MOLD_DIGITS] {
    let mut digits = [0; MOLD_DIGITS];
    for digit in digits.iter_mut().rev() {
        // Less than 36.
        let value = u8::try_from(number % 36).unwrap_or(0);
        *digit = if value < 10 {
            b'0' + value
        } else {
            b'A' + value - 10
        };
        number /= 36;
    }
    digits
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn mold(session: &[u8; 10]) -> Vec<u8> {
        let mut packet = session.to_vec();
        packet.extend([0; 10]);
        packet
    }

    fn named(laps: &mut Laps, session: &[u8; 10]) -> Vec<u8> {
        let mut packet = mold(session);
        laps.handle_packet(Protocol::MoldUdp64Itch50, &mut packet);
        packet
    }

    #[test]
    fn the_first_lap_is_as_recorded_and_later_ones_have_sessions_of_their_own() {
        let mut laps = Laps::new();
        assert_eq!(named(&mut laps, b"TICKCAST01"), mold(b"TICKCAST01"));
        assert_eq!(named(&mut laps, b"AB        "), mold(b"AB        "));
        laps.start_lap();
        assert_eq!(named(&mut laps, b"TICKCAST01"), mold(b"TICKCA0002"));
        assert_eq!(named(&mut laps, b"AB        "), mold(b"AB0001    "));
        assert_eq!(named(&mut laps, b"TICKCAST01"), mold(b"TICKCA0002"));
        assert_eq!(laps.lap(), 1);
    }

    #[test]
    fn a_new_session_is_never_one_that_was_recorded_or_used() {
        let mut laps = Laps::new();
        let sessions = [b"DAY0000001", b"DAY0000002", b"DAY0000003", b"DAY000000Z"];
        let mut seen = BTreeSet::new();
        for lap in 0..200 {
            for session in sessions {
                assert!(seen.insert(named(&mut laps, session)), "lap {lap}");
            }
            laps.start_lap();
        }
    }

    #[test]
    fn what_is_no_whole_header_is_left_alone() {
        let mut laps = Laps::new();
        laps.start_lap();
        for protocol in [Protocol::MoldUdp64Itch50, Protocol::IexTpDeep10] {
            let mut short = vec![7; 19];
            laps.handle_packet(protocol, &mut short);
            assert_eq!(short, [7; 19]);
        }
    }

    #[test]
    fn sessions_beyond_the_bound_keep_their_name_and_are_counted() {
        let mut laps = Laps::new();
        for lap in 0..2 {
            for n in 0..=LAP_SESSIONS_MAX {
                let session = format!("{n:010}");
                let packet = named(&mut laps, session.as_bytes().try_into().unwrap());
                let same = &packet[..10] == session.as_bytes();
                assert_eq!(same, lap == 0 || n == LAP_SESSIONS_MAX);
            }
            assert_eq!(laps.unnamed(), lap);
            laps.start_lap();
        }
    }
}
