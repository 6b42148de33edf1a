//! SQL expressions: parsed and typed when a pipeline is loaded, evaluated over whole columns.
//!
//! Level 1: imports only `model`.
//!
//! A text goes through `parse` (sqlparser's tree, with byte offsets) and `check`, with `operator`
//! and `call` (names, types, constant folding), to a tree of `node`s; `memo` then marks the parts
//! that depend on one text column alone. What an operator or function computes is a kernel over `vector`s: operators in
//! `compare`, `logic`, `conditional`, `cast` and `like`, functions in the table of `function`.
//!
//! Three-valued logic throughout: a comparison with NULL is NULL, and `WHERE` keeps what is true.
//! An operation without a finite result (division by zero, `sqrt(-1)`, overflow) is NULL, never an
//! error and never an infinity.

mod aggregate;
mod call;
mod cast;
mod check;
mod compare;
mod conditional;
mod error;
mod evaluate;
mod function;
mod like;
mod logic;
mod memo;
mod node;
mod number;
mod operator;
mod parse;
mod program;
mod text;
mod vector;

#[cfg(test)]
mod tests;

pub use aggregate::{AggregateCall, AggregateCatalog, AggregateExpression};
pub use error::ExprError;
pub use program::Program;
