//! The settings that librdkafka is run with.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::super::SourceError;
use super::super::config::{Isolation, KafkaConfig};

/// What weir needs for being right; `properties` may not change it.
const FIXED: [(&str, &str); 5] = [
    // Where a position is gone, what there still is must not be lost as well. Where a group begins,
    // we say ourselves.
    ("auto.offset.reset", "earliest"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("statistics.interval.ms", "1000"),
];

/// What is better than librdkafka's own defaults for a reader that wants all of a topic in bounded
/// memory; `properties` may change it.
const DEFAULTS: [(&str, &str); 10] = [
    ("client.id", "weir"),
    // Only what must move moves, so that a joining instance does not stop all others.
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("queued.max.messages.kbytes", "65536"),
    ("queued.min.messages", "100000"),
    // With the default of a second, a full queue runs empty before the next fetch.
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.min.bytes", "65536"),
    (FETCH_WAIT, DEFAULT_FETCH_WAIT),
    // New partitions and topics are found within half a minute instead of five.
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("reconnect.backoff.max.ms", "5000"),
    // Brokers close idle connections; that is no event.
    ("log.connection.close", "false"),
];

/// Which records of transactions are read.
const ISOLATION: &str = "isolation.level";
const COMMITTED: &str = "read_committed";

/// How long a broker may hold back a fetch for more data.
const FETCH_WAIT: &str = "fetch.wait.max.ms";
const DEFAULT_FETCH_WAIT: &str = "100";

/// How long a connected broker may say nothing, beyond the time of a fetch, until it is taken for
/// unreachable, ms.
const SILENCE_MS: u64 = 5_000;

/// librdkafka's settings for a source.
///
/// # Errors
/// A setting of `properties` is unknown, impossible, or needs a feature that was not built in.
pub(super) fn client_config(config: &KafkaConfig) -> Result<ClientConfig, SourceError> {
    let mut client = ClientConfig::new();
    if tracing::enabled!(tracing::Level::DEBUG) {
        client.set_log_level(RDKafkaLogLevel::Debug);
    }
    for (key, value) in DEFAULTS {
        client.set(key, value);
    }
    // The broker assigns in the new group protocol, and librdkafka refuses the setting there.
    if config
        .properties
        .get("group.protocol")
        .is_some_and(|value| value.reveal() == "consumer")
    {
        client.remove("partition.assignment.strategy");
    }
    for (key, value) in &config.properties {
        client.set(key, value.reveal());
    }
    for (key, value) in FIXED {
        client.set(key, value);
    }
    let isolation = match config.isolation {
        Isolation::ReadCommitted => COMMITTED,
        Isolation::ReadUncommitted => "read_uncommitted",
    };
    client.set(ISOLATION, isolation);
    let security = config.security().properties();
    for (key, value) in
        security.map_err(|message| SourceError::new(source_name(config), message))?
    {
        client.set(key, value.reveal());
    }
    if let Some(instance) = &config.instance {
        // The broker keeps its partitions for it over a restart.
        client.set("group.instance.id", instance);
    }
    client.set("bootstrap.servers", &config.brokers);
    client.set("group.id", &config.group);
    match client.create_native_config() {
        Ok(_) => Ok(client),
        Err(error) => Err(SourceError::new(source_name(config), refusal(&error))),
    }
}

/// The name of the source in messages.
pub(super) fn source_name(config: &KafkaConfig) -> String {
    format!("kafka {}", config.brokers)
}

/// How long a broker may say nothing until it is taken for unreachable, in microseconds, as in
/// librdkafka's statistics.
pub(super) fn silence_limit_us(client: &ClientConfig) -> i64 {
    let wait_ms = client
        .get(FETCH_WAIT)
        .and_then(|value| value.parse().ok())
        .unwrap_or_default();
    i64::try_from(SILENCE_MS.saturating_add(wait_ms).saturating_mul(1_000)).unwrap_or(i64::MAX)
}

/// Whether a partition is read no further than to its oldest open transaction.
pub(super) fn reads_committed(client: &ClientConfig) -> bool {
    client.get(ISOLATION) == Some(COMMITTED)
}

/// The value is left out: it may be a password.
pub(super) fn refusal(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, reason, key, _) => {
            format!("property '{key}' is refused: {reason}")
        }
        other => format!("properties are refused: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Secret, TlsConfig};
    use crate::source::StartPosition;

    fn config(properties: &[(&str, &str)]) -> KafkaConfig {
        KafkaConfig {
            brokers: "localhost:9092".to_owned(),
            topics: vec!["events".to_owned()],
            group: "weir".to_owned(),
            instance: None,
            start: StartPosition::Latest,
            isolation: Isolation::default(),
            tls: None,
            sasl: None,
            properties: properties
                .iter()
                .map(|(key, value)| ((*key).to_owned(), Secret::new(*value)))
                .collect(),
        }
    }

    #[test]
    fn properties_change_defaults_and_nothing_else() {
        let client = client_config(&config(&[
            ("fetch.min.bytes", "1"),
            ("enable.auto.commit", "true"),
            ("group.id", "other"),
        ]))
        .unwrap();
        for (key, value) in [
            ("fetch.min.bytes", "1"),
            ("queued.max.messages.kbytes", "65536"),
            ("enable.auto.commit", "false"),
            ("group.id", "weir"),
            ("bootstrap.servers", "localhost:9092"),
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_committed"),
        ] {
            assert_eq!(client.get(key), Some(value), "{key}");
        }
        assert_eq!(silence_limit_us(&client), 5_100_000);
    }

    #[test]
    fn the_new_group_protocol_gets_no_assignment_strategy() {
        let client = client_config(&config(&[("group.protocol", "consumer")])).unwrap();
        assert_eq!(client.get("partition.assignment.strategy"), None);
    }

    #[test]
    fn tls_and_sasl_become_properties() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "s3cret \r\n").unwrap();
        let sasl = |mechanism: &str| {
            serde_json::from_value(serde_json::json!({
                "mechanism": mechanism, "username": "me", "password_file": file.path(),
            }))
        };
        let mut config = config(&[]);
        config.sasl = Some(sasl("scram-sha-256").unwrap());
        let client = client_config(&config).unwrap();
        assert_eq!(client.get("security.protocol"), Some("sasl_plaintext"));
        assert_eq!(client.get("sasl.mechanism"), Some("SCRAM-SHA-256"));
        assert_eq!(client.get("sasl.username"), Some("me"));
        assert_eq!(client.get("sasl.password"), Some("s3cret "));
        config.tls = Some(TlsConfig::default());
        let client = client_config(&config).unwrap();
        assert_eq!(client.get("security.protocol"), Some("sasl_ssl"));
        config.sasl = None;
        let client = client_config(&config).unwrap();
        assert_eq!(client.get("security.protocol"), Some("ssl"));
        drop(file);
        config.sasl = Some(
            serde_json::from_value(serde_json::json!({
                "mechanism": "plain", "username": "me", "password_file": "/nowhere/password",
            }))
            .unwrap(),
        );
        let error = client_config(&config).unwrap_err().to_string();
        let expected =
            "source kafka localhost:9092: password_file /nowhere/password cannot be read";
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn tls_or_sasl_of_the_properties_is_kept_beside_the_key_of_the_other() {
        let sasl = serde_json::json!({ "mechanism": "plain", "username": "me", "password": "x" });
        for (properties, tls, sasl, expected) in [
            (vec![("ssl.ca.location", "probe")], false, true, "sasl_ssl"),
            (
                vec![("security.protocol", "SASL_SSL")],
                false,
                true,
                "sasl_ssl",
            ),
            (vec![("security.protocol", "ssl")], false, true, "sasl_ssl"),
            (
                vec![("security.protocol", "sasl_plaintext")],
                true,
                false,
                "sasl_ssl",
            ),
            (vec![("security.protocol", "plaintext")], true, false, "ssl"),
            (
                vec![("security.protocol", "plaintext")],
                false,
                true,
                "sasl_plaintext",
            ),
            (vec![("security.protocol", "ssl")], false, false, "ssl"),
        ]
        .map(|(properties, tls, has_sasl, expected)| {
            (properties, tls, has_sasl.then(|| sasl.clone()), expected)
        }) {
            let mut config = config(&properties);
            config.tls = tls.then(TlsConfig::default);
            config.sasl = sasl.map(|sasl| serde_json::from_value(sasl).unwrap());
            let client = client_config(&config).unwrap();
            assert_eq!(
                client.get("security.protocol"),
                Some(expected),
                "{properties:?} {tls}"
            );
        }
    }

    #[test]
    fn a_refused_property_is_named_without_its_value() {
        let refused = |key, value| {
            client_config(&config(&[(key, value)]))
                .unwrap_err()
                .to_string()
        };
        let error = refused("no.such.property", "hunter2");
        assert!(error.starts_with("source kafka localhost:9092: property 'no.such.property'"));
        assert!(!error.contains("hunter2"), "{error}");
        let error = refused("fetch.min.bytes", "-1");
        assert!(
            error.contains("property 'fetch.min.bytes' is refused: "),
            "{error}"
        );
    }
}
