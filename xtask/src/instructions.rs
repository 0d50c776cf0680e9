//! Instructions a message of what is on the hot path, compared with a committed baseline.
//!
//! Time is noise on a shared machine, instructions are not: the same program on the same input gives the same count each time.
//! Callgrind counts them for each case of `benches/instructions`, whose input the simulated market writes.  The counts depend
//! on the compiler, so the baseline names the one that it was made with; with another, the table is shown and
//! nothing is judged.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Result, cargo, root, run};

/// The program that counts; on Debian of the package `valgrind`.
pub(crate) const VALGRIND: &str = "/usr/bin/valgrind";

const BASELINE: &str = "benches/instructions.txt";

/// Files that the simulated market writes, and how.
const INPUTS: &[(&str, &[&str])] = &[
    ("natural", &["--instruments", "300", "--messages", "120000"]),
    ("hot", &["--messages", "60000"]),
    ("deep", &["--orders", "8000", "--messages", "60000"]),
    ("one-order-a-level", &["--messages", "60000"]),
    ("one-level", &["--orders", "8000", "--messages", "60000"]),
];

/// What is written at the top of a baseline.
const HEAD: &str = "\
# Instructions a message (of snapshots: mbp-10 a book, mbo an order; of encode: an update), as callgrind counts them.
# `cargo xtask test` fails if one grows by more than the tolerance; `cargo xtask instructions --renew` writes this file.
# The tolerance is there because glibc picks its routines by the processor and the alignment of memory, and small changes
# move what is inlined; on one machine the counts of one program are the same to the last digit.
";

/// Percent that a count may grow, for the reason in [`HEAD`].
const TOLERANCE_PERCENT: f64 = 5.0;

/// Builds the program that writes what is worked on; the tests have built it too.
pub(crate) fn build_writer() -> Result {
    run(
        "build of what writes the input",
        cargo().args(["build", "--locked", "-p", "tickcast"]),
    )
}

/// Counts, and compares with the baseline.
pub(crate) fn check() -> Result {
    let path = root().join(BASELINE);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let baseline = Baseline::parse(&text).map_err(|why| format!("{BASELINE}: {why}"))?;
    let compiler = compiler()?;
    let counts = count()?;
    let comparison = Comparison::new(&baseline, &counts);
    eprint!("{}", comparison.table());
    let tolerance = baseline.tolerance_percent;
    if baseline.compiler != compiler {
        eprintln!(
            "{BASELINE} was made with {}, this is {compiler}: not judged; \
             renew it with `cargo xtask instructions --renew`",
            baseline.compiler
        );
        return Ok(());
    }
    let shrunk = comparison.shrunk(tolerance);
    if !shrunk.is_empty() {
        eprintln!(
            "fewer instructions than {BASELINE} says, so that growth would go unseen: {}; \
             renew it with `cargo xtask instructions --renew`",
            shrunk.join(", ")
        );
    }
    comparison.verdict(tolerance)
}

/// Counts, and writes the baseline.
pub(crate) fn renew() -> Result {
    let baseline = Baseline {
        compiler: compiler()?,
        tolerance_percent: TOLERANCE_PERCENT,
        counts: count()?,
    };
    let path = root().join(BASELINE);
    fs::write(&path, baseline.text()).map_err(|error| format!("{}: {error}", path.display()))?;
    eprintln!("{BASELINE} is written; commit it with what changed the counts");
    Ok(())
}

/// Release and host of the compiler: what the counts depend on.
fn compiler() -> Result<String> {
    let text = output(Command::new("rustc").arg("-vV").current_dir(root()))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim)
            .ok_or_else(|| format!("rustc -vV doesn't say {name}"))
    };
    Ok(format!("{} {}", field("release:")?, field("host:")?))
}

fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_owned();
    let output = command
        .output()
        .map_err(|error| format!("can't start {name:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "{name:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Name and instructions a message of each case.
type Counts = Vec<(String, f64)>;

fn count() -> Result<Counts> {
    if !Path::new(VALGRIND).exists() {
        return Err(format!(
            "{VALGRIND} isn't there; on Debian: apt-get install valgrind"
        ));
    }
    let target = cargo_target()?;
    let folder = Path::new(&target).join("instructions");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    write_inputs(&Path::new(&target).join("debug/tickcast"), &folder)?;
    run(
        "build of what is counted",
        cargo().args([
            "build",
            "--release",
            "--locked",
            "-p",
            "tickcast-instructions",
        ]),
    )?;
    let program = Path::new(&target).join("release/tickcast-instructions");
    let cases = output(Command::new(&program).arg("list"))?;
    eprintln!("== instructions");
    cases
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, _)| Ok((name.to_owned(), count_case(&program, name, &folder)?)))
        .collect()
}

/// Where cargo builds, which a setting of the user's may have moved.
fn cargo_target() -> Result<String> {
    let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    // The one value that is needed, of a document that is otherwise cargo's own business.
    let found = metadata
        .split_once("\"target_directory\":\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    found
        .map(|(path, _)| path.to_owned())
        .ok_or_else(|| "cargo metadata doesn't say target_directory".to_owned())
}

/// How fast the writer is built to be is of no concern.
fn write_inputs(writer: &Path, folder: &Path) -> Result {
    for (shape, options) in INPUTS {
        let path = folder.join(format!("{shape}.itch"));
        output(
            Command::new(writer)
                .args(["simulate", "--shape", shape, "--write"])
                .arg(&path)
                .args(*options),
        )?;
    }
    Ok(())
}

fn count_case(program: &Path, name: &str, folder: &Path) -> Result<f64> {
    let profile = folder.join("callgrind.out");
    let messages = output(
        Command::new(VALGRIND)
            .args([
                "--tool=callgrind",
                "--collect-atstart=no",
                "--toggle-collect=*tickcast_counted*",
            ])
            .arg(format!("--callgrind-out-file={}", profile.display()))
            .arg(program)
            .args(["run", name])
            .arg(folder),
    )?;
    let profile =
        fs::read_to_string(&profile).map_err(|error| format!("{}: {error}", profile.display()))?;
    let total = total(&profile).ok_or_else(|| format!("{name}: callgrind counted nothing"))?;
    let messages: f64 = messages
        .trim()
        .parse()
        .map_err(|_| format!("{name}: {messages:?} is not a number of messages"))?;
    Ok(total / messages)
}

/// Of a profile of callgrind's, all that was counted; `None` if that is nothing.
fn total(profile: &str) -> Option<f64> {
    let total = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals:"))?;
    total.trim().parse().ok().filter(|total| *total > 0.0)
}

/// What was counted when it was last looked at.
#[derive(Debug, PartialEq)]
struct Baseline {
    compiler: String,
    tolerance_percent: f64,
    counts: Counts,
}

impl Baseline {
    /// Lines of a name and a value; `#` begins a comment.
    fn parse(text: &str) -> Result<Self> {
        let (mut compiler, mut tolerance_percent, mut counts) = (None, None, Counts::new());
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let (name, value) = line
                .split_once(char::is_whitespace)
                .map(|(name, value)| (name, value.trim()))
                .ok_or_else(|| format!("{line:?} is not a name and a value"))?;
            let number = || match value.parse() {
                Ok(number) if number > 0.0 => Ok::<f64, String>(number),
                _ => Err(format!("{name}: {value:?} is not a number above 0")),
            };
            match name {
                "compiler" => compiler = Some(value.to_owned()),
                "tolerance_percent" => tolerance_percent = Some(number()?),
                _ if counts.iter().any(|(of, _)| of == name) => {
                    return Err(format!("{name} is there twice"));
                }
                _ => counts.push((name.to_owned(), number()?)),
            }
        }
        Ok(Self {
            compiler: compiler.ok_or("compiler is missing")?,
            tolerance_percent: tolerance_percent.ok_or("tolerance_percent is missing")?,
            counts,
        })
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        let Self {
            compiler,
            tolerance_percent,
            counts,
        } = self;
        // Writing to a string doesn't fail.
        let _ = writeln!(text, "compiler {compiler}");
        let _ = writeln!(text, "tolerance_percent {tolerance_percent}\n");
        for (name, count) in counts {
            let _ = writeln!(text, "{name:<28}{count:>10.1}");
        }
        text
    }
}

/// A case: its name, the baseline's count, and the count now.
#[derive(Debug)]
struct Compared {
    name: String,
    baseline: Option<f64>,
    now: Option<f64>,
}

#[derive(Debug)]
struct Comparison(Vec<Compared>);

impl Comparison {
    fn new(baseline: &Baseline, counts: &Counts) -> Self {
        let of = |counts: &Counts, name: &str| {
            let found = counts.iter().find(|(of, _)| of == name);
            found.map(|(_, count)| *count)
        };
        let gone = baseline
            .counts
            .iter()
            .filter(|(name, _)| of(counts, name).is_none());
        let names = counts.iter().chain(gone).map(|(name, _)| name.clone());
        Self(
            names
                .map(|name| Compared {
                    baseline: of(&baseline.counts, &name),
                    now: of(counts, &name),
                    name,
                })
                .collect(),
        )
    }

    fn table(&self) -> String {
        let number = |count: Option<f64>| count.map_or("-".to_owned(), |n| format!("{n:.1}"));
        let mut text = format!("{:<28}{:>10}{:>10}{:>8}\n", "", "baseline", "now", "ratio");
        for compared in &self.0 {
            let ratio = compared
                .ratio()
                .map_or("-".to_owned(), |n| format!("{n:.3}"));
            let (baseline, now) = (number(compared.baseline), number(compared.now));
            let name = &compared.name;
            let _ = writeln!(text, "{name:<28}{baseline:>10}{now:>10}{ratio:>8}");
        }
        text
    }

    /// Those that the baseline doesn't describe any more, for the better.
    fn shrunk(&self, tolerance_percent: f64) -> Vec<&str> {
        self.names(|compared| {
            let shrunk = |ratio| ratio < 1.0 - tolerance_percent / 100.0;
            compared.ratio().is_some_and(shrunk)
        })
    }

    /// Fails if anything grew, or was counted on one side only.
    fn verdict(&self, tolerance_percent: f64) -> Result {
        let grown = self.names(|compared| {
            let grown = |ratio| ratio > 1.0 + tolerance_percent / 100.0;
            compared.ratio().is_some_and(grown)
        });
        let single = self.names(|compared| compared.ratio().is_none());
        let mut wrong = Vec::new();
        if !grown.is_empty() {
            wrong.push(format!(
                "more instructions by over {tolerance_percent} %: {}",
                grown.join(", ")
            ));
        }
        if !single.is_empty() {
            wrong.push(format!(
                "not in {BASELINE}, or only there: {}",
                single.join(", ")
            ));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{}; if it is worth it, `cargo xtask instructions --renew`",
            wrong.join("; ")
        ))
    }

    fn names(&self, which: impl Fn(&Compared) -> bool) -> Vec<&str> {
        let these = self.0.iter().filter(|compared| which(compared));
        these.map(|compared| compared.name.as_str()).collect()
    }
}

impl Compared {
    fn ratio(&self) -> Option<f64> {
        Some(self.now? / self.baseline?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(counts: &[(&str, f64)]) -> Baseline {
        Baseline {
            compiler: "1.95.0 x86_64-unknown-linux-gnu".to_owned(),
            tolerance_percent: 5.0,
            counts: own(counts),
        }
    }

    fn own(counts: &[(&str, f64)]) -> Counts {
        let own = counts
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        own.collect()
    }

    fn verdict(now: &[(&str, f64)]) -> Result {
        let baseline = baseline(&[("walk/file", 10.0), ("book/hot", 500.0)]);
        Comparison::new(&baseline, &own(now)).verdict(5.0)
    }

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let baseline = baseline(&[("walk/file", 10.5), ("book/one-order-a-level", 12_345.7)]);
        assert_eq!(Baseline::parse(&baseline.text()), Ok(baseline));
    }

    #[test]
    fn a_baseline_with_anything_else_in_it_is_refused_by_name() {
        let head = "compiler 1 x\ntolerance_percent 5\n";
        for (text, word) in [
            ("walk", "\"walk\""),
            ("walk many", "\"many\""),
            ("walk 0", "walk"),
            ("walk -1", "walk"),
            ("walk NaN", "walk"),
            ("walk 1\nwalk 2", "twice"),
        ] {
            let error = Baseline::parse(&format!("{head}{text}")).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        for (text, word) in [
            ("compiler 1 x", "tolerance_percent"),
            ("tolerance_percent 5", "compiler"),
        ] {
            assert!(Baseline::parse(text).unwrap_err().contains(word));
        }
    }

    #[test]
    fn what_stays_within_the_tolerance_passes() {
        assert_eq!(verdict(&[("walk/file", 10.5), ("book/hot", 475.0)]), Ok(()));
    }

    #[test]
    fn what_grows_by_more_fails_and_only_that_is_named() {
        let error = verdict(&[("walk/file", 10.0), ("book/hot", 525.1)]).unwrap_err();
        assert!(error.contains("over 5 %: book/hot"), "{error}");
        assert!(!error.contains("walk"), "{error}");
    }

    #[test]
    fn what_shrinks_by_more_is_told_and_passes() {
        let now = own(&[("walk/file", 9.4), ("book/hot", 500.0)]);
        let baseline = baseline(&[("walk/file", 10.0), ("book/hot", 500.0)]);
        let comparison = Comparison::new(&baseline, &now);
        assert_eq!(comparison.shrunk(5.0), ["walk/file"]);
        assert_eq!(comparison.verdict(5.0), Ok(()));
    }

    #[test]
    fn a_case_that_one_side_lacks_fails() {
        for now in [
            &[("walk/file", 10.0)][..],
            &[("walk/file", 10.0), ("book/hot", 500.0), ("ring", 1.0)],
        ] {
            assert!(verdict(now).is_err(), "{now:?}");
        }
    }

    #[test]
    fn the_table_has_a_line_a_case_with_both_counts_and_their_ratio() {
        let now = own(&[("walk/file", 11.0), ("ring", 7.0)]);
        let table = Comparison::new(&baseline(&[("walk/file", 10.0)]), &now).table();
        let rows: Vec<Vec<&str>> = table
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows,
            [
                ["walk/file", "10.0", "11.0", "1.100"],
                ["ring", "-", "7.0", "-"]
            ]
        );
    }

    #[test]
    fn callgrinds_total_is_found_and_nothing_counted_is_no_count() {
        assert_eq!(
            total("version: 1\nfn=(1) x\n5 7\n\ntotals: 900017\n"),
            Some(900_017.0)
        );
        assert_eq!(total("totals: 0\n"), None);
        assert_eq!(total("version: 1\n"), None);
    }
}
