//! The two metrics that the hand-written loop computes, for the engine.

use std::path::Path;

use weir::config::Overrides;

use crate::engine::Job;
use crate::fleet::Inputs;

/// As `pipelines/connected-cars.yaml` has them.
const TWO_METRICS: &str = "
pipeline: limit
source: { file: { path: none }, decode: json }
event:
  time: { from: timestamp, unit: ms }
  fields:
    kind: { from: eventType, type: text }
    vehicle: { from: vehicleId, type: text }
    region: text
    measurement: number
time: { out_of_order: 2s, idle_after: 10s, max_ahead: 1m, late: drop }
enrich:
  - lookup: vehicles
    key: vehicle
    from: { csv: none, key: vehicle_id, refresh: 1m }
    add: [model]
    otherwise: { model: unknown }
metrics:
  vehicles_in_motion:
    where: kind IN ('IC_RPM', 'ELECTRIC_RPM')
    window: { tumbling: 5s }
    by: [model, region]
    value: count(DISTINCT vehicle) FILTER (WHERE measurement <> 0)
  warnings:
    where: kind = 'WARNINGS'
    window: { tumbling: 5s }
    per: { key: vehicle, let: { lights: first(measurement) } }
    by: [model, region]
    value: sum(lights)
write: { file: { path: /dev/null } }
";

/// Takes all events of a fleet through the two metrics; the samples go to a file.
pub(crate) fn job(inputs: &Inputs, workers: usize, output: &Path) -> Job {
    Job {
        pipeline: TWO_METRICS.to_owned(),
        overrides: Overrides {
            set: vec![(
                "enrich.0.from.csv".to_owned(),
                inputs.reference.display().to_string(),
            )],
            input: inputs.paths(),
            output: Some(output.display().to_string()),
        },
        workers,
        events: inputs.size.events,
    }
}
