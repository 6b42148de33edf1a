//! The writer's part of a checkpoint.
//!
//! One version byte; the samples that were formed and not yet acknowledged; the marks of an earlier
//! restart that are still needed, as samples without a meaning in their values; and how far a file
//! was written.

use std::path::Path;
use std::sync::Arc;

use crate::model::{Corrupt, Decoder, Encoder, Sample, SampleValue, TimestampMs};

use super::already_sent::Marks;
use super::samples::{SampleWriter, read_samples};

/// The version of the format that is written, and the only one that there is.
const VERSION: u8 = 1;

/// The samples of one moment that are formed and not acknowledged.
#[derive(Debug, Clone, Default)]
pub struct WriterSnapshot {
    /// In the order in which they are to be sent.
    pub(super) samples: Vec<Sample>,
    pub(super) marks: Arc<Marks>,
    pub(super) file: Option<FilePosition>,
}

/// How far a file was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilePosition {
    /// The file, as the configuration names it.
    pub(super) path: String,
    /// Its length in bytes, where it is a file and no pipe.
    pub(super) length: Option<u64>,
    /// All samples before this time are in it, ms since the epoch.
    pub(super) written_before: TimestampMs,
}

impl WriterSnapshot {
    /// Adds samples that an owner had formed and the writer no room for when the owner was asked, which
    /// was earlier: those that it has taken since are there already, and those that it would not have
    /// taken, because an earlier run has sent them, are left out. Of a series, all of an owner's are in
    /// the order of time.
    pub fn append(&mut self, unsent: Vec<Sample>) {
        if unsent.is_empty() {
            return;
        }
        let mut known = Marks::default();
        if let Some(file) = &self.file {
            // Taken and written since.
            known.lift_all(file.written_before);
        }
        for sample in &self.samples {
            known.lift(&sample.series, sample.timestamp_ms);
        }
        let is_new = |sample: &Sample| !known.covers(sample) && !self.marks.covers(sample);
        let new: Vec<_> = unsent.into_iter().filter(is_new).collect();
        self.samples.extend(new);
    }

    /// How many samples were waiting.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether no samples were waiting.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// What [`Resume::state`](super::Resume) takes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u8(VERSION);
        SampleWriter::of(&self.samples).encode(&mut out);
        let mut marks = SampleWriter::default();
        for (series, mark) in self.marks.sorted() {
            marks.push(series, mark, &SampleValue::Number(0.0));
        }
        marks.encode(&mut out);
        out.i64(self.marks.before());
        out.option(self.file.as_ref(), |out, file| {
            out.text(&file.path);
            out.option(file.length, Encoder::u64);
            out.i64(file.written_before);
        });
        out.into_bytes()
    }

    /// Reads what [`encode`](Self::encode) has written.
    ///
    /// # Errors
    /// The bytes end before, are too many, contradict themselves, or are of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut from = Decoder::new(bytes);
        let version = from.u8()?;
        if version != VERSION {
            return Err(from.corrupt(format!(
                "a writer's state of version {version}, this weir reads {VERSION}"
            )));
        }
        let samples = read_samples(&mut from)?;
        let mut marks = Marks::default();
        for sample in read_samples(&mut from)? {
            marks.lift(&sample.series, sample.timestamp_ms);
        }
        marks.lift_all(from.i64()?);
        let file = from.option(|from| {
            Ok(FilePosition {
                path: from.text()?.to_owned(),
                length: from.option(Decoder::u64)?,
                written_before: from.i64()?,
            })
        })?;
        from.end()?;
        Ok(Self {
            samples,
            marks: Arc::new(marks),
            file,
        })
    }

    /// What owners need not hand over again, apart from the samples here.
    pub(super) fn marks(&self) -> Marks {
        let mut marks = Marks::clone(&self.marks);
        if let Some(file) = &self.file {
            marks.lift_all(file.written_before);
        }
        marks
    }

    /// How far this file was written, if it is the one that the snapshot knows.
    pub(super) fn position_in(&self, path: &Path) -> Option<&FilePosition> {
        self.file
            .as_ref()
            .filter(|file| file.path == path.to_string_lossy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::testing::{histogram, sample};

    fn snapshot() -> WriterSnapshot {
        let mut marks = Marks::default();
        marks.lift(&sample("up", &[("job", "weir")], 0, 1.0).series, 40);
        marks.lift_all(5);
        WriterSnapshot {
            samples: vec![
                sample("up", &[], 10, 1.0),
                sample("load", &[], 20, histogram()),
            ],
            marks: Arc::new(marks),
            file: Some(FilePosition {
                path: "samples.ndjson".to_owned(),
                length: Some(1_234),
                written_before: 30,
            }),
        }
    }

    #[test]
    fn what_had_no_room_is_added_unless_it_waits_or_was_sent_before() {
        let mut snapshot = snapshot();
        // A receiver has no such mark as a file.
        snapshot.file = None;
        let sent = |at| sample("up", &[("job", "weir")], at, 1.0);
        let waits = |at| sample("up", &[], at, 1.0);
        snapshot.append(vec![waits(10), waits(11), sent(40), sent(41)]);
        assert_eq!(snapshot.samples[2..], [waits(11), sent(41)]);
    }

    #[test]
    fn reads_what_was_written() {
        let before = snapshot();
        let after = WriterSnapshot::decode(&before.encode()).unwrap();
        assert_eq!(after.samples, before.samples);
        assert_eq!(after.file, before.file);
        assert_eq!(after.marks.sorted(), before.marks.sorted());
        assert_eq!(after.marks.before(), 5);
        // What is in the file is not to be handed over again either.
        assert_eq!(after.marks().before(), 30);
        let empty = WriterSnapshot::decode(&WriterSnapshot::default().encode()).unwrap();
        assert!(empty.is_empty() && empty.marks().is_empty() && empty.file.is_none());
    }

    #[test]
    fn what_an_owner_could_not_hand_over_is_added_where_it_is_still_unwritten() {
        let mut snapshot = snapshot();
        let unsent = [("cpu", 29), ("cpu", 30), ("load", 20), ("load", 40)];
        let unsent = unsent.map(|(name, time)| sample(name, &[], time, 1.0));
        snapshot.append(unsent.to_vec());
        let added = snapshot.samples.iter().skip(2);
        let times: Vec<_> = added.map(|sample| sample.timestamp_ms).collect();
        assert_eq!(times, [30, 40], "29 is in the file, 20 is held");
    }

    #[test]
    fn every_cut_and_another_version_is_refused() {
        let mut bytes = snapshot().encode();
        for end in 0..bytes.len() {
            assert!(WriterSnapshot::decode(&bytes[..end]).is_err(), "{end}");
        }
        bytes.push(0);
        let error = WriterSnapshot::decode(&bytes).unwrap_err();
        assert_eq!(error.reason, "1 bytes too many");
        bytes[0] = 9;
        let error = WriterSnapshot::decode(&bytes).unwrap_err();
        assert_eq!(
            error.reason,
            "a writer's state of version 9, this weir reads 1"
        );
    }
}
