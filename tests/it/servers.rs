//! The test servers themselves: they start, serve, and keep their data through kills and restarts.

use std::time::Duration;

use anyhow::Result;

use crate::support::files::{repository, run, weir, weirgen};
use crate::support::http::Response;
use crate::support::prometheus::{Prometheus, PrometheusOptions};
use crate::support::remote_write::{self, series_of};
use crate::support::samples::Sample;

/// An event's time of long ago, ms since the epoch.
const T: i64 = 1_730_621_750_000;

/// Sends samples in one request, one series a sample.
fn remote_write(prometheus: &Prometheus, samples: &[Sample]) -> Result<Response> {
    remote_write::send(&prometheus.remote_write_url(), series_of(samples))
}

#[test]
fn prometheus_keeps_what_it_acknowledged() -> Result<()> {
    let mut prometheus = Prometheus::start()?;
    let uk = [("region", "UK")];
    let sent = [
        Sample::new("speed", &[("region", "US")], T, f64::INFINITY),
        Sample::new("speed", &uk, T, 1.5),
        Sample::new("speed", &uk, T + 5_001, f64::NAN),
        Sample::new("speed", &uk, T + 10_000, -2.0),
    ];
    for sample in &sent {
        let response = remote_write(&prometheus, std::slice::from_ref(sample))?;
        assert_eq!(response.status, 204, "{}", response.body);
    }

    let mut expected = sent.to_vec();
    expected.sort();
    assert_eq!(prometheus.samples("speed", T, T + 10_000)?, expected);
    prometheus.kill()?;
    prometheus.restart()?;
    assert_eq!(prometheus.samples("speed", T, T + 10_000)?, expected);
    prometheus.stop()?;
    prometheus.restart()?;
    assert_eq!(prometheus.samples("speed", T, T + 10_000)?, expected);

    // Both ends of a range belong to it, to the millisecond.
    let inner = prometheus.samples(r#"speed{region="UK"}"#, T + 1, T + 5_001)?;
    assert_eq!(inner, [Sample::new("speed", &uk, T + 5_001, f64::NAN)]);

    let uk_sum = r#"sum(speed{region="UK"})"#;
    let [(labels, points)] = &prometheus.query_at(uk_sum, T + 10_000)?[..] else {
        panic!("one series expected");
    };
    assert!(labels.is_empty());
    assert_eq!(points[..], [(T + 10_000, -2.0)]);
    let range = prometheus.query_range("count(speed)", T - 5_000, T + 5_000, 5_000)?;
    assert_eq!(range, [(labels.clone(), vec![(T, 2.0), (T + 5_000, 2.0)])]);
    Ok(())
}

#[test]
fn prometheus_takes_older_samples_only_within_its_window() -> Result<()> {
    let older = [Sample::new("speed", &[], T - 7_200_000, 1.0)];
    let newer = [Sample::new("speed", &[], T, 2.0)];

    let strict = Prometheus::start()?;
    assert_eq!(remote_write(&strict, &newer)?.status, 204);
    let refused = remote_write(&strict, &older)?;
    assert_eq!(
        (refused.status, refused.body.trim()),
        (400, "out of bounds")
    );

    let lenient = Prometheus::start_with(&PrometheusOptions {
        out_of_order_time_window: Some("3h".to_owned()),
        ..PrometheusOptions::default()
    })?;
    assert_eq!(remote_write(&lenient, &newer)?.status, 204);
    let accepted = remote_write(&lenient, &older)?;
    assert_eq!(accepted.status, 204, "{}", accepted.body);
    let all = [older, newer].concat();
    assert_eq!(lenient.samples("speed", T - 7_200_000, T)?, all);
    Ok(())
}

#[test]
fn prometheus_scrapes_and_evaluates_rules() -> Result<()> {
    let target = Prometheus::start()?;
    let address = target.url().trim_start_matches("http://").to_owned();
    let rules =
        "groups:\n  - name: test\n    rules:\n      - record: targets_up\n        expr: sum(up)\n";
    let mut prometheus = Prometheus::start_with(&PrometheusOptions {
        scrape: vec![address],
        rules: Some(rules.to_owned()),
        ..PrometheusOptions::default()
    })?;
    let recorded = prometheus.await_query("targets_up == 1")?;
    assert_eq!(recorded.len(), 1);
    let scraped = prometheus.query("count(prometheus_build_info)")?;
    let values: Vec<f64> = scraped
        .iter()
        .flat_map(|(_, points)| points)
        .map(|p| p.1)
        .collect();
    assert_eq!(values, [1.0]);
    Ok(())
}

#[test]
fn the_programs_say_who_they_are() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    for (name, command) in [
        ("weir", weir(["--version"])),
        ("weirgen", weirgen(["--version"])?),
    ] {
        assert_eq!(command.get_current_dir(), Some(repository()));
        let output = run(&command, Duration::from_secs(30))?;
        assert!(output.status.success(), "{}", output.stderr);
        assert_eq!(output.stdout, format!("{name} {version}\n"));
    }
    Ok(())
}

#[cfg(feature = "mqtt")]
mod mosquitto {
    use std::fs;
    use std::time::{Duration, Instant};

    use anyhow::{Context as _, Result, bail};
    use rumqttc::{Client, Connection, Event, MqttOptions, Packet, QoS, Transport};

    use crate::support::mosquitto::{Mosquitto, MosquittoOptions};

    const LIMIT: Duration = Duration::from_secs(30);

    fn options(broker: &Mosquitto, client: &str) -> MqttOptions {
        let mut options = MqttOptions::new(client, "127.0.0.1", broker.port());
        options.set_clean_session(false);
        options
    }

    /// The next packet from the broker that `pick` takes.
    fn next<T>(connection: &mut Connection, pick: impl Fn(Packet) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            let event = connection
                .recv_timeout(LIMIT)
                .ok()
                .context("no packet within the limit")?;
            let Event::Incoming(packet) = event? else {
                continue;
            };
            if let Some(found) = pick(packet) {
                return Ok(found);
            }
        }
        bail!("no such packet within {LIMIT:?}")
    }

    fn message(packet: Packet) -> Option<(String, Vec<u8>)> {
        match packet {
            Packet::Publish(message) => Some((message.topic, message.payload.to_vec())),
            _ => None,
        }
    }

    fn publish(options: MqttOptions, topic: &str, payload: &str) -> Result<()> {
        let (client, mut connection) = Client::new(options, 10);
        client.publish(topic, QoS::AtLeastOnce, false, payload)?;
        next(&mut connection, |packet| {
            matches!(packet, Packet::PubAck(_)).then_some(())
        })
    }

    fn subscribe(options: MqttOptions, topic: &str) -> Result<()> {
        let (client, mut connection) = Client::new(options, 10);
        client.subscribe(topic, QoS::AtLeastOnce)?;
        next(&mut connection, |packet| {
            matches!(packet, Packet::SubAck(_)).then_some(())
        })
    }

    fn receive(options: MqttOptions) -> Result<(String, Vec<u8>)> {
        let (_client, mut connection) = Client::new(options, 10);
        next(&mut connection, message)
    }

    #[test]
    fn it_keeps_a_session_through_a_stop() -> Result<()> {
        let mut broker = Mosquitto::start()?;
        assert_eq!(broker.url(), format!("mqtt://127.0.0.1:{}", broker.port()));
        subscribe(options(&broker, "reader"), "fleet/#")?;
        publish(options(&broker, "car"), "fleet/V1", "12.5")?;
        broker.stop()?;
        broker.restart()?;
        let received = receive(options(&broker, "reader"))?;
        assert_eq!(received, ("fleet/V1".to_owned(), b"12.5".to_vec()));
        Ok(())
    }

    #[test]
    fn it_keeps_a_session_through_a_kill_when_it_saves_every_change() -> Result<()> {
        let mut broker = Mosquitto::start_with(&MosquittoOptions {
            save_every_change: true,
            ..MosquittoOptions::default()
        })?;
        subscribe(options(&broker, "reader"), "fleet/#")?;
        publish(options(&broker, "car"), "fleet/V1", "12.5")?;
        broker.kill()?;
        broker.restart()?;
        let received = receive(options(&broker, "reader"))?;
        assert_eq!(received, ("fleet/V1".to_owned(), b"12.5".to_vec()));
        Ok(())
    }

    #[test]
    fn it_speaks_tls_to_those_with_a_certificate_and_a_password() -> Result<()> {
        let broker = Mosquitto::start_with(&MosquittoOptions {
            credentials: Some(("car".to_owned(), "right".to_owned())),
            tls: true,
            client_certificates: true,
            ..MosquittoOptions::default()
        })?;
        assert_eq!(broker.url(), format!("mqtts://127.0.0.1:{}", broker.port()));
        let files = broker.certificates().context("it speaks TLS")?;
        let ca = fs::read(&files.ca)?;
        let client = (fs::read(&files.client)?, fs::read(&files.client_key)?);

        let mut trusted = options(&broker, "car");
        trusted.set_transport(Transport::tls(ca.clone(), Some(client), None));
        trusted.set_credentials("car", "wrong");
        let error = publish(trusted.clone(), "fleet/V1", "1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Connection refused, return code: `NotAuthorized`"
        );
        trusted.set_credentials("car", "right");
        publish(trusted.clone(), "fleet/V1", "1")?;

        let mut stranger = trusted;
        stranger.set_transport(Transport::tls(ca, None, None));
        assert!(publish(stranger, "fleet/V1", "1").is_err());
        Ok(())
    }
}

#[cfg(feature = "kafka")]
mod kafka {
    use std::time::Duration;

    use anyhow::{Context as _, Result, bail};
    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::error::{KafkaError, RDKafkaErrorCode};
    use rdkafka::message::Message as _;
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

    use crate::support::kafka::Kafka;

    const LIMIT: Duration = Duration::from_secs(60);

    /// All payloads of a partition with their offsets.
    fn consume(kafka: &Kafka, topic: &str, partition: i32) -> Result<Vec<(i64, String)>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", kafka.address())
            .set("group.id", "test")
            .set("enable.partition.eof", "true")
            .create()?;
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic, partition, Offset::Beginning)?;
        consumer.assign(&from)?;
        let mut all = Vec::new();
        loop {
            match consumer
                .poll(LIMIT)
                .context("no message and no end within the limit")?
            {
                Ok(message) => {
                    let payload = message.payload().unwrap_or_default();
                    all.push((
                        message.offset(),
                        String::from_utf8_lossy(payload).into_owned(),
                    ));
                }
                Err(KafkaError::PartitionEOF(_)) => return Ok(all),
                // A connection that is tried again.
                Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
                )) => {}
                Err(error) => bail!(error),
            }
        }
    }

    fn numbered(payloads: &[&str]) -> Vec<(i64, String)> {
        (0..)
            .zip(payloads)
            .map(|(offset, payload)| (offset, (*payload).to_owned()))
            .collect()
    }

    #[test]
    fn it_keeps_what_it_acknowledged_through_a_kill_and_a_stop() -> Result<()> {
        let mut kafka = Kafka::start()?;
        kafka.create_topic("events", 2)?;
        kafka.produce("events", 0, &["a", "b"])?;
        kafka.produce("events", 1, &["c"])?;
        kafka.kill()?;
        kafka.restart()?;
        kafka.produce("events", 1, &["d"])?;
        assert_eq!(consume(&kafka, "events", 0)?, numbered(&["a", "b"]));
        assert_eq!(consume(&kafka, "events", 1)?, numbered(&["c", "d"]));
        kafka.stop()?;
        kafka.restart()?;
        assert_eq!(consume(&kafka, "events", 1)?, numbered(&["c", "d"]));
        Ok(())
    }

    #[test]
    fn a_topic_is_created_once_and_only_when_asked_for() -> Result<()> {
        let kafka = Kafka::shared()?;
        kafka.create_topic("once", 1)?;
        let again = format!("{:#}", kafka.create_topic("once", 1).unwrap_err());
        assert!(again.contains("TopicAlreadyExists"), "{again}");
        let missing = format!("{:#}", kafka.produce("never", 0, &["a"]).unwrap_err());
        assert!(missing.contains("UnknownTopic"), "{missing}");
        Ok(())
    }
}
