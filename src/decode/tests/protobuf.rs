//! Protocol buffers, by bytes that the test puts together itself.

use std::path::Path;

use proptest::prelude::*;

use super::unwrap::delimited;
use super::{Decoded, Fixture, NOW};
use crate::decode::{DecodeConfig, Purpose};
use crate::model::DataType;

pub(super) const RECORD: &str =
    r#"{"format": "protobuf", "message": "all.v1.Record", "files": ["fuzz/all_types.proto"]}"#;

pub(super) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A field whose value is a varint.
pub(super) fn int(number: u64, value: i64) -> Vec<u8> {
    [varint(number << 3), varint(value as u64)].concat()
}

/// A field whose value has a length.
pub(super) fn bytes(number: u64, value: &[u8]) -> Vec<u8> {
    [
        varint(number << 3 | 2),
        varint(value.len() as u64),
        value.to_vec(),
    ]
    .concat()
}

fn fixed64(number: u64, value: [u8; 8]) -> Vec<u8> {
    [varint(number << 3 | 1), value.to_vec()].concat()
}

fn fixed32(number: u64, value: [u8; 4]) -> Vec<u8> {
    [varint(number << 3 | 5), value.to_vec()].concat()
}

fn event(fields: &[(&str, &str)]) -> String {
    event_at("@timestamp", "ms", fields)
}

/// An event of fields by path and type.
fn event_at(time: &str, unit: &str, fields: &[(&str, &str)]) -> String {
    let fields = fields.iter().enumerate().map(|(index, (path, data_type))| {
        format!(r#""f{index}": {{"from": "{path}", "type": "{data_type}"}}"#)
    });
    let fields: Vec<_> = fields.collect();
    let fields = fields.join(", ");
    format!(r#"{{"time": {{"from": "{time}", "unit": "{unit}"}}, "fields": {{{fields}}}}}"#)
}

fn decode(fields: &[(&str, &str)], records: &[&[u8]]) -> Decoded {
    Fixture::new(RECORD, &event(fields)).decode(records)
}

/// The cells of a record, all of which are good.
fn cells(fields: &[(&str, &str)], record: &[u8]) -> String {
    let decoded = decode(fields, &[record]);
    assert_eq!(decoded.refused, <[String; 0]>::default());
    decoded.cells().join("; ")
}

#[test]
fn every_type_is_read_and_what_is_absent_is_its_default() {
    let cases: [(&str, &str, Vec<u8>, &str, &str); 26] = [
        (
            "double",
            "number",
            fixed64(1, 1.5_f64.to_le_bytes()),
            "1.5",
            "0",
        ),
        (
            "float",
            "number",
            fixed32(2, 0.25_f32.to_le_bytes()),
            "0.25",
            "0",
        ),
        ("int32", "number", int(3, -5), "-5", "0"),
        (
            "int64",
            "number",
            int(4, i64::MIN),
            "-9223372036854776000",
            "0",
        ),
        (
            "int64",
            "text",
            int(4, i64::MIN),
            "-9223372036854775808",
            "0",
        ),
        ("uint32", "number", int(5, 0xffff_ffff), "4294967295", "0"),
        ("uint64", "number", int(6, -1), "18446744073709552000", "0"),
        ("uint64", "text", int(6, -1), "18446744073709551615", "0"),
        (
            "fixed64",
            "text",
            fixed64(10, (1_u64 << 63).to_le_bytes()),
            "9223372036854775808",
            "0",
        ),
        ("sint32", "number", int(7, 5), "-3", "0"),
        ("sint64", "number", int(8, -1), "-9223372036854776000", "0"),
        (
            "fixed32",
            "number",
            fixed32(9, [0xff; 4]),
            "4294967295",
            "0",
        ),
        (
            "fixed64",
            "number",
            fixed64(10, 7_u64.to_le_bytes()),
            "7",
            "0",
        ),
        (
            "sfixed32",
            "number",
            fixed32(11, (-7_i32).to_le_bytes()),
            "-7",
            "0",
        ),
        (
            "sfixed64",
            "number",
            fixed64(12, (-7_i64).to_le_bytes()),
            "-7",
            "0",
        ),
        ("bool", "boolean", int(13, 2), "true", "false"),
        ("string", "text", bytes(14, "é".as_bytes()), "é", ""),
        ("bytes", "text", bytes(15, b"raw"), "raw", ""),
        ("bytes", "text", bytes(15, b"\xff"), "-", ""),
        ("state", "text", int(16, 1), "RUNNING", "STATE_UNKNOWN"),
        ("state", "text", int(16, -7), "OFF", "STATE_UNKNOWN"),
        ("state", "text", int(16, 99), "99", "STATE_UNKNOWN"),
        ("state", "number", int(16, -7), "-7", "0"),
        ("told", "number", int(17, 0), "0", "-"),
        ("far", "number", int(536_870_911, 3), "3", "0"),
        ("beyond_the_table", "number", int(100, 3), "3", "0"),
    ];
    for (path, data_type, record, expected, absent) in cases {
        assert_eq!(cells(&[(path, data_type)], &record), expected, "{path}");
        assert_eq!(cells(&[(path, data_type)], b""), absent, "{path}");
        // Any other field may stand before and behind it.
        let unknown = [
            fixed64(1000, [0x80; 8]),
            bytes(1001, b"\xff"),
            fixed32(1002, [0xff; 4]),
            int(1003, -1),
            // A group with a group in it.
            vec![0xc3, 0x3e, 0xcb, 0x3e, 0xcc, 0x3e, 0x08, 0x01, 0xc4, 0x3e],
        ]
        .concat();
        let between = [unknown.clone(), record, unknown].concat();
        assert_eq!(cells(&[(path, data_type)], &between), expected, "{path}");
    }
}

#[test]
fn of_a_field_that_stands_there_twice_the_last_value_holds_and_messages_are_merged() {
    let fields = [
        ("int32", "number"),
        ("inner.number", "number"),
        ("inner.text", "text"),
        ("inner.deeper.number", "number"),
        ("inner.told", "boolean"),
    ];
    assert_eq!(cells(&fields, b""), "0 - - - -");
    let record = [
        int(3, 1),
        bytes(18, &[int(1, 7), bytes(3, &int(1, 8))].concat()),
        int(3, 2),
        bytes(18, &[bytes(2, b"x"), bytes(3, &int(4, 1))].concat()),
        // Not the type of the field: one that nobody knows.
        bytes(3, b"zz"),
        int(18, 4),
    ]
    .concat();
    assert_eq!(cells(&fields, &record), "2 7 x 8 -");
    assert_eq!(cells(&fields, &bytes(18, b"")), "0 0  - -");
}

#[test]
fn of_a_oneof_the_last_field_is_there() {
    let fields = [
        ("left", "number"),
        ("right.number", "number"),
        ("right.text", "text"),
    ];
    let right = |inner: Vec<u8>| bytes(20, &inner);
    let cases = [
        (vec![], "- - -"),
        (vec![int(19, 0)], "0 - -"),
        (vec![int(19, 1), right(int(1, 2))], "- 2 "),
        (vec![right(int(1, 2)), int(19, 1)], "1 - -"),
        (vec![right(int(1, 2)), right(bytes(2, b"x"))], "- 2 x"),
        (
            vec![right(int(1, 2)), int(19, 1), right(bytes(2, b"x"))],
            "- 0 x",
        ),
        (vec![int(19, 1), bytes(21, b"")], "- - -"),
        // A field of the wrong type does not count.
        (vec![int(19, 1), int(21, 5)], "1 - -"),
    ];
    for (record, expected) in cases {
        assert_eq!(cells(&fields, &record.concat()), expected);
    }
}

#[test]
fn keys_of_maps_are_of_their_type() {
    let folder = tempfile::tempdir().unwrap();
    let source = r#"syntax = "proto3";
        message M { map<int32, double> a = 1; map<uint32, double> b = 2; map<uint64, double> c = 3;
                    map<fixed64, double> d = 4; map<sint64, double> e = 5; map<fixed32, double> f = 6; }"#;
    std::fs::write(folder.path().join("keys.proto"), source).unwrap();
    let format = r#"{"format": "protobuf", "message": "M", "files": ["keys.proto"]}"#;
    let mut format: DecodeConfig = serde_json::from_str(format).unwrap();
    assert_eq!(format.load(folder.path()), []);
    let number = Purpose::Field(DataType::Number);
    for (key, type_name) in [
        ("a.5000000000", "int32"),
        ("b.-1", "uint32"),
        ("b.4294967296", "uint32"),
        ("c.-1", "uint64"),
        ("d.18446744073709551616", "fixed64"),
        ("e.9223372036854775808", "sint64"),
        ("f.x", "fixed32"),
    ] {
        let keys: Vec<_> = key.split('.').map(str::to_owned).collect();
        let expected = format!(
            "'{}' is no key of the map, whose keys are {type_name}",
            keys[1]
        );
        assert_eq!(format.check_path(&keys, number), Err(expected));
    }
    let fields = [
        ("a.-2147483648", "number"),
        ("b.4294967295", "number"),
        ("c.18446744073709551615", "number"),
        ("c.18446744073709551614", "number"),
        ("d.18446744073709551615", "number"),
        ("e.-9223372036854775808", "number"),
        ("f.4294967295", "number"),
    ];
    let pair = |number, key: Vec<u8>, value: f64| {
        bytes(number, &[key, fixed64(2, value.to_le_bytes())].concat())
    };
    let record = [
        pair(1, int(1, -2_147_483_648), 1.0),
        pair(2, int(1, 4_294_967_295), 2.0),
        pair(3, int(1, -1), 3.0),
        pair(3, int(1, -2), 4.0),
        pair(4, fixed64(1, [0xff; 8]), 5.0),
        pair(5, int(1, -1), 6.0),
        pair(6, fixed32(1, [0xff; 4]), 7.0),
    ]
    .concat();
    let format = r#"{"format": "protobuf", "message": "M", "files": ["FILE"]}"#;
    let file = folder.path().join("keys.proto");
    let format = format.replace("FILE", &file.to_string_lossy());
    let decoded = Fixture::new(&format, &event(&fields)).decode(&[&record]);
    assert_eq!(decoded.cells(), ["1 2 3 4 5 6 7"]);
}

#[test]
fn maps_are_read_by_key() {
    let fields = [
        ("gauges.oil", "number"),
        ("inners.-3.text", "text"),
        ("inners.0.number", "number"),
        ("answers.true", "text"),
        ("answers.false", "text"),
    ];
    assert_eq!(cells(&fields, b""), "- - - - -");
    let gauge = |key: &[u8], value: f64| {
        bytes(
            22,
            &[bytes(1, key), fixed64(2, value.to_le_bytes())].concat(),
        )
    };
    let record = [
        gauge(b"oil", 1.5),
        gauge(b"water", 9.0),
        gauge(b"oil", 2.5),
        bytes(23, &[int(1, -3), bytes(2, &bytes(2, b"x"))].concat()),
        bytes(23, &bytes(2, &int(1, 7))),
        bytes(24, &[bytes(2, b"yes"), int(1, 1)].concat()),
        bytes(24, &bytes(2, b"no")),
    ]
    .concat();
    assert_eq!(cells(&fields, &record), "2.5 x 7 yes no");
    // A later pair takes the place of an earlier one, and is not merged with it; a value that is not written
    // is there all the same.
    let record = [
        record,
        bytes(23, &int(1, -3)),
        bytes(22, &bytes(1, b"oil")),
        bytes(24, b""),
    ]
    .concat();
    assert_eq!(cells(&fields, &record), "0  7 yes ");
    assert_eq!(
        cells(&[("inners.0.deeper.number", "number")], &bytes(23, b"")),
        "-"
    );
}

#[test]
fn times_lengths_and_wrappers_are_values() {
    let at = |number, seconds: i64, nanos: i64| {
        bytes(number, &[int(1, seconds), int(2, nanos)].concat())
    };
    let fields = [
        ("at", "number"),
        ("lasts", "number"),
        ("boxed", "number"),
        ("boxed_text", "text"),
        ("at.nanos", "number"),
        ("inner.at", "number"),
    ];
    assert_eq!(cells(&fields, b""), "- - - - - -");
    let record = [
        at(28, 1_730_621_748, 250_000_000),
        at(29, -2, -500_000_000),
        bytes(30, &fixed64(1, 1.5_f64.to_le_bytes())),
        bytes(31, b""),
        bytes(18, &at(5, 3, 0)),
    ]
    .concat();
    assert_eq!(
        cells(&fields, &record),
        "1730621748.25 -2.5 1.5  250000000 3"
    );
    // The unit of times is that of numbers and texts.
    for unit in ["ms", "s", "rfc3339"] {
        let config = event_at("at", unit, &[("boxed", "number")]);
        let decoded = Fixture::new(RECORD, &config).decode(&[&record, b"", &at(28, i64::MAX, -1)]);
        assert_eq!(decoded.rows, [(NOW - 750, 10, vec!["1.5".to_owned()])]);
        assert_eq!(decoded.refused, ["1 missing_time", "2 time_out_of_range"]);
    }
    let config = event_at("string", "rfc3339", &[("int32", "number")]);
    let record = bytes(14, b"2024-11-03T08:15:49Z");
    assert_eq!(
        Fixture::new(RECORD, &config).decode(&[&record]).rows[0].0,
        NOW
    );
    let config = event_at("int64", "s", &[("int32", "number")]);
    let record = int(4, 1_730_621_749);
    assert_eq!(
        Fixture::new(RECORD, &config).decode(&[&record]).rows[0].0,
        NOW
    );
}

fn exploded(path: &str, fields: &[(&str, &str)], records: &[&[u8]]) -> Decoded {
    let format = RECORD.replace('}', &format!(r#", "explode": "{path}"}}"#));
    Fixture::new(&format, &event(fields)).decode(records)
}

#[test]
fn each_item_of_an_array_is_an_event() {
    let fields = [
        ("items.number", "number"),
        ("string", "text"),
        ("items.deeper.text", "text"),
        ("told", "number"),
    ];
    let record = [
        bytes(25, &[int(1, 1), bytes(3, &bytes(2, b"x"))].concat()),
        bytes(14, b"early"),
        bytes(25, b""),
        bytes(14, b"late"),
        bytes(25, &int(1, 3)),
    ]
    .concat();
    let decoded = exploded(
        "items",
        &fields,
        &[&record, b"", &bytes(25, b"\x08"), &bytes(25, &int(1, 9))],
    );
    assert_eq!(
        decoded.cells(),
        ["1 late x -", "0 late - -", "3 late - -", "9  - -"]
    );
    assert_eq!(decoded.refused, ["2 malformed cut off at byte 4"]);

    let packed = |numbers: &[u64]| {
        bytes(
            26,
            &numbers.iter().flat_map(|n| varint(*n)).collect::<Vec<_>>(),
        )
    };
    let record = [int(26, 2), packed(&[4, 6]), int(17, 5), packed(&[])].concat();
    let decoded = exploded(
        "numbers",
        &[("numbers", "number"), ("told", "number")],
        &[&record],
    );
    assert_eq!(decoded.cells(), ["1 5", "2 5", "3 5"]);
    let texts = [bytes(27, b"a"), bytes(27, b"b")].concat();
    let decoded = exploded(
        "texts",
        &[("texts", "text")],
        &[&texts, &bytes(27, b"\xff")],
    );
    assert_eq!(decoded.cells(), ["a", "b"]);
    assert!(
        decoded.refused[0].starts_with("1 invalid_utf8 "),
        "{:?}",
        decoded.refused
    );

    let many = packed(&vec![0; 10_001]);
    let decoded = exploded("numbers", &[("numbers", "number")], &[&many]);
    assert_eq!(decoded.rows, []);
    assert_eq!(decoded.refused, ["0 too_many_events more than 10000"]);
}

#[test]
fn groups_are_messages() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.proto");
    let source = r#"
        syntax = "proto2";
        message Old {
          optional int32 with_default = 1 [default = 5];
          repeated group Reading = 2 { required int32 x = 1; }
          optional group Status = 3 { optional string text = 1; }
        }"#;
    std::fs::write(&path, source).unwrap();
    let format = |explode: &str| {
        format!(
            r#"{{"format": "protobuf", "message": "Old", "files": ["{}"]{explode}}}"#,
            path.display()
        )
    };
    let status = |text: &[u8]| [vec![0x1b], bytes(1, text), vec![0x1c]].concat();
    let config = event(&[("status.text", "text"), ("with_default", "number")]);
    let record = [status(b"on"), status(b"off")].concat();
    let decoded =
        Fixture::new(&format(""), &config).decode(&[&record, &record[..record.len() - 1]]);
    assert_eq!(decoded.cells(), ["off -"]);
    assert_eq!(decoded.refused, ["1 malformed cut off at byte 12"]);
    let reading = |x| [vec![0x13], int(1, x), vec![0x14]].concat();
    let record = [reading(7), status(b"on"), reading(8)].concat();
    let config = event(&[("reading.x", "number"), ("status.text", "text")]);
    let decoded = Fixture::new(&format(r#", "explode": "reading""#), &config).decode(&[&record]);
    assert_eq!(decoded.cells(), ["7 on", "8 on"]);
}

#[test]
fn a_set_of_descriptors_says_the_same_as_its_files() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let set = protox::compile(["all_types.proto"], [files]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.binpb");
    std::fs::write(&path, prost::Message::encode_to_vec(&set)).unwrap();
    let format = format!(
        r#"{{"format": "protobuf", "message": ".all.v1.Record", "descriptor_set": "{}"}}"#,
        path.display()
    );
    let config = event(&[("state", "text"), ("at", "number")]);
    let record = [int(16, 1), bytes(28, &int(1, 5))].concat();
    assert_eq!(
        Fixture::new(&format, &config).decode(&[&record]).cells(),
        ["RUNNING 5"]
    );

    std::fs::write(&path, b"no set").unwrap();
    let mut config: DecodeConfig = serde_json::from_str(&format).unwrap();
    let told = config.load(folder.path());
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0, ["descriptor_set"]);
    assert!(
        told[0]
            .1
            .contains("all.binpb: no set of file descriptors: "),
        "{told:?}"
    );
}

#[test]
fn what_is_broken_is_refused() {
    let fields = [
        ("int32", "number"),
        ("string", "text"),
        ("inner.number", "number"),
    ];
    let groups = [vec![0x0b; 120], vec![0x0c; 120]].concat();
    let cases: [(&[u8], &str); 12] = [
        (b"\x18", "malformed cut off at byte 1"),
        (b"\x18\x80\x80", "malformed cut off at byte 1"),
        (b"\x09\x00", "malformed cut off at byte 1"),
        (b"\x00\x01", "malformed no number of a field at byte 1"),
        (b"\x1e\x01", "malformed no type of a field at byte 1"),
        (b"\x72\x05abc", "malformed cut off at byte 2"),
        (
            b"\x72\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "malformed cut off at byte 11",
        ),
        (
            b"\x72\x01\xff",
            "invalid_utf8 invalid utf-8 sequence of 1 bytes from index 0",
        ),
        (b"\x92\x01\x02\x08", "malformed cut off at byte 3"),
        (
            b"\x0c",
            "malformed the end of a group that has not begun at byte 1",
        ),
        (b"\x0b\x14", "malformed the end of another group at byte 2"),
        (&groups, "malformed groups nested too deep at byte 101"),
    ];
    let good = int(3, 4);
    for (record, expected) in cases {
        let decoded = decode(&fields, &[record, &good]);
        assert_eq!(decoded.refused, [format!("0 {expected}")]);
        assert_eq!(decoded.cells(), ["4  -"]);
    }
}

#[test]
fn the_parts_of_an_envelope_are_those_of_the_record() {
    let config = event(&[("@topic[1]", "text"), ("@key", "text"), ("string", "text")]);
    let messages = delimited(&[bytes(14, b"a"), b"\x18".to_vec(), bytes(14, b"b")]);
    let decoded = Fixture::new(RECORD, &config)
        .unwrapping(r#"["length_delimited"]"#)
        .decode(&[&messages]);
    assert_eq!(decoded.cells(), ["UK V7 a", "UK V7 b"]);
    assert_eq!(
        decoded.refused,
        ["0 malformed message 2: cut off at byte 1"]
    );
}

const ALL: [(&str, &str); 14] = [
    ("double", "number"),
    ("sint32", "number"),
    ("string", "text"),
    ("bytes", "text"),
    ("state", "text"),
    ("inner.deeper.number", "number"),
    ("left", "number"),
    ("right.text", "text"),
    ("gauges.a", "number"),
    ("inners.1.deeper.text", "text"),
    ("answers.true", "text"),
    ("at", "number"),
    ("boxed", "number"),
    ("far", "number"),
];

proptest! {
    #[test]
    fn whatever_comes_no_record_panics(
        arbitrary in proptest::collection::vec(any::<u8>(), 0..80),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let record = [
            int(3, -1), bytes(14, b"text"), bytes(18, &bytes(3, &int(1, 4))), int(19, 2), bytes(20, &bytes(2, b"x")),
            bytes(22, &[bytes(1, b"a"), fixed64(2, [1; 8])].concat()), bytes(23, &int(1, 1)), bytes(24, b""),
            bytes(25, &int(1, 2)), bytes(26, &[2, 4, 6]), bytes(28, &int(1, 9)), vec![0xc3, 0x3e, 0xc4, 0x3e],
        ].concat();
        let mut flipped = record.clone();
        for (place, byte) in flips {
            let place = place.index(flipped.len());
            flipped[place] = byte;
        }
        let cut = &record[..cut.index(record.len())];
        let records: [&[u8]; 4] = [&record, &flipped, cut, &arbitrary];
        let decoded = decode(&ALL, &records);
        prop_assert_eq!(decoded.rows.len() + decoded.refused.len(), 4);
        exploded("items", &[("items.text", "text"), ("string", "text")], &records);
        exploded("numbers", &[("numbers", "number")], &records);
    }
}
