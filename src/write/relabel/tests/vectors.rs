//! The same as Prometheus itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::super::labels::{is_label_name, is_metric_name};
use super::super::{Refused, RelabelConfig, Relabelling, template};
use super::series;

/// A line of the vectors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    #[serde(default)]
    external: BTreeMap<String, String>,
    rules: Vec<RelabelConfig>,
    #[serde(rename = "in")]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    out: BTreeMap<String, String>,
    #[serde(default)]
    dropped: bool,
}

fn vectors() -> Vec<Vector> {
    let lines = include_str!("../vectors.jsonl").lines();
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn pairs(labels: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    let pairs = labels.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

#[test]
fn becomes_what_it_becomes_in_prometheus() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 166);
    let (mut sent, mut refused) = (0, 0);
    for vector in vectors {
        let relabelling = Relabelling::build(&vector.external, &vector.rules).unwrap();
        let found = relabelling.relabel(&series(&pairs(&vector.labels)));
        if vector.dropped {
            assert_eq!(found, Ok(None), "{vector:?}");
            continue;
        }
        let out = &vector.out;
        let wrong = out.keys().find(|name| !is_label_name(name));
        let expected = match (out.get("__name__"), wrong) {
            (None, _) => Err(Refused::NoName),
            (Some(name), _) if !is_metric_name(name) => {
                Err(Refused::MetricName(name.as_str().into()))
            }
            (_, Some(name)) => Err(Refused::LabelName(name.as_str().into())),
            _ => Ok(Some(series(&pairs(out)))),
        };
        assert_eq!(found, expected, "{vector:?}");
        sent += u32::from(expected.is_ok());
        refused += u32::from(expected.is_err());
    }
    assert!(sent > 100 && refused > 5, "{sent} {refused}");
}

/// From the same version of Prometheus, whose `Validate` takes these as targets or not.
#[test]
fn takes_the_targets_that_prometheus_takes() {
    let yes = [
        "label",
        "label$1",
        "label${1}",
        "${1}label",
        "$1",
        "$1x",
        "${1}_${b}",
        "_$1_",
        "a$2b",
        "$0",
        "a0$1",
    ];
    let no = [
        "", "-label", "${", "$", "${}", "a${", "a$", "a${1", "${1}-", "$-", "0$1", "å$1", "${å}",
        "$å", "$$1", "a:$1",
    ];
    for text in yes {
        assert!(template::is_name_template(text), "{text}");
    }
    for text in no {
        assert!(!template::is_name_template(text), "{text}");
    }
}

#[test]
fn nothing_is_kept_twice() {
    let relabelling = super::relabelling(
        &[("env", "prod")],
        &serde_json::json!([{"target_label": "model", "replacement": "any"}]),
    );
    let input = series(&[("__name__", "speed"), ("vin", "V7")]);
    let mut results = (0..2).map(|_| relabelling.relabel(&input).unwrap().unwrap());
    let (first, second) = (results.next().unwrap(), results.next().unwrap());
    assert!(Arc::ptr_eq(first.name(), input.name()));
    let shared = first.labels().iter().zip(second.labels());
    for ((_, left), (_, right)) in shared {
        assert!(Arc::ptr_eq(left, right), "{left}");
    }
    let unchanged = relabelling.relabel(&first).unwrap().unwrap();
    assert!(Arc::ptr_eq(&unchanged, &first));
}
