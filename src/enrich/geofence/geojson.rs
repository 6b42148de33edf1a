//! GeoJSON ([RFC 7946](https://www.rfc-editor.org/rfc/rfc7946)) as it is written: features with
//! their properties and positions, before anything is known of their shape.
//!
//! `serde_json` reads it into structs of our own: the positions of a feature then take 32 bytes
//! each while the file is read, and a broken one is named by its feature.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::geometry::Point;

/// A file of features.
#[derive(Debug, Deserialize)]
pub(super) struct Collection {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) features: Option<Features>,
}

/// The features of a file, in its order.
#[derive(Debug)]
pub(super) struct Features(pub(super) Vec<Feature>);

/// A feature.
#[derive(Debug, Deserialize)]
pub(super) struct Feature {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) geometry: Option<Geometry>,
    pub(super) properties: Option<Map<String, Value>>,
}

/// A geometry of any type.
#[derive(Debug, Deserialize)]
pub(super) struct Geometry {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) coordinates: Option<Coordinates>,
}

/// Numbers, positions, and lists of either to any depth.
#[derive(Debug, PartialEq)]
pub(super) enum Coordinates {
    Number(f64),
    Position(Point),
    List(Vec<Coordinates>),
}

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Features;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of features")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Features, A::Error> {
                let mut features = Vec::new();
                loop {
                    match items.next_element() {
                        Ok(Some(feature)) => features.push(feature),
                        Ok(None) => return Ok(Features(features)),
                        Err(error) => {
                            let index = features.len();
                            return Err(A::Error::custom(format!("features[{index}]: {error}")));
                        }
                    }
                }
            }
        }
        deserializer.deserialize_seq(InOrder)
    }
}

impl<'de> Deserialize<'de> for Coordinates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Coordinates;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a list")
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Coordinates, E> {
                Ok(Coordinates::Number(value))
            }

            // A degree has no more digits than a float holds.
            fn visit_i64<E: Error>(self, value: i64) -> Result<Coordinates, E> {
                Ok(Coordinates::Number(value as f64))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Coordinates, E> {
                Ok(Coordinates::Number(value as f64))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Coordinates, A::Error> {
                let mut list: Vec<Coordinates> = Vec::new();
                while let Some(item) = items.next_element()? {
                    match (item, list.first()) {
                        (item, None) => list.push(item),
                        (item, Some(first)) if first.is_number() == item.is_number() => {
                            list.push(item);
                        }
                        _ => return Err(A::Error::custom("a list of both numbers and lists")),
                    }
                }
                match list.as_slice() {
                    // What comes third is the altitude.
                    [Coordinates::Number(x), Coordinates::Number(y), ..] => {
                        Ok(Coordinates::Position(Point { x: *x, y: *y }))
                    }
                    [Coordinates::Number(_)] => Err(A::Error::custom(
                        "a position of one number; it has a longitude and a latitude",
                    )),
                    _ => Ok(Coordinates::List(list)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Coordinates, A::Error> {
                Err(A::Error::custom("an object among the coordinates"))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Coordinates {
    fn is_number(&self) -> bool {
        matches!(self, Self::Number(_))
    }

    /// The positions of a ring, the rings of a polygon, the polygons of a geometry.
    pub(super) fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coordinates(text: &str) -> Result<Coordinates, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn coordinates_are_positions_in_lists() {
        let position = |x, y| Coordinates::Position(Point { x, y });
        assert_eq!(
            coordinates("[[[8, 47.5], [-9.25, 1e1, 408.1]], []]"),
            Ok(Coordinates::List(vec![
                Coordinates::List(vec![position(8.0, 47.5), position(-9.25, 10.0)]),
                Coordinates::List(Vec::new()),
            ]))
        );
    }

    #[test]
    fn broken_coordinates_say_what_they_are() {
        for (text, message) in [
            (
                "[[8]]",
                "a position of one number; it has a longitude and a latitude at line 1 column 4",
            ),
            (
                "[[8, [9, 9]]]",
                "a list of both numbers and lists at line 1 column 12",
            ),
            ("[[8, NaN]]", "expected value at line 1 column 6"),
            ("[[8, 1e999]]", "number out of range at line 1 column 10"),
            (
                "[[8, null]]",
                "invalid type: null, expected a number or a list at line 1 column 9",
            ),
            (
                "[[8, \"47\"]]",
                "invalid type: string \"47\", expected a number or a list at line 1 column 9",
            ),
            (
                "[{\"x\": 8}]",
                "an object among the coordinates at line 1 column 2",
            ),
        ] {
            assert_eq!(coordinates(text), Err(message.to_owned()), "{text}");
        }
    }
}
