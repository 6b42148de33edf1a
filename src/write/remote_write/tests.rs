//! The whole sender against a receiver in this process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::Queues;
use super::receiver::{Fault, Received, Receiver, Understands};
use crate::model::{Sample, TimestampMs};
use crate::telemetry::Registry;
use crate::testing::{LIMIT, wait_until};
use crate::write::intake::Intake;
use crate::write::metadata::MetricsMetadata;
use crate::write::testing::sample;
use crate::write::{Config, Resume, Stopped, WriteSummary, Writer};

/// A writer, the runtime it runs on, and its metrics.
pub(super) struct Bench {
    pub(super) runtime: Runtime,
    pub(super) registry: Registry,
    pub(super) metadata: Arc<MetricsMetadata>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        Self {
            runtime,
            registry: Registry::new("test"),
            metadata: Arc::default(),
        }
    }

    pub(super) fn receiver(&self, faults: Vec<Option<Fault>>) -> Receiver {
        self.runtime.block_on(Receiver::start(faults))
    }

    fn closed_receiver(&self) -> Receiver {
        self.runtime.block_on(Receiver::start_closed([]))
    }

    pub(super) fn writer(&self, url: &str, owners: usize, settings: serde_json::Value) -> Writer {
        let mut remote_write = serde_json::json!({
            "url": url,
            "backoff": {"min": "1ms", "max": "2ms"},
            "batch": {"deadline": "1ms"},
        });
        for (key, value) in settings.as_object().unwrap() {
            remote_write[key] = value.clone();
        }
        let mut config: Config =
            serde_json::from_value(serde_json::json!({"remote_write": remote_write})).unwrap();
        config.metadata = Arc::clone(&self.metadata);
        Writer::start(
            &config,
            owners,
            &self.registry,
            self.runtime.handle().clone(),
            Resume::default(),
        )
        .unwrap()
    }

    pub(super) fn metric(&self, line: &str) -> bool {
        Registry::text([&self.registry])
            .lines()
            .any(|found| found == line)
    }
}

pub(super) fn counts(summary: &WriteSummary) -> (u64, u64, u64) {
    (summary.written, summary.dropped, summary.unsent)
}

pub(super) fn up(timestamp: TimestampMs) -> Sample {
    sample("up", &[("job", "weir")], timestamp, 1.0)
}

pub(super) type SeriesKey = Vec<(String, String)>;

/// Every request's samples by series, repetitions included.
pub(super) fn points(received: &[Received]) -> Vec<(SeriesKey, Vec<(TimestampMs, f64)>)> {
    let series = received
        .iter()
        .flat_map(|received| &received.request.timeseries);
    series
        .map(|series| {
            let labels = series.labels.iter();
            let key = labels
                .map(|label| (label.name.clone(), label.value.clone()))
                .collect();
            let points = series
                .samples
                .iter()
                .map(|point| (point.timestamp, point.value));
            (key, points.collect())
        })
        .collect()
}

#[test]
fn speaks_the_protocol() {
    let bench = Bench::new();
    let receiver = bench.receiver(vec![Some(Fault::Status(503))]);
    let writer = bench.writer(
        &receiver.url,
        1,
        serde_json::json!({
            "headers": {"X-Scope-OrgID": "fleet"},
            "basic_auth": {"username": "me", "password": "secret"},
        }),
    );
    writer.handle().send(0, vec![up(1)]).unwrap();
    assert_eq!(counts(&writer.finish(None)), (1, 0, 0));
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    for (attempt, request) in received.iter().enumerate() {
        let header = |name: &str| {
            request
                .headers
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        assert_eq!(header("content-encoding"), Some("snappy"));
        assert_eq!(header("content-type"), Some("application/x-protobuf"));
        assert_eq!(header("x-prometheus-remote-write-version"), Some("0.1.0"));
        let agent = concat!("weir/", env!("CARGO_PKG_VERSION"));
        assert_eq!(header("user-agent"), Some(agent));
        assert_eq!(header("x-scope-orgid"), Some("fleet"));
        assert_eq!(header("authorization"), Some("Basic bWU6c2VjcmV0"));
        assert_eq!(header("retry-attempt"), [None, Some("1")][attempt]);
    }
    let bytes: usize = received.iter().map(|request| request.body_bytes).sum();
    assert!(bench.metric(&format!(
        r#"weir_remote_write_bytes_total{{pipeline="test",receiver="default"}} {bytes}"#
    )));
    let key = [("__name__", "up"), ("job", "weir")];
    let key: SeriesKey = key
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    assert_eq!(
        points(&received),
        [(key.clone(), vec![(1, 1.0)]), (key, vec![(1, 1.0)])]
    );
}

#[test]
fn reads_a_token_again_for_every_request() {
    let bench = Bench::new();
    let mut receiver = bench.receiver(vec![]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "first\n").unwrap();
    let settings = serde_json::json!({"bearer_token_file": path});
    let writer = bench.writer(&receiver.url, 1, settings);
    writer.handle().send(0, vec![up(1)]).unwrap();
    receiver.arrivals.blocking_recv().unwrap();
    std::fs::write(&path, "second\n").unwrap();
    writer.handle().send(0, vec![up(2)]).unwrap();
    assert_eq!(counts(&writer.finish(None)), (2, 0, 0));
    let tokens: Vec<_> = receiver
        .received()
        .iter()
        .map(|request| {
            request.headers["authorization"]
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(tokens, ["Bearer first", "Bearer second"]);
}

#[test]
fn refuses_a_missing_token_file_at_the_start() {
    let bench = Bench::new();
    let config: Config = serde_json::from_str(
        r#"{"remote_write": {"url": "http://127.0.0.1:1", "bearer_token_file": "/nowhere/token"}}"#,
    )
    .unwrap();
    let runtime = bench.runtime.handle().clone();
    let error = Writer::start(&config, 1, &bench.registry, runtime, Resume::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("cannot read the credentials in /nowhere/token: "),
        "{error}"
    );
}

#[test]
fn drops_what_is_refused_and_holds_what_can_be_mended() {
    let bench = Bench::new();
    let faults = [400, 401, 403, 404, 413].map(|status| Some(Fault::Status(status)));
    let mut faults = faults.to_vec();
    faults.push(Some(Fault::Redirect));
    let receiver = bench.receiver(faults);
    let settings = serde_json::json!({"batch": {"samples": 1}, "max_shards": 1});
    let writer = bench.writer(&receiver.url, 1, settings);
    writer.handle().send(0, (1..=8).map(up).collect()).unwrap();
    assert_eq!(counts(&writer.finish(None)), (6, 2, 0));
    assert_eq!(receiver.received().len(), 8 + 4);
    for code in [400, 401, 403, 404, 413, 307] {
        assert!(bench.metric(&format!(
            r#"weir_remote_write_requests_total{{code="{code}",pipeline="test",receiver="default"}} 1"#
        )));
    }
}

#[test]
fn holds_up_the_owner_while_the_receiver_is_busy() {
    let bench = Bench::new();
    let mut receiver = bench.closed_receiver();
    // A request takes 2 samples, the queue 2 more.
    let two = 2 * super::partition::sample_bytes(&up(1));
    let settings =
        serde_json::json!({"max_shards": 1, "batch": {"samples": 2}, "queue_bytes": two});
    let writer = bench.writer(&receiver.url, 1, settings);
    let handle = writer.handle();
    let owner = {
        let handle = writer.handle();
        thread::spawn(move || {
            for timestamp in 1..=20 {
                handle.send(0, vec![up(timestamp)])?;
            }
            handle.flushed(0, 20);
            Ok::<_, Stopped>(())
        })
    };
    receiver.arrivals.blocking_recv().unwrap();
    wait_until("two samples wait", || handle.queued_bytes() >= two);
    // 16 samples have no room anywhere, so the owner cannot have come to its end.
    assert!(!owner.is_finished());
    assert_eq!(handle.queued_bytes(), two);
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(handle.acknowledged(), i64::MIN);
    receiver.open();
    assert_eq!(owner.join().unwrap(), Ok(()));
    assert_eq!(counts(&writer.finish(None)), (20, 0, 0));
    assert_eq!(handle.acknowledged(), 20);
    assert_eq!(handle.send(0, vec![up(21)]), Err(Stopped));
}

#[test]
fn no_snapshot_is_made_without_what_had_no_room() {
    let bench = Bench::new();
    let receiver = bench.closed_receiver();
    let settings = serde_json::json!({"max_shards": 1, "queue_bytes": 1});
    let writer = bench.writer(&receiver.url, 1, settings);
    let handle = writer.handle();
    let mut samples: VecDeque<_> = (1..=9).map(up).collect();
    assert_eq!(handle.offer(0, &mut samples), Ok(false));
    assert!(samples.is_empty() && handle.holds(0) && !handle.has_ended());
    assert_eq!(handle.snapshot().unwrap().len(), 9);
    // As when a shard ends because of a refusal.
    queues_of(&writer).partitions.close();
    assert!(handle.has_ended());
    assert_eq!(handle.snapshot().unwrap().len(), 9);
    assert_eq!(handle.offer(0, &mut samples), Err(Stopped));
    assert!(handle.snapshot().is_err());
    drop(writer);
}

#[test]
fn reports_what_it_had_to_leave_at_the_deadline() {
    let bench = Bench::new();
    let mut receiver = bench.closed_receiver();
    let settings = serde_json::json!({"max_shards": 1, "batch": {"samples": 2}});
    let writer = bench.writer(&receiver.url, 1, settings);
    let handle = writer.handle();
    handle.send(0, (1..=5).map(up).collect()).unwrap();
    handle.flushed(0, 5);
    receiver.arrivals.blocking_recv().unwrap();
    let summary = writer.finish(Some(Duration::from_millis(1)));
    assert_eq!(counts(&summary), (0, 0, 5));
    assert_eq!(handle.acknowledged(), i64::MIN);
}

#[test]
fn a_dropped_writer_releases_its_owners() {
    let bench = Bench::new();
    let mut receiver = bench.closed_receiver();
    let settings = serde_json::json!({"max_shards": 1, "queue_bytes": 1, "batch": {"samples": 1}});
    let writer = bench.writer(&receiver.url, 1, settings);
    let handle = writer.handle();
    let owner = thread::spawn(move || handle.send(0, (1..=5).map(up).collect()));
    receiver.arrivals.blocking_recv().unwrap();
    drop(writer);
    assert_eq!(owner.join().unwrap(), Err(Stopped));
}

/// Faults after which a sender must repeat its request.
fn random_fault(random: &mut fastrand::Rng) -> Option<Fault> {
    match random.u8(0..12) {
        0 => Some(Fault::Status(500)),
        1 => Some(Fault::Status(429)),
        2 => Some(Fault::RetryAtOnce),
        3 => Some(Fault::Reset),
        4 => Some(Fault::Silence),
        _ => None,
    }
}

/// Series by owner, each with increasing timestamps.
fn random_series(random: &mut fastrand::Rng, owners: usize) -> Vec<Vec<Sample>> {
    (0..owners)
        .map(|owner| {
            let series = random.usize(1..20);
            let mut samples = Vec::new();
            for timestamp in 1..random.i64(10..60) {
                for vehicle in 0..series {
                    if random.u8(..) < 100 {
                        continue;
                    }
                    let labels = [
                        ("owner", owner.to_string()),
                        ("vehicle", vehicle.to_string()),
                    ];
                    let labels = labels
                        .each_ref()
                        .map(|(name, value)| (*name, value.as_str()));
                    samples.push(sample("speed", &labels, timestamp * 1_000, random.f64()));
                }
            }
            samples
        })
        .collect()
}

fn key_of(sample: &Sample) -> SeriesKey {
    let mut key: SeriesKey = vec![("__name__".to_owned(), sample.series.name().to_string())];
    let labels = sample.series.labels().iter();
    key.extend(labels.map(|(name, value)| (name.to_string(), value.to_string())));
    key
}

fn queues_of(writer: &Writer) -> Arc<Queues> {
    let handle = writer.handle();
    let mut queues = handle.intakes.iter().filter_map(Intake::queues);
    Arc::clone(queues.next().unwrap())
}

fn run_with_faults(seed: u64, protocol: &str, understands: Understands) {
    let mut random = fastrand::Rng::with_seed(seed);
    let bench = Bench::new();
    let faults: Vec<_> = (0..100).map(|_| random_fault(&mut random)).collect();
    let receiver = bench.receiver(faults);
    receiver.understand(understands);
    let owners = random.usize(1..4);
    let settings = serde_json::json!({
        "protocol": protocol,
        "max_shards": random.usize(1..5),
        "timeout": "50ms",
        "queue_bytes": random.usize(200..5_000),
        "batch": {"deadline": "1ms", "samples": random.usize(1..50), "bytes": random.usize(200..5_000)},
    });
    let writer = bench.writer(&receiver.url, owners, settings);
    let by_owner = random_series(&mut random, owners);
    thread::scope(|scope| {
        // The number of shards changes all the time.
        let queues = queues_of(&writer);
        let mut shards = random.fork();
        scope.spawn(move || {
            let deadline = Instant::now() + LIMIT;
            while queues.acknowledged() < 60_000 {
                assert!(Instant::now() < deadline, "not acknowledged, seed {seed}");
                let running = shards.usize(1..5);
                queues.partitions.assignment().run(running);
                (0..shards.u32(0..20)).for_each(|_| thread::yield_now());
            }
        });
        for (owner, samples) in by_owner.iter().enumerate() {
            let handle = writer.handle();
            scope.spawn(move || {
                for chunk in samples.chunks(7) {
                    handle.send(owner, chunk.to_vec()).unwrap();
                }
                handle.flushed(owner, 60_000);
            });
        }
    });
    let handle = writer.handle();
    let all: Vec<_> = by_owner.iter().flatten().collect();
    let summary = writer.finish(None);
    assert_eq!(counts(&summary), (all.len() as u64, 0, 0), "seed {seed}");
    assert_eq!(handle.acknowledged(), 60_000, "seed {seed}");

    let mut expected: BTreeMap<SeriesKey, BTreeMap<TimestampMs, u64>> = BTreeMap::new();
    for sample in all {
        let series = expected.entry(key_of(sample)).or_default();
        let bits = sample.value.number().unwrap().to_bits();
        series.insert(sample.timestamp_ms, bits);
    }
    // What the receiver took: also what it never acknowledged, which comes a second time then.
    let mut found: BTreeMap<SeriesKey, BTreeMap<TimestampMs, u64>> = BTreeMap::new();
    for received in receiver.received() {
        let taken = matches!(received.fault, None | Some(Fault::Reset | Fault::Silence));
        for (key, points) in points(&[received]) {
            assert!(
                points.is_sorted_by(|a, b| a.0 < b.0),
                "seed {seed}: {points:?}"
            );
            let series = found.entry(key).or_default();
            for (timestamp, value) in points {
                if !taken {
                    continue;
                }
                if let Some(known) = series.get(&timestamp) {
                    assert_eq!(*known, value.to_bits(), "seed {seed}: sent twice");
                    continue;
                }
                let newest = series.keys().next_back().copied().unwrap_or(0);
                assert!(
                    timestamp > newest,
                    "seed {seed}: {timestamp} after {newest}"
                );
                series.insert(timestamp, value.to_bits());
            }
        }
    }
    assert_eq!(found, expected, "seed {seed}");
}

#[test]
fn loses_and_reorders_nothing_whatever_the_receiver_does() {
    for seed in 0..20 {
        run_with_faults(seed, "1.0", Understands::Only1);
    }
    let both = Understands::Both { less: 0 };
    for seed in 0..5 {
        run_with_faults(seed, "2.0", both);
        run_with_faults(seed, "auto", both);
        run_with_faults(seed, "auto", Understands::Only1);
        run_with_faults(seed, "auto", Understands::Only1Refusing(415));
    }
}
