//! Development tasks: `cargo xtask test` sets up what the tests need and runs all of them.
//!
//! It calls the tools that a Rust installation has (cargo, rustfmt, clippy) and, where they are there,
//! cargo-nextest, the nightly toolchain with miri, and cargo-fuzz.

mod instructions;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use instructions::VALGRIND;

const USAGE: &str = "\
Development tasks.

Usage: cargo xtask <TASK>

Tasks:
  test             set up what the tests need, then formatting, clippy, all tests, doc tests, docs, instructions
  instructions     count the instructions of the hot path with callgrind, compare with benches/instructions.txt;
                   --renew writes that file
  miri             run the tests of codecs under miri (nightly toolchain with the miri component)
  fuzz [SECONDS]   run each fuzz target for SECONDS, 60 if not given (nightly, cargo-fuzz)
  soak [SECONDS]   a whole exchange on real sockets at 200,000 messages a second, 60 s if not given
  seeds [N]        run the simulation with N seeds, 10,000 if not given
  screenshot       run the browser test and write its picture to docs/page.png
";

/// Debian packages of some tests, the program that shows that they are there, and the variable that tells
/// those tests to insist on it, if they look for it themselves.
const DEBIAN: &[(&str, &str, Option<&str>)] = &[
    ("chromium", "/usr/bin/chromium", Some(REQUIRE_BROWSER)),
    (
        "chromium-driver",
        "/usr/bin/chromedriver",
        Some(REQUIRE_BROWSER),
    ),
    ("tshark", "/usr/bin/tshark", Some(REQUIRE_TSHARK)),
    ("valgrind", VALGRIND, None),
];
const REQUIRE_BROWSER: &str = "TICKCAST_REQUIRE_BROWSER";
const REQUIRE_TSHARK: &str = "TICKCAST_REQUIRE_TSHARK";

type Result<T = (), E = String> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["test"] => test(),
        ["instructions"] => instructions::build_writer().and_then(|()| instructions::check()),
        ["instructions", "--renew"] => {
            instructions::build_writer().and_then(|()| instructions::renew())
        }
        ["miri"] => miri(),
        ["fuzz"] => fuzz(60),
        ["fuzz", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz(seconds),
            Err(_) => Err(format!("fuzz: {seconds:?} is not a number of seconds")),
        },
        ["soak"] => soak("60"),
        ["soak", seconds] => soak(seconds),
        ["seeds"] => seeds("10000"),
        ["seeds", count] => seeds(count),
        ["screenshot"] => screenshot(),
        ["--help" | "-h" | "help"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn run(what: &str, command: &mut Command) -> Result {
    eprintln!("== {what}");
    let started = Instant::now();
    let status = command
        .status()
        .map_err(|error| format!("{what}: can't start {:?}: {error}", command.get_program()))?;
    eprintln!("== {what}: {status}, {:.0?}", started.elapsed());
    if status.success() {
        Ok(())
    } else {
        Err(format!("{what} failed ({status})"))
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn test() -> Result {
    install_debian_packages();
    run("formatting", cargo().args(["fmt", "--all", "--check"]))?;
    run(
        "clippy",
        cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    let mut tests = cargo();
    if succeeds(cargo().args(["nextest", "--version"])) {
        tests.args([
            "nextest",
            "run",
            "--workspace",
            "--locked",
            "--no-fail-fast",
        ]);
    } else {
        tests.args([
            "test",
            "--workspace",
            "--locked",
            "--lib",
            "--bins",
            "--tests",
        ]);
    }
    // What is there has to be used.
    for requirement in [REQUIRE_BROWSER, REQUIRE_TSHARK] {
        let there = missing().all(|(.., of)| *of != Some(requirement));
        tests.env(requirement, if there { "1" } else { "0" });
    }
    run("tests", &mut tests)?;
    run(
        "doc tests",
        cargo().args(["test", "--workspace", "--locked", "--doc"]),
    )?;
    run(
        "docs",
        cargo()
            .args(["doc", "--workspace", "--no-deps", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    if Path::new(VALGRIND).exists() {
        instructions::check()?;
    } else {
        eprintln!("== no instructions counted: {VALGRIND} isn't there");
    }
    eprintln!("all passed");
    Ok(())
}

/// What of [`DEBIAN`] isn't there.
fn missing() -> impl Iterator<Item = &'static (&'static str, &'static str, Option<&'static str>)> {
    DEBIAN
        .iter()
        .filter(|(_, program, _)| !Path::new(program).exists())
}

/// Installs what is missing, where that is possible.
fn install_debian_packages() {
    let names: Vec<&str> = missing().map(|(package, ..)| *package).collect();
    if names.is_empty() {
        return;
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        eprintln!(
            "not installed, and no apt-get to install them: {}",
            names.join(", ")
        );
        return;
    }
    // Without root this fails, and the tests that need them are left out with a word.
    let _ = run(
        "package lists",
        Command::new("apt-get").args(["update", "-qq"]),
    );
    // tshark asks who may capture, unless nobody is there to answer.
    let _ = run(
        "Debian packages",
        Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&names)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    );
    let names: Vec<&str> = missing().map(|(package, ..)| *package).collect();
    if !names.is_empty() {
        eprintln!(
            "could not install {}: the tests that need them will be skipped",
            names.join(", ")
        );
    }
}

fn miri() -> Result {
    // The whole captures take hours under miri: what reads files is left to the ordinary run.
    run(
        "miri on codecs",
        Command::new("cargo")
            .args(["+nightly", "miri", "test", "-p", "tickcast-codecs", "--lib"])
            .env(
                "MIRIFLAGS",
                "-Zmiri-strict-provenance -Zmiri-symbolic-alignment-check",
            )
            .env("PROPTEST_CASES", "4")
            .current_dir(root()),
    )
}

fn fuzz(seconds: u64) -> Result {
    for package in ["codecs", "book", "feed", "replay", "fanout"] {
        let folder = root().join(package);
        let listed = Command::new("cargo")
            .args(["+nightly", "fuzz", "list"])
            .current_dir(&folder)
            .output()
            .map_err(|error| format!("cargo fuzz: {error}"))?;
        if !listed.status.success() {
            return Err(format!(
                "cargo +nightly fuzz list in {package}: {}",
                String::from_utf8_lossy(&listed.stderr).trim()
            ));
        }
        for target in String::from_utf8_lossy(&listed.stdout).lines() {
            run(
                &format!("fuzz {package}/{target}, {seconds} s"),
                Command::new("cargo")
                    .args(["+nightly", "fuzz", "run", target, "--"])
                    .args([
                        &format!("-max_total_time={seconds}"),
                        "-timeout=5",
                        "-rss_limit_mb=1024",
                        "-print_final_stats=1",
                    ])
                    .current_dir(&folder),
            )?;
        }
    }
    Ok(())
}

fn soak(seconds: &str) -> Result {
    released_test(
        "soak",
        "live_soak",
        &[
            ("TICKCAST_SOAK_SECONDS", seconds),
            ("TICKCAST_SOAK_RATE", "200000"),
            ("TICKCAST_SOAK_INSTRUMENTS", "2000"),
        ],
    )
}

fn seeds(count: &str) -> Result {
    released_test("simulation", "sim", &[("TICKCAST_SEEDS", count)])
}

/// A test of `replay` in a release build, with what it prints.
fn released_test(what: &str, test: &str, settings: &[(&str, &str)]) -> Result {
    run(
        what,
        cargo()
            .args(["test", "--release", "-p", "tickcast-replay", "--test", test])
            .args(["--", "--nocapture"])
            .envs(settings.iter().copied()),
    )
}

fn screenshot() -> Result {
    run(
        "browser test",
        cargo()
            .args([
                "test",
                "-p",
                "tickcast",
                "--test",
                "browser",
                "--",
                "--nocapture",
            ])
            .env(REQUIRE_BROWSER, "1")
            .env("TICKCAST_SCREENSHOT", root().join("docs/page.png"))
            // So that there is a history to be seen.
            .env("TICKCAST_SCREENSHOT_WAIT", "75"),
    )
}
