//! `tickcast check-config`: what a configuration means, before it is used.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::json;

use crate::Failure;
use crate::config::{self, Config, Machine};

/// Check a configuration and print what it means with all defaults filled in.
///
/// Opens no socket and starts nothing.  The configuration goes to stdout, in the form of the file; what is wrong
/// or probably not meant goes to stderr.  Passwords are never printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "tickcast.toml")]
    config: PathBuf,
    /// One JSON object on stdout: configuration, warnings and mistakes.
    #[arg(long)]
    json: bool,
    /// Print a table of all keys instead: what they are, may be, and are if left out.
    #[arg(long, conflicts_with = "json")]
    keys: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.keys {
        return print(&config::tables());
    }
    let path = &arguments.config;
    let machine = Machine::this();
    let read = Config::read(path, Some(&machine));
    let warnings = read
        .as_ref()
        .map_or_else(|_| Vec::new(), |config| config::warnings(config, &machine));
    let failed = |error: String| Failure::Failed(format!("{}: {error}", path.display()));
    let text = if arguments.json {
        let (config, mistakes) = match &read {
            Ok(config) => (Some(config), [].as_slice()),
            Err(mistakes) => (None, mistakes.as_slice()),
        };
        let whole = json!({
            "file": path.display().to_string(),
            "valid": config.is_some(),
            "config": config,
            "warnings": warnings,
            "mistakes": mistakes,
        });
        serde_json::to_string_pretty(&whole).map_err(|error| failed(error.to_string()))?
    } else if let Ok(config) = &read {
        toml::to_string(config).map_err(|error| failed(error.to_string()))?
    } else {
        String::new()
    };
    if !text.is_empty() {
        print(&text)?;
    }
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    match read {
        Ok(_) => Ok(()),
        Err(mistakes) => Err(config::refused(path, &mistakes)),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{}", text.trim_end()).map_err(|error| Failure::output(&error))
}
