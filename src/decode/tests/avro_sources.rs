//! Avro: where schemas come from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use apache_avro::types::Value as Datum;
use apache_avro::{Codec, DeflateSettings, Schema, Writer, ZstandardSettings};
use crossbeam_channel::{Sender, bounded};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::avro::{record, written};
use super::unwrap::{delimited, gzip};
use super::{Fixture, NOW};
use crate::decode::{
    AvroSchema, Purpose, SchemaAnswer, SchemaParser, SchemaQuestion, SchemaSource, TimeUnit,
};
use crate::model::DataType;

const EVENT: &str = r#"{"time": {"from": "t"}, "fields": {"id": "text", "rpm": "number"}}"#;

fn schema(rpm: &str) -> Value {
    json!({"type": "record", "name": "r", "fields": [
        {"name": "t", "type": "long"}, {"name": "id", "type": "string"}, {"name": "rpm", "type": rpm}]})
}

fn datum(id: &str, rpm: i64) -> Datum {
    let (id, rpm) = (Datum::String(id.to_owned()), Datum::Long(rpm));
    record([("t", Datum::Long(NOW)), ("id", id), ("rpm", rpm)])
}

fn container(codec: Codec, rpm: std::ops::Range<i64>) -> Vec<u8> {
    let parsed = Schema::parse_str(&schema("long").to_string()).unwrap();
    let builder = Writer::builder()
        .schema(&parsed)
        .codec(codec)
        .writer(Vec::new());
    // So that there are several blocks.
    let mut writer = builder.block_size(64).marker([7; 16]).build().unwrap();
    for rpm in rpm {
        writer.append_value(datum("V1", rpm)).unwrap();
    }
    writer.into_inner().unwrap()
}

fn codecs() -> [Codec; 4] {
    [
        Codec::Null,
        Codec::Deflate(DeflateSettings::default()),
        Codec::Snappy,
        Codec::Zstandard(ZstandardSettings::default()),
    ]
}

#[test]
fn containers_of_every_codec_hold_their_schema() {
    let mut fixture = Fixture::new(r#""avro""#, EVENT);
    for codec in codecs() {
        let decoded = fixture.decode(&[&container(codec, 0..40), &container(codec, 7..8)]);
        assert_eq!(decoded.refused, [""; 0], "{codec:?}");
        let expected: Vec<_> = (0..40).chain([7]).map(|rpm| format!("V1 {rpm}")).collect();
        assert_eq!(decoded.cells(), expected);
        assert_eq!(decoded.rows[39].1, 10);
        assert_eq!(decoded.rows[40].1, 20);
    }
}

#[test]
fn says_what_is_wrong_with_a_container() {
    let whole = container(Codec::Deflate(DeflateSettings::default()), 0..1);
    let with = |from: &[u8], to: &[u8]| {
        let at = whole
            .windows(from.len())
            .position(|found| found == from)
            .unwrap();
        [&whole[..at], to, &whole[at + from.len()..]].concat()
    };
    let mut bad_marker = whole.clone();
    *bad_marker.last_mut().unwrap() = 8;
    let bomb = {
        let mut bytes = container(Codec::Deflate(DeflateSettings::default()), 0..0);
        let mut packed = Vec::new();
        let zeros = vec![0; 65 << 20];
        let mut encoder =
            flate2::read::DeflateEncoder::new(&zeros[..], flate2::Compression::best());
        std::io::Read::read_to_end(&mut encoder, &mut packed).unwrap();
        bytes.push(2);
        let mut length = packed.len() as u64 * 2;
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        [bytes, packed, vec![7; 16]].concat()
    };
    for (record, expected) in [
        (
            b"Obj\x02".to_vec(),
            "malformed no object container: it does not begin with Obj1",
        ),
        (b"Obj".to_vec(), "malformed cut off at byte 3"),
        (
            [b"Obj\x01\x00".as_slice(), &[0; 16]].concat(),
            "malformed an object container without avro.schema",
        ),
        (
            with(b"deflate", b"lzma_ii"),
            "malformed the codec lzma_ii; null, deflate, snappy and zstandard are known",
        ),
        (
            with(b"\"long\"", b"\"lomg\""),
            "unknown_schema its own schema: r.t: unknown type 'lomg'",
        ),
        (
            bad_marker,
            "malformed a block without the container's marker behind it",
        ),
        (bomb, "malformed blocks of more than 67108864 bytes"),
    ] {
        let decoded = Fixture::new(r#""avro""#, EVENT).decode(&[&record]);
        assert_eq!(decoded.refused, [format!("0 {expected}")]);
    }
}

/// Answers every question once: behind that, nothing is known of a number any more.
#[derive(Debug, Default)]
struct Source {
    questions: Mutex<BTreeMap<u32, Arc<SchemaQuestion>>>,
    asked: Mutex<Vec<(u32, String)>>,
}

impl Source {
    fn knows(&self, id: u32, answer: SchemaAnswer) {
        let mut questions = self.questions.lock().unwrap();
        let asked = self.asked.lock().unwrap();
        if asked.iter().any(|(asked, _)| *asked == id) {
            questions.remove(&id).unwrap().set(answer);
        } else {
            questions.insert(id, SchemaQuestion::answered(answer));
        }
    }

    /// What was asked since the last time, and of which record.
    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .map(|(id, place)| format!("{id} {place}"))
            .collect()
    }

    fn begin_anew(&self) {
        self.asked.lock().unwrap().clear();
    }
}

impl SchemaSource for Source {
    fn ask(&self, id: u32, place: &str, _wake: &Sender<()>) -> Arc<SchemaQuestion> {
        self.asked.lock().unwrap().push((id, place.to_owned()));
        let mut questions = self.questions.lock().unwrap();
        let question = questions.entry(id).or_default().clone();
        if question.answer().is_some() {
            questions.remove(&id);
        }
        question
    }
}

fn framed(id: u32, schema: &Value, datum: Datum) -> Vec<u8> {
    [vec![0], id.to_be_bytes().to_vec(), written(schema, datum)].concat()
}

fn parsed(schema: &Value) -> SchemaAnswer {
    Ok(Arc::new(AvroSchema::parse(&schema.to_string()).unwrap()))
}

#[test]
fn records_wait_for_their_schemas_and_each_is_read_by_its_own() {
    let config = r#"{"format": "avro", "registry": {"url": "http://registry"}}"#;
    let mut fixture = Fixture::new(config, EVENT);
    let source = Arc::new(Source::default());
    fixture.ask(source.clone(), bounded(1).0);
    let second = json!({"type": "record", "name": "r", "fields": [
        {"name": "rpm", "type": "double"}, {"name": "t", "type": "long"}]});
    let first = framed(7, &schema("long"), datum("V1", 900));
    let changed = record([("rpm", Datum::Double(0.5)), ("t", Datum::Long(NOW))]);
    let changed = framed(8, &second, changed);
    let none = framed(9, &schema("long"), datum("V1", 900));
    let records: [&[u8]; 7] = [
        &first,
        &first,
        &changed,
        &none,
        &first,
        b"\x00\x00\x01",
        b"{}",
    ];

    source.knows(8, parsed(&second));
    assert!(!fixture.is_ready_for(&records));
    source.knows(9, Err("40403 Schema not found".into()));
    assert!(!fixture.is_ready_for(&records), "7 is not known yet");
    source.knows(7, parsed(&schema("long")));
    let decoded = fixture.decode(&records);
    assert_eq!(source.asked(), ["7 s@10", "8 s@30", "9 s@40"], "once each");
    assert_eq!(decoded.cells(), ["V1 900", "V1 900", "- 0.5", "V1 900"]);
    assert_eq!(
        decoded.refused,
        [
            "3 unknown_schema 9: 40403 Schema not found",
            "5 malformed cut off at byte 3, within the schema's number",
            "6 malformed begins with byte 123, not with 0 and the schema's number",
        ]
    );
    assert_eq!(fixture.metrics.missing("id").get(), 1);
    source.begin_anew();
    source.knows(9, parsed(&schema("long")));
    assert_eq!(
        fixture.decode(&[&none, &first]).cells(),
        ["V1 900", "V1 900"],
        "it was registered since"
    );
    assert_eq!(source.asked(), ["9 s@10"], "7 is known");
}

#[test]
fn records_wait_for_schemas_that_are_named_within_envelopes() {
    let config = r#"{"format": "avro", "registry": {"url": "http://registry"}}"#;
    let mut fixture = Fixture::new(config, EVENT).unwrapping(r#"["gzip", "length_delimited"]"#);
    let source = Arc::new(Source::default());
    fixture.ask(source.clone(), bounded(1).0);
    let message = |id, vehicle: &str, rpm| framed(id, &schema("long"), datum(vehicle, rpm));
    let long = "a name that is long enough to be no constant of any table of texts";
    let first = gzip(&delimited(&[message(7, "V1", 900), message(7, long, 901)]));
    let second = gzip(&delimited(&[
        message(7, "V1", 902),
        message(8, long, 903),
        message(9, "V3", 904),
    ]));
    let broken = message(10, "V1", 900);
    let records: [&[u8]; 4] = [&first, &broken, &second, &first];

    assert!(!fixture.is_ready_for(&records));
    source.knows(7, parsed(&schema("long")));
    source.knows(9, Err("40403 Schema not found".into()));
    assert!(!fixture.is_ready_for(&records), "8 is not known yet");
    source.knows(8, parsed(&schema("long")));
    let decoded = fixture.decode(&records);
    assert_eq!(source.asked(), ["7 s@10", "8 s@30", "9 s@30"]);
    let expected = [
        ("V1", 900),
        (long, 901),
        ("V1", 902),
        (long, 903),
        ("V1", 900),
        (long, 901),
    ];
    assert_eq!(
        decoded.cells(),
        expected.map(|(id, rpm)| format!("{id} {rpm}"))
    );
    let positions: Vec<_> = decoded.rows.iter().map(|row| row.1).collect();
    assert_eq!(positions, [10, 10, 30, 30, 40, 40]);
    assert_eq!(decoded.refused.len(), 2, "{:?}", decoded.refused);
    assert!(decoded.refused[0].starts_with("1 cannot_unwrap gzip"));
    assert_eq!(
        decoded.refused[1],
        "2 unknown_schema message 3: 9: 40403 Schema not found"
    );
}

#[test]
fn another_batch_of_the_split_asks_for_its_own_schemas() {
    let config = r#"{"format": "avro", "registry": {"url": "http://registry"}}"#;
    let mut fixture = Fixture::new(config, EVENT);
    let source = Arc::new(Source::default());
    fixture.ask(source.clone(), bounded(1).0);
    let message = |id, vehicle| framed(id, &schema("long"), datum(vehicle, 900));
    assert!(!fixture.is_ready_for(&[&message(7, "V1")]));
    source.knows(8, parsed(&schema("long")));
    // It was read again from another place on, and begins at the same position.
    let again: [&[u8]; 2] = [&message(8, "V1"), &message(8, "V2")];
    assert_eq!(fixture.decode(&again).cells(), ["V1 900", "V2 900"]);
}

#[test]
fn containers_have_only_so_many_data_also_where_these_are_no_events() {
    let mut explode = Fixture::new(r#"{"format": "avro", "explode": "l"}"#, EVENT);
    let with = |blocks: &[(i64, usize)]| {
        let schema = r#"{"type": "record", "name": "r", "fields": [
            {"name": "l", "type": {"type": "array", "items": "long"}}]}"#;
        let parsed = Schema::parse_str(schema).unwrap();
        let builder = Writer::builder().schema(&parsed).writer(Vec::new());
        let mut bytes = builder
            .marker([7; 16])
            .build()
            .unwrap()
            .into_inner()
            .unwrap();
        for (count, length) in blocks {
            bytes.extend(delimited_long(*count));
            bytes.extend(delimited_long(*length as i64));
            bytes.extend(vec![0; *length]);
            bytes.extend([7; 16]);
        }
        bytes
    };
    let most = with(&[(9_999, 9_999), (1, 1)]);
    assert_eq!(explode.decode(&[&most]).refused, [""; 0]);
    for blocks in [&[(10_000, 10_000), (1, 1)][..], &[(0, 0); 10_001]] {
        let decoded = explode.decode(&[&with(blocks)]);
        let expected = "0 too_many_events more than 10000 data";
        assert_eq!(decoded.refused, [expected]);
    }
}

/// A number as Avro writes it.
fn delimited_long(number: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::model::protobuf::put_varint(&mut bytes, number.cast_unsigned() << 1);
    bytes
}

#[test]
fn schemas_are_looked_for_only_where_records_name_them() {
    let config = r#"{"format": "avro", "registry": {"url": "http://registry"}}"#;
    for (config, is_ready) in [(config, false), (r#""avro""#, true)] {
        let mut fixture = Fixture::new(config, EVENT).unwrapping(r#"["gzip"]"#);
        let source = Arc::new(Source::default());
        fixture.ask(source.clone(), bounded(1).0);
        let record = gzip(&framed(7, &schema("long"), datum("V1", 900)));
        assert_eq!(fixture.is_ready_for(&[&record]), is_ready);
        assert_eq!(source.asked().is_empty(), is_ready);
    }
}

#[test]
fn types_are_found_by_their_full_names() {
    let mut parser = SchemaParser::default();
    parser.add(r#"{"type": "record", "name": "Engine", "namespace": "a.b", "fields": [{"name": "rpm", "type": "long"}]}"#).unwrap();
    let root = parser.add(r#"{"type": "record", "name": "c.Truck", "fields": [
        {"name": "engine", "type": "a.b.Engine"},
        {"name": "trailer", "type": {"type": "record", "name": "Trailer", "fields": [{"name": "of", "type": ["null", "Truck"]}]}},
        {"name": "other", "type": "c.Trailer"}]}"#).unwrap();
    let schema = parser.finish(root);
    let keys = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
    let number = Purpose::Field(DataType::Number);
    for path in ["engine.rpm", "trailer.of.other.of.engine.rpm"] {
        assert_eq!(schema.check(&keys(path), None, number), Ok(()), "{path}");
    }
    for (path, expected) in [
        (
            "engine.rqm",
            "the schema has no field 'engine.rqm'; did you mean 'rpm'?",
        ),
        (
            "trailer.of.speed",
            "the schema has no field 'trailer.of.speed'; its fields are engine, trailer, other",
        ),
        (
            "engine.rpm.x",
            "'engine.rpm' is a long, which has no fields",
        ),
        (
            "trailer.of",
            "'trailer.of' is a record; name a field of it: engine, trailer, other",
        ),
    ] {
        let found = schema.check(&keys(path), None, number);
        assert_eq!(found, Err(expected.to_owned()));
    }
}

#[test]
fn a_path_leads_to_what_the_pipeline_wants_of_it() {
    let schema = json!({"type": "record", "name": "r", "fields": [
        {"name": "t", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "id", "type": ["null", "string", "long"]},
        {"name": "on", "type": "boolean"},
        {"name": "raw", "type": "bytes"},
        {"name": "none", "type": "null"},
        {"name": "map", "type": {"type": "map", "values": "double"}},
        {"name": "list", "type": ["null", {"type": "array", "items": {"type": "record", "name": "i", "fields": [
            {"name": "v", "type": "float"}]}}]}]});
    let schema = AvroSchema::parse(&schema.to_string()).unwrap();
    let [number, text, boolean] =
        [DataType::Number, DataType::Text, DataType::Boolean].map(Purpose::Field);
    let keys = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
    let list = keys("list");
    let list = Some(list.as_slice());
    for (path, explode, purpose, expected) in [
        ("t", None, Purpose::Time(TimeUnit::S), ""),
        ("t", None, text, ""),
        ("id", None, text, ""),
        ("id", None, number, ""),
        (
            "id",
            None,
            boolean,
            "'id' is a string or long; a field of it is 'number' or 'text'",
        ),
        (
            "id.x",
            None,
            text,
            "'id' is a string or long, which has no fields",
        ),
        (
            "on",
            None,
            text,
            "'on' is a boolean; a field of it is 'boolean'",
        ),
        (
            "on",
            None,
            Purpose::Time(TimeUnit::Ms),
            "'on' is a boolean; it is no time",
        ),
        ("raw", None, text, "'raw' is a bytes; no field takes it"),
        ("none", None, text, ""),
        (
            "map",
            None,
            number,
            "'map' is a map; name a key of it: map.KEY",
        ),
        ("map.a", None, number, ""),
        (
            "map.a",
            None,
            text,
            "'map.a' is a double; a field of it is 'number'",
        ),
        (
            "list",
            None,
            number,
            "'list' is an array; name the place of an item, from 0: list.0",
        ),
        ("list.0.v", None, number, ""),
        (
            "list.v",
            None,
            number,
            "the schema has no field 'list.v'; items of an array are named by their place, from 0",
        ),
        ("list.v", list, number, ""),
        (
            "list.v",
            list,
            text,
            "'list.v' is a float; a field of it is 'number'",
        ),
        (
            "list.w",
            list,
            number,
            "the schema has no field 'list.w'; its fields are v",
        ),
        (
            "list",
            list,
            number,
            "'list' is a record; name a field of it: v",
        ),
        ("id", list, text, ""),
    ] {
        let found = schema.check(&keys(path), explode, purpose).err();
        assert_eq!(found.unwrap_or_default(), expected, "{path} {explode:?}");
    }
    for (path, expected) in [
        ("list", ""),
        ("map", "'map' is no array"),
        (
            "lisd",
            "the schema has no field 'lisd'; did you mean 'list'?",
        ),
    ] {
        let found = schema.check_array(&keys(path)).err();
        assert_eq!(found.unwrap_or_default(), expected);
        // It is told where the array is named, and once.
        let within = keys(&format!("{path}.x"));
        if !expected.is_empty() {
            assert_eq!(schema.check(&within, Some(&keys(path)), text), Ok(()));
        }
    }
}

#[test]
fn a_decimal_that_is_none_is_its_bytes() {
    for (decimal, is_number) in [
        (r#""precision": 9, "scale": 2"#, true),
        (r#""precision": 9"#, true),
        (r#""precision": 9, "scale": 9"#, true),
        (r#""precision": 9, "scale": 10"#, false),
        (r#""precision": 0"#, false),
        (r#""precision": -1"#, false),
        (r#""scale": 2"#, false),
        (r#""precision": 9, "scale": -1"#, false),
        (r#""precision": 10, "scale": 2"#, false),
    ] {
        // What 4 bytes hold has 9 digits.
        let inner = format!(
            r#"{{"type": "fixed", "name": "f", "size": 4, "logicalType": "decimal", {decimal}}}"#
        );
        let schema = format!(
            r#"{{"type": "record", "name": "r", "fields": [{{"name": "a", "type": {inner}}}]}}"#
        );
        let schema = AvroSchema::parse(&schema).unwrap();
        let found = schema.check(&["a".to_owned()], None, Purpose::Field(DataType::Number));
        assert_eq!(found.is_ok(), is_number, "{decimal}: {found:?}");
    }
}

#[test]
fn says_what_is_no_schema() {
    for (schema, expected) in [
        ("{\n \"type\" \"record\"}", "line 2, column 9: expected `:`"),
        (
            "7",
            "the schema: expected a name, a list of types or a mapping",
        ),
        (r#""Engine""#, "the schema: unknown type 'Engine'"),
        ("[]", "the schema: a union without types"),
        (r#"["null", ["int"]]"#, "the schema: a union within a union"),
        (
            r#"{"type": "record", "fields": []}"#,
            "the schema: a type without a name",
        ),
        (
            r#"{"type": "record", "name": "r"}"#,
            "the schema: the record r has no list of fields",
        ),
        (
            r#"{"type": "fixed", "name": "f", "size": -1}"#,
            "the schema: the fixed f has no size",
        ),
        (
            r#"{"type": "enum", "name": "e", "symbols": [1]}"#,
            "the schema: the symbols of the enum e are no texts",
        ),
        (r#"{"type": "array"}"#, "the schema: array without 'items'"),
        (
            r#"{"type": "record", "name": "n.r", "fields": [{"name": "a", "type": {"type": "record", "name": "s", "fields": [{"name": "b", "type": "flot"}]}}]}"#,
            "r.a.b: unknown type 'flot'",
        ),
        (
            r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]}"#,
            "r.a: there are two fields of this name",
        ),
        (
            r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "fixed", "name": "r", "size": 1}}]}"#,
            "r.a: the type r is defined twice",
        ),
    ] {
        assert_eq!(AvroSchema::parse(schema).unwrap_err().to_string(), expected);
    }
    let symbols = "\"A\",".repeat(60_000);
    let many = format!(r#"{{"type": "enum", "name": "e", "symbols": [{symbols}"B"]}}"#);
    assert_eq!(
        AvroSchema::parse(&many).unwrap_err().to_string(),
        "the schema: the enum e has more than 50000 symbols"
    );
    let many = format!("[{}\"null\"]", "\"null\",".repeat(60_000));
    assert_eq!(
        AvroSchema::parse(&many).unwrap_err().to_string(),
        "the schema: more than 50000 types"
    );
    let deep = format!(
        "{}\"int\"{}",
        r#"{"type":"array","items":"#.repeat(100_000),
        "}".repeat(100_000)
    );
    assert!(
        AvroSchema::parse(&deep)
            .unwrap_err()
            .to_string()
            .contains("recursion limit exceeded")
    );
}

proptest! {
    #[test]
    fn broken_containers_are_survived(
        codec in 0..4_usize, cut in any::<prop::sample::Index>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let whole = container(codecs()[codec], 0..9);
        let cut = &whole[..cut.index(whole.len())];
        let mut flipped = whole.clone();
        for (place, byte) in flips {
            let place = place.index(flipped.len());
            flipped[place] = byte;
        }
        Fixture::new(r#""avro""#, EVENT).decode(&[cut, &flipped]);
    }
}
