//! Geofences: the zone of a position, from the polygons of a GeoJSON file.
//!
//! A file becomes a [`Table`](super::table::Table) whose rows are zones, found by position instead of
//! key; it is shared and refreshed as other tables are. `geojson` reads it, `sweep` refuses polygons
//! that cross themselves, `grid` finds the zone of a point, and `lookup` does so for a batch.
//!
//! Zones may overlap: the first one in the file wins. A border between neighbours belongs to the one
//! above or to the right of it, so each point of it has one zone (see `geometry`).

mod cells;
mod file;
mod geojson;
mod geometry;
mod grid;
mod lookup;
mod sweep;
mod zones;

pub(super) use file::read;
pub use lookup::Geofence;
pub(super) use zones::Zones;
