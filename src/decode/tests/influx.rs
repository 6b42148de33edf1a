//! The line protocol of InfluxDB.

use proptest::prelude::*;

use super::{Fixture, NOW};

const EVENT: &str = r#"{"time": {"from": "_time", "unit": "ns"}, "fields": {
    "kind": {"from": "_measurement", "type": "text"},
    "vehicle": {"from": "vehicle id", "type": "text"},
    "year": "number",
    "rpm": "number", "on": "boolean", "note": "text"}}"#;

fn ns(text: &str) -> String {
    text.replace("NOW", &(NOW * 1_000_000).to_string())
}

#[test]
fn a_line_is_an_event() {
    let mut fixture = Fixture::new(r#""influx""#, EVENT);
    let record = ns(concat!(
        "# a comment\n\n",
        "engine\\ 1,vehicle\\ id=V\\,1,year=2024,other=x rpm=1.5e2,on=t,note=\"a \\\"b\\\", c\nd\" NOW\n",
        "engine rpm=-7i,on=FALSE,z=18446744073709551615u   NOW\r\n",
        "engine,year=new note=\"\\\\\" NOW"
    ));
    let decoded = fixture.decode(&[record.as_bytes()]);
    assert_eq!(
        decoded.cells(),
        [
            "engine 1 V,1 2024 150 true a \"b\", c\nd",
            "engine - - -7 false -",
            "engine - - - - \\",
        ]
    );
    assert!(decoded.rows.iter().all(|(time, _, _)| *time == NOW));
    assert_eq!(decoded.refused, [""; 0]);
}

#[test]
fn a_bad_line_is_refused_alone() {
    let bad = [
        "engine",
        "engine ",
        "engine rpm",
        "engine rpm=",
        "engine rpm=fast NOW",
        "engine rpm=nan NOW",
        "engine rpm=1.5i NOW",
        "engine rpm=-1u NOW",
        "engine rpm=1 soon",
        "engine rpm=1 NOW NOW",
        "engine,vehicle rpm=1 NOW",
        "engine,=x rpm=1 NOW",
        "engine,vehicle= rpm=1 NOW",
        ",a=b rpm=1 NOW",
        "engine note=\"open NOW",
        "engine note=\"two\nfake rpm=9 NOW\n\" soon",
    ];
    for line in bad {
        let mut fixture = Fixture::new(r#""influx""#, EVENT);
        let record = ns(&format!("a rpm=1 NOW\n{line}\na rpm=2 NOW"));
        let decoded = fixture.decode(&[record.as_bytes()]);
        assert_eq!(
            decoded.cells(),
            ["a - - 1 - -", "a - - 2 - -"],
            "{line}: {:?}",
            decoded.refused
        );
        assert_eq!(decoded.refused.len(), 1, "{line}");
        assert!(
            decoded.refused[0].starts_with("0 malformed event 2: "),
            "{:?}",
            decoded.refused
        );
    }
    let mut fixture = Fixture::new(r#""influx""#, EVENT);
    assert_eq!(
        fixture.decode(&[b"a rpm=1"]).refused,
        ["0 missing_time"],
        "a line without a time"
    );
}

/// A name with backslashes before what would end it.
fn escaped(name: &str) -> String {
    name.chars()
        .flat_map(|c| [",= ".contains(c).then_some('\\'), Some(c)])
        .flatten()
        .collect()
}

proptest! {
    #[test]
    fn gives_back_what_was_written(
        lines in proptest::collection::vec(
            ("[a-z,= é]{1,8}x", "[a-z,= ]{1,8}y", any::<i64>(), any::<bool>(), "[a-z\"\\\\ =,\né]{0,8}"), 1..10),
    ) {
        let mut expected = Vec::new();
        let mut text = String::new();
        for (kind, vehicle, rpm, on, note) in &lines {
            let note_written = note.replace('\\', "\\\\").replace('"', "\\\"");
            text.push_str(&ns(&format!(
                "a{},vehicle\\ id={} rpm={rpm}i,on={on},note=\"{note_written}\" NOW\n",
                escaped(kind), escaped(vehicle),
            )));
            expected.push(vec![
                format!("a{kind}"), vehicle.clone(), "-".to_owned(),
                (*rpm as f64).to_string(), on.to_string(), note.clone(),
            ]);
        }
        let mut fixture = Fixture::new(r#""influx""#, EVENT);
        let decoded = fixture.decode(&[text.as_bytes()]);
        let cells: Vec<_> = decoded.rows.into_iter().map(|(_, _, cells)| cells).collect();
        prop_assert_eq!(cells, expected);
    }
}
