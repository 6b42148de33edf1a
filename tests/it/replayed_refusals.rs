//! Dead letters whose records a broker refuses: those behind them are sent all the same.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::json;

use crate::reference::fleet::START_MS;
use crate::replayed_letters::replay;
use crate::support::files::{temporary_folder, write};
use crate::support::kafka::Kafka;

/// A letter whose record has about so many bytes.
fn letter(number: u64, topic: &str, bytes: usize) -> String {
    let record = json!({ "t": START_MS, "speed": number, "pad": "x".repeat(bytes) });
    let letter = json!({
        "pipeline": "cars", "source": "kafka", "split": format!("{topic}/0"), "position": number,
        "reason": "missing_field", "dropped_at_ms": START_MS, "topic": topic,
        "record": record.to_string(),
    });
    format!("{letter}\n")
}

#[test]
fn one_that_is_too_large_or_without_a_topic_holds_up_no_other() -> Result<()> {
    let kafka = Kafka::shared()?;
    let topic = "replayed-sizes";
    kafka.create_topic(topic, 1)?;
    let brokers = kafka.address();
    let folder = temporary_folder()?;
    let pipeline = format!(
        "pipeline: cars
source: {{ kafka: {{ brokers: '{brokers}', topics: [{topic}], group: sizes }} }}
event: {{ time: {{ from: t }}, fields: {{ speed: number }} }}
metrics:
  speed: {{ window: {{ tumbling: 1h }}, value: sum(speed) }}
write: {{ file: {{ path: samples.ndjson }} }}
dead_letters: {{ file: letters.ndjson }}
"
    );
    write(folder.path(), "cars.yaml", &pipeline)?;
    let letters = [
        letter(1, topic, 1),
        // The broker takes 1,048,588 bytes; librdkafka by itself 1,000,000.
        letter(2, topic, 1_060_000),
        letter(3, "replayed-no-topic", 1),
        letter(4, topic, 1_020_000),
        letter(5, topic, 1),
    ];
    fs::write(folder.path().join("letters.ndjson"), letters.concat())?;
    let (code, told) = replay(folder.path(), &[])?;
    ensure!(
        told.starts_with("3 records are sent again, to kafka\n2 still give no event:\n"),
        "{told}"
    );
    ensure!(
        told.contains("\nrefused") && told.contains("MessageSizeTooLarge"),
        "{told}"
    );
    assert_eq!(code, Some(1), "not all that were to be sent are");
    let (code, told) = replay(folder.path(), &[])?;
    ensure!(
        told.starts_with("0 records are sent again, to kafka\n3 were sent again before"),
        "{told}"
    );
    ensure!(told.contains("\n2 still give no event:\n"), "{told}");
    assert_eq!(code, Some(1));

    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()?;
    let (first, end) = consumer.fetch_watermarks(topic, 0, Duration::from_secs(60))?;
    assert_eq!(end - first, 3);
    Ok(())
}
