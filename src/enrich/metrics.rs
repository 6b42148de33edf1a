//! What lookups count.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec};

use super::partial::PartialMetrics;
use super::table::Table;
use crate::model::Clock;
use crate::telemetry::{ComputedGauges, Registry};

/// The metrics of a pipeline's lookups.
#[derive(Debug, Clone)]
pub struct LookupMetrics {
    /// Events whose key was in the table.
    pub(super) hits: IntCounterVec,
    /// Events whose key was not in the table.
    pub(super) misses: IntCounterVec,
    /// Events whose position is no place.
    pub(super) invalid: IntCounterVec,
    /// Events dropped because their key was not in the table.
    pub(super) dropped: IntCounterVec,
    /// Rows of the table in use.
    rows: IntGaugeVec,
    /// Bytes of the table in use.
    bytes: IntGaugeVec,
    /// The version of the table in use.
    version: IntGaugeVec,
    /// When the table in use was loaded.
    loaded: GaugeVec,
    /// How long loading it took.
    duration: GaugeVec,
    /// Looks at the table, by result.
    pub(super) refreshes: IntCounterVec,
    /// Age of the table in use.
    pub(super) age: ComputedGauges,
    /// What partial lookups count beside.
    pub(super) partial: PartialMetrics,
}

impl LookupMetrics {
    /// The metrics in a registry.
    pub fn new(registry: &Registry) -> Self {
        let counters = |name: &str, help: &str| registry.counters(name, help, &["lookup"]);
        let int_gauges = |name: &str, help: &str| registry.int_gauges(name, help, &["lookup"]);
        let gauges = |name: &str, help: &str| registry.gauges(name, help, &["lookup"]);
        Self {
            hits: counters(
                "weir_lookup_hits_total",
                "Events whose key was in the table.",
            ),
            misses: counters(
                "weir_lookup_misses_total",
                "Events whose key was not in the table.",
            ),
            invalid: counters(
                "weir_lookup_invalid_positions_total",
                "Events whose position is no place: a latitude beyond 90 or a longitude beyond 180.",
            ),
            dropped: counters(
                "weir_lookup_dropped_total",
                "Events dropped because their key was not in the table.",
            ),
            rows: int_gauges("weir_lookup_rows", "Rows of the table in use."),
            bytes: int_gauges("weir_lookup_bytes", "Bytes of the table in use."),
            version: int_gauges(
                "weir_lookup_version",
                "Version of the table in use: 1 at the start, and 1 more with every change.",
            ),
            loaded: gauges(
                "weir_lookup_loaded_timestamp_seconds",
                "When the table in use was loaded.",
            ),
            duration: gauges(
                "weir_lookup_load_duration_seconds",
                "How long reading the table in use took.",
            ),
            refreshes: registry.counters(
                "weir_lookup_refreshes_total",
                "Looks at the table's place, by result (changed, unchanged, failed).",
                &["lookup", "result"],
            ),
            age: registry.computed_gauges(
                "weir_lookup_age_seconds",
                "Time since the table was last found to be up to date.",
                "lookup",
            ),
            partial: PartialMetrics::new(registry),
        }
    }

    /// Makes the counters of a lookup, so that their first step is seen.
    pub(super) fn begin(&self, lookup: &str) {
        for counter in [&self.hits, &self.misses, &self.dropped] {
            counter.with_label_values(&[lookup]);
        }
        for result in ["changed", "unchanged", "failed"] {
            self.refreshes.with_label_values(&[lookup, result]);
        }
    }

    /// Tells of a table that is put in use.
    pub(super) fn loaded(&self, lookup: &str, table: &Table, version: u64, seconds: f64) {
        let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let name = [lookup];
        self.rows.with_label_values(&name).set(signed(table.rows()));
        self.bytes
            .with_label_values(&name)
            .set(signed(table.byte_len()));
        self.version
            .with_label_values(&name)
            .set(i64::try_from(version).unwrap_or(i64::MAX));
        self.loaded
            .with_label_values(&name)
            .set(Clock::System.now_ms() as f64 / 1e3);
        self.duration.with_label_values(&name).set(seconds);
    }
}
