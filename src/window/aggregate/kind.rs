//! Which aggregates there are, and what they take and give.

use crate::model::DataType;

/// The names that may be written in `value` and `let`.
pub const NAMES: [&str; 7] = ["count", "sum", "avg", "min", "max", "first", "last"];

/// An aggregate function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// Rows, or values that are not NULL.
    Count,
    /// Different values that are not NULL.
    CountDistinct,
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
    /// All readings; not written by users, used for metrics without a window.
    Collect,
}

/// A function with the type of what it is computed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AggregateKind {
    /// The function.
    pub function: Function,
    /// The type of the argument; nothing for `count(*)`.
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
        arguments: &[DataType],
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
        let [argument] = arguments else {
            return Err(format!(
                "{name} takes one argument, found {}",
                arguments.len()
            ));
        };
        let function = match (name, distinct) {
            ("count", false) => Function::Count,
            ("count", true) => Function::CountDistinct,
            (_, true) => return Err(format!("DISTINCT works with count only, not with {name}")),
            ("first", false) => Function::First,
            ("last", false) => Function::Last,
            (numeric, false) => {
                let function = match numeric {
                    "sum" => Function::Sum,
                    "avg" => Function::Average,
                    "min" => Function::Min,
                    "max" => Function::Max,
                    _ => {
                        return Err(format!(
                            "unknown aggregate {name}; use {}",
                            NAMES.join(", ")
                        ));
                    }
                };
                if *argument != DataType::Number {
                    return Err(format!("{name} takes a number, found {}", argument.name()));
                }
                function
            }
        };
        Ok(Self {
            function,
            argument: Some(*argument),
        })
    }

    /// The type of the result.
    pub fn result_type(self) -> DataType {
        match self.function {
            Function::First | Function::Last => self.argument.unwrap_or(DataType::Number),
            _ => DataType::Number,
        }
    }

    /// Whether the result depends on the order of events.
    pub fn needs_event_order(self) -> bool {
        matches!(self.function, Function::First | Function::Last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_makes_no_sense() {
        let cases = [
            (
                ("sum", false, true, &[][..]),
                "sum(*) is not possible; write sum(field)",
            ),
            (
                ("count", true, true, &[]),
                "count(DISTINCT *) is not possible; name a field",
            ),
            (
                ("sum", false, false, &[]),
                "sum takes one argument, found 0",
            ),
            (
                ("sum", false, false, &[DataType::Text]),
                "sum takes a number, found text",
            ),
            (
                ("max", false, false, &[DataType::Boolean]),
                "max takes a number, found boolean",
            ),
            (
                ("avg", true, false, &[DataType::Number]),
                "DISTINCT works with count only, not with avg",
            ),
        ];
        for ((name, distinct, star, arguments), message) in cases {
            let refused = AggregateKind::of_call(name, distinct, star, arguments);
            assert_eq!(refused, Err(message.to_owned()));
        }
    }
}
