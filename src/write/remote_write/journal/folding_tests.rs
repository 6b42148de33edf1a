use super::super::recovery::recover;
use super::*;
use crate::model::{Encoder, Sample};
use crate::telemetry::Registry;
use crate::write::remote_write::journal::{Journals, Settings};
use crate::write::samples::SampleWriter;
use crate::write::testing::sample;

/// A file of so many bytes.
fn found(checkpoint: u64, part: u64, bytes: u64) -> Found {
    Found {
        checkpoint,
        part,
        path: PathBuf::from(format!("{checkpoint}-{part}")),
        bytes,
    }
}

fn closed(files: Vec<Vec<Found>>, marks_bytes: u64) -> Closed {
    Closed { files, marks_bytes }
}

#[test]
fn it_is_due_when_the_files_are_worth_it() {
    let limits = Limits {
        file_bytes: 1,
        fold_bytes: 100,
        fold_files: 3,
        fold_most_bytes: 500,
    };
    let due = |bytes: &[u64], marks_bytes| {
        let files = bytes.iter().map(|bytes| found(1, 0, *bytes));
        let closed = closed(vec![vec![], files.collect()], marks_bytes);
        let twice = bytes.iter().chain(bytes).enumerate();
        let twice = twice.map(|(part, bytes)| found(1, part as u64, *bytes));
        let twice = Closed {
            files: vec![twice.collect()],
            marks_bytes,
        };
        let is_due = closed.is_due(&limits, 1);
        assert_eq!(twice.is_due(&limits, 2), is_due);
        is_due
    };
    assert!(!due(&[], 0) && !due(&[99], 0) && due(&[60, 40], 0));
    // Marks that are larger are not written anew for less than they are, but for enough.
    assert!(!due(&[100], 101) && due(&[101], 101));
    assert!(!due(&[499], 9_999) && due(&[500], 9_999));
    assert!(!due(&[0, 0], 0) && due(&[0, 0, 0], 9_999));
}

#[test]
fn the_oldest_go_first_and_not_too_many_at_once() {
    let limits = Limits {
        fold_most_bytes: 100,
        ..Limits::default()
    };
    let oldest = |files: &[&[Found]]| -> Vec<Vec<(u64, u64)>> {
        let files = files.iter().map(|files| files.to_vec()).collect();
        let files = closed(files, 0).oldest(&limits);
        let places = |files: &Vec<Found>| {
            let files = files.iter();
            files.map(|found| (found.checkpoint, found.part)).collect()
        };
        files.iter().map(places).collect()
    };
    let some = [found(1, 0, 40), found(1, 1, 30), found(3, 0, 1)];
    let others = [found(2, 0, 29), found(3, 0, 1)];
    assert_eq!(
        oldest(&[&some, &others]),
        [vec![(1, 0), (1, 1)], vec![(2, 0)]]
    );
    // One that is too large alone has to go, too.
    assert_eq!(oldest(&[&[found(1, 0, 999), found(2, 0, 1)]]), [[(1, 0)]]);
    assert_eq!(oldest(&[&[], &[found(7, 0, 1)]]), [vec![], vec![(7, 0)]]);
}

fn bytes(sample: &Sample) -> Vec<u8> {
    let mut out = Encoder::new();
    SampleWriter::of([sample]).encode(&mut out);
    out.into_bytes()
}

fn open(folder: &Path, shards: usize, limits: Limits, registry: &Registry) -> Journals {
    let settings = Settings {
        folder,
        shards,
        sync: false,
        limits,
    };
    Journals::open(settings, 1, 0, JournalMetrics::new(registry)).unwrap()
}

fn disk_bytes(folder: &Path) -> u64 {
    let files = find(folder).unwrap().into_iter().flatten();
    let files: u64 = files.map(|found| found.bytes).sum();
    files + length_of(&marks_path(folder)).unwrap().unwrap_or_default()
}

const SERIES: i64 = 200;

fn sample_of(number: i64) -> Sample {
    let series = (number % SERIES).to_string();
    sample("up", &[("series", &series)], number, 1.0)
}

/// Sends so many samples of some series through two shards, while checkpoints begin and none is ever
/// complete.
fn send(journals: &Journals, count: i64) {
    for number in 0..count {
        let shard = journals.shard(usize::from(number % SERIES % 2 == 1));
        let journal = shard.unwrap();
        let request = journal.request(&bytes(&sample_of(number))).unwrap();
        journal.acknowledge(request).unwrap();
        if number % 50 == 0 {
            journals.begin(2 + number as u64 / 50).unwrap();
        }
    }
}

#[test]
fn a_journal_stays_small_while_no_checkpoint_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new("test");
    let limits = Limits {
        file_bytes: 2_000,
        fold_bytes: 10_000,
        fold_files: 50,
        fold_most_bytes: 30_000,
    };
    let journals = open(folder.path(), 2, limits, &registry);
    send(&journals, 6_000);
    // All that was ordered is done before the thread ends.
    journals.drain();
    drop(journals);
    let written = 6_000 * bytes(&sample_of(0)).len() as u64;
    // What is not folded yet, what is written to, and 24 bytes for each series with some around them.
    let most = 2 * 10_000 + 2 * 3_000 + 24 * SERIES as u64 + 200;
    let left = disk_bytes(folder.path());
    assert!(left < most && most < written / 10, "{left} of {written}");
    let recovered = recover(folder.path(), 0, TimestampMs::MIN).unwrap();
    assert_eq!(recovered.in_doubt, Vec::<Vec<Sample>>::new());
    for number in 6_000 - SERIES..6_000 {
        let series = sample_of(number).series;
        assert_eq!(recovered.marks.get(&series), Some(number));
    }
}

#[test]
fn marks_go_when_no_state_needs_them_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new("test");
    // A file for each request.
    let limits = Limits {
        file_bytes: 1,
        fold_files: 60,
        ..Limits::default()
    };
    let journals = open(folder.path(), 2, limits, &registry);
    let send = |sample: &Sample| {
        let journal = journals.shard(0).unwrap();
        let request = journal.request(&bytes(sample)).unwrap();
        journal.acknowledge(request).unwrap();
    };
    for number in 0..100 {
        // Each series ends at once.
        send(&sample(
            "up",
            &[("series", &number.to_string())],
            number,
            1.0,
        ));
    }
    journals.completed(|| TimestampMs::MIN);
    journals.drain();
    let recovered = || recover(folder.path(), 2, TimestampMs::MIN).unwrap();
    // The last one is in the file that is written to.
    assert_eq!(recovered().marks.len(), 99);
    for _ in 0..60 {
        send(&sample_of(100));
    }
    journals.completed(|| 90);
    journals.drain();
    assert_eq!(recovered().marks.len(), 11);
    assert_eq!(recovered().marks.get(&sample_of(100).series), Some(100));
    // Nobody is asked while there is not enough to fold.
    journals.completed(|| panic!("asked"));
}

#[test]
fn a_failure_is_counted_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new("test");
    // In the way of the marks.
    std::fs::create_dir(marks_path(folder.path())).unwrap();
    std::fs::write(marks_path(folder.path()).join("inside"), "x").unwrap();
    let journals = open(folder.path(), 1, Limits::small(1), &registry);
    let journal = journals.shard(0).unwrap();
    for number in 0..3 {
        let request = journal.request(&bytes(&sample_of(number))).unwrap();
        journal.acknowledge(request).unwrap();
    }
    journals.drain();
    assert_eq!(find(folder.path()).unwrap()[0].len(), 4);
    let metrics = Registry::text([&registry]);
    let failures = metrics
        .lines()
        .find(|line| line.starts_with("weir_journal_failures_total"));
    assert!(!failures.unwrap().ends_with(" 0"), "{failures:?}");
}
