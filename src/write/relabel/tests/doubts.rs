//! What is found without data, and what is not certain enough.

use serde_json::{Value, json};

use super::super::doubts;
use super::relabelling;

fn found(external: &[(&str, &str)], steps: Value) -> Vec<String> {
    let metrics = [
        ("speed", vec!["model", "region"]),
        ("speed_max", vec!["model", "region"]),
        ("vehicles", vec!["region"]),
    ];
    let doubts = doubts(&relabelling(external, &steps), &metrics);
    doubts.iter().map(ToString::to_string).collect()
}

fn lost(metric: &str, label: &str) -> String {
    format!(
        "the label '{label}' of metric '{metric}' is lost, and series that differ in it become one; keep \
         the label, or leave it out of the metric's by"
    )
}

fn nameless(metric: &str) -> String {
    format!(
        "the metric '{metric}' is left without a valid name, so nothing of it is sent; with labelkeep, \
         keep __name__"
    )
}

#[test]
fn lost_labels_are_found() {
    let both = [lost("speed", "model"), lost("speed_max", "model")];
    let cases = [
        json!([{"action": "labeldrop", "regex": "m.*"}]),
        json!([{"action": "labelkeep", "regex": "__name__|region"}]),
        json!([{"target_label": "model", "replacement": "any"}]),
        json!([{"target_label": "model", "replacement": ""}]),
        json!([{"source_labels": ["vin"], "target_label": "model"}]),
        // A copy of a copy that is dropped as well.
        json!([
            {"source_labels": ["model"], "target_label": "car"},
            {"action": "labeldrop", "regex": "model|car"},
        ]),
        json!([
            {"action": "hashmod", "source_labels": ["region"], "target_label": "model", "modulus": 9},
        ]),
    ];
    for steps in cases {
        assert_eq!(found(&[], steps.clone()), both, "{steps}");
    }
}

#[test]
fn what_is_not_certain_is_not_told() {
    let cases = [
        json!([]),
        // The value is elsewhere.
        json!([
            {"source_labels": ["model"], "target_label": "car"},
            {"action": "labeldrop", "regex": "model"},
        ]),
        json!([
            {"action": "labelmap", "regex": "(model)", "replacement": "car_$1"},
            {"action": "labeldrop", "regex": "model"},
        ]),
        json!([
            {"action": "lowercase", "source_labels": ["model"], "target_label": "car"},
            {"action": "labeldrop", "regex": "model"},
        ]),
        json!([
            {"source_labels": ["region"], "regex": "(.+)", "target_label": "$1"},
            {"source_labels": ["model"], "regex": "(.+)", "target_label": "$1"},
            {"action": "labeldrop", "regex": "model"},
        ]),
        // One value may be left.
        json!([
            {"action": "keep", "source_labels": ["model"], "regex": "XC60"},
            {"action": "labeldrop", "regex": "model"},
        ]),
        json!([
            {"source_labels": ["model"], "regex": "XC60", "target_label": "flag", "replacement": "1"},
            {"action": "keep", "source_labels": ["flag"], "regex": "1"},
            {"action": "labelkeep", "regex": "__name__|region"},
        ]),
        // Perhaps it does not match, or tells by a constant.
        json!([{"source_labels": ["region"], "regex": "UK", "target_label": "model", "replacement": "x"}]),
        json!([{"source_labels": ["model"], "regex": "X.*", "target_label": "model", "replacement": "x"}]),
        // Dropped for certain.
        json!([
            {"action": "drop", "source_labels": ["__name__"], "regex": "speed.*"},
            {"action": "labeldrop", "regex": "model"},
        ]),
        // Names that the values decide.
        json!([{"source_labels": ["region", "__name__"], "target_label": "__name__"}]),
    ];
    for steps in cases {
        assert_eq!(found(&[], steps.clone()), [""; 0], "{steps}");
    }
}

#[test]
fn metrics_that_become_one_are_found() {
    let rename = json!([{
        "source_labels": ["__name__"],
        "regex": "(.*)_max",
        "target_label": "__name__",
    }]);
    let expected = "the metrics 'speed' and 'speed_max' both become 'speed' with the same labels; give \
                    them different names, or a label that tells them apart";
    assert_eq!(found(&[], rename), [expected]);
    let constant = json!([{"target_label": "__name__", "replacement": "all"}]);
    // The third has other labels.
    let expected = expected.replace("become 'speed'", "become 'all'");
    assert_eq!(found(&[("env", "prod")], constant), [expected]);
    let told_apart = json!([
        {"source_labels": ["__name__"], "regex": ".*_max", "target_label": "what", "replacement": "max"},
        {"source_labels": ["__name__"], "regex": "(.*)_max", "target_label": "__name__"},
    ]);
    assert_eq!(found(&[], told_apart), [""; 0]);
}

#[test]
fn metrics_without_a_name_are_found() {
    let expected = ["speed", "speed_max", "vehicles"].map(nameless);
    let cases = [
        json!([{"action": "labelkeep", "regex": "model|region"}]),
        json!([{"action": "labeldrop", "regex": "__.*"}]),
        json!([{"source_labels": ["__name__"], "target_label": "__name__", "replacement": "$1-x"}]),
    ];
    for steps in cases {
        assert_eq!(found(&[], steps.clone()), expected, "{steps}");
    }
}
