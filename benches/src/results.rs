//! All figures of a run of `tickcast bench`, and the files that they are written to.
//!
//! `results.json` has every figure; each latency's whole distribution is a `.hgrm` file, the percentile text of
//! HdrHistogram that its plotters read: value, percentile as a fraction, count up to it, 1 / (1 - percentile).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::file::FileResult;
use crate::machine::Machine;
use crate::wire::{Rate, To, WireRun};

/// The version of the format of `results.json`.
pub const FORMAT: u32 = 1;

/// Steps from one halving of the distance to 100 % to the next, as HdrHistogram's own tools have them.
const TICKS_A_HALVING: u32 = 5;

/// All figures of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// See [`FORMAT`].
    pub format: u32,
    /// What it was measured on.
    pub machine: Machine,
    /// From a file in memory, if it was measured.
    pub file: Option<FileResult>,
    /// From the wire, a run each.
    pub wire: Vec<WireRun>,
}

impl WireRun {
    /// What its files and figures are called.
    #[must_use]
    pub fn name(&self) -> String {
        let to = match self.to {
            To::Book => "book",
            To::Subscriber => "subscriber",
        };
        match self.asked {
            Rate::PerSecond(rate) => format!("{to}-{rate}"),
            Rate::Max => format!("{to}-max"),
        }
    }
}

impl Results {
    /// Writes `results.json` and a `.hgrm` file for each latency into a folder; gives their names.
    ///
    /// # Errors
    ///
    /// The path that couldn't be written, and why.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
        let mut written = Vec::new();
        let mut write = |name: String, bytes: &[u8]| {
            let path = folder.join(name);
            match fs::write(&path, bytes) {
                Ok(()) => written.push(path),
                Err(error) => return Err((path, error)),
            }
            Ok(())
        };
        let mut json = serde_json::to_vec_pretty(self)
            .map_err(|error| (folder.join("results.json"), io::Error::other(error)))?;
        json.push(b'\n');
        write("results.json".to_owned(), &json)?;
        for run in &self.wire {
            for latency in &run.latencies {
                let Some(histogram) = &latency.histogram else {
                    continue;
                };
                let mut text = Vec::new();
                let name = format!("{}.{}.hgrm", run.name(), latency.stage.name());
                if let Err(error) = write_hgrm(histogram, &mut text) {
                    return Err((folder.join(name), error));
                }
                write(name, &text)?;
            }
        }
        Ok(written)
    }
}

/// Writes a histogram of ns as HdrHistogram's percentile text, in microseconds.
///
/// # Errors
///
/// The system's error.
pub fn write_hgrm(histogram: &Histogram<u64>, out: &mut impl Write) -> io::Result<()> {
    let us = |ns: f64| ns / 1e3;
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    for value in histogram.iter_quantiles(TICKS_A_HALVING) {
        let quantile = value.quantile_iterated_to();
        write!(
            out,
            "{:12.3} {:2.12} {:10}",
            us(value.value_iterated_to() as f64),
            quantile,
            histogram.count_between(0, value.value_iterated_to()),
        )?;
        if quantile < 1.0 {
            writeln!(out, " {:14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(out)?;
        }
    }
    writeln!(
        out,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]",
        us(histogram.mean()),
        us(histogram.stdev())
    )?;
    writeln!(
        out,
        "#[Max     = {:12.3}, Total count    = {:12}]",
        us(histogram.max() as f64),
        histogram.len()
    )?;
    writeln!(
        out,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.buckets(),
        (2 * 10_u32.pow(u32::from(histogram.sigfig()))).next_power_of_two()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_written_up_to_100_percent() {
        let Ok(mut histogram) = Histogram::<u64>::new(3) else {
            unreachable!("three digits are possible");
        };
        for value in 1..=1_000 {
            histogram.record(value * 1_000).unwrap_or(());
        }
        let mut text = Vec::new();
        assert!(write_hgrm(&histogram, &mut text).is_ok());
        let text = String::from_utf8_lossy(&text);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .filter_map(|field| field.parse().ok())
                    .collect()
            })
            .collect();
        let median = rows.iter().find(|row| row[1] >= 0.5);
        assert!(median.is_some_and(|row| (row[0] - 500.0).abs() < 1.0 && row[3] == 2.0));
        let last = rows.last().map(|row| (row.len(), row[1], row[2]));
        assert_eq!(last, Some((3, 1.0, 1_000.0)));
        assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[2] <= b[2]));
    }
}
