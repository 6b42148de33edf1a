//! What is wrong with a relabelling, in words.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::{RelabelConfig, Relabelling, validate};
use super::configs;

fn problems(external: &[&str], steps: &Value) -> Vec<String> {
    let external: BTreeMap<String, String> = external
        .iter()
        .map(|name| ((*name).to_owned(), "x".to_owned()))
        .collect();
    let steps = configs(steps);
    let found = validate(&external, &steps);
    // What is built is what validation has nothing against.
    let built = Relabelling::build(&external, &steps);
    assert_eq!(built.err().as_ref(), found.first());
    found
        .into_iter()
        .map(|(path, message)| format!("{} {message}", path.join(".")))
        .collect()
}

#[test]
fn says_what_is_wrong_and_what_would_be_right() {
    let cases = [
        (
            json!({"replacement": "x"}),
            "target_label is missing, which action replace requires",
        ),
        (
            json!({"action": "lowercase"}),
            "target_label is missing, which action lowercase requires",
        ),
        (
            json!({"target_label": "a-b"}),
            "target_label 'a-b' is no label name; use letters, digits and _, no digit first",
        ),
        (
            json!({"target_label": "0$1"}),
            "target_label '0$1' makes no label name; use letters, digits, _ and groups such as $1, no \
             digit first",
        ),
        (
            json!({"action": "uppercase", "target_label": "$1"}),
            "target_label '$1' is no label name; use letters, digits and _, no digit first",
        ),
        (
            json!({"action": "hashmod", "target_label": "shard"}),
            "modulus is 0; hashmod requires a modulus of at least 1",
        ),
        (
            json!({"action": "labelmap", "replacement": "$1-x"}),
            "replacement '$1-x' makes no label name, which labelmap requires; use letters, digits, _ and \
             groups such as $1, no digit first",
        ),
        (
            json!({"action": "lowercase", "target_label": "a", "replacement": "x"}),
            "replacement is not for action lowercase; remove it",
        ),
        (
            json!({"action": "keepequal", "target_label": "a", "regex": "x"}),
            "regex is not for action keepequal; remove it",
        ),
        (
            json!({"action": "labeldrop", "regex": "x", "source_labels": ["a"]}),
            "source_labels is not for action labeldrop; remove it",
        ),
        (
            json!({"action": "drop", "regex": "a("}),
            "regex 'a(' is not a regular expression: unclosed group; put \\ before a character that \
             stands for itself",
        ),
    ];
    for (step, expected) in cases {
        let steps = json!([{"action": "keep"}, step]);
        let expected = format!("write_relabel_configs.1.{expected}");
        assert_eq!(problems(&[], &steps), [expected], "{step}");
    }
    let external = problems(&["env", "__name__", "a-b"], &json!([]));
    assert_eq!(
        external,
        [
            "external_labels.__name__ is the metric name, which every series has; remove it",
            "external_labels.a-b 'a-b' is no label name; use letters, digits and _, no digit first",
        ]
    );
}

#[test]
fn a_default_may_be_written_out() {
    let steps = json!([
        {"action": "labeldrop", "regex": "x", "separator": ";", "replacement": "$1", "modulus": 0},
        {"action": "keepequal", "source_labels": ["a"], "target_label": "b", "regex": "(.*)"},
        {"action": "uppercase", "target_label": "b", "replacement": "$1"},
    ]);
    assert_eq!(problems(&[], &steps), [""; 0]);
}

#[test]
fn refuses_unknown_keys_and_actions() {
    let error = |text: Value| {
        serde_json::from_value::<RelabelConfig>(text)
            .unwrap_err()
            .to_string()
    };
    let key = error(json!({"source_label": ["a"]}));
    assert!(key.starts_with("unknown field `source_label`"), "{key}");
    let action = error(json!({"action": "rename"}));
    assert!(action.starts_with("unknown variant `rename`"), "{action}");
}
