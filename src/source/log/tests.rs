//! The log from one end to the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::{fs, thread};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::*;
use crate::model::{Clock, Split, SplitId};
use crate::source::metrics::SourceMetrics;
use crate::source::{KeptPositions, SourceEvent, SourceOutput, StopSignal, Stopped};
use crate::telemetry::Registry;

/// Says what it is given: the receive time and the records with their positions, or an event.
struct Output(Sender<String>);

impl SourceOutput for Output {
    fn send(&mut self, event: SourceEvent) -> Result<(), Stopped> {
        let text = match event {
            SourceEvent::Records(batch) => {
                let records = batch.records().map(|record| {
                    assert_eq!(record.timestamp, Some(batch.received_ms()));
                    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                    format!(
                        " {}={}@{}",
                        text(record.topic),
                        text(record.bytes),
                        record.position
                    )
                });
                format!("{}:{}", batch.received_ms(), records.collect::<String>())
            }
            SourceEvent::Assigned(split) => format!("assigned {split}"),
            other => format!("{other:?}"),
        };
        self.0.send(text).map_err(|_| Stopped)
    }

    fn end(&mut self) {}
}

/// A log in a folder.
struct Bench {
    folder: PathBuf,
    config: LogConfig,
    kept: KeptPositions,
    now_ms: Arc<AtomicI64>,
    registry: Registry,
}

impl Bench {
    fn new(folder: &Path) -> Self {
        Self {
            folder: folder.join("log"),
            config: LogConfig::default(),
            kept: KeptPositions::default(),
            now_ms: Arc::new(AtomicI64::new(1_000)),
            registry: Registry::new("test"),
        }
    }

    /// Opens the log, to be read from where the state says.
    fn open(&mut self, resume: Option<u64>) -> (Appender, Follower) {
        self.open_as("log/test", resume).unwrap()
    }

    fn open_as(
        &mut self,
        split: &str,
        resume: Option<u64>,
    ) -> Result<(Appender, Follower), crate::durable::LogError> {
        self.registry = Registry::new("test");
        let metrics = SourceMetrics::new(&self.registry);
        let log_metrics = LogMetrics::new(&self.registry);
        let split = Split {
            id: SplitId(0),
            name: split.into(),
        };
        let settings = LogSettings {
            folder: self.folder.clone(),
            config: self.config.clone(),
        };
        let opening = Opening {
            split_name: split.name.to_string(),
            resume,
            kept: self.kept.clone(),
            keep_last: 2,
            clock: Clock::Manual(self.now_ms.clone()),
            metrics: log_metrics.clone(),
            positions_lost: metrics.positions_lost.clone(),
        };
        let (appender, from) = Appender::open(&settings, opening)?;
        let follower = Follower::new(
            appender.reader(from).unwrap().durable_only(),
            split.clone(),
            true,
            metrics.split(&split.name),
            log_metrics.dropped,
            Arc::clone(appender.progress()),
        );
        Ok((appender, follower))
    }

    fn expect(&self, metric: &str, value: u64) {
        let text = Registry::text([&self.registry]);
        let line = format!("{metric}{{pipeline=\"test\"}} {value}\n");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}

fn append(appender: &mut Appender, payloads: &[&str]) {
    for payload in payloads {
        let entry = Entry {
            packet_id: 1,
            topic: b"cars",
            payload: payload.as_bytes(),
        };
        assert!(appender.append(&entry).unwrap());
    }
}

/// The next segment finds the disk full, once.
fn fill_disk(folder: &Path, next: u64) {
    let segment = folder.join(format!("{next:020}.log.new"));
    std::os::unix::fs::symlink("/dev/full", segment).unwrap();
}

/// What a reader hands over of a log that nobody appends to any more.
fn all_of(follower: Follower) -> Vec<String> {
    let (sender, events) = unbounded();
    follower
        .run(&mut Output(sender), &StopSignal::default())
        .unwrap();
    events.iter().collect()
}

#[test]
fn only_what_is_durable_is_handed_over_and_the_rest_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    let (mut appender, follower) = bench.open(None);
    append(&mut appender, &["a", "b"]);
    appender.sync().unwrap();
    append(&mut appender, &["c"]);
    drop(appender);
    assert_eq!(
        all_of(follower),
        ["assigned log/test", "1000: cars=a@0 cars=b@1"]
    );
    bench.expect("weir_log_appended_total", 3);

    let mut read = |resume| {
        let (appender, follower) = bench.open(resume);
        drop(appender);
        all_of(follower)[1..].join("")
    };
    assert_eq!(read(None), "1000: cars=a@0 cars=b@1 cars=c@2");
    assert_eq!(read(Some(1)), "1000: cars=b@1 cars=c@2");
    assert_eq!(read(Some(3)), "");
}

#[test]
fn a_batch_was_received_at_one_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    let (mut appender, follower) = bench.open(None);
    append(&mut appender, &["a"]);
    bench.now_ms.store(2_000, Ordering::Release);
    append(&mut appender, &["b"]);
    appender.sync().unwrap();
    append(&mut appender, &["c"]);
    appender.sync().unwrap();
    drop(appender);
    assert_eq!(
        all_of(follower)[1..],
        ["1000: cars=a@0 cars=b@1", "2000: cars=c@2"],
        "what is synced together counts as received together"
    );
}

fn next(events: &Receiver<String>) -> String {
    events
        .recv_timeout(std::time::Duration::from_secs(60))
        .unwrap()
}

#[test]
fn the_split_is_idle_only_when_the_log_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    let (mut appender, follower) = bench.open(None);
    let progress = Arc::clone(appender.progress());
    append(&mut appender, &["a"]);
    progress.change(|state| state.idle = true);
    let (sender, events) = unbounded();
    let stop = StopSignal::default();
    let signal = stop.clone();
    let thread = thread::spawn(move || follower.run(&mut Output(sender), &signal));
    assert_eq!(next(&events), "assigned log/test");
    appender.sync().unwrap();
    assert_eq!(next(&events), "1000: cars=a@0");
    assert_eq!(next(&events), "Idle(SplitId(0))");
    progress.change(|state| state.idle = false);
    assert_eq!(next(&events), "Active(SplitId(0))");
    progress.change(|state| state.idle = true);
    assert_eq!(next(&events), "Idle(SplitId(0))");
    append(&mut appender, &["b"]);
    appender.sync().unwrap();
    assert_eq!(next(&events), "1000: cars=b@1", "records wake it as well");
    stop.stop();
    thread.join().unwrap().unwrap();
    assert_eq!(events.try_recv().ok(), None);
    assert!(!progress.now().abandoned, "a stop is no failure");
}

#[test]
fn a_full_log_takes_more_when_checkpoints_need_less() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    bench.config.max_bytes = 8_000;
    let (mut appender, _follower) = bench.open(None);
    let payload = "x".repeat(200);
    let mut count = 0;
    while appender.has_room().unwrap() {
        append(&mut appender, &[&payload]);
        count += 1;
    }
    assert!((20..40).contains(&count), "{count}");
    assert!(!appender.has_room().unwrap());
    bench.expect("weir_log_full_total", 1);
    bench.kept.set("log/test", count / 2);
    assert!(appender.has_room().unwrap());
    let (first, next) = appender.range();
    assert!((1..=count / 2).contains(&first), "{first}");
    assert_eq!(next, count);
    bench.expect("weir_log_dropped_records_total", 0);
}

#[test]
fn the_last_records_stay_while_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    bench.config.max_bytes = 8_000;
    let (mut appender, _follower) = bench.open(None);
    let payload = "x".repeat(900);
    append(&mut appender, &[&payload, &payload, &payload, &payload]);
    appender.sync().unwrap();
    bench.kept.set("log/test", 4);
    appender.keep_house(std::time::Instant::now()).unwrap();
    assert_eq!(appender.range(), (2, 4));
    bench.expect("weir_log_records", 2);
}

#[test]
fn the_oldest_records_go_where_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    bench.config.max_bytes = 8_000;
    bench.config.when_full = WhenFull::DropOldest;
    let (mut appender, follower) = bench.open(None);
    let payload = "x".repeat(200);
    for _ in 0..100 {
        assert!(appender.has_room().unwrap());
        append(&mut appender, &[&payload]);
    }
    appender.sync().unwrap();
    let (first, next) = appender.range();
    assert_eq!(next, 100);
    assert!((60..90).contains(&first), "{first}");
    bench.expect("weir_log_dropped_records_total", first);
    drop(appender);
    let read = all_of(follower).join("");
    let positions: Vec<_> = (first..100)
        .map(|position| format!("@{position}"))
        .collect();
    assert_eq!(read.matches('@').count(), positions.len());
    assert!(positions.iter().all(|position| read.contains(position)));

    // The state had read up to a record that is gone.
    let (appender, _) = bench.open(Some(first - 5));
    assert_eq!(appender.progress().now().handed, first);
    bench.expect("weir_log_dropped_records_total", 5);
    bench.expect("weir_source_positions_lost_total", 1);
}

#[test]
fn what_is_too_old_goes() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    bench.config.max_age = Some(crate::model::Duration::from_secs(60));
    let (mut appender, _follower) = bench.open(None);
    append(&mut appender, &["a", "b"]);
    appender.sync().unwrap();
    bench.now_ms.store(31_000, Ordering::Release);
    appender.keep_house(std::time::Instant::now()).unwrap();
    bench.expect("weir_log_records", 2);
    bench.expect("weir_log_oldest_seconds", 30);
    bench.now_ms.store(62_000, Ordering::Release);
    let later = std::time::Instant::now() + std::time::Duration::from_secs(2);
    appender.keep_house(later).unwrap();
    bench.expect("weir_log_records", 0);
    bench.expect("weir_log_dropped_records_total", 2);
}

#[test]
fn a_full_disk_takes_nothing_and_breaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    bench.config.max_bytes = 8_000;
    bench.config.max_age = Some(crate::model::Duration::from_secs(60));
    let (mut appender, follower) = bench.open(None);
    let payload = "x".repeat(900);
    append(&mut appender, &[&payload]);
    fill_disk(&bench.folder, 1);
    let entry = Entry {
        packet_id: 1,
        topic: b"cars",
        payload: payload.as_bytes(),
    };
    assert!(!appender.append(&entry).unwrap());
    bench.expect("weir_log_full_total", 1);
    assert_eq!(appender.range(), (0, 1));
    // There is room again.
    append(&mut appender, &[&payload]);
    fill_disk(&bench.folder, 2);
    assert!(!appender.append(&entry).unwrap());
    bench.expect("weir_log_full_total", 2);
    appender.sync().unwrap();

    // What is too old goes as far as that takes no room: the last segment stays, and goes later.
    bench.now_ms.store(100_000, Ordering::Release);
    fill_disk(&bench.folder, 2);
    let now = std::time::Instant::now();
    appender.keep_house(now).unwrap();
    assert_eq!(appender.range(), (1, 2));
    bench.expect("weir_log_dropped_records_total", 1);
    let later = now + std::time::Duration::from_secs(2);
    appender.keep_house(later).unwrap();
    assert_eq!(appender.range(), (2, 2));
    bench.expect("weir_log_dropped_records_total", 2);
    append(&mut appender, &["a"]);
    appender.sync().unwrap();
    drop(appender);
    drop(follower);
    let (appender, follower) = bench.open(Some(2));
    drop(appender);
    assert_eq!(all_of(follower)[1..].join(""), "100000: cars=a@2");
}

#[test]
fn a_log_is_read_as_one_split_and_as_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    let (mut appender, _follower) = bench.open(None);
    append(&mut appender, &["a"]);
    drop(appender);
    let error = bench.open_as("log/other", None).unwrap_err().to_string();
    let reason = "has the records of log/test, and would be read as log/other";
    assert!(error.contains(reason), "{error}");
    let (appender, follower) = bench.open(None);
    drop(appender);
    assert_eq!(all_of(follower)[1..].join(""), "1000: cars=a@0");
}

#[test]
fn a_torn_record_is_cut_off_and_the_state_may_be_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    let (mut appender, _) = bench.open(None);
    append(&mut appender, &["a", "b", "torn"]);
    drop(appender);
    let segment = fs::read_dir(&bench.folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "log"))
        .unwrap();
    let file = fs::File::options().write(true).open(&segment).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    let (mut appender, follower) = bench.open(None);
    append(&mut appender, &["c"]);
    appender.sync().unwrap();
    drop(appender);
    assert_eq!(
        all_of(follower)[1..].join(""),
        "1000: cars=a@0 cars=b@1 cars=c@2"
    );
    let text = Registry::text([&bench.registry]);
    assert!(!text.contains("weir_log_torn_bytes_total{pipeline=\"test\"} 0"));

    let (mut appender, follower) = bench.open(Some(10));
    append(&mut appender, &["d"]);
    appender.sync().unwrap();
    drop(appender);
    assert_eq!(all_of(follower)[1..].join(""), "1000: cars=d@10");
    // From an older state on, the positions between are passed over.
    let (appender, follower) = bench.open(Some(2));
    drop(appender);
    assert_eq!(all_of(follower)[1..].join(""), "1000: cars=c@2 cars=d@10");
}

#[test]
fn a_log_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    let (_appender, _follower) = bench.open(None);
    let settings = LogSettings {
        folder: bench.folder.clone(),
        config: LogConfig::default(),
    };
    let registry = Registry::new("test");
    let opening = Opening {
        split_name: "log/test".to_owned(),
        resume: None,
        kept: KeptPositions::default(),
        keep_last: 0,
        clock: Clock::System,
        metrics: LogMetrics::new(&registry),
        positions_lost: SourceMetrics::new(&registry).positions_lost,
    };
    let error = Appender::open(&settings, opening).unwrap_err();
    assert!(
        matches!(error, crate::durable::LogError::Locked(_)),
        "{error}"
    );
}
