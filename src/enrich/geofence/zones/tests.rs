use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn features(geometries: impl IntoIterator<Item = Value>) -> Vec<Feature> {
    let feature = |geometry: Value| {
        let feature = json!({ "type": "Feature", "properties": null, "geometry": geometry });
        serde_json::from_value(feature).unwrap()
    };
    geometries.into_iter().map(feature).collect()
}

fn zones(geometries: impl IntoIterator<Item = Value>) -> Zones {
    Zones::build(&features(geometries)).unwrap()
}

fn polygon(rings: &[&[(f64, f64)]]) -> Value {
    let close = |ring: &&[(f64, f64)]| {
        let first = ring.iter().take(1);
        let closed = ring.iter().chain(first);
        closed.map(|(x, y)| json!([x, y])).collect::<Vec<_>>()
    };
    json!({ "type": "Polygon", "coordinates": rings.iter().map(close).collect::<Vec<_>>() })
}

fn square(x: f64, y: f64, size: f64) -> Vec<(f64, f64)> {
    vec![(x, y), (x + size, y), (x + size, y + size), (x, y + size)]
}

#[test]
fn the_first_zone_of_the_file_wins() {
    let zones = zones([
        polygon(&[&square(0.0, 0.0, 2.0)]),
        polygon(&[&square(-1.0, -1.0, 4.0)]),
        polygon(&[&square(0.5, 0.5, 1.0)]),
    ]);
    assert_eq!(zones.count(), 3);
    assert_eq!(zones.find(1.0, 1.0), Found::Zone(0));
    assert_eq!(zones.find(-0.5, 1.0), Found::Zone(1));
    assert_eq!(zones.find(4.0, 1.0), Found::None);
}

#[test]
fn holes_and_several_polygons_are_one_zone() {
    let hole = square(1.0, 1.0, 1.0);
    let of = |geometry: Value| geometry["coordinates"].clone();
    let first = of(polygon(&[&square(0.0, 0.0, 3.0), &hole]));
    let second = of(polygon(&[&square(5.0, 0.0, 1.0)]));
    let zones = zones([
        json!({ "type": "MultiPolygon", "coordinates": [first, second] }),
        polygon(&[&hole]),
    ]);
    assert_eq!(zones.find(0.5, 0.5), Found::Zone(0));
    assert_eq!(zones.find(0.5, 5.5), Found::Zone(0));
    assert_eq!(zones.find(0.5, 4.0), Found::None);
    assert_eq!(zones.find(1.5, 1.5), Found::Zone(1));
    // The hole's left border is the inner zone's, its right one the outer zone's.
    assert_eq!(zones.find(1.5, 1.0), Found::Zone(1));
    assert_eq!(zones.find(1.5, 2.0), Found::Zone(0));
}

#[test]
fn positions_that_are_no_place() {
    let zones = zones([polygon(&[&[
        (-180.0, -90.0),
        (0.0, -90.0),
        (0.0, 90.0),
        (-180.0, 90.0),
    ]])]);
    assert_eq!(zones.find(0.0, -180.0), Found::Zone(0));
    // The same meridian.
    assert_eq!(zones.find(0.0, 180.0), Found::Zone(0));
    assert_eq!(zones.find(-90.0, -1.0), Found::Zone(0));
    assert_eq!(zones.find(f64::NAN, 0.0), Found::None);
    assert_eq!(zones.find(0.0, f64::NAN), Found::None);
    assert_eq!(zones.find(90.1, 0.0), Found::Invalid);
    assert_eq!(zones.find(0.0, -180.5), Found::Invalid);
    assert_eq!(zones.find(f64::INFINITY, 0.0), Found::Invalid);
    assert_eq!(Zones::build(&[]).unwrap().find(0.0, 0.0), Found::None);
}

#[test]
fn broken_zones_are_named() {
    let ring = |positions: Value| json!({ "type": "Polygon", "coordinates": [positions] });
    let cases = [
        (
            Value::Null,
            "no geometry; a zone is a Polygon or a MultiPolygon",
        ),
        (
            json!({ "type": "Point", "coordinates": [8, 47] }),
            "a Point is no zone; use a Polygon or a MultiPolygon",
        ),
        (
            json!({ "type": "GeometryCollection", "geometries": [] }),
            "a GeometryCollection is no zone; use a Polygon or a MultiPolygon",
        ),
        (
            json!({ "type": "Polygon" }),
            "the coordinates of a Polygon are lists of rings of positions",
        ),
        (
            json!({ "type": "Polygon", "coordinates": [] }),
            "coordinates: a polygon without rings",
        ),
        (
            json!({ "type": "MultiPolygon", "coordinates": [[1, 2]] }),
            "the coordinates of a MultiPolygon are lists of rings of positions",
        ),
        (
            ring(json!([8, 47])),
            "coordinates[0]: a ring is a list of positions",
        ),
        (
            ring(json!([[0, 0], [1, 0], [0, 0]])),
            "coordinates[0]: a ring has at least 4 positions, found 3",
        ),
        (
            ring(json!([[0, 0], [0, 0], [1, 0], [0, 0]])),
            "coordinates[0]: a ring has at least 3 different positions, found 2",
        ),
        (
            ring(json!([[0, 0], [1, 0], [1, 1], [0, 1]])),
            "coordinates[0]: the ring is not closed: it begins at [0, 0] and ends at [0, 1]",
        ),
        (
            ring(json!([[600000, 200000], [0, 0], [1, 0], [0, 0]])),
            "coordinates[0]: [600000, 200000] is no position in degrees; \
             a longitude within ±180 comes first, then a latitude within ±90",
        ),
        (
            ring(json!([[170, 0], [-170, 0], [-170, 9], [170, 9], [170, 0]])),
            "coordinates[0]: the edge [170, 0] to [-170, 0] spans more than 180 degrees of \
             longitude; cut a zone at the antimeridian into two polygons of a MultiPolygon",
        ),
        (
            ring(json!([[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]])),
            "coordinates: the edge [0, 0] to [2, 2] of ring 0 crosses the edge [0, 2] to [2, 0] \
             of ring 0",
        ),
        (
            polygon(&[&square(0.0, 0.0, 2.0), &square(1.0, 1.0, 2.0)]),
            "coordinates: the edge [0, 2] to [2, 2] of ring 0 crosses the edge [1, 1] to [1, 3] \
             of ring 1",
        ),
        (
            json!({ "type": "MultiPolygon", "coordinates": [
                [[[0, 0], [1, 0], [1, 1], [0, 0]]], [[[0, 0], [1, 0]]],
            ] }),
            "coordinates[1][0]: a ring has at least 4 positions, found 2",
        ),
    ];
    for (geometry, message) in cases {
        let sound = polygon(&[&square(0.0, 0.0, 1.0)]);
        let mut features = features([sound, geometry]);
        let refused = Zones::build(&features).err();
        assert_eq!(refused, Some(format!("features[1]: {message}")));
        let named = json!({ "name": "Depot North" });
        features[1].properties = named.as_object().cloned();
        let refused = Zones::build(&features).err();
        assert_eq!(
            refused,
            Some(format!("features[1] 'Depot North': {message}"))
        );
    }
    let features: Vec<Feature> =
        vec![serde_json::from_value(json!({ "type": "Polygon", "geometry": null })).unwrap()];
    assert_eq!(
        Zones::build(&features).err().as_deref(),
        Some("features[0]: expected a Feature, found a Polygon")
    );
}

/// Directions around a point, so that rings of any multiples of them are stars.
const DIRECTIONS: [(i64, i64); 16] = [
    (1, 0),
    (2, 1),
    (1, 1),
    (1, 2),
    (0, 1),
    (-1, 2),
    (-1, 1),
    (-2, 1),
    (-1, 0),
    (-2, -1),
    (-1, -1),
    (-1, -2),
    (0, -1),
    (1, -2),
    (1, -1),
    (2, -1),
];

/// Whole numbers of quarters of a degree.
const UNIT: f64 = 0.25;

/// A star with a hole that is a star.
#[derive(Debug, Clone)]
struct Star {
    center: (i64, i64),
    shell: Vec<i64>,
    hole: Option<Vec<i64>>,
}

impl Star {
    fn any() -> impl Strategy<Value = Self> {
        let hole = prop::collection::vec(1_i64..3, 16);
        (
            (-25_i64..25, -25_i64..25),
            prop::collection::vec(3_i64..8, 16),
            prop::option::of(hole),
        )
            .prop_map(|(center, shell, hole)| Self {
                center,
                shell,
                hole,
            })
    }

    fn ring(&self, radii: &[i64]) -> Vec<(i64, i64)> {
        let (x, y) = self.center;
        let points = DIRECTIONS.iter().zip(radii);
        points
            .map(|((dx, dy), r)| (x + dx * r, y + dy * r))
            .collect()
    }

    fn rings(&self) -> Vec<Vec<(i64, i64)>> {
        let hole = self.hole.iter().map(|hole| self.ring(hole));
        std::iter::once(self.ring(&self.shell))
            .chain(hole)
            .collect()
    }

    fn geometry(&self) -> Value {
        let rings: Vec<Vec<_>> = self
            .rings()
            .iter()
            .map(|ring| {
                ring.iter()
                    .map(|(x, y)| (*x as f64 * UNIT, *y as f64 * UNIT))
                    .collect()
            })
            .collect();
        polygon(&rings.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    fn has(&self, point: (i64, i64)) -> bool {
        let rings = self.rings();
        let around = |ring: &Vec<(i64, i64)>| winding_number(ring, point) != 0;
        around(&rings[0]) && !rings.get(1).is_some_and(around)
    }
}

/// How often a ring goes around a point, which is first moved right by a little and up by less, so
/// that it is on no edge: what the documents say of borders, in whole numbers.
fn winding_number(ring: &[(i64, i64)], point: (i64, i64)) -> i64 {
    const LARGE: i64 = 1_000_000_000;
    let (px, py) = (point.0 * LARGE + 10_000, point.1 * LARGE + 1);
    let next = ring.iter().cycle().skip(1);
    let mut number = 0;
    for (a, b) in ring.iter().zip(next) {
        let ((ax, ay), (bx, by)) = ((a.0 * LARGE, a.1 * LARGE), (b.0 * LARGE, b.1 * LARGE));
        let left =
            i128::from(bx - ax) * i128::from(py - ay) - i128::from(px - ax) * i128::from(by - ay);
        assert_ne!(left, 0);
        if ay <= py && by > py && left > 0 {
            number += 1;
        }
        if ay > py && by <= py && left < 0 {
            number -= 1;
        }
    }
    number
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn finds_what_winding_numbers_find(stars in prop::collection::vec(Star::any(), 1..12)) {
        let zones = zones(stars.iter().map(Star::geometry));
        for x in -40..40 {
            for y in -40..40 {
                let expected = stars.iter().position(|star| star.has((x, y)));
                let expected = expected.map_or(Found::None, |zone| Found::Zone(zone as u32));
                let found = zones.find(y as f64 * UNIT, x as f64 * UNIT);
                prop_assert_eq!(found, expected, "at {:?}", (x, y));
            }
        }
    }

    #[test]
    fn each_point_of_a_partition_has_one_zone(
        // From a quarter on, a cell may be hollow, and its triangles overlap.
        jitter in prop::collection::vec((-0.24_f64..0.24, -0.24_f64..0.24), 49),
        turned in prop::collection::vec(any::<bool>(), 36),
    ) {
        let corner = |x: usize, y: usize| {
            let (dx, dy) = jitter[y * 7 + x];
            (8.0 + (x as f64 + dx) * 0.01, 47.0 + (y as f64 + dy) * 0.01)
        };
        let mut triangles = Vec::new();
        for x in 0..6 {
            for y in 0..6 {
                let (a, b) = (corner(x, y), corner(x + 1, y));
                let (c, d) = (corner(x + 1, y + 1), corner(x, y + 1));
                triangles.extend(if turned[y * 6 + x] {
                    [[a, b, c], [a, c, d]]
                } else {
                    [[a, b, d], [d, b, c]]
                });
            }
        }
        let together = zones(triangles.iter().map(|triangle| polygon(&[triangle])));
        let alone: Vec<_> = triangles.iter().map(|triangle| zones([polygon(&[triangle])])).collect();
        let within = |(x, y): &(f64, f64)| *x > 8.015 && *x < 8.045 && *y > 47.015 && *y < 47.045;
        let mut points = Vec::new();
        for [a, b, c] in &triangles {
            for (from, to) in [(a, b), (b, c), (c, a)] {
                points.push(*from);
                for t in [0.25, 0.5, 0.7] {
                    let x = from.0 + (to.0 - from.0) * t;
                    let y = from.1 + (to.1 - from.1) * t;
                    points.extend([(x, y), (x.next_up(), y), (x, y.next_down())]);
                }
            }
        }
        points.retain(within);
        prop_assert!(points.len() > 100);
        for (x, y) in points {
            let has = |zones: &Zones| zones.find(y, x) != Found::None;
            let having: Vec<_> = (0..).zip(&alone).filter(|(_, zones)| has(zones)).collect();
            prop_assert_eq!(having.len(), 1, "at {:?}", (x, y));
            prop_assert_eq!(together.find(y, x), Found::Zone(having[0].0));
        }
    }

    /// Many edges in one place, and copies of them, are cut to some depth and then left.
    #[test]
    fn finds_in_crowds_what_the_first_of_them_has(
        star in Star::any(),
        copies in 1_usize..40,
        far in -170.0_f64..-20.0,
    ) {
        let outlier = polygon(&[&square(far, 60.0, 0.5)]);
        let crowd = std::iter::repeat_n(star.geometry(), copies);
        let zones = zones(std::iter::once(outlier).chain(crowd));
        for x in -40..40 {
            for y in -40..40 {
                let expected = if star.has((x, y)) { Found::Zone(1) } else { Found::None };
                prop_assert_eq!(zones.find(y as f64 * UNIT, x as f64 * UNIT), expected);
            }
        }
        prop_assert_eq!(zones.find(60.25, far + 0.25), Found::Zone(0));
    }
}
