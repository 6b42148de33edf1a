//! Against a plain model: labels as a map, a step after the other, nothing remembered.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use regex::Regex;

use crate::model::Series;

use super::super::{Action, Refused, RelabelConfig, Relabelled, Relabelling};

type Model = BTreeMap<String, String>;

const NAMES: [&str; 5] = ["__name__", "a", "b", "c", "d"];

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(&NAMES).prop_map(str::to_owned)
}

/// Patterns and replacements that read alike here and in the `regex` crate.
fn step() -> impl Strategy<Value = RelabelConfig> {
    use Action::{
        Drop, DropEqual, HashMod, Keep, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase,
        Replace, Uppercase,
    };
    let actions = [
        Replace, Replace, Replace, Replace, Keep, Drop, KeepEqual, DropEqual, HashMod, LabelMap,
        LabelDrop, LabelKeep, Lowercase, Uppercase,
    ];
    let patterns = [
        "(.*)",
        "(x*)(y?).*",
        "(.*);(.*)",
        "[^b]*",
        "x",
        "(a|b|c)",
        "(.)(.*)",
        "__name__|a",
    ];
    let replacements = ["$1", "z", "", "${1}y", "$2$1"];
    (
        prop::sample::select(actions.to_vec()),
        prop::collection::vec(name(), 0..3),
        prop::sample::select(&["", ";"][..]),
        prop::sample::select(patterns.to_vec()),
        name(),
        prop::sample::select(replacements.to_vec()),
        1..4_u64,
    )
        .prop_map(
            |(action, sources, separator, pattern, target, replacement, modulus)| {
                let default = RelabelConfig::default();
                let reads_names = matches!(action, LabelDrop | LabelKeep);
                let compares = matches!(action, KeepEqual | DropEqual);
                RelabelConfig {
                    action,
                    source_labels: match reads_names {
                        true => Vec::new(),
                        false => sources,
                    },
                    separator: match reads_names || compares {
                        true => default.separator,
                        false => separator.to_owned(),
                    },
                    regex: match compares {
                        true => default.regex,
                        false => pattern.to_owned(),
                    },
                    target_label: match reads_names {
                        true => default.target_label,
                        false => target,
                    },
                    replacement: match action {
                        // One name for each name, so that the order of the copies cannot be seen.
                        LabelMap => "m_$0".to_owned(),
                        Replace => replacement.to_owned(),
                        _ => default.replacement,
                    },
                    modulus: match action == HashMod {
                        true => modulus,
                        false => 0,
                    },
                }
            },
        )
}

fn labels() -> impl Strategy<Value = Model> {
    let rest = prop::collection::btree_map(name(), "[xy;]{0,3}", 0..4);
    ("[xyz]{1,2}", rest).prop_map(|(name, mut labels)| {
        labels.insert("__name__".to_owned(), name);
        labels
    })
}

fn series(labels: &Model) -> Arc<Series> {
    let mut rest = labels.clone();
    let name = rest.remove("__name__").unwrap();
    let rest = rest.into_iter();
    let rest = rest.map(|(name, value)| (name.into(), value.into()));
    Arc::new(Series::new(name.into(), rest.collect()))
}

/// `None` where the series is dropped.
fn follow(mut labels: Model, step: &RelabelConfig) -> Option<Model> {
    labels.retain(|_, value| !value.is_empty());
    let get = |labels: &Model, name: &String| labels.get(name).cloned().unwrap_or_default();
    let values: Vec<String> = step
        .source_labels
        .iter()
        .map(|name| get(&labels, name))
        .collect();
    let value = values.join(&step.separator);
    let regex = Regex::new(&format!("^(?s:{})$", step.regex)).unwrap();
    let target = step.target_label.clone();
    let same = get(&labels, &target) == value;
    match step.action {
        Action::Keep => return regex.is_match(&value).then_some(labels),
        Action::Drop => return (!regex.is_match(&value)).then_some(labels),
        Action::KeepEqual => return same.then_some(labels),
        Action::DropEqual => return (!same).then_some(labels),
        Action::Replace if regex.is_match(&value) => {
            let text = regex
                .replace(&value, step.replacement.as_str())
                .into_owned();
            labels.insert(target, text);
        }
        Action::Replace => {}
        Action::HashMod => {
            let digest = <md5::Md5 as md5::Digest>::digest(&value);
            let number = u128::from_be_bytes(digest.into()) & u128::from(u64::MAX);
            labels.insert(target, (number % u128::from(step.modulus)).to_string());
        }
        Action::LabelMap => {
            for (name, value) in labels.clone() {
                if regex.is_match(&name) {
                    labels.insert(format!("m_{name}"), value);
                }
            }
        }
        Action::LabelDrop => labels.retain(|name, _| !regex.is_match(name)),
        Action::LabelKeep => labels.retain(|name, _| regex.is_match(name)),
        Action::Lowercase => {
            labels.insert(target, value.to_lowercase());
        }
        Action::Uppercase => {
            labels.insert(target, value.to_uppercase());
        }
    }
    labels.retain(|_, value| !value.is_empty());
    Some(labels)
}

fn model(external: &Model, steps: &[RelabelConfig], labels: &Model) -> Relabelled {
    let mut labels = labels.clone();
    labels.retain(|_, value| !value.is_empty());
    for (name, value) in external {
        labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    for step in steps {
        match follow(labels, step) {
            Some(next) => labels = next,
            None => return Ok(None),
        }
    }
    let Some(name) = labels.get("__name__") else {
        return Err(Refused::NoName);
    };
    let valid = Regex::new("^[a-zA-Z_:][a-zA-Z0-9_:]*$").unwrap();
    match valid.is_match(name) {
        true => Ok(Some(series(&labels))),
        false => Err(Refused::MetricName(name.as_str().into())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn becomes_what_the_model_says_however_little_is_remembered(
        external in prop::collection::btree_map("[a-d]", "[xy]{0,2}", 0..3),
        steps in prop::collection::vec(step(), 0..5),
        all in prop::collection::vec(labels(), 1..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
        remembered in 0..6_usize,
    ) {
        let relabelling = Arc::new(Relabelling::build(&external, &steps).unwrap());
        let mut relabeller = relabelling.relabeller(remembered);
        for index in order {
            let labels = index.get(&all);
            let expected = model(&external, &steps, labels);
            prop_assert_eq!(relabeller.apply(&series(labels)), expected);
        }
    }
}
