//! What lookups count.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec};

use crate::telemetry::Registry;

/// The metrics of a pipeline's lookups.
#[derive(Debug, Clone)]
pub struct LookupMetrics {
    /// Events whose key was not in the table.
    pub(super) misses: IntCounterVec,
    /// Events dropped because their key was not in the table.
    pub(super) dropped: IntCounterVec,
    /// Rows of the table in use.
    pub(super) rows: IntGaugeVec,
    /// Looks at the file, by result.
    pub(super) refreshes: IntCounterVec,
    /// Age of the table in use.
    pub(super) age: GaugeVec,
}

impl LookupMetrics {
    /// The metrics in a registry.
    pub fn new(registry: &Registry) -> Self {
        Self {
            misses: registry.counters(
                "weir_lookup_misses_total",
                "Events whose key was not in the table.",
                &["lookup"],
            ),
            dropped: registry.counters(
                "weir_lookup_dropped_total",
                "Events dropped because their key was not in the table.",
                &["lookup"],
            ),
            rows: registry.int_gauges("weir_lookup_rows", "Rows of the table in use.", &["lookup"]),
            refreshes: registry.counters(
                "weir_lookup_refreshes_total",
                "Looks at the table's file, by result (changed, unchanged, failed).",
                &["lookup", "result"],
            ),
            age: registry.gauges(
                "weir_lookup_age_seconds",
                "Time since the table was last found to be up to date.",
                &["lookup"],
            ),
        }
    }
}
