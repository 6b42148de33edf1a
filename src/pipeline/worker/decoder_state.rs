//! What decoders keep from one record to the next, in a checkpoint: parts for each split, under its name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decode::SparkplugState;
use crate::model::{Corrupt, Split, SplitId};

/// What a decoder keeps of a split, frozen.
#[derive(Debug)]
pub(in crate::pipeline) struct DecoderSnapshot {
    /// The split's name.
    pub(in crate::pipeline) split: Arc<str>,
    pub(in crate::pipeline) state: Arc<SparkplugState>,
}

/// The parts of a checkpoint that hold what decoders keep, by the names of their splits.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct SavedDecoders {
    states: BTreeMap<Arc<str>, Arc<SparkplugState>>,
}

impl SavedDecoders {
    /// Adds a part of a split.
    ///
    /// # Errors
    /// The bytes are no such state.
    pub(in crate::pipeline) fn add(
        &mut self,
        split: Arc<str>,
        bytes: &[u8],
    ) -> Result<(), Corrupt> {
        Arc::make_mut(self.states.entry(split).or_default()).read(bytes)
    }

    /// All of them. Those of splits that no worker has belong to the next checkpoint as well.
    pub(in crate::pipeline) fn all(&self) -> impl Iterator<Item = (&Arc<str>, &SparkplugState)> {
        self.states.iter().map(|(split, state)| (split, &**state))
    }
}

/// What the decoder of one worker keeps of its splits, as of settled batches: those that wait for lookups are
/// read again behind a restart.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct DecoderStates {
    settled: BTreeMap<SplitId, Arc<SparkplugState>>,
    names: BTreeMap<SplitId, Arc<str>>,
    /// What a checkpoint says of the splits of all workers. It takes effect when a split is assigned.
    restored: Arc<SavedDecoders>,
}

impl DecoderStates {
    /// From now on, splits that are assigned for the first time go on as a checkpoint says.
    pub(in crate::pipeline) fn restore(&mut self, restored: Arc<SavedDecoders>) {
        self.restored = restored;
    }

    /// A split is read by this worker from now on. Gives what it goes on with, if there is something.
    pub(in crate::pipeline) fn assign(&mut self, split: &Split) -> Option<Arc<SparkplugState>> {
        let known = self.names.insert(split.id, split.name.clone());
        if known.is_some() {
            // Somebody else has read on.
            self.settled.remove(&split.id);
            return None;
        }
        let state = self.restored.states.get(&split.name)?;
        self.settled.insert(split.id, state.clone());
        Some(state.clone())
    }

    /// A batch was settled, behind which this is kept of its split.
    pub(in crate::pipeline) fn settle(&mut self, split: SplitId, state: Arc<SparkplugState>) {
        self.settled.insert(split, state);
    }

    /// What is kept of each split that was assigned, also where it belongs to somebody else by now: it goes with
    /// the position up to which it was read here.
    pub(in crate::pipeline) fn freeze(&self) -> Vec<DecoderSnapshot> {
        let snapshots = self.settled.iter().filter_map(|(split, state)| {
            Some(DecoderSnapshot {
                split: self.names.get(split)?.clone(),
                state: state.clone(),
            })
        });
        snapshots.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(id: u32, name: &str) -> Split {
        Split {
            id: SplitId(id),
            name: name.into(),
        }
    }

    #[test]
    fn a_split_goes_on_with_what_was_saved_under_its_name_and_only_once() {
        let state = Arc::new(SparkplugState::default());
        let mut saved = SavedDecoders::default();
        saved.add("a".into(), &state.encode_sequences()).unwrap();
        let cut_off = SavedDecoders::default().add("b".into(), b"\x01");
        assert!(cut_off.is_err(), "{cut_off:?}");
        let mut states = DecoderStates::default();
        states.restore(Arc::new(saved));
        assert_eq!(states.assign(&split(3, "b")), None);
        assert_eq!(states.assign(&split(7, "a")), Some(state));
        let frozen: Vec<_> = states.freeze().into_iter().map(|one| one.split).collect();
        assert_eq!(frozen, ["a".into()]);
        assert_eq!(
            states.assign(&split(7, "a")),
            None,
            "somebody else has read on"
        );
        assert!(states.freeze().is_empty());
    }
}
