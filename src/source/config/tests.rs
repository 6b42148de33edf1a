//! Every rejection with the value that causes it.

use serde_json::{Value, json};

use super::*;
use crate::model::Duration;

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

fn brokers(brokers: Value) -> Value {
    json!({ "mqtt": { "brokers": brokers, "topics": ["fleet/#"] } })
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
fn a_source_is_called_by_its_key() {
    for (key, value) in [
        ("file", json!({ "file": { "path": "-" } })),
        ("kafka", kafka(json!({}))),
        ("kinesis", json!({ "kinesis": { "stream": "a" } })),
        ("mqtt", mqtt(json!({}))),
        ("http", json!({ "http": { "listen": "127.0.0.1:0" } })),
        (
            "remote_write",
            json!({ "remote_write": { "listen": "127.0.0.1:0" } }),
        ),
    ] {
        assert_eq!(parse(value).kind(), key);
    }
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
        mqtt(json!({ "protocol": "5", "retained": "ignore" })),
        mqtt(json!({ "url": "wss://b/mqtt", "sigv4": { "region": "eu-west-1" } })),
        mqtt(json!({ "url": "mqtts://b:443", "tls": { "alpn": "x-amzn-mqtt-ca" } })),
        json!({ "mqtt": { "tls": {}, "topics": ["a"], "brokers": [
            { "name": "plain", "url": "mqtt://a" },
            { "name": "tls", "url": "mqtts://a", "client_id": "me" },
            { "name": "again", "url": "mqtts://a", "client_id": "other", "topics": ["b"] },
        ] } }),
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
            kafka(json!({ "topics": ["events.*"] })),
            "kafka.topics: 'events.*' is not a topic name; use letters, digits, '.', '_' and '-', \
             at most 249",
        ),
        (
            kafka(json!({ "topics": ["^events-(.*"] })),
            "kafka.topics.0: '^events-(.*' is not a regular expression",
        ),
        (
            kafka(json!({ "properties": { "group.id": "x" } })),
            "kafka.properties.group.id: 'group.id' is set by weir: write it as `group`",
        ),
        (
            mqtt(json!({ "url": "broker" })),
            "mqtt.url: 'broker' is not a broker address; write mqtt://host:1883, \
             mqtts://host:8883 or wss://host/mqtt",
        ),
        (
            mqtt(json!({ "tls": {} })),
            "mqtt.tls: 'mqtt://broker' speaks no TLS; write mqtts:// or wss://",
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
        (
            mqtt(json!({ "url": null })),
            "mqtt.url: is missing; write mqtt://host:1883, or several brokers as brokers",
        ),
        (
            mqtt(json!({ "topics": ["fleet/{v}/a", "fleet/+/a"] })),
            "mqtt.topics: 'fleet/+/a' and 'fleet/{v}/a' are one filter to the broker; leave out one \
             of them",
        ),
        (
            mqtt(json!({ "topics": ["fleet/v{id}"] })),
            "mqtt.topics: 'v{id}' in 'fleet/v{id}' names no level; write {vehicle} for a whole \
             level, or {rest...} for all the rest",
        ),
        (
            mqtt(json!({ "protocol": "3.1.1", "session_expiry": "2h" })),
            "mqtt.session_expiry: is unknown to protocol 3.1.1: the broker decides how long it \
             keeps a session",
        ),
        (
            mqtt(json!({ "url": "mqtts://b", "tls": { "alpn": "" } })),
            "mqtt.tls.alpn: '' is not the name of a protocol; write x-amzn-mqtt-ca",
        ),
        (
            mqtt(json!({ "url": "mqtts://b", "sigv4": { "region": "eu-west-1" } })),
            "mqtt.sigv4: 'mqtts://b' is no WebSocket with TLS; write wss://",
        ),
        (
            mqtt(json!({ "url": "wss://b/mqtt", "sigv4": { "region": "the moon" } })),
            "mqtt.sigv4.region: 'the moon' is not a region; write one such as eu-central-1",
        ),
        (
            mqtt(json!({
                "url": "wss://b/mqtt", "sigv4": { "region": "eu-west-1" }, "username": "me",
            })),
            "mqtt.username: 'username' does not go with 'sigv4'; the signature says who we are",
        ),
        (
            mqtt(json!({ "brokers": [{ "name": "a", "url": "mqtt://a" }] })),
            "mqtt.url: 'url' does not go with 'brokers'; make it one of them",
        ),
        (
            brokers(json!([{ "name": "a/b", "url": "mqtt://a" }])),
            "mqtt.brokers.0.name: 'a/b' is not a name of a broker; use letters, digits, '_' and \
             '-', at most 64",
        ),
        (
            brokers(
                json!([{ "name": "a", "url": "mqtt://a" }, { "name": "a", "url": "mqtt://b" }]),
            ),
            "mqtt.brokers.1.name: 'a' is there twice; every broker has its own",
        ),
        (
            brokers(json!([{ "name": "a", "url": "mqtt://a" }, { "name": "b", "url": "b" }])),
            "mqtt.brokers.1.url: 'b' is not a broker address; write mqtt://host:1883, \
             mqtts://host:8883 or wss://host/mqtt",
        ),
        (
            brokers(json!([
                { "name": "a", "url": "mqtt://a", "client_id": "me" },
                { "name": "b", "url": "mqtt://a:1883", "client_id": "me" },
            ])),
            "mqtt.brokers.1.client_id: 'me' is that of broker 'a' as well, at the same address; \
             every session needs its own",
        ),
        (
            brokers(json!([{ "name": "a", "url": "mqtt://a", "topics": [] }])),
            "mqtt.brokers.0.topics: is empty; write a list of topic filters",
        ),
    ] {
        assert_eq!(found(value.clone()), [expected], "{value}");
    }
}

#[test]
fn a_broker_has_what_it_says_and_else_what_holds_for_all() {
    let config = parse(json!({ "mqtt": {
        "topics": ["fleet/{region}/#"], "client_id": "weir-1", "username": "all",
        "password_file": "all.txt", "tls": { "ca_file": "ca.pem" }, "keep_alive": "1m",
        "brokers": [
            { "name": "east", "url": "mqtts://east" },
            { "name": "west", "url": "mqtt://west", "client_id": "weir-2", "username": "west",
              "topics": ["trucks/{vehicle}", "fleet/{region}/#"] },
        ],
    } }));
    let mqtt = config.mqtt.unwrap();
    let brokers = mqtt.each();
    let shown: Vec<_> = brokers
        .iter()
        .map(|(name, broker)| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let tls = broker.tls.is_some();
            let (id, user) = (text(&broker.client_id), text(&broker.username));
            let password_file = text(&broker.password_file);
            format!("{} {id} {user} {password_file} {tls}", name.unwrap())
        })
        .collect();
    assert_eq!(
        shown,
        ["east weir-1 all all.txt true", "west weir-2 west  false"]
    );
    assert!(
        brokers
            .iter()
            .all(|(_, broker)| broker.keep_alive == Duration::from_secs(60))
    );
    let filters: Vec<_> = mqtt
        .templates()
        .iter()
        .map(|template| template.filter().to_owned())
        .collect();
    assert_eq!(filters, ["fleet/+/#", "trucks/+"]);
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
