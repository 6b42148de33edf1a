//! What depends on one text column alone is computed once for each symbol: after that, a predicate
//! such as `kind IN ('A', 'B')` is a table look-up a row.

use std::borrow::Cow;

use crate::model::{Column, DataType, Interner, Symbol, Trilean};

use super::evaluate::evaluate;
use super::node::Node;
use super::vector::{Scalar, Values, Vector};

/// An expression of one text column, with its results by symbol.
#[derive(Debug)]
pub(super) struct Memo {
    column: usize,
    /// Reads the text as column 0.
    body: Box<Node>,
    table: Table,
}

#[derive(Debug)]
enum Table {
    Number(Vec<Option<f64>>),
    Boolean(Vec<Option<Trilean>>),
    Text(Vec<Option<Symbol>>),
}

impl Table {
    fn new(data_type: DataType) -> Self {
        match data_type {
            DataType::Number => Self::Number(Vec::new()),
            DataType::Boolean => Self::Boolean(Vec::new()),
            DataType::Text => Self::Text(Vec::new()),
        }
    }
}

/// A clone goes to another worker, where the same symbols are other texts: it begins empty.
impl Clone for Memo {
    fn clone(&self) -> Self {
        Self {
            column: self.column,
            body: self.body.clone(),
            table: Table::new(self.data_type()),
        }
    }
}

impl Memo {
    fn new(column: usize, mut body: Node) -> Self {
        let table = Table::new(body.data_type());
        read_column_zero(&mut body);
        Self {
            column,
            body: Box::new(body),
            table,
        }
    }

    /// The type of the result.
    pub(super) fn data_type(&self) -> DataType {
        self.body.data_type()
    }

    /// The column that is read.
    pub(super) fn column(&self) -> usize {
        self.column
    }

    /// Forgets all results: symbols are other texts from now on.
    pub(super) fn forget(&mut self) {
        self.table = Table::new(self.data_type());
    }

    /// Evaluates over the first `rows` rows.
    pub(super) fn evaluate(
        &mut self,
        columns: &[Column],
        rows: usize,
        interner: &mut Interner,
    ) -> Vector<'static> {
        let symbols = columns
            .get(self.column)
            .map(Column::symbols)
            .unwrap_or_default();
        let Some(symbols) = symbols.get(..rows) else {
            return Vector::null(self.data_type());
        };
        match &mut self.table {
            Table::Number(table) => {
                Vector::Number(resolve(table, &mut self.body, symbols, interner))
            }
            Table::Boolean(table) => {
                Vector::Boolean(resolve(table, &mut self.body, symbols, interner))
            }
            Table::Text(table) => Vector::Text(resolve(table, &mut self.body, symbols, interner)),
        }
    }
}

fn resolve<T: Scalar>(
    table: &mut Vec<Option<T>>,
    body: &mut Node,
    symbols: &[Symbol],
    interner: &mut Interner,
) -> Values<'static, T> {
    let mut rows = vec![T::NULL; symbols.len()];
    if !look_up(table, symbols, &mut rows) {
        learn(table, body, symbols, interner);
        look_up(table, symbols, &mut rows);
    }
    Values::Rows(Cow::Owned(rows))
}

/// Fills in what is known; says whether that was everything.
fn look_up<T: Scalar>(table: &[Option<T>], symbols: &[Symbol], rows: &mut [T]) -> bool {
    let mut complete = true;
    for (row, symbol) in rows.iter_mut().zip(symbols) {
        match table.get(symbol.index()) {
            Some(Some(known)) => *row = *known,
            _ => complete = false,
        }
    }
    complete
}

/// Computes the new symbols of this batch, each once. Other symbols of the interner belong to
/// other columns and would be wasted work.
fn learn<T: Scalar>(
    table: &mut Vec<Option<T>>,
    body: &mut Node,
    symbols: &[Symbol],
    interner: &mut Interner,
) {
    table.resize(interner.len().max(table.len()), None);
    let mut new = Vec::new();
    for symbol in symbols {
        if let Some(slot @ None) = table.get_mut(symbol.index()) {
            *slot = Some(T::NULL);
            new.push(*symbol);
        }
    }
    let texts = [Column::Text(new)];
    let [column] = &texts;
    let results = evaluate(body, &texts, column.len(), interner);
    let results = T::view(&results);
    for (row, symbol) in column.symbols().iter().enumerate() {
        if let Some(slot) = table.get_mut(symbol.index()) {
            *slot = Some(results.at(row));
        }
    }
}

/// Puts the largest parts of a tree that read one text column, and nothing else, behind memos.
pub(super) fn memoise(node: Node) -> Node {
    match (inputs(&node), node) {
        (Inputs::OneText(column), node @ Node::Apply { .. }) => Node::Memo(Memo::new(column, node)),
        (
            _,
            Node::Apply {
                operation,
                arguments,
                data_type,
            },
        ) => {
            let arguments = arguments.into_iter().map(memoise).collect();
            Node::Apply {
                operation,
                arguments,
                data_type,
            }
        }
        (_, node) => node,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inputs {
    None,
    OneText(usize),
    Others,
}

fn inputs(node: &Node) -> Inputs {
    match node {
        Node::Literal(_) => Inputs::None,
        Node::Column {
            index,
            data_type: DataType::Text,
        } => Inputs::OneText(*index),
        Node::Column { .. } | Node::Memo(_) => Inputs::Others,
        Node::Apply { arguments, .. } => {
            let mut all = Inputs::None;
            for argument in arguments {
                all = match (all, inputs(argument)) {
                    (all, Inputs::None) => all,
                    (Inputs::None, one) => one,
                    (all, one) if all == one => all,
                    _ => Inputs::Others,
                };
            }
            all
        }
    }
}

fn read_column_zero(node: &mut Node) {
    match node {
        Node::Column { index, .. } => *index = 0,
        Node::Apply { arguments, .. } => arguments.iter_mut().for_each(read_column_zero),
        Node::Literal(_) | Node::Memo(_) => {}
    }
}
