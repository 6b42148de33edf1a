//! The limit: connected cars as a loop that can do nothing else.
//!
//! It reads blocks as the file source does, parses each line into a struct that sonic-rs knows at
//! compile time, and counts in bitmaps and arrays by dense numbers. It has no configuration, takes
//! every record to be right, and relies on what it knows of this fleet alone: that there are few
//! regions, and that a vehicle has one region for ever.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use memchr::{memchr_iter, memrchr};
use serde::Deserialize;

/// The file source's block.
const BLOCK_BYTES: usize = 256 * 1024;
const WINDOW_MS: i64 = 5_000;
const OUT_OF_ORDER_MS: i64 = 2_000;

/// Values by metric, model, region and the window's end.
pub(crate) type Samples = BTreeMap<(&'static str, String, String, i64), f64>;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "eventType")]
    kind: &'a str,
    #[serde(rename = "vehicleId")]
    vehicle: &'a str,
    region: &'a str,
    timestamp: i64,
    measurement: f64,
}

/// Dense numbers of texts of at most 15 bytes, in order of first appearance. The texts lie in the
/// table itself, so that a known one costs one cache miss.
#[derive(Default)]
struct Ids {
    ids: HashMap<u128, u32, FixedState>,
    texts: Vec<String>,
}

impl Ids {
    #[inline]
    fn id(&mut self, text: &str) -> usize {
        let next = self.texts.len();
        let id = *self.ids.entry(padded(text)).or_insert(next as u32) as usize;
        if id == next {
            self.texts.push(text.to_owned());
        }
        id
    }

    fn text(&self, id: usize) -> String {
        self.texts.get(id).cloned().unwrap_or_default()
    }
}

/// A text and its length as one number.
#[inline]
fn padded(text: &str) -> u128 {
    let mut bytes = [0; 16];
    bytes
        .iter_mut()
        .zip(text.as_bytes())
        .for_each(|(to, from)| *to = *from);
    bytes[15] = text.len() as u8;
    u128::from_le_bytes(bytes)
}

/// One window: a group is a pair of a model and a region.
#[derive(Default)]
struct Window {
    groups: Vec<Group>,
    /// The first warning of each vehicle, by its time; `i64::MAX` where there is none.
    warnings: Vec<(i64, f64, u32)>,
}

#[derive(Clone, Default)]
struct Group {
    has_reported: bool,
    /// A bit for every vehicle.
    moving: Vec<u64>,
}

/// The whole way from a file to samples.
#[derive(Default)]
struct Loop {
    model_of: HashMap<Box<str>, u32, FixedState>,
    models: Ids,
    vehicles: Ids,
    regions: Ids,
    /// The model of each vehicle seen so far.
    model_of_vehicle: Vec<u32>,
    open: BTreeMap<i64, Window>,
    highest: i64,
    samples: Samples,
}

/// Computes the samples of a file.
pub(crate) fn run(events: &Path, reference: &Path) -> Result<Samples> {
    let mut state = Loop {
        highest: i64::MIN,
        ..Loop::default()
    };
    state.read_models(reference)?;
    let mut file = File::open(events)?;
    let mut buffer = Vec::with_capacity(2 * BLOCK_BYTES);
    loop {
        let known = buffer.len();
        buffer.resize(known + BLOCK_BYTES, 0);
        let read = file.read(buffer.get_mut(known..).unwrap_or_default())?;
        buffer.truncate(known + read);
        if read == 0 {
            break;
        }
        let Some(end) = memrchr(b'\n', &buffer) else {
            continue;
        };
        let mut start = 0;
        for newline in memchr_iter(b'\n', buffer.get(..=end).unwrap_or_default()) {
            state.take(buffer.get(start..newline).unwrap_or_default())?;
            start = newline + 1;
        }
        state.close(state.highest - OUT_OF_ORDER_MS);
        buffer.drain(..=end);
    }
    state.close(i64::MAX);
    Ok(state.samples)
}

impl Loop {
    fn read_models(&mut self, reference: &Path) -> Result<()> {
        for line in fs::read_to_string(reference)?.lines().skip(1) {
            let (vehicle, model) = line.split_once(',').context("a row without a comma")?;
            let model = self.models.id(model) as u32;
            self.model_of.insert(vehicle.into(), model);
        }
        Ok(())
    }

    #[inline]
    fn take(&mut self, line: &[u8]) -> Result<()> {
        let event: Event<'_> = sonic_rs::from_slice(line)?;
        let vehicle = self.vehicles.id(event.vehicle);
        if vehicle == self.model_of_vehicle.len() {
            let model = self.model_of.get(event.vehicle).copied();
            let unknown = || self.models.id("unknown") as u32;
            self.model_of_vehicle.push(model.unwrap_or_else(unknown));
        }
        let model = self
            .model_of_vehicle
            .get(vehicle)
            .copied()
            .unwrap_or_default() as usize;
        let group = (self.regions.id(event.region) << 8) | model;
        let end = event.timestamp - event.timestamp.rem_euclid(WINDOW_MS) + WINDOW_MS;
        let before = self.highest.saturating_sub(OUT_OF_ORDER_MS);
        self.highest = self.highest.max(event.timestamp);
        if before >= end {
            return Ok(());
        }
        let window = self.open.entry(end).or_default();
        if event.kind == "WARNINGS" {
            if vehicle >= window.warnings.len() {
                let none = (i64::MAX, 0.0, 0);
                window
                    .warnings
                    .resize((vehicle + 1).next_power_of_two(), none);
            }
            if let Some(first) = window.warnings.get_mut(vehicle)
                && event.timestamp < first.0
            {
                *first = (event.timestamp, event.measurement, group as u32);
            }
        } else {
            if group >= window.groups.len() {
                window.groups.resize_with(group + 1, Group::default);
            }
            if let Some(group) = window.groups.get_mut(group) {
                group.has_reported = true;
                if event.measurement != 0.0 {
                    let (word, bit) = (vehicle / 64, 1 << (vehicle % 64));
                    if word >= group.moving.len() {
                        group.moving.resize((word + 1).next_power_of_two(), 0);
                    }
                    if let Some(word) = group.moving.get_mut(word) {
                        *word |= bit;
                    }
                }
            }
        }
        Ok(())
    }

    fn close(&mut self, watermark: i64) {
        while let Some(entry) = self
            .open
            .first_entry()
            .filter(|entry| *entry.key() <= watermark)
        {
            let (end, window) = entry.remove_entry();
            for (group, state) in window.groups.iter().enumerate() {
                if state.has_reported {
                    let moving: u32 = state.moving.iter().map(|word| word.count_ones()).sum();
                    *self.sample("vehicles_in_motion", group, end) = f64::from(moving);
                }
            }
            for (time, lights, group) in &window.warnings {
                if *time != i64::MAX {
                    *self.sample("warnings", *group as usize, end) += lights;
                }
            }
        }
    }

    fn sample(&mut self, metric: &'static str, group: usize, end: i64) -> &mut f64 {
        let (model, region) = (
            self.models.text(group & 0xff),
            self.regions.text(group >> 8),
        );
        self.samples
            .entry((metric, model, region, end))
            .or_default()
    }
}
