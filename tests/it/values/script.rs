//! Random events over several splits, in random batches that arrive in a random order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use proptest::prelude::*;

use weir::config::{Overrides, load_text};
use weir::model::{Clock, RecordBatch, Split, SplitId};
use weir::pipeline::{Options, Restore, Running, SourceOf};
use weir::source::{
    FileProgress, Source, SourceError, SourceEvent, SourceOutput, StopSignal, Stopped,
};

use weir::telemetry::Registry;

use crate::reference::fleet::START_MS;
use crate::support::files::repository;
use crate::support::samples::{Sample, read_ndjson};

pub(crate) const SPLITS: usize = 4;

/// The clock of the run: long after all events.
pub(crate) const NOW_MS: i64 = START_MS + 3_600_000;

/// One event, in the order of arrival.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    split: usize,
    /// How far its split's time advances before it.
    gap_ms: i64,
    /// How far it is behind its split's time.
    behind_ms: i64,
    kind: Option<&'static str>,
    vehicle: Option<u8>,
    region: Option<&'static str>,
    measurement: Option<i8>,
    /// Whether a batch begins with it.
    cut: bool,
}

pub(crate) fn arrival() -> impl Strategy<Value = Arrival> {
    let behind = prop_oneof![4 => 0..2_000_i64, 1 => 0..12_000_i64];
    let kinds = vec![
        Some("IC_RPM"),
        Some("ELECTRIC_RPM"),
        Some("WARNINGS"),
        Some("X"),
        None,
    ];
    let regions = vec![Some("UK"), Some("US"), Some(""), None];
    (
        0..SPLITS,
        0..1_500_i64,
        behind,
        proptest::sample::select(kinds),
        proptest::option::weighted(0.9, 0..6_u8),
        proptest::sample::select(regions),
        proptest::option::weighted(0.9, -1..4_i8),
        any::<bool>(),
    )
        .prop_map(
            |(split, gap_ms, behind_ms, kind, vehicle, region, measurement, cut)| Arrival {
                split,
                gap_ms,
                behind_ms,
                kind,
                vehicle,
                region,
                measurement,
                cut,
            },
        )
}

/// Everything as it arrives: the number of the split, the line, whether a batch begins with it.
pub(crate) fn lines(arrivals: &[Arrival]) -> Vec<(usize, String, bool)> {
    let mut times = [START_MS; SPLITS];
    let mut lines = Vec::new();
    for arrival in arrivals {
        let Some(time_ms) = times.get_mut(arrival.split) else {
            continue;
        };
        *time_ms += arrival.gap_ms;
        let mut line = format!("{{\"timestamp\":{}", *time_ms - arrival.behind_ms);
        if let Some(kind) = arrival.kind {
            line.push_str(&format!(",\"eventType\":\"{kind}\""));
        }
        if let Some(vehicle) = arrival.vehicle {
            line.push_str(&format!(",\"vehicleId\":\"V{vehicle}\""));
        }
        if let Some(region) = arrival.region {
            line.push_str(&format!(",\"region\":\"{region}\""));
        }
        if let Some(measurement) = arrival.measurement {
            line.push_str(&format!(",\"measurement\":{measurement}"));
        }
        line.push('}');
        lines.push((arrival.split, line, arrival.cut));
    }
    lines
}

/// The text of each split.
pub(crate) fn texts(lines: &[(usize, String, bool)]) -> Result<Vec<Vec<u8>>> {
    let mut splits = vec![Vec::new(); SPLITS];
    for (number, line, _) in lines {
        let split = splits.get_mut(*number).context("no such split")?;
        split.extend_from_slice(line.as_bytes());
        split.push(b'\n');
    }
    Ok(splits)
}

/// Samples by time, name and labels.
pub(crate) fn sorted(mut samples: Vec<Sample>) -> Vec<Sample> {
    samples.sort_by_key(|sample| {
        let labels = sample.labels.clone();
        (sample.timestamp_ms, sample.name.clone(), labels)
    });
    samples
}

/// A source that says what it was told to say.
#[derive(Debug)]
pub(crate) struct Script(Vec<SourceEvent>);

impl Source for Script {
    fn run(
        self: Box<Self>,
        output: &mut dyn SourceOutput,
        _: &StopSignal,
    ) -> Result<(), SourceError> {
        for event in self.0 {
            if output.send(event) == Err(Stopped) {
                break;
            }
        }
        Ok(())
    }
}

/// The batches of all splits in the order of arrival. A split ends after its last batch.
pub(crate) fn script(lines: &[(usize, String, bool)]) -> Result<Script> {
    let mut splits = Vec::new();
    for number in 0..u32::try_from(SPLITS)? {
        let name = Arc::from(format!("split-{number}"));
        splits.push(Split {
            id: SplitId(number),
            name,
        });
    }
    let mut events: Vec<_> = splits.iter().cloned().map(SourceEvent::Assigned).collect();
    for (number, split) in splits.iter().enumerate() {
        if !lines.iter().any(|(other, _, _)| *other == number) {
            events.push(SourceEvent::Finished(split.id));
        }
    }
    let mut positions = [0_u64; SPLITS];
    let mut batch: Option<(usize, RecordBatch)> = None;
    for (index, (number, line, cut)) in lines.iter().enumerate() {
        let split = splits.get(*number).context("no such split")?;
        let position = positions.get_mut(*number).context("no such split")?;
        let fits = batch.as_ref().is_some_and(|(of, _)| of == number && !cut);
        if !fits {
            let new = (*number, RecordBatch::new(split.clone(), NOW_MS));
            if let Some((_, full)) = batch.replace(new) {
                events.push(SourceEvent::Records(full));
            }
        }
        if let Some((_, batch)) = &mut batch {
            batch.push(line.as_bytes(), *position);
        }
        *position += 1;
        let rest = lines.get(index + 1..).unwrap_or_default();
        if !rest.iter().any(|(other, _, _)| other == number) {
            events.extend(batch.take().map(|(_, batch)| SourceEvent::Records(batch)));
            events.push(SourceEvent::Finished(split.id));
        }
    }
    Ok(Script(events))
}

/// Runs a pipeline over a script; its output is the file.
pub(crate) fn run(
    text: &str,
    set: Vec<(String, String)>,
    output: &Path,
    script: Script,
    workers: usize,
) -> Result<Vec<Sample>> {
    let overrides = Overrides {
        set,
        input: Vec::new(),
        output: Some(output.display().to_string()),
    };
    let pipeline = load_text(
        "test.yaml",
        text,
        repository().to_owned(),
        &overrides,
        &|_| None,
    )
    .map_err(|problems| anyhow!("{problems:#}"))?;
    let options = Options {
        workers: Some(workers),
        clock: Clock::Fixed(NOW_MS),
        progress: FileProgress::default(),
        restore: Restore::Latest,
        allow_dropped_state: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let make = move |_: &Registry| -> Box<dyn Source> { Box::new(script) };
    let source = SourceOf::Made(Box::new(make));
    let running = Running::start(&pipeline, source, &options, runtime.handle().clone())?;
    let finished = running.finish(Duration::from_secs(60));
    ensure!(finished.error.is_none(), "{finished:?}");
    ensure!(
        finished.written.error.is_none() && finished.written.unsent == 0,
        "{finished:?}"
    );
    read_ndjson(output)
}
