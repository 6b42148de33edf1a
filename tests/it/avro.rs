//! Avro through a real Kafka, its schemas in a registry that is away for a while.
//!
//! The registry is a server of our own that speaks the documented API: Confluent's is not on Maven
//! Central, and no other one comes from a package registry in a form that starts without more servers.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use apache_avro::Schema;
use apache_avro::types::Value as Datum;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Value, json};

use crate::reference::fleet::START_MS;
use crate::reference::service::Service;
use crate::reference::stateful::Stateful;
use crate::support::fake_http::{Request, serve};
use crate::support::kafka::Kafka;
use crate::support::proxy::Proxy;
use crate::support::samples::read_ndjson;

const BUSES: &str = "pipeline: buses
source:
  kafka: { brokers: 'x:1', topics: [x], group: x }
  decode: { format: avro, registry: { url: 'http://127.0.0.1:1', username: weir, password: hunter2, timeout: 2s } }
event:
  time: { from: at, unit: s }
  fields: { line: { from: vehicle.line, type: text }, passengers: number }
time: { out_of_order: 1s, idle_after: 1h }
metrics:
  passengers: { window: { tumbling: 5s }, by: [line], value: sum(passengers) }
write: { file: { path: samples.ndjson } }
dead_letters: { file: dead-letters.ndjson }
state:
  dir: state
  checkpoint: { every: 100ms }
";

const VEHICLE: &str = r#"{"type": "record", "name": "Vehicle", "namespace": "fleet", "fields": [{"name": "line", "type": "string"}]}"#;

/// The first version: without passengers that are not known.
const FIRST: &str = r#"{"type": "record", "name": "Bus", "namespace": "fleet", "fields": [
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "vehicle", "type": "fleet.Vehicle"}, {"name": "passengers", "type": "int"}]}"#;

/// The second: other fields, in another order.
const SECOND: &str = r#"{"type": "record", "name": "Bus", "namespace": "fleet", "fields": [
    {"name": "doors", "type": {"type": "array", "items": "boolean"}},
    {"name": "passengers", "type": ["null", "long"]}, {"name": "vehicle", "type": ["null", "fleet.Vehicle"]},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}"#;

/// A record of the wire format: the schema's number before the datum.
fn framed(id: u32, schema: &str, datum: Datum) -> Result<Vec<u8>> {
    // Written with all in one, which makes no difference to the bytes.
    let whole = schema.replace("\"fleet.Vehicle\"", VEHICLE);
    let schema = Schema::parse_str(&whole)?;
    let writer = GenericDatumWriter::builder(&schema).build()?;
    let datum = writer.write_value_to_vec(datum)?;
    Ok([&[0][..], &id.to_be_bytes(), &datum].concat())
}

fn record<const N: usize>(fields: [(&str, Datum); N]) -> Datum {
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    Datum::Record(fields.into())
}

fn vehicle(line: &str) -> Datum {
    record([("line", Datum::String(line.to_owned()))])
}

fn first(id: u32, second: i64, passengers: i32) -> Result<Vec<u8>> {
    let datum = record([
        ("at", Datum::TimestampMillis(START_MS + second * 1_000)),
        ("vehicle", vehicle("7")),
        ("passengers", Datum::Int(passengers)),
    ]);
    framed(id, FIRST, datum)
}

fn second(id: u32, second: i64, passengers: i64) -> Result<Vec<u8>> {
    let some = |datum| Datum::Union(1, Box::new(datum));
    let datum = record([
        ("doors", Datum::Array(vec![Datum::Boolean(true)])),
        ("passengers", some(Datum::Long(passengers))),
        ("vehicle", some(vehicle("8"))),
        (
            "at",
            Datum::TimestampMicros((START_MS + second * 1_000) * 1_000),
        ),
    ]);
    framed(id, SECOND, datum)
}

/// Answers as the registry does; notes what it was asked for.
fn answer(request: &Request, asked: &Mutex<Vec<String>>) -> (u16, String) {
    // weir:hunter2
    if request.header("authorization") != "Basic d2VpcjpodW50ZXIy" {
        return (
            401,
            r#"{"error_code":401,"message":"Unauthorized"}"#.to_owned(),
        );
    }
    if let Ok(mut asked) = asked.lock() {
        asked.push(request.line.clone());
    }
    let references = json!([{"name": "fleet.Vehicle", "subject": "fleet/vehicle", "version": 3}]);
    let schema = |text: &str, references: &Value| {
        let answer = json!({"schema": text, "references": references});
        (200, answer.to_string())
    };
    match request.line.as_str() {
        "GET /schemas/ids/1" | "GET /schemas/ids/4" => schema(FIRST, &references),
        "GET /schemas/ids/2" => schema(SECOND, &references),
        "GET /subjects/fleet%2Fvehicle/versions/3" => schema(VEHICLE, &json!([])),
        "GET /schemas/ids/5" => {
            let answer = json!({"schema": "message Bus {}", "schemaType": "PROTOBUF"});
            (200, answer.to_string())
        }
        _ => {
            let answer = json!({"error_code": 40403, "message": "Schema not found"});
            (404, answer.to_string())
        }
    }
}

fn start(stateful: &Stateful, kafka: &Kafka, registry: &Proxy) -> Result<Service> {
    let settings = [
        format!("source.kafka.brokers={}", kafka.address()),
        "source.kafka.topics=[avro]".to_owned(),
        "source.kafka.group=avro".to_owned(),
        format!("source.decode.registry.url=http://{}/", registry.address()),
    ];
    let arguments: Vec<_> = settings
        .iter()
        .flat_map(|setting| ["--set", setting])
        .collect();
    stateful.start(&[&arguments[..], &["--workers", "2"]].concat())
}

/// The dead letters as reason, position and bytes.
fn letters(stateful: &Stateful) -> Result<Vec<(String, u64)>> {
    let text = fs::read_to_string(stateful.path("dead-letters.ndjson")).unwrap_or_default();
    let mut letters = Vec::new();
    for line in text.lines() {
        let letter: Value = serde_json::from_str(line)?;
        let reason = letter.get("reason").and_then(Value::as_str);
        let position = letter.get("position").and_then(Value::as_u64);
        letters.push((
            reason.context("a reason")?.to_owned(),
            position.context("a position")?,
        ));
    }
    Ok(letters)
}

#[test]
fn records_wait_for_a_registry_that_is_away_and_nothing_is_lost() -> Result<()> {
    let kafka = Kafka::shared()?;
    kafka.create_topic("avro", 2)?;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    let server = serve(move |request| answer(request, &noted))?;
    let port = server.rsplit(':').next().context("no port")?.parse()?;
    let registry = Proxy::start(port, || Box::new(|_| ()))?;
    let stateful = Stateful::new(BUSES)?;

    // The registry is away from the start: nothing is decoded, and checkpoints are made all the same.
    registry.cut();
    let mut batch = Vec::new();
    for number in 0..50 {
        batch.push(first(1, 0, number)?);
        batch.push(second(2, 1, i64::from(number) * 1_000)?);
    }
    batch.push(first(99, 1, 9)?);
    batch.push(second(5, 1, 9)?);
    batch.push(b"{}".to_vec());
    kafka.produce("avro", 0, &batch)?;
    kafka.produce("avro", 1, &[first(1, 0, 1)?])?;
    let mut service = start(&stateful, kafka, &registry)?;
    let requests = "weir_schema_registry_requests_total";
    service.await_metric(requests, &[("result", "failed")], 3.0)?;
    let made = service.metric("weir_checkpoints_total", &[])?;
    service.await_metric("weir_checkpoints_total", &[], made + 2.0)?;
    assert_eq!(service.metric("weir_events_total", &[])?, 0.0);
    assert_eq!(service.metric("weir_decode_errors_total", &[])?, 0.0);
    assert!(service.metric("weir_schema_registry_waiting", &[])? >= 1.0);
    assert!(!service.log()?.contains("hunter2"));

    registry.mend();
    service.await_metric("weir_events_total", &[], 101.0)?;
    service.await_metric("weir_dead_letters_total", &[], 3.0)?;
    let unknown = [("reason", "unknown_schema")];
    assert_eq!(service.metric("weir_decode_errors_total", &unknown)?, 2.0);
    assert_eq!(service.metric("weir_schema_registry_waiting", &[])?, 0.0);
    assert_eq!(service.metric("weir_schema_registry_schemas", &[])?, 2.0);
    let mut lines = asked.lock().map(|asked| asked.clone()).unwrap_or_default();
    lines.sort();
    let questions = [
        "GET /schemas/ids/1",
        "GET /schemas/ids/2",
        "GET /schemas/ids/5",
        "GET /schemas/ids/99",
        // For each of the two that refer to it.
        "GET /subjects/fleet%2Fvehicle/versions/3",
        "GET /subjects/fleet%2Fvehicle/versions/3",
    ];
    assert_eq!(lines, questions, "each once");

    // Away again: what is known is read, and what is new waits, with all behind it; also through a kill.
    registry.cut();
    let failed = service.metric(requests, &[("result", "failed")])?;
    kafka.produce("avro", 0, &[first(4, 2, 7)?])?;
    kafka.produce("avro", 1, &[first(1, 2, 5)?])?;
    service.await_metric(requests, &[("result", "failed")], failed + 1.0)?;
    kafka.produce("avro", 0, &[first(1, 2, 3)?])?;
    service.await_metric("weir_events_total", &[], 102.0)?;
    let made = service.metric("weir_checkpoints_total", &[])?;
    service.await_metric("weir_checkpoints_total", &[], made + 2.0)?;
    service.kill()?;
    let mut service = start(&stateful, kafka, &registry)?;
    service.await_metric(requests, &[("result", "failed")], 1.0)?;
    registry.mend();
    service.await_metric("weir_events_total", &[], 2.0)?;

    // Later events close the window.
    kafka.produce("avro", 0, &[first(1, 20, 1)?])?;
    kafka.produce("avro", 1, &[first(1, 20, 1)?])?;
    let output = stateful.path("samples.ndjson");
    service.await_condition("the window", || {
        fs::read_to_string(&output).is_ok_and(|text| text.lines().count() >= 2)
    })?;
    service.stop()?;
    let samples = read_ndjson(&output)?;
    let values: BTreeMap<_, _> = samples
        .iter()
        .map(|sample| (sample.labels.clone(), (sample.timestamp_ms, sample.value)))
        .collect();
    let sums: Vec<_> = values.values().copied().collect();
    let end = START_MS + 5_000;
    let numbers: i32 = (0..50).sum();
    let of_7 = f64::from(numbers + 1 + 7 + 5 + 3);
    assert_eq!(sums, [(end, of_7), (end, f64::from(numbers) * 1_000.0)]);
    let mut found = letters(&stateful)?;
    found.sort();
    found.dedup();
    let expected = [
        ("malformed", 102),
        ("unknown_schema", 100),
        ("unknown_schema", 101),
    ];
    assert_eq!(
        found,
        expected.map(|(reason, position)| (reason.to_owned(), position))
    );
    Ok(())
}
