//! Sessions at real MQTT brokers: both versions of the protocol, several brokers, shared
//! subscriptions, sessions that the broker has lost, and what it refuses.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use weir::source::{Config, MqttConfig};

use crate::support::files::temporary_folder;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::proxy::Proxy;
use crate::support::source::RunningSource;

/// The versions of the protocol.
const PROTOCOLS: [&str; 2] = ["5", "3.1.1"];

/// The longest wait for messages.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn config(mqtt: Value) -> Result<Config> {
    let mqtt: MqttConfig = serde_json::from_value(mqtt)?;
    Ok(Config {
        mqtt: Some(mqtt),
        ..Config::default()
    })
}

/// A source with these settings, and a log where there is a folder for it.
pub(crate) fn start(mqtt: Value, log: Option<&Path>) -> Result<RunningSource> {
    RunningSource::start(&config(mqtt)?, &[], log)
}

/// Publishes with QoS 1 and waits until the broker has acknowledged all.
pub(crate) fn publish(
    port: u16,
    retain: bool,
    messages: impl IntoIterator<Item = (String, String)>,
) -> Result<()> {
    let mut options = MqttOptions::new("car", "127.0.0.1", port);
    options.set_inflight(100);
    options.set_max_packet_size(10_000_000, 10_000_000);
    publish_with(options, retain, messages)
}

pub(crate) fn publish_with(
    options: MqttOptions,
    retain: bool,
    messages: impl IntoIterator<Item = (String, String)>,
) -> Result<()> {
    let messages: Vec<_> = messages.into_iter().collect();
    let mut missing = messages.len();
    let (client, mut connection) = Client::new(options, 10);
    let sender = thread::spawn(move || -> Result<Client> {
        for (topic, payload) in messages {
            client.publish(topic, QoS::AtLeastOnce, retain, payload)?;
        }
        Ok(client)
    });
    for event in connection.iter() {
        if matches!(event?, Event::Incoming(Packet::PubAck(_))) {
            missing -= 1;
        }
        if missing == 0 {
            // The connection goes when its client does.
            drop(sender.join());
            return Ok(());
        }
    }
    bail!("the connection has ended without {missing} acknowledgements")
}

/// Messages with these numbers as texts, each to a topic of its own.
pub(crate) fn numbered(numbers: std::ops::Range<u64>) -> impl Iterator<Item = (String, String)> {
    numbers.map(|number| (format!("fleet/{number}"), number.to_string()))
}

/// Takes from all sources until there are so many messages; each may have come but once.
pub(crate) fn take_all(sources: &[&RunningSource], count: usize) -> Result<BTreeSet<String>> {
    let (mut texts, deadline) = (BTreeSet::new(), Instant::now() + LIMIT);
    while texts.len() < count {
        ensure!(Instant::now() < deadline, "{} of {count}", texts.len());
        for source in sources {
            for (_, text) in source.take_some() {
                ensure!(texts.insert(text.clone()), "'{text}' has come twice");
            }
        }
    }
    Ok(texts)
}

/// Takes so many messages, of which each may have come but once, and nothing that is told after them.
pub(crate) fn take_each(source: &RunningSource, count: usize) -> Result<BTreeSet<String>> {
    let texts: Vec<_> = source
        .take(count)?
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let each: BTreeSet<_> = texts.iter().cloned().collect();
    ensure!(each.len() == texts.len(), "some have come twice: {texts:?}");
    Ok(each)
}

pub(crate) fn expected(numbers: std::ops::Range<u64>) -> BTreeSet<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[test]
fn both_versions_keep_the_session_and_lose_nothing() -> Result<()> {
    for protocol in PROTOCOLS {
        let (mosquitto, folder) = (Mosquitto::start()?, temporary_folder()?);
        let log = folder.path().join("log");
        let settings = json!({
            "url": mosquitto.url(), "topics": ["fleet/{number}"], "protocol": protocol,
        });
        let source = start(settings.clone(), Some(&log))?;
        source.await_idle()?;
        source.stop()?;
        // While we are away, the broker keeps them.
        publish(mosquitto.port(), false, numbered(0..300))?;
        let source = start(settings, Some(&log))?;
        publish(mosquitto.port(), false, numbered(300..400))?;
        assert_eq!(take_all(&[&source], 400)?, expected(0..400));
        assert_eq!(source.take_some(), []);
        source.stop()?;
    }
    Ok(())
}

#[test]
fn what_the_older_protocol_cannot_leave_out_is_dropped_once() -> Result<()> {
    for protocol in PROTOCOLS {
        let mosquitto = Mosquitto::start()?;
        let settings = json!({
            "url": mosquitto.url(), "topics": ["fleet/#"], "protocol": protocol,
            "max_packet_bytes": 600_000,
        });
        let source = start(settings, None)?;
        source.await_idle()?;
        let large = "x".repeat(2_000_000);
        let messages = [
            ("fleet/1", "before"),
            ("fleet/2", &large),
            ("fleet/3", "after"),
        ];
        let messages = messages.map(|(topic, text)| (topic.to_owned(), text.to_owned()));
        publish(mosquitto.port(), false, messages)?;
        let mut found: Vec<_> = source.take(2)?.into_iter().map(|(_, text)| text).collect();
        // A message whose acknowledgement the lost connection has taken along comes again.
        found.dedup();
        if found.len() == 1 {
            found.extend(source.take(1)?.into_iter().map(|(_, text)| text));
        }
        assert_eq!(found, ["before", "after"], "{protocol}");
        let dropped = u64::from(protocol == "3.1.1");
        let line = format!("reason=\"too_large\",pipeline=\"test\"}} {dropped}\n");
        source.await_metric(&line)?;
        source.stop()?;
    }
    Ok(())
}

#[test]
fn a_session_that_the_broker_has_lost_is_made_anew() -> Result<()> {
    for protocol in PROTOCOLS {
        let mut mosquitto = Mosquitto::start_with(&MosquittoOptions {
            forgets: true,
            ..MosquittoOptions::default()
        })?;
        // More filters than one request has.
        let topics: Vec<_> = (0..20).map(|number| format!("fleet/{number}")).collect();
        let url = mosquitto.url();
        let broker = url.trim_start_matches("mqtt://").to_owned();
        let settings = json!({ "url": url, "topics": topics, "protocol": protocol });
        let source = start(settings, None)?;
        source.await_idle()?;
        publish(mosquitto.port(), false, numbered(0..20))?;
        assert_eq!(take_each(&source, 20)?, expected(0..20));
        source.await_idle()?;
        mosquitto.stop()?;
        mosquitto.restart()?;
        let lost =
            format!("weir_mqtt_sessions_lost_total{{broker=\"{broker}\",pipeline=\"test\"}} 1\n");
        source.await_metric(&lost)?;
        source.await_idle()?;
        publish(mosquitto.port(), false, numbered(0..20))?;
        assert_eq!(take_each(&source, 20)?, expected(0..20));
        source.stop()?;
    }
    Ok(())
}

#[test]
fn a_session_that_was_lost_while_weir_was_away_is_told() -> Result<()> {
    for protocol in PROTOCOLS {
        let mut mosquitto = Mosquitto::start_with(&MosquittoOptions {
            forgets: true,
            ..MosquittoOptions::default()
        })?;
        let folder = temporary_folder()?;
        let log = folder.path().join("log");
        let url = mosquitto.url();
        let broker = url.trim_start_matches("mqtt://").to_owned();
        let settings = json!({ "url": url, "topics": ["fleet/#"], "protocol": protocol });
        let lost = |count: u64| {
            format!(
                "weir_mqtt_sessions_lost_total{{broker=\"{broker}\",pipeline=\"test\"}} {count}\n"
            )
        };
        // No message has ever come: that there was a session is known all the same.
        for (count, restarts) in [(0, false), (0, true), (1, false), (0, false)] {
            let source = start(settings.clone(), Some(&log))?;
            source.await_idle()?;
            assert!(
                source.metrics().contains(&lost(count)),
                "{protocol} {count}"
            );
            source.stop()?;
            if restarts {
                mosquitto.stop()?;
                mosquitto.restart()?;
            }
        }
    }
    Ok(())
}

#[test]
fn what_the_broker_has_the_acknowledgement_of_is_known_at_the_next_start() -> Result<()> {
    for protocol in PROTOCOLS {
        let (mosquitto, folder) = (Mosquitto::start()?, temporary_folder()?);
        let log = folder.path().join("log");
        let settings = json!({
            "url": mosquitto.url(), "topics": ["fleet/#"], "protocol": protocol,
            "client_id": "weir-7",
        });
        let source = start(settings, Some(&log))?;
        source.await_idle()?;
        // Answered pings say it while messages come, long before the keep-alive's.
        publish(mosquitto.port(), false, numbered(0..300))?;
        assert_eq!(take_all(&[&source], 300)?, expected(0..300));
        let file = log.join("session.json");
        let confirmed = |count: u64| {
            let text = format!(r#"{{"version":1,"client_id":"weir-7","confirmed":{count}}}"#);
            std::fs::read_to_string(&file).is_ok_and(|found| found == text)
        };
        source.await_condition("confirmed", || confirmed(300))?;
        // And the last ones are waited for at the end.
        publish(mosquitto.port(), false, numbered(300..310))?;
        source.await_metric("weir_log_appended_total{pipeline=\"test\"} 310\n")?;
        source.stop()?;
        assert!(confirmed(310), "{}", std::fs::read_to_string(&file)?);
    }
    Ok(())
}

#[test]
fn a_broker_that_answers_no_subscription_is_left_and_nothing_is_idle() -> Result<()> {
    // It accepts everybody, and that is the last that it says.
    let broker = Proxy::serve(|mut client| {
        client.read_exact(&mut [0]).ok();
        client.write_all(&[0x20, 3, 0, 0, 0]).ok();
        client.read_to_end(&mut Vec::new()).ok();
    })?;
    let url = format!("mqtt://{}", broker.address());
    let source = start(json!({ "url": url, "topics": ["fleet/#"] }), None)?;
    let back = format!(
        "weir_mqtt_reconnects_total{{broker=\"{}\",pipeline=\"test\"}} 1\n",
        broker.address()
    );
    source.await_metric(&back)?;
    let events = source.take_events();
    assert!(
        matches!(&events[..], [first] if first.starts_with("Assigned")),
        "{events:?}"
    );
    source.abandon()
}

#[test]
fn with_the_older_protocol_no_publisher_can_fill_the_memory() -> Result<()> {
    let mosquitto = Mosquitto::start()?;
    let url = mosquitto.url();
    let broker = url.trim_start_matches("mqtt://").to_owned();
    let settings = json!({
        "url": url, "topics": ["fleet/#"], "protocol": "3.1.1", "max_packet_bytes": 10_000,
    });
    let source = start(settings, None)?;
    source.await_idle()?;
    let large = [("fleet/1".to_owned(), "x".repeat(50_000))];
    publish(mosquitto.port(), false, large)?;
    // It is refused again and again, not taken at the second time.
    for count in [1, 2, 3] {
        let back = format!(
            "weir_mqtt_reconnects_total{{broker=\"{broker}\",pipeline=\"test\"}} {count}\n"
        );
        source.await_metric(&back)?;
    }
    assert!(
        !source
            .metrics()
            .contains("too_large\",pipeline=\"test\"} 1")
    );
    source.abandon()
}

#[test]
fn retained_messages_are_used_once_for_a_subscription_or_not_at_all() -> Result<()> {
    for protocol in PROTOCOLS {
        let mosquitto = Mosquitto::start()?;
        publish(mosquitto.port(), true, numbered(0..5))?;
        for (retained, count) in [("use", 5), ("ignore", 0)] {
            let proxy = Proxy::start(mosquitto.port(), || Box::new(|_| {}))?;
            let settings = json!({
                "url": format!("mqtt://{}", proxy.address()), "topics": ["fleet/#"],
                "protocol": protocol, "retained": retained, "client_id": retained,
            });
            let source = start(settings, None)?;
            assert_eq!(take_each(&source, count)?, expected(0..count as u64));
            source.await_idle()?;
            proxy.cut();
            proxy.mend();
            let back = format!(
                "weir_mqtt_reconnects_total{{broker=\"{}\",pipeline=\"test\"}} 1\n",
                proxy.address()
            );
            source.await_metric(&back)?;
            // What is not retained still comes, and nothing besides.
            let news = [("fleet/9".to_owned(), "9".to_owned())];
            let found = thread::scope(|scope| {
                let news = scope.spawn(|| publish(mosquitto.port(), false, news));
                let found = source.take(1);
                news.join().map(|published| published.and(found))
            });
            let Ok(found) = found else {
                bail!("the publisher panicked")
            };
            assert_eq!(found?[0].1, "9", "{protocol} {retained}");
            source.stop()?;
        }
    }
    Ok(())
}

#[test]
fn several_brokers_have_a_log_each_and_what_is_left_of_one_is_read() -> Result<()> {
    let brokers = [Mosquitto::start()?, Mosquitto::start()?];
    let folder = temporary_folder()?;
    let log = folder.path().join("log");
    let settings = |names: &[&str]| {
        let of = |name: &&str| {
            let broker = &brokers[usize::from(*name == "west")];
            json!({ "name": name, "url": broker.url() })
        };
        let all: Vec<_> = names.iter().map(of).collect();
        json!({ "brokers": all, "topics": ["fleet/{number}"], "session_expiry": "1h" })
    };
    let both = settings(&["east", "west"]);
    let source = start(both.clone(), Some(&log))?;
    for broker in ["east", "west"] {
        let line = format!("weir_mqtt_connected{{broker=\"{broker}\",pipeline=\"test\"}} 1\n");
        source.await_metric(&line)?;
    }
    source.await_idle()?;
    source.await_idle()?;
    publish(brokers[0].port(), false, numbered(0..100))?;
    publish(brokers[1].port(), false, numbered(100..200))?;
    assert_eq!(take_all(&[&source], 200)?, expected(0..200));
    source.stop()?;
    assert!(log.join("east").is_dir() && log.join("west").is_dir());

    // Both are received into the log, and nothing is processed. Then there is no such broker any more.
    let source = start(both, Some(&log))?;
    publish(brokers[0].port(), false, numbered(200..250))?;
    publish(brokers[1].port(), false, numbered(250..300))?;
    source.await_metric("weir_log_appended_total{pipeline=\"test\"} 100\n")?;
    source.abandon()?;
    let positions = [("log/mqtt/east", 100), ("log/mqtt/west", 100)];
    let one = config(settings(&["west"]))?;
    let source = RunningSource::start(&one, &positions, Some(&log))?;
    assert_eq!(take_all(&[&source], 100)?, expected(200..300));
    source.stop()?;
    // It has been read to its end.
    let positions = [("log/mqtt/east", 150), ("log/mqtt/west", 150)];
    let source = RunningSource::start(&one, &positions, Some(&log))?;
    source.await_idle()?;
    source.stop()
}

#[test]
fn a_shared_subscription_loses_nothing_when_a_member_comes_and_goes() -> Result<()> {
    for protocol in PROTOCOLS {
        let (mosquitto, folder) = (Mosquitto::start()?, temporary_folder()?);
        let member = |name: &str| {
            let settings = json!({
                "url": mosquitto.url(), "topics": ["$share/weir/fleet/{number}"],
                "client_id": name, "protocol": protocol,
            });
            start(settings, Some(&folder.path().join(name)))
        };
        let (first, second) = (member("first")?, member("second")?);
        first.await_idle()?;
        second.await_idle()?;
        publish(mosquitto.port(), false, numbered(0..200))?;
        assert_eq!(take_all(&[&first, &second], 200)?, expected(0..200));
        first.stop()?;
        // Some of these wait at the broker for the one that is away.
        publish(mosquitto.port(), false, numbered(200..400))?;
        second.stop()?;
        // Nothing says how far they were processed, so each reads all of its log.
        let (first, second) = (member("first")?, member("second")?);
        assert_eq!(
            take_all(&[&first, &second], 400)?,
            expected(0..400),
            "{protocol}"
        );
        // Whether they have told already that they are idle is not known: what they told before is taken.
        for member in [first, second] {
            assert_eq!(member.take_some(), []);
            member.stop()?;
        }
    }
    Ok(())
}
