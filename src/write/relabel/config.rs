//! Relabelling as it is written in a pipeline file, and what is wrong with it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::write::config::Problem;

use super::labels::{METRIC_NAME, is_label_name};
use super::pattern;
use super::template::is_name_template;

/// One step of relabelling, with the names and defaults of Prometheus' `write_relabel_configs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RelabelConfig {
    /// The labels whose values are taken, in this order. The metric name is the label __name__; a label
    /// that a series does not have is empty.
    pub source_labels: Vec<String>,
    /// What stands between the values.
    pub separator: String,
    /// What the joined values, or with labelmap, labeldrop and labelkeep the names of labels, are
    /// compared with: a regular expression for the whole text.
    pub regex: String,
    /// With hashmod: the hash of the joined values is taken modulo this.
    pub modulus: u64,
    /// The label that is written, or with keepequal and dropequal compared.
    pub target_label: String,
    /// What is written, with $1 for a group of the regular expression and ${name} for a named one.
    pub replacement: String,
    /// What is done.
    pub action: Action,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action: Action::default(),
        }
    }
}

/// What a step of relabelling does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Writes the replacement into the target, if the regular expression matches.
    #[default]
    Replace,
    /// Drops series that the regular expression does not match.
    Keep,
    /// Drops series that the regular expression matches.
    Drop,
    /// Drops series whose joined values are not the target's.
    KeepEqual,
    /// Drops series whose joined values are the target's.
    DropEqual,
    /// Writes the hash of the joined values modulo the modulus into the target.
    HashMod,
    /// Copies labels whose names the regular expression matches to the names that the replacement says.
    LabelMap,
    /// Removes labels whose names the regular expression matches.
    LabelDrop,
    /// Removes labels whose names the regular expression does not match.
    LabelKeep,
    /// Writes the joined values in small letters into the target.
    Lowercase,
    /// Writes the joined values in capital letters into the target.
    Uppercase,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }

    fn has_target(self) -> bool {
        !matches!(
            self,
            Self::Keep | Self::Drop | Self::LabelMap | Self::LabelDrop | Self::LabelKeep
        )
    }
}

/// What is wrong with the labels that are added and with the steps, in their order. The paths begin with
/// `external_labels` and `write_relabel_configs`.
pub fn validate(external: &BTreeMap<String, String>, steps: &[RelabelConfig]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for name in external.keys() {
        let message = if name == METRIC_NAME {
            "is the metric name, which every series has; remove it".to_owned()
        } else if !is_label_name(name) {
            format!("'{name}' is no label name; use letters, digits and _, no digit first")
        } else {
            continue;
        };
        problems.push((vec!["external_labels".to_owned(), name.clone()], message));
    }
    for (index, step) in steps.iter().enumerate() {
        for (key, message) in step.problems() {
            let mut path = vec!["write_relabel_configs".to_owned(), index.to_string()];
            path.extend(key.map(str::to_owned));
            problems.push((path, message));
        }
    }
    problems
}

impl RelabelConfig {
    /// What Prometheus refuses, with the key that it is about.
    fn problems(&self) -> Vec<(Option<&'static str>, String)> {
        let mut problems = Vec::new();
        if let Err(message) = pattern::compile(&self.regex) {
            problems.push((Some("regex"), message));
        }
        let name = self.action.name();
        if self.action == Action::HashMod && self.modulus == 0 {
            let message = "is 0; hashmod requires a modulus of at least 1".to_owned();
            problems.push((Some("modulus"), message));
        }
        if self.action.has_target() {
            problems.extend(self.check_target().map(|text| (Some("target_label"), text)));
        }
        if self.action == Action::LabelMap && !is_name_template(&self.replacement) {
            let message = format!(
                "'{}' makes no label name, which labelmap requires; use letters, digits, _ and groups \
                 such as $1, no digit first",
                self.replacement
            );
            problems.push((Some("replacement"), message));
        }
        for key in self.not_for_action() {
            problems.push((Some(key), format!("is not for action {name}; remove it")));
        }
        problems
    }

    fn check_target(&self) -> Option<String> {
        let (target, name) = (&self.target_label, self.action.name());
        if target.is_empty() {
            return Some(format!("is missing, which action {name} requires"));
        }
        if self.action == Action::Replace && target.contains('$') {
            let message = format!(
                "'{target}' makes no label name; use letters, digits, _ and groups such as $1, no digit \
                 first"
            );
            return (!is_name_template(target)).then_some(message);
        }
        let message =
            format!("'{target}' is no label name; use letters, digits and _, no digit first");
        (!is_label_name(target)).then_some(message)
    }

    /// The keys that are given, with another value than the default, though the action leaves them
    /// unread.
    fn not_for_action(&self) -> Vec<&'static str> {
        use Action::{DropEqual, KeepEqual, LabelDrop, LabelKeep, Lowercase, Uppercase};
        let default = Self::default();
        let given = [
            ("source_labels", !self.source_labels.is_empty()),
            ("separator", self.separator != default.separator),
            ("regex", self.regex != default.regex),
            ("modulus", self.modulus != default.modulus),
            ("target_label", self.target_label != default.target_label),
            ("replacement", self.replacement != default.replacement),
        ];
        let refused: &[&str] = match self.action {
            Lowercase | Uppercase => &["replacement"],
            KeepEqual | DropEqual => &["separator", "regex", "modulus", "replacement"],
            LabelDrop | LabelKeep => &[
                "source_labels",
                "separator",
                "modulus",
                "target_label",
                "replacement",
            ],
            _ => &[],
        };
        let given = given.into_iter().filter(|(_, given)| *given);
        let given = given.map(|(key, _)| key);
        given.filter(|key| refused.contains(key)).collect()
    }
}
