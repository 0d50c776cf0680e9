//! The generated FlatBuffers code is what flatc makes of the schema.
//!
//! Every run compares the checksums in the head of `market_generated.rs` with the two files, so that neither
//! can be edited alone.  With the feature `regenerate` (which builds flatc: needs cmake and a C++ compiler) the
//! code is generated anew and compared; with `TICKCAST_REGENERATE=1` beside it, it is written:
//!
//! ```text
//! TICKCAST_REGENERATE=1 cargo test -p tickcast-codecs --features regenerate --test generated current
//! ```
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn schema() -> String {
    std::fs::read_to_string(path("schema/market.fbs")).unwrap()
}

fn committed() -> String {
    std::fs::read_to_string(path("src/outbound/market_generated.rs")).unwrap()
}

/// The head that the generator writes before flatc's output.
fn head(schema: &str, code: &str) -> String {
    format!(
        "// Made from schema/market.fbs by flatc 25.12.19; see tests/generated.rs.\n\
         // CRC32 of the schema {:08x}, of the code below {:08x}\n",
        crc32fast::hash(schema.as_bytes()),
        crc32fast::hash(code.as_bytes())
    )
}

#[test]
fn schema_and_generated_code_were_committed_together() {
    let committed = committed();
    let lines: Vec<&str> = committed.splitn(3, '\n').collect();
    assert_eq!(
        format!("{}\n{}\n", lines[0], lines[1]),
        head(&schema(), lines[2]),
        "schema/market.fbs or market_generated.rs was edited: regenerate, see this file's head"
    );
}

#[test]
#[cfg(feature = "regenerate")]
fn generated_code_is_current() {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let status = std::process::Command::new(flatc_fork::flatc())
        .args(["--rust", "-o"])
        .arg(&out)
        .arg(path("schema/market.fbs"))
        .status()
        .unwrap();
    assert!(status.success(), "flatc: {status}");
    let code = std::fs::read_to_string(out.join("market_generated.rs")).unwrap();
    let fresh = head(&schema(), &code) + &code;
    if std::env::var_os("TICKCAST_REGENERATE").is_some() {
        std::fs::write(path("src/outbound/market_generated.rs"), &fresh).unwrap();
    }
    assert!(
        committed() == fresh,
        "market_generated.rs isn't current: run with TICKCAST_REGENERATE=1"
    );
}
