//! A compiled scalar expression.

use std::borrow::Cow;

use crate::model::{Column, DataType, HoldsSymbols, Interner, LiveSymbols, Renumbering, Schema};

use super::check::Checker;
use super::error::ExprError;
use super::evaluate::evaluate;
use super::memo::memoise;
use super::node::Node;
use super::parse::Source;

/// A compiled scalar expression.
///
/// It remembers results by symbol, so a program belongs to one [`Interner`] for all its life; a
/// clone begins without memory and may belong to another one.
#[derive(Debug, Clone)]
pub struct Program {
    node: Node,
    columns: Vec<usize>,
}

impl Program {
    /// Compiles an expression over the columns of a schema. A bare `NULL` is a number.
    ///
    /// # Errors
    /// The fault of syntax, or all faults of names and types in the order of the text.
    pub fn compile(text: &str, schema: &Schema) -> Result<Self, Vec<ExprError>> {
        let source = Source::new(text).map_err(|error| vec![error])?;
        let expr = source.parse().map_err(|error| vec![error])?;
        let mut checker = Checker::new(&source, schema);
        let node = checker.check_node(&expr);
        checker.finish(node).map(|(node, _)| Self::new(node))
    }

    /// A program over a checked tree.
    pub(super) fn new(node: Node) -> Self {
        let mut columns = Vec::new();
        node.collect_columns(&mut columns);
        columns.sort_unstable();
        columns.dedup();
        Self {
            node: memoise(node),
            columns,
        }
    }

    /// The type of the result.
    pub fn data_type(&self) -> DataType {
        self.node.data_type()
    }

    /// The indices of the columns that are read, ascending.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Evaluates over the first `rows` rows of the columns, which are those of the schema. The
    /// result has `rows` rows; a bare column is borrowed. New texts go to the interner.
    ///
    /// There is no error: an operation without a result is NULL, and so is a column that is
    /// missing, shorter, or of another type than the schema said.
    pub fn evaluate<'a>(
        &mut self,
        columns: &'a [Column],
        rows: usize,
        interner: &mut Interner,
    ) -> Cow<'a, Column> {
        if let Node::Column { index, data_type } = self.node
            && let Some(column) = columns.get(index)
            && column.data_type() == data_type
            && column.len() == rows
        {
            return Cow::Borrowed(column);
        }
        Cow::Owned(evaluate(&mut self.node, columns, rows, interner).into_column(rows))
    }
}

/// What it remembers is computed again.
impl HoldsSymbols for Program {
    fn mark_live(&self, _live: &mut LiveSymbols) {}

    fn renumber(&mut self, _numbers: &Renumbering) {
        self.node.forget();
    }
}
