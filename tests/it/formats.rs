//! Records of several events through `weir run`: what is kept, what is dropped, and the dead letters.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::support::files::{self, weir};
use crate::support::samples::read_ndjson;

/// A window's start, ms since the epoch.
const T: i64 = 1_730_621_750_000;

const PIPELINE: &str = "
pipeline: exploded
source:
  file: { path: '-' }
  decode: { format: json, explode: list }
event:
  time: { from: list.t }
  fields: { vehicle: { type: text, required: true }, rpm: { from: list.rpm, type: number } }
time: { out_of_order: 1s, late: divert }
metrics:
  first: { window: { tumbling: 5s }, by: [vehicle], value: first(rpm) }
  last: { window: { tumbling: 5s }, by: [vehicle], value: last(rpm) }
  events: { window: { tumbling: 5s }, by: [vehicle], value: count(*) }
write: { file: { path: samples.ndjson } }
dead_letters: { file: dead-letters.ndjson }
";

#[test]
fn each_event_of_a_record_is_judged_on_its_own() -> Result<()> {
    let at = |seconds: i64, rpm: i64| json!({"t": T + seconds * 1_000, "rpm": rpm});
    let records = [
        // Of one time, so that the order in the record decides.
        json!({"vehicle": "V1", "list": [at(1, 10), {"rpm": 1}, at(1, 20), 7, at(1, 30), {}]}),
        json!({"vehicle": "V1", "list": [at(20, 40)]}),
        // Three events are late; one is in time.
        json!({"vehicle": "V1", "list": [at(2, 1), at(21, 50), at(3, 2), at(1, 3)]}),
        json!({"vehicle": "V1"}),
    ];
    let input: String = records.iter().map(|record| format!("{record}\n")).collect();
    let folder = files::temporary_folder()?;
    let pipeline = files::write(folder.path(), "exploded.yaml", PIPELINE)?;
    let input = files::write(folder.path(), "events.ndjson", &input)?;
    let samples = folder.path().join("samples.ndjson");
    let letters = folder.path().join("dead-letters.ndjson");
    let [pipeline, input, output] =
        [&pipeline, &input, &samples].map(|path| path.display().to_string());
    let to = format!("dead_letters={{file: '{}'}}", letters.display());
    let command = weir([
        "run", &pipeline, "--input", &input, "--output", &output, "--set", &to,
    ]);
    let run = files::run(&command, Duration::from_secs(60))?;
    assert_eq!(run.status.code(), Some(0), "{}", run.stderr);

    let value = |name: &str, end: i64| -> Result<Vec<f64>> {
        let samples = read_ndjson(&samples)?;
        let wanted = samples
            .iter()
            .filter(|sample| sample.name == name && sample.timestamp_ms == T + end * 1_000);
        Ok(wanted.map(|sample| sample.value).collect())
    };
    assert_eq!(value("first", 5)?, [10.0]);
    assert_eq!(value("last", 5)?, [30.0]);
    assert_eq!(value("events", 5)?, [3.0]);
    assert_eq!(value("events", 25)?, [2.0]);

    let letters = fs::read_to_string(&letters)?;
    let letters: Vec<Value> = letters
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let told: Vec<_> = letters
        .iter()
        .map(|letter| {
            let record = letter["record"].as_str().unwrap_or_default();
            let record: Value = serde_json::from_str(record).unwrap_or_default();
            let number = records.iter().position(|known| *known == record);
            (
                number,
                &letter["reason"],
                &letter["detail"],
                &letter["event_time_ms"],
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                Some(0),
                &json!("missing_time"),
                &json!("event 2; and 1 more of this record"),
                &Value::Null
            ),
            (
                Some(0),
                &json!("not_an_object"),
                &json!("event 4"),
                &Value::Null
            ),
            (
                Some(2),
                &json!("late"),
                &json!("and 2 more of this record"),
                &json!(T + 2_000)
            ),
            (
                Some(3),
                &json!("not_an_array"),
                &json!("list"),
                &Value::Null
            ),
        ]
    );
    let used: Vec<_> = letters
        .iter()
        .map(|letter| letter["events_used"].as_u64())
        .collect();
    // Of the record of late events, the one that is in time.
    assert_eq!(used, [Some(3), Some(3), Some(1), None]);

    let again = weir([
        "dead-letters",
        "replay",
        &pipeline,
        "--set",
        &to,
        "--dry-run",
    ]);
    let run = files::run(&again, Duration::from_secs(60))?;
    assert_eq!(run.status.code(), Some(1), "{}", run.stderr);
    let told: Vec<_> = run.stdout.lines().collect();
    assert_eq!(
        told,
        [
            "0 records would be sent again, with 0 events",
            "2 are of records of which events were counted already; --partial sends them whole",
            "1 were decoded and dropped for their time, and would be again; --reason sends them",
            "1 still give no event:",
            "REASON        RECORDS  FIRST  DETAIL OF THE FIRST",
            "not_an_array        1      4  list",
        ]
    );
    Ok(())
}
