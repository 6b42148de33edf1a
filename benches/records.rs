//! Flat JSON records of a chosen width: a time, some texts, some numbers.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use fastrand::Rng;

/// The time of the first record, ms since the epoch.
const START_MS: u64 = 1_730_621_700_000;
/// Numbers are hundredths below this many.
const HUNDREDTHS: u32 = 10_000;

/// What records there are. The time is `timestamp`, the numbers are `v0`, `v1`, …
#[derive(Debug, Clone, Copy)]
pub(crate) struct Records {
    pub(crate) events: u64,
    pub(crate) events_per_second: u64,
    /// The texts by name, each with how many different values it has; all are equally frequent.
    pub(crate) texts: &'static [(&'static str, u32)],
    /// Where the first text has another number of values than `texts` says.
    pub(crate) groups: Option<u32>,
    pub(crate) numbers: usize,
}

impl Records {
    /// Writes the records to a file of a folder, in the order of their times. The same records are
    /// the same bytes.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let path = folder.join(format!("{name}.ndjson"));
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        let mut random = Rng::with_seed(1);
        for number in 0..self.events {
            let time = START_MS + number * 1_000 / self.events_per_second;
            write!(out, "{{\"timestamp\":{time}")?;
            for (index, (text, values)) in self.texts.iter().enumerate() {
                let values = self.groups.filter(|_| index == 0).unwrap_or(*values);
                let value = random.u32(0..values);
                write!(out, ",\"{text}\":\"{text}-{value:07}\"")?;
            }
            for field in 0..self.numbers {
                let value = random.u32(0..HUNDREDTHS);
                write!(out, ",\"v{field}\":{}.{:02}", value / 100, value % 100)?;
            }
            out.write_all(b"}\n")?;
        }
        out.flush()?;
        Ok(path)
    }
}
