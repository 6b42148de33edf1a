//! A rectangle in cells of one size, and which of them an edge touches.

use std::ops::Range;

use super::geometry::{Edge, Point};

/// At most so many cells a side.
const MAX_SIDE: f64 = 1024.0;

/// Cells are not made smaller, in degrees: a tenth of a millimetre, and far above the error of the
/// sums that guess where an edge is.
const MIN_SIZE: f64 = 1e-9;

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
    pub(super) top: f64,
}

/// A rectangle in cells, numbered from left to right and row by row from below.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    bounds: Bounds,
    columns: u32,
    rows: u32,
    width: f64,
    height: f64,
}

impl Bounds {
    /// The rectangle around edges; an empty one around none.
    pub(super) fn of(edges: &[Edge]) -> Self {
        let mut bounds = Self {
            left: f64::INFINITY,
            right: f64::NEG_INFINITY,
            bottom: f64::INFINITY,
            top: f64::NEG_INFINITY,
        };
        for Edge { left, right } in edges {
            bounds.left = bounds.left.min(left.x);
            bounds.right = bounds.right.max(right.x);
            bounds.bottom = bounds.bottom.min(left.y.min(right.y));
            bounds.top = bounds.top.max(left.y.max(right.y));
        }
        bounds
    }

    /// Whether a point is in it, without its right and upper sides.
    #[inline]
    pub(super) fn has(&self, point: Point) -> bool {
        point.x >= self.left && point.x < self.right && point.y >= self.bottom && point.y < self.top
    }
}

impl Layout {
    /// Cuts a rectangle so that there are about as many cells as edges, and an edge touches four on
    /// average at most. Nothing where that is no cut at all.
    pub(super) fn of<'a>(
        bounds: Bounds,
        count: usize,
        edges: impl Iterator<Item = &'a Edge>,
    ) -> Option<Self> {
        let (width, height) = (bounds.right - bounds.left, bounds.top - bounds.bottom);
        if !(width > 0.0 && height > 0.0) {
            return None;
        }
        let mut length = 0.0;
        for Edge { left, right } in edges {
            let across = (right.x - left.x).min(width) / width;
            let along = (right.y - left.y).abs().min(height) / height;
            length += across + along;
        }
        let count = count as f64;
        let side = count.sqrt().min(3.0 * count / length).clamp(2.0, MAX_SIDE);
        let side = side.floor() as u32;
        let layout = Self {
            bounds,
            columns: side,
            rows: side,
            width: width / f64::from(side),
            height: height / f64::from(side),
        };
        (layout.width > MIN_SIZE && layout.height > MIN_SIZE).then_some(layout)
    }

    pub(super) fn cells(&self) -> usize {
        self.columns as usize * self.rows as usize
    }

    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    pub(super) fn row_of(&self, cell: u32) -> u32 {
        cell / self.columns
    }

    pub(super) fn row_cells(&self, row: u32) -> Range<u32> {
        row * self.columns..(row + 1) * self.columns
    }

    /// The lower side of a row; the upper side of all behind the last.
    #[inline]
    pub(super) fn bottom(&self, row: u32) -> f64 {
        line(
            self.bounds.bottom,
            self.height,
            row,
            self.rows,
            self.bounds.top,
        )
    }

    #[inline]
    fn left(&self, column: u32) -> f64 {
        line(
            self.bounds.left,
            self.width,
            column,
            self.columns,
            self.bounds.right,
        )
    }

    pub(super) fn bounds(&self, cell: u32) -> Bounds {
        let (row, column) = (cell / self.columns, cell % self.columns);
        Bounds {
            left: self.left(column),
            right: self.left(column + 1),
            bottom: self.bottom(row),
            top: self.bottom(row + 1),
        }
    }

    /// The cell of a point within the rectangle; its left and lower sides are a cell's own.
    #[inline]
    pub(super) fn cell_of(&self, point: Point) -> usize {
        let column = self.column_of(point.x);
        let row = self.place(point.y, self.bounds.bottom, self.height, self.rows, |row| {
            self.bottom(row)
        });
        row as usize * self.columns as usize + column as usize
    }

    #[inline]
    fn column_of(&self, x: f64) -> u32 {
        self.place(x, self.bounds.left, self.width, self.columns, |column| {
            self.left(column)
        })
    }

    /// The row or column of a number. A division may give its neighbour, so the lines decide.
    #[inline]
    fn place(&self, at: f64, from: f64, size: f64, count: u32, line: impl Fn(u32) -> f64) -> u32 {
        let mut place = (((at - from) / size) as u32).min(count - 1);
        while place > 0 && at < line(place) {
            place -= 1;
        }
        while place + 1 < count && at >= line(place + 1) {
            place += 1;
        }
        place
    }

    /// Calls with each cell that an edge touches, its sides among it.
    pub(super) fn for_cells_of(&self, edge: &Edge, mut call: impl FnMut(u32)) {
        let Edge { left, right } = *edge;
        let (low, high) = (left.y.min(right.y), left.y.max(right.y));
        let row_of = |y: f64| {
            self.place(y, self.bounds.bottom, self.height, self.rows, |row| {
                self.bottom(row)
            })
        };
        // A line belongs to the cells on both of its sides.
        let last_row = row_of(high);
        for row in row_of(low).saturating_sub(1)..=last_row {
            let (bottom, top) = (self.bottom(row), self.bottom(row + 1));
            if high < bottom || low > top {
                continue;
            }
            // Where the edge is in this row, about; the sides of cells decide.
            let (from, to) = if left.y == right.y {
                (left.x, right.x)
            } else {
                let at = |y: f64| {
                    let y = y.clamp(low, high);
                    let x = left.x + (y - left.y) / (right.y - left.y) * (right.x - left.x);
                    x.clamp(left.x, right.x)
                };
                (at(bottom).min(at(top)), at(bottom).max(at(top)))
            };
            let first = self.column_of(from).saturating_sub(1);
            let last = (self.column_of(to) + 1).min(self.columns - 1);
            for column in first..=last {
                let cell = row * self.columns + column;
                if touches(edge, &self.bounds(cell)) {
                    call(cell);
                }
            }
        }
    }
}

#[inline]
fn line(from: f64, size: f64, place: u32, count: u32, end: f64) -> f64 {
    if place >= count {
        end
    } else {
        (from + size * f64::from(place)).min(end)
    }
}

/// Whether an edge and a rectangle with its sides have a point in common.
fn touches(edge: &Edge, bounds: &Bounds) -> bool {
    let Edge { left, right } = *edge;
    if right.x < bounds.left
        || left.x > bounds.right
        || left.y.max(right.y) < bounds.bottom
        || left.y.min(right.y) > bounds.top
    {
        return false;
    }
    let mut above = false;
    let mut below = false;
    for x in [bounds.left, bounds.right] {
        for y in [bounds.bottom, bounds.top] {
            let side = edge.side(Point { x, y });
            above |= side >= 0.0;
            below |= side <= 0.0;
        }
    }
    above && below
}
