//! Progress on stderr, where it is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tickcast_replay::capture::CaptureReader;

/// The reader is asked this often (in records): asking costs an atomic load.
const EVERY: u64 = 4_096;

/// A line on stderr that is rewritten, for work without an end; hidden where stderr is no terminal.
pub(crate) fn status() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5)).with_style(style)
}

/// Progress through so many steps; hidden where stderr is no terminal.
pub(crate) fn steps(count: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:32} {pos} of {len}, {eta} left, {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr_with_hz(10))
        .with_style(style)
}

/// Progress through one file.
pub(crate) struct Progress {
    bar: ProgressBar,
    records: u64,
}

impl Progress {
    /// For a file of `name`; hidden where stderr is no terminal.
    pub(crate) fn new(name: &str, capture: &CaptureReader) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let bar = match capture.bytes_total() {
            Some(total) => ProgressBar::with_draw_target(Some(total), target).with_style(
                ProgressStyle::with_template(
                    "{msg} {bar:32} {percent:>3} % {binary_bytes_per_sec} {eta} left",
                )
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
            ),
            None => ProgressBar::with_draw_target(None, target),
        };
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, records: 0 }
    }

    /// One more record was read.
    pub(crate) fn step(&mut self, capture: &CaptureReader) {
        self.records += 1;
        if self.records.is_multiple_of(EVERY) {
            self.bar.set_position(capture.bytes_read());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
