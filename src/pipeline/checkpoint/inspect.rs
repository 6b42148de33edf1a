//! What the bytes of a checkpoint mean, as far as can be said without the pipeline file.

use std::collections::BTreeSet;

use super::error::CheckpointError;
use super::save::{part, stage};
use super::summary::Summary;
use super::tokens::decode_tokens;
use crate::model::{Corrupt, TimestampMs};
use crate::pipeline::owner::snapshot::{HeadPane, PartHead};
use crate::pipeline::savepoints::inspection::{Inspection, MetricState, SplitState};
use crate::pipeline::worker::split_state::decode_splits;
use crate::state::{Checkpoint, Entry};
use crate::window::END_OF_TIME;
use crate::write::WriterSnapshot;

/// Reads a checkpoint for people. Stages that it does not know are passed over.
///
/// # Errors
/// A part is gone or cannot be understood.
pub(in crate::pipeline) fn inspect(checkpoint: &Checkpoint) -> Result<Inspection, CheckpointError> {
    let mut inspection = Inspection::default();
    if let Some(bytes) = whole(checkpoint, stage::PIPELINE)? {
        let summary = Summary::decode(&bytes).map_err(corrupt(stage::PIPELINE))?;
        let is_time = |ms: &TimestampMs| ![TimestampMs::MIN, END_OF_TIME].contains(ms);
        inspection.watermark_ms = Some(summary.flushed).filter(is_time);
        for (name, _) in &summary.layouts {
            inspection.metrics.push(metric(checkpoint, name)?);
        }
    }
    if let Some(bytes) = whole(checkpoint, stage::SPLITS)? {
        let splits = decode_splits(&bytes).map_err(corrupt(stage::SPLITS))?;
        let splits = splits.values().map(|split| SplitState {
            name: split.name.to_string(),
            position: split.position(),
            token: None,
            highest_ms: split.highest,
        });
        inspection.splits = splits.collect();
    }
    if let Some(bytes) = whole(checkpoint, stage::TOKENS)? {
        let tokens = decode_tokens(&bytes).map_err(corrupt(stage::TOKENS))?;
        for (name, token) in tokens {
            let known = &mut inspection.splits;
            let split = known.binary_search_by(|split| split.name.cmp(&name));
            let token = Some(token.text.to_string());
            match split {
                Ok(number) => {
                    if let Some(split) = known.get_mut(number) {
                        split.token = token;
                    }
                }
                // The source knows it, but no worker does yet.
                Err(number) => known.insert(
                    number,
                    SplitState {
                        name,
                        position: None,
                        token,
                        highest_ms: None,
                    },
                ),
            }
        }
    }
    if let Some(bytes) = whole(checkpoint, stage::WRITER)? {
        let writer = WriterSnapshot::decode(&bytes).map_err(corrupt(stage::WRITER))?;
        inspection.unsent_samples = writer.len() as u64;
    }
    Ok(inspection)
}

/// The open windows of a metric.
fn metric(checkpoint: &Checkpoint, name: &str) -> Result<MetricState, CheckpointError> {
    let stage = format!("{}{name}", stage::METRIC);
    let mut state = MetricState {
        name: name.to_owned(),
        panes: 0,
        groups: 0,
        bytes: 0,
    };
    let mut panes = BTreeSet::new();
    for entry in of_stage(checkpoint, &stage) {
        let head = PartHead::decode(&checkpoint.read(entry)?)
            .map_err(|corrupt| CheckpointError::corrupt(&stage, &entry.part, corrupt))?;
        state.bytes += entry.bytes;
        state.groups += head.groups;
        panes.extend(head.pane.filter(|pane| *pane != HeadPane::Sessions));
    }
    state.panes = panes.len() as u64;
    Ok(state)
}

/// The bytes of a stage with a single part, where it is there.
fn whole(checkpoint: &Checkpoint, stage: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
    let entry = of_stage(checkpoint, stage).next();
    Ok(entry.map(|entry| checkpoint.read(entry)).transpose()?)
}

fn of_stage<'a>(checkpoint: &'a Checkpoint, stage: &'a str) -> impl Iterator<Item = &'a Entry> {
    let entries = checkpoint.entries().iter();
    entries.filter(move |entry| entry.stage == stage)
}

/// Of a stage with a single part.
fn corrupt(stage: &'static str) -> impl Fn(Corrupt) -> CheckpointError {
    move |corrupt| CheckpointError::corrupt(stage, part::ALL, corrupt)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Encoder;
    use crate::state::{About, Checkpoints, Identity, MemoryStore};

    fn checkpoint(parts: &[(&str, &[u8])]) -> Checkpoint {
        let identity = Identity {
            pipeline: "cars".to_owned(),
            writer: "test".to_owned(),
            epoch: 1,
        };
        let mut checkpoints = Checkpoints::open(Arc::new(MemoryStore::new()), identity).unwrap();
        let mut draft = checkpoints.begin(1);
        for (stage, bytes) in parts {
            draft.add(stage, part::ALL, *bytes).unwrap();
        }
        draft
            .commit(About {
                created_ms: 0,
                acknowledged_ms: None,
                weir_version: "0.1.0".to_owned(),
            })
            .unwrap();
        checkpoints.load(1).unwrap()
    }

    #[test]
    fn stages_that_are_not_known_are_passed_over() {
        let unknown = checkpoint(&[("windows", b"bytes")]);
        assert_eq!(inspect(&unknown).unwrap(), Inspection::default());
    }

    #[test]
    fn what_a_run_to_its_end_leaves_has_no_watermark() {
        for (flushed, expected) in [
            (END_OF_TIME, None),
            (TimestampMs::MIN, None),
            (-5, Some(-5)),
        ] {
            let summary = Summary {
                flushed,
                reached: 0,
                layouts: vec![("speed".into(), "tumbling".to_owned())],
            };
            let inspection = inspect(&checkpoint(&[(stage::PIPELINE, &summary.encode())])).unwrap();
            assert_eq!(inspection.watermark_ms, expected);
            let empty = MetricState {
                name: "speed".to_owned(),
                panes: 0,
                groups: 0,
                bytes: 0,
            };
            assert_eq!(inspection.metrics, [empty]);
        }
    }

    #[test]
    fn a_part_that_cannot_be_understood_is_named() {
        let summary = Summary {
            flushed: 0,
            reached: 0,
            layouts: vec![("speed".into(), "tumbling".to_owned())],
        };
        let mut metric = Encoder::new();
        metric.u32s([].into_iter());
        metric.u8(9);
        for (stage, bytes, expected) in [
            (
                stage::PIPELINE,
                &[9][..],
                "a summary of version 9, this weir reads 1",
            ),
            (
                stage::SPLITS,
                &[2],
                "splits of format 2; this version reads 1",
            ),
            (
                stage::WRITER,
                &[7],
                "a writer's state of version 7, this weir reads up to 2",
            ),
            (
                "metric/speed",
                metric.as_bytes(),
                "state of format 9; this version reads 1",
            ),
        ] {
            let summary = summary.encode();
            let parts = [(stage, bytes), (stage::PIPELINE, &summary[..])];
            let error = inspect(&checkpoint(&parts)).unwrap_err().to_string();
            let start = format!("the part '{stage}', 'all' of a checkpoint cannot be read: byte ");
            assert!(error.starts_with(&start), "{error}");
            assert!(error.ends_with(expected), "{error}");
        }
    }
}
