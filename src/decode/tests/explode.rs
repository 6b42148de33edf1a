//! JSON records that are several events.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Fixture, NOW};
use crate::decode::events::MAX_EVENTS;

const EVENT: &str = r#"{"time": {"from": "readings.at"}, "fields": {
    "vehicle": {"from": "vehicle.id", "type": "text", "required": true},
    "rpm": {"from": "readings.rpm", "type": "number"},
    "hot": {"from": "readings.state.hot", "type": "boolean"}}}"#;

fn readings() -> Fixture {
    Fixture::new(r#"{"format": "json", "explode": "readings"}"#, EVENT)
}

#[test]
fn each_item_is_an_event_with_what_all_share() {
    let record = format!(
        r#"{{"readings":[{{"at":{NOW},"rpm":1}},{{"rpm":2.5,"at":{},"state":{{"hot":true}}}}],"vehicle":{{"id":"V1"}}}}"#,
        NOW - 1
    );
    let decoded = readings().decode(&[record.as_bytes()]);
    let cells = |texts: [&str; 3]| texts.map(str::to_owned).to_vec();
    assert_eq!(
        decoded.rows,
        [
            (NOW, 10, cells(["V1", "1", "-"])),
            (NOW - 1, 10, cells(["V1", "2.5", "true"])),
        ]
    );
    assert_eq!(decoded.refused, [""; 0]);
}

#[test]
fn a_bad_item_is_refused_alone() {
    let mut fixture = readings();
    let record = format!(
        r#"{{"vehicle":{{"id":"V1"}},"readings":[{{"at":{NOW}}},{{}},7,{{"at":true}},{{"at":{NOW},"rpm":3}},{{}}]}}"#
    );
    let decoded = fixture.decode(&[record.as_bytes()]);
    assert_eq!(decoded.cells(), ["V1 - -", "V1 3 -"]);
    assert_eq!(
        decoded.refused,
        [
            "0 missing_time event 2; and 1 more of this record",
            "0 not_an_object event 3",
            "0 time_unreadable event 4",
        ]
    );
    assert_eq!(fixture.metrics.dropped_total(), 4);
}

#[test]
fn a_broken_record_gives_no_event() {
    let good = format!(r#"{{"vehicle":{{"id":"V1"}},"readings":[{{"at":{NOW},"rpm":1}}]}}"#);
    let item = format!(r#"{{"at":{NOW}}}"#);
    let cut = format!(r#"{{"vehicle":{{"id":"V1"}},"readings":[{item},{item},{{"at"#);
    let twice = format!(r#"{{"vehicle":{{"id":"V1"}},"readings":[{item}],"readings":[{item}]}}"#);
    let decoded = readings().decode(&[
        good.as_bytes(),
        cut.as_bytes(),
        twice.as_bytes(),
        br#"{"vehicle":{"id":"V1"}}"#,
        br#"{"vehicle":{"id":"V1"},"readings":{"at":1}}"#,
        b"[]",
        br#"{"readings":[]}"#,
        b"{\"readings\":[\"\xff\"]}",
        good.as_bytes(),
    ]);
    let positions: Vec<_> = decoded
        .rows
        .iter()
        .map(|(_, position, _)| *position)
        .collect();
    assert_eq!(positions, [10, 90]);
    let reasons: Vec<_> = decoded
        .refused
        .iter()
        .map(|text| text.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        reasons,
        [
            "1 malformed_json",
            "2 malformed_json",
            "3 not_an_array",
            "4 not_an_array",
            "5 not_an_object",
            "7 invalid_utf8",
        ]
    );
}

#[test]
fn of_a_shared_key_that_stands_there_often_only_the_last_value_is_handed_over() {
    let event = r#"{"time": {"from": "t"}, "fields": {"a": "number", "n": {"from": "l.n", "type": "number"}}}"#;
    let record = json!({"l": [{"n": 1}, {"n": 2}, {"n": 3}], "t": NOW}).to_string();
    let often = |last: &str| {
        let all = [r#""a":"x""#, r#""a":true"#, last].join(",");
        record.replacen('{', &format!("{{{all},"), 1)
    };
    let decode = |record: &str| {
        let mut fixture = Fixture::new(r#"{"format": "json", "explode": "l"}"#, event);
        let decoded = fixture.decode(&[record.as_bytes()]);
        (decoded.cells(), fixture.metrics.wrong_type("a").get())
    };
    let right = ["7 1", "7 2", "7 3"].map(str::to_owned).to_vec();
    assert_eq!(decode(&often(r#""a":7"#)), (right, 0));
    let wrong = ["- 1", "- 2", "- 3"].map(str::to_owned).to_vec();
    assert_eq!(decode(&often(r#""a":"y""#)), (wrong, 3), "once an event");
}

#[test]
fn the_record_itself_may_be_the_array() {
    let mut fixture = Fixture::new(
        r#"{"format": "json", "explode": "."}"#,
        r#"{"time": {"from": "t"}, "fields": {"a": "number", "region": {"from": "@topic[1]", "type": "text"}}}"#,
    );
    let record = format!(r#" [{{"t":{NOW},"a":1}},{{"a":2,"t":{NOW}}}] "#);
    let decoded = fixture.decode(&[record.as_bytes(), b"{}", b"7", b"[", b"[]"]);
    assert_eq!(decoded.cells(), ["1 UK", "2 UK"]);
    assert_eq!(
        decoded.refused[..2],
        ["1 not_an_array .", "2 not_an_array ."]
    );
    assert_eq!(decoded.refused.len(), 3);
}

#[test]
fn items_may_be_the_values() {
    let mut fixture = Fixture::new(
        r#"{"format": "json", "explode": "values"}"#,
        r#"{"time": {"from": "t"}, "fields": {"value": {"from": "values", "type": "number"}}}"#,
    );
    let record = format!(r#"{{"values":[1,-2.5,null,"x"],"t":{NOW}}}"#);
    let decoded = fixture.decode(&[record.as_bytes()]);
    assert_eq!(decoded.cells(), ["1", "-2.5", "-", "-"]);
}

#[test]
fn a_record_gives_no_more_events_than_are_allowed() {
    let mut fixture = Fixture::new(
        r#"{"format": "json", "explode": "v"}"#,
        r#"{"time": {"from": "@timestamp"}, "fields": {"v": "number"}}"#,
    );
    let record = |items: usize| format!(r#"{{"v":[{}]}}"#, vec!["1"; items].join(","));
    let (most, more) = (record(MAX_EVENTS), record(MAX_EVENTS + 1));
    let decoded = fixture.decode(&[more.as_bytes(), most.as_bytes()]);
    assert_eq!(decoded.rows.len(), MAX_EVENTS);
    assert_eq!(decoded.refused, ["0 too_many_events more than 10000"]);
}

#[test]
fn depth_is_bounded() {
    let deep = format!(r#"{{"readings":{}"#, "[".repeat(1_000_000));
    let decoded = readings().decode(&[deep.as_bytes()]);
    assert_eq!(
        decoded.refused,
        ["0 malformed_json nested deeper than 128 levels"]
    );
}

/// What a tree of the record says.
fn reference(record: &Value) -> Vec<String> {
    let mut rows = Vec::new();
    for item in record["readings"].as_array().unwrap() {
        let vehicle = record["vehicle"]["id"].as_str();
        if let (Some(vehicle), Some(_)) = (vehicle, item["at"].as_i64()) {
            let rpm = item["rpm"]
                .as_f64()
                .map_or("-".to_owned(), |rpm| rpm.to_string());
            let hot = item["state"]["hot"]
                .as_bool()
                .map_or("-".to_owned(), |hot| hot.to_string());
            rows.push(format!("{vehicle} {rpm} {hot}"));
        }
    }
    rows
}

fn any_item() -> impl Strategy<Value = Value> {
    let time = prop_oneof![
        4 => (0..1_000_i64).prop_map(|ago| json!(NOW - ago)),
        1 => Just(json!("yesterday")),
        1 => Just(Value::Null),
    ];
    let rpm = prop_oneof![
        any::<i32>().prop_map(|value| json!(value)),
        (-1e6..1e6).prop_map(|value: f64| json!(value)),
        Just(json!([[1], {"at": 2}])),
    ];
    let state = prop_oneof![
        any::<bool>().prop_map(|hot| json!({"x": {}, "hot": hot})),
        Just(json!(1))
    ];
    let item = (time, rpm, state)
        .prop_map(|(at, rpm, state)| json!({"rpm": rpm, "at": at, "state": state}));
    prop_oneof![6 => item, 1 => Just(json!(3)), 1 => Just(json!({}))]
}

proptest! {
    #[test]
    fn agrees_with_a_tree(
        items in proptest::collection::vec(any_item(), 0..12),
        has_vehicle in any::<bool>(),
        vehicle_first in any::<bool>(),
    ) {
        let vehicle = if has_vehicle { json!({"id": "é\"V"}) } else { json!(null) };
        let record = match vehicle_first {
            true => json!({"vehicle": vehicle, "readings": items}),
            false => json!({"readings": items, "vehicle": vehicle}),
        };
        let mut fixture = readings();
        let decoded = fixture.decode(&[record.to_string().as_bytes()]);
        prop_assert_eq!(decoded.cells(), reference(&record));
        let refused = items.len() - decoded.rows.len();
        prop_assert_eq!(fixture.metrics.dropped_total(), refused as u64);
    }

    #[test]
    fn a_cut_or_changed_record_never_panics(
        items in proptest::collection::vec(any_item(), 0..4),
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut record = json!({"vehicle": {"id": "V"}, "readings": items}).to_string().into_bytes();
        let place = flip.index(record.len());
        record[place] ^= 1_u8 << bit;
        let mut fixture = readings();
        let cut = cut.index(record.len());
        fixture.decode(&[&record, &record[..cut]]);
    }
}
