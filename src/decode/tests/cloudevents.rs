//! CloudEvents.

use super::{Fixture, NOW};
use crate::decode::base64;

const EVENT: &str = r#"{"time": {"from": "time", "unit": "rfc3339"}, "fields": {
    "kind": {"from": "type", "type": "text", "required": true},
    "rpm": {"from": "data.engine.rpm", "type": "number"}}}"#;

const TIME: &str = r#""time":"2024-11-03T08:15:49Z""#;

#[test]
fn attributes_and_data_are_fields() {
    let mut fixture = Fixture::new(r#""cloudevents""#, EVENT);
    let one =
        format!(r#"{{"specversion":"1.0","type":"a",{TIME},"data":{{"engine":{{"rpm":900}}}}}}"#);
    // {"engine":{"rpm":7}}
    let encoded = format!(
        r#"{{"data_base64":"eyJlbmdpbmUiOnsicnBtIjo3fX0=","specversion":"1.0","type":"b",{TIME}}}"#
    );
    let old = format!(r#"{{"specversion":"0.3","type":"a",{TIME}}}"#);
    let none = format!(r#"{{"type":"a",{TIME}}}"#);
    let broken = format!(r#"{{"specversion":"1.0","type":"b",{TIME},"data_base64":"e!=="}}"#);
    let batch = format!(r#" [{one},{old},3,{encoded},{{"specversion":"1.0",{TIME}}}]"#);
    let decoded = fixture.decode(&[
        one.as_bytes(),
        encoded.as_bytes(),
        old.as_bytes(),
        none.as_bytes(),
        broken.as_bytes(),
        batch.as_bytes(),
        b"7",
        b"[]",
    ]);
    assert_eq!(decoded.cells(), ["a 900", "b 7", "a 900", "b 7"]);
    assert!(decoded.rows.iter().all(|(time, _, _)| *time == NOW));
    assert_eq!(
        decoded.refused,
        [
            "2 malformed specversion 0.3; 1.0 is understood",
            "3 malformed no specversion",
            "4 malformed '!' is not of Base64",
            "5 malformed event 2: specversion 0.3; 1.0 is understood",
            "5 not_an_object event 3",
            "5 missing_field event 5: kind",
            "6 not_an_object",
        ]
    );
}

#[test]
fn data_that_is_not_wanted_may_be_anything() {
    let mut fixture = Fixture::new(
        r#""cloudevents""#,
        r#"{"time": {"from": "time", "unit": "rfc3339"}, "fields": {"kind": {"from": "type", "type": "text"}}}"#,
    );
    let picture = format!(r#"{{"specversion":"1.0","type":"a",{TIME},"data_base64":"/9j/"}}"#);
    let decoded = fixture.decode(&[picture.as_bytes()]);
    assert_eq!(decoded.cells(), ["a"]);
    assert_eq!(decoded.refused, [""; 0]);
}

#[test]
fn base64_is_that_of_the_specification() {
    let decode = |text: &[u8]| {
        let mut bytes = Vec::new();
        base64::decode(text, &mut bytes).map(|()| bytes)
    };
    // RFC 4648, 10.
    let pairs = [
        ("", ""),
        ("Zg==", "f"),
        ("Zm8=", "fo"),
        ("Zm9v", "foo"),
        ("Zm9vYg", "foob"),
        (" Zm9vYmE=\n", "fooba"),
        ("Zm9vYmFy", "foobar"),
    ];
    for (text, bytes) in pairs {
        assert_eq!(decode(text.as_bytes()).unwrap(), bytes.as_bytes(), "{text}");
    }
    assert_eq!(decode(b"-_8").unwrap(), decode(b"+/8=").unwrap());
    for text in ["Z", "Zm9v===", "Zm 9v", "Zm9vé", "====="] {
        assert!(decode(text.as_bytes()).is_err(), "{text}");
    }
}
