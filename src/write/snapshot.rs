//! The writer's part of a checkpoint.
//!
//! One version byte, and for each destination: its name; the samples that were formed and not yet
//! acknowledged; the marks of an earlier restart that are still needed, as samples without a meaning in
//! their values; and how far a file was written. Version 1 had one destination, without a name.

use std::path::Path;
use std::sync::Arc;

use crate::model::{Corrupt, Decoder, Encoder, Sample, SampleValue, TimestampMs};

use super::admission::Admission;
use super::already_sent::Marks;
use super::config::{DEFAULT_RECEIVER, FILE};
use super::samples::{SampleWriter, read_samples};

/// The version of the format that is written.
const VERSION: u8 = 2;
/// The one before, which is still read.
const ONE_DESTINATION: u8 = 1;

/// The samples of one moment that are formed and not acknowledged, by destination.
#[derive(Debug, Clone, Default)]
pub struct WriterSnapshot {
    pub(super) destinations: Vec<DestinationSnapshot>,
}

/// What one destination has not acknowledged.
#[derive(Debug, Clone, Default)]
pub(super) struct DestinationSnapshot {
    pub(super) name: String,
    /// In the order in which they are to be sent.
    pub(super) samples: Vec<Sample>,
    pub(super) marks: Arc<Marks>,
    pub(super) file: Option<FilePosition>,
    /// What becomes of samples before they are taken here; not of a snapshot that was read.
    pub(super) admission: Option<Arc<Admission>>,
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
    /// was earlier: those that a destination has taken since are there already, and those that it would
    /// not have taken are left out. Of a series, all of an owner's are in the order of time.
    pub fn append(&mut self, unsent: &[Sample]) {
        for destination in &mut self.destinations {
            let unsent = unsent.iter().cloned();
            let admission = destination.admission.clone();
            destination.append(match admission {
                Some(admission) => unsent
                    .filter_map(|sample| admission.preview(sample))
                    .collect(),
                None => unsent.collect(),
            });
        }
    }

    /// How many samples were waiting; one that waits for two destinations counts twice.
    pub fn len(&self) -> usize {
        let destinations = self.destinations.iter();
        destinations.map(|snapshot| snapshot.samples.len()).sum()
    }

    /// Whether no samples were waiting.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What [`Resume::state`](super::Resume) takes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u8(VERSION);
        out.count(self.destinations.len());
        for destination in &self.destinations {
            out.text(&destination.name);
            destination.encode(&mut out);
        }
        out.into_bytes()
    }

    /// Reads what [`encode`](Self::encode) has written.
    ///
    /// # Errors
    /// The bytes end before, are too many, contradict themselves, or are of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut from = Decoder::new(bytes);
        let mut destinations = Vec::new();
        match from.u8()? {
            VERSION => {
                for _ in 0..from.count(1)? {
                    let name = from.text()?.to_owned();
                    destinations.push(DestinationSnapshot::decode(name, &mut from)?);
                }
            }
            ONE_DESTINATION => {
                let mut only = DestinationSnapshot::decode(String::new(), &mut from)?;
                only.name = match only.file {
                    Some(_) => FILE.to_owned(),
                    None => DEFAULT_RECEIVER.to_owned(),
                };
                destinations.push(only);
            }
            version => {
                return Err(from.corrupt(format!(
                    "a writer's state of version {version}, this weir reads up to {VERSION}"
                )));
            }
        }
        from.end()?;
        Ok(Self { destinations })
    }

    /// Hands each destination what it had. Where there was one and is one, it goes on with that
    /// under whatever name. What is left is of destinations that there are no more.
    pub(super) fn take(&mut self, names: &[&str]) -> Vec<DestinationSnapshot> {
        if let ([only], [name]) = (self.destinations.as_mut_slice(), names) {
            (*name).clone_into(&mut only.name);
        }
        let mut take = |name: &&str| {
            let known = self.destinations.iter();
            let place = known.clone().position(|known| known.name == *name);
            place.map_or_else(DestinationSnapshot::default, |place| {
                self.destinations.swap_remove(place)
            })
        };
        names.iter().map(&mut take).collect()
    }
}

impl DestinationSnapshot {
    /// Adds samples that were admitted and had no room at an earlier moment.
    pub(super) fn append(&mut self, unsent: Vec<Sample>) {
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

    fn encode(&self, out: &mut Encoder) {
        SampleWriter::of(&self.samples).encode(out);
        let mut marks = SampleWriter::default();
        for (series, mark) in self.marks.sorted() {
            marks.push(series, mark, &SampleValue::Number(0.0));
        }
        marks.encode(out);
        out.i64(self.marks.before());
        out.option(self.file.as_ref(), |out, file| {
            out.text(&file.path);
            out.option(file.length, Encoder::u64);
            out.i64(file.written_before);
        });
    }

    fn decode(name: String, from: &mut Decoder<'_>) -> Result<Self, Corrupt> {
        let samples = read_samples(from)?;
        let mut marks = Marks::default();
        for sample in read_samples(from)? {
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
        Ok(Self {
            name,
            samples,
            marks: Arc::new(marks),
            file,
            admission: None,
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

    fn snapshot() -> DestinationSnapshot {
        let mut marks = Marks::default();
        marks.lift(&sample("up", &[("job", "weir")], 0, 1.0).series, 40);
        marks.lift_all(5);
        DestinationSnapshot {
            name: "east".to_owned(),
            admission: None,
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
        let west = DestinationSnapshot {
            name: "west".to_owned(),
            ..DestinationSnapshot::default()
        };
        let both = WriterSnapshot {
            destinations: vec![before.clone(), west],
        };
        let mut after = WriterSnapshot::decode(&both.encode()).unwrap();
        assert_eq!(after.len(), 2);
        let [west, new, after] = after.take(&["west", "new", "east"]).try_into().unwrap();
        assert!(west.samples.is_empty() && new.samples.is_empty());
        assert_eq!(after.samples, before.samples);
        assert_eq!(after.file, before.file);
        assert_eq!(after.marks.sorted(), before.marks.sorted());
        assert_eq!(after.marks.before(), 5);
        // What is in the file is not to be handed over again either.
        assert_eq!(after.marks().before(), 30);
        assert!(west.marks().is_empty() && west.file.is_none());
        let empty = WriterSnapshot::decode(&WriterSnapshot::default().encode()).unwrap();
        assert!(empty.is_empty() && empty.destinations.is_empty());
    }

    fn of_version_1(file: Option<FilePosition>) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u8(1);
        let only = DestinationSnapshot { file, ..snapshot() };
        only.encode(&mut out);
        out.into_bytes()
    }

    #[test]
    fn version_1_is_that_of_the_only_destination() {
        let file = snapshot().file;
        for (file, name) in [(None, "default"), (file, "file")] {
            let bytes = of_version_1(file);
            let mut read = WriterSnapshot::decode(&bytes).unwrap();
            assert_eq!(read.destinations[0].name, name);
            // It may have got another name since.
            let [only] = read.take(&["east"]).try_into().unwrap();
            assert_eq!(only.samples, snapshot().samples);
            assert!(read.is_empty());
        }
        let mut read = WriterSnapshot::decode(&of_version_1(None)).unwrap();
        let [default, other] = read.take(&["default", "other"]).try_into().unwrap();
        assert_eq!((default.samples.len(), other.samples.len()), (2, 0));
    }

    #[test]
    fn what_no_destination_takes_is_left() {
        let mut read = WriterSnapshot {
            destinations: vec![snapshot()],
        };
        read.take(&["west", "north"]);
        assert_eq!(read.len(), 2);
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
        let snapshot = WriterSnapshot {
            destinations: vec![snapshot(), snapshot()],
        };
        let mut bytes = snapshot.encode();
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
            "a writer's state of version 9, this weir reads up to 2"
        );
    }
}
