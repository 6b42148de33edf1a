//! What of weir's metrics the dashboards and alerts show: all of it, by labels that exist.

use std::collections::BTreeSet;

use super::board::Dashboard;
use super::promql::{grouping_labels, series_names};
use crate::metrics::{documented, family, used_by_dashboards_and_alerts};

/// Labels that every series has, or that all parts of a histogram have.
const COMMON: [&str; 4] = ["pipeline", "job", "instance", "le"];

/// Metrics that are in no panel and no alert, and why.
const NOT_SHOWN: [(&str, &str); 29] = [
    (
        "weir_decode_stale_markers_total",
        "agents end series all the time",
    ),
    (
        "weir_split_pauses_total",
        "the panel of splits shows paused ones",
    ),
    ("weir_lookup_hits_total", "what is missed is shown"),
    (
        "weir_lookup_invalid_positions_total",
        "they are among the misses",
    ),
    (
        "weir_lookup_retries_total",
        "the duration and the failures are shown",
    ),
    (
        "weir_lookup_cache_keys",
        "set by the pipeline file; hits and misses are shown",
    ),
    (
        "weir_lookup_bytes",
        "a part of the resident memory; the rows are shown",
    ),
    ("weir_lookup_version", "refreshes are shown"),
    ("weir_lookup_loaded_timestamp_seconds", "the age is shown"),
    (
        "weir_lookup_load_duration_seconds",
        "of interest when a start is slow only",
    ),
    (
        "weir_clock_skew_devices",
        "the distribution behind the devices that are shown",
    ),
    (
        "weir_series_over_budget",
        "groups that were folded are shown",
    ),
    (
        "weir_label_values",
        "for the search after groups were folded",
    ),
    ("weir_open_windows_peak", "open windows are shown over time"),
    (
        "weir_interner_compaction_seconds",
        "it stands still for ms; texts are shown",
    ),
    ("weir_staleness_markers_total", "they are among the samples"),
    (
        "weir_relabelling_collisions_total",
        "of interest when relabelling is changed only",
    ),
    (
        "weir_already_sent_series",
        "of interest right after a restart only",
    ),
    (
        "weir_journal_samples_in_doubt",
        "of interest right after a restart only",
    ),
    (
        "weir_journal_bytes_total",
        "the size of the journal is shown",
    ),
    ("weir_remote_write_shards_min", "set by the pipeline file"),
    (
        "weir_remote_write_batch_limit_bytes",
        "the limit in samples moves with it",
    ),
    (
        "weir_remote_write_isolations_total",
        "what was refused is shown",
    ),
    ("weir_remote_write_protocol", "settled at the start"),
    (
        "weir_remote_write_metadata_total",
        "no samples depend on it",
    ),
    (
        "weir_remote_write_metadata_failed_total",
        "no samples depend on it",
    ),
    ("weir_checkpoint_number", "the age of the last one is shown"),
    ("weir_last_failure", "restarts are shown by cause"),
    (
        "weir_last_failure_timestamp_seconds",
        "restarts are shown over time",
    ),
];

#[test]
fn every_metric_of_weir_is_in_a_panel_or_an_alert() {
    let used = used_by_dashboards_and_alerts().unwrap();
    let used: BTreeSet<_> = used.iter().map(|name| family(name)).collect();
    let documented = documented().unwrap();
    let unseen: Vec<_> = documented
        .keys()
        .map(String::as_str)
        .filter(|name| name.starts_with("weir_") && !used.contains(name))
        .collect();
    let mut expected: Vec<_> = NOT_SHOWN.iter().map(|(name, _)| *name).collect();
    expected.sort_unstable();
    assert_eq!(
        unseen, expected,
        "left: in no panel and no alert; right: those with a reason"
    );
}

#[test]
fn panels_group_by_labels_that_their_metrics_have() {
    let documented = documented().unwrap();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for dashboard in Dashboard::all().unwrap() {
        for panel in &dashboard.panels {
            for target in &panel.targets {
                let names = series_names(&dashboard.resolve(&target.expr).unwrap());
                let metrics: Option<Vec<_>> = names
                    .iter()
                    .map(|name| documented.get(family(name)))
                    .collect();
                // Those of pipelines have the labels that their files say.
                let Some(metrics) = metrics else { continue };
                for label in grouping_labels(&target.expr) {
                    checked += 1;
                    let is_known = COMMON.contains(&label)
                        || metrics.iter().any(|metric| metric.labels.contains(label));
                    if !is_known {
                        wrong.push(format!("{:?}: {names:?} by {label}", panel.title));
                    }
                }
            }
        }
    }
    assert!(checked > 50, "only {checked} labels were found");
    assert_eq!(wrong, [""; 0]);
}
