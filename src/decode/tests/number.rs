//! Bare numbers.

use super::{Fixture, NOW};

#[test]
fn the_record_is_the_value_and_the_topic_its_meaning() {
    let mut fixture = Fixture::new(
        r#""number""#,
        r#"{"time": {"from": "@timestamp"}, "fields": {
            "value": "number",
            "region": {"from": "@topic[1]", "type": "text"},
            "meaning": {"from": "@topic[2]", "type": "text"}}}"#,
    );
    let decoded = fixture.decode(&[
        b"21.5", b" -3\n", b"", b"on", b"NaN", b"inf", b"1 2", b"\xff",
    ]);
    assert_eq!(decoded.cells(), ["21.5 UK rpm", "-3 UK rpm"]);
    assert_eq!(decoded.rows[0].0, NOW - 5);
    assert_eq!(
        decoded.refused[..5].to_vec(),
        (2..7)
            .map(|index| format!("{index} malformed the record is no number"))
            .collect::<Vec<_>>()
    );
    assert_eq!(decoded.refused.len(), 6);
}
