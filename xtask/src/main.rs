//! Development tasks: `cargo xtask test` sets up what the tests need and runs all of them.
//!
//! It calls the tools that a Rust installation has (cargo, rustfmt, clippy) and, where they are there,
//! cargo-nextest, the nightly toolchain with miri, and cargo-fuzz.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

const USAGE: &str = "\
Development tasks.

Usage: cargo xtask <TASK>

Tasks:
  test             set up what the tests need, then formatting, clippy, all tests, doc tests, docs
  miri             run the tests of codecs under miri (nightly toolchain with the miri component)
  fuzz [SECONDS]   run each fuzz target for SECONDS, 60 if not given (nightly, cargo-fuzz)
  screenshot       run the browser test and write its picture to docs/page.png
";

/// Debian packages of the browser test, and the program that shows that they are there.
const DEBIAN: &[(&str, &str)] = &[
    ("chromium", "/usr/bin/chromium"),
    ("chromium-driver", "/usr/bin/chromedriver"),
];

type Result<T = ()> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["test"] => test(),
        ["miri"] => miri(),
        ["fuzz"] => fuzz(60),
        ["fuzz", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz(seconds),
            Err(_) => Err(format!("fuzz: {seconds:?} is not a number of seconds")),
        },
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
    let browser = install_debian_packages();
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
    // Tests start the program and read its page: say so where the browser has to be there.
    let require_browser = if browser { "1" } else { "0" };
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
    run(
        "tests",
        tests.env("TICKCAST_REQUIRE_BROWSER", require_browser),
    )?;
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
    eprintln!("all passed");
    Ok(())
}

/// Installs what is missing, where that is possible.  Returns whether the browser is there afterwards.
fn install_debian_packages() -> bool {
    let missing = || {
        DEBIAN
            .iter()
            .filter(|(_, program)| !Path::new(program).exists())
    };
    if missing().next().is_none() {
        return true;
    }
    let names: Vec<&str> = missing().map(|(package, _)| *package).collect();
    if !Path::new("/usr/bin/apt-get").exists() {
        eprintln!(
            "not installed, and no apt-get to install them: {}",
            names.join(", ")
        );
        return false;
    }
    // Without root this fails, and the browser test is left out with a word.
    let _ = run(
        "package lists",
        Command::new("apt-get").args(["update", "-qq"]),
    );
    let _ = run(
        "Debian packages",
        Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&names)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    );
    let there = missing().next().is_none();
    if !there {
        eprintln!(
            "could not install {}: the browser test will be skipped",
            names.join(", ")
        );
    }
    there
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
            .env("TICKCAST_REQUIRE_BROWSER", "1")
            .env("TICKCAST_SCREENSHOT", root().join("docs/page.png")),
    )
}
