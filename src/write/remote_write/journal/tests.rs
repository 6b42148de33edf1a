use super::folder::clear;
use super::recovery::{self, Recovered};
use super::*;
use crate::model::{Encoder, Sample, TimestampMs};
use crate::write::samples::SampleWriter;
use crate::write::testing::sample;

fn up(timestamp: TimestampMs) -> Sample {
    sample("up", &[], timestamp, 1.0)
}

fn down(timestamp: TimestampMs) -> Sample {
    sample("down", &[], timestamp, 2.0)
}

fn bytes(samples: &[Sample]) -> Vec<u8> {
    let mut out = Encoder::new();
    SampleWriter::of(samples).encode(&mut out);
    out.into_bytes()
}

fn recover(folder: &Path, since: u64) -> Result<Recovered, WriteError> {
    recovery::recover(folder, since, TimestampMs::MIN)
}

fn open(folder: &Path, shards: usize, checkpoint: u64) -> Journals {
    open_with(folder, shards, checkpoint, Limits::default())
}

fn open_with(folder: &Path, shards: usize, checkpoint: u64, limits: Limits) -> Journals {
    let recovered = recover(folder, checkpoint).unwrap();
    let metrics = JournalMetrics::new(&Registry::new("test"));
    let settings = Settings {
        folder,
        shards,
        sync: true,
        limits,
    };
    Journals::open(settings, checkpoint, recovered.next, metrics).unwrap()
}

/// The path of the first part of a checkpoint's file of shard 0.
fn first_part(folder: &Path, checkpoint: u64) -> PathBuf {
    part_path(&folder.join("shard-0"), checkpoint, 0)
}

fn mark(recovered: &Recovered, sample: &Sample) -> Option<TimestampMs> {
    recovered.marks.get(&sample.series)
}

impl Journals {
    /// Waits until everything is folded that was to be.
    pub(in crate::write::remote_write) fn drain(&self) {
        self.folding.drain();
    }
}

impl Journal {
    /// Puts a file that cannot be written into the place of the good one, as a full disk would be.
    pub(in crate::write::remote_write) fn replace_file(&self, folder: &Path) -> fs::File {
        let read_only = fs::File::open(folder).unwrap();
        std::mem::replace(&mut self.lock().file.file, read_only)
    }

    /// The good file again.
    pub(in crate::write::remote_write) fn put_back(&self, file: fs::File) {
        self.lock().file.file = file;
    }
}

#[test]
fn a_request_without_an_acknowledgement_is_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let journals = open(folder.path(), 2, 7);
    let (first, second) = (journals.shard(0).unwrap(), journals.shard(1).unwrap());
    let done = first.request(&bytes(&[up(10)])).unwrap();
    first.acknowledge(done).unwrap();
    first.request(&bytes(&[up(20)])).unwrap();
    let done = second.request(&bytes(&[down(10)])).unwrap();
    second.acknowledge(done).unwrap();

    let recovered = recover(folder.path(), 7).unwrap();
    assert_eq!(recovered.in_doubt, [[up(20)]]);
    assert_eq!(mark(&recovered, &up(0)), Some(20));
    assert_eq!(mark(&recovered, &down(0)), Some(10));
    assert_eq!(recovered.next, 2);
    // A later checkpoint has nothing to do with it, but for the numbers.
    let later = recover(folder.path(), 8).unwrap();
    assert_eq!(
        (later.in_doubt.len(), later.marks.len(), later.next),
        (0, 0, 2)
    );
}

#[test]
fn only_the_newest_sample_of_a_series_is_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), 1, 0).shard(0).unwrap();
    // The acknowledgement of the first could not be written, but it was there.
    journal.request(&bytes(&[up(10), down(10)])).unwrap();
    journal.request(&bytes(&[up(20)])).unwrap();
    let recovered = recover(folder.path(), 0).unwrap();
    assert_eq!(recovered.in_doubt, [[down(10)], [up(20)]]);
}

#[test]
fn a_request_that_was_sent_again_is_settled_by_the_repetition() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), 4, 3)
        .shard(3)
        .unwrap()
        .request(&bytes(&[up(10)]))
        .unwrap();
    // The next process has fewer shards, so another one sends it, and two times.
    let journals = open(folder.path(), 1, 3);
    let journal = journals.shard(0).unwrap();
    journal.request(&bytes(&[up(10)])).unwrap();
    assert_eq!(recover(folder.path(), 3).unwrap().in_doubt, [[up(10)]]);
    let again = journal.request(&bytes(&[up(10)])).unwrap();
    journal.acknowledge(again).unwrap();
    let recovered = recover(folder.path(), 3).unwrap();
    assert_eq!(recovered.in_doubt, Vec::<Vec<Sample>>::new());
    assert_eq!((mark(&recovered, &up(0)), recovered.next), (Some(10), 3));
}

#[test]
fn a_checkpoint_begins_with_the_request_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let journals = open(folder.path(), 1, 0);
    let journal = journals.shard(0).unwrap();
    let done = journal.request(&bytes(&[up(10)])).unwrap();
    journal.acknowledge(done).unwrap();
    journals.begin(1).unwrap();
    let in_flight = journal.request(&bytes(&[up(20)])).unwrap();
    journals.begin(2).unwrap();
    assert_eq!(recover(folder.path(), 2).unwrap().in_doubt, [[up(20)]]);
    journal.acknowledge(in_flight).unwrap();
    // The acknowledgement is in the last file, and settles the copy in the one before as well.
    for since in 0..=2 {
        let recovered = recover(folder.path(), since).unwrap();
        assert_eq!(recovered.in_doubt, Vec::<Vec<Sample>>::new(), "{since}");
        assert_eq!(mark(&recovered, &up(0)), Some(20), "{since}");
    }
    assert_eq!(mark(&recover(folder.path(), 3).unwrap(), &up(0)), None);

    drop(journals);
    clear(folder.path()).unwrap();
    let left = find(folder.path()).unwrap().into_iter().flatten();
    assert_eq!(left.count(), 0);
}

#[test]
fn a_full_file_is_followed_by_another_part() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        file_bytes: 200,
        ..Limits::default()
    };
    let parts = || -> Vec<_> {
        let found = find(folder.path()).unwrap().into_iter().flatten();
        found.map(|found| (found.checkpoint, found.part)).collect()
    };
    let journals = open_with(folder.path(), 1, 4, limits);
    let journal = journals.shard(0).unwrap();
    for time in 1..=6 {
        let number = journal.request(&bytes(&[up(time)])).unwrap();
        journal.acknowledge(number).unwrap();
    }
    assert_eq!(parts(), [(4, 0), (4, 1), (4, 2)]);
    let path = first_part(folder.path(), 4);
    assert!(fs::metadata(&path).unwrap().len() < 400);
    assert_eq!(mark(&recover(folder.path(), 4).unwrap(), &up(0)), Some(6));
    // The next process goes on in the last one, and the next checkpoint in its own.
    drop((journal, journals));
    let journals = open_with(folder.path(), 1, 4, Limits::default());
    let journal = journals.shard(0).unwrap();
    assert_eq!(journal.path(), find(folder.path()).unwrap()[0][2].path);
    journal.request(&bytes(&[up(7)])).unwrap();
    journals.begin(5).unwrap();
    assert_eq!(parts(), [(4, 0), (4, 1), (4, 2), (5, 0)]);
    assert_eq!(recover(folder.path(), 5).unwrap().in_doubt, [[up(7)]]);
}

#[test]
fn what_was_acknowledged_at_the_checkpoint_is_not_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let journals = open(folder.path(), 1, 0);
    let journal = journals.shard(0).unwrap();
    let done = journal.request(&bytes(&[down(10)])).unwrap();
    journal.acknowledge(done).unwrap();
    // This one was done as well, but its acknowledgement could not be written.
    journal.request(&bytes(&[up(20), down(20)])).unwrap();
    let after = |time| recovery::recover(folder.path(), 0, time).unwrap();
    assert_eq!(after(20).in_doubt, [[up(20), down(20)]]);
    assert_eq!(mark(&after(20), &down(0)), Some(20));
    let later = after(21);
    assert_eq!((later.in_doubt.len(), later.marks.len()), (0, 0));
    assert_eq!(later.next, 2);
}

#[test]
fn every_cut_of_the_last_record_leaves_those_before() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), 1, 0).shard(0).unwrap();
    let number = journal.request(&bytes(&[up(10)])).unwrap();
    journal.acknowledge(number).unwrap();
    let path = first_part(folder.path(), 0);
    let before = fs::metadata(&path).unwrap().len();
    journal.request(&bytes(&[up(20)])).unwrap();
    let whole = fs::read(&path).unwrap();
    for end in before as usize..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        assert_eq!(mark(&recover(folder.path(), 0).unwrap(), &up(0)), Some(10));
        // Who goes on cuts the rest off, so that what follows can be read.
        let journal = open(folder.path(), 1, 0).shard(0).unwrap();
        journal.request(&bytes(&[up(30)])).unwrap();
        assert_eq!(recover(folder.path(), 0).unwrap().in_doubt, [[up(30)]]);
    }
    for end in 0..9 {
        fs::write(&path, &whole[..end]).unwrap();
        open(folder.path(), 1, 0);
        assert_eq!(fs::read(&path).unwrap(), whole[..9]);
    }
}

#[test]
fn a_file_of_another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), 1, 0);
    let path = first_part(folder.path(), 0);
    fs::write(&path, b"weirjrnl\x02").unwrap();
    let error = recover(folder.path(), 0).unwrap_err().to_string();
    let expected = format!(
        "the journal in {}: it is no journal, or one of another version of weir; a fresh start \
         empties it",
        path.display()
    );
    assert_eq!(error, expected);
}

#[test]
fn what_a_failed_write_leaves_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), 1, 0).shard(0).unwrap();
    journal.request(&bytes(&[up(10)])).unwrap();
    let path = first_part(folder.path(), 0);
    let good = journal.replace_file(&path);
    assert!(journal.request(&bytes(&[up(20)])).is_err());
    // What a full disk takes of a record.
    let mut torn = fs::read(&path).unwrap();
    torn.extend_from_slice(b"torn");
    fs::write(&path, torn).unwrap();
    assert!(journal.request(&bytes(&[up(20)])).is_err());
    journal.put_back(good);
    journal.request(&bytes(&[up(20)])).unwrap();
    assert_eq!(recover(folder.path(), 0).unwrap().in_doubt, [[up(20)]]);
}
