//! Points and edges, and on which side of an edge a point lies.
//!
//! All decisions rest on one predicate, the sign of a triangle's area, which is exact: `robust`
//! computes it in floats where their error cannot change the sign, and in longer numbers where it
//! could (Shewchuk, "Adaptive Precision Floating-Point Arithmetic and Fast Robust Geometric
//! Predicates", 1997). So neighbours that share an edge agree about every point, however close.

use robust::Coord;

/// A position in degrees, on the plane of longitude and latitude as RFC 7946 has it: edges are
/// straight lines there, not great circles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// The longitude.
    pub(super) x: f64,
    /// The latitude.
    pub(super) y: f64,
}

/// An edge between two different points, from left to right; a vertical one goes up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Edge {
    pub(super) left: Point,
    pub(super) right: Point,
}

impl Point {
    /// Whether this comes before another from left to right, and from below on a vertical.
    pub(super) fn is_before(self, other: Self) -> bool {
        self.x < other.x || (self.x == other.x && self.y < other.y)
    }
}

impl std::fmt::Display for Point {
    /// As GeoJSON writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}, {}]", self.x, self.y)
    }
}

impl Edge {
    /// The edge between two points; none where they are the same.
    pub(super) fn between(a: Point, b: Point) -> Option<Self> {
        if a == b {
            return None;
        }
        let (left, right) = if a.is_before(b) { (a, b) } else { (b, a) };
        Some(Self { left, right })
    }

    /// Positive where a point lies above the line through this edge (left of a vertical one),
    /// negative below, zero on it.
    #[inline]
    pub(super) fn side(&self, point: Point) -> f64 {
        let coord = |point: Point| Coord {
            x: point.x,
            y: point.y,
        };
        robust::orient2d(coord(self.left), coord(self.right), coord(point))
    }

    /// Whether a ray from a point to the right crosses this edge. The edge has its lower end and
    /// not its upper one, and a point on it lies to the right of it.
    ///
    /// That is the point moved up by very little and to the right by a little more; so a zone has
    /// its left and lower edges, and its neighbours have the others.
    #[inline]
    pub(super) fn is_right_of(&self, point: Point) -> bool {
        let (left, right) = (self.left, self.right);
        if (left.y <= point.y) == (right.y <= point.y) {
            return false;
        }
        if left.y < right.y {
            self.side(point) > 0.0
        } else {
            self.side(point) < 0.0
        }
    }

    /// Whether a vertical line crosses this edge, which has its left end and not its right one.
    #[inline]
    pub(super) fn is_over(&self, x: f64) -> bool {
        self.left.x <= x && x < self.right.x
    }

    /// Whether a ray from a point down crosses this edge, with the point moved as above.
    #[inline]
    pub(super) fn is_below(&self, point: Point) -> bool {
        if !self.is_over(point.x) {
            return false;
        }
        let side = self.side(point);
        side > 0.0 || (side == 0.0 && self.right.y <= self.left.y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f64, y: f64) -> Point {
        Point { x, y }
    }

    #[test]
    fn an_edge_has_its_lower_end_and_is_left_of_its_points() {
        for (a, b) in [
            (point(0.0, 0.0), point(2.0, 2.0)),
            (point(2.0, 0.0), point(0.0, 2.0)),
            (point(1.0, 0.0), point(1.0, 2.0)),
        ] {
            let edge = Edge::between(a, b).unwrap();
            assert_eq!(Edge::between(b, a), Some(edge));
            assert!(edge.is_right_of(point(-1.0, 0.0)));
            assert!(edge.is_right_of(point(0.9, 1.0)));
            assert!(!edge.is_right_of(point(1.0, 1.0)));
            assert!(!edge.is_right_of(point(1.1, 1.0)));
            assert!(!edge.is_right_of(point(-1.0, 2.0)));
        }
        let level = Edge::between(point(0.0, 1.0), point(2.0, 1.0)).unwrap();
        assert!(!level.is_right_of(point(-1.0, 1.0)));
        assert!(level.is_below(point(0.0, 1.0)));
        assert!(!level.is_below(point(2.0, 1.0)));
        assert!(!level.is_below(point(1.0, 0.9)));
        assert_eq!(Edge::between(a_point(), a_point()), None);
    }

    fn a_point() -> Point {
        point(8.5, 47.25)
    }

    #[test]
    fn sides_are_exact() {
        // The three points lie on a line but for the last bit of one, which plain floats lose.
        let edge = Edge::between(point(12.0, 12.0), point(24.0, 24.0)).unwrap();
        let above = 0.5_f64.next_up();
        assert_eq!(edge.side(point(0.5, 0.5)), 0.0);
        assert!(edge.side(point(0.5, above)) > 0.0);
        assert!(edge.side(point(above, 0.5)) < 0.0);
    }
}
