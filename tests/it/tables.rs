//! Reference tables end to end: NDJSON, JSON, dated rows, chained lookups, no lookup at all, and S3.

use std::process::Command;

use anyhow::Result;

use crate::reference::fleet::succeed;
use crate::support::files::{temporary_folder, weir, write};
use crate::support::moto::Moto;
use crate::support::samples::read_ndjson;

/// 3 November 2024, 00:00 UTC.
const DAY: i64 = 1_730_592_000_000;

const HEAD: &str = r#"
pipeline: tables
source: { file: { path: events.ndjson } }
event:
  time: { from: t }
  fields: { vehicle: text, x: number }
time: { out_of_order: 1d }
write: { file: { path: samples.ndjson } }
metrics:
  events: { window: { tumbling: 1d }, by: [model, city], value: sum(x) }
enrich:
"#;

/// Two days: V1 changes its model and depot between them, V2 has a gap, V3 is not known.
fn events() -> String {
    let rows = [
        (DAY, "V1", 1),
        (DAY + 86_399_999, "V1", 2),
        (DAY + 86_400_000, "V1", 4),
        (DAY + 10, "V2", 8),
        (DAY + 86_400_010, "V2", 16),
        (DAY + 20, "V3", 32),
    ];
    let line = |(t, vehicle, x): &(i64, &str, i64)| {
        format!("{{\"t\":{t},\"vehicle\":\"{vehicle}\",\"x\":{x}}}\n")
    };
    rows.iter().map(line).collect()
}

/// A sample as `model city window value`; the window is the day, from 1.
type Row = (String, String, i64, f64);

fn run(enrich: &str, files: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Vec<Row>> {
    let folder = temporary_folder()?;
    for (name, content) in files {
        write(folder.path(), name, content)?;
    }
    let pipeline = write(folder.path(), "tables.yaml", &format!("{HEAD}{enrich}"))?;
    let input = write(folder.path(), "events.ndjson", &events())?;
    let output = folder.path().join("out.ndjson");
    let mut command: Command = weir(["run"]);
    command.arg(pipeline).arg("--input").arg(input);
    command.arg("--output").arg(&output);
    command.envs(environment.iter().copied());
    succeed(&command)?;
    let mut rows: Vec<Row> = Vec::new();
    for sample in read_ndjson(&output)? {
        let label = |name: &str| sample.labels.get(name).cloned().unwrap_or_default();
        let day = (sample.timestamp_ms - DAY) / 86_400_000;
        rows.push((label("model"), label("city"), day, sample.value));
    }
    rows.sort_by(|a, b| (&a.0, &a.1, a.2).cmp(&(&b.0, &b.1, b.2)));
    Ok(rows)
}

fn row(model: &str, city: &str, day: i64, value: f64) -> Row {
    (model.to_owned(), city.to_owned(), day, value)
}

const VEHICLES: &str = r#"
{"vin": "V1", "spec": {"model": "Helion"}, "depot": 7, "since": null, "until": "2024-11-04"}
{"vin": "V1", "spec": {"model": "Polara"}, "depot": 8, "since": "2024-11-04"}
{"vin": "V2", "spec": {"model": "Orbitra"}, "depot": 8, "since": "2024-11-01", "until": "2024-11-04"}
"#;

const DEPOTS: &str = r#"{"7": {"city": "Leeds"}, "8": {"city": "Graz"}}"#;

const CHAINED: &str = r#"
  - lookup: vehicles
    key: vehicle
    from: { ndjson: VEHICLES, key: vin, valid: { from: since, to: until, unit: date } }
    add: [{ column: spec.model, as: model }, depot]
    otherwise: { model: unknown }
  - lookup: depots
    key: depot
    from: { json: depots.json }
    add: [city]
"#;

fn chained() -> Vec<Row> {
    vec![
        row("Helion", "Leeds", 1, 3.0),
        row("Orbitra", "Graz", 1, 8.0),
        row("Polara", "Graz", 2, 4.0),
        row("unknown", "", 1, 32.0),
        row("unknown", "", 2, 16.0),
    ]
}

#[test]
fn dated_rows_of_ndjson_and_a_chained_lookup_in_json() -> Result<()> {
    let enrich = CHAINED.replace("VEHICLES", "vehicles.ndjson");
    let files = [("vehicles.ndjson", VEHICLES), ("depots.json", DEPOTS)];
    assert_eq!(run(&enrich, &files, &[])?, chained());
    Ok(())
}

#[test]
fn a_lookup_that_is_not_made() -> Result<()> {
    // There are no files.
    let enrich = CHAINED
        .replace("add: [{", "mode: none\n    add: [{")
        .replace("add: [city]", "mode: none\n    add: [city]");
    let expected = vec![row("unknown", "", 1, 43.0), row("unknown", "", 2, 20.0)];
    assert_eq!(run(&enrich, &[], &[])?, expected);
    Ok(())
}

#[test]
fn a_table_in_s3() -> Result<()> {
    let moto = Moto::start()?;
    moto.put("fleet", "")?;
    moto.put("fleet/reference/vehicles.ndjson", VEHICLES)?;
    let endpoint = moto.endpoint();
    let location = format!(
        "\"s3://fleet/reference/vehicles.ndjson\", s3: {{ region: us-east-1, allow_http: true, \
         endpoint: \"{endpoint}\" }}"
    );
    let environment = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("NO_PROXY", "127.0.0.1"),
    ];
    let enrich = CHAINED.replace("VEHICLES", &location);
    let files = [("depots.json", DEPOTS)];
    assert_eq!(run(&enrich, &files, &environment)?, chained());

    let missing = enrich.replace("vehicles.ndjson", "lost.ndjson");
    let error = run(&missing, &files, &environment).unwrap_err().to_string();
    assert!(
        error.contains(
            "lookup vehicles: cannot read s3://fleet/reference/lost.ndjson: \
             there is no such bucket or object"
        ),
        "{error}"
    );
    Ok(())
}
