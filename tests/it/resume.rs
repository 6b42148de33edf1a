//! Sources go on from where a state says, with real brokers.

use anyhow::Result;
use weir::source::{Config, Isolation, KafkaConfig, StartPosition};

use crate::support::kafka::Kafka;
use crate::support::source::{Positioned, RunningSource};

fn config(kafka: &Kafka, topic: &str) -> Config {
    Config {
        kafka: Some(KafkaConfig {
            brokers: kafka.address(),
            topics: vec![topic.to_owned()],
            group: topic.to_owned(),
            instance: None,
            // Where the state says something, this does not count.
            start: StartPosition::Latest,
            isolation: Isolation::default(),
            tls: None,
            sasl: None,
            properties: [].into(),
        }),
        ..Config::default()
    }
}

fn texts(from: u64, to: u64) -> Vec<String> {
    (from..to).map(|number| format!("event {number}")).collect()
}

fn positioned(from: u64, to: u64) -> Vec<Positioned> {
    (from..to).zip(texts(from, to)).collect()
}

#[test]
fn a_partition_is_read_from_the_position_of_the_state() -> Result<()> {
    let kafka = Kafka::shared()?;
    kafka.create_topic("resumed", 1)?;
    kafka.produce("resumed", 0, &texts(0, 100))?;
    let config = config(kafka, "resumed");
    let source = RunningSource::start(&config, &[("resumed/0", 40)], None)?;
    assert_eq!(source.take(60)?, positioned(40, 100));
    source.await_idle()?;
    kafka.produce("resumed", 0, &texts(100, 110))?;
    assert_eq!(source.take(10)?, positioned(100, 110));
    source.stop()?;

    // A crash may come before any of that is in the state.
    let source = RunningSource::start(&config, &[("resumed/0", 40)], None)?;
    assert_eq!(source.take(70)?, positioned(40, 110));
    source.abandon()?;
    let source = RunningSource::start(&config, &[("resumed/0", 110)], None)?;
    source.await_idle()?;
    let line = "weir_source_positions_lost_total{pipeline=\"test\"} 0\n";
    assert!(source.metrics().contains(line), "{}", source.metrics());
    source.stop()
}

#[test]
fn records_that_are_gone_are_told_and_a_topic_made_anew_is_refused() -> Result<()> {
    let kafka = Kafka::shared()?;
    kafka.create_topic("retained", 1)?;
    kafka.produce("retained", 0, &texts(0, 100))?;
    kafka.delete_records("retained", 0, 60)?;
    let config = config(kafka, "retained");
    let source = RunningSource::start(&config, &[("retained/0", 40)], None)?;
    assert_eq!(source.take(40)?, positioned(60, 100));
    source.await_metric("weir_source_positions_lost_total{pipeline=\"test\"} 1\n")?;
    source.stop()?;

    let source = RunningSource::start(&config, &[("retained/0", 101)], None)?;
    assert_eq!(
        source.failure()?,
        format!(
            "source kafka {}: partition retained/0 ends at offset 100, the state has read up to \
             101: the topic was made anew; start fresh or from another savepoint",
            kafka.address()
        )
    );
    Ok(())
}
