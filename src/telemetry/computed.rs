//! Gauges whose values are computed when they are asked for.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

type Value = Box<dyn Fn() -> f64 + Send + Sync>;

/// A gauge by one label, or without. What grows by itself, such as an age, is true at every scrape.
#[derive(Clone)]
pub struct ComputedGauges {
    descriptor: Desc,
    label: Option<String>,
    values: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl ComputedGauges {
    /// A gauge without values.
    pub(super) fn new(name: &str, help: &str, label: &str) -> prometheus::Result<Self> {
        Self::of(name, help, Some(label.to_owned()))
    }

    /// A gauge without a label, whose one value is that of an empty text.
    pub(super) fn without_label(name: &str, help: &str) -> prometheus::Result<Self> {
        Self::of(name, help, None)
    }

    fn of(name: &str, help: &str, label: Option<String>) -> prometheus::Result<Self> {
        let labels = label.iter().cloned().collect();
        Ok(Self {
            descriptor: Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())?,
            label,
            values: Arc::default(),
        })
    }

    /// Says how the value for a label's value is computed from now on.
    pub fn set(&self, label_value: &str, value: impl Fn() -> f64 + Send + Sync + 'static) {
        self.values
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(label_value.to_owned(), Box::new(value));
    }
}

impl Collector for ComputedGauges {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.descriptor]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let options = Opts::new(&self.descriptor.fq_name, &self.descriptor.help);
        let labels: Vec<&str> = self.label.as_deref().into_iter().collect();
        let Ok(gauges) = GaugeVec::new(options, &labels) else {
            return Vec::new();
        };
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        for (label_value, value) in &*values {
            let label_values = self.label.as_ref().map(|_| label_value.as_str());
            let label_values: Vec<&str> = label_values.into_iter().collect();
            gauges.with_label_values(&label_values).set(value());
        }
        gauges.collect()
    }
}

impl fmt::Debug for ComputedGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComputedGauges")
            .field("name", &self.descriptor.fq_name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::telemetry::Registry;

    #[test]
    fn needs_no_label() {
        let registry = Registry::new("test");
        registry.computed_gauge("weir_age", "Age.", || 1.5);
        let text = Registry::text([&registry]);
        assert!(
            text.ends_with("weir_age{pipeline=\"test\"} 1.5\n"),
            "{text}"
        );
    }

    #[test]
    fn computes_its_values_at_every_scrape() {
        let registry = Registry::new("test");
        let gauges = registry.computed_gauges("weir_age", "Age.", "lookup");
        let asked = AtomicU64::new(0);
        gauges.set("v", move || {
            asked.fetch_add(1, Ordering::Relaxed) as f64 + 0.5
        });
        for expected in ["0.5", "1.5"] {
            let line = format!("weir_age{{lookup=\"v\",pipeline=\"test\"}} {expected}\n");
            let text = Registry::text([&registry]);
            assert!(text.ends_with(&line), "{text}");
        }
    }
}
