//! Random events over several splits, in random batches that arrive in a random order: the samples
//! are those of the reference, whatever the number of workers.

use anyhow::{Context as _, Result};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::script::{Arrival, arrival, lines, run, script, texts};
use crate::reference::cars::{Models, connected_cars};
use crate::reference::fleet::expect_same;
use crate::support::files::{temporary_folder, write};

const PIPELINE: &str = include_str!("../../../pipelines/connected-cars.yaml");

fn check(arrivals: &[Arrival]) -> Result<()> {
    let lines = lines(arrivals);
    let splits = texts(&lines)?;
    let rows = [
        ("V0", "Helion"),
        ("V1", "Helion"),
        ("V2", "Polara"),
        ("V3", "Orbitra"),
    ];
    let mut table = "vehicle_id,model\n".to_owned();
    let mut models = Models::new();
    for (vehicle, model) in rows {
        table.push_str(&format!("{vehicle},{model}\n"));
        models.insert(vehicle.to_owned(), model.to_owned());
    }
    let expected = connected_cars(&splits, &models).samples;
    let folder = temporary_folder()?;
    let table = write(folder.path(), "vehicles.csv", &table)?;
    for workers in 1..=3 {
        let set = vec![("enrich.0.from.csv".to_owned(), table.display().to_string())];
        let output = folder.path().join(format!("samples-{workers}.ndjson"));
        let found = run(PIPELINE, set, &output, script(&lines)?, workers)?;
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
    fn any_events_in_any_order(arrivals in vec(arrival(), 0..120)) {
        check(&arrivals).map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
    }
}
