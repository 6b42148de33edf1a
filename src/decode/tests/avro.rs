//! Avro: the data itself, with one schema for all records.

use apache_avro::Schema;
use apache_avro::types::Value as Datum;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Value, json};

use super::{Fixture, NOW};

/// A decoder of bare data of a schema.
pub(super) fn bare(schema: &Value, explode: Option<&str>, event: &str) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.avsc");
    std::fs::write(&path, schema.to_string()).unwrap();
    let decode = json!({"format": "avro", "schema": path, "explode": explode});
    Fixture::new(&decode.to_string(), event)
}

/// A datum as another implementation writes it.
pub(super) fn written(schema: &Value, datum: Datum) -> Vec<u8> {
    let schema = Schema::parse_str(&schema.to_string()).unwrap();
    encoded(&schema, datum)
}

pub(super) fn encoded(schema: &Schema, datum: Datum) -> Vec<u8> {
    let writer = GenericDatumWriter::builder(schema).build().unwrap();
    writer.write_value_to_vec(datum).unwrap()
}

pub(super) fn record<const N: usize>(fields: [(&str, Datum); N]) -> Datum {
    let fields = fields.into_iter();
    Datum::Record(
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

pub(super) fn some(index: u32, datum: Datum) -> Datum {
    Datum::Union(index, Box::new(datum))
}

fn text(text: &str) -> Datum {
    Datum::String(text.to_owned())
}

const EVENT: &str = r#"{"time": {"from": "t"}, "fields": {
    "vehicle": {"from": "vehicle.id", "type": "text"},
    "rpm": "number", "on": "boolean", "gear": "text",
    "front": {"from": "tyres.0.bar", "type": "number"}, "second": {"from": "tyres.1.bar", "type": "number"},
    "site": {"from": "attributes.site", "type": "text"}, "price": "number", "chip": "text"}}"#;

fn telemetry() -> Value {
    json!({
        "type": "record", "name": "Telemetry", "namespace": "fleet",
        "fields": [
            {"name": "skipped", "type": {"type": "array", "items": {"type": "map", "values": "double"}}},
            {"name": "t", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "vehicle", "type": ["null", {"type": "record", "name": "Vehicle", "fields": [
                {"name": "vin", "aliases": ["id"], "type": "string"}, {"name": "raw", "type": "bytes"}]}]},
            {"name": "a", "type": "double"}, {"name": "b", "type": "float"}, {"name": "c", "type": "boolean"},
            {"name": "rpm", "type": ["null", "int", "string", "float"]},
            {"name": "on", "type": "boolean"},
            {"name": "gear", "type": {"type": "enum", "name": "Gear", "symbols": ["P", "R", "D"]}},
            {"name": "other_gear", "type": "Gear"}, {"name": "odd", "type": "long"},
            {"name": "tyres", "type": {"type": "array", "items": {"type": "record", "name": "Tyre", "fields": [
                {"name": "place", "type": "string"}, {"name": "bar", "type": "double"}]}}},
            {"name": "attributes", "type": {"type": "map", "values": ["string", "long"]}},
            {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
            {"name": "chip", "type": {"type": "string", "logicalType": "uuid"}},
            {"name": "owner", "type": ["null", "fleet.Vehicle"]},
            {"name": "lasts", "type": {"type": "fixed", "name": "lasts", "size": 12, "logicalType": "duration"}},
        ]
    })
}

fn telemetry_of(rpm: Datum) -> Vec<u8> {
    let tyre = |bar| record([("place", text("left")), ("bar", Datum::Double(bar))]);
    let map = [("a".to_owned(), Datum::Double(1.0))].into_iter().collect();
    let attributes = [
        ("weight".to_owned(), some(1, Datum::Long(7))),
        ("site".to_owned(), some(0, text("Hull"))),
    ];
    let owner = record([("vin", text("O")), ("raw", Datum::Bytes(vec![]))]);
    let vehicle = record([
        ("vin", text("V\u{e9}1")),
        ("raw", Datum::Bytes(vec![0xff; 3])),
    ]);
    let datum = record([
        ("skipped", Datum::Array(vec![Datum::Map(map)])),
        ("t", Datum::TimestampMicros(NOW * 1_000 + 999)),
        ("vehicle", some(1, vehicle)),
        ("a", Datum::Double(9.0)),
        ("b", Datum::Float(9.0)),
        ("c", Datum::Boolean(true)),
        ("rpm", rpm),
        ("on", Datum::Boolean(true)),
        ("gear", Datum::Enum(2, "D".to_owned())),
        ("other_gear", Datum::Enum(0, "P".to_owned())),
        ("odd", Datum::Long(-1)),
        (
            "tyres",
            Datum::Array(vec![tyre(2.5), tyre(2.25), tyre(9.0)]),
        ),
        ("attributes", Datum::Map(attributes.into_iter().collect())),
        (
            "price",
            Datum::Decimal(apache_avro::Decimal::from([0xff, 0x85])),
        ),
        (
            "chip",
            Datum::Uuid(apache_avro::Uuid::from_u128(
                0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8,
            )),
        ),
        ("owner", some(1, owner)),
        ("lasts", Datum::Duration([1; 12].into())),
    ]);
    written(&telemetry(), datum)
}

#[test]
fn a_field_is_taken_by_its_name_and_by_its_aliases_at_once() {
    let event = r#"{"time": {"from": "t"}, "fields": {
        "vin": {"from": "vehicle.vin", "type": "text", "required": true},
        "id": {"from": "vehicle.id", "type": "text", "required": true},
        "tag": {"from": "car.id", "type": "text", "required": true},
        "speed": "number", "velocity": "number",
        "bar": {"from": "tyres.1.bar", "type": "number"}, "pressure": {"from": "tyres.1.pressure", "type": "number"},
        "wheel": {"from": "wheels.0.bar", "type": "number"},
        "site": {"from": "labels.site", "type": "text"}, "place": {"from": "tags.site", "type": "text"},
        "after": "number"}}"#;
    let schema = json!({
        "type": "record", "name": "Telemetry", "fields": [
            {"name": "t", "type": "long"},
            {"name": "vehicle", "aliases": ["car"], "type": ["null", {"type": "record", "name": "Vehicle", "fields": [
                {"name": "raw", "type": "bytes"}, {"name": "vin", "aliases": ["id"], "type": "string"}]}]},
            {"name": "speed", "aliases": ["velocity"], "type": "double"},
            {"name": "tyres", "aliases": ["wheels"], "type": {"type": "array", "items": {
                "type": "record", "name": "Tyre", "fields": [{"name": "bar", "aliases": ["pressure"], "type": "double"}]}}},
            {"name": "labels", "aliases": ["tags"], "type": {"type": "map", "values": "string"}},
            {"name": "after", "type": "int"},
        ]
    });
    let tyre = |bar| record([("bar", Datum::Double(bar))]);
    let vehicle = record([("raw", Datum::Bytes(vec![1, 2])), ("vin", text("V7"))]);
    let labels = [("site".to_owned(), text("Hull"))];
    let datum = |vehicle| {
        let datum = record([
            ("t", Datum::Long(NOW)),
            ("vehicle", vehicle),
            ("speed", Datum::Double(88.0)),
            ("tyres", Datum::Array(vec![tyre(2.5), tyre(2.25)])),
            ("labels", Datum::Map(labels.clone().into_iter().collect())),
            ("after", Datum::Int(42)),
        ]);
        written(&schema, datum)
    };
    let whole = datum(some(1, vehicle));
    let mut fixture = bare(&schema, None, event);
    let decoded = fixture.decode(&[
        &whole,
        &datum(some(0, Datum::Null)),
        &whole[..whole.len() - 1],
    ]);
    assert_eq!(
        decoded.cells(),
        ["V7 V7 V7 88 88 2.25 2.25 2.5 Hull Hull 42"]
    );
    assert_eq!(
        decoded.refused,
        [
            "1 missing_field vin".to_owned(),
            format!("2 malformed cut off at byte {}", whole.len() - 1),
        ]
    );
    // The items of an array as well.
    let event = r#"{"time": {"from": "t"}, "fields": {
        "speed": "number", "velocity": "number", "bar": {"from": "tyres.bar", "type": "number"},
        "pressure": {"from": "tyres.pressure", "type": "number"}}}"#;
    let decoded = bare(&schema, Some("tyres"), event).decode(&[&whole]);
    assert_eq!(decoded.refused, [""; 0]);
    assert_eq!(decoded.cells(), ["88 88 2.5 2.5", "88 88 2.25 2.25"]);
}

#[test]
fn reads_every_kind_of_value() {
    let mut fixture = bare(&telemetry(), None, EVENT);
    let records = [
        telemetry_of(some(1, Datum::Int(900))),
        telemetry_of(some(0, Datum::Null)),
        telemetry_of(some(2, text("fast"))),
        telemetry_of(some(3, Datum::Float(0.5))),
    ];
    let records: Vec<_> = records.iter().map(Vec::as_slice).collect();
    let decoded = fixture.decode(&records);
    assert_eq!(decoded.refused, [""; 0]);
    let chip = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    let cells = |rpm: &str| format!("V\u{e9}1 {rpm} true D 2.5 2.25 Hull -1.23 {chip}");
    assert_eq!(decoded.cells(), ["900", "-", "-", "0.5"].map(cells));
    assert!(decoded.rows.iter().all(|(time, _, _)| *time == NOW));
    assert_eq!(fixture.metrics.wrong_type("rpm").get(), 1);
    assert_eq!(fixture.metrics.missing("rpm").get(), 0);
}

#[test]
fn every_time_is_read_in_the_unit_of_its_schema() {
    for (kind, logical, value) in [
        ("long", "timestamp-millis", Datum::TimestampMillis(NOW)),
        (
            "long",
            "timestamp-micros",
            Datum::TimestampMicros(NOW * 1_000),
        ),
        (
            "long",
            "timestamp-nanos",
            Datum::TimestampNanos(NOW * 1_000_000),
        ),
        ("int", "date", Datum::Date(20_030)),
    ] {
        let schema = json!({"type": "record", "name": "r", "fields": [
            {"name": "t", "type": {"type": kind, "logicalType": logical}}]});
        let event = r#"{"time": {"from": "t", "unit": "s"}, "fields": {"raw": {"from": "t", "type": "number"}}}"#;
        let mut fixture = bare(&schema, None, event);
        let decoded = fixture.decode(&[&written(&schema, record([("t", value.clone())]))]);
        let (expected, raw) = match value {
            Datum::Date(days) => (i64::from(days) * 86_400_000, i64::from(days)),
            Datum::TimestampNanos(raw)
            | Datum::TimestampMicros(raw)
            | Datum::TimestampMillis(raw) => (NOW, raw),
            _ => unreachable!(),
        };
        assert_eq!(
            decoded.rows,
            [(expected, 10, vec![(raw as f64).to_string()])],
            "{logical}"
        );
    }
}

#[test]
fn a_schema_may_hold_itself_and_data_may_not_be_deeper_than_the_bound() {
    let schema = json!({"type": "record", "name": "Node", "fields": [
        {"name": "v", "type": "long"}, {"name": "next", "type": ["null", "Node"]}]});
    let event = r#"{"time": {"from": "@timestamp"}, "fields": {
        "first": {"from": "v", "type": "number"}, "third": {"from": "next.next.v", "type": "number"}}}"#;
    let chain = |length: usize| -> Vec<u8> {
        (0..length)
            .flat_map(|at| [at as u8 % 30 * 2, u8::from(at + 1 < length) * 2])
            .collect()
    };
    let mut fixture = bare(&schema, None, event);
    let decoded = fixture.decode(&[&chain(2), &chain(3), &chain(60), &chain(70)]);
    assert_eq!(decoded.cells(), ["0 -", "0 2", "0 2"]);
    assert_eq!(
        decoded.refused,
        ["3 malformed nested deeper than 128 levels"]
    );
    // A record that has to hold itself has no end.
    let schema = json!({"type": "record", "name": "A", "fields": [
        {"name": "a", "type": "A"}, {"name": "b", "type": "A"}]});
    let event =
        r#"{"time": {"from": "@timestamp"}, "fields": {"a": {"from": "a.a.a", "type": "number"}}}"#;
    let decoded = bare(&schema, None, event).decode(&[b""]);
    assert_eq!(
        decoded.refused,
        ["0 malformed nested deeper than 128 levels"]
    );
}

#[test]
fn items_of_an_array_are_events() {
    let schema = json!({"type": "record", "name": "r", "fields": [
        {"name": "list", "type": ["null", {"type": "array", "items": {"type": "record", "name": "i", "fields": [
            {"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "v", "type": ["null", "double"]}]}}]},
        {"name": "id", "type": "string"}]});
    let event = r#"{"time": {"from": "list.t"}, "fields": {
        "id": {"from": "id", "type": "text"}, "v": {"from": "list.v", "type": "number"}}}"#;
    let item = |time, value| record([("t", Datum::TimestampMillis(time)), ("v", value)]);
    let list = |list| written(&schema, record([("list", list), ("id", text("V1"))]));
    let items = vec![
        item(NOW, some(1, Datum::Double(1.5))),
        item(0, some(0, Datum::Null)),
        item(NOW + 1, some(0, Datum::Null)),
    ];
    let records = [
        list(some(1, Datum::Array(items))),
        list(some(1, Datum::Array(Vec::new()))),
        list(some(0, Datum::Null)),
    ];
    let mut fixture = bare(&schema, Some("list"), event);
    let decoded = fixture.decode(&records.each_ref().map(Vec::as_slice));
    assert_eq!(decoded.cells(), ["V1 1.5", "V1 -"]);
    assert_eq!(
        decoded.refused,
        ["0 time_out_of_range event 2", "2 not_an_array list"]
    );
}

#[test]
fn says_what_is_broken() {
    let schema = json!({"type": "record", "name": "r", "fields": [
        {"name": "f", "type": "boolean"}, {"name": "e", "type": {"type": "enum", "name": "e", "symbols": ["A"]}},
        {"name": "u", "type": ["null", "string"]}, {"name": "l", "type": {"type": "array", "items": "int"}}]});
    let event = r#"{"time": {"from": "@timestamp"}, "fields": {
        "f": "boolean", "e": "text", "u": "text", "l": {"from": "l.1", "type": "number"}}}"#;
    let cases: [(&[u8], &str); 12] = [
        (b"", "malformed cut off at byte 0"),
        (b"\x01", "malformed cut off at byte 1"),
        (b"\x02", "malformed a boolean of 2"),
        (b"\x01\x02", "malformed symbol 1 of 1 symbols"),
        (b"\x01\x01", "malformed symbol -1 of 1 symbols"),
        (b"\x01\x00\x04", "malformed branch 2 of a union of 2"),
        (b"\x01\x00\x02\x01", "malformed a length of -1 at byte 3"),
        (
            b"\x01\x00\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "malformed cut off at byte 13",
        ),
        (
            b"\x01\x00\x02\x04\xff\xff\x00",
            "invalid_utf8 invalid utf-8 sequence of 1 bytes from index 0",
        ),
        (
            b"\x01\x00\x00\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "malformed 9223372036854775807 items in 0 bytes",
        ),
        (
            b"\x01\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00",
            "malformed 9223372036854775808 items in 0 bytes",
        ),
        (
            b"\x01\x00\x00\x00\x07",
            "malformed something behind the end at byte 4",
        ),
    ];
    for (record, expected) in cases {
        let decoded = bare(&schema, None, event).decode(&[record]);
        assert_eq!(decoded.refused, [format!("0 {expected}")]);
    }
}

#[test]
fn items_without_bytes_cost_nothing_however_many_there_are() {
    let items = |kind: Value| {
        json!({"type": "record", "name": "r", "fields": [
        {"name": "l", "type": {"type": "array", "items": kind}}, {"name": "v", "type": "int"}]})
    };
    let mut nested = json!("null");
    for level in 0..30 {
        nested = json!({"type": "record", "name": format!("r{level}"), "fields": [
            {"name": "a", "type": nested}, {"name": "b", "type": if level == 0 { "null".to_owned() } else { format!("r{}", level - 1) }}]});
    }
    let event = r#"{"time": {"from": "@timestamp"}, "fields": {
        "v": "number", "l": {"from": "l.7.a", "type": "number"}, "m": {"from": "l.7", "type": "number"}}}"#;
    let most = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x0e";
    for kind in [
        json!("null"),
        json!({"type": "fixed", "name": "f", "size": 0}),
        nested,
    ] {
        let schema = items(kind.clone());
        let decoded = bare(&schema, None, event).decode(&[most]);
        assert_eq!(decoded.cells(), ["7 - -"]);
        let decoded = bare(
            &schema,
            Some("l"),
            r#"{"time": {"from": "@timestamp"}, "fields": {"v": "number"}}"#,
        )
        .decode(&[most]);
        assert_eq!(decoded.refused, ["0 too_many_events more than 10000"]);
    }
}
