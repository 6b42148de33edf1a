//! Operators: what types they take, and the kernels that compute them.

use sqlparser::ast::{BinaryOperator, CaseWhen, Expr, Spanned, UnaryOperator, Value};

use crate::model::DataType;

use super::check::{Checker, Typed};
use super::compare::{self, Comparison};
use super::like::{self, Pattern};
use super::node::{Literal, Node};
use super::vector::Kernel;
use super::{bits, cast, conditional, logic, number, text};

impl Checker<'_> {
    /// `NOT x`, `+x`, `-x`.
    pub(super) fn unary(
        &mut self,
        operator: UnaryOperator,
        operand: &Expr,
        expr: &Expr,
    ) -> Option<Node> {
        match operator {
            UnaryOperator::Not => Some(negate(
                self.expect(operand, DataType::Boolean, "NOT")?,
                true,
            )),
            UnaryOperator::Plus => self.expect(operand, DataType::Number, "'+'"),
            UnaryOperator::Minus => {
                let node = self.expect(operand, DataType::Number, "'-'")?;
                Some(Node::apply(number::NEGATE, vec![node], DataType::Number))
            }
            _ => self.unsupported(expr),
        }
    }

    /// `x operator y`.
    pub(super) fn binary(
        &mut self,
        left: &Expr,
        operator: &BinaryOperator,
        right: &Expr,
        expr: &Expr,
    ) -> Option<Node> {
        let both = [left, right];
        let (number, text) = (DataType::Number, DataType::Text);
        match operator {
            BinaryOperator::And => self.chain(expr, operator, logic::AND, "AND"),
            BinaryOperator::Or => self.chain(expr, operator, logic::OR, "OR"),
            BinaryOperator::Plus => self.apply(&both, number, number::ADD, "'+'"),
            BinaryOperator::Minus => self.apply(&both, number, number::SUBTRACT, "'-'"),
            BinaryOperator::Multiply => self.apply(&both, number, number::MULTIPLY, "'*'"),
            BinaryOperator::Divide => self.apply(&both, number, number::DIVIDE, "'/'"),
            BinaryOperator::Modulo => self.apply(&both, number, number::MODULO, "'%'"),
            BinaryOperator::BitwiseAnd => self.apply(&both, number, bits::AND, "'&'"),
            BinaryOperator::BitwiseOr => self.apply(&both, number, bits::OR, "'|'"),
            BinaryOperator::PGBitwiseShiftLeft => {
                self.apply(&both, number, bits::SHIFT_LEFT, "'<<'")
            }
            BinaryOperator::PGBitwiseShiftRight => {
                self.apply(&both, number, bits::SHIFT_RIGHT, "'>>'")
            }
            BinaryOperator::StringConcat => self.apply(&both, text, text::CONCAT, "'||'"),
            BinaryOperator::Eq => self.compare(both, Comparison::Equal, "'='"),
            BinaryOperator::NotEq => self.compare(both, Comparison::NotEqual, "'<>'"),
            BinaryOperator::Lt => self.compare(both, Comparison::Less, "'<'"),
            BinaryOperator::LtEq => self.compare(both, Comparison::LessOrEqual, "'<='"),
            BinaryOperator::Gt => self.compare(both, Comparison::Greater, "'>'"),
            BinaryOperator::GtEq => self.compare(both, Comparison::GreaterOrEqual, "'>='"),
            _ => {
                let message = format!(
                    "operator '{operator}' is not supported; supported are + - * / % || & | << \
                     >> = <> < <= > >= AND OR NOT"
                );
                self.fail(self.source.range(right.span()), message)
            }
        }
    }

    /// A chain of AND or OR becomes one flat node, so that it may have many members.
    fn chain(
        &mut self,
        mut expr: &Expr,
        operator: &BinaryOperator,
        kernel: Kernel,
        what: &str,
    ) -> Option<Node> {
        let mut members = Vec::new();
        while let Expr::BinaryOp { left, op, right } = expr
            && op == operator
        {
            members.push(right.as_ref());
            expr = left;
        }
        members.push(expr);
        members.reverse();
        self.apply(&members, DataType::Boolean, kernel, what)
    }

    /// An operator whose operands and result are of one type.
    fn apply(
        &mut self,
        operands: &[&Expr],
        data_type: DataType,
        kernel: Kernel,
        what: &str,
    ) -> Option<Node> {
        let checked: Vec<_> = operands
            .iter()
            .map(|operand| self.expect(operand, data_type, what))
            .collect();
        let arguments = checked.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Node::apply(kernel, arguments, data_type))
    }

    fn compare(&mut self, both: [&Expr; 2], operator: Comparison, what: &str) -> Option<Node> {
        let (arguments, data_type) = self.unify(&both, what)?;
        let data_type = data_type.unwrap_or(DataType::Number);
        let kernel = operator.kernel(data_type);
        self.ordered(kernel, &both, what)
            .map(|kernel| boolean(kernel, arguments))
    }

    /// The kernel, or the fault that truth values have no order.
    fn ordered(&mut self, kernel: Option<Kernel>, exprs: &[&Expr], what: &str) -> Option<Kernel> {
        if kernel.is_some() {
            return kernel;
        }
        let range = exprs
            .first()
            .map_or(0..0, |expr| self.source.range(expr.span()));
        let found = self.quote(&range);
        let message =
            format!("{what} needs numbers or texts, but {found} is a boolean; use = or <>");
        self.fail(range, message)
    }

    /// `x IS [NOT] NULL`.
    pub(super) fn is_null(&mut self, value: &Expr, negated: bool) -> Option<Node> {
        let node = self.check_node(value)?;
        let kernel = logic::is_null(node.data_type());
        Some(negate(boolean(kernel, vec![node]), negated))
    }

    /// `x IS [NOT] TRUE` and `FALSE`; `what` names which.
    pub(super) fn is(
        &mut self,
        value: &Expr,
        what: &str,
        kernel: Kernel,
        negated: bool,
    ) -> Option<Node> {
        let node = self.expect(value, DataType::Boolean, what)?;
        Some(negate(boolean(kernel, vec![node]), negated))
    }

    /// `x [NOT] IN (y, ...)`.
    pub(super) fn in_list(&mut self, value: &Expr, list: &[Expr], negated: bool) -> Option<Node> {
        let exprs: Vec<&Expr> = std::iter::once(value).chain(list).collect();
        let (arguments, data_type) = self.unify(&exprs, "IN")?;
        let data_type = data_type.unwrap_or(DataType::Number);
        Some(negate(
            boolean(compare::in_list(data_type), arguments),
            negated,
        ))
    }

    /// `x [NOT] BETWEEN y AND z`.
    pub(super) fn between(
        &mut self,
        value: &Expr,
        low: &Expr,
        high: &Expr,
        negated: bool,
    ) -> Option<Node> {
        let exprs = [low, value, high];
        let (arguments, data_type) = self.unify(&exprs, "BETWEEN")?;
        let data_type = data_type.unwrap_or(DataType::Number);
        let kernel = self.ordered(compare::between(data_type), &exprs, "BETWEEN")?;
        Some(negate(boolean(kernel, arguments), negated))
    }

    /// `x [NOT] LIKE pattern [ESCAPE character]`.
    pub(super) fn like(
        &mut self,
        value: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
        negated: bool,
    ) -> Option<Node> {
        let value = self.expect(value, DataType::Text, "LIKE");
        let pattern_node = self.expect(pattern, DataType::Text, "LIKE");
        let escape = match escape {
            Some(escape) => Some(self.escape(escape)?),
            None => None,
        };
        let (value, pattern_node) = (value?, pattern_node?);
        if let Node::Literal(Literal::Text(Some(text))) = &pattern_node
            && let Err(error) = Pattern::parse(text, escape)
        {
            return self.fail(self.source.range(pattern.span()), error.to_string());
        }
        let escape = Literal::Text(escape.map(|escape| escape.to_string().into()));
        let arguments = vec![value, pattern_node, Node::Literal(escape)];
        Some(negate(boolean(like::LIKE, arguments), negated))
    }

    fn escape(&mut self, expr: &Expr) -> Option<char> {
        if let Expr::Value(value) = expr
            && let Value::SingleQuotedString(text) = &value.value
        {
            let mut characters = text.chars();
            if let (Some(escape), None) = (characters.next(), characters.next()) {
                return Some(escape);
            }
        }
        let range = self.source.range(expr.span());
        let found = self.quote(&range);
        self.fail(
            range,
            format!("ESCAPE needs one character such as '!', but found {found}"),
        )
    }

    /// Both kinds of CASE. Without any value but NULL it is NULL.
    pub(super) fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
    ) -> Option<Typed> {
        let mut whens: Vec<&Expr> = conditions.iter().map(|when| &when.condition).collect();
        let mut thens: Vec<&Expr> = conditions.iter().map(|when| &when.result).collect();
        thens.extend(otherwise);

        let mut operand_node = None;
        let whens: Option<Vec<Node>> = match operand {
            Some(operand) => {
                whens.insert(0, operand);
                self.unify(&whens, "CASE").map(|(nodes, _)| {
                    let mut nodes = nodes.into_iter();
                    operand_node = nodes.next();
                    nodes.collect()
                })
            }
            None => {
                let checked: Vec<_> = whens
                    .iter()
                    .map(|when| self.expect(when, DataType::Boolean, "WHEN"))
                    .collect();
                checked.into_iter().collect()
            }
        };
        let thens = self.unify(&thens, "CASE");
        let ((mut thens, data_type), whens) = (thens?, whens?);
        let Some(data_type) = data_type else {
            return Some(Typed::Null);
        };
        if otherwise.is_none() {
            thens.push(Node::null(data_type));
        }

        let kernel = match operand_node {
            Some(_) => conditional::simple_case(data_type),
            None => conditional::searched_case(data_type),
        };
        let mut arguments: Vec<Node> = operand_node.into_iter().collect();
        let mut thens = thens.into_iter();
        for (when, then) in whens.into_iter().zip(thens.by_ref()) {
            arguments.extend([when, then]);
        }
        arguments.extend(thens);
        Some(Typed::Node(Node::apply(kernel, arguments, data_type)))
    }

    /// `CAST(x AS name)`.
    pub(super) fn cast(&mut self, value: &Expr, name: &str) -> Option<Node> {
        let Some(to) = cast::named(name) else {
            let message = format!(
                "unknown type '{}'; known are number, boolean and text",
                name.to_lowercase()
            );
            self.check(value);
            return self.fail(self.source.range(value.span()), message);
        };
        let node = self.check(value)?.into_node(to);
        Some(match cast::kernel(node.data_type(), to) {
            Some(kernel) => Node::apply(kernel, vec![node], to),
            None => node,
        })
    }
}

fn boolean(kernel: Kernel, arguments: Vec<Node>) -> Node {
    Node::apply(kernel, arguments, DataType::Boolean)
}

fn negate(node: Node, negated: bool) -> Node {
    if negated {
        boolean(logic::NOT, vec![node])
    } else {
        node
    }
}
