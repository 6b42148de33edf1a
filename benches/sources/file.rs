//! Files, beside a reader of lines.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};

use anyhow::Result;
use serde_json::json;
use tempfile::NamedTempFile;

use super::Contest;
use super::count::{Count, Measured, cars, read_all};

struct Lines {
    file: NamedTempFile,
    records: u64,
}

/// Writes a file.
pub(crate) fn set_up(records: u64) -> Result<Box<dyn Contest>> {
    let file = tempfile::Builder::new().suffix(".ndjson").tempfile()?;
    let mut writer = BufWriter::new(&file);
    for record in cars(records)? {
        writer.write_all(&record)?;
        writer.write_all(b"\n")?;
    }
    writer.flush()?;
    drop(writer);
    Ok(Box::new(Lines { file, records }))
}

impl Contest for Lines {
    fn bare_name(&self) -> &'static str {
        "a loop over std's BufReader that counts bytes"
    }

    fn records(&self) -> u64 {
        self.records
    }

    fn bare(&mut self) -> Result<Measured> {
        let mut reader = BufReader::with_capacity(1 << 20, File::open(self.file.path())?);
        let mut count = Count::begin();
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            count.add(1, line.len() - 1);
            line.clear();
        }
        count.finish()
    }

    fn source(&mut self) -> Result<Measured> {
        let config = json!({ "file": { "path": self.file.path() } });
        read_all(config, None, self.records, Count::begin)
    }
}
