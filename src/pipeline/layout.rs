//! What decides whether a metric's saved state fits the metric as it is now.

use crate::config::{Metric, Shape};
use crate::pipeline::kinds::kinds_of;
use crate::window::aggregate::AggregateKind;

/// A text that is the same for two metrics of one name where the state of one can be taken for that of
/// the other: windows, labels, and what is kept of each group. Settings that only decide how the state
/// is used may change: for how long values are held, of how many keys, how many series there may be,
/// what is computed of the aggregates, and which groups have samples.
pub(super) fn state_layout(metric: &Metric) -> String {
    let labels: Vec<&str> = metric.by.iter().map(|(name, _)| &**name).collect();
    let kinds: Vec<String> = kinds_of(metric)
        .iter()
        .map(AggregateKind::describe)
        .collect();
    let mut layout = format!(
        "{}; by [{}]; of each group [{}]",
        metric.windows.describe_state(),
        labels.join(", "),
        kinds.join(", ")
    );
    match &metric.shape {
        Shape::Aggregate { .. } => {}
        Shape::Per { values, hold, .. } => {
            layout.push_str("; per key");
            if hold.is_some() {
                let types = values.iter().map(|value| value.data_type().name());
                let types: Vec<_> = types.collect();
                layout.push_str(&format!(", held [{}]", types.join(", ")));
            }
        }
        Shape::Completeness(_) => layout.push_str("; completeness"),
        Shape::Raw { .. } => layout.push_str("; readings"),
    }
    if metric.max_series.is_some() {
        layout.push_str("; with a budget of series");
    }
    layout
}

#[cfg(test)]
mod tests {
    use super::super::tests::pipeline;
    use super::*;

    fn layout(metric: &str) -> String {
        let metrics = format!("\n  m: {{ {metric} }}");
        state_layout(&pipeline("[]", &metrics).metrics[0])
    }

    #[test]
    fn a_layout_names_what_is_kept() {
        let layout = layout(
            "window: { tumbling: 5s }, by: [region], per: { key: vehicle, let: { x: avg(x) }, \
             hold: 1m }, max_series: 9, value: sum(x)",
        );
        assert!(layout.ends_with(
            "; by [region]; of each group [avg of number, max of number]; per key, held [number]; \
             with a budget of series"
        ), "{layout}");
    }

    #[test]
    fn what_only_uses_the_state_may_change() {
        let same = [
            "window: { tumbling: 5s }, per: { key: vehicle, let: { x: avg(x) }, hold: 1m }, value: \
             sum(x)",
            "window: { tumbling: 5s }, per: { key: vehicle, let: { y: avg(x) + 1 }, hold: 2m, \
             max_held_keys: 7 }, value: max(y)",
        ];
        assert_eq!(layout(same[0]), layout(same[1]));
        let of = |metric: &str| layout(&format!("window: {{ {metric} }}, value: avg(x)"));
        let different = [
            of("tumbling: 5s"),
            of("tumbling: 6s"),
            of("tumbling: 5s, offset: 1s"),
            of("sliding: 10s, slide: 5s"),
            of("session: 5s"),
            layout("window: { tumbling: 5s }, value: sum(x)"),
            layout("window: { tumbling: 5s }, by: [region], value: avg(x)"),
            layout("window: { tumbling: 5s }, by: [vehicle], value: avg(x)"),
            layout("window: { tumbling: 5s }, by: [region], max_series: 2, value: avg(x)"),
            layout("value: x, labels: [region]"),
        ];
        for (number, one) in different.iter().enumerate() {
            for other in &different[..number] {
                assert_ne!(one, other);
            }
        }
    }
}
