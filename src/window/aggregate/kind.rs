//! Which aggregates there are, and what they take and give.

use std::sync::Arc;

use super::histogram::DEFAULT_SCHEMA;
use super::octave::{COARSEST, FINEST};
use super::spread::Measure;
use crate::model::aggregate::Argument;
use crate::model::{AGGREGATE_NAMES, DataType};

/// An aggregate function.
#[derive(Debug, Clone, PartialEq)]
pub enum Function {
    /// Rows, or values that are not NULL.
    Count,
    /// Different values that are not NULL.
    CountDistinct,
    /// About how many different values that are not NULL.
    ApproxCountDistinct,
    /// The sum.
    Sum,
    /// The arithmetic mean.
    Average,
    /// The lowest value.
    Min,
    /// The highest value.
    Max,
    /// The value of the earliest event.
    First,
    /// The value of the latest event.
    Last,
    /// The variance or its root.
    Spread(Measure),
    /// The value below which this share of the values lies, from 0 to 1.
    Quantile(f64),
    /// The value below which half of the values lies.
    Median,
    /// How much a counter counts in a second.
    Rate,
    /// How much a counter has counted.
    Increase,
    /// The difference of the last to the first value.
    Delta,
    /// The mean over time.
    TimeAverage,
    /// For how many seconds a condition held.
    TimeIn,
    /// The distribution as a native histogram.
    Histogram {
        /// Its resolution.
        schema: i32,
    },
    /// The distribution as a classic histogram.
    Buckets {
        /// The upper bounds of its buckets, ascending, without infinity.
        bounds: Arc<[f64]>,
    },
    /// All readings; not written by users, used for metrics without a window.
    Collect,
}

/// What a metric's samples are.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A number each.
    Number,
    /// A native histogram each.
    Histogram,
    /// Those of several series: `_bucket` for each bound and infinity, `_sum` and `_count`.
    Buckets {
        /// The upper bounds, ascending, without infinity.
        bounds: Arc<[f64]>,
    },
}

/// A function with the type of what it is computed of.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateKind {
    /// The function.
    pub function: Function,
    /// The type of what is aggregated; nothing for `count(*)`.
    pub argument: Option<DataType>,
}

impl AggregateKind {
    /// The aggregate of a call, or why there is none such.
    ///
    /// # Errors
    /// A message that says what would be right.
    pub fn of_call(
        name: &str,
        distinct: bool,
        star: bool,
        arguments: &[Argument],
    ) -> Result<Self, String> {
        if star {
            return match (name, distinct) {
                ("count", false) => Ok(Self {
                    function: Function::Count,
                    argument: None,
                }),
                ("count", true) => Err("count(DISTINCT *) is not possible; name a field".into()),
                _ => Err(format!("{name}(*) is not possible; write {name}(field)")),
            };
        }
        if distinct && name != "count" {
            return Err(format!("DISTINCT works with count only, not with {name}"));
        }
        match name {
            "quantile" => quantile(arguments),
            "histogram" => histogram(arguments),
            "buckets" => buckets(arguments),
            _ => simple(name, distinct, arguments),
        }
    }

    /// Which argument of the call is aggregated; the others are constants.
    pub fn input(&self) -> Option<usize> {
        self.argument?;
        Some(usize::from(matches!(self.function, Function::Quantile(_))))
    }

    /// Whether what is aggregated are the hashes of the texts instead of the texts.
    pub fn hashes_texts(&self) -> bool {
        self.function == Function::ApproxCountDistinct && self.argument == Some(DataType::Text)
    }

    /// The type of the result.
    pub fn result_type(&self) -> DataType {
        match self.function {
            Function::First | Function::Last => self.argument.unwrap_or(DataType::Number),
            _ => DataType::Number,
        }
    }

    /// Whether the result depends on the times of events.
    pub fn needs_event_order(&self) -> bool {
        matches!(
            self.function,
            Function::First
                | Function::Last
                | Function::Rate
                | Function::Increase
                | Function::Delta
                | Function::TimeAverage
                | Function::TimeIn
        )
    }

    /// What decides how the state is laid out and what it means: equal exactly where the state of one
    /// can be taken for that of the other.
    pub fn describe(&self) -> String {
        let function = match &self.function {
            Function::Count => "count".to_owned(),
            Function::CountDistinct => "count(DISTINCT)".to_owned(),
            Function::ApproxCountDistinct => "approx_count_distinct".to_owned(),
            Function::Sum => "sum".to_owned(),
            Function::Average => "avg".to_owned(),
            Function::Min => "min".to_owned(),
            Function::Max => "max".to_owned(),
            Function::First => "first".to_owned(),
            Function::Last => "last".to_owned(),
            Function::Spread(measure) => match (measure.root, measure.population) {
                (true, false) => "stddev".to_owned(),
                (true, true) => "stddev_pop".to_owned(),
                (false, false) => "variance".to_owned(),
                (false, true) => "variance_pop".to_owned(),
            },
            Function::Quantile(share) => format!("quantile({share})"),
            // It is the same sketch and the same share.
            Function::Median => "quantile(0.5)".to_owned(),
            Function::Rate => "rate".to_owned(),
            Function::Increase => "increase".to_owned(),
            Function::Delta => "delta".to_owned(),
            Function::TimeAverage => "time_avg".to_owned(),
            Function::TimeIn => "time_in".to_owned(),
            Function::Histogram { schema } => format!("histogram({schema})"),
            Function::Buckets { bounds } => format!("buckets({bounds:?})"),
            Function::Collect => "readings".to_owned(),
        };
        match self.argument {
            Some(argument) => format!("{function} of {}", argument.name()),
            None => format!("{function} of rows"),
        }
    }

    /// What samples are where this is the whole value of a metric.
    pub fn output(&self) -> Output {
        match &self.function {
            Function::Histogram { .. } => Output::Histogram,
            Function::Buckets { bounds } => Output::Buckets {
                bounds: bounds.clone(),
            },
            _ => Output::Number,
        }
    }
}

/// The aggregates of one argument and nothing else.
fn simple(name: &str, distinct: bool, arguments: &[Argument]) -> Result<AggregateKind, String> {
    let spread = |population, root| Function::Spread(Measure { population, root });
    let function = match name {
        "count" if distinct => Function::CountDistinct,
        "count" => Function::Count,
        "approx_count_distinct" => Function::ApproxCountDistinct,
        "sum" => Function::Sum,
        "avg" => Function::Average,
        "min" => Function::Min,
        "max" => Function::Max,
        "first" => Function::First,
        "last" => Function::Last,
        "stddev" => spread(false, true),
        "stddev_pop" => spread(true, true),
        "variance" => spread(false, false),
        "variance_pop" => spread(true, false),
        "median" => Function::Median,
        "rate" => Function::Rate,
        "increase" => Function::Increase,
        "delta" => Function::Delta,
        "time_avg" => Function::TimeAverage,
        "time_in" => Function::TimeIn,
        _ => {
            return Err(format!(
                "unknown aggregate {name}; use {}",
                AGGREGATE_NAMES.join(", ")
            ));
        }
    };
    let [argument] = arguments else {
        return Err(format!(
            "{name} takes one argument, found {}",
            arguments.len()
        ));
    };
    let found = argument.data_type;
    let takes = match function {
        Function::Count
        | Function::CountDistinct
        | Function::ApproxCountDistinct
        | Function::First
        | Function::Last => found,
        Function::TimeIn => DataType::Boolean,
        _ => DataType::Number,
    };
    if found != takes {
        let (takes, found) = (takes.name(), found.name());
        return Err(format!("{name} takes a {takes}, found {found}"));
    }
    Ok(AggregateKind {
        function,
        argument: Some(found),
    })
}

fn quantile(arguments: &[Argument]) -> Result<AggregateKind, String> {
    let usage = |found: String| {
        format!(
            "quantile takes a constant between 0 and 1 and a number: quantile(0.95, rpm); {found}"
        )
    };
    let [share, values] = arguments else {
        return Err(usage(found_arguments(arguments.len())));
    };
    let Some(share) = share.constant else {
        return Err(usage("the first argument is no constant number".into()));
    };
    if !(0.0..=1.0).contains(&share) {
        return Err(usage(format!("found {}", constant(share))));
    }
    if values.data_type != DataType::Number {
        return Err(usage(format!(
            "the second is a {}",
            values.data_type.name()
        )));
    }
    Ok(AggregateKind {
        function: Function::Quantile(share),
        argument: Some(DataType::Number),
    })
}

fn histogram(arguments: &[Argument]) -> Result<AggregateKind, String> {
    let usage = |found: String| {
        format!(
            "histogram takes a number and, if need be, a schema, a constant from {COARSEST} to \
             {FINEST}: histogram(rpm), histogram(rpm, 5); {found}"
        )
    };
    let (values, schema) = match arguments {
        [values] => (values, DEFAULT_SCHEMA),
        [values, schema] => {
            let Some(schema) = schema.constant else {
                return Err(usage("the second argument is no constant number".into()));
            };
            let known = (COARSEST..=FINEST).find(|known| f64::from(*known) == schema);
            let Some(known) = known else {
                return Err(usage(format!("found {}", constant(schema))));
            };
            (values, known)
        }
        _ => return Err(usage(found_arguments(arguments.len()))),
    };
    if values.data_type != DataType::Number {
        return Err(usage(format!("the first is a {}", values.data_type.name())));
    }
    Ok(AggregateKind {
        function: Function::Histogram { schema },
        argument: Some(DataType::Number),
    })
}

fn buckets(arguments: &[Argument]) -> Result<AggregateKind, String> {
    let usage = |found: String| {
        format!(
            "buckets takes a number and the upper bounds of the buckets, ascending constants: \
             buckets(rpm, 1000, 2000, 4000); {found}"
        )
    };
    let [values, rest @ ..] = arguments else {
        return Err(usage(found_arguments(0)));
    };
    if values.data_type != DataType::Number {
        return Err(usage(format!("the first is a {}", values.data_type.name())));
    }
    if rest.is_empty() {
        return Err(usage("found no bound".into()));
    }
    let mut bounds: Vec<f64> = Vec::new();
    for (argument, number) in rest.iter().zip(1..) {
        let Some(bound) = argument.constant.filter(|bound| bound.is_finite()) else {
            return Err(usage(format!("bound {number} is no constant number")));
        };
        if let Some(before) = bounds.last()
            && *before >= bound
        {
            return Err(usage(format!("found {bound} behind {before}")));
        }
        bounds.push(bound + 0.0);
    }
    Ok(AggregateKind {
        function: Function::Buckets {
            bounds: bounds.into(),
        },
        argument: Some(DataType::Number),
    })
}

fn found_arguments(count: usize) -> String {
    match count {
        1 => "found 1 argument".into(),
        count => format!("found {count} arguments"),
    }
}

fn constant(value: f64) -> String {
    if value.is_nan() {
        "NULL".into()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data_type: DataType) -> Argument {
        Argument {
            data_type,
            constant: None,
        }
    }

    fn number(value: f64) -> Argument {
        Argument {
            data_type: DataType::Number,
            constant: Some(value),
        }
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        let numbers = of(DataType::Number);
        let cases = [
            (
                ("sum", false, true, vec![]),
                "sum(*) is not possible; write sum(field)",
            ),
            (
                ("count", true, true, vec![]),
                "count(DISTINCT *) is not possible; name a field",
            ),
            (
                ("sum", false, false, vec![]),
                "sum takes one argument, found 0",
            ),
            (
                ("sum", false, false, vec![of(DataType::Text)]),
                "sum takes a number, found text",
            ),
            (
                ("max", false, false, vec![of(DataType::Boolean)]),
                "max takes a number, found boolean",
            ),
            (
                ("time_in", false, false, vec![numbers]),
                "time_in takes a boolean, found number",
            ),
            (
                ("avg", true, false, vec![numbers]),
                "DISTINCT works with count only, not with avg",
            ),
            (
                ("quantile", false, false, vec![number(95.0), numbers]),
                "quantile takes a constant between 0 and 1 and a number: quantile(0.95, rpm); \
                 found 95",
            ),
            (
                ("quantile", false, false, vec![number(f64::NAN), numbers]),
                "quantile takes a constant between 0 and 1 and a number: quantile(0.95, rpm); \
                 found NULL",
            ),
            (
                ("quantile", false, false, vec![numbers]),
                "quantile takes a constant between 0 and 1 and a number: quantile(0.95, rpm); \
                 found 1 argument",
            ),
            (
                ("quantile", false, false, vec![numbers, numbers]),
                "quantile takes a constant between 0 and 1 and a number: quantile(0.95, rpm); \
                 the first argument is no constant number",
            ),
            (
                ("histogram", false, false, vec![numbers, number(2.5)]),
                "histogram takes a number and, if need be, a schema, a constant from -4 to 8: \
                 histogram(rpm), histogram(rpm, 5); found 2.5",
            ),
            (
                ("buckets", false, false, vec![numbers]),
                "buckets takes a number and the upper bounds of the buckets, ascending constants: \
                 buckets(rpm, 1000, 2000, 4000); found no bound",
            ),
            (
                (
                    "buckets",
                    false,
                    false,
                    vec![numbers, number(2.0), number(2.0)],
                ),
                "buckets takes a number and the upper bounds of the buckets, ascending constants: \
                 buckets(rpm, 1000, 2000, 4000); found 2 behind 2",
            ),
        ];
        for ((name, distinct, star, arguments), message) in cases {
            let refused = AggregateKind::of_call(name, distinct, star, &arguments);
            assert_eq!(refused, Err(message.to_owned()));
        }
    }

    #[test]
    fn every_name_is_known() {
        for name in AGGREGATE_NAMES {
            let message = AggregateKind::of_call(name, false, false, &[]).unwrap_err();
            assert!(!message.starts_with("unknown"), "{message}");
        }
        let message = AggregateKind::of_call("mode", false, false, &[]).unwrap_err();
        assert!(
            message.starts_with("unknown aggregate mode; use count, "),
            "{message}"
        );
    }

    #[test]
    fn descriptions_differ_where_state_does() {
        let kind = |function, argument| AggregateKind { function, argument };
        let describe = |function, argument| kind(function, argument).describe();
        let number = Some(DataType::Number);
        let buckets = |bounds: &[f64]| Function::Buckets {
            bounds: bounds.into(),
        };
        let cases = [
            (describe(Function::Count, None), "count of rows"),
            (
                describe(Function::Last, Some(DataType::Text)),
                "last of text",
            ),
            (
                describe(Function::Quantile(0.99), number),
                "quantile(0.99) of number",
            ),
            (
                describe(buckets(&[0.5, 1.0]), number),
                "buckets([0.5, 1.0]) of number",
            ),
            (
                describe(Function::Histogram { schema: -4 }, number),
                "histogram(-4) of number",
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
        let median = describe(Function::Median, number);
        assert_eq!(median, describe(Function::Quantile(0.5), number));
    }

    #[test]
    fn constants_are_part_of_the_kind() {
        let numbers = of(DataType::Number);
        let kind = AggregateKind::of_call("quantile", false, false, &[number(0.9), numbers]);
        let kind = kind.unwrap();
        assert_eq!(
            (kind.input(), &kind.function),
            (Some(1), &Function::Quantile(0.9))
        );
        let kind = AggregateKind::of_call("median", false, false, &[numbers]).unwrap();
        assert_eq!(kind.input(), Some(0));
        let kind = AggregateKind::of_call("histogram", false, false, &[numbers, number(-4.0)]);
        assert_eq!(kind.unwrap().function, Function::Histogram { schema: -4 });
        let bounds = [numbers, number(-1.5), number(-0.0), number(2.0)];
        let kind = AggregateKind::of_call("buckets", false, false, &bounds).unwrap();
        let bounds = [-1.5, 0.0, 2.0].as_slice().into();
        assert_eq!(kind.output(), Output::Buckets { bounds });
        assert_eq!(kind.input(), Some(0));
    }
}
