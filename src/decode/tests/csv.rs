//! CSV.

use proptest::prelude::*;

use super::{Fixture, NOW};

const EVENT: &str = r#"{"time": {"from": "t"}, "fields": {
    "vehicle": {"from": "vehicle.id", "type": "text", "required": true},
    "rpm": "number", "on": "boolean"}}"#;

#[test]
fn the_first_row_names_the_columns() {
    let mut fixture = Fixture::new(r#""csv""#, EVENT);
    let record = format!(
        "on,vehicle.id,other,t,rpm\r\ntrue,\"V,\"\"1\"\"\",x,{NOW},1e2\nno,V2,,{NOW},\n,,,{NOW},1\n"
    );
    let decoded = fixture.decode(&[record.as_bytes(), b"t,rpm", b""]);
    assert_eq!(decoded.cells(), ["V,\"1\" 100 true", "V2 - -"]);
    let no_row = "malformed no row behind that of the names; where records have no names, say them with columns";
    assert_eq!(
        decoded.refused,
        [
            "0 missing_field event 3: vehicle".to_owned(),
            format!("1 {no_row}"),
            format!("2 {no_row}"),
        ]
    );
    assert_eq!(fixture.metrics.dropped_total(), 3);
}

#[test]
fn a_quote_without_its_end_is_told() {
    let mut fixture = Fixture::new(
        r#"{"format": "csv", "columns": ["t", "vehicle.id"]}"#,
        EVENT,
    );
    let rows = |text: &str| text.replace("NOW", &NOW.to_string());
    let decoded = fixture.decode(&[
        rows("NOW,V1\nNOW,\"V2\nNOW,V3\n").as_bytes(),
        rows("NOW,\"V4").as_bytes(),
        rows("NOW,\"V5\n\"\n\n").as_bytes(),
        rows("NOW,5\" pipe").as_bytes(),
        rows("NOW,\"V6\"").as_bytes(),
        rows("\n").as_bytes(),
    ]);
    assert_eq!(
        decoded.cells(),
        ["V1 - -", "V5\n - -", "5\" pipe - -", "V6 - -"]
    );
    assert_eq!(
        decoded.refused,
        [
            "0 malformed event 2: a cell in quotes without its end",
            "1 malformed a cell in quotes without its end",
            "5 malformed no row",
        ]
    );
}

#[test]
fn columns_may_be_known() {
    let mut fixture = Fixture::new(
        r#"{"format": "csv", "delimiter": ";", "quote": "'", "columns": ["t", "vehicle.id", "rpm"]}"#,
        EVENT,
    );
    let row = format!("{NOW};'V;1';-7.5");
    let several = format!("{NOW};é;1\n{NOW};V2\n\n{NOW};V3;2;3\n{NOW};V4;\"5\"");
    let decoded = fixture.decode(&[
        b"t;vehicle.id;rpm",
        row.as_bytes(),
        several.as_bytes(),
        b"yesterday;V1;1",
        b"\xff",
    ]);
    assert_eq!(decoded.cells(), ["V;1 -7.5 -", "é 1 -", "V4 - -"]);
    assert_eq!(
        decoded.refused[..2],
        [
            "2 malformed event 2: a row of 2 cells, where there are 3 columns; and 1 more of this record",
            "3 time_unreadable",
        ]
    );
    assert_eq!(decoded.refused.len(), 3);
}

#[test]
fn times_may_be_texts() {
    let mut fixture = Fixture::new(
        r#"{"format": "csv", "columns": ["t", "rpm"]}"#,
        r#"{"time": {"from": "t", "unit": "rfc3339"}, "fields": {"rpm": "number"}}"#,
    );
    let decoded = fixture.decode(&[b"2024-11-03T08:15:49Z,1"]);
    assert_eq!(decoded.rows[0].0, NOW);
}

/// A row in CSV, every cell in quotes.
fn written(row: &[String]) -> String {
    let cells: Vec<_> = row
        .iter()
        .map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")))
        .collect();
    cells.join(",")
}

proptest! {
    #[test]
    fn gives_back_what_was_written(
        rows in proptest::collection::vec(("[^\u{0}]{1,20}", "[ -~\n\r,\"é]{1,8}"), 1..20),
    ) {
        let mut fixture = Fixture::new(
            r#"{"format": "csv", "columns": ["a", "b"]}"#,
            r#"{"time": {"from": "@timestamp"}, "fields": {"a": "text", "b": "text"}}"#,
        );
        let rows: Vec<_> = rows.into_iter().map(|(a, b)| vec![a, b]).collect();
        let text: Vec<_> = rows.iter().map(|row| written(row)).collect();
        let decoded = fixture.decode(&[text.join("\n").as_bytes()]);
        let cells: Vec<_> = decoded.rows.into_iter().map(|(_, _, cells)| cells).collect();
        prop_assert_eq!(cells, rows);
    }
}
