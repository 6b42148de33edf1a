//! Letters through the thread, to real files.

use std::fs;
use std::path::Path;
use std::sync::mpsc;

use super::*;
use crate::telemetry::Registry;
use crate::testing::wait_until;

const REASONS: [&str; 2] = ["late", "malformed_json"];

fn letter(position: u64, reason: &'static str, record: &[u8]) -> DeadLetter {
    DeadLetter {
        split: "events.ndjson".into(),
        position,
        reason,
        metrics: vec![],
        event_time_ms: None,
        watermark_ms: None,
        timestamp_ms: None,
        received_at_ms: 4,
        dropped_at_ms: 5,
        events_used: 0,
        detail: String::new(),
        topic: vec![],
        headers: Vec::new(),
        key: vec![],
        record: record.to_vec(),
    }
}

fn origin() -> Origin {
    Origin {
        pipeline: "cars".to_owned(),
        source: "file",
    }
}

fn start(path: &Path) -> (DeadLetters, Registry) {
    let registry = Registry::new("test");
    let metrics = DeadLetterMetrics::new(&registry, REASONS);
    let config = Config {
        file: Some(path.to_owned()),
        kafka: None,
        max_bytes: None,
    };
    let started = DeadLetters::start(&config, None, &origin(), metrics).unwrap();
    (started, registry)
}

/// Written and lost letters of a reason.
fn counts(registry: &Registry, reason: &str) -> (String, String) {
    let text = Registry::text([registry]);
    let value = |name: &str| {
        let series = format!("{name}{{reason=\"{reason}\",pipeline=\"test\"}} ");
        let found = text.lines().find_map(|line| line.strip_prefix(&series));
        found.unwrap().to_owned()
    };
    (
        value("weir_dead_letters_total"),
        value("weir_dead_letters_lost_total"),
    )
}

fn both(written: &str, lost: &str) -> (String, String) {
    (written.to_owned(), lost.to_owned())
}

#[test]
fn every_letter_is_a_line_in_the_order_of_its_worker() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.ndjson");
    let (letters, registry) = start(&path);
    thread::scope(|scope| {
        for worker in 0..3_u64 {
            let handle = letters.handle();
            scope.spawn(move || {
                for position in 0..200 {
                    let record = format!("{worker}:{position}");
                    let reason = if position % 4 == 0 {
                        "late"
                    } else {
                        "malformed_json"
                    };
                    handle.send(vec![letter(position, reason, record.as_bytes())]);
                }
            });
        }
    });
    assert_eq!(letters.finish(Duration::from_secs(60)), 0);
    let text = fs::read_to_string(&path).unwrap();
    let mut next = [0_u64; 3];
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let (worker, position) = line["record"].as_str().unwrap().split_once(':').unwrap();
        let next = &mut next[worker.parse::<usize>().unwrap()];
        assert_eq!(position.parse::<u64>().unwrap(), *next);
        assert_eq!(line["position"], *next);
        *next += 1;
    }
    assert_eq!(next, [200; 3]);
    assert_eq!(counts(&registry, "late"), both("150", "0"));
    assert_eq!(counts(&registry, "malformed_json"), both("450", "0"));
}

#[test]
fn a_file_is_appended_to_and_a_torn_line_stands_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.ndjson");
    fs::write(&path, "{\"pipeline\":\"ca").unwrap();
    for record in ["a", "b"] {
        let (letters, _) = start(&path);
        letters
            .handle()
            .send(vec![letter(1, "late", record.as_bytes())]);
        assert_eq!(letters.finish(Duration::from_secs(60)), 0);
    }
    let expected = |record: &str| {
        format!(
            "{{\"pipeline\":\"cars\",\"source\":\"file\",\"split\":\"events.ndjson\",\"position\":1,\
             \"reason\":\"late\",\"received_at_ms\":4,\"dropped_at_ms\":5,\"record\":\"{record}\"}}\n"
        )
    };
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\"pipeline\":\"ca\n".to_owned() + &expected("a") + &expected("b")
    );
}

#[test]
fn a_full_disk_costs_the_letters_and_nothing_else() {
    let (letters, registry) = start(Path::new("/dev/full"));
    // More than is collected in memory, and more than may wait.
    let record = vec![b'x'; 10_000];
    for position in 0..50 {
        let batch = vec![
            letter(position, "late", &record),
            letter(position, "malformed_json", b""),
        ];
        letters.handle().send(batch);
    }
    assert_eq!(letters.finish(Duration::from_secs(60)), 100);
    assert_eq!(counts(&registry, "late"), both("0", "50"));
    assert_eq!(counts(&registry, "malformed_json"), both("0", "50"));
}

#[test]
fn a_full_queue_holds_back_a_worker_until_letters_are_given_up() {
    let (letters, registry) = start_stuck();
    let handle = letters.handle();
    let (sent, is_sent) = mpsc::channel();
    let worker = thread::spawn(move || {
        for position in 0..100 {
            handle.send(vec![letter(position, "late", b"{}")]);
            sent.send(position).ok();
        }
    });
    // As many as there is room for, one of which may be in the thread's hands. Then nothing moves.
    for _ in 0..INBOX_BATCHES {
        is_sent.recv().unwrap();
    }
    assert!(is_sent.try_iter().count() <= 1);
    assert!(!worker.is_finished());
    assert!(letters.finish(Duration::ZERO) >= 16);
    worker.join().unwrap();
    assert_eq!(counts(&registry, "late"), both("0", "100"));
}

/// A thread that never takes anything.
fn start_stuck() -> (DeadLetters, Registry) {
    let registry = Registry::new("test");
    let metrics = DeadLetterMetrics::new(&registry, REASONS);
    let (sender, inbox) = bounded(INBOX_BATCHES);
    let (open, closed) = bounded(0);
    let (end, ended) = bounded::<Infallible>(0);
    let abandoned = Arc::<AtomicBool>::default();
    let is_abandoned = Arc::clone(&abandoned);
    thread::spawn(move || {
        wait_until("it is abandoned", || is_abandoned.load(Ordering::Acquire));
        drop((inbox, end));
    });
    let stuck = DeadLetters {
        handle: DeadLetterHandle {
            letters: sender,
            closed,
            metrics,
        },
        open,
        ended,
        abandoned,
    };
    (stuck, registry)
}

#[test]
fn the_oldest_give_way_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.ndjson");
    let config = Config {
        file: Some(path.clone()),
        kafka: None,
        max_bytes: Some(1_048_576),
    };
    let record = vec![b'x'; 1_000];
    let mut written = 0;
    for run in 0..3 {
        let registry = Registry::new("test");
        let metrics = DeadLetterMetrics::new(&registry, REASONS);
        let letters = DeadLetters::start(&config, None, &origin(), metrics).unwrap();
        for position in 0..400 {
            letters
                .handle()
                .send(vec![letter(run * 400 + position, "late", &record)]);
        }
        assert_eq!(letters.finish(Duration::from_secs(60)), 0);
        written += 400;
        let mut kept = Vec::new();
        let take = &mut |number, letter: Result<StoredLetter, String>| {
            kept.push((number, letter.unwrap().position));
            std::ops::ControlFlow::Continue(())
        };
        read(&config, None, take).unwrap();
        // The newest without a gap, numbered from 1, within the bytes that there may be.
        let first = written - kept.len() as u64;
        let expected: Vec<_> = (1..).zip(first..written).collect();
        assert_eq!(kept, expected);
        let bytes = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        assert!(bytes(&path) + bytes(&file::older(&path)) <= 1_048_576);
        assert!(kept.len() >= 400);
        let text = Registry::text([&registry]);
        let gone = text
            .lines()
            .find_map(|line| line.strip_prefix("weir_dead_letters_gone_total{pipeline=\"test\"} "));
        assert_eq!(gone.unwrap() != "0", run == 2, "{run}: {gone:?}");
    }
}

#[test]
fn what_is_made_durable_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.ndjson");
    let (letters, _) = start(&path);
    let handle = letters.handle();
    for position in 0..20 {
        handle.send(vec![letter(position, "late", b"x")]);
        // Long before the buffer would be written anyway.
        assert!(handle.make_durable(Instant::now() + Duration::from_secs(60)));
        let lines = fs::read_to_string(&path).unwrap().lines().count() as u64;
        assert_eq!(lines, position + 1);
    }
    letters.finish(Duration::from_secs(60));
    assert!(!handle.make_durable(Instant::now() + Duration::from_secs(60)));
}

#[test]
fn what_cannot_be_made_durable_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let reader = fs::File::options()
        .read(true)
        .write(true)
        .open(&pipe)
        .unwrap();
    let (letters, _) = start(&pipe);
    let handle = letters.handle();
    // More than a pipe holds that nobody reads.
    handle.send(vec![letter(0, "late", &vec![b'x'; 1 << 20])]);
    assert!(!handle.make_durable(Instant::now() + Duration::from_millis(50)));
    drop(reader);
}
