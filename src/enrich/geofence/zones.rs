//! The zones of a GeoJSON file: their borders, checked and indexed.

use super::geojson::{Coordinates, Feature, Geometry};
use super::geometry::{Edge, Point};
use super::grid::{Area, Index};
use super::sweep;

/// What was looked for a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::enrich) enum Found {
    /// The first zone in the file that has it.
    Zone(u32),
    /// No zone has it, or it is NULL.
    None,
    /// It is no place: a latitude beyond ±90° or a longitude beyond ±180°.
    Invalid,
}

/// Zones by position.
#[derive(Debug)]
pub(in crate::enrich) struct Zones {
    index: Index,
    count: usize,
}

impl Zones {
    /// The zones of features, numbered as they are.
    ///
    /// # Errors
    /// Which feature is no zone, and why.
    pub(super) fn build(features: &[Feature]) -> Result<Self, String> {
        let mut areas = Vec::new();
        let mut edges = Vec::new();
        for (feature, zone) in features.iter().zip(0_u32..) {
            add_areas(feature, zone, &mut areas, &mut edges)
                .map_err(|reason| format!("features[{zone}]{}: {reason}", name(feature)))?;
        }
        Ok(Self {
            index: Index::build(&areas, edges),
            count: features.len(),
        })
    }

    /// The zone of a position in degrees.
    #[inline]
    pub(in crate::enrich) fn find(&self, latitude: f64, longitude: f64) -> Found {
        if latitude.is_nan() || longitude.is_nan() {
            return Found::None;
        }
        if latitude.abs() > 90.0 || longitude.abs() > 180.0 {
            return Found::Invalid;
        }
        // One meridian has two names; borders begin in the west.
        let longitude = if longitude == 180.0 {
            -180.0
        } else {
            longitude
        };
        let point = Point {
            x: longitude,
            y: latitude,
        };
        self.index.find(point).map_or(Found::None, Found::Zone)
    }

    /// How many zones there are.
    pub(in crate::enrich) fn count(&self) -> usize {
        self.count
    }

    /// How many bytes the index takes.
    pub(in crate::enrich) fn byte_len(&self) -> usize {
        self.index.byte_len()
    }
}

/// A feature's name for messages, where it has one.
pub(super) fn name(feature: &Feature) -> String {
    let name = feature
        .properties
        .as_ref()
        .and_then(|properties| properties.get("name")?.as_str());
    name.map(|name| format!(" '{name}'")).unwrap_or_default()
}

fn add_areas(
    feature: &Feature,
    zone: u32,
    areas: &mut Vec<Area>,
    edges: &mut Vec<Edge>,
) -> Result<(), String> {
    if feature.kind != "Feature" {
        return Err(format!("expected a Feature, found a {}", feature.kind));
    }
    let Some(Geometry { kind, coordinates }) = &feature.geometry else {
        return Err("no geometry; a zone is a Polygon or a MultiPolygon".to_owned());
    };
    let list = coordinates.as_ref().and_then(Coordinates::list);
    let is_multiple = match kind.as_str() {
        "Polygon" => false,
        "MultiPolygon" => true,
        _ => {
            return Err(format!(
                "a {kind} is no zone; use a Polygon or a MultiPolygon"
            ));
        }
    };
    let no_rings = || format!("the coordinates of a {kind} are lists of rings of positions");
    let list = list.ok_or_else(no_rings)?;
    if !is_multiple {
        return add_polygon(list, "coordinates", zone, areas, edges);
    }
    for (number, polygon) in list.iter().enumerate() {
        let rings = polygon.list().ok_or_else(no_rings)?;
        add_polygon(rings, &format!("coordinates[{number}]"), zone, areas, edges)?;
    }
    Ok(())
}

/// Adds the edges of a polygon. Messages name its place in the feature.
fn add_polygon(
    rings: &[Coordinates],
    place: &str,
    zone: u32,
    areas: &mut Vec<Area>,
    edges: &mut Vec<Edge>,
) -> Result<(), String> {
    let mut of_rings = Vec::new();
    for (coordinates, ring) in rings.iter().zip(0_u32..) {
        let added =
            ring_edges(coordinates).map_err(|reason| format!("{place}[{ring}]: {reason}"))?;
        of_rings.extend(added.into_iter().map(|edge| (ring, edge)));
    }
    if of_rings.is_empty() {
        return Err(format!("{place}: a polygon without rings"));
    }
    sweep::check(of_rings.iter().copied()).map_err(|fault| format!("{place}: {fault}"))?;
    let count = |edges: &[Edge]| {
        u32::try_from(edges.len()).map_err(|_| "more edges than can be numbered".to_owned())
    };
    let start = count(edges)?;
    edges.extend(of_rings.into_iter().map(|(_, edge)| edge));
    areas.push(Area {
        zone,
        edges: start..count(edges)?,
    });
    Ok(())
}

/// The edges of a ring. A position that is repeated at once makes no edge.
fn ring_edges(coordinates: &Coordinates) -> Result<Vec<Edge>, String> {
    let list = coordinates.list().ok_or("a ring is a list of positions")?;
    let mut points = Vec::with_capacity(list.len());
    for position in list {
        let Coordinates::Position(Point { x, y }) = position else {
            return Err("a ring is a list of positions".to_owned());
        };
        // What is no degree is most often another projection.
        if x.abs() > 180.0 || y.abs() > 90.0 {
            return Err(format!(
                "[{x}, {y}] is no position in degrees; \
                 a longitude within ±180 comes first, then a latitude within ±90"
            ));
        }
        // There are two zeros; one is enough.
        points.push(Point {
            x: x + 0.0,
            y: y + 0.0,
        });
    }
    if points.len() < 4 {
        return Err(format!(
            "a ring has at least 4 positions, found {}",
            points.len()
        ));
    }
    if let (Some(first), Some(last)) = (points.first(), points.last())
        && first != last
    {
        return Err(format!(
            "the ring is not closed: it begins at {first} and ends at {last}"
        ));
    }
    let mut edges = Vec::with_capacity(points.len());
    for (from, to) in points.iter().zip(points.iter().skip(1)) {
        if (from.x - to.x).abs() > 180.0 {
            return Err(format!(
                "the edge {from} to {to} spans more than 180 degrees of longitude; \
                 cut a zone at the antimeridian into two polygons of a MultiPolygon"
            ));
        }
        edges.extend(Edge::between(*from, *to));
    }
    if edges.len() < 3 {
        return Err(format!(
            "a ring has at least 3 different positions, found {}",
            edges.len()
        ));
    }
    Ok(edges)
}

#[cfg(test)]
mod tests;
