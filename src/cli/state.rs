//! `weir state`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use indicatif::{HumanBytes, HumanCount};

use super::arguments::{InspectArguments, StateCommand};
use super::savepoint::stored;
use super::table::{Align, table};
use crate::model::TimestampMs;
use crate::pipeline::{Contents, Savepoints as _, StoredSavepoints};
use crate::state::StoreLocation;

/// Looks into state.
pub(super) fn state(command: &StateCommand) -> Result<ExitCode> {
    let StateCommand::Inspect(arguments) = command;
    for (index, one) in inspected(arguments)?.iter().enumerate() {
        if index > 0 {
            println!();
        }
        print!("{}", show(&one.show(arguments.savepoint.as_deref())?));
    }
    Ok(ExitCode::SUCCESS)
}

/// The state of a pipeline file, or all state at a place.
fn inspected(arguments: &InspectArguments) -> Result<Vec<StoredSavepoints>> {
    let path = &arguments.state.file;
    let Some(location) = place(path)? else {
        return Ok(vec![stored(&arguments.state)?.1]);
    };
    let pipelines = StoredSavepoints::pipelines(&location)?;
    ensure!(!pipelines.is_empty(), "there is no state in {location}");
    pipelines
        .iter()
        .map(|pipeline| Ok(StoredSavepoints::read(&location, pipeline)?))
        .collect()
}

/// Where state lies, unless the path is a pipeline file's.
fn place(path: &Path) -> Result<Option<StoreLocation>> {
    let text = path.to_string_lossy();
    if text.contains("://") {
        let location = text.parse().map_err(anyhow::Error::msg);
        return location.map(Some);
    }
    if !path.is_dir() {
        return Ok(None);
    }
    // A database of RocksDB has this file.
    let is_database = |folder: &Path| folder.join("CURRENT").is_file();
    let inner = crate::config::checkpoints_below(path);
    Ok(Some(if is_database(&inner) {
        StoreLocation::Rocks(inner)
    } else if is_database(path) {
        StoreLocation::Rocks(path.to_owned())
    } else {
        StoreLocation::Directory(path.to_owned())
    }))
}

/// All that is known of a checkpoint or savepoint.
pub(super) fn show(contents: &Contents) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| text.push_str(&format!("{what:<12}{value}\n"));
    line("pipeline", contents.pipeline.clone());
    if let Some(savepoint) = &contents.savepoint {
        line("savepoint", savepoint.clone());
    }
    line("checkpoint", contents.number.to_string());
    line("created", time(contents.created_ms));
    line("weir", contents.weir_version.clone());
    line("size", HumanBytes(contents.bytes).to_string());
    let inspection = &contents.inspection;
    if let Some(watermark) = inspection.watermark_ms {
        line("watermark", time(watermark));
    }
    line(
        "unsent",
        format!("{} samples", HumanCount(inspection.unsent_samples)),
    );
    text.push('\n');
    text.push_str(&table(
        [
            ("STAGE", Align::Left),
            ("ENTRIES", Align::Right),
            ("SIZE", Align::Right),
        ],
        contents.stages.iter().map(|stage| {
            [
                stage.stage.clone(),
                HumanCount(stage.entries).to_string(),
                HumanBytes(stage.bytes).to_string(),
            ]
        }),
    ));
    if !inspection.splits.is_empty() {
        text.push('\n');
        text.push_str(&table(
            [
                ("SPLIT", Align::Left),
                ("POSITION", Align::Right),
                ("HIGHEST TIME", Align::Left),
            ],
            inspection.splits.iter().map(|split| {
                [
                    split.name.clone(),
                    or_none(split.position, |position| position.to_string()),
                    or_none(split.highest_ms, time),
                ]
            }),
        ));
    }
    let mut tokens = inspection.splits.iter().filter_map(|split| {
        let token = split.token.clone()?;
        Some([split.name.clone(), token])
    });
    if let Some(first) = tokens.next() {
        text.push('\n');
        text.push_str(&table(
            [("SPLIT", Align::Left), ("READ ON", Align::Left)],
            std::iter::once(first).chain(tokens),
        ));
    }
    if !inspection.metrics.is_empty() {
        text.push('\n');
        text.push_str(&table(
            [
                ("METRIC", Align::Left),
                ("PANES", Align::Right),
                ("GROUPS", Align::Right),
                ("SIZE", Align::Right),
            ],
            inspection.metrics.iter().map(|metric| {
                [
                    metric.name.clone(),
                    HumanCount(metric.panes).to_string(),
                    HumanCount(metric.groups).to_string(),
                    HumanBytes(metric.bytes).to_string(),
                ]
            }),
        ));
    }
    text
}

fn or_none<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// A time as people read it.
pub(super) fn time(ms: TimestampMs) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Inspection, MetricState, SplitState, StageBytes};

    #[test]
    fn everything_that_is_known_is_shown() {
        let contents = Contents {
            pipeline: "cars".to_owned(),
            savepoint: Some("before".to_owned()),
            number: 42,
            created_ms: 1_730_621_750_000,
            weir_version: "0.1.0".to_owned(),
            bytes: 3 << 20,
            stages: vec![StageBytes {
                stage: "windows".to_owned(),
                entries: 1_200,
                bytes: 5 << 20,
            }],
            inspection: Inspection {
                splits: vec![
                    SplitState {
                        name: "events/0".to_owned(),
                        position: Some(7),
                        token: None,
                        highest_ms: None,
                    },
                    SplitState {
                        name: "shard-1".to_owned(),
                        position: None,
                        token: Some("from the beginning".to_owned()),
                        highest_ms: None,
                    },
                ],
                watermark_ms: Some(1_730_621_749_500),
                unsent_samples: 1_234,
                metrics: vec![MetricState {
                    name: "vehicles".to_owned(),
                    panes: 2,
                    groups: 10_000,
                    bytes: 2_048,
                }],
            },
        };
        assert_eq!(
            show(&contents),
            "\
pipeline    cars
savepoint   before
checkpoint  42
created     2024-11-03T08:15:50Z
weir        0.1.0
size        3.00 MiB
watermark   2024-11-03T08:15:49.5Z
unsent      1,234 samples

STAGE    ENTRIES      SIZE
windows    1,200  5.00 MiB

SPLIT     POSITION  HIGHEST TIME
events/0         7  -
shard-1          -  -

SPLIT    READ ON
shard-1  from the beginning

METRIC    PANES  GROUPS      SIZE
vehicles      2  10,000  2.00 KiB
"
        );
    }
}
