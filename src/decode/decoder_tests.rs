use super::*;
use crate::model::{Split, SplitId, Trilean};
use crate::telemetry::Registry;

const NOW: TimestampMs = 1_730_621_749_000;

struct Fixture {
    decoder: Decoder,
    interner: Interner,
    registry: Registry,
}

impl Fixture {
    fn new() -> Self {
        let config: EventConfig = serde_json::from_str(
            r#"{"time": {"from": "timestamp"}, "fields": {
                "vehicle": {"from": "vehicleId", "type": "text", "required": true},
                "rpm": {"from": "engine.rpm", "type": "number"},
                "on": "boolean",
                "region": {"from": "@topic[1]", "type": "text"}}}"#,
        )
        .unwrap();
        let registry = Registry::new("test");
        let metrics = DecodeMetrics::new(&registry);
        let decoder = Decoder::build(&DecodeConfig::default(), &config, 60_000, metrics).unwrap();
        Self {
            decoder,
            interner: Interner::new(),
            registry,
        }
    }

    fn decode(&mut self, records: &[&[u8]]) -> Batch {
        let split = Split {
            id: SplitId(0),
            name: "s".into(),
        };
        let mut batch = RecordBatch::new(split, NOW);
        for (position, record) in records.iter().enumerate() {
            batch.push_enveloped(record, position as u64, b"fleet/UK/1", b"");
        }
        self.decoder.decode(&batch, NOW, &mut self.interner)
    }

    fn has(&self, line: &str) {
        let text = Registry::text([&self.registry]);
        assert!(
            text.lines().any(|found| found == line),
            "no line {line} in\n{text}"
        );
    }
}

#[test]
fn fills_columns_and_keeps_positions() {
    let mut fixture = Fixture::new();
    let batch = fixture.decode(&[
        br#"{"vehicleId":"V1","timestamp":1730621749000,"engine":{"rpm":900},"on":true}"#,
        b"{",
        br#"{"vehicleId":17,"timestamp":1730621748000,"engine":{"rpm":-0.5},"on":false}"#,
    ]);
    assert_eq!(batch.times, [NOW, NOW - 1_000]);
    assert_eq!(batch.positions, [0, 2]);
    let vehicles: Vec<_> = batch.columns[0]
        .symbols()
        .iter()
        .map(|symbol| fixture.interner.text(*symbol))
        .collect();
    assert_eq!(vehicles, ["V1", "17"]);
    assert_eq!(batch.columns[1].numbers(), [900.0, -0.5]);
    assert_eq!(batch.columns[2].booleans(), [Trilean::True, Trilean::False]);
    assert_eq!(fixture.interner.text(batch.columns[3].symbols()[1]), "UK");
    fixture.has(r#"weir_events_total{split="s",pipeline="test"} 2"#);
    fixture.has(r#"weir_decode_errors_total{reason="malformed_json",pipeline="test"} 1"#);
}

#[test]
fn gives_what_gave_no_event_to_those_who_ask() {
    let mut fixture = Fixture::new();
    let good = br#"{"vehicleId":"V1","timestamp":1730621749000}"#;
    let bad = br#"{"timestamp":1730621749000}"#;
    fixture.decode(&[b"[]"]);
    assert_eq!(fixture.decoder.rejected(), []);
    fixture.decoder.keep_rejected();
    fixture.decode(&[good, b"[]", good, bad]);
    let rejected = |index, reason, detail: &str| Rejected {
        index,
        reason,
        detail: detail.to_owned(),
    };
    assert_eq!(
        fixture.decoder.rejected(),
        [
            rejected(1, Reason::NotAnObject, ""),
            rejected(3, Reason::MissingField, "vehicle"),
        ]
    );
    fixture.decode(&[good]);
    assert_eq!(fixture.decoder.rejected(), []);
}

#[test]
fn counts_what_is_missing_or_of_another_type() {
    let mut fixture = Fixture::new();
    let batch = fixture.decode(&[
        br#"{"vehicleId":"V1","timestamp":1730621749000,"engine":{"rpm":"fast"},"on":1}"#,
        br#"{"vehicleId":"V1","timestamp":1730621749000,"engine":7}"#,
        br#"{"vehicleId":null,"timestamp":1730621749000}"#,
        br#"{"vehicleId":"V2"}"#,
        br#"{"vehicleId":"V2","timestamp":17306217490000}"#,
        br#"{"vehicleId":"V2","timestamp":1730621809001}"#,
        b"\xff\xfe",
        b"[]",
    ]);
    assert_eq!(batch.rows(), 2);
    assert!(batch.columns.iter().all(|column| column.len() == 2));
    assert!(
        batch.columns[1]
            .numbers()
            .iter()
            .all(|value| value.is_nan())
    );
    for line in [
        r#"weir_field_errors_total{field="rpm",reason="wrong_type",pipeline="test"} 1"#,
        r#"weir_field_errors_total{field="rpm",reason="missing",pipeline="test"} 1"#,
        r#"weir_field_errors_total{field="on",reason="wrong_type",pipeline="test"} 1"#,
        r#"weir_decode_errors_total{reason="missing_field",pipeline="test"} 1"#,
        r#"weir_decode_errors_total{reason="missing_time",pipeline="test"} 1"#,
        r#"weir_decode_errors_total{reason="time_out_of_range",pipeline="test"} 1"#,
        r#"weir_decode_errors_total{reason="too_far_ahead",pipeline="test"} 1"#,
        r#"weir_decode_errors_total{reason="invalid_utf8",pipeline="test"} 1"#,
        r#"weir_decode_errors_total{reason="not_an_object",pipeline="test"} 1"#,
    ] {
        fixture.has(line);
    }
    assert_eq!(fixture.decoder.metrics.dropped_total(), 6);
}

proptest::proptest! {
    #[test]
    fn never_panics_and_keeps_columns_of_one_length(
        records in proptest::collection::vec(
            proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60), 0..20),
    ) {
        let mut fixture = Fixture::new();
        let records: Vec<_> = records.iter().map(Vec::as_slice).collect();
        let batch = fixture.decode(&records);
        for column in &batch.columns {
            proptest::prop_assert_eq!(column.len(), batch.rows());
        }
    }
}

#[test]
fn each_reason_is_logged_also_where_another_one_is_frequent() {
    let mut fixture = Fixture::new();
    // A decoder logs what it drops.
    fixture.decode(&[b"{", b"{", b"[]"]);
    let mut held_back = |reason| fixture.decoder.may_log(reason);
    assert_eq!(held_back(Reason::MalformedJson), None);
    assert_eq!(held_back(Reason::NotAnObject), None);
    for reason in Reason::ALL {
        let is_first = held_back(reason).is_some();
        let is_known = matches!(reason, Reason::MalformedJson | Reason::NotAnObject);
        assert_eq!(is_first, !is_known, "{reason:?}");
    }
}
