//! sqlparser's tree to a typed tree: names, types, and all that the language does not have.
//!
//! A fault is recorded and the walk goes on with the rest, so that one load shows all faults.

use std::ops::Range;

use sqlparser::ast::{Expr, Ident, Spanned, Value};

use crate::model::{DataType, Schema};

use super::aggregate::{Aggregation, FoundCall};
use super::error::{ExprError, suggestion};
use super::logic;
use super::node::{Literal, Node};
use super::parse::Source;
use super::special::is_special;

/// How deep a tree may be. sqlparser bounds brackets, but not chains such as `1 + 1 + ...`.
const MAX_DEPTH: usize = 200;

/// A checked expression; a bare NULL takes the type of what stands beside it.
pub(super) enum Typed {
    /// NULL of no type yet.
    Null,
    /// Everything else.
    Node(Node),
}

impl Typed {
    fn data_type(&self) -> Option<DataType> {
        match self {
            Self::Null => None,
            Self::Node(node) => Some(node.data_type()),
        }
    }

    /// The node; a bare NULL is of type `if_null`.
    pub(super) fn into_node(self, if_null: DataType) -> Node {
        match self {
            Self::Null => Node::null(if_null),
            Self::Node(node) => node,
        }
    }
}

/// The walk. `None` is the result of a part whose fault has been recorded.
pub(super) struct Checker<'s> {
    pub(super) source: &'s Source<'s>,
    pub(super) schema: &'s Schema,
    pub(super) aggregation: Option<Aggregation<'s>>,
    /// The aggregate whose arguments or filter are being checked.
    pub(super) inside: Option<String>,
    errors: Vec<ExprError>,
    depth: usize,
    too_deep: bool,
}

impl<'s> Checker<'s> {
    /// A walk over a scalar expression.
    pub(super) fn new(source: &'s Source<'s>, schema: &'s Schema) -> Self {
        Self {
            source,
            schema,
            aggregation: None,
            inside: None,
            errors: Vec::new(),
            depth: 0,
            too_deep: false,
        }
    }

    /// A walk over an expression with aggregates.
    pub(super) fn with_aggregates(
        source: &'s Source<'s>,
        schema: &'s Schema,
        aggregation: Aggregation<'s>,
    ) -> Self {
        Self {
            aggregation: Some(aggregation),
            ..Self::new(source, schema)
        }
    }

    /// The tree and the calls of aggregates, or everything that was wrong.
    pub(super) fn finish(
        mut self,
        node: Option<Node>,
    ) -> Result<(Node, Vec<FoundCall>), Vec<ExprError>> {
        match node {
            Some(node) if self.errors.is_empty() => Ok((
                node,
                self.aggregation
                    .map(|found| found.calls)
                    .unwrap_or_default(),
            )),
            _ => {
                self.errors.sort_by_key(|error| error.start);
                Err(self.errors)
            }
        }
    }

    /// Checks an expression of any type; a bare NULL is a number.
    pub(super) fn check_node(&mut self, expr: &Expr) -> Option<Node> {
        Some(self.check(expr)?.into_node(DataType::Number))
    }

    /// Checks an expression that must have a type. `what` asks for it, in messages.
    pub(super) fn expect(&mut self, expr: &Expr, wanted: DataType, what: &str) -> Option<Node> {
        let node = self.check(expr)?.into_node(wanted);
        if node.data_type() == wanted {
            return Some(node);
        }
        let range = self.range(expr);
        let found = self.quote(&range);
        let hint = match wanted {
            DataType::Boolean => "; write a comparison".to_owned(),
            _ => format!("; convert it by CAST(... AS {})", wanted.name()),
        };
        let (wanted, data_type) = (wanted.name(), node.data_type().name());
        self.fail(
            range,
            format!("{what} needs a {wanted}, but {found} is a {data_type}{hint}"),
        )
    }

    /// Checks expressions that must have one type among them; it is none where all are NULL, and
    /// these are numbers then.
    pub(super) fn unify(
        &mut self,
        exprs: &[&Expr],
        what: &str,
    ) -> Option<(Vec<Node>, Option<DataType>)> {
        let mut checked = Vec::new();
        let mut first: Option<(&Expr, DataType)> = None;
        for expr in exprs {
            let Some(typed) = self.check(expr) else {
                continue;
            };
            match (first, typed.data_type()) {
                (None, Some(data_type)) => first = Some((expr, data_type)),
                (Some((other, wanted)), Some(data_type)) if wanted != data_type => {
                    let range = self.range(expr);
                    let found = self.quote(&range);
                    let other = self.quote(&self.range(other));
                    let (wanted, data_type) = (wanted.name(), data_type.name());
                    let message = format!(
                        "{what} needs values of one type, but {other} is a {wanted} and {found} \
                         is a {data_type}"
                    );
                    self.record(range, message);
                    continue;
                }
                _ => {}
            }
            checked.push(typed);
        }
        if checked.len() < exprs.len() {
            return None;
        }
        let data_type = first.map(|(_, data_type)| data_type);
        let if_null = data_type.unwrap_or(DataType::Number);
        let nodes = checked
            .into_iter()
            .map(|typed| typed.into_node(if_null))
            .collect();
        Some((nodes, data_type))
    }

    /// Where an expression stands.
    pub(super) fn range(&self, expr: &Expr) -> Range<usize> {
        let range = self.source.range(expr.span());
        if is_special(expr) {
            return self.source.call(range);
        }
        range
    }

    /// Records a fault.
    pub(super) fn record(&mut self, range: Range<usize>, message: String) {
        self.errors.push(ExprError {
            message,
            start: range.start,
            end: range.end,
        });
    }

    /// Records a fault of the part that is being checked.
    pub(super) fn fail<T>(&mut self, range: Range<usize>, message: String) -> Option<T> {
        self.record(range, message);
        None
    }

    /// The text of a range in quotes, shortened.
    pub(super) fn quote(&self, range: &Range<usize>) -> String {
        const SHOWN: usize = 40;
        let text = self.source.slice(range);
        let quote = if text.contains('\'') { '`' } else { '\'' };
        match text.char_indices().nth(SHOWN) {
            Some((end, _)) => {
                format!("{quote}{}...{quote}", text.get(..end).unwrap_or_default())
            }
            None => format!("{quote}{text}{quote}"),
        }
    }

    /// Checks an expression of any type.
    pub(super) fn check(&mut self, expr: &Expr) -> Option<Typed> {
        if self.depth == MAX_DEPTH {
            if !self.too_deep {
                self.too_deep = true;
                let message = "nested too deeply; split it into several fields".to_owned();
                self.errors.push(self.source.error(message));
            }
            return None;
        }
        self.depth += 1;
        let typed = self.check_kind(expr);
        self.depth -= 1;
        typed
    }

    fn check_kind(&mut self, expr: &Expr) -> Option<Typed> {
        let node = match expr {
            Expr::Nested(inner) => return self.check(inner),
            Expr::Value(value) => return self.literal(&value.value, expr),
            Expr::Identifier(name) => self.column(name),
            Expr::CompoundIdentifier(_) => self.dotted(expr),
            Expr::UnaryOp { op, expr: operand } => self.unary(*op, operand, expr),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, expr),
            Expr::IsNull(value) => self.is_null(value, false),
            Expr::IsNotNull(value) => self.is_null(value, true),
            Expr::IsTrue(value) => self.is(value, "IS TRUE", logic::IS_TRUE, false),
            Expr::IsNotTrue(value) => self.is(value, "IS NOT TRUE", logic::IS_TRUE, true),
            Expr::IsFalse(value) => self.is(value, "IS FALSE", logic::IS_FALSE, false),
            Expr::IsNotFalse(value) => self.is(value, "IS NOT FALSE", logic::IS_FALSE, true),
            Expr::InList {
                expr: value,
                list,
                negated,
            } => self.in_list(value, list, *negated),
            Expr::Between {
                expr: value,
                negated,
                low,
                high,
            } => self.between(value, low, high, *negated),
            Expr::Like {
                negated,
                any: false,
                expr: value,
                pattern,
                escape_char,
            } => self.like(value, pattern, escape_char.as_deref(), *negated),
            Expr::Case {
                operand,
                conditions,
                else_result,
                ..
            } => return self.case(operand.as_deref(), conditions, else_result.as_deref()),
            Expr::Cast {
                expr: value,
                data_type,
                format: None,
                ..
            } => self.cast(value, &data_type.to_string()),
            Expr::Function(function) => return self.function(function),
            _ if is_special(expr) => return self.special(expr),
            _ => self.unsupported(expr),
        };
        node.map(Typed::Node)
    }

    fn literal(&mut self, value: &Value, expr: &Expr) -> Option<Typed> {
        let literal = match value {
            Value::Null => return Some(Typed::Null),
            Value::Boolean(value) => Literal::Boolean((*value).into()),
            Value::SingleQuotedString(text) => Literal::Text(Some(text.as_str().into())),
            Value::Number(text, false) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Literal::Number(number),
                _ => {
                    let range = self.source.range(expr.span());
                    let message = format!("{text} is not a number below {:e}", f64::MAX);
                    return self.fail(range, message);
                }
            },
            _ => return self.unsupported(expr),
        };
        Some(Typed::Node(Node::Literal(literal)))
    }

    fn column(&mut self, ident: &Ident) -> Option<Node> {
        let name = ident.value.as_str();
        let outside = self.aggregation.as_ref().filter(|_| self.inside.is_none());
        let schema = outside.map_or(self.schema, |aggregation| aggregation.groups);
        if let Some((index, data_type)) = schema.find(name) {
            return Some(Node::Column { index, data_type });
        }
        let message = if self.schema.find(name).is_some() {
            format!(
                "field '{name}' is used outside of an aggregate; put it inside of one, or group \
                 by it"
            )
        } else {
            let mut known: Vec<&str> = Vec::new();
            for field in schema.fields().iter().chain(self.schema.fields()) {
                if !known.contains(&field.name.as_str()) {
                    known.push(&field.name);
                }
            }
            let mut message = format!(
                "unknown field '{name}'; {}",
                suggestion(name, "fields", &known)
            );
            if ident.quote_style.is_some() {
                message.push_str("; a text is written in single quotes");
            }
            message
        };
        self.fail(self.source.range(ident.span), message)
    }

    fn dotted(&mut self, expr: &Expr) -> Option<Node> {
        let range = self.source.range(expr.span());
        let name = self.source.slice(&range);
        let message = format!("unknown field '{name}'; a name with a dot is written \"{name}\"");
        self.fail(range, message)
    }

    /// Records that the language has no such expression.
    pub(super) fn unsupported<T>(&mut self, expr: &Expr) -> Option<T> {
        let range = self.source.range(expr.span());
        let found = self.quote(&range);
        self.fail(
            range,
            format!(
                "{found} is of a kind that is not supported; supported are fields, literals, \
                 operators, IS, IN, BETWEEN, LIKE, CASE, CAST and functions"
            ),
        )
    }
}
