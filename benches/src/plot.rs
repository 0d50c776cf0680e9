//! Pictures of the figures, as SVG.
//!
//! Latency is drawn over the percentile, with a scale on which each nine has the same width: what counts is on the
//! right, where an average shows nothing.

use hdrhistogram::Histogram;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::Failed;
use crate::file::FileResult;
use crate::results::Results;
use crate::wire::{Latency, Rate, Stage, To, WireRun};

/// Of a picture, pixels.
const WIDTH: u32 = 1_280;
const HEIGHT_A_ROW: u32 = 460;
const HEIGHT_OF_TITLE: u32 = 56;
const HEIGHT_A_BAR: u32 = 40;
const LEFT_OF_BARS: i32 = 400;
const WIDTH_OF_BARS: u32 = 620;
const WIDTH_OF_NAMES: u32 = 140;

/// The percentile axis ends here: a hundred thousand messages say no more.
const NINES_MAX: f64 = 5.0;

/// Points of a curve.
const POINTS: u32 = 400;

/// Okabe and Ito's colours, which most eyes tell apart.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
    RGBColor(150, 130, 20),
];

const INK: RGBColor = RGBColor(40, 44, 52);
const FAINT: RGBColor = RGBColor(225, 228, 232);

/// A curve: its name and its points, by nines and microseconds.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
    dashed: bool,
}

fn curve(name: String, histogram: &Histogram<u64>, dashed: bool) -> Curve {
    // Nothing is to be seen of a percentile that less than one message is beyond.
    let nines_max = (histogram.len() as f64).log10().clamp(0.5, NINES_MAX);
    let points = (0..=POINTS).map(|at| {
        let nines = nines_max * f64::from(at) / f64::from(POINTS);
        let ns = histogram.value_at_quantile(1.0 - 10_f64.powf(-nines));
        // A logarithm has no 0.
        (nines, (ns as f64 / 1e3).max(0.01))
    });
    Curve {
        name,
        points: points.collect(),
        dashed,
    }
}

/// The latency of all runs on the wire: by rate on the left, by stage on the right; `None` if there is nothing to
/// draw.
///
/// # Errors
///
/// What the plotting crate says.
pub fn latency(results: &Results) -> Result<Option<String>, Failed> {
    let rows: Vec<(To, Vec<&WireRun>)> = [To::Book, To::Subscriber]
        .into_iter()
        .map(|to| (to, results.wire.iter().filter(|run| run.to == to).collect()))
        .filter(|(_, runs): &(_, Vec<_>)| !runs.is_empty())
        .collect();
    let Ok(count) = u32::try_from(rows.len()) else {
        return Ok(None);
    };
    if count == 0 {
        return Ok(None);
    }
    let mut svg = String::new();
    let size = (WIDTH, HEIGHT_OF_TITLE + HEIGHT_A_ROW * count);
    draw(&mut svg, size, results, &rows)
        .map_err(|error| Failed::new(format!("the picture: {error}")))?;
    Ok(Some(svg))
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(
    svg: &mut String,
    size: (u32, u32),
    results: &Results,
    rows: &[(To, Vec<&WireRun>)],
) -> Drawn {
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    let (title, body) = root.split_vertically(HEIGHT_OF_TITLE);
    text(&title, "tickcast: latency from the wire", 22, (24, 10))?;
    text(&title, &subtitle(results), 13, (24, 37))?;
    for (area, (to, runs)) in body.split_evenly((rows.len(), 1)).iter().zip(rows) {
        let (left, right) = area.split_horizontally(WIDTH / 2);
        let (sum, due, words) = match to {
            To::Book => (Stage::WireToBook, Stage::DueToBook, "wire to book"),
            To::Subscriber => (
                Stage::WireToSubscriber,
                Stage::DueToSubscriber,
                "wire to subscriber",
            ),
        };
        let mut curves = Vec::new();
        for run in runs {
            curves.extend(of(run, sum, rate_words(run), false));
            curves.extend(of(run, due, String::new(), true));
        }
        let caption = format!("{words} (dashed: from when it was due)");
        chart(&left, &caption, &curves, 2)?;
        if let Some(run) = middle(runs) {
            let stages = run.latencies.iter().filter(|one| !one.stage.is_sum());
            let curves: Vec<Curve> = stages
                .filter_map(|one| Some(curve(name(one), one.histogram.as_ref()?, false)))
                .collect();
            let caption = format!("{words}, by stage, at {}", rate_words(run));
            chart(&right, &caption, &curves, 1)?;
        }
    }
    root.present()?;
    Ok(())
}

/// What was measured on.
fn subtitle(results: &Results) -> String {
    let machine = &results.machine;
    format!(
        "{}, {} cores, Linux {}, tickcast {} ({}), {}",
        machine.cpu,
        machine.cores.len(),
        machine.kernel.as_deref().unwrap_or("?"),
        machine.program.version,
        machine.program.profile,
        machine.date
    )
}

fn name(latency: &Latency) -> String {
    latency.stage.name().to_owned()
}

fn of(run: &WireRun, stage: Stage, name: String, dashed: bool) -> Option<Curve> {
    let histogram = run.latency(stage)?.histogram.as_ref()?;
    Some(curve(name, histogram, dashed))
}

/// The run whose stages are shown: the middle one of those with a stated rate.
fn middle<'a>(runs: &[&'a WireRun]) -> Option<&'a WireRun> {
    let stated: Vec<_> = runs.iter().filter(|run| run.asked != Rate::Max).collect();
    let found = stated.get(stated.len() / 2).copied();
    found.or(runs.first()).copied()
}

/// A rate as people read it.
fn rate_words(run: &WireRun) -> String {
    match run.asked {
        Rate::PerSecond(rate) => format!("{}/s", thousands(rate as f64)),
        Rate::Max => format!("{}/s (highest)", thousands(run.rate)),
    }
}

/// With commas.
#[must_use]
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn text(area: &DrawingArea<SVGBackend<'_>, Shift>, text: &str, size: u32, at: (i32, i32)) -> Drawn {
    let style = ("sans-serif", size).into_font().color(&INK);
    area.draw(&Text::new(text, at, style))?;
    Ok(())
}

/// Curves over the percentile, their names beside them.  `each`: neighbours of so many have one colour.
fn chart(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    caption: &str,
    curves: &[Curve],
    each: usize,
) -> Drawn {
    let values = || curves.iter().flat_map(|curve| &curve.points);
    let nines = values().map(|(nines, _)| nines.ceil()).fold(2.0, f64::max);
    let low = values().map(|(_, us)| *us).fold(f64::INFINITY, f64::min);
    let high = values().map(|(_, us)| *us).fold(0.0, f64::max);
    let decade = |us: f64, up: bool| {
        let log = us.max(0.01).log10();
        10_f64.powf(if up { log.ceil() } else { log.floor() })
    };
    let low = decade(low.min(1e6), false);
    let high = decade(high, true).max(low * 10.0);
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 16).into_font().color(&INK))
        .margin(14)
        .margin_right(WIDTH_OF_NAMES)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..nines, (low..high).log_scale())?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 13).into_font().color(&INK))
        .x_labels(6)
        .x_label_formatter(&|nines| percentile(*nines))
        .x_desc("percentile")
        .y_label_formatter(&|us| time(*us))
        .draw()?;
    let (width, _) = area.dim_in_pixel();
    let left = i32::try_from(width.saturating_sub(WIDTH_OF_NAMES)).unwrap_or(0) + 12;
    let mut top = 48;
    for (at, curve) in curves.iter().enumerate() {
        let colour = COLOURS[at / each.max(1) % COLOURS.len()];
        let points = curve.points.iter().copied();
        if curve.dashed {
            chart.draw_series(DashedLineSeries::new(points, 4, 5, colour.stroke_width(1)))?;
        } else {
            chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
        }
        if !curve.name.is_empty() {
            let stroke = [(left, top), (left + 18, top)];
            area.draw(&PathElement::new(stroke, colour.stroke_width(3)))?;
            text(area, &curve.name, 13, (left + 24, top - 6))?;
            top += 20;
        }
    }
    Ok(())
}

/// What a message costs, a bar a way: `None` if that wasn't measured.
///
/// # Errors
///
/// What the plotting crate says.
pub fn cost(results: &Results) -> Result<Option<String>, Failed> {
    let Some(file) = &results.file else {
        return Ok(None);
    };
    let mut svg = String::new();
    let rows = u32::try_from(file.ways.len()).unwrap_or(0);
    let size = (WIDTH, HEIGHT_OF_TITLE + HEIGHT_A_BAR * rows + 40);
    draw_cost(&mut svg, size, results, file)
        .map_err(|error| Failed::new(format!("the picture: {error}")))?;
    Ok(Some(svg))
}

fn draw_cost(svg: &mut String, size: (u32, u32), results: &Results, file: &FileResult) -> Drawn {
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!(
        "tickcast: ns a message, {} messages of {} instruments",
        thousands(file.messages as f64),
        thousands(file.instruments as f64)
    );
    text(&root, &title, 22, (24, 10))?;
    text(&root, &subtitle(results), 13, (24, 37))?;
    let most = file.ways.iter().map(|way| way.median).fold(1.0, f64::max);
    let pixels = |ns: f64| LEFT_OF_BARS + whole(ns / most * f64::from(WIDTH_OF_BARS));
    for (at, way) in (0..).zip(&file.ways) {
        let top = i32::try_from(HEIGHT_OF_TITLE + HEIGHT_A_BAR * at).unwrap_or(0) + 20;
        let bottom = top + 24;
        text(&root, &way.way.words(file.watched), 14, (24, top + 5))?;
        let bar = [(LEFT_OF_BARS, top), (pixels(way.min), bottom)];
        root.draw(&Rectangle::new(bar, COLOURS[0].filled()))?;
        let rest = [(pixels(way.min), top), (pixels(way.median), bottom)];
        root.draw(&Rectangle::new(rest, COLOURS[0].mix(0.25).filled()))?;
        let words = format!(
            "{:.1} (median {:.1}), {:.2} x walk",
            way.min, way.median, way.to_walk
        );
        text(&root, &words, 14, (pixels(way.median) + 8, top + 5))?;
    }
    root.present()?;
    Ok(())
}

/// Pixels.
#[expect(clippy::cast_possible_truncation, reason = "a part of a picture")]
fn whole(pixels: f64) -> i32 {
    pixels.round() as i32
}

/// 0, 90 %, 99 %, ...
fn percentile(nines: f64) -> String {
    match nines.round() {
        0.0 => "0 %".to_owned(),
        1.0 => "90 %".to_owned(),
        2.0 => "99 %".to_owned(),
        3.0 => "99.9 %".to_owned(),
        4.0 => "99.99 %".to_owned(),
        _ => "99.999 %".to_owned(),
    }
}

/// Microseconds in the unit that suits.
fn time(us: f64) -> String {
    let of = |value: f64, unit: &str| {
        let digits = usize::from(value < 0.95) * 2;
        format!("{value:.digits$} {unit}")
    };
    match us {
        us if us >= 0.95e6 => of(us / 1e6, "s"),
        us if us >= 0.95e3 => of(us / 1e3, "ms"),
        us if us >= 0.95 => of(us, "µs"),
        us => of(us * 1e3, "ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_as_people_write_them() {
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(percentile(4.0), "99.99 %");
        assert_eq!(percentile(3.0), "99.9 %");
        assert_eq!(
            [0.1, 10.0, 1e4, 1e6].map(time),
            ["100 ns", "10 µs", "10 ms", "1 s"]
        );
    }
}
