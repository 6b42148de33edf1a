//! How aggregates are called: what `expr`, which reads the calls, and `window`, which computes them,
//! both must know.

use super::batch::DataType;

/// The names of the aggregates that may be written in `value` and `let`.
pub const AGGREGATE_NAMES: [&str; 21] = [
    "count",
    "approx_count_distinct",
    "sum",
    "avg",
    "min",
    "max",
    "first",
    "last",
    "stddev",
    "stddev_pop",
    "variance",
    "variance_pop",
    "quantile",
    "median",
    "rate",
    "increase",
    "delta",
    "time_avg",
    "time_in",
    "histogram",
    "buckets",
];

/// What is known of an argument before there is any event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Argument {
    /// Its type.
    pub data_type: DataType,
    /// Its value where it is a constant number; NaN is NULL.
    pub constant: Option<f64>,
}
