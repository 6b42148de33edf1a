//! Calls of functions and aggregates.

use sqlparser::ast::{
    CeilFloorKind, DateTimeField, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Spanned,
};

use crate::model::DataType;

use super::aggregate::{AggregateCall, FoundCall};
use super::check::{Checker, Typed};
use super::error::suggestion;
use super::function::{self, FUNCTIONS, Signature};
use super::node::Node;
use super::program::Program;

/// Names that are aggregates everywhere; an expression without aggregates has no catalog to ask.
const CUSTOMARY_AGGREGATES: [&str; 7] = ["avg", "count", "first", "last", "max", "min", "sum"];

/// A call taken apart.
struct Call<'e> {
    name: String,
    arguments: Vec<&'e Expr>,
    distinct: bool,
    star: bool,
    filter: Option<&'e Expr>,
}

impl Call<'_> {
    fn is_aggregate_syntax(&self) -> bool {
        self.distinct || self.star || self.filter.is_some()
    }
}

impl Checker<'_> {
    /// A call of a function or an aggregate.
    pub(super) fn function(&mut self, function: &Function) -> Option<Typed> {
        let range = self.source.range(function.name.span());
        let Some(call) = take_apart(function) else {
            let found = function.name.to_string();
            return self.fail(
                range,
                format!(
                    "the call of '{found}' has a part that is not supported; supported are \
                     arguments, DISTINCT and FILTER (WHERE ...)"
                ),
            );
        };
        let known = self
            .aggregation
            .as_ref()
            .map(|aggregation| aggregation.catalog.names());
        if known.is_some_and(|names| names.contains(&call.name.as_str())) {
            return self.aggregate(function, &call).map(Typed::Node);
        }
        if let Some(scalar) = function::find(&call.name) {
            if call.is_aggregate_syntax() {
                let message = format!(
                    "'{}' is not an aggregate; *, DISTINCT and FILTER need one",
                    call.name
                );
                return self.fail(range, message);
            }
            return self.scalar(scalar, &call, range);
        }
        // The faults of its arguments are worth knowing too, unless it may be a misspelt aggregate:
        // these have other fields.
        if self.aggregation.is_none() || self.inside.is_some() {
            for argument in &call.arguments {
                self.check_node(argument);
            }
        }
        let name = &call.name;
        let customary = CUSTOMARY_AGGREGATES.contains(&name.as_str()) || call.is_aggregate_syntax();
        let message = if known.is_none() && customary {
            format!("'{name}' is an aggregate; this expression is computed for each row alone")
        } else {
            let functions = FUNCTIONS.iter().map(|function| function.name);
            let all: Vec<&str> = known
                .unwrap_or_default()
                .iter()
                .copied()
                .chain(functions)
                .collect();
            format!(
                "unknown function '{name}'; {}",
                suggestion(name, "functions", &all)
            )
        };
        self.fail(range, message)
    }

    /// `ceil` and `floor`, for which sqlparser has a syntax of its own and no name's place.
    pub(super) fn rounding(
        &mut self,
        name: &str,
        value: &Expr,
        field: &CeilFloorKind,
    ) -> Option<Typed> {
        let range = self.source.range(value.span());
        let function = function::find(name)?;
        if !matches!(
            field,
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime)
        ) {
            return self.fail(
                range,
                format!("{name} takes one argument: {}", function.usage),
            );
        }
        let call = Call {
            name: name.to_owned(),
            arguments: vec![value],
            distinct: false,
            star: false,
            filter: None,
        };
        self.scalar(function, &call, range)
    }

    fn scalar(
        &mut self,
        function: &function::Function,
        call: &Call<'_>,
        range: std::ops::Range<usize>,
    ) -> Option<Typed> {
        let count = call.arguments.len();
        let (least, most) = match function.signature {
            Signature::Fixed {
                takes, optional, ..
            } => (takes.len() - optional, takes.len()),
            Signature::Many { .. } => (1, usize::MAX),
            Signature::Same { least, most, .. } => (least, most),
        };
        if count < least || count > most {
            let (name, usage) = (function.name, function.usage);
            let message = format!("{name} has {count} arguments here; it is written {usage}");
            return self.fail(range, message);
        }
        let (takes, gives, kernel): (Vec<DataType>, _, _) = match function.signature {
            Signature::Fixed {
                takes,
                gives,
                kernel,
                ..
            } => (takes.to_vec(), gives, kernel),
            Signature::Many { of, kernel } => (vec![of; count], of, kernel),
            Signature::Same {
                kernels: [number, boolean, text],
                ..
            } => {
                let (arguments, data_type) = self.unify(&call.arguments, function.name)?;
                let Some(data_type) = data_type else {
                    return Some(Typed::Null);
                };
                let kernel = match data_type {
                    DataType::Number => number,
                    DataType::Boolean => boolean,
                    DataType::Text => text,
                };
                return Some(Typed::Node(Node::apply(kernel, arguments, data_type)));
            }
        };
        let checked: Vec<_> = call
            .arguments
            .iter()
            .zip(takes)
            .map(|(argument, wanted)| self.expect(argument, wanted, function.name))
            .collect();
        let arguments = checked.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Typed::Node(Node::apply(kernel, arguments, gives)))
    }

    fn aggregate(&mut self, function: &Function, call: &Call<'_>) -> Option<Node> {
        let range = self.source.range(function.name.span());
        if let Some(outer) = &self.inside {
            let message = format!(
                "aggregate '{}' is inside of aggregate '{outer}'; aggregates cannot be nested",
                call.name
            );
            return self.fail(range, message);
        }

        self.inside = Some(call.name.clone());
        let arguments: Vec<_> = call
            .arguments
            .iter()
            .map(|argument| self.check_node(argument))
            .collect();
        let filter = call
            .filter
            .map(|filter| self.expect(filter, DataType::Boolean, "FILTER (WHERE ...)"));
        self.inside = None;
        let arguments = arguments.into_iter().collect::<Option<Vec<_>>>()?;
        let filter = match filter {
            Some(filter) => Some(filter?),
            None => None,
        };

        let aggregation = self.aggregation.as_mut()?;
        let types: Vec<DataType> = arguments.iter().map(Node::data_type).collect();
        let result = aggregation
            .catalog
            .result_type(&call.name, call.distinct, call.star, &types);
        let data_type = match result {
            Ok(data_type) => data_type,
            Err(message) => return self.fail(range, message),
        };

        let spelling = spelling(function, &call.name);
        let first = aggregation.groups.fields().len();
        let known = aggregation
            .calls
            .iter()
            .position(|found| found.spelling == spelling);
        let index = known.unwrap_or(aggregation.calls.len());
        if known.is_none() {
            let call = AggregateCall {
                function: call.name.clone(),
                distinct: call.distinct,
                arguments: arguments.into_iter().map(Program::new).collect(),
                filter: filter.map(Program::new),
            };
            aggregation.calls.push(FoundCall { spelling, call });
        }
        Some(Node::Column {
            index: first + index,
            data_type,
        })
    }
}

/// The parts of a call, unless it has one that the language does not have.
fn take_apart(function: &Function) -> Option<Call<'_>> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let has_more = function.over.is_some()
        || function.null_treatment.is_some()
        || function.uses_odbc_syntax
        || !function.within_group.is_empty()
        || !list.clauses.is_empty()
        || !matches!(function.parameters, FunctionArguments::None);
    if has_more {
        return None;
    }
    let mut arguments = Vec::new();
    let mut star = false;
    for argument in &list.args {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => arguments.push(expr),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if list.args.len() == 1 => star = true,
            _ => return None,
        }
    }
    Some(Call {
        name: function.name.to_string().to_lowercase(),
        arguments,
        distinct: list.duplicate_treatment == Some(DuplicateTreatment::Distinct),
        star,
        filter: function.filter.as_deref(),
    })
}

/// The call in sqlparser's spelling, with the name in lowercase: keywords and spaces are then the
/// same in equal calls.
fn spelling(function: &Function, name: &str) -> String {
    let filter = function
        .filter
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    format!("{name}{} {filter}", function.args)
}
