//! Errors that others made, for the simulation to find: a test of the tests.
//!
//! Chosen at compile time, so that nothing of them is in a program.

/// None.
pub const NONE: u8 = 0;
/// The end of a gap is seen only where a packet ends exactly with it (`==` for `>=`).
pub const GAP_END_EXACT: u8 = 1;
/// Arbitration by packet: one that begins with what was delivered is dropped whole.
pub const BY_PACKET: u8 = 2;
/// The count 0xFFFF is taken for a count.
pub const END_IS_COUNT: u8 = 3;
/// One message in 200,000 is delivered twice.
pub const TWICE: u8 = 4;
/// That books are stale isn't told.
pub const STALE_UNTOLD: u8 = 5;
/// The message that a snapshot names first is taken for its last (`>` for `>=`).
pub const SNAPSHOT_AFTER: u8 = 6;
