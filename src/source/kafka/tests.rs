//! The source against librdkafka's mock cluster.

mod faults;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::*;
use crate::model::Secret;
use crate::model::{self, Clock, SplitId};
use crate::source::config::{Isolation, StartPosition};
use crate::source::metrics::DropReason;
use crate::source::{
    Alignment, FileProgress, KeptPositions, Safe, SafePositions, SourceEvent, Stopped,
};
use crate::testing::{LIMIT, wait_until};

/// All windows up to a time of its own are written at a position.
fn safe(position: u64) -> Safe {
    Safe {
        position,
        written: WRITTEN,
    }
}

/// Up to when windows are written in these tests, ms since the epoch.
const WRITTEN: i64 = 1_730_621_750_000;

type Cluster = MockCluster<'static, DefaultProducerContext>;

struct Channel {
    events: mpsc::SyncSender<SourceEvent>,
    /// Whether nothing more comes, though the source still commits.
    has_ended: Arc<AtomicBool>,
}

impl SourceOutput for Channel {
    fn send(&mut self, event: SourceEvent) -> Result<(), Stopped> {
        self.events.send(event).map_err(|_| Stopped)
    }

    fn end(&mut self) {
        self.has_ended.store(true, Ordering::Release);
    }
}

/// A source that runs on a thread of its own.
struct Running {
    events: mpsc::Receiver<SourceEvent>,
    has_ended: Arc<AtomicBool>,
    stop: StopSignal,
    safe: SafePositions,
    alignment: Alignment,
    registry: Registry,
    thread: thread::JoinHandle<Result<(), SourceError>>,
}

fn start(cluster: &Cluster, topics: &[&str]) -> Running {
    resume(cluster, topics, &[])
}

/// Starts in a group that others have left, are in, or will come into.
fn start_among_others(cluster: &Cluster, topics: &[&str], positions: &[(&str, u64)]) -> Running {
    start_with(cluster, topics, |config, context| {
        shorten_session(config);
        context.resume = resume_from(positions);
    })
}

/// For groups that change, also by a restart. The mock cluster divides partitions anew only after a session's
/// time, so that it must be short there; and whoever gets no processor for so long is thrown out, so that it is
/// long everywhere else.
fn shorten_session(config: &mut KafkaConfig) {
    let properties = [
        ("session.timeout.ms", "6000"),
        // The mock cluster never answers a member whose session has ended while it waited to join, as where the
        // machine stands still for a second. The client asks again after this time and three seconds.
        ("max.poll.interval.ms", "15000"),
    ];
    for (key, value) in properties {
        let properties = &mut config.properties;
        properties.insert(key.to_owned(), Secret::new(value));
    }
}

fn resume_from(positions: &[(&str, u64)]) -> crate::source::Resume {
    let position = |(name, position): &(&str, u64)| ((*name).to_owned(), *position);
    positions.iter().map(position).collect()
}

/// Starts from positions by the names of splits.
fn resume(cluster: &Cluster, topics: &[&str], positions: &[(&str, u64)]) -> Running {
    start_with(cluster, topics, |_, context| {
        context.resume = resume_from(positions);
    })
}

/// Starts with other settings than most tests have.
fn start_with(
    cluster: &Cluster,
    topics: &[&str],
    change: impl FnOnce(&mut KafkaConfig, &mut Context),
) -> Running {
    let mut config = KafkaConfig {
        brokers: cluster.bootstrap_servers(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        group: "weir".to_owned(),
        instance: None,
        start: StartPosition::Earliest,
        isolation: Isolation::default(),
        tls: None,
        sasl: None,
        properties: [
            ("fetch.min.bytes", "1"),
            ("session.timeout.ms", "60000"),
            ("heartbeat.interval.ms", "500"),
        ]
        .map(|(key, value)| (key.to_owned(), Secret::new(value)))
        .into(),
    };
    let mut context = Context {
        pipeline: "test".to_owned(),
        idle_after: model::Duration::from_millis(100),
        commit_every: crate::model::Duration::from_secs(5),
        max_record_bytes: 1_000,
        needs_envelope: true,
        headers: Default::default(),
        checkpointed: Default::default(),
        clock: Clock::Fixed(42),
        safe: SafePositions::default(),
        resume: crate::source::Resume::default(),
        kept: KeptPositions::default(),
        tokens: crate::source::PositionTokens::default(),
        log: None,
        alignment: Alignment::default(),
        progress: FileProgress::default(),
    };
    change(&mut config, &mut context);
    let alignment = context.alignment.clone();
    let (safe, stop, registry) = (
        context.safe.clone(),
        StopSignal::default(),
        Registry::new("test"),
    );
    let source = Box::new(KafkaSource::new(&config, context, &registry).unwrap());
    let (sender, events) = mpsc::sync_channel(16);
    let signal = stop.clone();
    let has_ended = Arc::default();
    let mut output = Channel {
        events: sender,
        has_ended: Arc::clone(&has_ended),
    };
    let thread = thread::spawn(move || source.run(&mut output, &signal));
    Running {
        events,
        has_ended,
        stop,
        safe,
        alignment,
        registry,
        thread,
    }
}

/// What a source said of each split.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    names: BTreeMap<SplitId, String>,
    texts: BTreeMap<SplitId, Vec<String>>,
    idle: Vec<SplitId>,
    written: BTreeMap<SplitId, i64>,
    woken: Vec<SplitId>,
}

impl Running {
    /// Listens until a partition was taken away and so many records have come of it after that.
    fn listen_past_revocation(&self, records: usize) -> Heard {
        let deadline = Instant::now() + LIMIT;
        while !matches!(
            self.events.recv_timeout(LIMIT).unwrap(),
            SourceEvent::Revoked(_)
        ) {
            assert!(Instant::now() < deadline, "nothing is revoked");
        }
        self.listen(records, 0)
    }

    /// Listens until so many records have come and so many splits are idle.
    fn listen(&self, records: usize, idle: usize) -> Heard {
        let mut heard = Heard::default();
        let (mut count, mut next) = (0, BTreeMap::new());
        while count < records || heard.idle.len() < idle {
            match self.events.recv_timeout(LIMIT).unwrap() {
                SourceEvent::Assigned(split) => {
                    heard.names.insert(split.id, split.name.to_string());
                }
                SourceEvent::Records(batch) => {
                    assert_eq!(batch.received_ms(), 42);
                    count += batch.len();
                    let split = batch.split().id;
                    for record in batch.records() {
                        assert!(next.insert(split, record.position) < Some(record.position));
                        let parts = [record.topic, record.key, record.bytes];
                        let parts = parts.map(|part| String::from_utf8_lossy(part).into_owned());
                        heard.texts.entry(split).or_default().push(parts.join(" "));
                    }
                }
                SourceEvent::Idle(split) => heard.idle.push(split),
                SourceEvent::Active(split) => heard.woken.push(split),
                SourceEvent::Written { split, until } => {
                    heard.written.insert(split, until);
                }
                other => panic!("{other:?}"),
            }
        }
        heard.idle.sort();
        heard
    }

    /// Waits until a line stands in the metrics.
    fn await_line(&self, line: &str) {
        wait_until(line, || Registry::text([&self.registry]).contains(line));
    }

    /// Waits until a number in the metrics, which may go on, has come to at least this one.
    fn await_count(&self, series: &str, least: f64) {
        wait_until(series, || {
            let text = Registry::text([&self.registry]);
            let mut values = text.lines().filter_map(|line| line.strip_prefix(series));
            let value = values.next().and_then(|value| value.trim().parse().ok());
            value.is_some_and(|value: f64| value >= least)
        });
    }

    /// Stops the source and waits until it has ended.
    fn finish(self) -> Result<(), SourceError> {
        self.stop.stop();
        self.safe.close();
        self.end().1
    }

    /// Waits until the source has ended: what came until then, and how it ended.
    fn end(self) -> (Vec<SourceEvent>, Result<(), SourceError>) {
        let mut events = Vec::new();
        wait_until("the source has ended", || {
            events.extend(self.events.try_iter());
            self.thread.is_finished()
        });
        events.extend(self.events.try_iter());
        (events, self.thread.join().unwrap())
    }
}

fn produce(cluster: &Cluster, messages: &[(&str, i32, Option<&str>)]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .create()
        .unwrap();
    for (topic, partition, payload) in messages {
        let mut record = BaseRecord::<str, str>::to(topic)
            .partition(*partition)
            .key("V1");
        record.payload = *payload;
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

/// The group's committed offset of each partition.
fn committed(cluster: &Cluster, partitions: &[(&str, i32)]) -> Vec<Offset> {
    let consumer: rdkafka::consumer::BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "weir")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    let list = rdkafka::consumer::Consumer::committed_offsets(&consumer, list, LIMIT).unwrap();
    partitions
        .iter()
        .map(|(topic, partition)| list.find_partition(topic, *partition).unwrap().offset())
        .collect()
}

const A0: SplitId = SplitId(0);
const B0: SplitId = SplitId(0x1_0000);
const B1: SplitId = SplitId(0x1_0001);

#[test]
fn partitions_are_read_and_go_on_from_what_is_safe() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    cluster.create_topic("b", 2, 1).unwrap();
    let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let mut messages = Vec::new();
    for text in &texts {
        messages.push(("b", 0, Some(text.as_str())));
        messages.push(("b", 1, Some(text.as_str())));
    }
    produce(&cluster, &messages);

    let running = start_among_others(&cluster, &["b", "a"], &[]);
    let heard = running.listen(200, 3);
    let names = [(A0, "a/0"), (B0, "b/0"), (B1, "b/1")];
    assert_eq!(
        heard.names,
        names.map(|(split, name)| (split, name.to_owned())).into()
    );
    let expected: Vec<String> = texts.iter().map(|text| format!("b V1 {text}")).collect();
    assert_eq!(
        heard.texts,
        [(B0, expected.clone()), (B1, expected.clone())].into()
    );
    assert_eq!(heard.idle, [A0, B0, B1]);
    for line in [
        "weir_source_records_total{split=\"b/0\",pipeline=\"test\"} 100\n",
        "weir_source_connected{pipeline=\"test\"} 1\n",
        // Told once a second, and then maybe by what was known before the last records were handed over.
        "weir_kafka_lag_records{split=\"b/1\",pipeline=\"test\"} 0\n",
    ] {
        running.await_line(line);
    }
    running.safe.set(B0, safe(60));
    running.safe.set(B1, safe(100));
    running.finish().unwrap();
    let offsets = committed(&cluster, &[("a", 0), ("b", 0), ("b", 1)]);
    assert_eq!(
        offsets,
        [Offset::Invalid, Offset::Offset(60), Offset::Offset(100)]
    );

    let running = start_among_others(&cluster, &["a", "b"], &[]);
    let heard = running.listen(40, 3);
    assert_eq!(heard.texts, [(B0, expected[60..].to_vec())].into());
    assert_eq!(heard.written, [(B0, WRITTEN), (B1, WRITTEN)].into());
    running.finish().unwrap();
}

#[test]
fn a_position_of_the_state_counts_more_than_a_commit() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 3, 1).unwrap();
    let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let messages = texts
        .iter()
        .flat_map(|text| [0, 1].map(|part| ("a", part, Some(text.as_str()))));
    produce(&cluster, &messages.collect::<Vec<_>>());
    let a1 = SplitId(1);
    let running = start_among_others(&cluster, &["a"], &[]);
    running.listen(200, 3);
    running.safe.set(A0, safe(60));
    running.safe.set(a1, safe(70));
    running.finish().unwrap();

    // Of the first partition the state has less than was committed; the second one it does not
    // know, and in the third nothing was ever committed.
    let running = start_among_others(&cluster, &["a"], &[("a/0", 40), ("a/2", 0)]);
    let heard = running.listen(90, 3);
    let expected = |from: usize| {
        let texts = texts[from..].iter();
        texts.map(|text| format!("a V1 {text}")).collect()
    };
    assert_eq!(heard.texts, [(A0, expected(40)), (a1, expected(70))].into());
    assert_eq!(heard.written, [(a1, WRITTEN)].into());
    let text = Registry::text([&running.registry]);
    let line = "weir_source_positions_lost_total{pipeline=\"test\"} 0";
    assert!(text.contains(line), "{text}");
    running.finish().unwrap();
}

#[test]
fn a_partition_that_comes_back_goes_on_from_what_is_needed() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 2, 1).unwrap();
    let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let messages = texts
        .iter()
        .flat_map(|text| [0, 1].map(|part| ("a", part, Some(text.as_str()))));
    produce(&cluster, &messages.collect::<Vec<_>>());
    // An earlier run has read everything.
    let earlier = start_among_others(&cluster, &["a"], &[]);
    let heard = earlier.listen(200, 2);
    for split in heard.names.keys() {
        earlier.safe.set(*split, safe(100));
    }
    earlier.finish().unwrap();

    let first = start_among_others(&cluster, &["a"], &[("a/0", 20), ("a/1", 20)]);
    first.listen(160, 2);
    for split in [A0, SplitId(1)] {
        first.safe.set(split, safe(50));
    }
    // It knows nothing of a state: it reads from what the first one commits when it gives up a
    // partition.
    let second = start_among_others(&cluster, &["a"], &[]);
    let heard = second.listen(50, 1);
    let (split, texts_read) = heard.texts.first_key_value().unwrap();
    let expected = texts[50..].iter().map(|text| format!("a V1 {text}"));
    assert_eq!(*texts_read, expected.collect::<Vec<_>>());
    second.safe.set(*split, safe(90));
    second.finish().unwrap();
    // The partition comes back, and reading goes on at the commit of the second one.
    let heard = first.listen_past_revocation(10);
    let expected = texts[90..].iter().map(|text| format!("a V1 {text}"));
    assert_eq!(heard.texts, [(*split, expected.collect())].into());
    first.finish().unwrap();
}

#[test]
fn a_topic_that_was_made_anew_ends_the_source() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    produce(&cluster, &[("a", 0, Some("1"))]);
    let running = resume(&cluster, &["a"], &[("a/0", 2)]);
    let error = running.end().1.unwrap_err();
    assert_eq!(
        error.message,
        "partition a/0 ends at offset 1, the state has read up to 2: the topic was made anew; \
         start fresh or from another savepoint"
    );
}

#[test]
fn a_paused_partition_is_not_read_and_not_idle() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    cluster.create_topic("b", 2, 1).unwrap();
    produce(&cluster, &[("b", 0, Some("1")), ("b", 1, Some("1"))]);
    let running = start(&cluster, &["a", "b"]);
    running.listen(2, 3);
    running.alignment.set([B0].into());
    let awaken = running.events.recv_timeout(LIMIT).unwrap();
    assert!(matches!(awaken, SourceEvent::Active(B0)), "{awaken:?}");
    produce(&cluster, &[("b", 0, Some("2")), ("b", 1, Some("2"))]);
    let heard = running.listen(1, 1);
    assert_eq!(heard.texts, [(B1, vec!["b V1 2".to_owned()])].into());
    assert_eq!(heard.idle, [B1], "of the other one nothing is known");
    running.alignment.set([].into());
    let heard = running.listen(1, 1);
    assert_eq!(heard.texts, [(B0, vec!["b V1 2".to_owned()])].into());
    assert_eq!(heard.idle, [B0]);
    running.finish().unwrap();
}

#[test]
fn a_second_instance_goes_on_from_what_is_safe() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 2, 1).unwrap();
    let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let messages = texts
        .iter()
        .flat_map(|text| [0, 1].map(|part| ("a", part, Some(text.as_str()))));
    produce(&cluster, &messages.collect::<Vec<_>>());
    let first = start_among_others(&cluster, &["a"], &[]);
    let heard = first.listen(200, 2);
    for split in heard.names.keys() {
        first.safe.set(*split, safe(50));
    }
    let second = start_among_others(&cluster, &["a"], &[]);
    let heard = second.listen(50, 1);
    let (split, _) = heard.names.first_key_value().unwrap();
    let expected = texts[50..]
        .iter()
        .map(|text| format!("a V1 {text}"))
        .collect();
    assert_eq!(heard.texts, [(*split, expected)].into());
    let revoked = first.events.recv_timeout(LIMIT).unwrap();
    assert!(
        matches!(revoked, SourceEvent::Revoked(revoked) if revoked == *split),
        "{revoked:?}"
    );
    second.finish().unwrap();
    first.finish().unwrap();
}

#[test]
fn records_without_content_or_with_too_much_are_counted() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    let long = "x".repeat(1_001);
    let messages = [
        ("a", 0, Some("1")),
        ("a", 0, None),
        ("a", 0, Some(long.as_str())),
        ("a", 0, Some("4")),
    ];
    produce(&cluster, &messages);
    let running = start(&cluster, &["a"]);
    let heard = running.listen(2, 1);
    assert_eq!(
        heard.texts,
        [(A0, vec!["a V1 1".to_owned(), "a V1 4".to_owned()])].into()
    );
    let text = Registry::text([&running.registry]);
    for reason in [DropReason::TooLarge, DropReason::Tombstone] {
        let line = format!("reason=\"{}\",pipeline=\"test\"}} 1\n", reason.name());
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    running.finish().unwrap();
}

#[test]
fn a_partition_without_a_connection_is_not_idle() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    produce(&cluster, &[("a", 0, Some("1"))]);
    let running = start(&cluster, &["a"]);
    assert_eq!(running.listen(1, 1).idle, [A0]);
    cluster.broker_down(1).unwrap();
    let connected = "weir_source_connected{pipeline=\"test\"} ";
    let wait_for = |value: &str| running.await_line(&format!("{connected}{value}"));
    wait_for("0");
    cluster.broker_up(1).unwrap();
    wait_for("1");
    produce(&cluster, &[("a", 0, Some("2"))]);
    let heard = running.listen(1, 1);
    assert_eq!(heard.texts, [(A0, vec!["a V1 2".to_owned()])].into());
    assert_eq!(
        heard.woken,
        [A0],
        "it was idle when the connection was lost"
    );
    let text = Registry::text([&running.registry]);
    assert!(
        text.contains("weir_source_reconnects_total{pipeline=\"test\"} 1"),
        "{text}"
    );
    running.finish().unwrap();
}

#[test]
fn a_pipeline_that_takes_no_more_ends_the_source() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    produce(&cluster, &[("a", 0, Some("1"))]);
    let running = start(&cluster, &["a"]);
    drop(running.events);
    wait_until("the source has ended", || running.thread.is_finished());
    assert!(running.thread.join().unwrap().is_ok());
}
