//! Expressions with aggregates: the calls, and what is made of their results.

use crate::model::aggregate::Argument;
use crate::model::{DataType, HoldsSymbols, LiveSymbols, Renumbering, Schema};

use super::check::Checker;
use super::error::ExprError;
use super::node::Node;
use super::parse::Source;
use super::program::Program;

/// What a call of an aggregate gives and takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AggregateSignature {
    /// The type of its result.
    pub result: DataType,
    /// The number of the argument that is aggregated, the others being constants; nothing for
    /// `count(*)`.
    pub input: Option<usize>,
    /// Whether texts are aggregated as numbers that they hash to, the same for every interner.
    pub hashes_texts: bool,
}

/// The aggregates that exist.
pub trait AggregateCatalog {
    /// Their names, lowercase.
    fn names(&self) -> &[&str];

    /// What a call gives and takes. `star` is `count(*)`, which has no arguments.
    ///
    /// # Errors
    /// Why there can be no such call, for a message.
    fn signature(
        &self,
        function: &str,
        distinct: bool,
        star: bool,
        arguments: &[Argument],
    ) -> Result<AggregateSignature, String>;
}

/// A call of an aggregate.
#[derive(Debug, Clone)]
pub struct AggregateCall {
    /// The aggregate's name, lowercase.
    pub function: String,
    /// Whether equal values count once.
    pub distinct: bool,
    /// The arguments as they were written; none for `count(*)`.
    pub arguments: Vec<Argument>,
    /// What is aggregated; nothing for `count(*)`.
    pub input: Option<Program>,
    /// Which rows are aggregated, a boolean: those for which it is true.
    pub filter: Option<Program>,
}

/// A compiled expression with aggregates.
#[derive(Debug, Clone)]
pub struct AggregateExpression {
    /// The calls. One that is written twice is here once.
    pub calls: Vec<AggregateCall>,
    /// The expression over the columns of the groups, in their schema's order, followed by a column
    /// for each call.
    pub finish: Program,
    is_only_call: bool,
}

/// What a [`Checker`] needs for aggregates and collects of them.
pub(super) struct Aggregation<'s> {
    /// The columns that may be used outside of calls.
    pub(super) groups: &'s Schema,
    /// The aggregates.
    pub(super) catalog: &'s dyn AggregateCatalog,
    /// The calls so far.
    pub(super) calls: Vec<FoundCall>,
}

/// A call with what tells it from others.
pub(super) struct FoundCall {
    /// The call in sqlparser's spelling: the same for equal calls.
    pub(super) spelling: String,
    /// The call.
    pub(super) call: AggregateCall,
}

impl AggregateExpression {
    /// Compiles an expression with aggregates over the rows of `schema`. Outside of calls only the
    /// columns of `group_schema` may be used.
    ///
    /// # Errors
    /// The fault of syntax, or all faults of names and types in the order of the text.
    pub fn compile(
        text: &str,
        schema: &Schema,
        group_schema: &Schema,
        catalog: &dyn AggregateCatalog,
    ) -> Result<Self, Vec<ExprError>> {
        let source = Source::new(text).map_err(|error| vec![error])?;
        let expr = source.parse().map_err(|error| vec![error])?;
        let aggregation = Aggregation {
            groups: group_schema,
            catalog,
            calls: Vec::new(),
        };
        let mut checker = Checker::with_aggregates(&source, schema, aggregation);
        let node = checker.check_node(&expr);
        let (node, found) = checker.finish(node)?;
        let calls = found.into_iter().map(|found| found.call).collect();
        let first = group_schema.fields().len();
        let is_only_call = matches!(node, Node::Column { index, .. } if index >= first);
        Ok(Self {
            calls,
            finish: Program::new(node),
            is_only_call,
        })
    }

    /// The type of the result.
    pub fn data_type(&self) -> DataType {
        self.finish.data_type()
    }

    /// The call, where the expression is one and nothing else.
    pub fn only_call(&self) -> Option<&AggregateCall> {
        self.calls.first().filter(|_| self.is_only_call)
    }
}

/// What its programs remember is computed again.
impl HoldsSymbols for AggregateExpression {
    fn mark_live(&self, _live: &mut LiveSymbols) {}

    fn renumber(&mut self, numbers: &Renumbering) {
        for call in &mut self.calls {
            call.input.renumber(numbers);
            call.filter.renumber(numbers);
        }
        self.finish.renumber(numbers);
    }
}
