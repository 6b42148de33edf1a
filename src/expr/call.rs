//! Calls of functions and aggregates.

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned,
};

use crate::model::aggregate::Argument;
use crate::model::{AGGREGATE_NAMES, DataType};

use super::aggregate::{AggregateCall, FoundCall};
use super::check::{Checker, Typed};
use super::error::suggestion;
use super::function;
use super::node::{Literal, Node};
use super::program::Program;
use super::text;

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
            return self.scalar(scalar, &call.arguments, range);
        }
        // The faults of its arguments are worth knowing too, unless it may be a misspelt aggregate:
        // these have other fields.
        if self.aggregation.is_none() || self.inside.is_some() {
            for argument in &call.arguments {
                self.check_node(argument);
            }
        }
        let name = &call.name;
        // An expression without aggregates has no catalog to ask.
        let is_aggregate = AGGREGATE_NAMES.contains(&name.as_str()) || call.is_aggregate_syntax();
        let message = if known.is_none() && is_aggregate {
            format!("'{name}' is an aggregate; this expression is computed for each row alone")
        } else {
            let mut all: Vec<&str> = known.unwrap_or_default().to_vec();
            for function in function::function_names() {
                all.push(function);
            }
            format!(
                "unknown function '{name}'; {}",
                suggestion(name, "functions", &all)
            )
        };
        self.fail(range, message)
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
        let known: Vec<Argument> = arguments.iter().map(argument_of).collect();
        let signature = aggregation
            .catalog
            .signature(&call.name, call.distinct, call.star, &known);
        let signature = match signature {
            Ok(signature) => signature,
            Err(message) => return self.fail(range, message),
        };

        let spelling = spelling(function, &call.name);
        let first = aggregation.groups.fields().len();
        let twin = aggregation
            .calls
            .iter()
            .position(|found| found.spelling == spelling);
        let index = twin.unwrap_or(aggregation.calls.len());
        if twin.is_none() {
            let input = signature
                .input
                .and_then(|input| arguments.into_iter().nth(input))
                .map(|input| match signature.hashes_texts {
                    true => Node::apply(text::HASH, vec![input], DataType::Number),
                    false => input,
                });
            let call = AggregateCall {
                function: call.name.clone(),
                distinct: call.distinct,
                arguments: known,
                input: input.map(Program::new),
                filter: filter.map(Program::new),
            };
            aggregation.calls.push(FoundCall { spelling, call });
        }
        Some(Node::Column {
            index: first + index,
            data_type: signature.result,
        })
    }
}

fn argument_of(node: &Node) -> Argument {
    Argument {
        data_type: node.data_type(),
        constant: match node {
            Node::Literal(Literal::Number(value)) => Some(*value),
            _ => None,
        },
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
