//! The expressions of a pipeline file, compiled, with their problems at their places.

use super::document::{Document, PathSegment};
use super::report::Problems;
use crate::expr::{
    AggregateCall, AggregateCatalog, AggregateExpression, AggregateSignature, ExprError, Program,
};
use crate::model::aggregate::Argument;
use crate::model::{DataType, Schema};
use crate::window::aggregate::{AggregateKind, NAMES, Output};

/// The aggregates of `window`, as `expr` asks for them.
pub(super) struct Catalog {
    /// Why aggregates that depend on the order of events cannot be used here.
    pub(super) without_order: Option<&'static str>,
    /// Why aggregates that give a distribution cannot be used here.
    pub(super) without_distributions: Option<&'static str>,
}

impl AggregateCatalog for Catalog {
    fn names(&self) -> &[&str] {
        &NAMES
    }

    fn signature(
        &self,
        function: &str,
        distinct: bool,
        star: bool,
        arguments: &[Argument],
    ) -> Result<AggregateSignature, String> {
        let kind = AggregateKind::of_call(function, distinct, star, arguments)?;
        let needs_order = kind.needs_event_order();
        let is_distribution = kind.output() != Output::Number;
        let refusal = self
            .without_order
            .filter(|_| needs_order)
            .or(self.without_distributions.filter(|_| is_distribution));
        match refusal {
            Some(reason) => Err(format!("{function} {reason}")),
            None => Ok(AggregateSignature {
                result: kind.result_type(),
                input: kind.input(),
                hashes_texts: kind.hashes_texts(),
            }),
        }
    }
}

/// The aggregate of a call that a [`Catalog`] has taken.
fn kind_of(call: &AggregateCall) -> Option<AggregateKind> {
    let (arguments, star) = (&call.arguments, call.arguments.is_empty());
    AggregateKind::of_call(&call.function, call.distinct, star, arguments).ok()
}

/// What the samples of a value are.
///
/// # Errors
/// The name of an aggregate that gives a distribution where the value is not that alone.
pub(super) fn output_of(value: &AggregateExpression) -> Result<Output, String> {
    let output = |call| kind_of(call).map_or(Output::Number, |kind| kind.output());
    if let Some(call) = value.only_call() {
        return Ok(output(call));
    }
    let mut calls = value.calls.iter();
    match calls.find(|call| output(call) != Output::Number) {
        Some(call) => Err(call.function.clone()),
        None => Ok(Output::Number),
    }
}

/// Compiles expressions that stand at paths of a document.
pub(super) struct Compiler<'a> {
    pub(super) document: &'a Document,
    pub(super) problems: &'a mut Problems,
    /// Fields whose definition was refused and reported. That they are unknown wherever they are
    /// used is no further problem.
    pub(super) refused: Vec<String>,
}

impl Compiler<'_> {
    /// A scalar expression.
    pub(super) fn scalar(
        &mut self,
        path: &[PathSegment<'_>],
        text: &str,
        schema: &Schema,
    ) -> Option<Program> {
        Program::compile(text, schema)
            .map_err(|errors| self.report(path, &errors))
            .ok()
    }

    /// A scalar expression of a type.
    pub(super) fn scalar_of(
        &mut self,
        path: &[PathSegment<'_>],
        text: &str,
        schema: &Schema,
        data_type: DataType,
    ) -> Option<Program> {
        let program = self.scalar(path, text, schema)?;
        self.expect_type(path, program.data_type(), data_type)
            .then_some(program)
    }

    /// An expression with aggregates.
    pub(super) fn aggregate(
        &mut self,
        path: &[PathSegment<'_>],
        text: &str,
        schema: &Schema,
        groups: &Schema,
        catalog: &Catalog,
    ) -> Option<AggregateExpression> {
        AggregateExpression::compile(text, schema, groups, catalog)
            .map_err(|errors| self.report(path, &errors))
            .ok()
    }

    /// Whether a type is the one that is wanted; reports it where not.
    pub(super) fn expect_type(
        &mut self,
        path: &[PathSegment<'_>],
        found: DataType,
        expected: DataType,
    ) -> bool {
        if found != expected {
            let (expected, found) = (expected.name(), found.name());
            let message = format!("expected a {expected} expression, found a {found} one");
            self.problems.add_at(self.document, path, message);
        }
        found == expected
    }

    fn report(&mut self, path: &[PathSegment<'_>], errors: &[ExprError]) {
        for error in errors {
            let unknown = |name: &String| {
                error
                    .message
                    .starts_with(&format!("unknown field '{name}'"))
            };
            if self.refused.iter().any(unknown) {
                continue;
            }
            let length = error.end.saturating_sub(error.start);
            let place = self.document.place_in(path, error.start, length);
            self.problems.add(place, &error.message);
        }
    }
}
