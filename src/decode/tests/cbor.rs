//! CBOR.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Fixture, NOW};

const EVENT: &str = r#"{"time": {"from": "t"}, "fields": {
    "vehicle": {"from": "vehicle.id", "type": "text"},
    "rpm": "number", "on": "boolean", "one": {"from": "1", "type": "number"}, "minus": {"from": "-1", "type": "text"}}}"#;

fn head(major: u8, argument: u64) -> Vec<u8> {
    let mut bytes = vec![major << 5];
    match argument {
        0..24 => bytes[0] |= argument as u8,
        24..256 => {
            bytes[0] |= 24;
            bytes.push(argument as u8);
        }
        _ => {
            bytes[0] |= 27;
            bytes.extend(argument.to_be_bytes());
        }
    }
    bytes
}

/// A value as CBOR, as simply as possible.
pub(super) fn cbor(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => vec![0xf6],
        Value::Bool(false) => vec![0xf4],
        Value::Bool(true) => vec![0xf5],
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => head(0, number),
            (_, Some(number)) => head(1, (-1 - number) as u64),
            _ => [vec![0xfb], number.as_f64().unwrap().to_be_bytes().to_vec()].concat(),
        },
        Value::String(text) => [head(3, text.len() as u64), text.as_bytes().to_vec()].concat(),
        Value::Array(items) => {
            let items = items.iter().flat_map(cbor);
            head(4, value.as_array().unwrap().len() as u64)
                .into_iter()
                .chain(items)
                .collect()
        }
        Value::Object(members) => {
            let pairs = members
                .iter()
                .flat_map(|(key, value)| [cbor(&json!(key)), cbor(value)].concat());
            head(5, members.len() as u64)
                .into_iter()
                .chain(pairs)
                .collect()
        }
    }
}

#[test]
fn reads_every_kind_of_value() {
    let mut fixture = Fixture::new(r#""cbor""#, EVENT);
    let time = cbor(&json!(NOW));
    // {_ "t": 1(NOW), "rpm": 16-bit 1.5, 1: 32-bit 2.5, -1: -17, h'00': [], "on": undefined,
    //  "vehicle": {"id": (_ "V", "1")}, "z": [_ 1, {_ }], "b": (_ h'01')}
    let record = [
        b"\xbf\x61t\xc1".as_slice(),
        &time,
        b"\x63rpm\xf9\x3e\x00\x01\xfa\x40\x20\x00\x00\x20\x30\x41\x00\x80\x62on\xf7",
        b"\x67vehicle\xa1\x62id\x7f\x61V\x611\xff\x61z\x9f\x01\xbf\xff\xff\x61b\x5f\x41\x01\xff\xff",
    ]
    .concat();
    let decoded = fixture.decode(&[&record]);
    assert_eq!(decoded.refused, [""; 0]);
    assert_eq!(decoded.cells(), ["V1 1.5 - 2.5 -17"]);
    assert_eq!(decoded.rows[0].0, NOW);
}

#[test]
fn halves_are_those_of_the_specification() {
    // RFC 8949, appendix A.
    let halves: [([u8; 2], &str); 8] = [
        ([0x00, 0x00], "0"),
        ([0x80, 0x00], "-0"),
        ([0x3c, 0x00], "1"),
        ([0x7b, 0xff], "65504"),
        ([0x00, 0x01], "0.000000059604644775390625"),
        ([0x04, 0x00], "0.00006103515625"),
        ([0xc4, 0x00], "-4"),
        ([0x7c, 0x00], "-"),
    ];
    for (bytes, expected) in halves {
        let mut fixture = Fixture::new(
            r#""cbor""#,
            r#"{"time": {"from": "@timestamp"}, "fields": {"a": "number"}}"#,
        );
        let record = [b"\xa1\x61a\xf9".as_slice(), &bytes].concat();
        let decoded = fixture.decode(&[&record]);
        let value = &decoded.rows[0].2[0];
        let same = value == expected || value.parse::<f64>() == expected.parse::<f64>();
        assert!(same, "{value} {expected}");
    }
}

#[test]
fn says_what_is_broken() {
    let cases: [(&[u8], &str); 9] = [
        (b"", "malformed cut off at byte 0"),
        (b"\xa1\x61a", "malformed cut off at byte 3"),
        (
            b"\xa1\x61a\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
            "malformed cut off at byte 12",
        ),
        (
            b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
            "malformed cut off at byte 9",
        ),
        (b"\xa0\x00", "malformed something behind the end at byte 1"),
        (b"\x81\x00", "not_an_object"),
        (b"\xa1\x61a\xff", "malformed a break where a value is due"),
        (b"\xa1\x61a\x1c", "malformed no item of data at byte 4"),
        (
            b"\xa1\x61a\x7f\x41\x00\xff",
            "malformed a piece of another type",
        ),
    ];
    for (record, expected) in cases {
        let mut fixture = Fixture::new(r#""cbor""#, EVENT);
        let decoded = fixture.decode(&[record]);
        assert_eq!(decoded.refused, [format!("0 {expected}")]);
    }
    for nested in [b"\x81".as_slice(), b"\xa1\x00", b"\x9f", b"\xa1\x67vehicle"] {
        let mut fixture = Fixture::new(r#""cbor""#, EVENT);
        let deep = [b"\xa1\x61a".as_slice(), &nested.repeat(100_000)].concat();
        let decoded = fixture.decode(&[&deep]);
        assert_eq!(
            decoded.refused,
            ["0 malformed nested deeper than 128 levels"]
        );
    }
    // Tags are not nesting.
    let tagged = [b"\xa1\x61a".as_slice(), &b"\xc1".repeat(100_000), b"\x00"].concat();
    let mut fixture = Fixture::new(r#""cbor""#, EVENT);
    assert_eq!(fixture.decode(&[&tagged]).refused, ["0 missing_time"]);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no others", |value| value.is_finite()
                && *value != value.trunc())
            .prop_map(Value::from),
        "[a-zé\"\\\\]{0,30}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("id|t|[a-c]", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn gives_what_the_same_in_json_gives(
        vehicle in any_value(), rpm in any_value(), on in any_value(), other in any_value(),
        items in proptest::collection::vec(any_value(), 0..4),
    ) {
        let record = json!({"z": other, "on": on, "vehicle": vehicle, "t": NOW, "rpm": rpm});
        let text = record.to_string();
        let of_json = Fixture::new(r#""json""#, EVENT).decode(&[text.as_bytes()]);
        let of_cbor = Fixture::new(r#""cbor""#, EVENT).decode(&[&cbor(&record)]);
        prop_assert_eq!(of_json, of_cbor);

        let items: Vec<_> = items.into_iter().map(|item| json!({"id": item, "t": NOW, "v": item})).collect();
        let record = json!({"list": items, "name": rpm});
        let event = r#"{"time": {"from": "list.t"}, "fields": {
            "id": {"from": "list.id", "type": "text"}, "v": {"from": "list.v.a", "type": "number"}, "name": "number"}}"#;
        let text = record.to_string();
        let of_json = Fixture::new(r#"{"format": "json", "explode": "list"}"#, event).decode(&[text.as_bytes()]);
        let of_cbor = Fixture::new(r#"{"format": "cbor", "explode": "list"}"#, event).decode(&[&cbor(&record)]);
        prop_assert_eq!(of_json, of_cbor);
    }
}
