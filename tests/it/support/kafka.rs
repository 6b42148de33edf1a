//! A real Apache Kafka: one node, controller and broker in one, from the jars that
//! `scripts/setup.sh test` has fetched.

pub(crate) mod secured;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;

use super::LIMIT;
use super::files::{cache, find_program, run, temporary_folder, write};
use super::ports::{accepts, on_free_ports};
use super::process::Process;

/// Names the version; Maven reads it too.
const POM: &str = include_str!("kafka/pom.xml");

/// A cluster's id is 16 bytes in Base64; any will do.
const CLUSTER_ID: &str = "weirTestsKafkaCluster00";

/// Start quickly, stay small.
const JVM: [&str; 3] = ["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

/// A running broker. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Kafka {
    process: Process,
    port: u16,
    folder: TempDir,
}

impl Kafka {
    /// Starts an empty broker and waits until it answers: about three seconds.
    ///
    /// # Errors
    /// There is no Java, the jars are not in the cache, or it does not come up.
    pub(crate) fn start() -> Result<Self> {
        on_free_ports(|[port, controller_port]| {
            let folder = temporary_folder()?;
            write(
                folder.path(),
                "server.properties",
                &properties(&folder, port, controller_port),
            )?;
            format_storage(&folder, &[])?;
            let process = launch(&folder, port)?;
            Ok(Self {
                process,
                port,
                folder,
            })
        })
    }

    /// One broker for all tests of this program, started by the first that asks. Topics are then
    /// shared as well: give each test a name of its own. It ends with the program.
    ///
    /// # Errors
    /// As for [`Self::start`], for every caller alike.
    pub(crate) fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::start().map_err(|error| format!("{error:#}")));
        shared.as_ref().map_err(|message| anyhow!("{message}"))
    }

    /// The bootstrap address: `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        address(self.port)
    }

    /// Creates a topic and waits until each partition has a leader.
    ///
    /// # Errors
    /// It exists already, the name or number is refused, or the broker does not answer.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        self.create(name, partitions)
            .with_context(|| format!("cannot create the topic {name}\n{}", self.process.tail()))
    }

    /// Gives a topic more partitions, `partitions` in all, and waits until each has a leader.
    ///
    /// # Errors
    /// It has as many already, or the broker does not answer.
    pub(crate) fn grow_topic(&self, name: &str, partitions: i32) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let more = NewPartitions::new(name, usize::try_from(partitions)?);
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        for result in runtime.block_on(admin.create_partitions([&more], &options))? {
            result.map_err(|(_, code)| KafkaError::AdminOp(code))?;
        }
        await_leaders(&admin, name, partitions)
            .with_context(|| format!("cannot grow the topic {name}\n{}", self.process.tail()))
    }

    /// Deletes a topic and waits until it is gone.
    ///
    /// # Errors
    /// There is none, or the broker does not answer.
    pub(crate) fn delete_topic(&self, name: &str) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        for result in runtime.block_on(admin.delete_topics(&[name], &options))? {
            result.map_err(|(_, code)| KafkaError::AdminOp(code))?;
        }
        let deadline = Instant::now() + LIMIT;
        loop {
            let metadata = admin.inner().fetch_metadata(None, LIMIT)?;
            if metadata.topics().iter().all(|topic| topic.name() != name) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("{name} is still there after {LIMIT:?}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Appends payloads to a partition, in their order, and waits until all are acknowledged.
    ///
    /// # Errors
    /// One was not acknowledged.
    pub(crate) fn produce<Payload: AsRef<[u8]>>(
        &self,
        topic: &str,
        partition: i32,
        payloads: &[Payload],
    ) -> Result<()> {
        let mut configuration = self.client();
        configuration
            .set("enable.idempotence", "true")
            // A topic is there before anybody produces; the default waits 30 s for one to appear.
            .set("topic.metadata.propagation.max.ms", "0")
            .set("linger.ms", "1");
        let producer: BaseProducer<Failures> =
            configuration.create_with_context(Failures::default())?;
        for payload in payloads {
            send(&producer, topic, partition, payload.as_ref())?;
        }
        producer.flush(LIMIT)?;
        let failures = producer
            .context()
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = failures.first() {
            bail!(
                "{topic}/{partition}: {} not acknowledged: {first}",
                failures.len()
            );
        }
        Ok(())
    }

    /// Deletes the records of a partition before an offset, as retention would.
    ///
    /// # Errors
    /// The broker refuses or does not answer.
    pub(crate) fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(before))?;
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let deleted = runtime.block_on(admin.delete_records(&offsets, &options))?;
        for element in deleted.elements() {
            element.error()?;
        }
        Ok(())
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// It had ended before.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// It had ended before, or does not end.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.process.stop(LIMIT).map(|_| ())
    }

    /// Starts it again after [`Self::kill`] or [`Self::stop`], with the same ports and data.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.process = launch(&self.folder, self.port)?;
        Ok(())
    }

    fn client(&self) -> ClientConfig {
        let mut configuration = ClientConfig::new();
        configuration.set("bootstrap.servers", self.address());
        configuration
    }

    fn create(&self, name: &str, partitions: i32) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        for result in runtime.block_on(admin.create_topics([&topic], &options))? {
            result.map_err(|(_, code)| KafkaError::AdminOp(code))?;
        }
        await_leaders(&admin, name, partitions)
    }
}

/// After the controller's answer: the broker learns of it a moment later.
fn await_leaders(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    partitions: i32,
) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !has_leaders(admin, topic, partitions)? {
        if Instant::now() >= deadline {
            bail!("not every partition has a leader after {LIMIT:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn has_leaders(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    partitions: i32,
) -> Result<bool> {
    let metadata = admin.inner().fetch_metadata(Some(topic), LIMIT)?;
    let found = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions());
    let led = found.filter(|partition| partition.leader() >= 0 && partition.error().is_none());
    Ok(i32::try_from(led.count())? == partitions)
}

/// What could not be delivered, and why.
#[derive(Debug, Default)]
struct Failures(Mutex<Vec<KafkaError>>);

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(error.clone());
        }
    }
}

fn send(
    producer: &BaseProducer<Failures>,
    topic: &str,
    partition: i32,
    payload: &[u8],
) -> Result<()> {
    loop {
        let record = BaseRecord::<(), [u8]>::to(topic)
            .partition(partition)
            .payload(payload);
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(100));
            }
            Err((error, _)) => return Err(error).context(format!("{topic}/{partition}")),
        }
    }
}

fn launch(folder: &TempDir, port: u16) -> Result<Process> {
    let mut command = java()?;
    command
        .args(["kafka.Kafka", "server.properties"])
        .current_dir(folder.path());
    let mut process = Process::start("kafka", &command, folder)?;
    process.wait_until("connection", LIMIT, || accepts(port))?;
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address(port))
        .create()?;
    // The port opens first; the broker counts once the controller lets it serve.
    process.wait_until("answer", LIMIT, || {
        client
            .fetch_metadata(None, Duration::from_secs(1))
            .is_ok_and(|metadata| metadata.brokers().len() == 1)
    })?;
    Ok(process)
}

fn format_storage(folder: &TempDir, more: &[&str]) -> Result<()> {
    let mut command = java()?;
    command
        .args([
            "kafka.tools.StorageTool",
            "format",
            "-t",
            CLUSTER_ID,
            "-c",
            "server.properties",
        ])
        .args(more)
        .current_dir(folder.path());
    let output = run(&command, LIMIT)?;
    if !output.status.success() {
        bail!(
            "cannot format Kafka's storage: {}{}",
            output.stdout,
            output.stderr
        );
    }
    Ok(())
}

/// A command for a class in Kafka's jars.
fn java() -> Result<Command> {
    let program = match std::env::var_os("JAVA_HOME") {
        Some(home) => PathBuf::from(home).join("bin/java"),
        None => find_program("java", "JAVA")?,
    };
    let mut command = Command::new(program);
    command
        .args(JVM)
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        .arg("-cp")
        .arg(jars()?.join("*"));
    Ok(command)
}

/// The folder of the jars, as `scripts/setup.sh` lays it out.
fn jars() -> Result<PathBuf> {
    let version = version()?;
    let folder = cache()?.join(format!("kafka-{version}")).join("libs");
    if !folder.join(format!("kafka_2.13-{version}.jar")).is_file() {
        bail!(
            "there is no Kafka {version} in {}: run scripts/setup.sh test",
            folder.display()
        );
    }
    Ok(folder)
}

fn version() -> Result<&'static str> {
    let after = POM.split_once("<kafka.version>").map(|(_, after)| after);
    let version = after.and_then(|text| text.split_once("</kafka.version>"));
    version
        .map(|(version, _)| version)
        .context("pom.xml has no kafka.version")
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn properties(folder: &TempDir, port: u16, controller_port: u16) -> String {
    let data = folder.path().join("data");
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
# There is one node, so nothing can have a second copy.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
# After a kill the broker is let in again once its old session is over: 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# Tests write events of years ago, and of the future.
log.retention.ms=-1
log.message.timestamp.after.max.ms=9223372036854775807
# A quarter of the heap otherwise.
log.cleaner.dedupe.buffer.size=8388608
",
        data = data.display()
    )
}
