mod cached;
mod doubts;
mod faults;
mod property;
mod vectors;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::Series;

use super::{RelabelConfig, Relabelling};

/// A series of labels, the metric name among them.
fn series(labels: &[(&str, &str)]) -> Arc<Series> {
    let name = labels.iter().find(|(name, _)| *name == "__name__");
    let rest = labels.iter().filter(|(name, _)| *name != "__name__");
    let rest = rest.map(|(name, value)| ((*name).into(), (*value).into()));
    Arc::new(Series::new(name.unwrap().1.into(), rest.collect()))
}

fn configs(steps: &Value) -> Vec<RelabelConfig> {
    serde_json::from_value(steps.clone()).unwrap()
}

fn relabelling(external: &[(&str, &str)], steps: &Value) -> Arc<Relabelling> {
    let external: BTreeMap<String, String> = external
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Arc::new(Relabelling::build(&external, &configs(steps)).unwrap())
}

#[test]
fn has_the_defaults_of_prometheus() {
    let config = configs(&json!([{}])).remove(0);
    assert_eq!(config, RelabelConfig::default());
    assert_eq!(config.separator, ";");
    assert_eq!(config.regex, "(.*)");
    assert_eq!(config.replacement, "$1");
    assert_eq!(config.action, super::Action::Replace);
    assert_eq!((config.modulus, config.target_label.as_str()), (0, ""));
}
