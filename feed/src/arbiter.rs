//! Stand-in.

/// Where a packet came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A line.
    Line(u8),
    /// An answer to a request.
    Server(u8),
}
