//! Partial lookups at real databases, end to end. `src/pipeline/tests/partial.rs` has the rest.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::support::files::{run, temporary_folder, weir, write};
use crate::support::http;
use crate::support::moto::Moto;
use crate::support::postgres::Postgres;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs a pipeline over events of some vehicles, with `from` and the added columns as they are
/// given. Gives the samples as `labels=count`, and what was logged.
fn look_up(
    from: &str,
    add: &str,
    vehicles: &[&str],
    region: &str,
) -> Result<(Vec<String>, String)> {
    let folder = temporary_folder()?;
    let pipeline = format!(
        "pipeline: fleet
source: {{ file: {{ path: events.ndjson }} }}
event: {{ time: {{ from: t }}, fields: {{ vehicle: text }} }}
enrich:
  - lookup: vehicles
    key: vehicle
    from: {{ {from}, retry: {{ backoff: 1ms }} }}
    add: {add}
    otherwise: {{ model: unknown }}
derive:
  battery: CAST(kwh AS text)
  powered: CASE WHEN electric THEN 'electric' WHEN NOT electric THEN 'fuel' ELSE 'null' END
metrics:
  vehicles: {{ window: {{ tumbling: 1s }}, by: [model, battery, powered], value: count(*) }}
write: {{ file: {{ path: samples.ndjson }} }}
"
    );
    let pipeline = write(folder.path(), "fleet.yaml", &pipeline)?;
    let events = vehicles
        .iter()
        .map(|vehicle| format!("{{\"t\":1730621745000,\"vehicle\":\"{vehicle}\"}}\n"));
    let events = write(folder.path(), "events.ndjson", &events.collect::<String>())?;
    let output = folder.path().join("samples.ndjson");
    let [pipeline, events, samples] =
        [&pipeline, &events, &output].map(|path| path.to_string_lossy());
    let mut command: Command = weir([
        "run",
        &pipeline,
        "--input",
        &events,
        "--output",
        &samples,
        "--listen",
        "127.0.0.1:0",
    ]);
    command
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", region);
    let ended = run(&command, LIMIT)?;
    ensure!(ended.status.success(), "weir: {}", ended.stderr);
    let mut samples = Vec::new();
    for line in fs::read_to_string(&output)?.lines() {
        let sample: serde_json::Value = serde_json::from_str(line)?;
        let label = |name: &str| {
            let label = sample.pointer(&format!("/labels/{name}"));
            label
                .and_then(|label| label.as_str())
                .unwrap_or("null")
                .to_owned()
        };
        let labels = ["model", "battery", "powered"].map(label).join(",");
        samples.push(format!(
            "{labels}={}",
            sample.pointer("/value").context("no value")?
        ));
    }
    samples.sort();
    Ok((samples, ended.stderr))
}

const ADD: &str = "[model, { column: kwh, type: number }, { column: electric, type: boolean }]";

#[test]
fn postgres_is_asked_for_typed_columns_with_and_without_tls() {
    let server = Postgres::start().unwrap();
    server
        .execute(
            "CREATE TABLE vehicles (id bigint PRIMARY KEY, model varchar(20), kwh real,
                                    electric boolean, doors numeric);
             INSERT INTO vehicles VALUES (1, 'Helion', 50.5, true, 4), (2, NULL, NULL, false, 4),
                                         (3, 'Polara', 60, NULL, 4);",
        )
        .unwrap();
    let url = server.url();
    let from = |columns: &str, more: &str| {
        format!(
            "postgres: {{ url: '{url}', timeout: 30s{more},
               query: 'SELECT {columns} FROM vehicles WHERE id = $1::bigint' }}"
        )
    };
    let tls = format!(", tls: {{ ca_file: '{}' }}", server.ca_file().display());
    for more in ["", &tls] {
        let from = from("model, kwh, electric", more);
        let vehicles = ["1", "2", "3", "1", "9"];
        let (samples, log) = look_up(&from, ADD, &vehicles, "x").unwrap();
        let expected = [
            "Helion,50.5,electric=2",
            "Polara,60,null=1",
            "null,null,fuel=1",
            "unknown,null,null=1",
        ];
        assert_eq!(samples.as_slice(), expected, "{log}");
    }
    for (columns, vehicle, message) in [
        ("model, kwh, electric", "V1", "SQLSTATE 22P02"),
        (
            "model, kwh",
            "1",
            "the query gives no column 'electric'; its columns are model, kwh",
        ),
        (
            "model, doors AS kwh, electric",
            "1",
            "column 'kwh' is of type numeric; cast it in the query",
        ),
        ("nothing", "1", "SQLSTATE 42703"),
    ] {
        let (samples, log) = look_up(&from(columns, ""), ADD, &[vehicle], "x").unwrap();
        assert_eq!(samples, ["unknown,null,null=1"]);
        assert!(log.contains(message), "{log}");
        assert!(!log.contains("secret"), "{log}");
    }
    let stranger = from("model, kwh, electric", ", tls: {}");
    let (samples, log) = look_up(&stranger, ADD, &["1"], "x").unwrap();
    assert_eq!(samples, ["unknown,null,null=1"], "{log}");
    assert!(log.contains("certificate"), "{log}");
}

#[test]
fn dynamodb_is_asked_for_items() {
    let server = Moto::start().unwrap();
    let endpoint = server.endpoint();
    let call = |target: &str, body: serde_json::Value| {
        let target = format!("DynamoDB_20120810.{target}");
        let headers = [
            ("X-Amz-Target", target.as_str()),
            ("Content-Type", "application/x-amz-json-1.0"),
            (
                "Authorization",
                "AWS4-HMAC-SHA256 Credential=test/20241103/eu-central-1/dynamodb/aws4_request",
            ),
        ];
        let answer = http::post(&endpoint, &headers, body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    call(
        "CreateTable",
        json!({
            "TableName": "vehicles", "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }]
        }),
    );
    for item in [
        json!({ "id": { "S": "V1" }, "model": { "S": "Helion" }, "electric": { "BOOL": true },
                "rating": { "M": { "kwh": { "N": "50.5" } } } }),
        json!({ "id": { "S": "V2" }, "model": { "NULL": true }, "electric": { "BOOL": false } }),
    ] {
        call("PutItem", json!({ "TableName": "vehicles", "Item": item }));
    }
    let add = ADD.replace("kwh", "rating.kwh, as: kwh");
    let from = |table: &str| {
        format!("dynamodb: {{ table: {table}, key: id, endpoint: '{endpoint}', timeout: 30s }}")
    };
    let vehicles = ["V1", "V2", "V9", "V1"];
    let (samples, log) = look_up(&from("vehicles"), &add, &vehicles, "eu-central-1").unwrap();
    let expected = [
        "Helion,50.5,electric=2",
        "null,null,fuel=1",
        "unknown,null,null=1",
    ];
    assert_eq!(samples, expected, "{log}");
    let (samples, log) = look_up(&from("nothing"), &add, &["V1"], "eu-central-1").unwrap();
    assert_eq!(samples, ["unknown,null,null=1"]);
    assert!(log.contains("ResourceNotFoundException"), "{log}");
}
