//! Series that end, in a real Prometheus: gone from the marker's time on, though their last sample is younger
//! than five minutes.

use anyhow::{Result, ensure};

use crate::reference::fleet::START_MS;
use crate::reference::stateful::Stateful;
use crate::support::prometheus::{Prometheus, PrometheusOptions, Release};

const PIPELINE: &str = "pipeline: cars
source: { file: { path: [events.ndjson] } }
event: { time: { from: t }, fields: { vehicle: text, speed: number } }
time: { out_of_order: 2s, idle_after: 1h }
metrics:
  readings: { window: { tumbling: 5s, stale_after: 20s }, by: [vehicle], value: count(*) }
  speeds: { window: { tumbling: 5s, stale_after: 20s }, by: [vehicle], value: histogram(speed) }
write: { remote_write: { url: none } }
";

/// What keeps state.
const STATE: &str = "state: { dir: state, checkpoint: { every: 1h } }\n";

/// An event of V1 each second until 61 s after the start, and one of V2 at its beginning.
fn events() -> Vec<String> {
    let event = |second: i64, vehicle: &str| {
        let time = START_MS + second * 1_000;
        format!(r#"{{"t":{time},"vehicle":"{vehicle}","speed":{second}}}"#)
    };
    let v1 = (0..=61).map(|second| event(second, "V1"));
    std::iter::once(event(1, "V2")).chain(v1).collect()
}

/// Which vehicles have an answer just before a time, s after the start, and then.
fn vehicles(prometheus: &Prometheus, second: i64) -> Result<[Vec<String>; 2]> {
    let at = |at_ms: i64| -> Result<Vec<String>> {
        let mut both = Vec::new();
        for query in ["readings", "histogram_count(speeds)"] {
            let answers = prometheus.query_at(query, at_ms)?.into_iter();
            let names = answers.filter_map(|(labels, _)| labels.get("vehicle").cloned());
            both.push(names.collect::<Vec<_>>());
        }
        let distributions = both.pop().unwrap_or_default();
        let numbers = both.pop().unwrap_or_default();
        ensure!(
            numbers == distributions,
            "{numbers:?} have numbers, {distributions:?} distributions"
        );
        Ok(numbers)
    };
    let at_ms = START_MS + second * 1_000;
    Ok([at(at_ms - 1)?, at(at_ms)?])
}

fn url(prometheus: &Prometheus) -> String {
    format!("write.remote_write.url={}", prometheus.remote_write_url())
}

#[test]
fn a_series_that_falls_silent_is_gone_and_all_are_at_the_end_of_the_input() -> Result<()> {
    for release in [Release::Packaged, Release::Current] {
        let options = PrometheusOptions {
            release,
            ..PrometheusOptions::default()
        };
        let prometheus = Prometheus::start_with(&options)?;
        let stateful = Stateful::new(PIPELINE)?;
        stateful.replace(&events())?;
        stateful.finish(&["--set", &url(&prometheus)])?;
        // The last sample of V2 is that of the first window, at 5 s.
        assert_eq!(vehicles(&prometheus, 25)?, [vec!["V1", "V2"], vec!["V1"]]);
        // The last window ends at 65 s.
        assert_eq!(vehicles(&prometheus, 70)?, [vec!["V1"], vec![]]);
        let found = prometheus.series_samples("readings", START_MS, START_MS + 100_000)?;
        let counts: Vec<_> = found.iter().map(|(_, points)| points.len()).collect();
        assert_eq!(counts, [13, 1], "{release:?}: nothing but markers is added");
    }
    Ok(())
}

/// Reads a pipe until all windows up to 55 s are written, and is stopped.
fn stopped(pipeline: &str) -> Result<Prometheus> {
    let (prometheus, stateful) = (Prometheus::start()?, Stateful::new(pipeline)?);
    let mut feed = stateful.feed()?;
    let mut service = stateful.start(&["--set", &url(&prometheus)])?;
    feed.write(&events())?;
    // Of V1 eleven windows, of V2 one and a marker, all of both metrics.
    service.await_metric("weir_samples_total", &[], 2.0 * 13.0)?;
    service.await_metric("weir_staleness_markers_total", &[], 2.0)?;
    service.stop()?;
    assert_eq!(vehicles(&prometheus, 25)?, [vec!["V1", "V2"], vec!["V1"]]);
    Ok(prometheus)
}

#[test]
fn a_stop_ends_all_series_where_no_state_is_kept() -> Result<()> {
    let prometheus = stopped(PIPELINE)?;
    assert_eq!(vehicles(&prometheus, 60)?, [vec!["V1"], vec![]]);
    Ok(())
}

#[test]
fn a_stop_ends_no_series_where_state_is_kept() -> Result<()> {
    let prometheus = stopped(&format!("{PIPELINE}{STATE}"))?;
    assert_eq!(vehicles(&prometheus, 60)?, [vec!["V1"], vec!["V1"]]);
    // As long as Prometheus answers for a series that has had no marker.
    assert_eq!(vehicles(&prometheus, 55 + 299)?[1], ["V1"]);
    Ok(())
}
