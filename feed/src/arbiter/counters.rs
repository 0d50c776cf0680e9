//! What the arbiter counts.

/// What was counted of the channel as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArbiterCounters {
    /// Messages delivered.
    pub delivered: u64,
    /// Sessions that started, the first included.
    pub sessions: u64,
    /// Of these, restarts of the numbering within one session id.
    pub restarts: u64,
    /// Gaps declared.
    pub gaps_declared: u64,
    /// Messages missing in them.
    pub messages_missing: u64,
    /// Missing messages that a line brought after the declaration.
    pub filled_by_line: u64,
    /// Missing messages that a request server brought.
    pub filled_by_request: u64,
    /// Missing messages that a snapshot made unnecessary.
    pub filled_by_snapshot: u64,
    /// Missing messages that nobody brought and no snapshot replaces, or not before the session was over.
    pub messages_lost: u64,
    /// Held messages that a snapshot contained.
    pub messages_superseded: u64,
    /// Held messages forgotten because their copies differ.
    pub messages_evicted: u64,
    /// Held messages forgotten because a session started.
    pub messages_abandoned: u64,
    /// Held messages forgotten because the backlog was full.
    pub messages_overflowed: u64,
    /// Answers of request servers.
    pub replies: u64,
    /// Answers that brought nothing that was missing, or were of another session.
    pub replies_useless: u64,
    /// Times that the numbering stayed behind what was delivered.
    pub sequence_regressed: u64,
    /// Times that the numbering jumped farther than can be asked for.
    pub forward_jumps: u64,
    /// Times that all lines were down, or brought nothing of the session for as long.
    pub all_lines_down: u64,
    /// Snapshots asked for.
    pub snapshots_requested: u64,
    /// Snapshots that replaced the books.
    pub snapshots_loaded: u64,
    /// Snapshots that failed, or were of no use.
    pub snapshots_failed: u64,
    /// Times that all attempts at a snapshot failed.
    pub snapshots_exhausted: u64,
}
