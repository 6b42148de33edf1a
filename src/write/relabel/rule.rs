//! One step of relabelling, compiled.

use std::sync::Arc;

use md5::{Digest as _, Md5};
use regex::Regex;

use super::config::{Action, RelabelConfig};
use super::labels::{Labels, is_label_name};
use super::letters::{lowercase, uppercase};
use super::pattern;
use super::template::Template;

/// A step.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) source_labels: Vec<Arc<str>>,
    pub(super) separator: String,
    pub(super) regex: Regex,
    /// Whether the regular expression matches every text, for which its first group is that text.
    pub(super) takes_all: bool,
    pub(super) step: Step,
}

/// What a step does: see [`Action`].
#[derive(Debug)]
pub(super) enum Step {
    Replace {
        target: Template,
        replacement: Template,
    },
    Keep,
    Drop,
    KeepEqual(Arc<str>),
    DropEqual(Arc<str>),
    HashMod(Arc<str>, u64),
    LabelMap(Template),
    LabelDrop,
    LabelKeep,
    Lowercase(Arc<str>),
    Uppercase(Arc<str>),
}

impl Rule {
    /// Compiles a step.
    ///
    /// # Errors
    /// What is wrong with its regular expression.
    pub(super) fn build(config: &RelabelConfig) -> Result<Self, String> {
        let regex = pattern::compile(&config.regex)?;
        let target = || Arc::from(config.target_label.as_str());
        let step = match config.action {
            Action::Replace => Step::Replace {
                target: Template::parse(&config.target_label, &regex),
                replacement: Template::parse(&config.replacement, &regex),
            },
            Action::Keep => Step::Keep,
            Action::Drop => Step::Drop,
            Action::KeepEqual => Step::KeepEqual(target()),
            Action::DropEqual => Step::DropEqual(target()),
            Action::HashMod => Step::HashMod(target(), config.modulus),
            Action::LabelMap => Step::LabelMap(Template::parse(&config.replacement, &regex)),
            Action::LabelDrop => Step::LabelDrop,
            Action::LabelKeep => Step::LabelKeep,
            Action::Lowercase => Step::Lowercase(target()),
            Action::Uppercase => Step::Uppercase(target()),
        };
        let source_labels = config.source_labels.iter();
        Ok(Self {
            source_labels: source_labels.map(|name| name.as_str().into()).collect(),
            separator: config.separator.clone(),
            regex,
            takes_all: config.regex == RelabelConfig::default().regex,
            step,
        })
    }

    /// Whether it writes or removes labels, and does not only drop series.
    pub(super) fn changes_labels(&self) -> bool {
        !matches!(
            self.step,
            Step::Keep | Step::Drop | Step::KeepEqual(_) | Step::DropEqual(_)
        )
    }

    /// The values of the source labels, joined.
    fn value(&self, labels: &Labels) -> String {
        let mut value = String::new();
        for (index, name) in self.source_labels.iter().enumerate() {
            if index > 0 {
                value.push_str(&self.separator);
            }
            value.push_str(labels.get(name));
        }
        value
    }

    /// Does it; `false` drops the series.
    pub(super) fn apply(&self, labels: &mut Labels) -> bool {
        match &self.step {
            Step::Keep => return self.regex.is_match(&self.value(labels)),
            Step::Drop => return !self.regex.is_match(&self.value(labels)),
            Step::KeepEqual(target) => return labels.get(target) == self.value(labels),
            Step::DropEqual(target) => return labels.get(target) != self.value(labels),
            Step::Replace {
                target,
                replacement,
            } => self.replace(labels, target, replacement),
            Step::HashMod(target, modulus) => {
                let rest = hash(&self.value(labels)).checked_rem(*modulus);
                labels.set(target, rest.unwrap_or_default().to_string().into());
            }
            Step::LabelMap(replacement) => {
                for (name, value) in labels.all() {
                    if let Some(captures) = self.regex.captures(&name) {
                        labels.set(&replacement.expand(&captures), value);
                    }
                }
            }
            Step::LabelDrop => self.remove(labels, true),
            Step::LabelKeep => self.remove(labels, false),
            Step::Lowercase(target) => labels.set(target, lowercase(&self.value(labels)).into()),
            Step::Uppercase(target) => labels.set(target, uppercase(&self.value(labels)).into()),
        }
        true
    }

    fn replace(&self, labels: &mut Labels, target: &Template, replacement: &Template) {
        let value = self.value(labels);
        let Some(captures) = self.regex.captures(&value) else {
            return;
        };
        let target = target.expand(&captures);
        if is_label_name(&target) {
            labels.set(&target, replacement.expand(&captures));
        }
    }

    /// Removes the labels whose names match, or those whose names do not.
    fn remove(&self, labels: &mut Labels, matching: bool) {
        for (name, _) in labels.all() {
            if self.regex.is_match(&name) == matching {
                labels.remove(&name);
            }
        }
    }
}

/// The last eight bytes of the MD5 of a text, which `hashmod` takes as a number.
fn hash(text: &str) -> u64 {
    let digest = Md5::digest(text.as_bytes());
    digest
        .iter()
        .skip(8)
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}
