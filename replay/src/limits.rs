//! Every bound of this crate, with its reason.

/// Groups that a recording's recognition remembers: the largest venue has some hundred; beyond this the
/// content decides packet by packet.
pub const GROUPS_MAX: usize = 4_096;

/// Symbols that a filter remembers by number: stock locates are 16 bits.
pub const LOCATES_MAX: usize = 65_536;
