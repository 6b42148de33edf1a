//! Which aggregates a metric keeps of each group, which workers and owners agree on.

use crate::config::{Metric, Shape};
use crate::expr::AggregateCall;
use crate::model::DataType;
use crate::window::WindowKind;
use crate::window::aggregate::{AggregateKind, Function};

/// The aggregates that a metric keeps while its windows are open: those that its expressions name,
/// in their order, and then the times of the first and last event where these are needed.
pub(super) fn kinds_of(metric: &Metric) -> Vec<AggregateKind> {
    let mut kinds = named_kinds(&metric.shape);
    kinds.extend(times_of(metric).iter().map(|function| AggregateKind {
        function: function.clone(),
        argument: Some(DataType::Number),
    }));
    kinds
}

/// Which ends of the events' times a metric needs.
pub(super) fn times_of(metric: &Metric) -> &'static [Function] {
    let is_session = matches!(metric.windows.kind(), WindowKind::Session { .. });
    match &metric.shape {
        _ if is_session => &[Function::Min, Function::Max],
        Shape::Per { hold: Some(_), .. } => &[Function::Max],
        _ => &[],
    }
}

fn named_kinds(shape: &Shape) -> Vec<AggregateKind> {
    match shape {
        Shape::Aggregate { value } => value.calls.iter().map(kind_of).collect(),
        Shape::Per { values, .. } => values
            .iter()
            .flat_map(|value| &value.calls)
            .map(kind_of)
            .collect(),
        Shape::Completeness(_) => {
            let devices = AggregateKind {
                function: Function::CountDistinct,
                argument: Some(DataType::Text),
            };
            vec![devices.clone(), devices]
        }
        Shape::Raw { value } => {
            let argument = Some(value.data_type());
            vec![AggregateKind {
                function: Function::Collect,
                argument,
            }]
        }
    }
}

/// The aggregate of a call that was checked when the pipeline was loaded.
pub(super) fn kind_of(call: &AggregateCall) -> AggregateKind {
    let (arguments, star) = (&call.arguments, call.arguments.is_empty());
    AggregateKind::of_call(&call.function, call.distinct, star, arguments).unwrap_or(
        AggregateKind {
            function: Function::Count,
            argument: None,
        },
    )
}
