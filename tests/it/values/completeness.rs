//! What is told of the fleet beside a metric, against the plainest count of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::script::{Arrival, arrival, lines, run, script, sorted, texts};
use crate::reference::event::{Event, OUT_OF_ORDER_MS, read};
use crate::reference::fleet::expect_same;
use crate::support::files::{temporary_folder, write};
use crate::support::samples::Sample;

const PIPELINE: &str = "
pipeline: fleet
source: { kafka: { brokers: none, topics: [none], group: none }, decode: json }
event:
  time: { from: timestamp, unit: ms }
  fields: { vehicle: { from: vehicleId, type: text }, kind: { from: eventType, type: text } }
time: { out_of_order: 2s, max_ahead: 1h }
enrich:
  - lookup: vehicles
    key: vehicle
    from: { csv: none, key: id }
    add: [model]
    otherwise: { model: Helion }
metrics:
  moving:
    where: kind <> 'X'
    window: { tumbling: 2s }
    by: [model]
    completeness: vehicles
    value: count(*)
write: { file: { path: none } }
";

/// One of them has no model, and none has the vehicle `V4`, of which events come.
const TABLE: [(&str, &str); 6] = [
    ("V0", "Helion"),
    ("V1", "Helion"),
    ("V2", "Polara"),
    ("V3", "Polara"),
    ("V5", ""),
    ("V9", "Orbitra"),
];

const SIZE_MS: i64 = 2_000;

fn end_of(time_ms: i64) -> i64 {
    (time_ms.div_euclid(SIZE_MS) + 1) * SIZE_MS
}

/// Devices by model.
type Devices = BTreeMap<String, BTreeSet<String>>;

fn expected(events: &[Event]) -> Vec<Sample> {
    let model = |vehicle: &Option<String>| {
        let row = TABLE.iter().find(|(id, _)| Some(*id) == vehicle.as_deref());
        row.map_or("Helion", |(_, model)| *model).to_owned()
    };
    let mut windows: BTreeMap<i64, [Devices; 2]> = BTreeMap::new();
    let mut counts: BTreeMap<(i64, String), f64> = BTreeMap::new();
    for event in events {
        let kind = event.text("eventType");
        if kind.is_none_or(|kind| kind == "X") {
            continue;
        }
        let end = end_of(event.time_ms);
        let vehicle = event.text("vehicleId");
        let late = event.is_late(end);
        let at = if late {
            end_of(event.watermark_ms())
        } else {
            end
        };
        let [reporting, too_late] = windows.entry(at).or_default();
        let devices = if late { too_late } else { reporting };
        let listed = |id: &String| TABLE.iter().any(|(known, _)| known == id);
        let of_model = devices.entry(model(&vehicle)).or_default();
        of_model.extend(vehicle.clone().filter(listed));
        if !late {
            *counts.entry((end, model(&vehicle))).or_default() += 1.0;
        }
    }
    let mut samples = Vec::new();
    for ((end, model), count) in counts {
        samples.push(sample("moving", &model, end, count));
    }
    let reached = events.iter().map(|event| event.time_ms).max().unwrap_or(0) - OUT_OF_ORDER_MS;
    let mut fleet: BTreeMap<String, usize> = BTreeMap::new();
    for (_, model) in TABLE {
        *fleet.entry(model.to_owned()).or_default() += 1;
    }
    let Some((first, last)) = windows.keys().next().zip(windows.keys().last()) else {
        return samples;
    };
    let mut end = *first;
    while end <= *last.max(&reached) {
        let [reporting, late] = windows.get(&end).cloned().unwrap_or_default();
        for model in fleet.keys() {
            let of = |devices: &Devices| devices.get(model).cloned().unwrap_or_default();
            let (reporting, late) = (of(&reporting), of(&late));
            let late = late.difference(&reporting).count();
            let expected = fleet.get(model).copied().unwrap_or(0);
            let offline = expected.saturating_sub(reporting.len() + late);
            for (suffix, value) in [
                ("expected", expected),
                ("reporting", reporting.len()),
                ("late", late),
                ("offline", offline),
            ] {
                let name = format!("moving_devices_{suffix}");
                samples.push(sample(&name, model, end, value as f64));
            }
        }
        end += SIZE_MS;
    }
    samples
}

fn sample(name: &str, model: &str, timestamp_ms: i64, value: f64) -> Sample {
    let mut labels = BTreeMap::from([("model".to_owned(), model.to_owned())]);
    labels.retain(|_, value| !value.is_empty());
    Sample {
        name: name.to_owned(),
        labels,
        timestamp_ms,
        value,
    }
}

fn check(arrivals: &[Arrival]) -> Result<()> {
    let lines = lines(arrivals);
    let splits = texts(&lines)?;
    let folder = temporary_folder()?;
    let mut table = "id,model\n".to_owned();
    for (vehicle, model) in TABLE {
        table.push_str(&format!("{vehicle},{model}\n"));
    }
    let table = write(folder.path(), "vehicles.csv", &table)?;
    let expected = sorted(expected(&read(&splits)));
    for workers in 1..=3 {
        let set = vec![("enrich.0.from.csv".to_owned(), table.display().to_string())];
        let output = folder.path().join(format!("samples-{workers}.ndjson"));
        let found = sorted(run(PIPELINE, set, &output, script(&lines)?, workers)?);
        expect_same(&found, &expected).with_context(|| format!("{workers} workers"))?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_device_is_in_its_place(arrivals in vec(arrival(), 0..120)) {
        check(&arrivals).map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
    }
}
