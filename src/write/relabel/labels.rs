//! The labels of a series while they are changed.

use std::sync::Arc;

use crate::model::Series;

/// The label that the metric name is.
pub(super) const METRIC_NAME: &str = "__name__";

/// A label: its name and its value.
type Label = (Arc<str>, Arc<str>);

/// Labels that are changed as the `labels.Builder` of Prometheus does it, whose order can be seen: of
/// two labels that `labelmap` copies to one name, the later one stays.
#[derive(Debug)]
pub(super) struct Labels {
    /// As they came, by name, the metric name among them.
    base: Vec<Label>,
    /// Written since, in the order of their first writing.
    added: Vec<Label>,
    /// Removed since. One that is also in `added` was written afterwards.
    removed: Vec<Arc<str>>,
}

impl Labels {
    /// The labels of a series, with its metric name as the label `name_label`.
    pub(super) fn of(series: &Series, name_label: &Arc<str>) -> Self {
        let mut base = Vec::with_capacity(series.labels().len() + 1);
        base.extend_from_slice(series.labels());
        let at = base.partition_point(|(name, _)| **name < **name_label);
        base.insert(at, (Arc::clone(name_label), Arc::clone(series.name())));
        Self {
            base,
            added: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// A label's value; empty where there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        if let Some((_, value)) = self.added.iter().find(|(added, _)| **added == *name) {
            return value;
        }
        if self.removed.iter().any(|removed| **removed == *name) {
            return "";
        }
        let found = self.base.iter().find(|(base, _)| **base == *name);
        found.map_or("", |(_, value)| value)
    }

    /// Writes a label; an empty value removes it.
    pub(super) fn set(&mut self, name: &Arc<str>, value: Arc<str>) {
        if value.is_empty() {
            return self.remove(name);
        }
        match self.added.iter_mut().find(|(added, _)| added == name) {
            Some((_, written)) => *written = value,
            None => self.added.push((Arc::clone(name), value)),
        }
    }

    /// Removes a label.
    pub(super) fn remove(&mut self, name: &Arc<str>) {
        self.added.retain(|(added, _)| added != name);
        self.removed.push(Arc::clone(name));
    }

    /// All labels: those as they came, by name, then the written ones.
    pub(super) fn all(&self) -> Vec<Label> {
        let base = self.base.iter().filter(|(name, _)| {
            !self.removed.contains(name) && !self.added.iter().any(|(added, _)| added == name)
        });
        base.chain(&self.added).cloned().collect()
    }
}

/// Whether a text is a label name of Prometheus' data model before its version 3, which all receivers
/// take: letters, digits and `_`, no digit first.
pub(super) fn is_label_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a text is a metric name: as a label name, and with `:`.
pub(super) fn is_metric_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}
