//! What relabelling does to metrics for certain, found without data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::Relabelling;
use super::labels::{METRIC_NAME, is_metric_name};
use super::rule::{Rule, Step};

/// What is surely not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// A label that tells the series of a metric apart is lost.
    LostLabel {
        /// The metric.
        metric: String,
        /// The label.
        label: String,
    },
    /// Two metrics become one, with the same labels.
    SameName {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// What both become.
        name: String,
    },
    /// A metric's series lose their name, or get one that is none.
    NoName {
        /// The metric.
        metric: String,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LostLabel { metric, label } => write!(
                f,
                "the label '{label}' of metric '{metric}' is lost, and series that differ in it become \
                 one; keep the label, or leave it out of the metric's by"
            ),
            Self::SameName {
                first,
                second,
                name,
            } => write!(
                f,
                "the metrics '{first}' and '{second}' both become '{name}' with the same labels; give \
                 them different names, or a label that tells them apart"
            ),
            Self::NoName { metric } => write!(
                f,
                "the metric '{metric}' is left without a valid name, so nothing of it is sent; with \
                 labelkeep, keep __name__"
            ),
        }
    }
}

/// What relabelling surely does wrong with metrics, each a name and the labels that tell its series
/// apart. Only what holds whatever the values are is found.
pub fn doubts(relabelling: &Relabelling, metrics: &[(&str, Vec<&str>)]) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    let mut sent: Vec<Outcome<'_>> = Vec::new();
    for (metric, labels) in metrics {
        let mut state = State::of(metric, labels);
        for (name, value) in &relabelling.external {
            state.add_external(name, value);
        }
        if !relabelling.rules.iter().all(|rule| state.follow(rule)) {
            continue;
        }
        let Some(name) = state.name() else {
            doubts.push(Doubt::NoName {
                metric: (*metric).to_owned(),
            });
            continue;
        };
        for label in labels {
            if state.has_lost(label) {
                doubts.push(Doubt::LostLabel {
                    metric: (*metric).to_owned(),
                    label: (*label).to_owned(),
                });
            }
        }
        let Some(outcome) = state.outcome(metric, name) else {
            continue;
        };
        match sent.iter().find(|other| outcome.collides(other)) {
            Some(other) => doubts.push(Doubt::SameName {
                first: other.metric.to_owned(),
                second: (*metric).to_owned(),
                name: outcome.name.to_string(),
            }),
            None => sent.push(outcome),
        }
    }
    doubts
}

/// What is known of a metric's labels.
#[derive(Debug)]
struct State {
    /// The labels that may be there, the metric name among them.
    labels: BTreeMap<String, Slot>,
    /// The labels of the metric whose values may be in some label that cannot be named.
    anywhere: BTreeSet<String>,
    /// The labels of the metric that a step has looked at to drop series: it may have left one value.
    narrowed: BTreeSet<String>,
    /// Whether any label may have been written or removed, or series dropped, that cannot be named.
    uncertain: bool,
}

#[derive(Debug, Clone)]
struct Slot {
    value: Value,
    /// The labels of the metric whose values may be in it.
    holds: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    /// Empty is none.
    Constant(Arc<str>),
    /// That of the metric's own label of this name.
    Own,
    Unknown,
}

/// A metric after relabelling, whose labels are known for certain.
#[derive(Debug)]
struct Outcome<'m> {
    metric: &'m str,
    name: Arc<str>,
    labels: BTreeMap<String, Value>,
}

impl Outcome<'_> {
    fn collides(&self, other: &Self) -> bool {
        self.name == other.name && self.labels == other.labels
    }
}

impl State {
    fn of(metric: &str, labels: &[&str]) -> Self {
        let mut slots = BTreeMap::new();
        for label in labels {
            let slot = Slot {
                value: Value::Own,
                holds: BTreeSet::from([(*label).to_owned()]),
            };
            slots.insert((*label).to_owned(), slot);
        }
        slots.insert(METRIC_NAME.to_owned(), Slot::constant(&metric.into()));
        Self {
            labels: slots,
            anywhere: BTreeSet::new(),
            narrowed: BTreeSet::new(),
            uncertain: false,
        }
    }

    /// A label of the metric's own may be empty, and is the external one then: it still tells apart what
    /// it did, but for that one value.
    fn add_external(&mut self, name: &Arc<str>, value: &Arc<str>) {
        self.labels
            .entry(name.to_string())
            .or_insert_with(|| Slot::constant(value));
    }

    fn value(&self, name: &str) -> Value {
        let slot = self.labels.get(name);
        match (slot, self.uncertain) {
            (_, true) => Value::Unknown,
            (Some(slot), _) => slot.value.clone(),
            (None, _) => Value::Constant("".into()),
        }
    }

    /// The joined values of a step's source labels, where they are certain.
    fn joined(&self, rule: &Rule) -> Option<String> {
        let mut texts = Vec::new();
        for name in &rule.source_labels {
            match self.value(name) {
                Value::Constant(text) => texts.push(text),
                Value::Own | Value::Unknown => return None,
            }
        }
        Some(texts.join(&rule.separator))
    }

    /// The metric's labels that may be in the source labels of a step.
    fn sources(&self, rule: &Rule) -> BTreeSet<String> {
        let mut sources = self.anywhere.clone();
        for name in &rule.source_labels {
            let slot = self.labels.get(&**name);
            sources.extend(slot.into_iter().flat_map(|slot| slot.holds.iter().cloned()));
        }
        sources
    }

    /// Follows a step; `false` if every series is dropped for certain.
    fn follow(&mut self, rule: &Rule) -> bool {
        let joined = self.joined(rule);
        match &rule.step {
            Step::Keep | Step::Drop => {
                let keeps = matches!(rule.step, Step::Keep);
                match joined {
                    Some(text) => return rule.regex.is_match(&text) == keeps,
                    None => self.narrow(self.sources(rule)),
                }
            }
            Step::KeepEqual(target) | Step::DropEqual(target) => {
                let keeps = matches!(rule.step, Step::KeepEqual(_));
                match (joined, self.value(target)) {
                    (Some(text), Value::Constant(value)) => return (*value == *text) == keeps,
                    _ => {
                        let mut looked_at = self.sources(rule);
                        let slot = self.labels.get(&**target);
                        looked_at.extend(slot.into_iter().flat_map(|slot| slot.holds.clone()));
                        self.narrow(looked_at);
                    }
                }
            }
            Step::Replace { .. } => self.replace(rule, joined),
            Step::HashMod(target, _) | Step::Lowercase(target) | Step::Uppercase(target) => {
                self.write(target, Value::Unknown, self.sources(rule), true);
            }
            Step::LabelMap(_) => self.map(rule),
            Step::LabelDrop => self.labels.retain(|name, _| !rule.regex.is_match(name)),
            Step::LabelKeep => self.labels.retain(|name, _| rule.regex.is_match(name)),
        }
        true
    }

    fn narrow(&mut self, labels: BTreeSet<String>) {
        self.narrowed.extend(labels);
    }

    fn replace(&mut self, rule: &Rule, joined: Option<String>) {
        let Step::Replace {
            target,
            replacement,
        } = &rule.step
        else {
            return;
        };
        let sources = self.sources(rule);
        let captures = joined.as_deref().map(|text| rule.regex.captures(text));
        let target = match (&captures, target.constant()) {
            (Some(None), _) => return,
            (Some(Some(captures)), _) => target.expand(captures),
            (None, Some(target)) => Arc::clone(target),
            (None, None) => {
                self.anywhere.extend(sources);
                self.uncertain = true;
                return;
            }
        };
        match (captures.flatten(), replacement.constant()) {
            (Some(captures), _) => {
                let value = replacement.expand(&captures);
                self.write(&target, Value::Constant(value), BTreeSet::new(), true);
            }
            (None, Some(value)) if rule.takes_all => {
                let value = Value::Constant(Arc::clone(value));
                self.write(&target, value, BTreeSet::new(), true);
            }
            // Whether it is written, or what, the value decides: even a constant tells then.
            (None, _) => self.write(&target, Value::Unknown, sources, rule.takes_all),
        }
    }

    /// A label is written: for certain, or perhaps.
    fn write(&mut self, target: &Arc<str>, value: Value, holds: BTreeSet<String>, surely: bool) {
        let slot = self.labels.entry(target.to_string());
        let slot = slot.or_insert_with(|| Slot::constant(&"".into()));
        slot.value = value;
        match surely {
            true => slot.holds = holds,
            false => slot.holds.extend(holds),
        }
    }

    fn map(&mut self, rule: &Rule) {
        let Step::LabelMap(replacement) = &rule.step else {
            return;
        };
        // In which order labels are copied to the same name is not followed.
        let mut copies: Vec<(Arc<str>, Slot)> = Vec::new();
        for (name, slot) in &self.labels {
            if let Some(captures) = rule.regex.captures(name) {
                copies.push((replacement.expand(&captures), slot.clone()));
            }
        }
        for (target, slot) in copies {
            // An absent label is not copied, so the target may also stay.
            self.write(&target, Value::Unknown, slot.holds, false);
        }
    }

    /// The metric name: `Some(None)` where it is not certain, `None` where there is none that is valid.
    fn name(&self) -> Option<Option<Arc<str>>> {
        match self.value(METRIC_NAME) {
            Value::Constant(name) => is_metric_name(&name).then_some(Some(name)),
            Value::Own | Value::Unknown => Some(None),
        }
    }

    fn has_lost(&self, label: &str) -> bool {
        !self.narrowed.contains(label)
            && !self.anywhere.contains(label)
            && !self.labels.values().any(|slot| slot.holds.contains(label))
    }

    fn outcome<'m>(&self, metric: &'m str, name: Option<Arc<str>>) -> Option<Outcome<'m>> {
        if self.uncertain || !self.narrowed.is_empty() {
            return None;
        }
        let mut labels = BTreeMap::new();
        for (label, slot) in &self.labels {
            match &slot.value {
                Value::Unknown if label != METRIC_NAME => return None,
                Value::Constant(text) if text.is_empty() => {}
                _ if label == METRIC_NAME => {}
                value => {
                    labels.insert(label.clone(), value.clone());
                }
            }
        }
        Some(Outcome {
            metric,
            name: name?,
            labels,
        })
    }
}

impl Slot {
    fn constant(value: &Arc<str>) -> Self {
        Self {
            value: Value::Constant(Arc::clone(value)),
            holds: BTreeSet::new(),
        }
    }
}
