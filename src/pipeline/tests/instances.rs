//! Instances of a pipeline that share a group, with a cluster that refuses things: what one has read and
//! the group does not know must not count there.

use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::super::{PipelineError, Running, SourceOf};
use super::bench::{START_MS, metric, options, pipeline_of, until};

const DRAIN: Duration = Duration::from_secs(60);

/// A receiver that nobody runs: the port of the discard service.
const NO_RECEIVER: &str = "remote_write: {
  url: 'http://127.0.0.1:9/api/v1/write', max_shards: 1, queue_bytes: 4096, batch: { samples: 5 } }";

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// An instance with its folder.
struct Instance {
    folder: TempDir,
    text: String,
    runtime: Runtime,
}

impl Instance {
    fn new(cluster: &Cluster, write: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "pipeline: test
source:
  kafka:
    brokers: '{}'
    topics: [a]
    group: weir
    instance: one
    # The mock cluster never answers a member whose session has ended while it waited to join, as where the machine
    # stands still for a second: the client asks again after the last of these times and three seconds.
    properties:
      fetch.min.bytes: '1'
      heartbeat.interval.ms: '500'
      session.timeout.ms: '6000'
      max.poll.interval.ms: '15000'
event: {{ time: {{ from: t }}, fields: {{ region: text }} }}
time: {{ out_of_order: 0s, idle_after: 1h }}
metrics: {{ m: {{ window: {{ tumbling: 1s }}, by: [region], value: count(*) }} }}
write: {{ {write} }}
state: {{ dir: '{at}/state', checkpoints: 'file://{at}/store', checkpoint: {{ every: 100ms }} }}
",
            cluster.bootstrap_servers(),
            at = folder.path().display(),
        );
        Self {
            folder,
            text,
            runtime: Runtime::new().unwrap(),
        }
    }

    fn start(&self) -> Running {
        let runtime = self.runtime.handle().clone();
        Running::start(
            &pipeline_of(&self.text),
            SourceOf::File,
            &options(),
            runtime,
        )
        .unwrap()
    }

    /// Whether there is a checkpoint that the group is not known to have.
    fn has_unconfirmed(&self) -> bool {
        let path: &Path = self.folder.path();
        path.join("store/test/unconfirmed").exists()
    }
}

/// Sends events with these numbers to a partition, each in a group of its own.
fn send(cluster: &Cluster, partition: i32, numbers: std::ops::Range<i64>, region: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .create()
        .unwrap();
    for number in numbers {
        let time = START_MS + number * 10;
        let event = format!(r#"{{"t":{time},"region":"{region}{number}"}}"#);
        let record = BaseRecord::<str, str>::to("a").partition(partition);
        let record = record.payload(&event);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(DRAIN).unwrap();
}

fn is_read(running: &Running, events: u64) -> bool {
    until(|| running.status().events >= events) && running.status().events == events
}

#[test]
fn a_checkpoint_that_the_group_does_not_take_is_not_gone_on_from() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    send(&cluster, 0, 0..10, "region");
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[refused; 1_000]);
    let instance = Instance::new(&cluster, "file: { path: /dev/null }");
    let first = instance.start();
    assert!(is_read(&first, 10));
    assert!(until(|| instance.has_unconfirmed()));
    send(&cluster, 0, 10..15, "region");
    assert!(is_read(&first, 15));
    first.stop_signal().stop();
    let finished = first.finish(DRAIN);
    assert!(finished.error.is_none(), "{finished:?}");
    assert!(instance.has_unconfirmed());

    cluster.clear_request_errors(RDKafkaApiKey::OffsetCommit);
    let second = instance.start();
    assert!(is_read(&second, 15), "from the beginning");
    second.stop_signal().stop();
    let finished = second.finish(DRAIN);
    assert!(finished.error.is_none(), "{finished:?}");
    assert!(!instance.has_unconfirmed());

    let third = instance.start();
    send(&cluster, 0, 15..16, "region");
    assert!(is_read(&third, 1));
    third.stop_signal().stop();
    third.finish(DRAIN);
}

#[test]
fn a_loss_ends_the_run_also_while_nothing_is_taken() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 4, 1).unwrap();
    // Much more than there is room for, and each event a sample. Of a partition the cluster keeps 5 MiB.
    for partition in 0..4 {
        send(&cluster, partition, 0..4_500, &"x".repeat(1_000));
    }
    let instance = Instance::new(&cluster, NO_RECEIVER);
    let running = instance.start();
    assert!(until(|| {
        metric(running.registry(), "weir_source_buffer_full_total") > 0.0
    }));
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[unknown; 3]);
    assert!(until(|| running.is_finished()));
    // Nothing more is written, so that nothing waits for the receiver.
    let finished = running.finish(DRAIN);
    let Some(PipelineError::Source(error)) = &finished.error else {
        panic!("{finished:?}");
    };
    assert!(error.message.contains("lost to other instances"), "{error}");
    assert!(finished.written.unsent > 0, "{finished:?}");
}
