//! Records whose events are the items of arrays below the items of other arrays.

use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::cbor::cbor;
use super::protobuf::{bytes, int};
use super::{Fixture, NOW};
use crate::decode::{AvroSchema, DecodeConfig, SchemaQuestion, SchemaSource};
use crate::model::protobuf::put_varint;
use crate::testing::on_worker_stack;

const METER_VALUES: &str = r#"{"time": {"from": "meterValue.timestamp", "unit": "rfc3339"}, "fields": {
    "session": {"from": "transactionId", "type": "text"},
    "measurand": {"from": "meterValue.sampledValue.measurand", "type": "text"},
    "value": {"from": "meterValue.sampledValue.value", "type": "text"}}}"#;

/// The formats that are written as a tree, with the same record in each of them.
fn formats(explode: &str, record: &Value) -> [(String, Vec<u8>); 2] {
    let decode = |format: &str| json!({"format": format, "explode": explode}).to_string();
    [
        (decode("json"), record.to_string().into_bytes()),
        (decode("cbor"), cbor(record)),
    ]
}

#[test]
fn meter_values_of_a_charger_are_events_with_the_time_of_their_own_group() {
    // MeterValues.req of OCPP 1.6, of which each object may come in any order.
    let record = r#"{"connectorId": 1, "meterValue": [
        {"timestamp": "2024-11-03T08:15:39Z", "sampledValue": [
            {"value": "18250", "context": "Sample.Periodic"},
            {"value": "21.5", "measurand": "Power.Active.Import", "phase": "L1", "unit": "kW"}]},
        {"sampledValue": [{"value": "18300"}], "timestamp": "2024-11-03T08:15:49Z"},
        {"timestamp": "2024-11-03T08:15:50Z", "sampledValue": []},
        {"sampledValue": [{"value": "7"}]}],
        "transactionId": 7781}"#;
    let value: Value = serde_json::from_str(record).unwrap();
    for (decode, bytes) in formats("meterValue.sampledValue", &value) {
        let mut fixture = Fixture::new(&decode, METER_VALUES);
        let written = match decode.contains("json") {
            true => record.as_bytes(),
            false => bytes.as_slice(),
        };
        let decoded = fixture.decode(&[written, &bytes]);
        let rows: Vec<_> = decoded
            .rows
            .iter()
            .map(|(time, position, cells)| (*time - NOW, *position, cells.join(" ")))
            .collect();
        let of = |position| {
            [
                (-10_000, position, "7781 - 18250".to_owned()),
                (
                    -10_000,
                    position,
                    "7781 Power.Active.Import 21.5".to_owned(),
                ),
                (0, position, "7781 - 18300".to_owned()),
            ]
        };
        assert_eq!(rows, [of(10), of(20)].concat(), "{decode}");
        assert_eq!(
            decoded.refused,
            ["0 missing_time event 4", "1 missing_time event 4"],
            "{decode}"
        );
    }
}

#[test]
fn where_the_way_has_no_array_an_event_is_refused_alone() {
    let event = r#"{"time": {"from": "t"}, "fields": {"n": {"from": "a.b.n", "type": "number"}}}"#;
    for (record, rows, refused) in [
        (
            json!({"t": NOW, "a": [{"b": [{"n": 1}]}, {}, 7, {"b": null}, [], [[{"b": [{"n": 2}, 3]}]], {"b": {"n": 4}}]}),
            vec!["1", "2"],
            vec![
                "0 not_an_array event 2: a.b; and 3 more of this record",
                "0 not_an_object event 6",
            ],
        ),
        (json!({"t": NOW, "a": []}), vec![], vec![]),
        (json!({"t": NOW}), vec![], vec!["0 not_an_array a.b"]),
        (
            json!({"t": NOW, "a": 7}),
            vec![],
            vec!["0 not_an_array a.b"],
        ),
        (
            json!([{"t": NOW, "a": [{"b": [{"n": 1}]}]}]),
            vec![],
            vec!["0 not_an_object"],
        ),
    ] {
        for (decode, bytes) in formats("a.b", &record) {
            let decoded = Fixture::new(&decode, event).decode(&[&bytes]);
            assert_eq!(decoded.cells(), rows, "{decode} {record}");
            assert_eq!(decoded.refused, refused, "{decode} {record}");
        }
    }
}

#[test]
fn a_key_of_the_way_stands_once_in_an_object() {
    let event =
        r#"{"time": {"from": "@timestamp"}, "fields": {"x": {"from": "a.x", "type": "number"}}}"#;
    let decode = r#"{"format": "json", "explode": "a.b"}"#;
    let decoded = Fixture::new(decode, event).decode(&[
        br#"{"a":[{"b":[{}],"x":1},{"x":2,"b":[{},{}]}]}"#,
        br#"{"a":[{"b":[{}],"x":1,"b":[{}]}]}"#,
        br#"{"a":[{"b":[{}]}],"a":[{"b":[{}]}]}"#,
    ]);
    assert_eq!(decoded.cells(), ["1", "2", "2"]);
    assert_eq!(decoded.refused.len(), 2);
    for (refused, expected) in decoded
        .refused
        .iter()
        .zip(["1 malformed_json 'b' ", "2 malformed_json 'a' "])
    {
        assert!(refused.starts_with(expected), "{refused}");
    }
}

#[test]
fn all_items_together_are_so_many_at_most() {
    let event =
        r#"{"time": {"from": "@timestamp"}, "fields": {"n": {"from": "a.b.n", "type": "number"}}}"#;
    let record = |outer: usize, inner: usize| json!({"a": vec![json!({"b": vec![json!({}); inner]}); outer]});
    let too_many = ["1 too_many_events more than 10000"];
    for (most, more) in [
        (
            record(100, 100),
            json!({"a": [record(1, 1), {"b": vec![json!({}); 10_000]}, {"b": [{}]}]}),
        ),
        (record(10_000, 1), record(10_001, 1)),
        // What has no array is an event that cannot be used.
        (
            json!({"a": vec![json!({"b": [{}]}); 10_000]}),
            json!({"a": vec![json!({}); 10_001]}),
        ),
    ] {
        for ((decode, most), (_, more)) in
            formats("a.b", &most).into_iter().zip(formats("a.b", &more))
        {
            let decoded = Fixture::new(&decode, event).decode(&[&most, &more]);
            assert_eq!(decoded.rows.len(), 10_000, "{decode}");
            assert_eq!(decoded.refused, too_many, "{decode}");
        }
    }
}

#[test]
fn arrays_within_each_other_are_gone_through_as_deep_as_records_may_be() {
    on_worker_stack(|| {
        let event = r#"{"time": {"from": "@timestamp"}, "fields": {"x": {"from": "a.b.n", "type": "number"}}}"#;
        let nested = |depth: usize| {
            let mut value = json!({"b": [{"n": 1}]});
            for _ in 0..depth {
                value = json!([value]);
            }
            json!({ "a": value })
        };
        for (depth, rows) in [(1, 1), (123, 1), (126, 0), (3_000, 0)] {
            for (decode, _) in formats("a.b", &json!({})) {
                let bytes = match decode.contains("json") {
                    true => format!(
                        r#"{{"a":{}{{"b":[{{"n":1}}]}}{}}}"#,
                        "[".repeat(depth),
                        "]".repeat(depth)
                    )
                    .into_bytes(),
                    false if depth > 200 => [
                        &[0xa1, 0x61, b'a'][..],
                        &vec![0x81; depth],
                        &cbor(&nested(0)),
                    ]
                    .concat(),
                    false => cbor(&nested(depth)),
                };
                let decoded = Fixture::new(&decode, event).decode(&[&bytes]);
                assert_eq!(decoded.rows.len(), rows, "{decode} {depth}");
            }
        }
    });
}

/// Knows one schema, in which the items on the way have no bytes.
#[derive(Debug)]
struct Known;

impl SchemaSource for Known {
    fn ask(&self, _id: u32, _place: &str, _wake: &Sender<()>) -> Arc<SchemaQuestion> {
        let schema = r#"{"type": "record", "name": "r", "fields": [
            {"name": "a", "type": {"type": "array", "items": {"type": "record", "name": "i", "fields": []}}}]}"#;
        SchemaQuestion::answered(Ok(Arc::new(AvroSchema::parse(schema).unwrap())))
    }
}

#[test]
fn items_on_the_way_without_bytes_are_events_that_cannot_be_used() {
    let event =
        r#"{"time": {"from": "@timestamp"}, "fields": {"n": {"from": "a.b.n", "type": "number"}}}"#;
    let decode = r#"{"format": "avro", "registry": {"url": "http://registry"}, "explode": "a.b"}"#;
    let mut fixture = Fixture::new(decode, event);
    fixture.ask(Arc::new(Known), bounded(1).0);
    let record = |items: u64| {
        let mut record = vec![0, 0, 0, 0, 7];
        put_varint(&mut record, items * 2);
        record.push(0);
        record
    };
    let decoded = fixture.decode(&[&record(10_000), &record(10_001), &record(1 << 60)]);
    assert_eq!(decoded.cells(), [""; 0]);
    let expected = [
        "0 not_an_array event 1: a.b; and 9999 more of this record",
        "1 too_many_events more than 10000",
        "2 too_many_events more than 10000",
    ];
    assert_eq!(decoded.refused, expected);
}

const MESSAGES: &str = r#"
    syntax = "proto3";
    message Record { repeated Group groups = 2; optional string id = 1; }
    message Group { optional int64 x = 1; Deep deep = 2; map<string, Deep> others = 3; }
    message Deep { repeated Item items = 1; optional int64 y = 2; repeated int64 numbers = 3; }
    message Item { optional int64 n = 1; }"#;

fn messages(explode: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("groups.proto");
    std::fs::write(&path, MESSAGES).unwrap();
    let decode =
        json!({"format": "protobuf", "message": "Record", "files": [path], "explode": explode});
    (folder, decode.to_string())
}

#[test]
fn a_path_through_messages_leads_to_repeated_ones() {
    for (explode, expected) in [
        ("groups", ""),
        ("groups.deep.items", ""),
        ("groups.deep.numbers", ""),
        ("groups.deep", "'groups.deep' is not repeated"),
        (
            "id.items",
            "'id' is neither a message nor repeated messages",
        ),
        (
            "groups.others.items",
            "'others' is neither a message nor repeated messages",
        ),
        (
            "groups.deep.numbers.n",
            "'numbers' is neither a message nor repeated messages",
        ),
        (
            "groups.deep.itens",
            "Deep has no field 'itens'; did you mean 'items'?",
        ),
        (".", "a record is one message; name a repeated field of it"),
    ] {
        let (folder, decode) = messages(explode);
        let mut decode: DecodeConfig = serde_json::from_str(&decode).unwrap();
        let wrong: Vec<_> = decode
            .load(folder.path())
            .into_iter()
            .map(|(_, message)| message)
            .collect();
        assert_eq!(wrong.join("; "), expected, "{explode}");
    }
}

/// A group: what stands in it, whether its items stand before that, and the numbers of the items.
type Group = (Option<i64>, Option<i64>, bool, Vec<Option<i64>>);

proptest! {
    #[test]
    fn messages_are_gone_through_as_well(
        groups in prop::collection::vec((
            any::<Option<i8>>(), any::<Option<i8>>(), any::<bool>(),
            prop::collection::vec(any::<Option<i8>>(), 0..4),
        ), 0..4),
        id_first in any::<bool>(),
    ) {
        let wide = |number: Option<i8>| number.map(i64::from);
        let groups: Vec<Group> = groups.into_iter().map(|(x, y, items_first, items)| {
            (wide(x), wide(y), items_first, items.into_iter().map(wide).collect())
        }).collect();
        let told = |number: u64, value: Option<i64>| value.map(|value| int(number, value)).unwrap_or_default();
        let record = groups.iter().flat_map(|(x, y, items_first, items)| {
            let items = items.iter().flat_map(|n| bytes(1, &told(1, *n))).collect();
            let in_order = |first: Vec<u8>, then: Vec<u8>| match items_first {
                true => [first, then].concat(),
                false => [then, first].concat(),
            };
            bytes(2, &in_order(bytes(2, &in_order(items, told(2, *y))), told(1, *x)))
        }).collect::<Vec<u8>>();
        let record = match id_first {
            true => [bytes(1, b"V1"), record].concat(),
            false => [record, bytes(1, b"V1")].concat(),
        };
        let cell = |value: &Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
        let expected: Vec<_> = groups.iter().flat_map(|(x, y, _, items)| {
            items.iter().map(move |n| format!("V1 {} {} {}", cell(x), cell(y), cell(n)))
        }).collect();
        let (_folder, decode) = messages("groups.deep.items");
        let event = r#"{"time": {"from": "@timestamp"}, "fields": {
            "id": "text", "x": {"from": "groups.x", "type": "number"},
            "y": {"from": "groups.deep.y", "type": "number"},
            "n": {"from": "groups.deep.items.n", "type": "number"}}}"#;
        let decoded = Fixture::new(&decode, event).decode(&[&record, &record]);
        prop_assert_eq!(decoded.cells(), [expected.clone(), expected].concat());
        prop_assert_eq!(decoded.refused, [""; 0]);
    }
}

/// The keys of the array, and fields beside the way, at each place of it and in the item.
const EXPLODE: [&str; 3] = ["a", "b", "c"];
const PATHS: [&str; 9] = [
    "x",
    "a.x",
    "a.b.x",
    "a.b.c.x",
    "a.b.c.x.0",
    "a.c",
    "a.x.b",
    "a.0.x",
    "y.1",
];

fn any_event() -> String {
    let fields = PATHS.iter().enumerate();
    let fields: Vec<_> = fields
        .map(|(number, path)| format!(r#""f{number}": {{"from": "{path}", "type": "number"}}"#))
        .collect();
    format!(
        r#"{{"time": {{"from": "@timestamp"}}, "fields": {{{}}}}}"#,
        fields.join(", ")
    )
}

/// What a naive walk over a tree gives: the cells of each event, and of those that cannot be used the reasons.
#[derive(Default)]
struct Naive {
    rows: Vec<String>,
    refused: Vec<(&'static str, usize)>,
}

impl Naive {
    fn walk<'v>(&mut self, value: &'v Value, keys: &[&str], at_hand: &mut Vec<&'v Value>) {
        match (keys, value) {
            ([], Value::Array(items)) => {
                for item in items {
                    match item {
                        Value::Object(_) => self.rows.push(cells(item, at_hand)),
                        _ => self.refuse("not_an_object"),
                    }
                }
            }
            ([key, rest @ ..], Value::Object(members)) => {
                at_hand.push(value);
                match members.get(*key) {
                    Some(inner) => self.walk(inner, rest, at_hand),
                    None => self.refuse("not_an_array"),
                }
                at_hand.pop();
            }
            (_, Value::Array(items)) => {
                items.iter().for_each(|item| self.walk(item, keys, at_hand));
            }
            _ => self.refuse("not_an_array"),
        }
    }

    fn refuse(&mut self, reason: &'static str) {
        match self.refused.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, events)) => *events += 1,
            None => self.refused.push((reason, 1)),
        }
    }
}

fn cells(item: &Value, at_hand: &[&Value]) -> String {
    let cell = |path: &&str| {
        let keys: Vec<_> = path.split('.').collect();
        let both = keys
            .iter()
            .zip(EXPLODE)
            .take_while(|(key, other)| *key == other);
        let on_the_way = both.count();
        let mut value = at_hand.get(on_the_way).copied().unwrap_or(item);
        for key in &keys[on_the_way..] {
            let inner = match value {
                Value::Object(members) => members.get(*key),
                Value::Array(items) => key.parse().ok().and_then(|place: usize| items.get(place)),
                _ => None,
            };
            value = inner?;
        }
        value.as_f64().map(|number| number.to_string())
    };
    let cells = PATHS
        .iter()
        .map(|path| cell(path).unwrap_or("-".to_owned()));
    cells.collect::<Vec<_>>().join(" ")
}

fn values() -> BoxedStrategy<Value> {
    let single = prop_oneof![
        (-100..100_i64).prop_map(|number| json!(number)),
        Just(json!(null)),
        Just(json!([1, 2])),
    ];
    single
        .prop_recursive(5, 60, 4, |inner| {
            let key = prop::sample::select(vec!["a", "b", "c", "x", "y", "0"]);
            let members = prop::collection::vec((key, inner.clone()), 0..5);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::from),
                members.prop_map(|members| members.into_iter().collect::<Value>()),
            ]
        })
        .boxed()
}

/// An object with a key of the way, whose value may be an array of what has the next one.
fn on_the_way(key: &'static str, below: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let below = prop_oneof![
        4 => prop::collection::vec(below.clone(), 0..4).prop_map(Value::from),
        2 => below,
        1 => values(),
    ];
    let others = prop::collection::vec(
        (prop::sample::select(vec!["x", "y", "c", "0"]), values()),
        0..3,
    );
    let object = (others.clone(), below, others).prop_map(move |(before, below, behind)| {
        let mut members: serde_json::Map<_, _> = before
            .into_iter()
            .map(|(other, value)| (other.to_owned(), value))
            .collect();
        members.insert(key.to_owned(), below);
        for (other, value) in behind {
            members.entry(other).or_insert(value);
        }
        Value::Object(members)
    });
    prop_oneof![9 => object, 1 => values()].boxed()
}

fn records() -> impl Strategy<Value = Value> {
    let items = on_the_way("x", values().boxed());
    on_the_way("a", on_the_way("b", on_the_way("c", items)))
}

proptest! {
    #[test]
    fn is_what_a_naive_walk_gives_wherever_a_batch_is_cut(all in prop::collection::vec(records(), 1..5)) {
        let naive: Vec<_> = all.iter().map(|record| {
            let mut naive = Naive::default();
            match record {
                Value::Object(_) => naive.walk(record, &EXPLODE, &mut Vec::new()),
                _ => naive.refuse("not_an_object"),
            }
            naive
        }).collect();
        let written: Vec<_> = all.iter().map(|record| formats(&EXPLODE.join("."), record)).collect();
        for format in 0..2 {
            let records: Vec<_> = written.iter().map(|both| both[format].1.as_slice()).collect();
            let mut fixture = Fixture::new(&written[0][format].0, &any_event());
            for first in 0..records.len() {
                for end in first + 1..=records.len() {
                    let before = fixture.metrics.dropped_total();
                    let decoded = fixture.decode(&records[first..end]);
                    let cells = decoded.cells();
                    let expected: Vec<_> = naive[first..end].iter().flat_map(|naive| &naive.rows).collect();
                    prop_assert_eq!(cells.iter().collect::<Vec<_>>(), expected);
                    let reasons: Vec<_> = decoded.refused.iter().filter_map(|text| text.split(' ').nth(1)).collect();
                    let expected = naive[first..end].iter().flat_map(|naive| &naive.refused);
                    prop_assert_eq!(reasons, expected.clone().map(|(reason, _)| *reason).collect::<Vec<_>>());
                    let dropped: usize = expected.map(|(_, events)| events).sum();
                    prop_assert_eq!(fixture.metrics.dropped_total() - before, dropped as u64);
                }
            }
        }
    }
}
