//! Splits in a checkpoint: how far each was processed, by its name.
//!
//! A split's number is another one in every run, and so may its worker be; its name stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Corrupt, Decoder, Encoder, TimestampMs};

/// The version of the format.
const VERSION: u8 = 1;

/// How many bytes a batch that is not written takes.
const UNWRITTEN_BYTES: usize = 16;

/// The splits of a checkpoint by their names.
pub(in crate::pipeline) type SplitStates = BTreeMap<Arc<str>, SplitState>;

/// What is known of a split between two of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pipeline) struct SplitState {
    /// Its name.
    pub(in crate::pipeline) name: Arc<str>,
    /// Whether it is somebody else's.
    pub(in crate::pipeline) revoked: bool,
    /// Records before this position were processed in an earlier assignment.
    pub(in crate::pipeline) processed_before: Option<u64>,
    /// The first position of all.
    pub(in crate::pipeline) origin: Option<u64>,
    /// The position after the last record that was processed.
    pub(in crate::pipeline) next: Option<u64>,
    /// The highest event time before that position, ms since the epoch.
    pub(in crate::pipeline) highest: Option<TimestampMs>,
    /// Windows that end at or before this were written with the split's events by a run that has left
    /// no checkpoint.
    pub(in crate::pipeline) written: Option<TimestampMs>,
    /// Batches whose windows are not all written, oldest first.
    pub(in crate::pipeline) unwritten: Vec<Unwritten>,
}

/// A batch whose windows are not all written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) struct Unwritten {
    /// Its first position.
    pub(in crate::pipeline) first: u64,
    /// The latest end of its windows.
    pub(in crate::pipeline) end: TimestampMs,
}

impl SplitState {
    /// From where the split is to be read on: also where it was somebody else's for a while, because the
    /// windows of the checkpoint have its events up to there and no others. Nothing where no record was
    /// processed.
    pub(in crate::pipeline) fn position(&self) -> Option<u64> {
        self.next
    }

    /// Writes it.
    pub(in crate::pipeline) fn encode(&self, out: &mut Encoder) {
        out.text(&self.name);
        out.bool(self.revoked);
        out.option(self.processed_before, Encoder::u64);
        out.option(self.origin, Encoder::u64);
        out.option(self.next, Encoder::u64);
        out.option(self.highest, Encoder::i64);
        out.option(self.written, Encoder::i64);
        out.count(self.unwritten.len());
        for batch in &self.unwritten {
            out.u64(batch.first);
            out.i64(batch.end);
        }
    }

    /// Reads what [`encode`](Self::encode) has written.
    ///
    /// # Errors
    /// The bytes end before, or are no such state.
    pub(in crate::pipeline) fn decode(from: &mut Decoder<'_>) -> Result<Self, Corrupt> {
        let name = from.text()?.into();
        let revoked = from.bool()?;
        let processed_before = from.option(Decoder::u64)?;
        let origin = from.option(Decoder::u64)?;
        let next = from.option(Decoder::u64)?;
        let highest = from.option(Decoder::i64)?;
        let written = from.option(Decoder::i64)?;
        let count = from.count(UNWRITTEN_BYTES)?;
        let unwritten = (0..count).map(|_| {
            Ok(Unwritten {
                first: from.u64()?,
                end: from.i64()?,
            })
        });
        Ok(Self {
            name,
            revoked,
            processed_before,
            origin,
            next,
            highest,
            written,
            unwritten: unwritten.collect::<Result<_, Corrupt>>()?,
        })
    }
}

/// All splits of a checkpoint: those that workers have, and those of the checkpoint before that were
/// not assigned since.
pub(in crate::pipeline) fn all_of(
    workers: impl IntoIterator<Item = Vec<SplitState>>,
    restored: &SplitStates,
) -> SplitStates {
    let mut all = restored.clone();
    for state in workers.into_iter().flatten() {
        all.insert(state.name.clone(), state);
    }
    all
}

/// The part of a checkpoint that holds the splits.
pub(in crate::pipeline) fn encode_splits(splits: &SplitStates) -> Vec<u8> {
    let mut out = Encoder::new();
    out.u8(VERSION);
    out.count(splits.len());
    for split in splits.values() {
        split.encode(&mut out);
    }
    out.into_bytes()
}

/// The splits of such a part.
///
/// # Errors
/// The bytes are no such part, or one of another version.
pub(in crate::pipeline) fn decode_splits(bytes: &[u8]) -> Result<SplitStates, Corrupt> {
    let mut from = Decoder::new(bytes);
    let version = from.u8()?;
    if version != VERSION {
        let reason = format!("splits of format {version}; this version reads {VERSION}");
        return Err(from.corrupt(reason));
    }
    let count = from.count(1)?;
    let mut splits = SplitStates::new();
    for _ in 0..count {
        let state = SplitState::decode(&mut from)?;
        if let Some(twice) = splits.insert(state.name.clone(), state) {
            return Err(from.corrupt(format!("split {} is there twice", twice.name)));
        }
    }
    from.end()?;
    Ok(splits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(name: &str, next: u64) -> SplitState {
        SplitState {
            name: name.into(),
            revoked: false,
            processed_before: Some(3),
            origin: Some(1),
            next: Some(next),
            highest: Some(-5),
            written: None,
            unwritten: vec![
                Unwritten { first: 7, end: -1 },
                Unwritten { first: 9, end: 12 },
            ],
        }
    }

    #[test]
    fn splits_are_read_as_they_were_written_and_no_cut_is_taken_for_one() {
        let other = SplitState {
            revoked: true,
            unwritten: Vec::new(),
            ..state("b", 2)
        };
        let splits = all_of([vec![state("a", 9)], vec![other]], &SplitStates::new());
        let bytes = encode_splits(&splits);
        assert_eq!(decode_splits(&bytes), Ok(splits));
        for end in 0..bytes.len() {
            assert!(decode_splits(&bytes[..end]).is_err(), "{end}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(
            decode_splits(&longer).unwrap_err().reason,
            "1 bytes too many"
        );
        let newer = [&[2], &bytes[1..]].concat();
        assert_eq!(
            decode_splits(&newer).unwrap_err().to_string(),
            "byte 1: splits of format 2; this version reads 1"
        );
    }

    #[test]
    fn splits_that_nobody_has_stay_as_they_were() {
        let restored = all_of(
            [vec![state("a", 1), state("b", 1)]],
            &SplitStates::default(),
        );
        let all = all_of([vec![state("b", 5)], Vec::new()], &restored);
        let next: Vec<_> = all
            .values()
            .map(|state| (&*state.name, state.next))
            .collect();
        assert_eq!(next, [("a", Some(1)), ("b", Some(5))]);
    }
}
