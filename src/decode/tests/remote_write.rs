//! Remote-Write requests.

use super::{Fixture, NOW};
use crate::model::STALE_NAN_BITS;
use crate::model::protobuf::{put_bytes, put_varint};

const EVENT: &str = r#"{"time": {"from": "timestamp"}, "fields": {
    "name": {"from": "__name__", "type": "text", "required": true},
    "value": "number", "instance": "text", "dotted": {"from": "a.b", "type": "text"}}}"#;

/// The labels of a series, and its values with their times.
type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(f64, i64)]);

/// A request with these series.
pub(super) fn request(all: &[Series<'_>]) -> Vec<u8> {
    let mut request = Vec::new();
    for (labels, samples) in all {
        let mut series = Vec::new();
        for (name, value) in *labels {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut series, 1, &label);
        }
        for (value, time) in *samples {
            let mut sample = vec![1 << 3 | 1];
            sample.extend(value.to_le_bytes());
            sample.push(2 << 3);
            put_varint(&mut sample, time.cast_unsigned());
            put_bytes(&mut series, 2, &sample);
        }
        put_bytes(&mut request, 1, &series);
    }
    request
}

#[test]
fn every_sample_is_an_event() {
    let mut fixture = Fixture::new(r#""remote_write""#, EVENT);
    let record = request(&[
        (
            &[
                ("__name__", "up"),
                ("a.b", "c"),
                ("instance", "é"),
                ("value", "no"),
            ],
            &[(1.5, NOW - 1), (-2.0, NOW)],
        ),
        (
            &[("__name__", "down")],
            &[(f64::NAN, NOW), (f64::INFINITY, NOW)],
        ),
        (&[("__name__", "none")], &[]),
    ]);
    let decoded = fixture.decode(&[&record]);
    assert_eq!(
        decoded.cells(),
        ["up 1.5 é c", "up -2 é c", "down - - -", "down - - -"]
    );
    let times: Vec<_> = decoded.rows.iter().map(|(time, _, _)| *time).collect();
    assert_eq!(times, [NOW - 1, NOW, NOW, NOW]);
    assert_eq!(decoded.refused, [""; 0]);
}

#[test]
fn stale_markers_are_no_events_and_other_nans_are() {
    let mut fixture = Fixture::new(r#""remote_write""#, EVENT);
    let stale = f64::from_bits(STALE_NAN_BITS);
    let record = request(&[
        (
            &[("__name__", "up")],
            &[(1.0, NOW - 2), (stale, NOW - 1), (f64::NAN, NOW)],
        ),
        // Not even as one that would be refused.
        (&[], &[(stale, NOW), (stale, 0)]),
    ]);
    let decoded = fixture.decode(&[&record]);
    assert_eq!(decoded.cells(), ["up 1 - -", "up - - -"]);
    assert_eq!(decoded.refused, [""; 0]);
    assert_eq!(
        fixture.metrics.not_finite("value").get(),
        1,
        "of the other NaN"
    );
    assert_eq!(fixture.metrics.missing("name").get(), 0);
    assert_eq!(fixture.metrics.stale_markers().get(), 3);
}

#[test]
fn of_a_label_that_stands_there_often_only_the_last_is_handed_over() {
    let event = r#"{"time": {"from": "timestamp"}, "fields": {"value": "number", "speed": "number", "instance": "text"}}"#;
    let mut fixture = Fixture::new(r#""remote_write""#, event);
    let labels = [
        ("speed", "fast"),
        ("instance", "a"),
        ("none", ""),
        ("instance", "b"),
        ("speed", "slow"),
    ];
    let record = request(&[
        (&labels, &[(1.0, NOW), (2.0, NOW), (3.0, NOW)]),
        (&[("none", "")], &[(4.0, NOW)]),
    ]);
    let decoded = fixture.decode(&[&record]);
    assert_eq!(decoded.cells(), ["1 - b", "2 - b", "3 - b", "4 - -"]);
    let wrong = fixture.metrics.wrong_type("speed").get();
    assert_eq!(wrong, 3, "once a sample");
}

#[test]
fn what_cannot_be_used_is_refused_alone_and_what_is_broken_as_a_whole() {
    let mut fixture = Fixture::new(r#""remote_write""#, EVENT);
    let record = request(&[
        (&[("__name__", "up")], &[(1.0, 5), (2.0, NOW)]),
        (&[("instance", "x")], &[(3.0, NOW)]),
    ]);
    let decoded = fixture.decode(&[
        &record,
        &record[..record.len() - 1],
        b"",
        b"\x0a\x02\x0a\xff",
    ]);
    assert_eq!(decoded.cells(), ["up 2 - -"]);
    let malformed = "malformed it is no message of Protocol Buffers, or it is cut short";
    assert_eq!(
        decoded.refused,
        [
            "0 time_out_of_range event 1".to_owned(),
            "0 missing_field event 3: name".to_owned(),
            format!("1 {malformed}"),
            format!("3 {malformed}"),
        ]
    );
    let text = request(&[(&[("__name__", "u\u{1}")], &[(1.0, NOW)])]);
    let broken: Vec<_> = text
        .iter()
        .map(|byte| if *byte == 1 { 0xff } else { *byte })
        .collect();
    assert_eq!(fixture.decode(&[&broken]).refused.len(), 1);
}
