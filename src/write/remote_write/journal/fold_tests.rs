use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use fastrand::Rng;
use tempfile::TempDir;

use super::super::folder::find;
use super::super::folding::Limits;
use super::super::recovery::{Recovered, recover};
use super::*;
use crate::model::{Encoder, Sample};
use crate::telemetry::Registry;
use crate::write::remote_write::journal::{JournalMetrics, Journals, Settings};
use crate::write::samples::SampleWriter;
use crate::write::testing::sample;

fn up(series: u64, time: TimestampMs) -> Sample {
    sample("up", &[("series", &series.to_string())], time, time as f64)
}

fn bytes(samples: &[Sample]) -> Vec<u8> {
    let mut out = Encoder::new();
    SampleWriter::of(samples).encode(&mut out);
    out.into_bytes()
}

fn all_since(folder: &Path, since: u64) -> Recovered {
    recover(folder, since, TimestampMs::MIN).unwrap()
}

/// Journals whose thread never finds enough to fold.
fn open(folder: &Path, shards: usize, checkpoint: u64, file_bytes: u64) -> Journals {
    let next = all_since(folder, 0).next;
    let settings = Settings {
        folder,
        shards,
        sync: false,
        limits: Limits {
            file_bytes,
            ..Limits::default()
        },
    };
    let metrics = JournalMetrics::new(&Registry::new("test"));
    Journals::open(settings, checkpoint, next, metrics).unwrap()
}

/// All files but those that are written to.
fn closed(folder: &Path, journals: &Journals) -> Vec<Vec<Found>> {
    let mut files = find(folder).unwrap();
    let live = (0..).map_while(|shard| Some(journals.shard(shard)?.path()));
    let live: BTreeSet<PathBuf> = live.collect();
    for files in &mut files {
        files.retain(|found| !live.contains(&found.path));
    }
    files
}

fn fold_all(folder: &Path, closed: &[Vec<Found>], oldest: TimestampMs) {
    fold(folder, closed, oldest, &AtomicBool::new(false)).unwrap();
}

/// The samples in doubt, in some order.
fn in_doubt(recovered: &Recovered) -> BTreeMap<Series, TimestampMs> {
    let samples = recovered.in_doubt.iter().flatten();
    let all: Vec<_> = samples
        .map(|sample| (Series::clone(&sample.series), sample.timestamp_ms))
        .collect();
    let by_series: BTreeMap<_, _> = all.iter().cloned().collect();
    assert_eq!(by_series.len(), all.len(), "a sample goes out once");
    by_series
}

const SERIES: u64 = 8;

/// What a series has in truth, ms since the epoch.
#[derive(Debug, Clone, Copy, Default)]
struct Truth {
    newest: TimestampMs,
    acknowledged: TimestampMs,
}

/// The same journal two times: as it would be for ever, and folded now and then.
struct Twins {
    random: Rng,
    whole: TempDir,
    folded: TempDir,
    truth: Vec<Truth>,
    /// The checkpoints that can be restored.
    complete: BTreeSet<u64>,
    next_checkpoint: u64,
}

impl Twins {
    fn new(seed: u64) -> Self {
        let folder = || {
            let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
            folder.unwrap()
        };
        Self {
            random: Rng::with_seed(seed),
            whole: folder(),
            folded: folder(),
            truth: vec![Truth::default(); SERIES as usize],
            complete: BTreeSet::from([0]),
            next_checkpoint: 1,
        }
    }

    /// One process, from its start to its end.
    fn live(&mut self) {
        let shards = self.random.usize(1..=3);
        let mut waiting: Vec<VecDeque<Vec<Sample>>> = vec![VecDeque::new(); shards];
        let again = all_since(self.folded.path(), 0).in_doubt;
        for sample in again.into_iter().flatten() {
            waiting[shard_of(&sample, shards)].push_back(vec![sample]);
        }
        let newest = self.complete.last().copied().unwrap();
        let file_bytes = self.random.u64(50..2_000);
        let whole = open(self.whole.path(), shards, newest, file_bytes);
        let folded = open(self.folded.path(), shards, newest, file_bytes);
        // By shard: the samples with the numbers of their request in both.
        let mut in_flight: Vec<Option<(Vec<Sample>, u64, u64)>> = vec![None; shards];
        let mut begun = None;
        for _ in 0..self.random.usize(0..60) {
            let shard = self.random.usize(0..shards);
            match self.random.u8(0..10) {
                0..4 if in_flight[shard].is_none() => {
                    let samples = match waiting[shard].pop_front() {
                        Some(samples) => samples,
                        None => self.new_samples(shard, shards),
                    };
                    let bytes = bytes(&samples);
                    let send = |to: &Journals| to.shard(shard).unwrap().request(&bytes).unwrap();
                    in_flight[shard] = Some((samples, send(&whole), send(&folded)));
                }
                0..7 => {
                    let Some((samples, whole_number, folded_number)) = in_flight[shard].take()
                    else {
                        continue;
                    };
                    if self.random.u8(..) < 20 {
                        // It could not be written.
                        continue;
                    }
                    let acknowledge = |to: &Journals, number| {
                        to.shard(shard).unwrap().acknowledge(number).unwrap();
                    };
                    acknowledge(&whole, whole_number);
                    acknowledge(&folded, folded_number);
                    for sample in samples {
                        let truth = &mut self.truth[number_of(&sample)];
                        truth.acknowledged = truth.acknowledged.max(sample.timestamp_ms);
                    }
                }
                7 => {
                    let number = self.next_checkpoint;
                    self.next_checkpoint += 1;
                    whole.begin(number).unwrap();
                    folded.begin(number).unwrap();
                    begun = Some(number);
                }
                8 => self.complete.extend(begun.take()),
                _ => {
                    let mut files = closed(self.folded.path(), &folded);
                    if self.random.bool() {
                        // The older half of each shard.
                        files.iter_mut().for_each(|files| {
                            files.truncate(files.len().div_ceil(2));
                        });
                    }
                    fold_all(self.folded.path(), &files, TimestampMs::MIN);
                }
            }
        }
        self.next_checkpoint = self.next_checkpoint.max(folded.next_checkpoint());
    }

    /// Samples of some of the series of a shard, all later than what they had.
    fn new_samples(&mut self, shard: usize, shards: usize) -> Vec<Sample> {
        let mut samples = Vec::new();
        for series in 0..SERIES {
            let mine = shard_of(&up(series, 0), shards) == shard;
            let truth = &mut self.truth[series as usize];
            // What is in doubt goes first.
            if mine && truth.newest == truth.acknowledged && self.random.bool() {
                truth.newest += self.random.i64(1..10);
                samples.push(up(series, truth.newest));
            }
        }
        samples
    }

    fn check(&self) {
        for since in &self.complete {
            let whole = all_since(self.whole.path(), *since);
            let folded = all_since(self.folded.path(), *since);
            assert_eq!(in_doubt(&folded), in_doubt(&whole), "since {since}");
            assert_eq!(folded.next, whole.next);
            for (series, truth) in (0..).zip(&self.truth) {
                let series = up(series, 0).series;
                let mark = folded.marks.get(&series);
                assert!(mark >= whole.marks.get(&series), "since {since}");
                assert!(mark.is_none_or(|mark| mark <= truth.newest));
            }
        }
        let all = all_since(self.folded.path(), 0);
        for (series, truth) in (0..).zip(&self.truth) {
            let series = up(series, 0).series;
            let newest = Some(truth.newest).filter(|newest| *newest > 0);
            assert_eq!(all.marks.get(&series), newest);
            let doubtful = newest.filter(|newest| *newest > truth.acknowledged);
            assert_eq!(in_doubt(&all).get(&*series).copied(), doubtful);
        }
    }
}

fn number_of(sample: &Sample) -> usize {
    let (_, series) = &sample.series.labels()[0];
    series.parse().unwrap()
}

fn shard_of(sample: &Sample, shards: usize) -> usize {
    number_of(sample) % shards
}

#[test]
fn whatever_is_folded_when_the_same_is_known() {
    let seeds = std::env::var("WEIR_SEEDS").map_or(150, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let mut twins = Twins::new(seed);
        for life in 0..4 {
            let told = format!("seed {seed}, life {life}");
            let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                twins.live();
                twins.check();
            }));
            assert!(lived.is_ok(), "{told}");
        }
    }
}

/// A folder with marks, closed files of two shards and requests that are open.
fn some_folder() -> (TempDir, Vec<Vec<Found>>) {
    let folder = tempfile::tempdir().unwrap();
    let journals = open(folder.path(), 2, 0, 250);
    let send = |shard: usize, samples: &[Sample], is_done: bool| {
        let journal = journals.shard(shard).unwrap();
        let number = journal.request(&bytes(samples)).unwrap();
        if is_done {
            journal.acknowledge(number).unwrap();
        }
    };
    for time in 1..10 {
        send(0, &[up(0, time), up(2, time)], true);
        send(1, &[up(1, time)], time != 4);
    }
    journals.begin(1).unwrap();
    fold_all(folder.path(), &closed(folder.path(), &journals), 0);
    send(0, &[up(4, 5)], false);
    journals.begin(2).unwrap();
    for time in 10..20 {
        send(0, &[up(0, time), up(6, time)], true);
        send(1, &[up(3, time)], time < 19);
    }
    journals.begin(3).unwrap();
    let closed = closed(folder.path(), &journals);
    assert!(closed.iter().all(|files| files.len() > 3), "{closed:?}");
    (folder, closed)
}

/// What a restart knows: the marks, and what is in doubt since each checkpoint.
type Known = (
    Vec<Option<TimestampMs>>,
    Vec<BTreeMap<Series, TimestampMs>>,
    u64,
);

fn known(folder: &Path) -> Known {
    let all = all_since(folder, 0);
    let marks = (0..8).map(|series| all.marks.get(&up(series, 0).series));
    let since = (0..=3).map(|since| in_doubt(&all_since(folder, since)));
    (marks.collect(), since.collect(), all.next)
}

#[test]
fn a_crash_between_any_two_steps_loses_nothing() {
    let (folder, closed) = some_folder();
    let at = folder.path();
    let before = known(at);
    assert_eq!(
        before.0[..5],
        [Some(19), Some(9), Some(9), Some(19), Some(5)]
    );
    assert_eq!(before.1[0].len(), 2, "{before:?}");
    let old_marks = fs::read(marks_path(at)).unwrap();
    let files = closed.iter().flatten();
    let files: Vec<_> = files
        .map(|found| (found.path.clone(), fs::read(&found.path).unwrap()))
        .collect();
    fold_all(at, &closed, TimestampMs::MIN);
    let new_marks = fs::read(marks_path(at)).unwrap();
    assert!(files.iter().all(|(path, _)| !path.exists()));
    assert_eq!(known(at), before);

    let put_back = |count: usize| {
        for (path, bytes) in files.iter().rev().take(count) {
            fs::write(path, bytes).unwrap();
        }
    };
    let unfinished = at.join("marks.new");
    for end in 0..=new_marks.len() {
        fs::write(marks_path(at), &old_marks).unwrap();
        put_back(files.len());
        fs::write(&unfinished, &new_marks[..end]).unwrap();
        if end % 16 == 0 || end == new_marks.len() {
            assert_eq!(known(at), before, "{end} bytes written");
            fold_all(at, &closed, TimestampMs::MIN);
            assert_eq!(fs::read(marks_path(at)).unwrap(), new_marks);
            assert!(!unfinished.exists());
        }
    }
    for left in 0..=files.len() {
        fs::write(marks_path(at), &new_marks).unwrap();
        put_back(left);
        assert_eq!(known(at), before, "{left} files left");
        let mut again = closed.clone();
        again
            .iter_mut()
            .for_each(|files| files.retain(|found| found.path.exists()));
        fold_all(at, &again, TimestampMs::MIN);
        assert_eq!(known(at), before, "{left} files folded again");
    }
}

#[test]
fn what_is_stopped_or_fails_changes_nothing() {
    let (folder, closed) = some_folder();
    let before = known(folder.path());
    let stopped = fold(
        folder.path(),
        &closed,
        TimestampMs::MIN,
        &AtomicBool::new(true),
    );
    let error = stopped.unwrap_err().to_string();
    assert!(error.ends_with(": the writer ends"), "{error}");
    assert_eq!(known(folder.path()), before);
    // There is no place for the new marks.
    fs::create_dir(folder.path().join("marks.new")).unwrap();
    let failed = fold(
        folder.path(),
        &closed,
        TimestampMs::MIN,
        &AtomicBool::new(false),
    );
    assert!(failed.is_err());
    assert_eq!(known(folder.path()), before);
}

#[test]
fn old_marks_and_what_they_have_settled_go() {
    let (folder, closed) = some_folder();
    fold_all(folder.path(), &closed, 10);
    let (marks, in_doubt, next) = known(folder.path());
    let live = [None, None, None, Some(19), None, None, None, None];
    let mut expected = live;
    (expected[0], expected[6]) = (Some(19), Some(19));
    assert_eq!(marks, expected);
    // 4 was in doubt at 5: at a time up to which everything is acknowledged.
    let doubtful: Vec<_> = in_doubt.iter().map(|all| all.len()).collect();
    assert_eq!(doubtful, [1, 1, 1, 1]);
    assert!(next > 0);
}

#[test]
fn damaged_marks_are_good_up_to_the_damage_and_are_replaced() {
    let (folder, closed) = some_folder();
    let path = marks_path(folder.path());
    let old = fs::read(&path).unwrap();
    for place in 0..old.len() {
        let mut damaged = old.clone();
        damaged[place] ^= 0xff;
        fs::write(&path, &damaged).unwrap();
        let recovered = all_since(folder.path(), 0);
        assert_eq!(recovered.marks.get(&up(0, 0).series), Some(19), "{place}");
    }
    fs::write(&path, &old[..old.len() / 2]).unwrap();
    fold_all(folder.path(), &closed, TimestampMs::MIN);
    let mut reader = MarksReader::open(&path).unwrap().unwrap();
    while reader.next().unwrap().is_some() {}
    let (marks, ..) = known(folder.path());
    assert_eq!(marks[..5], [Some(19), None, None, Some(19), Some(5)]);
}
