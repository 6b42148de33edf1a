//! SenML.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::cbor::cbor;
use super::{Fixture, NOW};

const EVENT: &str = r#"{"time": {"from": "t", "unit": "s"}, "fields": {
    "n": "text", "u": "text", "v": "number", "vs": "text", "vb": "boolean", "s": "number"}}"#;

fn fixture() -> Fixture {
    Fixture::new(r#""senml_json""#, EVENT)
}

#[test]
fn base_values_are_added_to_the_records_behind() {
    // After RFC 8428, 5.1.3.
    let pack = br#"[
        {"bn":"urn:dev:ow:10e2073a01080063:","bt":1730621749,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
        {"n":"current","t":-5,"v":1.2},
        {"bv":10,"n":"current","t":-4.5,"v":1.5},
        {"bn":"x"},
        {"vs":"open","t":-3},
        {"n":"y","vb":true,"bs":100,"s":1}]"#;
    let decoded = fixture().decode(&[pack]);
    assert_eq!(decoded.refused, [""; 0]);
    let times: Vec<_> = decoded.rows.iter().map(|(time, _, _)| NOW - time).collect();
    assert_eq!(times, [0, 5_000, 4_500, 3_000, 0]);
    let device = "urn:dev:ow:10e2073a01080063:";
    assert_eq!(
        decoded.cells(),
        [
            format!("{device}voltage V 120.1 - - -"),
            format!("{device}current A 1.2 - - -"),
            format!("{device}current A 11.5 - - -"),
            "x A - open - -".to_owned(),
            "xy A - - true 101".to_owned(),
        ]
    );
}

#[test]
fn a_missing_sum_is_nought_where_there_is_a_base_and_a_missing_value_is_missing() {
    let decoded = fixture().decode(&[
        br#"[{"bn":"e:","bt":1730621749,"bs":100,"n":"a","v":1},{"n":"b","bv":20},{"n":"c","s":5},{"n":"d","vs":"x"},
            {"n":"e","bs":0,"v":2}]"#,
        br#"[{"bt":1730621749,"n":"a","v":1}]"#,
    ]);
    assert_eq!(decoded.refused, [""; 0]);
    assert_eq!(
        decoded.cells(),
        [
            "e:a - 1 - - 100",
            "e:c - - - - 105",
            "e:d - - x - 100",
            "e:e - 22 - - 0",
            "a - 1 - - -",
        ]
    );
}

#[test]
fn a_relative_time_is_of_the_transport() {
    let decoded = fixture().decode(&[br#"[{"n":"a","v":1},{"n":"b","v":1,"t":-2}]"#]);
    let times: Vec<_> = decoded.rows.iter().map(|(time, _, _)| NOW - time).collect();
    assert_eq!(times, [5, 2_005]);
}

#[test]
fn a_bad_record_is_refused_alone_and_a_bad_pack_as_a_whole() {
    let decoded = fixture().decode(&[
        br#"[{"bt":1730621749,"n":"a","v":1},7,{"n":"b","v":2,"t":"soon"},{"n":"c","v":3}]"#,
        br#"{"n":"a","v":1}"#,
        br#"[{"bt":1730621749,"n":"a","v":1},{"bver":11,"n":"b","v":1}]"#,
        br#"[{"bt":1730621749,"n":"a","v":1},{"#,
    ]);
    assert_eq!(decoded.cells(), ["a - 1 - - -", "c - 3 - - -"]);
    assert_eq!(
        decoded.refused[..4],
        [
            "0 not_an_object event 2",
            "0 time_unreadable event 3",
            "1 not_an_array a pack is an array",
            "2 malformed version 11; up to 10 is understood",
        ]
    );
    assert!(decoded.refused[4].starts_with("3 malformed_json "));
}

#[test]
fn a_base_of_another_type_or_a_name_that_grows_too_long_refuses_the_pack() {
    let long = "x".repeat(1_000);
    let grown = format!(
        r#"[{{"bn":"{long}","n":"{}","v":1}},{{"n":"{}","v":1}}]"#,
        "y".repeat(24),
        "y".repeat(25)
    );
    let decoded = fixture().decode(&[
        br#"[{"bt":1730621749,"n":"a","v":1},{"bn":7,"n":"b","v":1}]"#,
        br#"[{"bt":"soon","n":"a","v":1}]"#,
        br#"[{"bu":true,"n":"a","v":1}]"#,
        grown.as_bytes(),
    ]);
    assert_eq!(decoded.cells(), [""; 0]);
    assert_eq!(
        decoded.refused,
        [
            "0 malformed bn is no text",
            "1 malformed bt is no number",
            "2 malformed bu is no text",
            "3 malformed a name or unit of 1025 bytes; at most 1024",
        ]
    );
}

#[test]
fn a_long_base_refuses_the_pack_also_where_records_have_no_names_of_their_own() {
    let long = "x".repeat(1_025);
    for base in ["bn", "bu"] {
        let pack = format!(r#"[{{"{base}":"{long}","bt":1730621749}},{{"v":1}}]"#);
        let expected = "0 malformed a name or unit of 1025 bytes; at most 1024";
        assert_eq!(fixture().decode(&[pack.as_bytes()]).refused, [expected]);
    }
}

#[test]
fn a_label_that_must_be_understood_refuses_the_pack() {
    let expected = "0 malformed a label that ends in _ and must be understood";
    for pack in [
        json!([{"bt": 1_730_621_749, "n": "a", "v": 1}, {"n": "b", "v": 1, "scale_": 10}]),
        json!([{"bt": 1_730_621_749, "n": "a", "v": 1, "_": null}]),
    ] {
        let decoded = fixture().decode(&[pack.to_string().as_bytes()]);
        assert_eq!(decoded.refused, [expected]);
        let decoded = Fixture::new(r#""senml_cbor""#, EVENT).decode(&[&cbor(&pack)]);
        assert_eq!(decoded.refused, [expected]);
    }
}

#[test]
fn other_labels_are_passed_over() {
    let pack = json!([{"bt": 1_730_621_749, "n": "a", "v": 1, "sc_ale": 7, "x": {}, "": 0}]);
    let decoded = fixture().decode(&[pack.to_string().as_bytes()]);
    assert_eq!(decoded.refused, [""; 0]);
    assert_eq!(decoded.cells(), ["a - 1 - - -"]);
    // In whatever place.
    let first = br#"[{"":"x","n":"a","bt":1730621749,"v":1},{"n":"b","":null,"v":2}]"#;
    assert_eq!(
        fixture().decode(&[first]).cells(),
        ["a - 1 - - -", "b - 2 - - -"]
    );
    // {0: "a", -3: 1730621749, 2: 1, "": 0}
    let mut of_cbor = b"\x81\xa4\x00\x61a\x22\x1a".to_vec();
    of_cbor.extend(1_730_621_749_u32.to_be_bytes());
    of_cbor.extend(b"\x02\x01\x60\x00");
    let decoded = Fixture::new(r#""senml_cbor""#, EVENT).decode(&[&of_cbor]);
    assert_eq!(decoded.refused, [""; 0]);
    assert_eq!(decoded.cells(), ["a - 1 - - -"]);
}

#[test]
fn a_pack_has_only_so_many_records_also_where_they_are_no_events() {
    let pack = |records: usize| format!("[{}]", vec!["{}"; records].join(","));
    assert_eq!(
        fixture().decode(&[pack(10_000).as_bytes()]).refused,
        [""; 0]
    );
    assert_eq!(
        fixture().decode(&[pack(10_001).as_bytes()]).refused,
        ["0 too_many_events more than 10000 records"]
    );
}

/// The pack in CBOR: its labels are numbers (RFC 8428, table 4).
fn in_cbor(pack: &Value) -> Vec<u8> {
    let keys = [
        ("bn", 0x21),
        ("bt", 0x22),
        ("bv", 0x24),
        ("n", 0x00),
        ("v", 0x02),
        ("t", 0x06),
    ];
    let records = pack.as_array().unwrap();
    let mut bytes = vec![0x9f];
    for record in records {
        bytes.push(0xbf);
        for (label, value) in record.as_object().unwrap() {
            let key = keys.iter().find(|(known, _)| known == label).unwrap().1;
            bytes.push(key);
            bytes.extend(cbor(value));
        }
        bytes.push(0xff);
    }
    bytes.push(0xff);
    bytes
}

proptest! {
    #[test]
    fn agrees_with_a_naive_resolution(
        records in proptest::collection::vec(
            (proptest::option::of("[a-z]{0,3}"), proptest::option::of(0..1_000_i32), proptest::option::of(-50..50_i32),
             "[a-z]{1,3}", -1_000..1_000_i32, -100..0_i32), 1..10),
    ) {
        let (mut name, mut time, mut base) = (String::new(), 0_i64, 0);
        let mut pack = Vec::new();
        let mut expected = Vec::new();
        for (number, (bn, bt, bv, n, v, t)) in records.into_iter().enumerate() {
            let mut record = json!({"n": n, "v": v, "t": t});
            if let Some(bn) = bn {
                record["bn"] = json!(bn);
                name = bn;
            }
            let bt = if number == 0 { Some(bt.unwrap_or(0)) } else { bt };
            if let Some(bt) = bt {
                time = NOW / 1_000 - i64::from(bt);
                record["bt"] = json!(time);
            }
            if let Some(bv) = bv {
                record["bv"] = json!(bv);
                base = bv;
            }
            let cells = [format!("{name}{n}"), "-".into(), (v + base).to_string(), "-".into(), "-".into(), "-".into()];
            expected.push(((time + i64::from(t)) * 1_000, 10, cells.to_vec()));
            pack.push(record);
        }
        let pack = Value::from(pack);
        let text = pack.to_string();
        prop_assert_eq!(&fixture().decode(&[text.as_bytes()]).rows, &expected);
        let mut of_cbor = Fixture::new(r#""senml_cbor""#, EVENT);
        prop_assert_eq!(&of_cbor.decode(&[&in_cbor(&pack)]).rows, &expected);
    }
}
