//! What was frozen, encoded part by part into a checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::frozen::{OwnerState, WorkerState};
use super::restored::Restored;
use super::summary::Summary;
use super::tokens::encode_tokens;
use crate::config::Pipeline;
use crate::decode::SparkplugState;
use crate::model::{Texts, TimestampMs};
use crate::pipeline::layout::state_layout;
use crate::pipeline::lookup_state::{LookupState, encode_lookups};
use crate::pipeline::owner::snapshot::{SnapshotPart, pane_parts};
use crate::pipeline::worker::clock_state::ClockStates;
use crate::pipeline::worker::decoder_state::{DecoderSnapshot, SavedDecoders};
use crate::pipeline::worker::split_state::{SplitStates, all_of, encode_splits};
use crate::source::{PositionToken, PositionTokens};
use crate::state::{Draft, StateError};
use crate::write::WriterSnapshot;

/// The stages of a checkpoint, as inspection shows them.
pub(super) mod stage {
    /// The whole: its watermark, and what the state of each metric looks like.
    pub(in crate::pipeline) const PIPELINE: &str = "pipeline";
    /// The splits of the source.
    pub(in crate::pipeline) const SPLITS: &str = "splits";
    /// What their positions stand for; not there where these are plain numbers.
    pub(in crate::pipeline) const TOKENS: &str = "tokens";
    /// The clocks of devices.
    pub(in crate::pipeline) const CLOCKS: &str = "clocks";
    /// What decoders keep from one record to the next.
    pub(in crate::pipeline) const DECODERS: &str = "decoders";
    /// The same, what changes seldom: in parts that have the number of a group before the split's name.
    pub(in crate::pipeline) const BIRTHS: &str = "births";
    /// The versions of reference tables.
    pub(in crate::pipeline) const LOOKUPS: &str = "lookups";
    /// Samples that are formed and not acknowledged.
    pub(in crate::pipeline) const WRITER: &str = "writer";
    /// Before the name of a metric.
    pub(in crate::pipeline) const METRIC: &str = "metric/";
}

/// The parts within the stages.
pub(super) mod part {
    /// Of stages with a single part.
    pub(in crate::pipeline) const ALL: &str = "all";
    /// Before what a worker has of a stage.
    pub(in crate::pipeline) const WORKER: &str = "worker-";
    /// Before what an owner has of a stage.
    pub(in crate::pipeline) const OWNER: &str = "owner-";
}

/// All that belongs to one checkpoint.
#[derive(Debug)]
pub(super) struct Collected {
    /// By the numbers of the workers.
    pub(super) workers: BTreeMap<usize, WorkerState>,
    /// The same.
    pub(super) owners: BTreeMap<usize, OwnerState>,
    /// What the writer has.
    pub(super) writer: WriterSnapshot,
}

/// Encodes the checkpoints of a pipeline.
#[derive(Debug)]
pub(in crate::pipeline) struct Saving {
    /// The names of the metrics, and what their state looks like.
    metrics: Vec<(Arc<str>, String)>,
    lookups: Vec<LookupState>,
    /// What the checkpoint that was restored says of splits: those of them that nobody has been
    /// assigned yet.
    restored: Arc<SplitStates>,
    /// The same of clocks.
    clocks: Arc<ClockStates>,
    /// The same of what decoders keep.
    decoders: Arc<SavedDecoders>,
    /// What the source says of its positions.
    pub(super) tokens: PositionTokens,
}

impl Saving {
    /// For the checkpoints of this pipeline.
    pub(in crate::pipeline) fn new(
        pipeline: &Pipeline,
        lookups: Vec<LookupState>,
        restored: Option<&Restored>,
        tokens: PositionTokens,
    ) -> Self {
        let metrics = pipeline.metrics.iter();
        Self {
            metrics: metrics
                .map(|metric| (metric.name.clone(), state_layout(metric)))
                .collect(),
            lookups,
            restored: restored
                .map(|restored| restored.splits.clone())
                .unwrap_or_default(),
            clocks: restored
                .map(|restored| restored.clocks.clone())
                .unwrap_or_default(),
            decoders: restored
                .map(|restored| restored.decoders.clone())
                .unwrap_or_default(),
            tokens,
        }
    }

    /// All splits of a checkpoint.
    pub(super) fn splits(&self, collected: &Collected) -> SplitStates {
        let workers = collected.workers.values();
        let mut splits = all_of(workers.map(|worker| worker.splits.clone()), &self.restored);
        splits.retain(|name, _| !self.tokens.is_forgotten(name));
        splits
    }

    /// What the positions of splits stand for.
    pub(super) fn tokens(&self, collected: &Collected) -> BTreeMap<String, PositionToken> {
        let splits = self.splits(collected);
        self.tokens.at(|name| splits.get(name)?.position())
    }

    /// From where each split would be read.
    pub(super) fn positions(&self, collected: &Collected) -> BTreeMap<String, u64> {
        let splits = self.splits(collected);
        let positions = splits.values();
        positions
            .filter_map(|split| Some((split.name.to_string(), split.position()?)))
            .collect()
    }

    /// Puts everything into a draft.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn save(
        &self,
        collected: Collected,
        draft: &mut Draft<'_>,
    ) -> Result<(), StateError> {
        let splits = self.splits(&collected);
        let tokens = self.tokens(&collected);
        let Collected {
            workers,
            owners,
            mut writer,
        } = collected;
        let summary = Summary {
            flushed: lowest(owners.values().map(|owner| owner.frozen.flushed)),
            reached: owners
                .values()
                .map(|owner| owner.frozen.reached)
                .max()
                .unwrap_or(TimestampMs::MIN),
            layouts: self.metrics.clone(),
        };
        draft.add(stage::PIPELINE, part::ALL, summary.encode())?;
        draft.add(stage::SPLITS, part::ALL, encode_splits(&splits))?;
        if !tokens.is_empty() {
            draft.add(stage::TOKENS, part::ALL, encode_tokens(&tokens))?;
        }
        draft.add(stage::LOOKUPS, part::ALL, encode_lookups(&self.lookups))?;
        let mut unassigned: BTreeMap<_, _> = self.clocks.parts().collect();
        let mut unassigned_decoders: BTreeMap<_, _> = self.decoders.all().collect();
        for (number, worker) in workers {
            let from = format!("{}{number}", part::WORKER);
            for clocks in &worker.clocks {
                unassigned.remove(&clocks.split);
                draft.add(stage::CLOCKS, &clocks.split, clocks.encode(&worker.texts))?;
            }
            for DecoderSnapshot { split, state } in &worker.decoders {
                unassigned_decoders.remove(split);
                add_decoder(split, state, draft)?;
            }
            for ((metric, _), panes) in self.metrics.iter().zip(worker.panes) {
                add_parts(metric, pane_parts(panes, &from), &worker.texts, draft)?;
            }
        }
        unassigned.retain(|split, _| !self.tokens.is_forgotten(split));
        unassigned_decoders.retain(|split, _| !self.tokens.is_forgotten(split));
        for (split, bytes) in unassigned {
            draft.add(stage::CLOCKS, split, bytes)?;
        }
        for (split, state) in unassigned_decoders {
            add_decoder(split, state, draft)?;
        }
        for (number, owner) in owners {
            let from = format!("{}{number}", part::OWNER);
            for ((metric, _), frozen) in self.metrics.iter().zip(owner.frozen.metrics) {
                add_parts(metric, frozen.parts(&from), &owner.texts, draft)?;
            }
            // Behind what the writer has: of each series it is later.
            writer.append(&owner.unsent);
        }
        draft.add(stage::WRITER, part::ALL, writer.encode())
    }
}

/// What a decoder keeps of a split, the births before what refers to them.
fn add_decoder(
    split: &str,
    state: &SparkplugState,
    draft: &mut Draft<'_>,
) -> Result<(), StateError> {
    for births in state.births() {
        let part = format!("{:02x} {split}", births.group);
        draft.add_piece(stage::BIRTHS, &part, births.piece, || Ok(births.encode()))?;
    }
    draft.add(stage::DECODERS, split, state.encode_sequences())
}

fn lowest(times: impl Iterator<Item = TimestampMs>) -> TimestampMs {
    times.min().unwrap_or(TimestampMs::MIN)
}

fn add_parts(
    metric: &str,
    parts: Vec<SnapshotPart>,
    texts: &Texts,
    draft: &mut Draft<'_>,
) -> Result<(), StateError> {
    let stage = format!("{}{metric}", stage::METRIC);
    for part in parts {
        match part.piece {
            Some(piece) => {
                draft.add_piece(&stage, &part.part, piece, || Ok(part.encode(texts)?))?;
            }
            None => draft.add(&stage, &part.part, part.encode(texts)?)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{DecodeMetrics, Decoder};
    use crate::model::protobuf::{put_bytes, put_varint};
    use crate::model::{Interner, RecordBatch, Split, SplitId};
    use crate::pipeline::checkpoint::inspect;
    use crate::pipeline::tests::pipeline;
    use crate::pipeline::worker::split_state::SplitState;
    use crate::source::Resume;
    use crate::state::{About, Checkpoint, Checkpoints, Identity, MemoryStore};
    use crate::telemetry::Registry;

    const METRIC: &str = "\n  m: { window: { tumbling: 5s }, value: avg(x) }";

    fn collected(splits: &[(&str, Option<u64>)]) -> Collected {
        let splits = splits.iter().map(|(name, next)| SplitState {
            name: (*name).into(),
            revoked: false,
            processed_before: None,
            origin: Some(0),
            next: *next,
            highest: None,
            written: None,
            unwritten: Vec::new(),
        });
        let state = WorkerState {
            splits: splits.collect(),
            clocks: Vec::new(),
            decoders: Vec::new(),
            panes: Vec::new(),
            texts: Texts::default(),
        };
        Collected {
            workers: [(0, state)].into(),
            owners: BTreeMap::new(),
            writer: WriterSnapshot::default(),
        }
    }

    /// What a checkpoint says that was written by a run which had read this far.
    fn saved(saving: &Saving, splits: &[(&str, Option<u64>)]) -> Checkpoint {
        let identity = Identity {
            pipeline: "test".to_owned(),
            writer: "test".to_owned(),
            epoch: 1,
        };
        let mut checkpoints = Checkpoints::open(Arc::new(MemoryStore::new()), identity).unwrap();
        let mut draft = checkpoints.begin(1);
        saving.save(collected(splits), &mut draft).unwrap();
        let about = About {
            created_ms: 0,
            acknowledged_ms: None,
            weir_version: "0.1.0".to_owned(),
        };
        draft.commit(about).unwrap();
        checkpoints.load(1).unwrap()
    }

    fn restored(checkpoint: &Checkpoint) -> Restored {
        Restored::read(checkpoint, &pipeline("[]", METRIC), true).unwrap()
    }

    fn told(resume: &Resume) -> Vec<(&str, Option<u64>, u64, &str)> {
        let tokens = resume.tokens();
        let told =
            tokens.map(|(name, token)| (name, resume.position(name), token.position, &*token.text));
        told.collect()
    }

    fn saving(restored: Option<&Restored>) -> Saving {
        let tokens = restored.into_iter().flat_map(|restored| &restored.tokens);
        let tokens = tokens.map(|(split, token)| (split.clone(), token.clone()));
        let tokens = PositionTokens::kept(tokens);
        Saving::new(&pipeline("[]", METRIC), Vec::new(), restored, tokens)
    }

    #[test]
    fn a_finished_split_stays_with_its_token_until_the_source_forgets_it() {
        let first = saving(None);
        for (position, token) in [(0, "start"), (5, "after 17"), (8, "end")] {
            first.tokens.add("shard-1", position, token);
        }
        first.tokens.add("shard-2", 0, "start");
        let checkpoint = saved(&first, &[("shard-1", Some(7)), ("shard-2", None)]);
        let before = restored(&checkpoint);
        let resume = before.resume();
        let expected = [
            ("shard-1", Some(7), 5, "after 17"),
            ("shard-2", None, 0, "start"),
        ];
        assert_eq!(told(&resume), expected);
        let splits = inspect(&checkpoint).unwrap().splits;
        let shown = splits
            .iter()
            .map(|split| (split.position, split.token.as_deref()));
        let expected = [(Some(7), Some("after 17")), (None, Some("start"))];
        assert_eq!(shown.collect::<Vec<_>>(), expected);

        // This run reads the first to its end, and is not assigned the second.
        let second = saving(Some(&before));
        second.tokens.add("shard-1", 8, "end");
        let before = restored(&saved(&second, &[("shard-1", Some(8))]));
        // The next one is assigned neither.
        let third = saving(Some(&before));
        let checkpoint = saved(&third, &[]);
        let expected = [
            ("shard-1", Some(8), 8, "end"),
            ("shard-2", None, 0, "start"),
        ];
        assert_eq!(told(&restored(&checkpoint).resume()), expected);

        third.tokens.forget("shard-1");
        let after = restored(&saved(&third, &[("shard-1", Some(8))]));
        assert_eq!(told(&after.resume()), expected[1..]);
        assert_eq!(after.resume().position("shard-1"), None);
    }

    /// A message of Sparkplug B with many metrics.
    fn message(node: u64, seq: u64) -> Vec<u8> {
        let mut message = Vec::new();
        for alias in 0..30 {
            let name = (node * 30 + alias + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut metric = Vec::new();
            put_bytes(&mut metric, 1, format!("{name:x}").as_bytes());
            metric.push(2 << 3);
            put_varint(&mut metric, alias);
            put_bytes(&mut message, 2, &metric);
        }
        message.push(3 << 3);
        put_varint(&mut message, seq);
        message
    }

    #[test]
    fn births_that_did_not_change_are_not_written_again() {
        const NODES: u64 = 1_000;
        let split = Split {
            id: SplitId(0),
            name: "broker".into(),
        };
        let event = r#"{"time": {"from": "timestamp"}, "fields": {"value": "number"}}"#;
        let mut decoder = Decoder::build(
            &serde_json::from_str(r#""sparkplug_b""#).unwrap(),
            &serde_json::from_str(event).unwrap(),
            0,
            DecodeMetrics::new(&Registry::new("test")),
        )
        .unwrap();
        let mut checkpoints = Checkpoints::open(
            Arc::new(MemoryStore::new()),
            Identity {
                pipeline: "test".to_owned(),
                writer: "test".to_owned(),
                epoch: 1,
            },
        )
        .unwrap();
        let saving = saving(None);
        let mut save = |number, kind: &str, nodes: std::ops::Range<u64>, seq| {
            let mut records = RecordBatch::new(split.clone(), 0);
            for node in nodes {
                let topic = format!("spBv1.0/g/{kind}/{node}");
                records.push_enveloped(&message(node, seq), 0, topic.as_bytes(), b"");
            }
            decoder.decode(&records, 0, &mut Interner::new());
            let state = decoder.state(split.id).unwrap();
            let mut collected = collected(&[]);
            let worker = collected.workers.get_mut(&0).unwrap();
            worker.decoders.push(DecoderSnapshot {
                split: split.name.clone(),
                state: state.clone(),
            });
            let mut draft = checkpoints.begin(number);
            saving.save(collected, &mut draft).unwrap();
            let about = About {
                created_ms: 0,
                acknowledged_ms: None,
                weir_version: "0.1.0".to_owned(),
            };
            let committed = draft.commit(about).unwrap();
            let read = restored(&checkpoints.load(number).unwrap());
            let read = read
                .decoders
                .all()
                .map(|(name, state)| (&**name, state.clone()));
            assert_eq!(read.collect::<Vec<_>>(), [("broker", (*state).clone())]);
            let parts = checkpoints.load(number).unwrap();
            let births = parts
                .entries()
                .iter()
                .filter(|entry| entry.stage == stage::BIRTHS);
            (
                committed.new_bytes,
                births.map(|entry| entry.bytes).sum::<u64>(),
            )
        };
        let (first, births) = save(1, "NBIRTH", 0..NODES, 0);
        let (second, same) = save(2, "NDATA", 0..NODES, 1);
        assert_eq!(same, births);
        assert!(second < first / 5, "{second} after {first}");
        let (third, _) = save(3, "NBIRTH", 7..8, 0);
        assert!(third < second + births / 50, "{third} after {second}");
        let (fourth, none) = save(4, "NDEATH", 0..NODES, 0);
        assert_eq!(none, 0);
        assert!(fourth < second / 5, "{fourth} after {second}");
    }

    #[test]
    fn without_tokens_there_is_no_part_of_them() {
        let checkpoint = saved(&saving(None), &[("events/0", Some(7))]);
        let stages = checkpoint.entries().iter();
        assert!(
            stages.clone().all(|entry| entry.stage != stage::TOKENS),
            "{:?}",
            checkpoint.entries()
        );
        let resume = restored(&checkpoint).resume();
        assert_eq!(resume.position("events/0"), Some(7));
        assert_eq!(resume.tokens().count(), 0);
    }
}
