//! `feed`: what channels say of themselves, to whom subscribed to it.
//!
//! A report is only read while somebody is subscribed.  Who joins gets the state as it was read last; a change of state or
//! of a line is told as soon as it is read, other counts at most each [`feed_ns`](crate::Limits::feed_ns).
//!
//! The channel's staleness is the hub's own, which it has from the ring in order with the books; a report that says it
//! earlier is believed too.

use tickcast_book::Report;
use tickcast_codecs::event::Header;
use tickcast_codecs::outbound::{Body, Feed, FeedLine, FeedRepair, Schema};

use super::Hub;

/// What is told of a channel while somebody is subscribed to its `feed`.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// When its report is to be read next.
    pub(super) read_at: u64,
    /// What was told last; `None` before the first report.
    pub(super) told: Option<Told>,
}

/// The state of a channel as it was told.
#[derive(Debug)]
pub(super) struct Told {
    /// When, monotonic ns.
    at: u64,
    pub(super) header: Header,
    pub(super) feed: Feed,
}

/// A report, as subscribers see it.
#[must_use]
pub(crate) fn feed_of(channel: &str, report: &Report, stale: bool) -> Feed {
    let counters = |line: Option<u8>| {
        report
            .readings
            .iter()
            .filter(|reading| reading.line == line)
            .map(|reading| (reading.name.to_owned(), reading.value))
            .collect()
    };
    Feed {
        channel: channel.to_owned(),
        state: report.state.to_owned(),
        stale: stale || report.stale,
        session: report.session.clone(),
        next_sequence: report.next_sequence,
        lines: (0_u8..=u8::MAX)
            .zip(&report.lines)
            .map(|(number, line)| FeedLine {
                name: line.name.clone(),
                state: line.state.to_owned(),
                won: line.won,
                duplicate: line.duplicate,
                counters: counters(Some(number)),
            })
            .collect(),
        gaps: report.gaps.clone(),
        counters: counters(None),
        repair: FeedRepair::of(
            report.repair.bounds_ns,
            &report.repair.counts,
            report.repair.sum_ns,
        ),
    }
}

/// Whether the difference is told at once.
fn is_urgent(old: &Feed, new: &Feed) -> bool {
    let lines = |feed: &Feed| -> Vec<(String, String)> {
        let lines = feed.lines.iter();
        lines
            .map(|line| (line.name.clone(), line.state.clone()))
            .collect()
    };
    (old.stale, &old.state, &old.session) != (new.stale, &new.state, &new.session)
        || lines(old) != lines(new)
}

impl Hub {
    /// The next channel whose report is to be read now, for [`handle_report`](Self::handle_report).
    pub fn poll_report(&mut self) -> Option<usize> {
        let (now, each) = (self.now, self.config.limits.report_ns.max(1));
        let telling = |channel: &mut super::Channel| match &mut channel.telling {
            Some(telling) if telling.read_at <= now => {
                telling.read_at = now.saturating_add(each);
                true
            }
            _ => false,
        };
        self.channels.iter_mut().position(telling)
    }

    /// Takes what a channel says of itself.
    pub fn handle_report(&mut self, channel: usize, report: &Report) {
        let (now, each) = (self.now, self.config.limits.feed_ns);
        let Some(place) = self.channels.get_mut(channel) else {
            return;
        };
        let Some(telling) = &mut place.telling else {
            return;
        };
        self.audience.counters.reports += 1;
        let feed = feed_of(&place.info.name, report, place.stale);
        if let Some(told) = &telling.told
            && (told.feed == feed
                || (!is_urgent(&told.feed, &feed) && now < told.at.saturating_add(each)))
        {
            return;
        }
        let Ok(number) = u32::try_from(channel) else {
            return;
        };
        let header = Header {
            instrument_id: number << 16,
            ts_recv: self.wall,
            ..Header::default()
        };
        self.publish(channel, Schema::Feed, &header, Body::Feed(&feed));
        if let Some(telling) = &mut self.channels[channel].telling {
            telling.told = Some(Told {
                at: now,
                header,
                feed,
            });
        }
        for &number in self
            .streams_of
            .get(&header.instrument_id)
            .into_iter()
            .flatten()
        {
            if let Some(stream) = self.streams.get_mut(number as usize)
                && stream.profile.topic.schema == Schema::Feed
            {
                self.audience.release(stream);
            }
        }
        self.reap();
    }
}
