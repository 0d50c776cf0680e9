//! Asking for what is missing: which range, of which server, and when again.
//!
//! A machine without I/O.  It sees the declared gaps and the answers, and gives requests; it neither knows what
//! a request looks like on the wire nor delivers what comes back.  Sources: MoldUDP64 1.00 ("Request Packet",
//! "Re-request Servers": several may exist, an answer may hold fewer messages than asked); IEX-TP 1.0 ("Gap
//! Fill").
//!
//! The first request asks for a whole range, since no one knows how much a server answers at once; the first
//! answer with less than that tells, and from then on so much is asked at a time, several requests in flight.
//!
//! Invariants: at most [`RecoveryConfig::requests_in_flight_max`] requests are under way, for ranges that don't
//! overlap; unanswered ones are at most [`RecoveryConfig::requests_per_second_max`] a second.

use crate::gaps::Gaps;
use crate::limits::{
    GAP_AGE_NS_MAX, REQUEST_ATTEMPTS_MAX, REQUEST_MERGE_MESSAGES_MAX, REQUEST_MESSAGES_MAX,
    REQUEST_TIMEOUT_NS, REQUEST_TIMEOUT_NS_MAX, REQUESTS_IN_FLIGHT_MAX, REQUESTS_PER_SECOND_MAX,
    SNAPSHOT_ATTEMPTS_MAX, SNAPSHOT_PAUSE_NS, SNAPSHOT_RETRY_NS,
};

/// A second, in nanoseconds.
const SECOND_NS: u64 = 1_000_000_000;

/// How to recover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryConfig {
    /// How many request servers there are.
    pub request_servers: u8,
    /// How many snapshot servers there are.
    pub snapshot_servers: u8,
    /// How long the first answer may take, in nanoseconds; doubled with each attempt.
    pub request_timeout_ns: u64,
    /// What the doubling ends at, in nanoseconds.
    pub request_timeout_ns_max: u64,
    /// Attempts at one server that answers nothing before the next is asked.
    pub request_attempts_max: u32,
    /// Unanswered requests a second.
    pub requests_per_second_max: u32,
    /// Requests under way at a time.
    pub requests_in_flight_max: usize,
    /// Messages of one request; more missing at a time are a snapshot's.
    pub request_messages_max: u64,
    /// How long nothing of a gap may come before a snapshot is loaded, in nanoseconds.
    pub gap_age_ns_max: u64,
    /// Snapshots tried one after the other.
    pub snapshot_attempts_max: u32,
    /// Pause before the second snapshot, in nanoseconds; doubled with each.
    pub snapshot_pause_ns: u64,
    /// Pause before it is tried again when all attempts failed, in nanoseconds.
    pub snapshot_retry_ns: u64,
}

impl Default for RecoveryConfig {
    /// No servers, and the limits of this crate.
    fn default() -> Self {
        Self {
            request_servers: 0,
            snapshot_servers: 0,
            request_timeout_ns: REQUEST_TIMEOUT_NS,
            request_timeout_ns_max: REQUEST_TIMEOUT_NS_MAX,
            request_attempts_max: REQUEST_ATTEMPTS_MAX,
            requests_per_second_max: REQUESTS_PER_SECOND_MAX,
            requests_in_flight_max: REQUESTS_IN_FLIGHT_MAX,
            request_messages_max: REQUEST_MESSAGES_MAX,
            gap_age_ns_max: GAP_AGE_NS_MAX,
            snapshot_attempts_max: SNAPSHOT_ATTEMPTS_MAX,
            snapshot_pause_ns: SNAPSHOT_PAUSE_NS,
            snapshot_retry_ns: SNAPSHOT_RETRY_NS,
        }
    }
}

/// A request to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The server, as an index.
    pub server: u8,
    /// The first message wanted.
    pub first: u64,
    /// How many; never more than [`REQUEST_MESSAGES_MAX`].
    pub count: u16,
}

/// A request under way.
#[derive(Debug, Clone, Copy)]
struct Flight {
    first: u64,
    last: u64,
    /// Attempts since the server answered anything.
    attempt: u32,
    /// When the present server was asked first.
    asked: Option<u64>,
    /// When the answer is overdue; `None`: it isn't sent (again) yet.
    deadline: Option<u64>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryCounters {
    /// Requests sent.
    pub requests_sent: u64,
    /// Requests that weren't answered in time.
    pub requests_timed_out: u64,
    /// Times that a request wasn't sent because the budget was spent.
    pub requests_deferred: u64,
    /// Times that the next server was asked because one didn't answer.
    pub servers_changed: u64,
    /// Times that no server answered.
    pub requests_exhausted: u64,
}

/// The requests of one channel.
#[derive(Debug)]
pub struct Recovery {
    config: RecoveryConfig,
    flights: Vec<Flight>,
    server: u8,
    /// Servers that didn't answer since the last answer.
    servers_failed: u8,
    /// How many messages the server sends at once, as far as it is known.
    reply_messages: Option<u64>,
    /// What may be spent, in nanoseconds of a request's share of a second.
    budget_ns: u64,
    budget_at: u64,
    deferred: bool,
    exhausted: bool,
    counters: RecoveryCounters,
}

impl Recovery {
    /// Nothing asked for yet.
    #[must_use]
    pub fn new(config: RecoveryConfig) -> Self {
        Self {
            flights: Vec::with_capacity(config.requests_in_flight_max.max(1)),
            config,
            server: 0,
            servers_failed: 0,
            reply_messages: None,
            budget_ns: SECOND_NS,
            budget_at: 0,
            deferred: false,
            exhausted: false,
            counters: RecoveryCounters::default(),
        }
    }

    /// How it is configured.
    #[must_use]
    pub fn config(&self) -> &RecoveryConfig {
        &self.config
    }

    /// Takes another configuration; what is under way is forgotten and asked for anew.
    pub fn reconfigure(&mut self, config: RecoveryConfig) {
        self.config = config;
        self.server = 0;
        self.reset();
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &RecoveryCounters {
        &self.counters
    }

    /// Whether every server was asked in vain since the last answer.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Nothing is missing any more, or it is somebody else's business.
    pub fn reset(&mut self) {
        self.flights.clear();
        self.servers_failed = 0;
        self.exhausted = false;
        self.deferred = false;
    }

    fn cost(&self) -> u64 {
        SECOND_NS / u64::from(self.config.requests_per_second_max.max(1))
    }

    /// An answer came that covers `first..end`; `filled` of its messages were missing.
    pub fn handle_reply(&mut self, first: u64, end: u64, filled: u64) {
        if filled == 0 {
            return;
        }
        self.servers_failed = 0;
        self.exhausted = false;
        // It was answered: no storm.
        self.budget_ns = (self.budget_ns + self.cost()).min(SECOND_NS);
        self.learn(first, end);
        // The rest of what a request asked for is asked for anew, in the size that is answered.
        self.flights
            .retain(|flight| flight.last < first || flight.first >= end);
        for flight in &mut self.flights {
            flight.attempt = 0;
        }
    }

    /// An answer that is shorter than what was asked for tells how much the server sends at once; one that isn't
    /// only that it may be more.
    fn learn(&mut self, first: u64, end: u64) {
        let answered = end - first;
        let Some(flight) = self.flights.iter().find(|flight| flight.first == first) else {
            return;
        };
        let asked = flight.last - flight.first + 1;
        if answered < asked {
            self.reply_messages = Some(answered);
        } else if let Some(known) = &mut self.reply_messages
            && asked >= *known
        {
            *known += *known / 2 + 1;
        }
    }

    /// Requests that are overdue are tried again, or given up.
    pub fn handle_timeout(&mut self, now: u64) {
        let mut server_failed = false;
        for flight in &mut self.flights {
            if flight.deadline.is_none_or(|deadline| now < deadline) {
                continue;
            }
            self.counters.requests_timed_out += 1;
            flight.deadline = None;
            flight.attempt += 1;
            // A server that answers only other requests than this one doesn't have it.
            let waited = now.saturating_sub(flight.asked.unwrap_or(now));
            server_failed |= flight.attempt >= self.config.request_attempts_max
                || waited >= self.config.gap_age_ns_max;
        }
        if !server_failed {
            return;
        }
        for flight in &mut self.flights {
            flight.attempt = 0;
            flight.asked = None;
            flight.deadline = None;
        }
        self.servers_failed = self.servers_failed.saturating_add(1);
        if self.servers_failed >= self.config.request_servers {
            self.exhausted = true;
            self.counters.requests_exhausted += 1;
        } else {
            self.server = (self.server + 1) % self.config.request_servers.max(1);
            self.counters.servers_changed += 1;
        }
    }

    /// When something is overdue, or the budget allows what had to wait.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let overdue = self.flights.iter().filter_map(|f| f.deadline).min();
        let budget = self.deferred.then(|| {
            let missing = self.cost().saturating_sub(self.budget_ns);
            self.budget_at.saturating_add(missing)
        });
        match (overdue, budget) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        }
    }

    /// The next request that is due.
    pub fn poll_request(&mut self, now: u64, gaps: &Gaps) -> Option<Request> {
        let deferred = core::mem::take(&mut self.deferred);
        if self.config.request_servers == 0 || self.exhausted {
            return None;
        }
        self.flights
            .retain(|flight| is_missing(gaps, flight.first, flight.last));
        let at = match self.flights.iter().position(|f| f.deadline.is_none()) {
            Some(at) => at,
            None => {
                if self.flights.len() >= self.config.requests_in_flight_max.max(1) {
                    return None;
                }
                let (first, last) = self.next_range(gaps)?;
                self.flights.push(Flight {
                    first,
                    last,
                    attempt: 0,
                    asked: None,
                    deadline: None,
                });
                self.flights.len() - 1
            }
        };
        let elapsed = now.saturating_sub(self.budget_at);
        self.budget_at = now;
        self.budget_ns = self.budget_ns.saturating_add(elapsed).min(SECOND_NS);
        let cost = self.cost();
        if self.budget_ns < cost {
            self.deferred = true;
            self.counters.requests_deferred += u64::from(!deferred);
            return None;
        }
        self.budget_ns -= cost;
        self.counters.requests_sent += 1;
        let timeout = self
            .config
            .request_timeout_ns
            .saturating_mul(1 << self.flights[at].attempt.min(16))
            .min(self.config.request_timeout_ns_max);
        let flight = &mut self.flights[at];
        flight.asked.get_or_insert(now);
        flight.deadline = Some(now.saturating_add(timeout));
        Some(Request {
            server: self.server,
            first: flight.first,
            count: u16::try_from(flight.last - flight.first + 1).unwrap_or(u16::MAX - 1),
        })
    }

    /// The first part of the gaps that isn't asked for yet: neighbouring gaps together.
    fn next_range(&self, gaps: &Gaps) -> Option<(u64, u64)> {
        let most = self
            .reply_messages
            .unwrap_or(u64::MAX)
            .min(self.config.request_messages_max)
            .clamp(1, REQUEST_MESSAGES_MAX);
        let mut found: Option<(u64, u64)> = None;
        for gap in gaps.declared() {
            let mut first = gap.first;
            // What is under way is passed over; flights don't overlap, so each moves `first` once.
            while let Some(flight) = self
                .flights
                .iter()
                .find(|flight| flight.first <= first && first <= flight.last)
            {
                first = flight.last.saturating_add(1);
            }
            if first > gap.last {
                if found.is_some() {
                    break;
                }
                continue;
            }
            let start = match found {
                None => first,
                Some((start, last)) if first - last <= REQUEST_MERGE_MESSAGES_MAX => start,
                Some(_) => break,
            };
            let mut last = gap.last.min(start.saturating_add(most - 1));
            if let Some(flight) = self
                .flights
                .iter()
                .filter(|flight| flight.first > start)
                .min_by_key(|flight| flight.first)
            {
                last = last.min(flight.first - 1);
            }
            if last < first {
                break;
            }
            found = Some((start, last));
            if last < gap.last {
                break;
            }
        }
        found
    }
}

fn is_missing(gaps: &Gaps, first: u64, last: u64) -> bool {
    gaps.declared()
        .any(|gap| gap.first <= last && first <= gap.last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recovery(servers: u8) -> Recovery {
        Recovery::new(RecoveryConfig {
            request_servers: servers,
            ..RecoveryConfig::default()
        })
    }

    fn gaps(ranges: &[(u64, u64)]) -> Gaps {
        let mut gaps = Gaps::default();
        for &(first, last) in ranges {
            gaps.open(first, last, 0).unwrap();
        }
        gaps.declare(0, 0);
        gaps
    }

    #[test]
    fn a_whole_range_is_asked_for_then_as_much_as_is_answered() {
        let mut recovery = recovery(1);
        let mut missing = gaps(&[(10, 109)]);
        let first = recovery.poll_request(0, &missing).unwrap();
        assert_eq!((first.first, first.count), (10, 100));
        assert_eq!(recovery.poll_request(0, &missing), None);
        for sequence in 10..30 {
            missing.fill(sequence).unwrap();
        }
        recovery.handle_reply(10, 30, 20);
        let asked: Vec<_> = std::iter::from_fn(|| recovery.poll_request(1, &missing))
            .map(|request| (request.first, request.count))
            .collect();
        assert_eq!(asked, [(30, 20), (50, 20), (70, 20), (90, 20)]);
    }

    #[test]
    fn a_small_gap_teaches_nothing_of_how_much_a_server_sends() {
        let mut recovery = recovery(1);
        assert_eq!(
            recovery.poll_request(0, &gaps(&[(10, 12)])).unwrap().count,
            3
        );
        recovery.handle_reply(10, 13, 3);
        let whole = recovery.poll_request(1, &gaps(&[(20, 119)])).unwrap();
        assert_eq!((whole.first, whole.count), (20, 100));
        // A short answer to it does; and a whole one to a request of that size, that it may be more.
        recovery.handle_reply(20, 40, 20);
        let next = recovery.poll_request(2, &gaps(&[(40, 119)])).unwrap();
        assert_eq!((next.first, next.count), (40, 20));
        recovery.handle_reply(40, 60, 20);
        let next = recovery.poll_request(3, &gaps(&[(60, 119)])).unwrap();
        assert_eq!((next.first, next.count), (60, 31));
    }

    #[test]
    fn neighbouring_gaps_are_asked_for_together() {
        let mut recovery = recovery(1);
        let missing = gaps(&[(10, 10), (12, 12), (40, 41), (500, 500)]);
        let first = recovery.poll_request(0, &missing).unwrap();
        assert_eq!((first.first, first.count), (10, 32));
        let second = recovery.poll_request(0, &missing).unwrap();
        assert_eq!((second.first, second.count), (500, 1));
    }

    #[test]
    fn a_silent_server_is_tried_five_times_each_time_longer_then_the_next_then_none() {
        let mut recovery = recovery(2);
        let missing = gaps(&[(10, 10)]);
        let mut now = 0;
        let mut sent = Vec::new();
        while !recovery.is_exhausted() {
            recovery.handle_timeout(now);
            while let Some(request) = recovery.poll_request(now, &missing) {
                sent.push((request.server, now));
            }
            if let Some(at) = recovery.poll_timeout() {
                now = at;
            }
        }
        let servers: Vec<u8> = sent.iter().map(|(server, _)| *server).collect();
        assert_eq!(servers, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
        let at: Vec<u64> = sent.iter().map(|(_, at)| at / 1_000_000).collect();
        assert_eq!(at[..6], [0, 50, 150, 350, 750, 1_550]);
        assert_eq!(recovery.poll_request(now, &missing), None);
    }

    /// When a server is given up that answers one request each 40 ms, but never the first, and how often it
    /// was asked that.
    fn given_up_after(answers_until: u64) -> (u64, usize) {
        let mut recovery = recovery(1);
        let others: Vec<_> = (1..=100).map(|n| (n * 100, n * 100)).collect();
        let mut missing = gaps(&[&[(10, 10)], &others[..]].concat());
        let mut asked = 0;
        let mut answered = 0;
        for ms in 0.. {
            let now = ms * 1_000_000;
            recovery.handle_timeout(now);
            if recovery.is_exhausted() {
                return (ms, asked);
            }
            while let Some(request) = recovery.poll_request(now, &missing) {
                asked += usize::from(request.first == 10);
            }
            if ms % 40 == 39 && ms < answers_until {
                answered += 100;
                missing.fill(answered).unwrap();
                recovery.handle_reply(answered, answered + 1, 1);
            }
        }
        unreachable!()
    }

    #[test]
    fn a_server_that_answers_something_is_asked_again_but_not_for_ever() {
        assert_eq!(given_up_after(0), (1_550, 5));
        let (ms, asked) = given_up_after(u64::MAX);
        let age = GAP_AGE_NS_MAX / 1_000_000;
        assert!((age..age + 100).contains(&ms), "{ms}");
        assert!(asked > 5, "{asked}");
    }

    #[test]
    fn unanswered_requests_keep_to_the_budget() {
        let mut recovery = Recovery::new(RecoveryConfig {
            request_servers: 1,
            requests_in_flight_max: 1_000,
            request_attempts_max: u32::MAX,
            requests_per_second_max: 100,
            gap_age_ns_max: u64::MAX,
            ..RecoveryConfig::default()
        });
        let ranges: Vec<_> = (0..200).map(|n| (n * 100, n * 100)).collect();
        let missing = gaps(&ranges);
        let mut sent = 0;
        for ms in 0..3_000 {
            let now = ms * 1_000_000;
            recovery.handle_timeout(now);
            while recovery.poll_request(now, &missing).is_some() {
                sent += 1;
            }
        }
        // A full budget at the start, then 100 a second.
        assert!((390..=400).contains(&sent), "{sent}");
    }
}
