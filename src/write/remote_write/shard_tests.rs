use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use prost::Message;
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::model::{Sample, TimestampMs};
use crate::telemetry::Registry;
use crate::write::remote_write::Limits;
use crate::write::remote_write::assignment::Assignment;
use crate::write::remote_write::config::{BackoffConfig, OnThrottleLimit};
use crate::write::remote_write::delivery::failure::Failure;
use crate::write::remote_write::flow::Flow;
use crate::write::remote_write::journal::recovery::recover;
use crate::write::remote_write::journal::{JournalMetrics, Settings};
use crate::write::remote_write::partition::Common;
use crate::write::remote_write::protocol::ProtocolChoice;
use crate::write::remote_write::protocol::proto::WriteRequest;
use crate::write::remote_write::request_size::{RequestSize, Size};
use crate::write::rooms::Rooms;
use crate::write::testing::sample;

/// A receiver that answers as told and remembers when it was asked.
pub(in crate::write::remote_write) struct Scripted {
    answers: Mutex<VecDeque<Result<u16, Failure>>>,
    asked: Mutex<Vec<Asked>>,
    started: Instant,
    /// What is answered when nothing is told any more.
    judge: Judge,
    /// The samples of the requests that were taken.
    taken: Mutex<Vec<Sample>>,
}

impl Scripted {
    /// The samples that were taken, in the order in which they came.
    pub(in crate::write::remote_write) fn taken(&self) -> Vec<Sample> {
        self.taken.lock().unwrap().clone()
    }
}

/// Answers to the names of the series in a request, and how many were answered before.
pub(in crate::write::remote_write) type Judge = fn(&[String], usize) -> Result<u16, Failure>;

#[derive(Debug, PartialEq)]
pub(in crate::write::remote_write) struct Asked {
    at_ms: u128,
    pub(in crate::write::remote_write) attempt: u32,
    timestamps: Vec<i64>,
    /// The names of the series.
    pub(in crate::write::remote_write) names: Vec<String>,
}

impl Transport for Scripted {
    async fn post(&self, body: Body, attempt: u32) -> Reply {
        let plain = snap::raw::Decoder::new()
            .decompress_vec(&body.bytes)
            .unwrap();
        let request = WriteRequest::decode(&*plain).unwrap();
        let points = request.timeseries.iter().flat_map(|series| &series.samples);
        let names = request.timeseries.iter().map(|series| {
            let name = series.labels.iter().find(|label| label.name == "__name__");
            name.unwrap().value.clone()
        });
        let names: Vec<String> = names.collect();
        let mut asked = self.asked.lock().unwrap();
        let told = self.answers.lock().unwrap().pop_front();
        let answer = told.unwrap_or_else(|| (self.judge)(&names, asked.len()));
        asked.push(Asked {
            at_ms: self.started.elapsed().as_millis(),
            attempt,
            timestamps: points.map(|point| point.timestamp).collect(),
            names,
        });
        if answer.is_ok() {
            self.taken.lock().unwrap().extend(samples_of(&request));
        }
        answer.into()
    }
}

fn samples_of(request: &WriteRequest) -> Vec<Sample> {
    let mut samples = Vec::new();
    for series in &request.timeseries {
        let labels = series.labels.iter();
        let labels = labels.map(|label| (&*label.name, &*label.value));
        let (names, labels): (Vec<_>, Vec<_>) = labels.partition(|(name, _)| *name == "__name__");
        for point in &series.samples {
            samples.push(sample(names[0].1, &labels, point.timestamp, point.value));
        }
    }
    samples
}

pub(in crate::write::remote_write) struct Bench {
    pub(in crate::write::remote_write) shared: Arc<Shared<Scripted>>,
    pub(in crate::write::remote_write) registry: Registry,
    task: tokio::task::JoinHandle<()>,
}

pub(in crate::write::remote_write) fn limits(samples: usize, deadline_ms: u64) -> BatchConfig {
    let deadline = crate::model::Duration::from_millis(deadline_ms);
    BatchConfig {
        samples,
        deadline,
        samples_per_series: 0,
        ..BatchConfig::default()
    }
}

pub(in crate::write::remote_write) const TIMEOUT: Duration = Duration::from_secs(30);

/// A running shard.
fn bench(limits: BatchConfig, answers: Vec<Result<u16, Failure>>) -> Bench {
    bench_with(limits, answers, None)
}

/// The same with a journal.
fn bench_with(
    limits: BatchConfig,
    answers: Vec<Result<u16, Failure>>,
    folder: Option<&Path>,
) -> Bench {
    Setting {
        limits,
        answers,
        journal: folder.map(Path::to_owned),
        ..Setting::default()
    }
    .start()
}

/// How a shard is made.
pub(in crate::write::remote_write) struct Setting {
    pub(in crate::write::remote_write) limits: BatchConfig,
    /// Whether requests begin small.
    pub(in crate::write::remote_write) is_adaptive: bool,
    pub(in crate::write::remote_write) answers: Vec<Result<u16, Failure>>,
    pub(in crate::write::remote_write) judge: Judge,
    pub(in crate::write::remote_write) journal: Option<PathBuf>,
    pub(in crate::write::remote_write) on_rejected: OnRejected,
    pub(in crate::write::remote_write) on_throttle_limit: OnThrottleLimit,
    pub(in crate::write::remote_write) queue_bytes: usize,
    pub(in crate::write::remote_write) rejected: Option<RejectedSamples>,
    pub(in crate::write::remote_write) receiver_limits: ReceiverLimits,
    pub(in crate::write::remote_write) clock: Clock,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            limits: limits(100, 1_000),
            is_adaptive: false,
            answers: Vec::new(),
            judge: |_, _| Ok(204),
            journal: None,
            on_rejected: OnRejected::Drop,
            on_throttle_limit: OnThrottleLimit::Wait,
            queue_bytes: 1 << 20,
            rejected: None,
            receiver_limits: ReceiverLimits::default(),
            clock: Clock::Fixed(99),
        }
    }
}

impl Setting {
    pub(in crate::write::remote_write) fn start(self) -> Bench {
        start(self)
    }
}

fn start(setting: Setting) -> Bench {
    let Setting {
        limits,
        is_adaptive,
        answers,
        judge,
        journal,
        on_rejected,
        on_throttle_limit,
        queue_bytes,
        rejected,
        receiver_limits,
        clock,
    } = setting;
    let folder = journal.as_deref();
    let registry = Registry::new("test");
    let journals = folder.map(|folder| {
        let metrics = JournalMetrics::new(&registry);
        let settings = Settings {
            folder,
            shards: 1,
            sync: false,
            limits: Limits::default(),
        };
        Arc::new(Journals::open(settings, 0, 0, metrics).unwrap())
    });
    let metrics = Arc::new(Metrics::new(&registry));
    let rooms = Arc::new(Rooms::new(1));
    let common = Common {
        capacity_bytes: queue_bytes,
        on_throttle_limit,
        rooms,
        gauges: metrics.queue("remote_write"),
        metrics: Arc::clone(&metrics),
        assignment: Assignment::new(1, 1),
        flow: Flow::default(),
    };
    let most = Size {
        samples: limits.samples,
        bytes: limits.bytes,
    };
    let mut request_size = RequestSize::new(most, TIMEOUT);
    while !is_adaptive && request_size.now() != most {
        request_size.taken(request_size.now(), Duration::ZERO, Instant::now());
    }
    let requests = RequestMetrics::new(&registry);
    let shared = Arc::new(Shared {
        transport: Scripted {
            answers: Mutex::new(answers.into()),
            asked: Mutex::default(),
            started: Instant::now(),
            judge,
            taken: Mutex::default(),
        },
        partitions: Arc::new(Partitions::new(1, common)),
        last_sent: LastSent::new(1),
        request_size: SharedRequestSize::new(request_size, &registry),
        limits,
        largest: Protocol::V1,
        metadata: Arc::default(),
        negotiation: Negotiation::new(ProtocolChoice::V1, &registry),
        metadata_sender: MetadataSender::new(
            &MetricsMetadata::default(),
            usize::MAX,
            Duration::ZERO,
            &registry,
        ),
        tracker: Arc::new(Tracker::new(1, 1)),
        metrics,
        circuit: Circuit::new(requests.circuit_open()),
        requests,
        journals,
        on_rejected,
        receiver: "http://receiver/write".to_owned(),
        rejected,
        receiver_limits,
        clock,
        fatal: Arc::default(),
    });
    let backoff = BackoffConfig::default().limits();
    let shard = Shard::new(0, Arc::clone(&shared), backoff, 1);
    Bench {
        shared,
        registry,
        task: tokio::spawn(shard.run()),
    }
}

impl Bench {
    fn push(&self, timestamps: impl IntoIterator<Item = i64>) {
        let samples: Vec<Sample> = timestamps
            .into_iter()
            .map(|timestamp| sample("up", &[], timestamp, 1.0))
            .collect();
        assert_eq!(self.offer(samples), []);
    }

    /// What there is no room for.
    pub(in crate::write::remote_write) fn offer(&self, samples: Vec<Sample>) -> Vec<Sample> {
        self.shared.partitions.offer(0, samples).unwrap()
    }

    pub(in crate::write::remote_write) fn unacknowledged(&self) -> Vec<Sample> {
        self.shared.partitions.unacknowledged()
    }

    pub(in crate::write::remote_write) fn mark(&self, watermark: i64) {
        self.shared.partitions.mark(0, watermark);
    }

    pub(in crate::write::remote_write) fn acknowledged(&self) -> i64 {
        self.shared.tracker.acknowledged()
    }

    /// What was asked since the last time.
    pub(in crate::write::remote_write) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.shared.transport.asked.lock().unwrap())
    }

    pub(in crate::write::remote_write) async fn finish(&mut self) {
        self.shared.partitions.close();
        (&mut self.task).await.unwrap();
    }

    fn metric(&self, line: &str) -> bool {
        Registry::text([&self.registry])
            .lines()
            .any(|found| found == line)
    }
}

#[tokio::test(start_paused = true)]
async fn sends_nothing_that_is_not_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench_with(limits(1, 1_000), vec![], Some(folder.path()));
    let journals = bench.shared.journals.clone().unwrap();
    let good = journals.shard(0).unwrap().replace_file(folder.path());
    bench.push([1]);
    pass(60_000).await;
    assert_eq!(bench.asked(), []);
    assert_eq!(bench.unacknowledged().len(), 1);
    let failures = r#"weir_journal_failures_total{pipeline="test"} "#;
    let text = Registry::text([&bench.registry]);
    let count = text.lines().find_map(|line| line.strip_prefix(failures));
    // The waits are at most five seconds.
    assert!(count.unwrap().parse::<u32>().unwrap() >= 12, "{count:?}");
    journals.shard(0).unwrap().put_back(good);
    pass(5_001).await;
    let [request] = &bench.asked()[..] else {
        panic!("not one request")
    };
    assert_eq!((request.attempt, &request.timestamps), (0, &vec![1]));
    bench.finish().await;
    assert_eq!(bench.unacknowledged(), []);
    let recovered = recover(folder.path(), 0, TimestampMs::MIN).unwrap();
    assert_eq!(recovered.in_doubt, Vec::<Vec<Sample>>::new());
    assert_eq!((recovered.marks.len(), recovered.next), (1, 1));
}

fn asked(at_ms: u128, attempt: u32, timestamps: &[i64]) -> Asked {
    Asked {
        at_ms,
        attempt,
        timestamps: timestamps.to_vec(),
        names: timestamps
            .first()
            .map(|_| "up".to_owned())
            .into_iter()
            .collect(),
    }
}

/// Lets the clock, which stands still, go on.
pub(in crate::write::remote_write) async fn pass(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

fn unavailable(retry_after_s: Option<u64>) -> Result<u16, Failure> {
    let retry_after = retry_after_s.map(Duration::from_secs);
    Err(Failure::Unavailable {
        status: 503,
        body: "later".into(),
        retry_after,
    })
}

fn rejected(body: &str) -> Result<u16, Failure> {
    answer(400, body)
}

pub(in crate::write::remote_write) fn answer(status: u16, body: &str) -> Result<u16, Failure> {
    Err(Failure::of_answer(status, body.to_owned(), None))
}

#[tokio::test(start_paused = true)]
async fn sends_when_the_first_sample_has_waited_long_enough() {
    let mut bench = bench(limits(100, 1_000), vec![]);
    bench.push([1]);
    pass(600).await;
    bench.push([2]);
    pass(399).await;
    assert_eq!(bench.asked(), []);
    pass(2).await;
    assert_eq!(bench.asked(), [asked(1_000, 0, &[1, 2])]);
    bench.push([3]);
    pass(1_001).await;
    assert_eq!(bench.asked(), [asked(2_001, 0, &[3])]);
    bench.finish().await;
    assert_eq!(bench.shared.metrics.written(), 3);
}

#[tokio::test(start_paused = true)]
async fn sends_full_requests_at_once() {
    let mut bench = bench(limits(2, 1_000), vec![]);
    bench.push(1..=5);
    pass(1).await;
    assert_eq!(bench.asked(), [asked(0, 0, &[1, 2]), asked(0, 0, &[3, 4])]);
    bench.finish().await;
    assert_eq!(bench.asked(), [asked(1, 0, &[5])]);
}

#[tokio::test(start_paused = true)]
async fn acknowledges_a_mark_when_all_before_it_is_done() {
    let mut bench = bench(limits(2, 1_000), vec![Ok(204), unavailable(Some(10))]);
    bench.mark(0);
    pass(1).await;
    assert_eq!(bench.acknowledged(), 0);
    bench.push([1, 2]);
    bench.mark(2);
    bench.push([3, 4]);
    bench.mark(4);
    bench.push([5]);
    bench.mark(5);
    pass(5_000).await;
    assert_eq!(bench.acknowledged(), 2);
    pass(5_001).await;
    assert_eq!(bench.acknowledged(), 4);
    pass(1_000).await;
    assert_eq!(bench.acknowledged(), 5);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn waits_as_long_as_the_receiver_asks() {
    let answers = vec![unavailable(Some(7)), unavailable(Some(86_400)), Ok(200)];
    let mut bench = bench(limits(1, 1_000), answers);
    bench.push([1]);
    pass(400_000).await;
    let expected = [
        asked(0, 0, &[1]),
        asked(7_000, 1, &[1]),
        asked(307_000, 2, &[1]),
    ];
    assert_eq!(bench.asked(), expected);
    bench.finish().await;
    assert!(bench.metric(r#"weir_remote_write_requests_total{code="503",pipeline="test"} 2"#));
    assert!(bench.metric(r#"weir_remote_write_requests_total{code="200",pipeline="test"} 1"#));
    assert!(bench.metric(r#"weir_samples_retried_total{pipeline="test"} 2"#));
    assert!(bench.metric(r#"weir_samples_written_total{pipeline="test"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn repeats_until_it_goes_through_with_growing_waits() {
    let answers = (0..12)
        .map(|_| Err(Failure::Network("reset".into())))
        .collect();
    let mut bench = bench(limits(1, 1_000), answers);
    bench.push([1_500]);
    pass(1).await;
    assert!(bench.metric(r#"weir_remote_write_healthy{pipeline="test"} 0"#));
    bench.finish().await;
    let requests = bench.asked();
    assert_eq!(requests.len(), 13);
    for (number, pair) in requests.windows(2).enumerate() {
        let bound = (30 << number).min(5_000);
        // The clock of tokio has a resolution of a millisecond.
        assert!(
            pair[1].at_ms - pair[0].at_ms <= bound + 1,
            "{number}: {pair:?}"
        );
        assert_eq!(pair[1].attempt, pair[0].attempt + 1);
    }
    assert!(bench.metric(r#"weir_remote_write_healthy{pipeline="test"} 1"#));
    assert!(bench.metric(r#"weir_remote_write_requests_total{code="network",pipeline="test"} 12"#));
    assert!(bench.metric(r#"weir_remote_write_highest_timestamp_seconds{pipeline="test"} 1.5"#));
}

#[tokio::test(start_paused = true)]
async fn counts_duplicates_and_late_ones_without_a_request() {
    let mut bench = bench(limits(3, 1_000), vec![]);
    bench.push([10, 20, 20, 15, 20, 19]);
    bench.finish().await;
    assert_eq!(bench.asked(), [asked(0, 0, &[10, 20])]);
    assert!(bench.metric(r#"weir_samples_dropped_total{reason="duplicate",pipeline="test"} 1"#));
    assert!(bench.metric(r#"weir_samples_dropped_total{reason="out_of_order",pipeline="test"} 3"#));
    assert_eq!(bench.shared.metrics.waiting(), 0);
}

/// Logs of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn drops_what_is_refused_and_logs_the_reason_verbatim() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let body = "out of order sample: series={__name__=\"up\"}";
    let mut bench = bench(
        limits(2, 1_000),
        vec![rejected(body), rejected("again"), Ok(204)],
    );
    bench.push(1..=6);
    bench.mark(6);
    pass(1).await;
    assert_eq!(bench.acknowledged(), 6);
    bench.finish().await;
    assert_eq!(bench.asked().len(), 3);
    assert!(bench.metric(r#"weir_samples_dropped_total{reason="rejected",pipeline="test"} 4"#));
    assert!(bench.metric(r#"weir_remote_write_requests_total{code="400",pipeline="test"} 2"#));
    assert_eq!(
        (
            bench.shared.metrics.written(),
            bench.shared.metrics.waiting()
        ),
        (2, 0)
    );
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("samples are dropped"), "{text}");
    assert!(
        text.contains(&format!("the receiver refused with 400: {body}")),
        "{text}"
    );
    assert!(!text.contains("again"), "logged more than once: {text}");
}
