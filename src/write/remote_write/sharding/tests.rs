//! The number of shards with a receiver whose requests take their time, in virtual time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::time::sleep;

use super::super::config::{BatchConfig, RemoteWriteConfig};
use super::super::delivery::failure::Failure;
use super::super::delivery::reply::Reply;
use super::super::oracle::Oracle;
use super::super::protocol::encode::Body;
use super::super::shard::Transport;
use super::super::{Limits, Past, RemoteWriter};
use crate::model::TimestampMs;
use crate::telemetry::Registry;
use crate::write::snapshot::DestinationSnapshot;
use crate::write::testing::sample;
use crate::write::{Context, Stopped};

/// How long a request takes.
const LATENCY: Duration = Duration::from_millis(50);

/// How many samples a request has at most, so a shard sends 400 a second.
const BATCH: usize = 20;

/// A receiver that takes its time.
#[derive(Default)]
struct Slow {
    oracle: Mutex<Oracle>,
    in_flight: AtomicUsize,
    /// How many requests were in flight at once.
    most: AtomicUsize,
    /// Throttles while it is set.
    is_throttling: AtomicBool,
}

struct Way(Arc<Slow>);

impl Transport for Way {
    async fn post(&self, body: Body, _: u32) -> Reply {
        let Self(slow) = self;
        let now = slow.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        slow.most.fetch_max(now, Ordering::SeqCst);
        sleep(LATENCY).await;
        slow.in_flight.fetch_sub(1, Ordering::SeqCst);
        if slow.is_throttling.load(Ordering::SeqCst) {
            return Err(Failure::of_answer(429, "slow".to_owned(), None)).into();
        }
        slow.oracle.lock().unwrap().take(&body.bytes);
        Ok(204).into()
    }
}

fn no_past() -> Past<'static> {
    Past {
        journal: None,
        rejected: None,
        checkpoint: None,
        newest: 0,
        acknowledged: TimestampMs::MIN,
        limits: Limits::default(),
        state: DestinationSnapshot::default(),
    }
}

struct Bench {
    writer: RemoteWriter,
    receiver: Arc<Slow>,
    registry: Registry,
    time: TimestampMs,
    /// How many samples were taken.
    offered: usize,
}

impl Bench {
    fn start() -> Self {
        let config = RemoteWriteConfig {
            max_shards: 8,
            queue_bytes: 32 << 10,
            batch: BatchConfig {
                samples: BATCH,
                ..BatchConfig::default()
            },
            ..serde_json::from_str(r#"{"url": "http://slow"}"#).unwrap()
        };
        let registry = Registry::new("test");
        let context = Context::new(1, &registry, 1);
        let receiver = Arc::<Slow>::default();
        let way = Way(Arc::clone(&receiver));
        let (writer, _) =
            RemoteWriter::over(way, &config, &context, no_past(), Handle::current()).unwrap();
        Self {
            writer,
            receiver,
            registry,
            time: 0,
            offered: 0,
        }
    }

    fn running(&self) -> usize {
        self.writer.queues.partitions.assignment().running()
    }

    /// Offers so many samples a second, or as many as there is room for. Gives the numbers of shards that
    /// ran.
    async fn feed(&mut self, per_second: usize, seconds: usize) -> Vec<usize> {
        let mut numbers = vec![self.running()];
        for tick in 0..seconds * 10 {
            sleep(Duration::from_millis(100)).await;
            let queues = self.writer.queues();
            let wanted = per_second * (tick + 1) / 10 - per_second * tick / 10;
            self.time += 1;
            let samples = (0..wanted).map(|series| {
                let series = format!("s{series}");
                sample(&series, &[], self.time, 1.0)
            });
            let refused = queues.offer(0, samples.collect()).unwrap().len();
            self.offered += wanted - refused;
            if numbers.last() != Some(&self.running()) {
                numbers.push(self.running());
            }
        }
        numbers
    }

    fn metric(&self, name: &str) -> f64 {
        let text = Registry::text([&self.registry]);
        let name = format!("{name}{{pipeline=\"test\"}} ");
        let found = text.lines().find_map(|line| line.strip_prefix(&*name));
        found.unwrap().parse().unwrap()
    }

    /// How many samples have arrived; each series in order.
    fn arrived(&self) -> usize {
        let oracle = self.receiver.oracle.lock().unwrap();
        assert_eq!(oracle.refused, Vec::<String>::new());
        oracle.samples.values().map(Vec::len).sum()
    }
}

fn in_virtual_time(test: impl AsyncFnOnce()) {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test());
}

#[test]
fn grows_to_what_the_rate_needs_and_shrinks_when_idle() {
    in_virtual_time(async || {
        let mut bench = Bench::start();
        assert_eq!(bench.running(), 1);
        // 3.75 shards.
        let numbers = bench.feed(1_500, 60).await;
        assert!(numbers.is_sorted(), "{numbers:?}");
        let reached = bench.running();
        assert!((4..=6).contains(&reached), "{numbers:?}");
        // It stays there, and takes all.
        let before = bench.offered;
        assert_eq!(bench.feed(1_500, 120).await, [reached]);
        let offered = bench.offered;
        assert_eq!(offered - before, 120 * 1_500);
        assert_eq!(bench.receiver.most.load(Ordering::SeqCst), reached);
        let wanted = bench.metric("weir_remote_write_shards_wanted");
        assert!((3.5..4.5).contains(&wanted), "{wanted}");
        assert_eq!(
            bench.metric("weir_remote_write_shards_running"),
            reached as f64
        );
        let numbers = bench.feed(0, 400).await;
        assert_eq!(bench.running(), 1, "{numbers:?}");
        assert!(numbers.is_sorted_by(|a, b| a > b), "{numbers:?}");
        assert_eq!(bench.metric("weir_remote_write_shards_running"), 1.0);
        assert_eq!(bench.arrived(), offered);
    });
}

#[test]
fn does_not_hammer_a_receiver_that_throttles() {
    in_virtual_time(async || {
        let mut bench = Bench::start();
        bench.feed(1_500, 15).await;
        let running = bench.running();
        assert!(running < 4, "{running}");
        bench.receiver.is_throttling.store(true, Ordering::SeqCst);
        assert_eq!(bench.feed(1_500, 120).await, [running]);
        let oldest = bench.metric("weir_remote_write_oldest_unsent_seconds");
        assert!((118.0..=125.0).contains(&oldest), "{oldest}");
        bench.receiver.is_throttling.store(false, Ordering::SeqCst);
        bench.feed(1_500, 60).await;
        assert!((4..=6).contains(&bench.running()), "{}", bench.running());
        bench.feed(0, 60).await;
        assert_eq!(bench.metric("weir_remote_write_oldest_unsent_seconds"), 0.0);
        assert_eq!(bench.arrived(), bench.offered);
    });
}

/// Breaks at one series.
struct Broken;

impl Transport for Broken {
    async fn post(&self, body: Body, _: u32) -> Reply {
        let plain = snap::raw::Decoder::new()
            .decompress_vec(&body.bytes)
            .unwrap();
        let bad = b"bad";
        assert!(!plain.windows(bad.len()).any(|bytes| bytes == bad));
        Ok(204).into()
    }
}

#[test]
fn a_shard_that_breaks_leaves_nobody_waiting() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let config = RemoteWriteConfig {
        min_shards: 2,
        max_shards: 3,
        ..serde_json::from_str(r#"{"url": "http://broken"}"#).unwrap()
    };
    let context = Context::new(1, &Registry::new("test"), 1);
    let (writer, _) = RemoteWriter::over(
        Broken,
        &config,
        &context,
        no_past(),
        runtime.handle().clone(),
    )
    .unwrap();
    let queues = writer.queues();
    let number = config.partitions() as u64;
    let of = |name: &str| sample(name, &[], 1, 1.0);
    let bad = of("bad");
    // The one is sent by another shard, the other one lies behind the bad one.
    let with = |rest: u64| {
        let names = (0..).map(|number| format!("m{number}"));
        let is_it = |name: &String| of(name).series.hash() % number % 2 == rest;
        of(&names.into_iter().find(is_it).unwrap())
    };
    let shard = bad.series.hash() % number % 2;
    let samples = vec![bad.clone(), with(shard), with(1 - shard)];
    assert_eq!(queues.offer(0, samples), Ok(vec![]));
    assert!(writer.finish(None).is_none());
    assert_eq!(queues.offer(0, vec![bad.clone()]), Err(Stopped));
    let left = queues.unacknowledged();
    assert!(left.contains(&bad) && !left.contains(&with(1 - shard)));
    assert_eq!(context.metrics.written(), 1);
}
