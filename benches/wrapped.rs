//! Formats of several events a record, and formats with something around them.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use anyhow::{Context, Result};
use apache_avro::types::Value as Avro;
use crossbeam_channel::Sender;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use prost::Message as _;
use serde_json::{Value, json};
use weir::decode::{AvroSchema, SchemaQuestion, SchemaSource};

use crate::bare::{self, avro_schema};
use crate::payloads::{
    Bare, EVENT, Event, Format, KINDS, NOW_MS, Wrap, each, write_avro, write_json, write_protobuf,
};
use crate::sparkplug::{self, Metric, Payload};
use crate::write_request::{Label, Point, TimeSeries, WriteRequest};

/// How many readings an edge node sends at once.
const METRICS: usize = 5;
/// How many events a container of Avro has.
const CONTAINED: usize = 100;
/// How many messages stand in one record, each behind its length.
const DELIMITED: usize = 10;
/// How many series a request of Remote-Write has.
const SERIES: usize = 500;

const SPARKPLUG_EVENT: &str = r#"{"time": {"from": "timestamp"}, "fields": {
    "measurement": {"from": "number", "type": "number"}, "kind": {"from": "name", "type": "text"},
    "vehicle": {"from": "node", "type": "text"}, "region": {"from": "group", "type": "text"}}}"#;
const SERIES_EVENT: &str = r#"{"time": {"from": "timestamp"}, "fields": {
    "measurement": {"from": "value", "type": "number"}, "kind": {"from": "name", "type": "text"},
    "vehicle": {"from": "labels.vehicleId", "type": "text"},
    "region": {"from": "labels.region", "type": "text"}}}"#;

/// These formats.
pub(crate) fn formats() -> Vec<Format> {
    vec![
        Format {
            event: SPARKPLUG_EVENT,
            topic: |events, record| {
                let event = events.get(record * METRICS);
                let vehicle = event.map_or("", |event| &event.vehicle);
                format!("spBv1.0/UK/NDATA/{vehicle}")
            },
            first: Some(births),
            ..each(
                "sparkplug_b",
                || json!("sparkplug_b"),
                write_sparkplug,
                "prost",
                |record| Ok(sum_of_metrics(&Payload::decode(record)?)),
            )
        },
        Format {
            event: SERIES_EVENT,
            open: Some(|body| {
                weir::source::remote_write_records("application/x-protobuf", body, usize::MAX)
                    .map_err(anyhow::Error::msg)
            }),
            ..each(
                "remote_write",
                || json!("remote_write"),
                write_remote_write,
                "snap, prost",
                |body| {
                    let body = snap::raw::Decoder::new().decompress_vec(body)?;
                    Ok(sum(&WriteRequest::decode(body.as_slice())?))
                },
            )
        },
        Format {
            schemas: true,
            ..each(
                "avro, by number",
                || json!({"format": "avro", "registry": {"url": "http://127.0.0.1:9"}}),
                |events| {
                    Ok(write_avro(events)?
                        .iter()
                        .map(|datum| numbered(datum))
                        .collect())
                },
                "apache-avro",
                |record| bare::avro(record.get(5..).context("no datum")?),
            )
        },
        each(
            "avro, containers",
            || json!("avro"),
            write_containers,
            "apache-avro",
            |record| {
                let mut sum = 0.0;
                for datum in apache_avro::Reader::new(record)? {
                    sum += bare::avro_number(datum?)?;
                }
                Ok(sum)
            },
        ),
        wrapped(
            "json in gzip",
            || json!(["gzip"]),
            gzip,
            |record| {
                let mut plain = Vec::new();
                GzDecoder::new(record).read_to_end(&mut plain)?;
                bare::json(&plain)
            },
        ),
        wrapped(
            "json in zstd",
            || json!(["zstd"]),
            |json| Ok(zstd::encode_all(json, 3)?),
            |record| bare::json(&zstd::decode_all(record)?),
        ),
        wrapped(
            "json in json",
            || json!([{ "json": "payload" }]),
            |json| {
                Ok(serde_json::to_vec(
                    &json!({"payload": std::str::from_utf8(json)?}),
                )?)
            },
            |record| {
                let outer: Outer = sonic_rs::from_slice(record)?;
                bare::json(outer.payload.as_bytes())
            },
        ),
        Format {
            unwrap: || json!(["length_delimited"]),
            ..each(
                "protobuf, 10 of",
                || json!({"format": "protobuf", "message": "bench.Reading", "files": ["benches/reading.proto"]}),
                write_delimited,
                "prost",
                |mut record| {
                    let mut sum = 0.0;
                    while !record.is_empty() {
                        sum += bare::Reading::decode_length_delimited(&mut record)?.measurement;
                    }
                    Ok(sum)
                },
            )
        },
    ]
}

/// JSON with something around it.
fn wrapped(name: &'static str, unwrap: fn() -> Value, wrap: Wrap, bare: Bare) -> Format {
    Format {
        unwrap,
        wrap: Some(wrap),
        event: EVENT,
        ..each(name, || json!("json"), write_json, "and sonic-rs", bare)
    }
}

#[derive(serde::Deserialize)]
struct Outer {
    payload: String,
}

fn gzip(json: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(json)?;
    Ok(encoder.finish()?)
}

fn sum_of_metrics(payload: &Payload) -> f64 {
    let doubles = payload.metrics.iter().map(|metric| match metric.value {
        Some(sparkplug::Value::Double(value)) => value,
        _ => 0.0,
    });
    doubles.sum()
}

/// The type of a double in Sparkplug B.
const DOUBLE: u32 = 10;

/// The births of all nodes, each with its topic.
fn births(events: &[Event]) -> Vec<(String, Vec<u8>)> {
    let mut vehicles: Vec<&str> = events.iter().map(|event| event.vehicle.as_str()).collect();
    vehicles.sort_unstable();
    vehicles.dedup();
    let metrics = KINDS.iter().zip(1..).map(|(kind, alias)| Metric {
        name: Some((*kind).to_owned()),
        alias: Some(alias),
        datatype: Some(DOUBLE),
        ..Metric::default()
    });
    let birth = Payload {
        timestamp: Some(NOW_MS as u64 - 2_000_000),
        metrics: metrics.collect(),
        seq: Some(0),
    };
    let bytes = birth.encode_to_vec();
    let topic = |vehicle| format!("spBv1.0/UK/NBIRTH/{vehicle}");
    let births = vehicles.into_iter();
    births
        .map(|vehicle| (topic(vehicle), bytes.clone()))
        .collect()
}

fn write_sparkplug(events: &[Event]) -> Result<Vec<Vec<u8>>> {
    let payloads = events.chunks(METRICS).map(|events| {
        let metrics = events.iter().map(|event| {
            let alias = KINDS.iter().position(|kind| *kind == event.kind);
            Metric {
                alias: alias.map(|index| index as u64 + 1),
                timestamp: Some(event.timestamp as u64),
                datatype: Some(DOUBLE),
                value: Some(sparkplug::Value::Double(event.measurement)),
                ..Metric::default()
            }
        });
        let payload = Payload {
            timestamp: events.first().map(|event| event.timestamp as u64),
            metrics: metrics.collect(),
            seq: Some(1),
        };
        payload.encode_to_vec()
    });
    Ok(payloads.collect())
}

fn sum(request: &WriteRequest) -> f64 {
    let samples = request.timeseries.iter().flat_map(|series| &series.samples);
    samples.map(|sample| sample.value).sum()
}

fn write_remote_write(events: &[Event]) -> Result<Vec<Vec<u8>>> {
    let requests = events.chunks(SERIES).map(|events| {
        let timeseries = events.iter().map(|event| {
            let labels = [
                ("__name__", event.kind),
                ("region", event.region),
                ("vehicleId", event.vehicle.as_str()),
            ];
            let label = |(name, value): (&str, &str)| Label {
                name: name.to_owned(),
                value: value.to_owned(),
            };
            TimeSeries {
                labels: labels.map(label).to_vec(),
                samples: vec![Point {
                    value: event.measurement,
                    timestamp: event.timestamp,
                }],
            }
        });
        let request = WriteRequest {
            timeseries: timeseries.collect(),
        };
        Ok(snap::raw::Encoder::new().compress_vec(&request.encode_to_vec())?)
    });
    requests.collect()
}

/// Knows one schema.
#[derive(Debug)]
pub(crate) struct OneSchema(Arc<AvroSchema>);

impl OneSchema {
    pub(crate) fn new() -> Result<Self> {
        let schema = AvroSchema::parse(include_str!("reading.avsc"))?;
        Ok(Self(Arc::new(schema)))
    }
}

impl SchemaSource for OneSchema {
    fn ask(&self, _: u32, _: &str, _: &Sender<()>) -> Arc<SchemaQuestion> {
        SchemaQuestion::answered(Ok(Arc::clone(&self.0)))
    }
}

/// A datum behind the number of its schema, as a registry's clients write it.
fn numbered(datum: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, 7], datum].concat()
}

fn write_containers(events: &[Event]) -> Result<Vec<Vec<u8>>> {
    let containers = events.chunks(CONTAINED).map(|events| {
        let mut writer = apache_avro::Writer::new(avro_schema()?, Vec::new())?;
        for event in events {
            writer.append_value(Avro::Record(event.avro()))?;
        }
        Ok(writer.into_inner()?)
    });
    containers.collect()
}

fn write_delimited(events: &[Event]) -> Result<Vec<Vec<u8>>> {
    let messages = write_protobuf(events)?;
    let records = messages.chunks(DELIMITED).map(|messages| {
        let mut record = Vec::new();
        for message in messages {
            prost::encode_length_delimiter(message.len(), &mut record)?;
            record.extend_from_slice(message);
        }
        Ok(record)
    });
    records.collect()
}
