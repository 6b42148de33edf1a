//! A table of zones from a GeoJSON file.

use std::collections::BTreeSet;
use std::io::Read;

use serde_json::{Map, Value};

use super::geojson::{Collection, Feature};
use super::zones::{self, Zones};
use crate::enrich::cell::Cell;
use crate::enrich::config::LookupConfig;
use crate::enrich::error::LoadError;
use crate::enrich::json_path::JsonPath;
use crate::enrich::table::{Table, TableColumn};
use crate::model::Interner;

/// Reads the zones of a lookup. `path` names the file in messages.
pub(in crate::enrich) fn read(
    config: &LookupConfig,
    path: &str,
    mut input: impl Read,
) -> Result<Table, LoadError> {
    let refuse = |reason: String| LoadError::Content {
        path: path.to_owned(),
        reason,
    };
    let mut bytes = Vec::new();
    input
        .read_to_end(&mut bytes)
        .map_err(|error| LoadError::read(path, &error))?;
    let Collection { kind, features } =
        serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
    drop(bytes);
    if kind != "FeatureCollection" {
        return Err(refuse(format!(
            "expected a FeatureCollection, found a {kind}"
        )));
    }
    let features = features
        .ok_or_else(|| refuse("a FeatureCollection without features".to_owned()))?
        .0;
    let zones = Zones::build(&features).map_err(refuse)?;
    let mut texts = Interner::new();
    let mut columns = Vec::new();
    for added in &config.add {
        let mut column = TableColumn::new(added.data_type());
        let property = JsonPath::new(added.column());
        let mut is_known = features.is_empty();
        for (index, feature) in features.iter().enumerate() {
            let object = feature.properties.as_ref();
            let value = object.and_then(|object| property.find(object));
            is_known |= value.is_some();
            let cell = Cell::Json(value.unwrap_or(&Value::Null));
            cell.push(&mut column, &mut texts).map_err(|expected| {
                refuse(format!(
                    "features[{index}]{}: property '{}': expected a {expected}, found {cell}",
                    zones::name(feature),
                    added.column(),
                ))
            })?;
        }
        if !is_known {
            return Err(LoadError::Property {
                path: path.to_owned(),
                property: added.column().to_owned(),
                found: names(&features),
            });
        }
        column.shrink();
        columns.push(column);
    }
    Ok(Table {
        keys: Interner::new(),
        texts,
        columns,
        validity: None,
        zones: Some(zones),
    })
}

/// The names of all properties, for a message.
fn names(features: &[Feature]) -> String {
    let properties = features
        .iter()
        .filter_map(|feature| feature.properties.as_ref());
    let names: BTreeSet<_> = properties.flat_map(Map::keys).map(String::as_str).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let config = serde_json::from_str(
            r#"{"lookup": "zones", "position": {"latitude": "lat", "longitude": "lon"},
                "from": {"geojson": "z.geojson"},
                "add": ["zone", {"column": "limit.speed", "as": "limit", "type": "number"},
                    {"column": "tolls", "type": "boolean"}]}"#,
        );
        let error = read(&config.unwrap(), "z.geojson", text.as_bytes()).unwrap_err();
        error.to_string()
    }

    /// A file of one zone with these properties.
    fn with(properties: &str) -> String {
        format!(
            r#"{{"type": "FeatureCollection", "features": [
            {{"type": "Feature", "properties": {properties}, "geometry": {{"type": "Polygon",
              "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}}}}]}}"#
        )
    }

    #[test]
    fn broken_files_say_where() {
        for (text, message) in [
            (
                "",
                "z.geojson: EOF while parsing a value at line 1 column 0",
            ),
            (
                r#"{"type": "Feature", "geometry": null}"#,
                "z.geojson: expected a FeatureCollection, found a Feature",
            ),
            (
                r#"{"type": "FeatureCollection"}"#,
                "z.geojson: a FeatureCollection without features",
            ),
            (
                "{\"type\": \"FeatureCollection\", \"features\": [\n\
                 {\"type\": \"Feature\", \"geometry\": {\"type\": \"Point\", \"coordinates\": [8]}}]}",
                "z.geojson: features[0]: a position of one number; it has a longitude and a latitude \
                 at line 2 column 68",
            ),
        ] {
            assert_eq!(refused(text), message);
        }
    }

    #[test]
    fn properties_have_their_types() {
        for (properties, message) in [
            (
                r#"{"zone": 7, "limit": {"speed": "30"}, "tolls": true}"#,
                "features[0]: property 'limit.speed': expected a number, found \"30\"",
            ),
            (
                r#"{"name": "A", "zone": ["a"], "limit": {"speed": 30}, "tolls": true}"#,
                "features[0] 'A': property 'zone': expected a text, found [\"a\"]",
            ),
            (
                r#"{"zone": "a", "limit": {"speed": 30}, "tolls": 1}"#,
                "features[0]: property 'tolls': expected a boolean (true or false), found 1",
            ),
            (
                r#"{"zone": "a", "limit": 30, "tolls": true}"#,
                "no zone has a property 'limit.speed'; the properties are limit, tolls, zone",
            ),
            ("null", "no zone has a property 'zone'; the properties are "),
        ] {
            assert_eq!(refused(&with(properties)), format!("z.geojson: {message}"));
        }
    }

    #[test]
    fn numbers_are_texts_where_texts_are_wanted() {
        let config = serde_json::from_str(
            r#"{"lookup": "zones", "from": {"geojson": "z.geojson"}, "add": ["zone"]}"#,
        );
        let text = with(r#"{"zone": 7}"#);
        let table = read(&config.unwrap(), "z.geojson", text.as_bytes()).unwrap();
        let TableColumn::Text(symbols) = &table.columns[0] else {
            panic!("no texts")
        };
        assert_eq!(table.texts.text(symbols[0]), "7");
        assert_eq!(table.rows(), 1);
    }
}
