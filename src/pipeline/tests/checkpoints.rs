//! Runs that go on from each other's checkpoints.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::bench::{Bench, Setup, events, until};

const DRAIN: Duration = Duration::from_secs(60);

/// A run with state in a folder, and without checkpoints but the first and the last one.
fn start(folder: &Path) -> Bench {
    let at = folder.display();
    // The braces around it are those of `write`.
    let write = format!(
        "file: {{ path: '{at}/samples.ndjson' }} }}
state: {{ dir: '{at}/state', checkpoints: 'file://{at}/store', checkpoint: {{ every: 1h }}"
    );
    Setup {
        workers: 2,
        write: Some(write),
        ..Setup::default()
    }
    .start()
}

/// How many checkpoints there are.
fn checkpoints(folder: &Path) -> usize {
    let manifests = fs::read_dir(folder.join("store/test/checkpoint"));
    manifests.map_or(0, Iterator::count)
}

#[test]
fn a_stop_leaves_a_checkpoint_that_the_next_run_goes_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let bench = start(folder.path());
    bench.assign(&[0, 1]);
    // The second split is behind the first one.
    bench.records(0, 0, &events(&[100, 5_200]));
    bench.records(1, 0, &events(&[400, 500]));
    assert!(until(|| bench.metric("weir_events_total") == 4.0));
    bench.running.stop_signal().stop();
    let finished = bench.running.finish(DRAIN);
    assert!(finished.error.is_none(), "{finished:?}");
    assert_eq!(checkpoints(folder.path()), 1, "at the end");

    let mut bench = start(folder.path());
    bench.assign(&[0, 1]);
    bench.records(1, 2, &events(&[600, 5_300]));
    // It was processed already.
    bench.records(0, 1, &events(&[5_200]));
    bench.end_source();
    let finished = bench.running.finish(DRAIN);
    assert!(finished.error.is_none(), "{finished:?}");
    let samples = fs::read_to_string(folder.path().join("samples.ndjson")).unwrap();
    let values: Vec<f64> = samples
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["value"].as_f64().unwrap()
        })
        .collect();
    assert_eq!(values, [4.0, 2.0], "{samples}");
}
