//! What is around records.

use std::io::Write as _;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use proptest::prelude::*;
use serde_json::json;

use super::Fixture;

const EVENT: &str = r#"{"time": {"from": "@timestamp"}, "fields": {"a": "text", "n": "number"}}"#;

fn fixture(steps: &str) -> Fixture {
    Fixture::new(r#""json""#, EVENT).unwrapping(steps)
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// RFC 4648 by its definition: the bits, six at a time.
pub(super) fn base64(bytes: &[u8]) -> String {
    let digits: Vec<char> = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .chain(['+', '/'])
        .collect();
    let bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let bits: Vec<u8> = bits.collect();
    let digit = |six: &[u8]| {
        let number = (0..6).fold(0, |number, bit| {
            number << 1 | usize::from(six.get(bit) == Some(&1))
        });
        digits[number]
    };
    let mut text: String = bits.chunks(6).map(digit).collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

pub(super) fn delimited(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        let mut length = message.len();
        while length >= 0x80 {
            bytes.push(0x80 | (length & 0x7f) as u8);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(message);
    }
    bytes
}

#[test]
fn each_gives_what_is_in_it() {
    let record = br#"{"a":"x","n":1}"#;
    let text = std::str::from_utf8(record).unwrap();
    let object: serde_json::Value = serde_json::from_str(text).unwrap();
    let inner = json!({"d": base64(&zstd(record)).trim_end_matches('=')}).to_string();
    let url = base64(record).replace('+', "-").replace('/', "_");
    let doubled = br#"{"b":{"c":7},"b":{"c":"no","c":{"a":"x","n":1}},"z":[]}"#;
    let all_of_the_head = GzBuilder::new()
        .extra(*b"extra")
        .filename("events")
        .comment("of a fleet")
        .write(Vec::new(), Compression::fast());
    let mut encoder = all_of_the_head;
    encoder.write_all(record).unwrap();
    let cases = [
        (
            r#"["gzip"]"#,
            [gzip(&record[..4]), gzip(b""), gzip(&record[4..])].concat(),
        ),
        (r#"["gzip"]"#, encoder.finish().unwrap()),
        (
            r#"["zstd"]"#,
            [zstd(&record[..4]), zstd(b""), zstd(&record[4..])].concat(),
        ),
        (
            r#"["base64"]"#,
            format!(" {}\n", base64(record)).into_bytes(),
        ),
        (r#"["base64"]"#, url.into_bytes()),
        (
            r#"[{"json": "b.c"}]"#,
            json!({"b": {"c": text}}).to_string().into_bytes(),
        ),
        (
            r#"[{"json": "b.c"}]"#,
            json!({"b": {"c": object}}).to_string().into_bytes(),
        ),
        (r#"[{"json": "b.c"}]"#, doubled.to_vec()),
        (r#"["length_delimited"]"#, delimited(&[record.to_vec()])),
        (
            r#"["base64", "gzip", {"json": "d"}, "base64", "zstd"]"#,
            base64(&gzip(inner.as_bytes())).into_bytes(),
        ),
    ];
    for (steps, wrapped) in cases {
        // Twice, for the buffers and decoders are used again.
        let decoded = fixture(steps).decode(&[&wrapped, &wrapped]);
        assert_eq!(
            decoded.cells(),
            ["x 1", "x 1"],
            "{steps}: {:?}",
            decoded.refused
        );
        assert_eq!(decoded.rows[1].1, 20);
    }
}

#[test]
fn every_format_can_be_in_it() {
    let csv = r#"{"format": "csv", "columns": ["a", "n"]}"#;
    let rows = gzip(b"x,1\ny,2\n");
    let decoded = Fixture::new(csv, EVENT)
        .unwrapping(r#"["gzip"]"#)
        .decode(&[&rows]);
    assert_eq!(decoded.cells(), ["x 1", "y 2"]);
    let cbor = zstd(b"\xa2aaaxan\x01");
    let decoded = Fixture::new(r#""cbor""#, EVENT)
        .unwrapping(r#"["zstd"]"#)
        .decode(&[&cbor]);
    assert_eq!(decoded.cells(), ["x 1"]);
    let fields = r#"{"time": {"from": "@timestamp"}, "fields": {
        "a": {"from": "@key", "type": "text"}, "n": {"from": "value", "type": "number"}}}"#;
    let number = base64(b"21.5").into_bytes();
    let decoded = Fixture::new(r#""number""#, fields)
        .unwrapping(r#"["base64"]"#)
        .decode(&[&number]);
    assert_eq!(decoded.cells(), ["V7 21.5"]);
}

#[test]
fn a_message_among_others_is_judged_on_its_own() {
    let messages: [&[u8]; 6] = [
        br#"{"a":"x"}"#,
        b"{",
        br#"{"a":"y","n":2}"#,
        b"[]",
        b"7",
        br#"{"a":"z"}"#,
    ];
    let record = delimited(&messages.map(<[u8]>::to_vec));
    let decoded = fixture(r#"["length_delimited"]"#).decode(&[b"", &record, &record[..20]]);
    assert_eq!(decoded.cells(), ["x -", "y 2", "z -"]);
    assert!(decoded.rows.iter().all(|(_, position, _)| *position == 20));
    assert_eq!(decoded.refused.len(), 3, "{:?}", decoded.refused);
    assert!(
        decoded.refused[0].starts_with("1 malformed_json message 2: "),
        "{:?}",
        decoded.refused
    );
    assert_eq!(
        decoded.refused[1],
        "1 not_an_object message 4; and 1 in other messages"
    );
    assert_eq!(
        decoded.refused[2],
        "2 cannot_unwrap length_delimited: cut off"
    );

    let field =
        r#"{"time": {"from": "@timestamp"}, "fields": {"a": {"type": "text", "required": true}}}"#;
    let mut strict = Fixture::new(r#""json""#, field).unwrapping(r#"["length_delimited"]"#);
    let record = delimited(&[b"{}".to_vec(), b"{}".to_vec(), br#"{"a":"x"}"#.to_vec()]);
    let decoded = strict.decode(&[&record]);
    assert_eq!(decoded.cells(), ["x"]);
    assert_eq!(
        decoded.refused,
        ["0 missing_field message 1: a; and 1 in other messages"]
    );
    assert_eq!(strict.metrics.dropped_total(), 2);
}

#[test]
fn many_texts_are_settled_on_the_way() {
    // More than 4 MiB in one batch.
    let padding = "p".repeat(10_000);
    let records: Vec<_> = (0..700)
        .map(|n| {
            gzip(
                json!({"p": padding, "a": format!("V{n}"), "n": n})
                    .to_string()
                    .as_bytes(),
            )
        })
        .collect();
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    let mut fixture = fixture(r#"["gzip"]"#);
    let expected: Vec<_> = (0..700).map(|n| format!("V{n} {n}")).collect();
    assert_eq!(fixture.decode(&records).cells(), expected);
    assert_eq!(fixture.decode(&records).cells(), expected);
}

#[test]
fn what_expands_too_far_is_given_up() {
    let too_far = "expands_too_far more than 1048576 bytes";
    let bomb = vec![b' '; 64 * 1024 * 1024];
    for (steps, record) in [(r#"["gzip"]"#, gzip(&bomb)), (r#"["zstd"]"#, zstd(&bomb))] {
        assert!(record.len() < 100_000);
        let decoded = fixture(steps).decode(&[&record]);
        assert_eq!(decoded.refused, [format!("0 {too_far}")]);
    }
    let fitting = [vec![b' '; 1024 * 1024 - 2], b"{}".to_vec()].concat();
    let longer = [b" ".as_slice(), &fitting].concat();
    for (steps, pack) in [
        (r#"["gzip"]"#, gzip as fn(&[u8]) -> _),
        (r#"["zstd"]"#, zstd),
    ] {
        let decoded = fixture(steps).decode(&[&pack(&fitting), &pack(&longer), &pack(b"{}")]);
        assert_eq!(decoded.cells(), ["- -", "- -"]);
        assert_eq!(decoded.refused, [format!("1 {too_far}")]);
    }
    // Together they are too long, though none of them is.
    let half = gzip(&vec![b' '; 600_000]);
    let halves = delimited(&[half.clone(), half]);
    let decoded = fixture(r#"["length_delimited", "gzip"]"#).decode(&[&halves]);
    assert_eq!(decoded.refused, [format!("0 {too_far}")]);
    let decoded = fixture(r#"["length_delimited"]"#).decode(&[&[0; 20_000]]);
    assert_eq!(decoded.refused, ["0 too_many_events more than 10000"]);
    let csv = r#"{"format": "csv", "columns": ["a", "n"]}"#;
    let rows = delimited(&vec![b"x,1\n".repeat(6_000); 2]);
    let mut rows_of = Fixture::new(csv, EVENT).unwrapping(r#"["length_delimited"]"#);
    let decoded = rows_of.decode(&[&rows, &rows[..24_003]]);
    assert_eq!(decoded.rows.len(), 6_000);
    assert_eq!(decoded.refused, ["0 too_many_events more than 10000"]);
}

#[test]
fn what_is_wrapped_otherwise_is_refused() {
    let record = br#"{"a":"x","n":1}"#;
    let mut wrong_checksum = gzip(record);
    let at = wrong_checksum.len() - 5;
    wrong_checksum[at] ^= 1;
    let deep = [br#"{"b":"#.to_vec(), vec![b'['; 5_000]].concat();
    let cases: [(&str, &[u8], &str); 17] = [
        (r#"["gzip"]"#, b"{}", "gzip: no head of a member"),
        (r#"["gzip"]"#, b"", "gzip: no head of a member"),
        (r#"["gzip"]"#, &gzip(record)[..20], "gzip: cut off"),
        (r#"["gzip"]"#, &gzip(record)[..27], "gzip: cut off"),
        (r#"["gzip"]"#, &wrong_checksum, "gzip: wrong checksum"),
        (r#"["zstd"]"#, b"{}", "zstd: "),
        (r#"["zstd"]"#, b"", "zstd: cut off"),
        (r#"["zstd"]"#, &zstd(record)[..12], "zstd: cut off"),
        (r#"["base64"]"#, b"{}==", "base64: '{' is not of Base64"),
        (
            r#"["base64"]"#,
            b"abcde",
            "base64: 5 characters are not Base64",
        ),
        (
            r#"[{"json": "b.c"}]"#,
            b"{\"b\":{\"d\":1}}",
            "json: nothing at b.c",
        ),
        (
            r#"[{"json": "b"}]"#,
            b"{\"b\":1}",
            "json: neither a text nor an object or array at b",
        ),
        (r#"[{"json": "b"}]"#, b"[1]", "json: "),
        (
            r#"[{"json": "b"}]"#,
            b"{\"b\":\"\xff\"}",
            "json: invalid utf-8",
        ),
        (r#"[{"json": "b"}]"#, &deep, "json: nested too deep"),
        (
            r#"["length_delimited"]"#,
            b"\x05{}",
            "length_delimited: cut off",
        ),
        (
            r#"["length_delimited"]"#,
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "length_delimited: cut off",
        ),
    ];
    for (steps, wrapped, expected) in cases {
        let decoded = fixture(steps).decode(&[wrapped]);
        assert_eq!(decoded.rows, []);
        assert_eq!(decoded.refused.len(), 1, "{steps}");
        let expected = format!("0 cannot_unwrap {expected}");
        assert!(
            decoded.refused[0].starts_with(&expected),
            "{steps}: {:?}",
            decoded.refused
        );
    }
    // A decoder that has failed is as good as new for the next record.
    for (steps, pack) in [
        (r#"["gzip"]"#, gzip as fn(&[u8]) -> _),
        (r#"["zstd"]"#, zstd),
    ] {
        let good = pack(record);
        let decoded = fixture(steps).decode(&[&good[..15], &good, b"x", &good]);
        assert_eq!(decoded.cells(), ["x 1", "x 1"]);
    }
}

proptest! {
    #[test]
    fn whatever_comes_nothing_is_longer_than_it_may_be(
        record in proptest::collection::vec(any::<u8>(), 0..60),
        places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for (steps, whole) in [
            (r#"["gzip"]"#, gzip(&record)),
            (r#"["zstd"]"#, zstd(&record)),
            (r#"["base64", "length_delimited"]"#, base64(&delimited(std::slice::from_ref(&record))).into_bytes()),
            (r#"[{"json": "a"}, "base64"]"#, json!({"a": base64(&record)}).to_string().into_bytes()),
        ] {
            let mut flipped = whole.clone();
            for (place, byte) in &places {
                let place = place.index(flipped.len());
                flipped[place] ^= byte;
            }
            let cut = cut.index(whole.len());
            fixture(steps).decode(&[&whole, &flipped, &whole[..cut], &record]);
        }
    }

    #[test]
    fn what_was_wrapped_comes_back(
        texts in proptest::collection::vec("[a-z\u{e9}\"]{0,12}", 1..5),
    ) {
        let messages: Vec<_> = texts.iter().map(|text| json!({"a": text}).to_string().into_bytes()).collect();
        let all = delimited(&messages);
        let expected: Vec<_> = texts.iter().map(|text| format!("{text} -")).collect();
        for (steps, wrapped) in [
            (r#"["gzip", "length_delimited"]"#, gzip(&all)),
            (r#"["zstd", "length_delimited"]"#, zstd(&all)),
            (r#"["base64", "length_delimited"]"#, base64(&all).into_bytes()),
            (r#"[{"json": "x.y"}, "base64", "length_delimited"]"#,
                json!({"x": {"y": base64(&all)}}).to_string().into_bytes()),
        ] {
            prop_assert_eq!(fixture(steps).decode(&[&wrapped]).cells(), expected.clone(), "{}", steps);
        }
    }
}
