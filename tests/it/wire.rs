//! Requests of samples, read by another language with the published schemas.
//!
//! The requests are in `tests/wire/*.binpb`; a unit test of the encoder holds them to what is sent. What
//! they say stands beside them as JSON.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::support::files::cached_python;

/// The version that `scripts/setup.sh` installs.
const VERSION: &str = "1.85.1";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

#[test]
fn requests_say_what_they_are_meant_to_say() -> Result<()> {
    for (name, message) in [
        ("samples-1.0", "prometheus.WriteRequest"),
        ("metadata-1.0", "prometheus.WriteRequest"),
        ("samples-2.0", "io.prometheus.write.v2.Request"),
    ] {
        let output = Command::new(cached_python("grpcio-tools", VERSION)?)
            .arg(folder().join("decode.py"))
            .arg(message)
            .arg(folder().join(format!("{name}.binpb")))
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name}: {errors}");
        let found: Value = serde_json::from_slice(&output.stdout)?;
        let expected = folder().join(format!("{name}.json"));
        let expected: Value = serde_json::from_slice(
            &std::fs::read(&expected).with_context(|| expected.display().to_string())?,
        )?;
        ensure!(found == expected, "{name}: {found:#}");
    }
    Ok(())
}
