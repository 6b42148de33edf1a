use proptest::prelude::*;

use super::*;
use crate::write::remote_write::config::ReceiverKind;
use crate::write::testing::sample;

fn series(name: &str, labels: &[(&str, &str)]) -> Arc<Series> {
    sample(name, labels, 0, 1.0).series
}

fn low() -> ReceiverLimits {
    ReceiverLimits {
        label_names: Some(3),
        label_name_bytes: Some(6),
        label_value_bytes: Some(8),
        age: Some(Duration::from_millis(100)),
        ahead: Some(Duration::from_millis(50)),
    }
}

fn refused(name: &str, labels: &[(&str, &str)]) -> Option<(DropReason, String)> {
    let violation = low().refuse_series(&series(name, labels))?;
    Some((violation.reason(), violation.to_string()))
}

#[test]
fn what_is_within_the_limits_is_taken() {
    for (name, labels) in [
        ("up", &[][..]),
        (":a_b:c9", &[("a", "1"), ("b", "2")]),
        ("_", &[("_a", "12345678"), ("label6", "åååå")]),
        ("longname", &[("empty", ""), ("a", "1"), ("b", "2")]),
    ] {
        assert_eq!(refused(name, labels), None, "{name} {labels:?}");
    }
}

#[test]
fn each_violation_says_what_it_is_and_what_would_be_right() {
    let cases = [
        (
            "",
            &[][..],
            DropReason::InvalidName,
            "'' is not a metric name that receivers take; use letters, digits, '_' and ':', no digit first",
        ),
        (
            "1up",
            &[],
            DropReason::InvalidName,
            "'1up' is not a metric name that receivers take; use letters, digits, '_' and ':', no digit first",
        ),
        (
            "up",
            &[("a-b", "1")],
            DropReason::InvalidName,
            "'a-b' is not a label name that receivers take; use letters, digits and '_', neither a digit \
             nor '__' first",
        ),
        (
            "up",
            &[("__name__", "down")],
            DropReason::InvalidName,
            "'__name__' is not a label name that receivers take; use letters, digits and '_', neither a \
             digit nor '__' first",
        ),
        (
            "up",
            &[("a:b", "1")],
            DropReason::InvalidName,
            "'a:b' is not a label name that receivers take; use letters, digits and '_', neither a digit \
             nor '__' first",
        ),
        (
            "up",
            &[("b", "1"), ("b", "2")],
            DropReason::DuplicateLabel,
            "the label 'b' is there twice; give one of the two another name",
        ),
        (
            "up",
            &[("a", "1"), ("b", "2"), ("c", "3")],
            DropReason::TooManyLabels,
            "it has 4 labels with its name, and the receiver takes 3; leave some out, or raise the \
             receiver's limit and limits.label_names",
        ),
        (
            "up",
            &[("label_7", "1")],
            DropReason::LabelNameTooLong,
            "the label name 'label_7' has 7 bytes, and the receiver takes 6; take another name, or raise \
             the receiver's limit and limits.label_name_bytes",
        ),
        (
            "up",
            &[("a", "ååååå")],
            DropReason::LabelValueTooLong,
            "the value of 'a' has 10 bytes, and the receiver takes 8; shorten it, or raise the receiver's \
             limit and limits.label_value_bytes",
        ),
        (
            "long_name",
            &[],
            DropReason::LabelValueTooLong,
            "the value of '__name__' has 9 bytes, and the receiver takes 8; shorten it, or raise the \
             receiver's limit and limits.label_value_bytes",
        ),
    ];
    for (name, labels, reason, words) in cases {
        let expected = Some((reason, words.to_owned()));
        assert_eq!(refused(name, labels), expected, "{name} {labels:?}");
    }
}

#[test]
fn names_are_looked_at_where_there_is_no_limit() {
    let none = ReceiverLimits::default();
    let long = "x".repeat(100_000);
    let wide: Vec<String> = (0..1_000).map(|number| format!("l{number}")).collect();
    let wide: Vec<(&str, &str)> = wide.iter().map(|name| (name.as_str(), &*long)).collect();
    assert_eq!(none.refuse_series(&series(&long, &wide)), None);
    assert_eq!(none.refuse_time(i64::MIN, i64::MAX), None);
    assert_eq!(none.refuse_time(i64::MAX, i64::MIN), None);
    assert!(none.refuse_series(&series("a b", &[])).is_some());
}

#[test]
fn times_are_taken_up_to_the_limit_and_not_beyond() {
    let now = 1_000_000;
    for (timestamp, words) in [
        (now, None),
        (now - 100, None),
        (
            now - 101,
            Some(
                "it is 101ms old, and the receiver takes samples of up to 100ms; if it takes older \
                 ones, raise limits.age",
            ),
        ),
        (now + 50, None),
        (
            now + 51,
            Some(
                "it is 51ms ahead of this machine's clock, and the receiver takes samples of up to 50ms; \
                 look at the clocks of whoever sends the events, or raise limits.ahead",
            ),
        ),
    ] {
        let found = low().refuse_time(timestamp, now);
        let found = found.map(|violation| violation.to_string());
        assert_eq!(found.as_deref(), words, "{timestamp}");
    }
}

#[test]
fn a_name_of_many_letters_is_told_in_short() {
    let name = "å".repeat(1_000);
    let words = low().refuse_series(&series(&name, &[])).unwrap();
    assert_eq!(words, Violation::MetricName(format!("{}…", "å".repeat(64))));
}

#[test]
fn the_limits_of_a_kind_refuse_what_is_just_beyond_them() {
    for kind in [
        ReceiverKind::Generic,
        ReceiverKind::Prometheus,
        ReceiverKind::Cortex,
        ReceiverKind::Mimir,
        ReceiverKind::Amp,
        ReceiverKind::Thanos,
        ReceiverKind::Victoriametrics,
    ] {
        let limits = ReceiverLimits::of(kind);
        if let Some(limit) = limits.label_names {
            let names: Vec<String> = (0..limit).map(|number| format!("l{number:03}")).collect();
            let labels: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "x")).collect();
            let of = |labels: &[(&str, &str)]| {
                let found = limits.refuse_series(&series("up", labels));
                found.map(|violation| violation.reason())
            };
            assert_eq!(of(&labels), Some(DropReason::TooManyLabels), "{kind:?}");
            assert_eq!(of(&labels[1..]), None, "{kind:?}");
        }
        if let Some(limit) = limits.label_value_bytes {
            let (long, longer) = ("x".repeat(limit), "x".repeat(limit + 1));
            assert_eq!(limits.refuse_series(&series("up", &[("a", &long)])), None);
            assert!(
                limits
                    .refuse_series(&series("up", &[("a", &longer)]))
                    .is_some()
            );
        }
    }
}

/// The rules as the regular expressions and sentences in which they are documented.
fn is_refused(
    limits: &ReceiverLimits,
    name: &str,
    labels: &[(String, String)],
    age_ms: i64,
) -> bool {
    let metric_name = regex::Regex::new("^[a-zA-Z_:][a-zA-Z0-9_:]*$").unwrap();
    let label_name = regex::Regex::new("^[a-zA-Z_][a-zA-Z0-9_]*$").unwrap();
    let labels: Vec<_> = labels
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let mut names: Vec<&String> = labels.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    let over = |limit: Option<usize>, found: usize| limit.is_some_and(|limit| found > limit);
    let is_longer =
        |limit: Option<Duration>, ms: i64| limit.is_some_and(|limit| ms > limit.as_signed_millis());
    !metric_name.is_match(name)
        || names.len() < labels.len()
        || over(limits.label_names, labels.len() + 1)
        || over(limits.label_value_bytes, name.len())
        || labels.iter().any(|(name, value)| {
            !label_name.is_match(name)
                || name.starts_with("__")
                || over(limits.label_name_bytes, name.len())
                || over(limits.label_value_bytes, value.len())
        })
        || is_longer(limits.age, age_ms)
        || is_longer(limits.ahead, -age_ms)
}

prop_compose! {
    fn any_limits()(
        label_names in prop::option::of(1_usize..5),
        label_name_bytes in prop::option::of(1_usize..5),
        label_value_bytes in prop::option::of(1_usize..8),
        age in prop::option::of(0_u64..200),
        ahead in prop::option::of(0_u64..200),
    ) -> ReceiverLimits {
        ReceiverLimits {
            label_names,
            label_name_bytes,
            label_value_bytes,
            age: age.map(Duration::from_millis),
            ahead: ahead.map(Duration::from_millis),
        }
    }
}

proptest! {
    #[test]
    fn refuses_what_the_rules_refuse(
        limits in any_limits(),
        name in "[a-c:_1-]{0,7}",
        labels in prop::collection::vec(("[ab_:1é-]{1,5}", "[xé]{0,6}"), 0..5),
        age_ms in -250_i64..250,
    ) {
        let now_ms = 1_730_620_800_000;
        let some: Vec<_> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        let series = series(&name, &some);
        let violation = limits.refuse_series(&series);
        let violation = violation.or_else(|| limits.refuse_time(now_ms - age_ms, now_ms));
        prop_assert_eq!(
            violation.is_some(),
            is_refused(&limits, &name, &labels, age_ms),
            "{:?}", violation
        );
    }
}
