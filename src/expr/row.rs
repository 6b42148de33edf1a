//! Functions of several arguments, a row at a time: where an argument is read, NULL ends the row
//! with `?`.

use crate::model::{Interner, Symbol, Trilean};

use super::number::finite;
use super::vector::{Scalar, Values, Vector};

/// No text longer than this is made of others, bytes: what doubles a text in each of a few fields
/// would otherwise fill the memory. A longer one is NULL.
pub(super) const MAX_TEXT: usize = 65_536;

/// The arguments of one row.
#[derive(Debug)]
pub(super) struct Row<'r> {
    interner: &'r Interner,
    arguments: &'r [Vector<'r>],
    row: usize,
}

impl<'r> Row<'r> {
    /// Whether there is such an argument.
    pub(super) fn has(&self, index: usize) -> bool {
        self.arguments.len() > index
    }

    /// How many arguments there are.
    pub(super) fn len(&self) -> usize {
        self.arguments.len()
    }

    /// A text, unless it is NULL.
    pub(super) fn text(&self, index: usize) -> Option<&'r str> {
        let symbol: Symbol = self.value(index)?;
        Some(self.interner.text(symbol))
    }

    /// A number, unless it is NULL.
    pub(super) fn number(&self, index: usize) -> Option<f64> {
        self.value(index)
    }

    /// A count or a position, unless it is NULL: a number without what is behind its point.
    pub(super) fn count(&self, index: usize) -> Option<i64> {
        let number = self.number(index)?;
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        Some(number as i64)
    }

    fn value<T: Scalar>(&self, index: usize) -> Option<T> {
        let value = T::view(self.arguments.get(index)?).at(self.row);
        (!value.is_null()).then_some(value)
    }
}

/// A number for each row; NULL for `None` and for what is not finite.
pub(super) fn numbers(
    interner: &Interner,
    arguments: &[Vector<'_>],
    rows: usize,
    f: impl Fn(&Row<'_>) -> Option<f64>,
) -> Vector<'static> {
    each(arguments, rows, |row| {
        let row = Row {
            interner,
            arguments,
            row,
        };
        f(&row).map_or(f64::NULL, finite)
    })
}

/// A truth value for each row; NULL for `None`.
pub(super) fn booleans(
    interner: &Interner,
    arguments: &[Vector<'_>],
    rows: usize,
    f: impl Fn(&Row<'_>) -> Option<bool>,
) -> Vector<'static> {
    each(arguments, rows, |row| {
        let row = Row {
            interner,
            arguments,
            row,
        };
        f(&row).map_or(Trilean::Null, Trilean::from)
    })
}

/// A text for each row, appended to the empty one that is handed over; NULL for `None`.
pub(super) fn texts(
    interner: &mut Interner,
    arguments: &[Vector<'_>],
    rows: usize,
    f: impl Fn(&Row<'_>, &mut String) -> Option<()>,
) -> Vector<'static> {
    let mut text = String::new();
    each(arguments, rows, |row| {
        text.clear();
        let row = Row {
            interner,
            arguments,
            row,
        };
        match f(&row, &mut text) {
            Some(()) => interner.intern(&text),
            None => Symbol::NULL,
        }
    })
}

fn each<R: Scalar>(
    arguments: &[Vector<'_>],
    rows: usize,
    mut f: impl FnMut(usize) -> R,
) -> Vector<'static> {
    if arguments.iter().all(Vector::is_constant) {
        return R::wrap(Values::Constant(f(0)));
    }
    R::wrap(Values::Rows((0..rows).map(f).collect()))
}

/// Appends to a text, unless it would become longer than [`MAX_TEXT`].
pub(super) fn append(text: &mut String, part: &str) -> Option<()> {
    if text.len() + part.len() > MAX_TEXT {
        return None;
    }
    text.push_str(part);
    Some(())
}
