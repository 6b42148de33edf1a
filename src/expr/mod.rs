//! SQL expressions: parsed and typed when a pipeline is loaded, evaluated over whole columns.
//!
//! Level 1: imports only `model`.
//!
//! A text goes through `parse` (sqlparser's tree, with byte offsets) and `check`, with `operator`,
//! `call`, `scalar` and `special` (names, types, constant folding), to a tree of `node`s; `memo` then
//! marks the parts that depend on one text column alone. What an operator or function computes is a
//! kernel over `vector`s, a `row` at a time where it has many arguments: operators in `compare`,
//! `logic`, `conditional`, `cast`, `bits` and `like`, functions in the `table`. A function with
//! constants that are costly to read, such as a pattern or a time zone, is `prepared`.
//!
//! Three-valued logic throughout: a comparison with NULL is NULL, and `WHERE` keeps what is true.
//! An operation without a finite result (division by zero, `sqrt(-1)`, overflow) is NULL, never an
//! error and never an infinity.

mod aggregate;
mod bits;
mod calendar;
mod call;
mod cast;
mod check;
mod compare;
mod conditional;
mod error;
mod evaluate;
mod function;
mod geography;
mod like;
mod logic;
mod memo;
mod node;
mod number;
mod operator;
mod parse;
mod prepared;
mod program;
mod regexp;
mod row;
mod scalar;
mod special;
mod table;
mod text;
mod time;
mod unit;
mod vector;
mod zone;

#[cfg(test)]
mod tests;

pub use aggregate::{AggregateCall, AggregateCatalog, AggregateExpression, AggregateSignature};
pub use error::ExprError;
pub use function::function_names;
pub use program::Program;
