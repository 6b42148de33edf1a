//! Whether the rings of a polygon are what RFC 7946 and Simple Features (OGC 06-103r4, 6.1.11) want
//! them to be: no ring crosses or touches itself, none crosses another, and the first one, the
//! shell, has all others, the holes, side by side within it. Rings may touch at single points.
//!
//! A line sweeps over the polygon from left to right and keeps the edges that it cuts in order from
//! below (Shamos and Hoey, "Geometric Intersection Problems", 1976): two edges that cross are
//! neighbours there before they do, so only neighbours are compared, and a polygon of n vertices
//! takes O(n log n) comparisons. As these are exact, the order holds until the first fault, at which
//! the sweep ends.

use std::cmp::Ordering;
use std::fmt;

use super::geometry::{Edge, Point};

/// What is wrong with the rings of a polygon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// Two edges that must not meet.
    Edges {
        how: Meeting,
        first: (u32, Edge),
        second: (u32, Edge),
    },
    /// A ring that comes to a position twice.
    Twice { ring: u32, at: Point },
    /// A hole that is not in the shell.
    Outside { hole: u32, at: Point },
    /// Holes of which one is in the other.
    Nested { hole: u32, other: u32, at: Point },
}

/// How two edges meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meeting {
    Cross,
    Touch,
    Overlap,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edges { how, first, second } => {
                let verb = match how {
                    Meeting::Cross => "crosses",
                    Meeting::Touch => "touches",
                    Meeting::Overlap => "lies on",
                };
                let (ring, Edge { left, right }) = first;
                write!(f, "the edge {left} to {right} of ring {ring} {verb} ")?;
                let (ring, Edge { left, right }) = second;
                write!(f, "the edge {left} to {right} of ring {ring}")
            }
            Self::Twice { ring, at } => write!(f, "ring {ring} comes to {at} twice"),
            Self::Outside { hole, at } => {
                write!(
                    f,
                    "ring {hole} is a hole, but at {at} it is not within ring 0"
                )
            }
            Self::Nested { hole, other, at } => {
                write!(
                    f,
                    "at {at} one of the holes {hole} and {other} is within the other; write it as another polygon"
                )
            }
        }
    }
}

/// What lies above an edge.
#[derive(Debug, Clone, Copy)]
enum Region {
    Outside,
    Inside,
    Hole(u32),
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    edge: Edge,
    ring: u32,
    above: Region,
}

/// An end of a segment.
#[derive(Debug, Clone, Copy)]
struct Event {
    at: Point,
    begins: bool,
    segment: u32,
}

struct Sweep {
    segments: Vec<Segment>,
    /// The segments under the line, from below.
    cut: Vec<u32>,
}

/// Checks the edges of a polygon with the numbers of their rings.
pub(super) fn check(edges: impl Iterator<Item = (u32, Edge)>) -> Result<(), Fault> {
    let segments = edges.map(|(ring, edge)| Segment {
        edge,
        ring,
        above: Region::Outside,
    });
    let mut sweep = Sweep {
        segments: segments.collect(),
        cut: Vec::new(),
    };
    let events = sweep.events();
    for at_point in events.chunk_by(|a, b| a.at == b.at) {
        sweep.advance(at_point)?;
    }
    Ok(())
}

impl Sweep {
    /// The ends of all segments from left to right; at one point first those that end there.
    fn events(&self) -> Vec<Event> {
        let mut events = Vec::with_capacity(self.segments.len() * 2);
        for (segment, number) in self.segments.iter().zip(0_u32..) {
            for (at, begins) in [(segment.edge.left, true), (segment.edge.right, false)] {
                events.push(Event {
                    at,
                    begins,
                    segment: number,
                });
            }
        }
        events.sort_unstable_by(|a, b| {
            a.at.x
                .total_cmp(&b.at.x)
                .then(a.at.y.total_cmp(&b.at.y))
                .then(a.begins.cmp(&b.begins))
                .then(a.segment.cmp(&b.segment))
        });
        events
    }

    fn segment(&self, number: u32) -> Option<&Segment> {
        self.segments.get(number as usize)
    }

    /// Moves the line over a point.
    fn advance(&mut self, events: &[Event]) -> Result<(), Fault> {
        self.check_visits(events)?;
        for event in events.iter().filter(|event| !event.begins) {
            let place = self.place(event.segment);
            if self.cut.get(place) == Some(&event.segment) {
                self.cut.remove(place);
            }
            self.check_pair(place.checked_sub(1), Some(place))?;
        }
        let begun = || events.iter().filter(|event| event.begins);
        for event in begun() {
            let place = self.place(event.segment);
            self.cut.insert(place, event.segment);
            self.check_pair(place.checked_sub(1), Some(place))?;
            self.check_pair(Some(place), Some(place + 1))?;
        }
        let mut places: Vec<_> = begun().map(|event| self.place(event.segment)).collect();
        places.sort_unstable();
        for place in places {
            self.find_region(place)?;
        }
        Ok(())
    }

    /// A ring comes to each of its points once, with two edges.
    fn check_visits(&self, events: &[Event]) -> Result<(), Fault> {
        if events.len() == 2 {
            return Ok(());
        }
        let mut rings: Vec<_> = events
            .iter()
            .filter_map(|event| Some((self.segment(event.segment)?.ring, event.at)))
            .collect();
        rings.sort_unstable_by_key(|(ring, _)| *ring);
        for visits in rings.chunk_by(|a, b| a.0 == b.0) {
            if let [(ring, at), _, _, ..] = visits {
                return Err(Fault::Twice {
                    ring: *ring,
                    at: *at,
                });
            }
        }
        Ok(())
    }

    /// Where a segment is among those under the line, or belongs.
    fn place(&self, number: u32) -> usize {
        let Some(segment) = self.segment(number) else {
            return 0;
        };
        self.cut.partition_point(|other| {
            *other != number
                && self
                    .segment(*other)
                    .is_some_and(|other| order(&other.edge, &segment.edge) == Ordering::Less)
        })
    }

    /// Whether two neighbours under the line may be so.
    fn check_pair(&self, below: Option<usize>, above: Option<usize>) -> Result<(), Fault> {
        let at = |place: Option<usize>| self.segment(*self.cut.get(place?)?);
        let (Some(below), Some(above)) = (at(below), at(above)) else {
            return Ok(());
        };
        let Some(how) = meeting(&below.edge, &above.edge) else {
            return Ok(());
        };
        // A ring's next edge begins where one ends; coming there again is found by its visits.
        let is_corner = share_an_end(&below.edge, &above.edge);
        if how == Meeting::Touch && (below.ring != above.ring || is_corner) {
            return Ok(());
        }
        let is_first = below.ring < above.ring
            || (below.ring == above.ring && below.edge.left.is_before(above.edge.left));
        let (first, second) = if is_first {
            (below, above)
        } else {
            (above, below)
        };
        Err(Fault::Edges {
            how,
            first: (first.ring, first.edge),
            second: (second.ring, second.edge),
        })
    }

    /// Finds what lies above the segment at a place from what lies below it.
    fn find_region(&mut self, place: usize) -> Result<(), Fault> {
        let number = |place: usize| self.cut.get(place).copied();
        let below = place
            .checked_sub(1)
            .and_then(number)
            .and_then(|below| self.segment(below))
            .map_or(Region::Outside, |below| below.above);
        let Some(segment) = number(place).and_then(|number| self.segments.get_mut(number as usize))
        else {
            return Ok(());
        };
        let (ring, at) = (segment.ring, segment.edge.left);
        segment.above = match (below, ring) {
            (Region::Outside, 0) => Region::Inside,
            (Region::Inside, 0) => Region::Outside,
            (Region::Outside, hole) | (Region::Hole(hole), 0) => {
                return Err(Fault::Outside { hole, at });
            }
            (Region::Inside, hole) => Region::Hole(hole),
            (Region::Hole(hole), ring) if hole == ring => Region::Inside,
            (Region::Hole(other), hole) => return Err(Fault::Nested { hole, other, at }),
        };
        Ok(())
    }
}

/// How two edges that the line cuts at once lie, from below.
fn order(a: &Edge, b: &Edge) -> Ordering {
    if b.left.is_before(a.left) {
        return order(b, a).reverse();
    }
    // The other's left end decides, and its right one where the left one is on the edge.
    let mut side = a.side(b.left);
    if side == 0.0 {
        side = a.side(b.right);
    }
    0.0_f64.partial_cmp(&side).unwrap_or(Ordering::Equal)
}

/// How two edges meet, where they do.
fn meeting(a: &Edge, b: &Edge) -> Option<Meeting> {
    let (from_left, from_right) = (a.side(b.left), a.side(b.right));
    let (to_left, to_right) = (b.side(a.left), b.side(a.right));
    if from_left == 0.0 && from_right == 0.0 {
        // On one line: what begins later begins before the other ends, there, or behind it.
        let (first, later) = if b.left.is_before(a.left) {
            (b, a)
        } else {
            (a, b)
        };
        if later.left.is_before(first.right) {
            return Some(Meeting::Overlap);
        }
        return (later.left == first.right).then_some(Meeting::Touch);
    }
    let apart = |s: f64, t: f64| (s > 0.0 && t > 0.0) || (s < 0.0 && t < 0.0);
    if apart(from_left, from_right) || apart(to_left, to_right) {
        return None;
    }
    let sides = [from_left, from_right, to_left, to_right];
    if sides.contains(&0.0) {
        Some(Meeting::Touch)
    } else {
        Some(Meeting::Cross)
    }
}

fn share_an_end(a: &Edge, b: &Edge) -> bool {
    a.left == b.left || a.left == b.right || a.right == b.left || a.right == b.right
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Ring<'a> = &'a [(i32, i32)];

    fn edges(ring: Ring<'_>) -> Vec<Edge> {
        let point = |(x, y): (i32, i32)| Point {
            x: f64::from(x),
            y: f64::from(y),
        };
        let next = ring.iter().cycle().skip(1);
        let pairs = ring.iter().zip(next);
        pairs
            .filter_map(|(a, b)| Edge::between(point(*a), point(*b)))
            .collect()
    }

    fn checked(rings: &[Ring<'_>]) -> Result<(), Fault> {
        let numbered = rings.iter().zip(0..);
        check(
            numbered
                .flat_map(|(ring, number)| edges(ring).into_iter().map(move |edge| (number, edge))),
        )
    }

    fn refused(rings: &[Ring<'_>]) -> String {
        checked(rings).unwrap_err().to_string()
    }

    const SQUARE: Ring<'_> = &[(0, 0), (10, 0), (10, 10), (0, 10)];

    #[test]
    fn sound_rings_pass() {
        for rings in [
            &[SQUARE][..],
            &[&[(0, 0), (0, 10), (10, 10), (10, 0)]],
            &[&[(0, 0), (5, 0), (10, 0), (10, 10)]],
            &[SQUARE, &[(2, 2), (4, 2), (4, 4)], &[(6, 2), (8, 2), (8, 4)]],
            // Holes that touch the shell and each other at points.
            &[SQUARE, &[(0, 5), (5, 4), (5, 6)], &[(5, 5), (9, 4), (9, 6)]],
            &[SQUARE, &[(0, 0), (5, 4), (4, 5)]],
            // A hole like the shell, whose corners touch the shell's edges.
            &[SQUARE, &[(5, 0), (10, 5), (5, 10), (0, 5)]],
            // A comb.
            &[&[
                (0, 0),
                (9, 0),
                (9, 9),
                (8, 1),
                (7, 9),
                (6, 1),
                (5, 9),
                (4, 1),
                (0, 9),
            ]],
        ] {
            assert_eq!(checked(rings), Ok(()), "{rings:?}");
        }
    }

    #[test]
    fn faults_name_what_meets() {
        for (rings, message) in [
            (
                &[&[(0, 0), (10, 10), (10, 0), (0, 10)][..]][..],
                "the edge [0, 0] to [10, 10] of ring 0 crosses the edge [0, 10] to [10, 0] of ring 0",
            ),
            (
                &[&[(0, 0), (10, 0), (5, 0), (5, 5)]],
                "the edge [0, 0] to [10, 0] of ring 0 lies on the edge [5, 0] to [10, 0] of ring 0",
            ),
            (
                &[&[(0, 0), (10, 0), (10, 10), (5, 0), (0, 10)]],
                "the edge [0, 0] to [10, 0] of ring 0 touches the edge [0, 10] to [5, 0] of ring 0",
            ),
            (
                &[&[(0, 0), (4, 4), (8, 0), (8, 8), (4, 4), (0, 8)]],
                "ring 0 comes to [4, 4] twice",
            ),
            (
                &[SQUARE, &[(5, 5), (15, 5), (5, 6)]],
                "the edge [10, 0] to [10, 10] of ring 0 crosses the edge [5, 5] to [15, 5] of ring 1",
            ),
            (
                &[SQUARE, &[(10, 2), (10, 8), (5, 5)]],
                "the edge [10, 0] to [10, 10] of ring 0 lies on the edge [10, 2] to [10, 8] of ring 1",
            ),
            (
                &[SQUARE, &[(20, 0), (30, 0), (30, 10)]],
                "ring 1 is a hole, but at [20, 0] it is not within ring 0",
            ),
            // Out of the shell at one of its corners and in again at another.
            (
                &[
                    &[
                        (0, 0),
                        (10, 0),
                        (10, 3),
                        (4, 4),
                        (6, 5),
                        (4, 6),
                        (10, 7),
                        (10, 10),
                        (0, 10),
                    ],
                    &[(2, 5), (4, 4), (8, 5), (4, 6)],
                ],
                "ring 1 is a hole, but at [4, 4] it is not within ring 0",
            ),
            (
                &[
                    SQUARE,
                    &[(1, 1), (9, 1), (9, 9), (1, 9)],
                    &[(4, 4), (5, 4), (5, 5)],
                ],
                "at [4, 4] one of the holes 2 and 1 is within the other; write it as another polygon",
            ),
        ] {
            assert_eq!(refused(rings), message, "{rings:?}");
        }
    }

    /// Every pair of a ring's edges, as the definition has it.
    fn is_simple(ring: &[(i32, i32)]) -> bool {
        let edges = edges(ring);
        let count = edges.len();
        for (index, edge) in edges.iter().enumerate() {
            for (other, second) in edges.iter().enumerate().skip(index + 1) {
                let next = other == index + 1 || (index == 0 && other == count - 1);
                match meeting_of_integers(edge, second) {
                    None => {}
                    Some(Meeting::Touch) if next => {}
                    Some(_) => return false,
                }
            }
        }
        true
    }

    /// The same by whole numbers and parameters instead of sides.
    fn meeting_of_integers(a: &Edge, b: &Edge) -> Option<Meeting> {
        let whole = |point: Point| (point.x as i64, point.y as i64);
        let ((ax, ay), (bx, by)) = (whole(a.left), whole(a.right));
        let ((cx, cy), (dx, dy)) = (whole(b.left), whole(b.right));
        let (rx, ry, sx, sy) = (bx - ax, by - ay, dx - cx, dy - cy);
        let cross = rx * sy - ry * sx;
        if cross != 0 {
            let t = ((cx - ax) * sy - (cy - ay) * sx) * cross.signum();
            let u = ((cx - ax) * ry - (cy - ay) * rx) * cross.signum();
            let end = cross.abs();
            if t < 0 || t > end || u < 0 || u > end {
                return None;
            }
            let inner = t > 0 && t < end && u > 0 && u < end;
            return Some(if inner {
                Meeting::Cross
            } else {
                Meeting::Touch
            });
        }
        if (cx - ax) * ry != (cy - ay) * rx {
            return None;
        }
        let length = rx * rx + ry * ry;
        let along = |x: i64, y: i64| (x - ax) * rx + (y - ay) * ry;
        let (from, to) = (along(cx, cy), along(dx, dy));
        let (from, to) = (from.min(to).max(0), from.max(to).min(length));
        match from.cmp(&to) {
            Ordering::Less => Some(Meeting::Overlap),
            Ordering::Equal => Some(Meeting::Touch),
            Ordering::Greater => None,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn finds_what_comparing_all_pairs_finds(
            ring in prop::collection::vec((0..9, 0..9), 3..9),
        ) {
            let mut ring: Vec<(i32, i32)> = ring;
            ring.dedup();
            prop_assume!(ring.len() > 2 && ring.first() != ring.last());
            prop_assert_eq!(checked(&[&ring]).is_ok(), is_simple(&ring), "{:?}", ring);
        }
    }
}
