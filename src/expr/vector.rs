//! Values of many rows at once, and the loops over them.

use std::borrow::Cow;

use crate::model::{Column, DataType, Interner, Symbol, Trilean};

/// What an operator or function computes: its arguments and the number of rows to a result.
/// Arguments that are all constant give a constant.
pub(super) type Kernel = fn(&mut Interner, &[Vector<'_>], usize) -> Vector<'static>;

/// Rows of one type, or one value for all of them.
#[derive(Debug)]
pub(super) enum Values<'a, T: Clone> {
    /// The same in each row.
    Constant(T),
    /// A value a row.
    Rows(Cow<'a, [T]>),
}

/// Values of a type known at run time.
#[derive(Debug)]
pub(super) enum Vector<'a> {
    /// Numbers; NaN is NULL.
    Number(Values<'a, f64>),
    /// Truth values.
    Boolean(Values<'a, Trilean>),
    /// Texts as symbols.
    Text(Values<'a, Symbol>),
}

/// Borrowed [`Values`].
#[derive(Debug, Clone, Copy)]
pub(super) enum View<'v, T> {
    /// The same in each row.
    Constant(T),
    /// A value a row.
    Rows(&'v [T]),
}

/// A type that a value of a row can have.
pub(super) trait Scalar: Copy + PartialEq + 'static {
    /// NULL of this type.
    const NULL: Self;

    /// Whether this is NULL.
    fn is_null(self) -> bool;

    /// The values of a vector of this type. The checker has seen to the type; NULL otherwise.
    fn view<'v>(vector: &'v Vector<'_>) -> View<'v, Self>;

    /// Values as a vector.
    fn wrap(values: Values<'_, Self>) -> Vector<'_>;
}

impl Scalar for f64 {
    const NULL: Self = f64::NAN;

    fn is_null(self) -> bool {
        self.is_nan()
    }

    fn view<'v>(vector: &'v Vector<'_>) -> View<'v, Self> {
        match vector {
            Vector::Number(values) => values.view(),
            _ => View::Constant(Self::NULL),
        }
    }

    fn wrap(values: Values<'_, Self>) -> Vector<'_> {
        Vector::Number(values)
    }
}

impl Scalar for Trilean {
    const NULL: Self = Trilean::Null;

    fn is_null(self) -> bool {
        self == Trilean::Null
    }

    fn view<'v>(vector: &'v Vector<'_>) -> View<'v, Self> {
        match vector {
            Vector::Boolean(values) => values.view(),
            _ => View::Constant(Self::NULL),
        }
    }

    fn wrap(values: Values<'_, Self>) -> Vector<'_> {
        Vector::Boolean(values)
    }
}

impl Scalar for Symbol {
    const NULL: Self = Symbol::NULL;

    fn is_null(self) -> bool {
        self == Symbol::NULL
    }

    fn view<'v>(vector: &'v Vector<'_>) -> View<'v, Self> {
        match vector {
            Vector::Text(values) => values.view(),
            _ => View::Constant(Self::NULL),
        }
    }

    fn wrap(values: Values<'_, Self>) -> Vector<'_> {
        Vector::Text(values)
    }
}

impl<T: Scalar> Values<'_, T> {
    /// Borrows the values.
    pub(super) fn view(&self) -> View<'_, T> {
        match self {
            Self::Constant(value) => View::Constant(*value),
            Self::Rows(rows) => View::Rows(rows),
        }
    }

    fn into_rows(self, rows: usize) -> Vec<T> {
        match self {
            Self::Constant(value) => vec![value; rows],
            Self::Rows(values) => values.into_owned(),
        }
    }
}

impl<T: Scalar> View<'_, T> {
    /// The value of a row.
    pub(super) fn at(self, row: usize) -> T {
        match self {
            Self::Constant(value) => value,
            Self::Rows(values) => values.get(row).copied().unwrap_or(T::NULL),
        }
    }

    /// Whether all rows are the same.
    pub(super) fn is_constant(self) -> bool {
        matches!(self, Self::Constant(_))
    }

    /// A copy.
    pub(super) fn to_values(self) -> Values<'static, T> {
        match self {
            Self::Constant(value) => Values::Constant(value),
            Self::Rows(values) => Values::Rows(Cow::Owned(values.to_vec())),
        }
    }
}

impl Vector<'_> {
    /// Whether all rows are the same.
    pub(super) fn is_constant(&self) -> bool {
        match self {
            Self::Number(values) => values.view().is_constant(),
            Self::Boolean(values) => values.view().is_constant(),
            Self::Text(values) => values.view().is_constant(),
        }
    }

    /// NULL of a type.
    pub(super) fn null(data_type: DataType) -> Self {
        match data_type {
            DataType::Number => Self::Number(Values::Constant(f64::NULL)),
            DataType::Boolean => Self::Boolean(Values::Constant(Trilean::NULL)),
            DataType::Text => Self::Text(Values::Constant(Symbol::NULL)),
        }
    }

    /// A column of so many rows.
    pub(super) fn into_column(self, rows: usize) -> Column {
        match self {
            Self::Number(values) => Column::Number(values.into_rows(rows)),
            Self::Boolean(values) => Column::Boolean(values.into_rows(rows)),
            Self::Text(values) => Column::Text(values.into_rows(rows)),
        }
    }
}

/// Argument `index` of a kernel.
pub(super) fn argument<'v, T: Scalar>(arguments: &'v [Vector<'_>], index: usize) -> View<'v, T> {
    arguments
        .get(index)
        .map_or(View::Constant(T::NULL), T::view)
}

/// Applies a function to each row.
pub(super) fn map1<A: Scalar, R: Scalar>(
    a: View<'_, A>,
    mut f: impl FnMut(A) -> R,
) -> Values<'static, R> {
    match a {
        View::Constant(a) => Values::Constant(f(a)),
        View::Rows(a) => Values::Rows(a.iter().map(|a| f(*a)).collect()),
    }
}

/// Applies a function to each row of two arguments.
pub(super) fn map2<A: Scalar, B: Scalar, R: Scalar>(
    a: View<'_, A>,
    b: View<'_, B>,
    mut f: impl FnMut(A, B) -> R,
) -> Values<'static, R> {
    match (a, b) {
        (View::Constant(a), View::Constant(b)) => Values::Constant(f(a, b)),
        (View::Rows(a), View::Constant(b)) => Values::Rows(a.iter().map(|a| f(*a, b)).collect()),
        (View::Constant(a), View::Rows(b)) => Values::Rows(b.iter().map(|b| f(a, *b)).collect()),
        (View::Rows(a), View::Rows(b)) => {
            Values::Rows(a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect())
        }
    }
}

/// Combines all arguments from the left.
pub(super) fn reduce<T: Scalar>(
    arguments: &[Vector<'_>],
    f: impl Fn(T, T) -> T,
) -> Values<'static, T> {
    match arguments {
        [] => Values::Constant(T::NULL),
        [only] => T::view(only).to_values(),
        [first, second, rest @ ..] => {
            let mut result = map2(T::view(first), T::view(second), &f);
            for argument in rest {
                result = map2(result.view(), T::view(argument), &f);
            }
            result
        }
    }
}

/// A kernel of one argument.
pub(super) fn unary<A: Scalar, R: Scalar>(
    arguments: &[Vector<'_>],
    f: impl FnMut(A) -> R,
) -> Vector<'static> {
    R::wrap(map1(argument(arguments, 0), f))
}

/// A kernel of two arguments.
pub(super) fn binary<A: Scalar, B: Scalar, R: Scalar>(
    arguments: &[Vector<'_>],
    f: impl FnMut(A, B) -> R,
) -> Vector<'static> {
    R::wrap(map2(argument(arguments, 0), argument(arguments, 1), f))
}
