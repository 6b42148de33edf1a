//! The same events in every format.

use anyhow::Result;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use fastrand::Rng;
use prost::Message as _;
use serde_json::{Value, json};

use crate::bare;

/// 3 November 2024.
pub(crate) const NOW_MS: i64 = 1_730_621_749_000;

pub(crate) const KINDS: [&str; 4] = ["IC_RPM", "ELECTRIC_RPM", "WARNINGS", "SPEED"];
const REGIONS: [&str; 5] = ["UK", "EU-North", "EU-South", "US-East", "APAC"];

/// How many values a pack of SenML has.
const PACK: usize = 5;

/// What most formats read: the number first, which is added up.
pub(crate) const EVENT: &str = r#"{"time": {"from": "timestamp"}, "fields": {
    "measurement": "number", "kind": {"from": "eventType", "type": "text"},
    "vehicle": {"from": "vehicleId", "type": "text"}, "region": "text"}}"#;
const INFLUX_EVENT: &str = r#"{"time": {"from": "_time", "unit": "ns"}, "fields": {
    "measurement": "number", "kind": {"from": "_measurement", "type": "text"},
    "vehicle": {"from": "vehicleId", "type": "text"}, "region": "text"}}"#;
const CLOUD_EVENT: &str = r#"{"time": {"from": "time", "unit": "rfc3339"}, "fields": {
    "measurement": {"from": "data.measurement", "type": "number"}, "kind": {"from": "type", "type": "text"},
    "vehicle": {"from": "subject", "type": "text"}, "region": {"from": "data.region", "type": "text"}}}"#;
const SENML_EVENT: &str = r#"{"time": {"from": "t", "unit": "s"}, "fields": {
    "measurement": {"from": "v", "type": "number"}, "sensor": {"from": "n", "type": "text"}}}"#;
const NUMBER_EVENT: &str = r#"{"time": {"from": "@timestamp"}, "fields": {
    "value": "number", "sensor": {"from": "@topic[1]", "type": "text"}}}"#;

/// A reading of a car.
#[derive(Debug)]
pub(crate) struct Event {
    /// Milliseconds since the epoch.
    pub(crate) timestamp: i64,
    pub(crate) kind: &'static str,
    pub(crate) vehicle: String,
    pub(crate) region: &'static str,
    pub(crate) measurement: f64,
}

/// Writes events as records.
pub(crate) type Write = fn(&[Event]) -> Result<Vec<Vec<u8>>>;
/// Puts something around a record.
pub(crate) type Wrap = fn(&[u8]) -> Result<Vec<u8>>;
/// Writes what comes before all records, with topics.
pub(crate) type First = fn(&[Event]) -> Vec<(String, Vec<u8>)>;
/// Makes records of what a client sends.
pub(crate) type Open = fn(&[u8]) -> Result<Vec<Vec<u8>>>;
/// The sum of a record's numbers, by a library.
pub(crate) type Bare = fn(&[u8]) -> Result<f64>;

/// A format: how events are written in it, what is read of it, and what parses it beside us.
#[derive(Debug)]
pub(crate) struct Format {
    pub(crate) name: &'static str,
    /// `source.decode`.
    pub(crate) decode: fn() -> Value,
    /// `event`, in JSON. Its first field is the number that is added up.
    pub(crate) event: &'static str,
    /// `source.unwrap`.
    pub(crate) unwrap: fn() -> Value,
    /// The topic of a record.
    pub(crate) topic: fn(&[Event], usize) -> String,
    /// The records of events.
    pub(crate) write: Write,
    /// What is put around each of them.
    pub(crate) wrap: Option<Wrap>,
    /// What comes before all of them, with topics: of this, no time is taken.
    pub(crate) first: Option<First>,
    /// Makes records of what a client sends.
    pub(crate) open: Option<Open>,
    /// Whether schemas are known by their numbers.
    pub(crate) schemas: bool,
    pub(crate) library: &'static str,
    /// The sum of a record's numbers, by a library.
    pub(crate) bare: Bare,
}

impl Event {
    /// The events of a fleet, a millisecond apart. The same numbers give the same events.
    pub(crate) fn fleet(events: usize, vehicles: u32) -> Vec<Self> {
        let mut random = Rng::with_seed(1);
        let event = |number: usize| Self {
            timestamp: NOW_MS - 1_000_000 + number as i64,
            kind: random.choice(KINDS).unwrap_or_default(),
            vehicle: format!("V{:07}", random.u32(0..vehicles)),
            region: random.choice(REGIONS).unwrap_or_default(),
            measurement: f64::from(random.u32(0..800_000)) / 100.0,
        };
        (0..events).map(event).collect()
    }

    fn json(&self) -> Value {
        json!({
            "timestamp": self.timestamp,
            "eventType": self.kind,
            "vehicleId": self.vehicle,
            "region": self.region,
            "measurement": self.measurement,
        })
    }

    /// The fields of the schema.
    pub(crate) fn avro(&self) -> Vec<(String, Avro)> {
        let fields = [
            ("timestamp", Avro::Long(self.timestamp)),
            ("eventType", Avro::String(self.kind.to_owned())),
            ("vehicleId", Avro::String(self.vehicle.clone())),
            ("region", Avro::String(self.region.to_owned())),
            ("measurement", Avro::Double(self.measurement)),
        ];
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    }
}

/// A format of an event a record.
pub(crate) fn each(
    name: &'static str,
    decode: fn() -> Value,
    write: Write,
    library: &'static str,
    bare: Bare,
) -> Format {
    Format {
        name,
        decode,
        unwrap: || json!([]),
        event: EVENT,
        topic: |_, _| "fleet/cars".to_owned(),
        write,
        wrap: None,
        first: None,
        open: None,
        schemas: false,
        library,
        bare,
    }
}

/// The formats by themselves, JSON first.
pub(crate) fn formats() -> Vec<Format> {
    vec![
        each("json", || json!("json"), write_json, "sonic-rs", bare::json),
        each(
            "csv",
            || json!({"format": "csv", "columns": ["timestamp", "eventType", "vehicleId", "region", "measurement"]}),
            write_csv,
            "csv-core",
            bare::csv,
        ),
        each(
            "protobuf",
            || json!({"format": "protobuf", "message": "bench.Reading", "files": ["benches/reading.proto"]}),
            write_protobuf,
            "prost",
            bare::protobuf,
        ),
        each(
            "avro",
            || json!({"format": "avro", "schema": "benches/reading.avsc"}),
            write_avro,
            "apache-avro",
            bare::avro,
        ),
        each("cbor", || json!("cbor"), write_cbor, "ciborium", bare::cbor),
        Format {
            event: INFLUX_EVENT,
            ..each(
                "influx",
                || json!("influx"),
                write_influx,
                "influxdb-line-protocol",
                bare::influx,
            )
        },
        Format {
            event: SENML_EVENT,
            ..each(
                "senml_json",
                || json!("senml_json"),
                write_senml_json,
                "sonic-rs",
                bare::senml_json,
            )
        },
        Format {
            event: SENML_EVENT,
            ..each(
                "senml_cbor",
                || json!("senml_cbor"),
                write_senml_cbor,
                "ciborium",
                bare::senml_cbor,
            )
        },
        Format {
            event: CLOUD_EVENT,
            ..each(
                "cloudevents",
                || json!("cloudevents"),
                write_cloudevents,
                "sonic-rs",
                bare::cloudevents,
            )
        },
        Format {
            event: NUMBER_EVENT,
            ..each(
                "number",
                || json!("number"),
                write_number,
                "f64::from_str",
                bare::number,
            )
        },
    ]
}

pub(crate) fn write_json(events: &[Event]) -> Result<Vec<Vec<u8>>> {
    let record = |event: &Event| Ok(serde_json::to_vec(&event.json())?);
    events.iter().map(record).collect()
}

fn write_csv(events: &[Event]) -> Result<Vec<Vec<u8>>> {
    let row = |event: &Event| {
        let Event {
            timestamp,
            kind,
            vehicle,
            region,
            measurement,
        } = event;
        Ok(format!("{timestamp},{kind},{vehicle},{region},{measurement}\n").into_bytes())
    };
    events.iter().map(row).collect()
}

fn cbor_of(value: &Value) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes)?;
    Ok(bytes)
}

fn write_cbor(events: &[Event]) -> Result<Vec<Vec<u8>>> {
    events.iter().map(|event| cbor_of(&event.json())).collect()
}

fn write_influx(events: &[Event]) -> Result<Vec<Vec<u8>>> {
    let line = |event: &Event| {
        let Event {
            timestamp,
            kind,
            vehicle,
            region,
            measurement,
        } = event;
        let line = format!(
            "{kind},region={region},vehicleId={vehicle} measurement={measurement} {timestamp}000000\n"
        );
        Ok(line.into_bytes())
    };
    events.iter().map(line).collect()
}

/// Packs of what one vehicle has measured.
fn packs(events: &[Event]) -> impl Iterator<Item = Value> {
    events.chunks(PACK).map(|events| {
        let values = events.iter().enumerate().map(|(index, event)| {
            let (kind, measurement) = (event.kind, event.measurement);
            match index {
                0 => json!({
                    "bn": format!("{}:", event.vehicle),
                    "bt": event.timestamp / 1_000,
                    "n": kind,
                    "v": measurement,
                }),
                _ => json!({"n": kind, "v": measurement}),
            }
        });
        Value::Array(values.collect())
    })
}

fn write_senml_json(events: &[Event]) -> Result<Vec<Vec<u8>>> {
    packs(events)
        .map(|pack| Ok(serde_json::to_vec(&pack)?))
        .collect()
}

/// The same with the numbers of RFC 8428, section 6, in place of names.
fn write_senml_cbor(events: &[Event]) -> Result<Vec<Vec<u8>>> {
    use ciborium::Value as Cbor;
    let number = |name: &str| match name {
        "bn" => -2,
        "bt" => -3,
        "n" => 0,
        _ => 2,
    };
    let records = packs(events).map(|pack| {
        let values = pack.as_array().into_iter().flatten().map(|value| {
            let pairs = value.as_object().into_iter().flatten();
            let pairs =
                pairs.map(|(name, value)| Ok((Cbor::from(number(name)), Cbor::serialized(value)?)));
            Ok(Cbor::Map(pairs.collect::<Result<_>>()?))
        });
        let mut bytes = Vec::new();
        ciborium::into_writer(&Cbor::Array(values.collect::<Result<_>>()?), &mut bytes)?;
        Ok(bytes)
    });
    records.collect()
}

fn write_cloudevents(events: &[Event]) -> Result<Vec<Vec<u8>>> {
    let record = |event: &Event| {
        let time = jiff::Timestamp::from_millisecond(event.timestamp)?;
        let record = json!({
            "specversion": "1.0",
            "id": event.timestamp.to_string(),
            "source": "/fleet",
            "type": event.kind,
            "subject": event.vehicle,
            "time": time.to_string(),
            "data": {"region": event.region, "measurement": event.measurement},
        });
        Ok(serde_json::to_vec(&record)?)
    };
    events.iter().map(record).collect()
}

pub(crate) fn write_protobuf(events: &[Event]) -> Result<Vec<Vec<u8>>> {
    let record = |event: &Event| {
        let reading = bare::Reading {
            timestamp: event.timestamp,
            event_type: event.kind.to_owned(),
            vehicle_id: event.vehicle.clone(),
            region: event.region.to_owned(),
            measurement: event.measurement,
        };
        Ok(reading.encode_to_vec())
    };
    events.iter().map(record).collect()
}

pub(crate) fn write_avro(events: &[Event]) -> Result<Vec<Vec<u8>>> {
    let writer = GenericDatumWriter::builder(bare::avro_schema()?).build()?;
    let record = |event: &Event| {
        let mut bytes = Vec::new();
        writer.write_value(&mut bytes, Avro::Record(event.avro()))?;
        Ok(bytes)
    };
    events.iter().map(record).collect()
}

fn write_number(events: &[Event]) -> Result<Vec<Vec<u8>>> {
    let record = |event: &Event| Ok(event.measurement.to_string().into_bytes());
    events.iter().map(record).collect()
}
