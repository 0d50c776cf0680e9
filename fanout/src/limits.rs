//! What bounds the memory and the work that subscribers can cause, each with its reason.

/// The limits of one hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of data messages that wait for one subscriber.  Beyond it the subscriber is slow, and its
    /// topics fall back to their newest state: 256 KiB are some 1,500 messages, a second of a busy book.
    pub queue_bytes_max: usize,
    /// Bytes of answers that wait for one subscriber; whoever asks without reading is disconnected.  A
    /// single answer may be longer: the list of 8,000 instruments is.
    pub control_bytes_max: usize,
    /// Answers that wait for one subscriber.
    pub control_messages_max: usize,
    /// Bytes of a message from a subscriber: only control messages come in.
    pub message_bytes_max: usize,
    /// Messages that a subscriber may send at once after being quiet.
    pub message_burst_max: u32,
    /// Messages that a subscriber may send each second in the long run.
    pub messages_per_second_max: u32,
    /// Messages refused for their rate, since the subscriber was last quiet, before it is disconnected.
    pub rate_refusals_max: u32,
    /// Messages of invalid JSON before the subscriber is disconnected: it doesn't speak the protocol.
    pub bad_messages_max: u32,
    /// Topics of one subscriber.  Room for every instrument of a venue (some 12,000), once.
    pub topics_max: usize,
    /// Subscriptions of one subscriber: each may hold patterns that every new definition is matched with.
    pub subscriptions_max: usize,
    /// Symbols and patterns of one request.  What 4 KiB can hold, and a bound of its own if those are raised.
    pub symbols_max: usize,
    /// Orders of one message of a chunked snapshot: some 80 KiB of JSON.
    pub snapshot_orders_max: usize,
    /// How long a mirror is kept after the last who was interested left, ns: a page that is loaded again, or
    /// a client that asks for a book each second, doesn't cost the shard a snapshot each time.
    pub mirror_linger_ns: u64,
    /// Between two readings of a channel's report while somebody is subscribed to its `feed`, ns: how late word of a line
    /// that fell silent may be, against a lock and a few allocations each time.
    pub report_ns: u64,
    /// Between two messages of `feed` that only tell other counts, ns: four a second are enough for people and curves.
    pub feed_ns: u64,
    /// How long a query for a book waits for the shard's snapshot, ns.
    pub query_ns_max: u64,
    /// Queries for books that wait at the same time.
    pub queries_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_bytes_max: 256 * 1024,
            control_bytes_max: 256 * 1024,
            control_messages_max: 256,
            message_bytes_max: 4 * 1024,
            message_burst_max: 20,
            messages_per_second_max: 5,
            rate_refusals_max: 50,
            bad_messages_max: 3,
            topics_max: 16_384,
            subscriptions_max: 1_024,
            symbols_max: 4_096,
            snapshot_orders_max: 1_000,
            mirror_linger_ns: 1_000_000_000,
            report_ns: 125_000_000,
            feed_ns: 250_000_000,
            query_ns_max: 2_000_000_000,
            queries_max: 1_024,
        }
    }
}
