//! Every rejection with the value that causes it.

use serde_json::{Value, json};

use super::*;

fn parse(value: Value) -> Config {
    serde_json::from_value(value).unwrap()
}

/// What is found in a configuration: `path: message`.
fn found(value: Value) -> Vec<String> {
    let found = parse(value).validate();
    found
        .into_iter()
        .map(|(path, message)| format!("{}: {message}", path.join(".")))
        .collect()
}

fn mqtt(changes: Value) -> Value {
    let mut mqtt = json!({ "url": "mqtt://broker", "topics": ["fleet/#"] });
    let (Value::Object(all), Value::Object(changes)) = (&mut mqtt, changes) else {
        panic!()
    };
    all.extend(changes);
    json!({ "mqtt": mqtt })
}

fn kafka(changes: Value) -> Value {
    let mut kafka = json!({ "brokers": "localhost:9092", "topics": ["events"], "group": "weir" });
    let (Value::Object(all), Value::Object(changes)) = (&mut kafka, changes) else {
        panic!()
    };
    all.extend(changes);
    json!({ "kafka": kafka })
}

#[test]
fn what_is_left_out_has_a_default() {
    let config = parse(mqtt(json!({}))).mqtt.unwrap();
    assert_eq!(config.session_expiry, Duration::from_secs(3_600));
    assert_eq!(config.keep_alive, Duration::from_secs(30));
    assert_eq!(config.max_packet_bytes, 1_114_112);
    assert_eq!(config.client_id, None);
    let config = parse(kafka(json!({}))).kafka.unwrap();
    assert_eq!(config.start, StartPosition::Earliest);
    assert!(config.properties.is_empty());
}

#[test]
fn good_values_pass() {
    for value in [
        json!({ "file": { "path": "-" } }),
        json!({ "file": { "path": ["a", "b"] } }),
        kafka(
            json!({ "start": "latest", "properties": { "fetch.min.bytes": 1, "client.id": "x" } }),
        ),
        mqtt(json!({ "topics": ["+/a/+", "#", "a b/ü", "/", "$share/weir/fleet/#"] })),
        mqtt(json!({ "url": "mqtts://b", "tls": { "cert_file": "c", "key_file": "k" } })),
        mqtt(json!({ "username": "me", "password": 12345 })),
    ] {
        assert_eq!(found(value.clone()), [""; 0], "{value}");
    }
}

#[test]
fn wrong_values_are_named() {
    for (value, expected) in [
        (
            json!({ "file": { "path": [] } }),
            "file.path: is empty; write a path, or - for standard input",
        ),
        (
            json!({ "file": { "path": " " } }),
            "file.path: is empty; write a path, or - for standard input",
        ),
        (
            json!({ "file": { "path": ["a", "a"] } }),
            "file.path: 'a' is there twice; its records would count twice",
        ),
        (
            kafka(json!({ "brokers": "" })),
            "kafka.brokers: is empty; write host:port",
        ),
        (
            kafka(json!({ "group": "" })),
            "kafka.group: is empty; write a name of your choice",
        ),
        (
            kafka(json!({ "topics": [] })),
            "kafka.topics: is empty; write a list of topic names",
        ),
        (
            kafka(json!({ "topics": ["^events.*"] })),
            "kafka.topics: '^events.*' is not a topic name; use letters, digits, '.', '_' and '-', \
             at most 249",
        ),
        (
            kafka(json!({ "properties": { "group.id": "x" } })),
            "kafka.properties.group.id: 'group.id' is set by weir: write it as `group`",
        ),
        (
            mqtt(json!({ "url": "broker" })),
            "mqtt.url: 'broker' is not a broker address; write mqtt://host:1883 or \
             mqtts://host:8883",
        ),
        (
            mqtt(json!({ "tls": {} })),
            "mqtt.tls: 'mqtt://broker' speaks no TLS; write mqtts://",
        ),
        (
            mqtt(json!({ "topics": ["fleet/a#"] })),
            "mqtt.topics: 'fleet/a#' is not a topic filter; '+' stands for one whole level and '#' \
             for all the rest",
        ),
        (
            mqtt(json!({ "topics": [] })),
            "mqtt.topics: is empty; write a list of topic filters",
        ),
        (
            mqtt(json!({ "client_id": "" })),
            "mqtt.client_id: is empty; write a name of your choice",
        ),
        (
            mqtt(json!({ "session_expiry": "0s" })),
            "mqtt.session_expiry: 0s is out of range; at least 1s, or messages are lost at every \
             reconnect",
        ),
        (
            mqtt(json!({ "keep_alive": "4s" })),
            "mqtt.keep_alive: 4s is out of range; from 5s to 65535s",
        ),
        (
            mqtt(json!({ "max_packet_bytes": 100 })),
            "mqtt.max_packet_bytes: 100 is out of range; from 1024 to 268435455",
        ),
        (
            mqtt(json!({ "username": "me", "password": "x", "password_file": "f" })),
            "mqtt.password: is given twice; write it or password_file, not both",
        ),
        (
            mqtt(json!({ "password": "x" })),
            "mqtt.username: is missing; a password needs one",
        ),
        (
            mqtt(json!({ "url": "mqtts://b", "tls": { "cert_file": "c" } })),
            "mqtt.tls.key_file: is missing; cert_file needs it",
        ),
        (
            mqtt(json!({ "url": "mqtts://b", "tls": { "key_file": "c" } })),
            "mqtt.tls.cert_file: is missing; key_file needs it",
        ),
    ] {
        assert_eq!(found(value.clone()), [expected], "{value}");
    }
}

#[test]
fn unknown_settings_are_refused() {
    for value in [
        json!({ "pulsar": {} }),
        json!({ "file": { "path": "-", "follow": true } }),
        kafka(json!({ "topic": "events" })),
        mqtt(json!({ "qos": 2 })),
    ] {
        let error = serde_json::from_value::<Config>(value)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("unknown field"), "{error}");
    }
}

#[test]
fn secrets_are_never_shown() {
    let config = parse(mqtt(json!({ "username": "me", "password": "hunter2" })));
    let kafka = parse(kafka(
        json!({ "properties": { "sasl.password": "hunter2" } }),
    ));
    for shown in [
        format!("{config:?}{kafka:?}"),
        serde_json::to_string(&config).unwrap(),
        serde_json::to_string(&kafka).unwrap(),
    ] {
        assert!(
            !shown.contains("hunter2") && shown.contains("<hidden>"),
            "{shown}"
        );
    }
}

#[test]
fn the_schema_teaches() {
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    let mqtt = &schema["$defs"]["MqttConfig"]["properties"];
    assert_eq!(mqtt["session_expiry"]["default"], json!("1h"));
    let description =
        schema["$defs"]["KafkaConfig"]["properties"]["brokers"]["description"].clone();
    assert_eq!(
        description,
        json!("Where the cluster is: `host:port`, several with commas.")
    );
}
