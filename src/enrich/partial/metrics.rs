//! What partial lookups count.

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::telemetry::Registry;

/// Upper bounds of the requests' duration, seconds.
const SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// The metrics of a pipeline's partial lookups.
#[derive(Debug, Clone)]
pub(in crate::enrich) struct PartialMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    retries: IntCounterVec,
    in_flight: IntGaugeVec,
    keys: IntGaugeVec,
    hits: IntCounterVec,
    misses: IntCounterVec,
    parked: IntGaugeVec,
}

/// The metrics of one partial lookup.
#[derive(Debug, Clone)]
pub(super) struct LookupCounters {
    pub(super) found: IntCounter,
    pub(super) missing: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) seconds: Histogram,
    pub(super) retries: IntCounter,
    pub(super) in_flight: IntGauge,
    pub(super) keys: IntGauge,
    pub(super) hits: IntCounter,
    pub(super) misses: IntCounter,
    pub(super) parked: IntGauge,
}

impl PartialMetrics {
    pub(in crate::enrich) fn new(registry: &Registry) -> Self {
        let lookup = ["lookup"];
        Self {
            requests: registry.counters(
                "weir_lookup_requests_total",
                "Keys that a service was asked for, by result (ok, miss, failed).",
                &["lookup", "result"],
            ),
            seconds: registry.histograms(
                "weir_lookup_request_seconds",
                "How long an attempt to ask for a key took.",
                &lookup,
                &SECONDS,
            ),
            retries: registry.counters(
                "weir_lookup_retries_total",
                "Attempts to ask for a key after the first one.",
                &lookup,
            ),
            in_flight: registry.int_gauges(
                "weir_lookup_in_flight",
                "Requests that wait for their answer.",
                &lookup,
            ),
            keys: registry.int_gauges("weir_lookup_cache_keys", "Keys in the cache.", &lookup),
            hits: registry.counters(
                "weir_lookup_cache_hits_total",
                "Events whose key was in the cache.",
                &lookup,
            ),
            misses: registry.counters(
                "weir_lookup_cache_misses_total",
                "Events that waited for the answer of a service.",
                &lookup,
            ),
            parked: registry.int_gauges(
                "weir_lookup_parked_batches",
                "Batches that wait for answers of a service.",
                &lookup,
            ),
        }
    }

    pub(super) fn of_lookup(&self, lookup: &str) -> LookupCounters {
        let name = [lookup];
        let requests = |result| self.requests.with_label_values(&[lookup, result]);
        LookupCounters {
            found: requests("ok"),
            missing: requests("miss"),
            failed: requests("failed"),
            seconds: self.seconds.with_label_values(&name),
            retries: self.retries.with_label_values(&name),
            in_flight: self.in_flight.with_label_values(&name),
            keys: self.keys.with_label_values(&name),
            hits: self.hits.with_label_values(&name),
            misses: self.misses.with_label_values(&name),
            parked: self.parked.with_label_values(&name),
        }
    }
}
