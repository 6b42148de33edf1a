//! Sparkplug B, in messages that prost encodes.

#[path = "../../../tests/it/support/sparkplug.rs"]
mod messages;

use proptest::prelude::*;
use prost::Message as _;

use super::{Fixture, NOW};
use crate::decode::SparkplugState;
use crate::model::SplitId;
use messages::{Metric, Payload, PropertySet, PropertyValue, Value};

const EVENT: &str = r#"{"time": {"from": "timestamp"}, "fields": {
    "name": "text", "value": "number", "text": {"from": "value", "type": "text"}, "on": {"from": "value", "type": "boolean"},
    "datatype": "text", "node": "text", "device": "text", "seq": "number"}}"#;

fn fixture(event: &str) -> Fixture {
    Fixture::new(r#""sparkplug_b""#, event)
}

fn metric(name: &str, alias: u64, datatype: u32, value: Value) -> Metric {
    Metric {
        name: Some(name.to_owned()).filter(|name| !name.is_empty()),
        alias: Some(alias),
        datatype: Some(datatype).filter(|datatype| *datatype > 0),
        value: Some(value),
        ..Metric::default()
    }
}

fn payload(seq: u64, metrics: Vec<Metric>) -> Vec<u8> {
    let payload = Payload {
        timestamp: Some(NOW as u64),
        metrics,
        seq: Some(seq),
    };
    payload.encode_to_vec()
}

fn born() -> [(&'static str, Vec<u8>); 2] {
    let birth_death = Metric {
        name: Some("bdSeq".to_owned()),
        datatype: Some(8),
        value: Some(Value::Long(3)),
        ..Metric::default()
    };
    let node = vec![birth_death, metric("uptime", 1, 8, Value::Long(5))];
    let device = vec![
        metric("rpm", 7, 9, Value::Float(900.5)),
        metric("temp", 8, 1, Value::Int(0xff)),
    ];
    [
        ("spBv1.0/g/NBIRTH/n", payload(0, node)),
        ("spBv1.0/g/DBIRTH/n/d", payload(1, device)),
    ]
}

#[test]
fn every_metric_is_an_event_and_births_say_what_numbers_mean() {
    let mut fixture = fixture(EVENT);
    let decoded = fixture.decode_messages(&born());
    assert_eq!(decoded.refused, [""; 0]);
    assert_eq!(
        decoded.cells(),
        [
            "bdSeq 3 3 - UInt64 n - 0",
            "uptime 5 5 - UInt64 n - 0",
            "rpm 900.5 - - Float n d 1",
            "temp -1 -1 - Int8 n d 1",
        ]
    );
    let only_numbers = vec![
        metric("", 8, 0, Value::Int(0xffff_fffe)),
        Metric {
            timestamp: Some(NOW as u64 - 5),
            is_null: Some(true),
            ..metric("", 7, 0, Value::Float(1.0))
        },
        metric("door", 99, 11, Value::Boolean(true)),
    ];
    let decoded = fixture.decode_messages(&[("spBv1.0/g/DDATA/n/d", payload(2, only_numbers))]);
    assert_eq!(
        decoded.cells(),
        [
            "temp -2 -2 - Int8 n d 2",
            "rpm - - - Float n d 2",
            "door - - true Boolean n d 2"
        ]
    );
    assert_eq!(decoded.rows[1].0, NOW - 5);
    assert_eq!(fixture.metrics.sequence_gaps().get(), 0);
}

#[test]
fn births_say_what_names_mean() {
    for first_alias in [None, Some(1)] {
        names_mean_what_births_say(first_alias);
    }
}

/// Data says names alone; the birth says aliases as well, if any.
fn names_mean_what_births_say(first_alias: Option<u64>) {
    let metric = |name: &str, datatype, value| Metric {
        alias: None,
        ..metric(name, 0, datatype, value)
    };
    let born_as = |number: u64, name: &str, datatype, value| Metric {
        alias: first_alias.map(|first| first + number),
        ..metric(name, datatype, value)
    };
    let birth = |metrics| ("spBv1.0/g/NBIRTH/n", payload(0, metrics));
    let data = vec![
        metric("temp", 0, Value::Int(0xffff_fffb)),
        metric("small", 0, Value::Int(0xff)),
        metric("long", 0, Value::Long(-5_i64 as u64)),
        metric("whole", 0, Value::Long(u64::MAX)),
        // What data says itself holds.
        metric("small", 5, Value::Int(0xff)),
        metric("other", 0, Value::Int(0xff)),
    ];
    let data = ("spBv1.0/g/NDATA/n", payload(1, data));
    let born = birth(vec![
        born_as(0, "temp", 3, Value::Int(5)),
        born_as(1, "small", 1, Value::Int(5)),
        born_as(2, "long", 4, Value::Long(5)),
        born_as(3, "whole", 8, Value::Long(5)),
    ]);
    let expected = [
        "temp -5 -5 - Int32 n - 1",
        "small -1 -1 - Int8 n - 1",
        "long -5 -5 - Int64 n - 1",
        "whole 18446744073709552000 - - UInt64 n - 1",
        "small 255 255 - UInt8 n - 1",
        "other 255 255 - - n - 1",
    ];
    let mut before = fixture(EVENT);
    let decoded = before.decode_messages(&[born, data.clone()]);
    assert_eq!(decoded.cells()[4..], expected);
    // Also behind a restart, and until the next birth.
    let state = read_again(&before.decoder.state(SplitId(0)).unwrap());
    let mut after = fixture(EVENT);
    let state = Some(std::sync::Arc::new(state));
    after.decoder.set_state(SplitId(0), state);
    assert_eq!(
        after.decode_messages(std::slice::from_ref(&data)).cells(),
        expected
    );
    let decoded = after.decode_messages(&[birth(vec![]), data]);
    assert_eq!(decoded.cells()[0], "temp 4294967291 4294967291 - - n - 1");
}

#[test]
fn a_name_that_data_says_goes_before_its_alias() {
    let born = vec![
        metric("small", 1, 1, Value::Int(5)),
        metric("temp", 2, 3, Value::Int(5)),
    ];
    let data = vec![
        metric("small", 2, 0, Value::Int(0xff)),
        metric("other", 1, 0, Value::Int(0xff)),
    ];
    let messages = [
        ("spBv1.0/g/NBIRTH/n", payload(0, born)),
        ("spBv1.0/g/NDATA/n", payload(1, data)),
    ];
    let decoded = fixture(EVENT).decode_messages(&messages);
    assert_eq!(
        decoded.cells()[2..],
        ["small -1 -1 - Int8 n - 1", "other -1 -1 - Int8 n - 1"]
    );
}

#[test]
fn messages_that_are_refused_are_not_missing() {
    let data = |seq| payload(seq, vec![metric("", 1, 0, Value::Long(2))]);
    let no_text = |seq| {
        let text = Value::Text("~".to_owned());
        let mut message = payload(seq, vec![metric("x", 9, 12, text)]);
        let place = message.iter().position(|byte| *byte == b'~').unwrap();
        message[place] = 0xff;
        message
    };
    let many = |seq| payload(seq, vec![metric("x", 9, 8, Value::Long(2)); 10_001]);
    let cut = |mut message: Vec<u8>| {
        message.pop();
        message
    };
    let on_node = |message| ("spBv1.0/g/NDATA/n", message);
    let on_device = |message| ("spBv1.0/g/DBIRTH/n/d", message);
    // How many messages are refused, and how many are missing.
    for (messages, refused, gaps) in [
        (vec![on_node(no_text(2)), on_node(data(3))], 1, 0),
        (vec![on_node(many(2)), on_node(data(3))], 1, 0),
        (vec![on_device(no_text(2)), on_node(data(3))], 1, 0),
        (vec![on_node(no_text(3)), on_node(data(4))], 1, 1),
        // Of one whose number cannot be read, nobody knows whether it was the one that is missing.
        (
            vec![on_node(cut(data(2))), on_node(data(3)), on_node(data(4))],
            1,
            0,
        ),
        (
            vec![on_node(cut(data(2))), on_node(data(3)), on_node(data(5))],
            1,
            1,
        ),
        (vec![on_node(data(3))], 0, 1),
    ] {
        let mut fixture = fixture(EVENT);
        fixture.decode_messages(&born());
        let decoded = fixture.decode_messages(&messages);
        assert_eq!(decoded.refused.len(), refused, "{:?}", decoded.refused);
        assert_eq!(
            fixture.metrics.sequence_gaps().get(),
            gaps,
            "{:?}",
            decoded.refused
        );
    }
}

#[test]
fn values_of_every_type_are_read() {
    let long = u64::MAX;
    for (datatype, value, number, text, wrong) in [
        (2, Value::Int(0xfffe), "-2", "-2", 1),
        (3, Value::Int(u32::MAX), "-1", "-1", 1),
        (7, Value::Int(u32::MAX), "4294967295", "4294967295", 1),
        (4, Value::Long(long), "-1", "-1", 1),
        (8, Value::Long(long), "18446744073709552000", "-", 2),
        (13, Value::Long(12), "12", "12", 1),
        (10, Value::Double(0.1), "0.1", "-", 2),
        (10, Value::Double(f64::INFINITY), "-", "-", 2),
        (12, Value::Text("open".to_owned()), "-", "open", 2),
        (17, Value::Bytes(vec![1]), "-", "-", 3),
        (16, Value::DataSet(Payload::default()), "-", "-", 3),
    ] {
        let event = r#"{"time": {"from": "timestamp"}, "fields": {"value": "number",
            "text": {"from": "value", "type": "text"}, "on": {"from": "value", "type": "boolean"}}}"#;
        let mut fixture = fixture(event);
        let message = payload(0, vec![metric("v", 1, datatype, value)]);
        let decoded = fixture.decode_messages(&[("spBv1.0/g/NDATA/n", message)]);
        assert_eq!(
            decoded.cells(),
            [format!("{number} {text} -")],
            "{datatype}"
        );
        let fields = ["value", "text", "on"];
        let counted: u64 = fields
            .map(|field| fixture.metrics.wrong_type(field).get())
            .iter()
            .sum();
        assert_eq!(counted, wrong, "{datatype}");
    }
}

#[test]
fn what_no_birth_has_named_is_refused_alone_and_deaths_clear() {
    let mut fixture = fixture(EVENT);
    fixture.decode_messages(&born());
    let data = |seq| {
        (
            "spBv1.0/g/DDATA/n/d",
            payload(
                seq,
                vec![
                    metric("", 7, 0, Value::Float(1.5)),
                    metric("", 1, 0, Value::Long(2)),
                ],
            ),
        )
    };
    let death = |number| {
        let birth_death = metric("bdSeq", 0, 8, Value::Long(number));
        ("spBv1.0/g/NDEATH/n", payload(0, vec![birth_death]))
    };
    let unknown = |alias| format!("alias {alias} of g/n/d: no birth has said its name");
    let decoded = fixture.decode_messages(&[data(2), death(2), data(4), death(3), data(5)]);
    assert_eq!(
        decoded.cells(),
        ["rpm 1.5 - - Float n d 2", "rpm 1.5 - - Float n d 4"]
    );
    assert_eq!(
        decoded.refused,
        [
            format!("0 unknown_alias event 2: {}", unknown(1)),
            format!("2 unknown_alias event 2: {}", unknown(1)),
            format!(
                "4 unknown_alias event 1: {}; and 1 more of this record",
                unknown(7)
            ),
        ]
    );
    assert_eq!(
        fixture.metrics.sequence_gaps().get(),
        1,
        "number 3 is missing"
    );
    let other = fixture.decoder.state(SplitId(9));
    assert!(other.is_none());
}

/// A state that was read from the bytes of another one.
fn read_again(state: &SparkplugState) -> SparkplugState {
    let mut read = SparkplugState::default();
    for births in state.births() {
        read.read(&births.encode()).unwrap();
    }
    read.read(&state.encode_sequences()).unwrap();
    read
}

#[test]
fn goes_on_with_the_state_of_another_decoder() {
    let mut before = fixture(EVENT);
    before.decode_messages(&born());
    let state = before.decoder.state(SplitId(0)).unwrap();
    let read = read_again(&state);
    let mut after = fixture(EVENT);
    after
        .decoder
        .set_state(SplitId(0), Some(std::sync::Arc::new(read)));
    let data = [(
        "spBv1.0/g/DDATA/n/d",
        payload(2, vec![metric("", 8, 0, Value::Int(0xfe))]),
    )];
    let decoded = after.decode_messages(&data);
    assert_eq!(decoded, before.decode_messages(&data));
    assert_eq!(decoded.cells(), ["temp -2 -2 - Int8 n d 2"]);
    assert_eq!(after.metrics.sequence_gaps().get(), 0);
    let states = [&before, &after].map(|fixture| fixture.decoder.state(SplitId(0)).unwrap());
    assert_eq!(states[0], states[1]);
}

#[test]
fn properties_are_found_by_their_path() {
    let set = |key: &str, value| PropertySet {
        keys: vec!["x".to_owned(), key.to_owned()],
        values: vec![PropertyValue::default(), value],
    };
    let text = |text: &str| PropertyValue {
        datatype: Some(12),
        text: Some(text.to_owned()),
        nested: None,
    };
    let nested = PropertyValue {
        nested: Some(set("by", text("A"))),
        ..PropertyValue::default()
    };
    let mut whole = set("engUnit", text("rpm"));
    whole.keys.push("set".to_owned());
    whole.values.push(nested);
    let event = r#"{"time": {"from": "timestamp"}, "fields": {"unit": {"from": "properties.engUnit", "type": "text"},
        "by": {"from": "properties.set.by", "type": "text"}, "history": {"from": "is_historical", "type": "boolean"},
        "group": "text", "message": "text", "alias": "number"}}"#;
    let metric = Metric {
        properties: Some(whole),
        is_historical: Some(true),
        ..metric("v", 4, 9, Value::Float(1.0))
    };
    let decoded =
        fixture(event).decode_messages(&[("spBv1.0/g/NDATA/n", payload(0, vec![metric]))]);
    assert_eq!(decoded.cells(), ["rpm A true g NDATA 4"]);

    let event = r#"{"time": {"from": "timestamp"}, "fields": {"number": "number", "boolean": "boolean", "text": "text"}}"#;
    let mut fixture = fixture(event);
    let values = [
        Value::Int(1),
        Value::Boolean(true),
        Value::Text("x".to_owned()),
        Value::Bytes(vec![]),
    ];
    let metrics = values.map(|value| self::metric("v", 4, 0, value));
    let decoded = fixture.decode_messages(&[("spBv1.0/g/NDATA/n", payload(0, metrics.into()))]);
    assert_eq!(decoded.cells(), ["1 - -", "- true -", "- - x", "- - -"]);
    assert_eq!(fixture.metrics.wrong_type("number").get(), 0);
}

#[test]
fn messages_have_only_so_many_metrics_and_properties_are_only_so_deep() {
    let metrics = |count: usize| vec![metric("v", 1, 9, Value::Float(1.0)); count];
    let topic = "spBv1.0/g/NDATA/n";
    let messages = [10_000, 10_001].map(|count| (topic, payload(0, metrics(count))));
    let decoded = fixture(EVENT).decode_messages(&messages);
    assert_eq!(decoded.rows.len(), 10_000);
    assert_eq!(decoded.refused, ["1 too_many_events more than 10000"]);

    let path = format!("properties{}", ".a".repeat(40));
    let event = format!(
        r#"{{"time": {{"from": "timestamp"}}, "fields": {{"deep": {{"from": "{path}", "type": "text"}}}}}}"#
    );
    let nested = |depth: usize| {
        let inner = PropertyValue::default();
        let set = (0..depth).fold(inner, |value, _| PropertyValue {
            nested: Some(PropertySet {
                keys: vec!["a".to_owned()],
                values: vec![value],
            }),
            ..PropertyValue::default()
        });
        let metric = Metric {
            properties: set.nested,
            ..metric("v", 1, 9, Value::Float(1.0))
        };
        (topic, payload(0, vec![metric]))
    };
    let decoded = fixture(&event).decode_messages(&[nested(33), nested(34)]);
    assert_eq!(decoded.rows.len(), 1);
    assert_eq!(
        decoded.refused,
        ["1 malformed properties deeper than 32 levels"]
    );
}

#[test]
fn a_birth_that_cannot_be_read_leaves_no_earlier_names() {
    let birth = payload(0, vec![metric("rpm", 5, 9, Value::Float(1.0))]);
    let broken = [birth.as_slice(), b"\x13"].concat();
    let data = payload(1, vec![metric("", 5, 9, Value::Float(2.0))]);
    let mut fixture = fixture(EVENT);
    let decoded = fixture.decode_messages(&[
        ("spBv1.0/g/NBIRTH/n", birth),
        ("spBv1.0/g/NDATA/n", data.clone()),
        ("spBv1.0/g/NBIRTH/n", broken),
        ("spBv1.0/g/NDATA/n", data),
    ]);
    assert_eq!(decoded.rows.len(), 2);
    assert_eq!(
        decoded.refused,
        [
            "2 malformed it is no message of Protocol Buffers, or it is cut short",
            "3 unknown_alias alias 5 of g/n: no birth has said its name",
        ]
    );
}

#[test]
fn says_what_is_no_message_and_passes_over_commands() {
    let message = payload(0, vec![metric("v", 1, 9, Value::Float(1.0))]);
    let none = |topic: &str| format!("0 malformed the topic '{topic}' is none of Sparkplug B");
    for topic in [
        "fleet/UK/rpm",
        "spBv1.0/g/NDATA",
        "spBv1.0/g/DDATA/n",
        "spBv1.0/g/NDATA/n/d",
        "spBv1.0/g/X/n",
    ] {
        let decoded = fixture(EVENT).decode_messages(&[(topic, message.clone())]);
        assert_eq!(decoded.refused, [none(topic)]);
    }
    for topic in [
        "spBv1.0/g/NCMD/n",
        "spBv1.0/g/DCMD/n/d",
        "spBv1.0/STATE/host",
    ] {
        let decoded = fixture(EVENT).decode_messages(&[(topic, b"{}".to_vec())]);
        assert_eq!((decoded.rows.len(), decoded.refused.len()), (0, 0));
    }
    let broken = "it is no message of Protocol Buffers, or it is cut short";
    for (message, expected) in [
        (&b"\x12\x05\x0a"[..], broken),
        (b"\x13", broken),
        (b"\x00\x01", broken),
        (b"\x12\x04\x60\x01\x00\x00", broken),
        (
            b"\x12\x02\x60\x01",
            "a value of another wire type than its field",
        ),
        (&[0xff; 11], broken),
    ] {
        let topic = "spBv1.0/g/NBIRTH/n";
        let mut fixture = fixture(EVENT);
        let decoded = fixture.decode_messages(&[(topic, message.to_vec())]);
        assert_eq!(decoded.refused, [format!("0 malformed {expected}")]);
        // Where a value alone is broken, the names hold.
        let keeps = expected.starts_with("a value");
        assert_eq!(fixture.decoder.state(SplitId(0)).is_some(), keeps);
    }
}

proptest! {
    #[test]
    fn broken_messages_are_survived(
        choice in 0..2_usize, cut in any::<prop::sample::Index>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        arbitrary in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let (topic, whole) = &born()[choice];
        let mut flipped = whole.clone();
        for (place, byte) in flips {
            let place = place.index(flipped.len());
            flipped[place] = byte;
        }
        let mut fixture = fixture(EVENT);
        let cut = whole[..cut.index(whole.len())].to_vec();
        fixture.decode_messages(&[(*topic, cut), (*topic, flipped), (*topic, arbitrary.clone()), ("spBv1.0/g/NDATA/n", arbitrary)]);
        if let Some(state) = fixture.decoder.state(SplitId(0)) {
            prop_assert_eq!(read_again(&state), (*state).clone());
        }
    }
}
