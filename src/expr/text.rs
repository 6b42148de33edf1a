//! The functions of texts.

use std::borrow::Cow;

use crate::model::{Interner, Symbol};

use super::vector::{Kernel, Scalar, Values, Vector, View, unary};

/// `lower(a)`
pub(super) const LOWER: Kernel = |interner, a, _| rewrite(interner, a, str::to_lowercase);
/// `upper(a)`
pub(super) const UPPER: Kernel = |interner, a, _| rewrite(interner, a, str::to_uppercase);

/// `length(a)`: in characters.
pub(super) const LENGTH: Kernel = |interner, a, _| {
    unary(a, |symbol: Symbol| {
        if symbol.is_null() {
            f64::NULL
        } else {
            interner.text(symbol).chars().count() as f64
        }
    })
};

/// `a || b`, `concat(a, ...)`: NULL where one of them is.
pub(super) const CONCAT: Kernel = |interner, a, rows| {
    let parts: Vec<View<'_, Symbol>> = a.iter().map(Symbol::view).collect();
    let mut text = String::new();
    let mut join = |row| {
        text.clear();
        for part in &parts {
            let symbol = part.at(row);
            if symbol.is_null() {
                return Symbol::NULL;
            }
            text.push_str(interner.text(symbol));
        }
        interner.intern(&text)
    };
    if parts.iter().all(|part| part.is_constant()) {
        return Vector::Text(Values::Constant(join(0)));
    }
    Vector::Text(Values::Rows(Cow::Owned((0..rows).map(join).collect())))
};

fn rewrite(
    interner: &mut Interner,
    arguments: &[Vector<'_>],
    f: fn(&str) -> String,
) -> Vector<'static> {
    unary(arguments, |symbol: Symbol| {
        if symbol.is_null() {
            return Symbol::NULL;
        }
        let text = f(interner.text(symbol));
        interner.intern(&text)
    })
}
