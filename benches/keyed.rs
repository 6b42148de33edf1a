//! A pipeline with as many keys as one likes, of which all are in one long window.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use fastrand::Rng;

use crate::cars::State;

/// The time of the first event, ms since the epoch: a full hour, at which the long window begins.
const START_MS: u64 = 1_730_620_800_000;
/// Events a second of event time.
const EVENTS_PER_SECOND: u64 = 100_000;

/// Events of keys: each once, in order, and then so many more of any of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyed {
    pub(crate) keys: u64,
    pub(crate) more: u64,
}

impl Keyed {
    pub(crate) fn events(self) -> u64 {
        self.keys + self.more
    }

    /// Writes the events to a file of a folder. The same events are the same bytes.
    pub(crate) fn write(self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(format!("keys-{}.ndjson", self.keys));
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        let mut random = Rng::with_seed(1);
        for number in 0..self.events() {
            let time = START_MS + number * 1_000 / EVENTS_PER_SECOND;
            let key = match number < self.keys {
                true => number,
                false => random.u64(0..self.keys),
            };
            writeln!(
                out,
                "{{\"time\":{time},\"key\":\"vehicle-{key:08}\",\"value\":{}}}",
                random.u32(0..10_000)
            )?;
        }
        out.flush()?;
        Ok(path)
    }
}

/// The average of every key in a window of an hour, and the number of all events in each second.
pub(crate) fn pipeline(input: &Path, output: &str, state: Option<State<'_>>) -> String {
    let state = state.map(|state| state.section()).unwrap_or_default();
    let input = input.display();
    format!(
        "pipeline: keyed
source: {{ file: {{ path: {input} }}, decode: json }}
event:
  time: {{ from: time, unit: ms }}
  fields:
    key: text
    value: number
time: {{ out_of_order: 0s }}
metrics:
  averages: {{ window: {{ tumbling: 1h }}, by: [key], value: avg(value) }}
  events: {{ window: {{ tumbling: 1s }}, value: count(*) }}
write: {{ file: {{ path: \"{output}\" }} }}
{state}"
    )
}
