//! The events of the benches: connected cars, 2 s of disorder, written to files once.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use weirgen::{Fleet, FleetConfig};

/// How many vehicles, how often they send, and how many events are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) vehicles: u32,
    pub(crate) events_per_second: u64,
    pub(crate) events: u64,
}

/// A fleet's events in one file or several, and its table of models.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) size: Size,
    /// One file for each part of the fleet.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) reference: PathBuf,
}

impl Inputs {
    /// Writes the events of a fleet that is divided into `shards` parts.
    pub(crate) fn write(folder: &Path, size: Size, shards: u32) -> Result<Self> {
        let vehicles = size.vehicles;
        let reference = folder.join(format!("vehicles-{vehicles}.csv"));
        weirgen::write_reference(&mut BufWriter::new(File::create(&reference)?), vehicles)?;
        let mut files = Vec::new();
        for shard in 0..shards {
            let path = folder.join(format!("events-{vehicles}-{shard}-of-{shards}.ndjson"));
            write_events(&path, size, shard, shards)?;
            files.push(path);
        }
        Ok(Self {
            size,
            files,
            reference,
        })
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.files
            .iter()
            .map(|file| file.display().to_string())
            .collect()
    }
}

fn write_events(path: &Path, size: Size, shard: u32, shards: u32) -> Result<()> {
    let mut config = FleetConfig::new(size.vehicles);
    config.events_per_second = size.events_per_second;
    config.start_ms = 1_730_621_700_000;
    config.disorder_ms = 2_000;
    config.shard = shard;
    config.shards = shards;
    let mut fleet = Fleet::new(config)?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut line = Vec::new();
    for _ in 0..size.events / u64::from(shards) {
        line.clear();
        fleet.next_event().write_json(&mut line);
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(out.flush()?)
}
