//! The laboratory: recorded files, pacing, and an exchange to test against.
//!
//! | module | does |
//! | --- | --- |
//! | [`capture`] | reads pcap, pcapng and `BinaryFILE`, plain or compressed, record by record |
//! | [`exchange`] | invents a market, repeats a recording, and publishes both |
//! | [`fault`] | loses, delays, doubles, reorders and changes packets, from a seed |
//! | [`frame`] | a recorded frame down to the payload of its UDP datagram |
//! | [`recognise`] | which protocol a datagram is of, and which channel it belongs to |
//! | [`inspect`] | shows a recording packet by packet |
//! | [`player`] | a recording through channels and books |
//! | [`books_csv`] | a row for each change of a book |
//! | [`random`] | seeded randomness, the same everywhere |
//! | [`sim`] | exchange, network, our machines and checkers on a virtual clock, from one seed |
//! | [`pacing`] | when a recorded packet is due at a chosen speed |
#![forbid(unsafe_code)]

pub mod books_csv;
pub mod capture;
pub mod exchange;
pub mod fault;
pub mod frame;
pub mod inspect;
pub mod limits;
pub mod pacing;
pub mod player;
pub mod random;
pub mod recognise;
pub mod sim;
