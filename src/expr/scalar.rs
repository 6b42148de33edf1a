//! Calls of the functions of the table: how many arguments, their types, and what must be constant.

use std::ops::Range;

use sqlparser::ast::Expr;

use crate::model::DataType;

use super::check::{Checker, Typed};
use super::function::{Function, Signature};
use super::node::{Literal, Node};
use super::prepared::{Constants, Operation, Prepare};
use super::vector::Scalar as _;

impl Checker<'_> {
    /// A call of a function; `range` is where its name stands.
    pub(super) fn scalar(
        &mut self,
        function: &Function,
        arguments: &[&Expr],
        range: Range<usize>,
    ) -> Option<Typed> {
        let count = arguments.len();
        let (least, most) = function.arity();
        if count < least || count > most {
            let (name, usage) = (function.name, function.usage);
            let message = format!("{name} has {count} arguments here; it is written {usage}");
            return self.fail(range, message);
        }
        let name = function.name;
        let node = match function.signature {
            Signature::Fixed {
                takes,
                gives,
                kernel,
                ..
            } => {
                let arguments = self.typed(arguments, takes.iter().copied(), name)?;
                Node::apply(kernel, arguments, gives)
            }
            Signature::Many { of, kernel, .. } => {
                let arguments = self.typed(arguments, std::iter::repeat(of), name)?;
                Node::apply(kernel, arguments, of)
            }
            Signature::Same {
                kernels: [number, boolean, text],
                ..
            } => {
                let (arguments, data_type) = self.unify(arguments, name)?;
                let Some(data_type) = data_type else {
                    return Some(Typed::Null);
                };
                let kernel = match data_type {
                    DataType::Number => number,
                    DataType::Boolean => boolean,
                    DataType::Text => text,
                };
                Node::apply(kernel, arguments, data_type)
            }
            Signature::Prepared {
                takes,
                varying,
                gives,
                prepare,
                ..
            } => {
                let nodes = self.typed(arguments, takes.iter().copied(), name)?;
                let operation = self.prepare(prepare, &nodes, varying, arguments, name)?;
                let varying = nodes.into_iter().nth(varying)?;
                Node::apply(operation, vec![varying], gives)
            }
        };
        Some(Typed::Node(node))
    }

    fn typed(
        &mut self,
        arguments: &[&Expr],
        types: impl Iterator<Item = DataType>,
        name: &str,
    ) -> Option<Vec<Node>> {
        let checked: Vec<_> = arguments
            .iter()
            .zip(types)
            .map(|(argument, wanted)| self.expect(argument, wanted, name))
            .collect();
        checked.into_iter().collect()
    }

    /// Works out the constants of a call, all arguments but one.
    fn prepare(
        &mut self,
        prepare: Prepare,
        nodes: &[Node],
        varying: usize,
        arguments: &[&Expr],
        name: &str,
    ) -> Option<Operation> {
        let mut constants = Vec::new();
        let mut complete = true;
        for (index, (node, argument)) in nodes.iter().zip(arguments).enumerate() {
            let constant = match node {
                Node::Literal(literal) if !is_null(literal) => Some(literal),
                _ => None,
            };
            constants.push(constant.filter(|_| index != varying));
            if index != varying && constant.is_none() {
                let range = self.range(argument);
                let (found, wanted) = (self.quote(&range), node.data_type().name());
                let message = format!("{name} needs a constant {wanted} here, but found {found}");
                self.record(range, message);
                complete = false;
            }
        }
        if !complete {
            return None;
        }
        match prepare(&Constants(constants)) {
            Ok(prepared) => Some(Operation::Prepared(prepared)),
            Err(fault) => {
                let argument = arguments.get(fault.argument)?;
                let whole = self.range(argument);
                let within = fault.within.filter(|_| matches!(argument, Expr::Value(_)));
                let range = within.and_then(|within| self.source.within_text(&whole, &within));
                self.fail(range.unwrap_or(whole), fault.message)
            }
        }
    }
}

fn is_null(literal: &Literal) -> bool {
    match literal {
        Literal::Number(number) => number.is_null(),
        Literal::Boolean(boolean) => boolean.is_null(),
        Literal::Text(text) => text.is_none(),
    }
}
