//! Relabelling: which series a receiver gets, and with which labels.
//!
//! As in the remote write of Prometheus, `external_labels` are added first, where a series does not have
//! them, and then the steps of `write_relabel_configs` follow in their order. What a step does is what
//! Prometheus does (`model/relabel/relabel.go`), with its names for labels of before version 3, which all
//! receivers take. The metric name is the label `__name__`; labels that begin with `__` are sent like
//! others, and an empty label is none.
//!
//! The same series always becomes the same one, so an owner remembers what became of each
//! ([`Relabeller`]) and the regular expressions run once a series. Results are noted for all owners
//! together, so that two series that become one are found.

mod check;
mod collisions;
mod config;
mod generations;
mod labels;
mod letters;
mod pattern;
mod rule;
mod template;
#[cfg(test)]
mod tests;

pub use check::{Doubt, doubts};
pub use config::{Action, RelabelConfig, validate};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::Series;

use super::config::Problem;
use collisions::Collisions;
use generations::Generations;
use labels::{Labels, METRIC_NAME, is_label_name, is_metric_name};
use rule::Rule;

/// How many series are remembered for a receiver, over all owners. A series takes about 100 bytes, its
/// result 60 more with 32 a label, and the texts that are new in it.
pub const REMEMBERED_SERIES: usize = 1 << 17;

/// The relabelling for a receiver, which its owners share.
#[derive(Debug)]
pub struct Relabelling {
    /// By name.
    external: Vec<(Arc<str>, Arc<str>)>,
    rules: Vec<Rule>,
    name_label: Arc<str>,
    /// `None` where no label is changed.
    collisions: Option<Collisions>,
}

/// What a series became: another series, or the same, or none because a step dropped it.
pub type Relabelled = Result<Option<Arc<Series>>, Refused>;

/// Why a series cannot be sent after relabelling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has no metric name.
    #[error("relabelling leaves no metric name; with labelkeep, keep __name__")]
    NoName,
    /// Its metric name is none.
    #[error(
        "relabelling makes '{0}', which is no metric name; use letters, digits, _ and :, no digit first"
    )]
    MetricName(Arc<str>),
    /// One of its labels has a name that is none.
    #[error(
        "relabelling makes '{0}', which is no label name; use letters, digits and _, no digit first"
    )]
    LabelName(Arc<str>),
}

impl Default for Relabelling {
    /// One that changes nothing.
    fn default() -> Self {
        Self {
            external: Vec::new(),
            rules: Vec::new(),
            name_label: METRIC_NAME.into(),
            collisions: None,
        }
    }
}

impl Relabelling {
    /// Compiles a relabelling.
    ///
    /// # Errors
    /// The first problem that [`validate`] finds.
    pub fn build(
        external: &BTreeMap<String, String>,
        steps: &[RelabelConfig],
    ) -> Result<Self, Problem> {
        if let Some(problem) = validate(external, steps).into_iter().next() {
            return Err(problem);
        }
        let mut rules = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            rules.push(Rule::build(step).map_err(|message| {
                let path = ["write_relabel_configs", &index.to_string(), "regex"];
                (path.map(str::to_owned).to_vec(), message)
            })?);
        }
        let external: Vec<(Arc<str>, Arc<str>)> = external
            .iter()
            .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
            .collect();
        let changes_labels = !external.is_empty() || rules.iter().any(Rule::changes_labels);
        Ok(Self {
            external,
            rules,
            name_label: METRIC_NAME.into(),
            collisions: changes_labels.then(|| Collisions::new(REMEMBERED_SERIES)),
        })
    }

    /// Whether every series stays as it is.
    pub fn is_identity(&self) -> bool {
        self.external.is_empty() && self.rules.is_empty()
    }

    /// What an owner relabels with, remembering up to `series` series: of [`REMEMBERED_SERIES`], its
    /// share.
    pub fn relabeller(self: &Arc<Self>, series: usize) -> Relabeller {
        Relabeller {
            relabelling: Arc::clone(self),
            known: Generations::new(series, |known: &Known| known.series.hash()),
            collisions: 0,
        }
    }

    /// The name that a metric's series get, as far as that depends on their name. Where it leaves none that
    /// is valid, it is the metric's own.
    pub fn rename(&self, metric: &Arc<str>) -> Arc<str> {
        let bare = Series::new(Arc::clone(metric), Vec::new());
        let mut labels = Labels::of(&bare, &self.name_label);
        for (name, value) in &self.external {
            labels.set(name, Arc::clone(value));
        }
        for rule in &self.rules {
            // What is dropped here may be kept by another label.
            rule.apply(&mut labels);
        }
        let name = labels.get(METRIC_NAME);
        match is_metric_name(name) {
            true => name.into(),
            false => Arc::clone(metric),
        }
    }

    /// What becomes of a series, without remembering it.
    pub fn relabel(&self, series: &Arc<Series>) -> Relabelled {
        let mut labels = Labels::of(series, &self.name_label);
        for (name, value) in &self.external {
            if labels.get(name).is_empty() {
                labels.set(name, Arc::clone(value));
            }
        }
        if !self.rules.iter().all(|rule| rule.apply(&mut labels)) {
            return Ok(None);
        }
        let mut name = None;
        let mut rest = labels.all();
        rest.retain(|(label, value)| {
            let is_name = *label == self.name_label;
            if is_name {
                name = Some(Arc::clone(value));
            }
            !is_name
        });
        let name = name.ok_or(Refused::NoName)?;
        if !is_metric_name(&name) {
            return Err(Refused::MetricName(name));
        }
        if let Some((wrong, _)) = rest.iter().find(|(label, _)| !is_label_name(label)) {
            return Err(Refused::LabelName(Arc::clone(wrong)));
        }
        let result = Series::new(name, rest);
        // Nothing is kept twice.
        Ok(Some(match result == **series {
            true => Arc::clone(series),
            false => Arc::new(result),
        }))
    }
}

/// Relabels the series of one owner, and remembers what became of them. What it has forgotten is found
/// out again: that changes no result.
#[derive(Debug)]
pub struct Relabeller {
    relabelling: Arc<Relabelling>,
    known: Generations<Known>,
    collisions: u64,
}

#[derive(Debug)]
struct Known {
    series: Arc<Series>,
    became: Relabelled,
}

impl Relabeller {
    /// What becomes of a series.
    ///
    /// # Errors
    /// The result is no series; the caller counts its samples.
    pub fn apply(&mut self, series: &Arc<Series>) -> Relabelled {
        if self.relabelling.is_identity() {
            return Ok(Some(Arc::clone(series)));
        }
        let is_it = |known: &Known| Arc::ptr_eq(&known.series, series) || known.series == *series;
        let became = self
            .known
            .get(series.hash(), is_it, |known| known.became.clone());
        if let Some(became) = became {
            return became;
        }
        let became = self.relabelling.relabel(series);
        if let (Ok(Some(result)), Some(collisions)) = (&became, &self.relabelling.collisions) {
            self.collisions += u64::from(collisions.note(result, series));
        }
        self.known.insert(Known {
            series: Arc::clone(series),
            became: became.clone(),
        });
        became
    }

    /// How many series were found since the last call that become one that another series, of whichever
    /// owner, has become before. They are logged, and their samples pass.
    pub fn take_collisions(&mut self) -> u64 {
        std::mem::take(&mut self.collisions)
    }
}
