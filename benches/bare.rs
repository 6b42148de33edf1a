//! What a library does of a record, and no more: it is parsed into a structure that borrows its texts, and its
//! numbers are added up.

use std::cell::{OnceCell, RefCell};
use std::hint::black_box;
use std::str::FromStr;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use prost::Message as _;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is parsed, and no more")]
struct BorrowedReading<'a> {
    timestamp: i64,
    event_type: &'a str,
    vehicle_id: &'a str,
    region: &'a str,
    measurement: f64,
}

impl BorrowedReading<'_> {
    fn number(self) -> f64 {
        black_box(&self);
        self.measurement
    }
}

/// The same with texts of its own: ciborium lends none.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is parsed, and no more")]
struct OwnedReading {
    timestamp: i64,
    event_type: String,
    vehicle_id: String,
    region: String,
    measurement: f64,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "it is parsed, and no more")]
struct SenmlRecord {
    bn: Option<String>,
    bt: Option<f64>,
    n: Option<String>,
    v: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "it is parsed, and no more")]
struct CloudEvent<'a> {
    specversion: &'a str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    subject: &'a str,
    time: &'a str,
    #[serde(borrow)]
    data: CloudData<'a>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "it is parsed, and no more")]
struct CloudData<'a> {
    region: &'a str,
    measurement: f64,
}

pub(crate) fn json(record: &[u8]) -> Result<f64> {
    Ok(sonic_rs::from_slice::<BorrowedReading<'_>>(record)?.number())
}

pub(crate) fn csv(record: &[u8]) -> Result<f64> {
    thread_local! {
        // To make one takes much longer than to read a row.
        static READER: RefCell<csv_core::Reader> = RefCell::new(csv_core::Reader::new());
    }
    let (mut cells, mut ends) = ([0; 256], [0; 8]);
    let (_, _, _, count) = READER.with_borrow_mut(|reader| {
        reader.reset();
        reader.read_record(record, &mut cells, &mut ends)
    });
    let ends = ends.get(..count).context("more cells than columns")?;
    let [.., region, measurement] = ends else {
        bail!("a row of {count} cells");
    };
    let cell = cells.get(*region..*measurement).context("no cell")?;
    black_box(i64::from_str(std::str::from_utf8(
        cells
            .get(..*ends.first().context("no time")?)
            .context("no time")?,
    )?)?);
    Ok(f64::from_str(std::str::from_utf8(cell)?)?)
}

/// What `reading.proto` describes.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Reading {
    #[prost(int64, tag = "1")]
    pub(crate) timestamp: i64,
    #[prost(string, tag = "2")]
    pub(crate) event_type: String,
    #[prost(string, tag = "3")]
    pub(crate) vehicle_id: String,
    #[prost(string, tag = "4")]
    pub(crate) region: String,
    #[prost(double, tag = "5")]
    pub(crate) measurement: f64,
}

pub(crate) fn protobuf(record: &[u8]) -> Result<f64> {
    Ok(black_box(Reading::decode(record)?).measurement)
}

/// The schema of the readings.
pub(crate) fn avro_schema() -> Result<&'static Schema> {
    static SCHEMA: OnceLock<Result<Schema, String>> = OnceLock::new();
    let parsed = SCHEMA.get_or_init(|| {
        Schema::parse_str(include_str!("reading.avsc")).map_err(|error| error.to_string())
    });
    parsed.as_ref().map_err(|error| anyhow!(error.clone()))
}

pub(crate) fn avro(mut record: &[u8]) -> Result<f64> {
    thread_local! {
        static READER: OnceCell<GenericDatumReader<'static>> = const { OnceCell::new() };
    }
    let value = READER.with(|reader| -> Result<Avro> {
        let reader = match reader.get() {
            Some(reader) => reader,
            None => {
                let made = GenericDatumReader::builder(avro_schema()?).build()?;
                reader.get_or_init(|| made)
            }
        };
        Ok(reader.read_value(&mut record)?)
    })?;
    avro_number(value)
}

/// The number of a datum.
pub(crate) fn avro_number(datum: Avro) -> Result<f64> {
    let Avro::Record(fields) = black_box(datum) else {
        bail!("no record");
    };
    match fields.last() {
        Some((_, Avro::Double(measurement))) => Ok(*measurement),
        _ => bail!("no measurement"),
    }
}

pub(crate) fn cbor(record: &[u8]) -> Result<f64> {
    let reading: OwnedReading = ciborium::from_reader(record)?;
    Ok(black_box(reading).measurement)
}

pub(crate) fn influx(record: &[u8]) -> Result<f64> {
    let mut sum = 0.0;
    for line in influxdb_line_protocol::parse_lines(std::str::from_utf8(record)?) {
        let line = black_box(line?);
        for (_, value) in &line.field_set {
            if let influxdb_line_protocol::FieldValue::F64(value) = value {
                sum += value;
            }
        }
    }
    Ok(sum)
}

pub(crate) fn senml_json(record: &[u8]) -> Result<f64> {
    let pack: Vec<SenmlRecord> = sonic_rs::from_slice(record)?;
    Ok(black_box(pack).iter().filter_map(|record| record.v).sum())
}

pub(crate) fn senml_cbor(record: &[u8]) -> Result<f64> {
    let pack: ciborium::Value = ciborium::from_reader(record)?;
    let mut sum = 0.0;
    for record in pack.as_array().context("no array")? {
        for (name, value) in record.as_map().context("no map")? {
            if name.as_integer() == Some(2.into()) {
                sum += value.as_float().context("no number")?;
            }
        }
    }
    Ok(sum)
}

pub(crate) fn cloudevents(record: &[u8]) -> Result<f64> {
    let event: CloudEvent<'_> = sonic_rs::from_slice(record)?;
    Ok(black_box(event).data.measurement)
}

pub(crate) fn number(record: &[u8]) -> Result<f64> {
    Ok(f64::from_str(std::str::from_utf8(record)?)?)
}
