//! Avro beside JSON: whatever the schema, the same data give the same events.

use apache_avro::Schema;
use apache_avro::types::Value as Datum;
use fastrand::Rng;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::avro::{bare, encoded, some};
use super::{Decoded, Fixture};

/// A schema, without the names of its types.
#[derive(Debug, Clone)]
enum Shape {
    Simple(&'static str),
    Fixed(usize),
    Enum,
    Array(Box<Shape>),
    Map(Box<Shape>),
    Optional(Box<Shape>),
    Record(Vec<Shape>),
}

const NAMES: [&str; 4] = ["a", "b", "c", "id"];

fn shapes() -> impl Strategy<Value = Shape> {
    let simple = [
        "null", "boolean", "int", "long", "float", "double", "bytes", "string",
    ];
    let leaf = prop_oneof![
        6 => proptest::sample::select(simple.to_vec()).prop_map(Shape::Simple),
        1 => (0..4_usize).prop_map(Shape::Fixed),
        1 => Just(Shape::Enum),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|shape| Shape::Array(Box::new(shape))),
            inner.clone().prop_map(|shape| Shape::Map(Box::new(shape))),
            inner.clone().prop_map(|shape| match shape {
                Shape::Simple("null") | Shape::Optional(_) => shape,
                shape => Shape::Optional(Box::new(shape)),
            }),
            proptest::collection::vec(inner, 0..=4).prop_map(Shape::Record),
        ]
    })
}

fn schema_of(shape: &Shape, types: &mut usize) -> Value {
    *types += 1;
    let name = format!("n{types}");
    match shape {
        Shape::Simple(name) => json!(name),
        Shape::Fixed(size) => json!({"type": "fixed", "name": name, "size": size}),
        Shape::Enum => json!({"type": "enum", "name": name, "symbols": ["A", "B", "C"]}),
        Shape::Array(items) => json!({"type": "array", "items": schema_of(items, types)}),
        Shape::Map(values) => json!({"type": "map", "values": schema_of(values, types)}),
        Shape::Optional(shape) => json!(["null", schema_of(shape, types)]),
        Shape::Record(fields) => {
            let fields = NAMES.iter().zip(fields);
            let fields: Vec<_> = fields
                .map(|(name, shape)| json!({"name": name, "type": schema_of(shape, types)}))
                .collect();
            json!({"type": "record", "name": name, "fields": fields})
        }
    }
}

/// A value of a schema, and the same in JSON.
fn any_value(shape: &Shape, random: &mut Rng) -> (Datum, Value) {
    match shape {
        Shape::Simple("null") => (Datum::Null, Value::Null),
        Shape::Simple("boolean") => {
            let value = random.bool();
            (Datum::Boolean(value), json!(value))
        }
        Shape::Simple("int") => {
            let value = random.i32(..) >> random.u32(0..32);
            (Datum::Int(value), json!(value))
        }
        Shape::Simple("long") => {
            let value = random.i64(..) >> random.u32(0..64);
            (Datum::Long(value), json!(value))
        }
        // Whole numbers would be whole numbers in JSON, and these are texts as well.
        Shape::Simple("float") => {
            let value = random.i16(..) as f32 + 0.125;
            (Datum::Float(value), json!(f64::from(value)))
        }
        Shape::Simple("double") => {
            let value = random.i32(..) as f64 + 0.1;
            (Datum::Double(value), json!(value))
        }
        Shape::Simple("bytes") => (Datum::Bytes(vec![7; random.usize(0..4)]), json!([])),
        Shape::Simple(_) => {
            let value = "x\u{20ac}\"y\\".repeat(random.usize(0..4));
            (Datum::String(value.clone()), json!(value))
        }
        Shape::Fixed(size) => (Datum::Fixed(*size, vec![1; *size]), json!([])),
        Shape::Enum => {
            let index = random.usize(0..3);
            let symbol = ["A", "B", "C"][index].to_owned();
            (Datum::Enum(index as u32, symbol.clone()), json!(symbol))
        }
        Shape::Array(items) => {
            let items: Vec<_> = (0..random.usize(0..4))
                .map(|_| any_value(items, random))
                .collect();
            let (data, values): (Vec<_>, Vec<_>) = items.into_iter().unzip();
            (Datum::Array(data), json!(values))
        }
        Shape::Map(values) => {
            let mut all = Vec::new();
            for name in NAMES {
                if random.bool() {
                    let (datum, value) = any_value(values, random);
                    all.push(((name.to_owned(), datum), (name.to_owned(), value)));
                }
            }
            let (data, values): (_, serde_json::Map<_, _>) = all.into_iter().unzip();
            (Datum::Map(data), Value::Object(values))
        }
        Shape::Optional(shape) => match random.bool() {
            true => (some(0, Datum::Null), Value::Null),
            false => {
                let (datum, value) = any_value(shape, random);
                (some(1, datum), value)
            }
        },
        Shape::Record(fields) => {
            let mut data = Vec::new();
            let mut values = serde_json::Map::new();
            for (name, shape) in NAMES.iter().zip(fields) {
                let (datum, value) = any_value(shape, random);
                data.push(((*name).to_owned(), datum));
                values.insert((*name).to_owned(), value);
            }
            (Datum::Record(data), Value::Object(values))
        }
    }
}

fn records_of(shape: &Shape, seed: u64) -> (Value, Vec<Vec<u8>>, Vec<String>) {
    let schema = schema_of(shape, &mut 0);
    let mut random = Rng::with_seed(seed);
    let values: Vec<_> = (0..3).map(|_| any_value(shape, &mut random)).collect();
    let (data, values): (Vec<_>, Vec<_>) = values.into_iter().unzip();
    let parsed = Schema::parse_str(&schema.to_string()).unwrap();
    let data = data.into_iter().map(|datum| encoded(&parsed, datum));
    (
        schema,
        data.collect(),
        values.iter().map(Value::to_string).collect(),
    )
}

fn decoded(mut fixture: Fixture, records: &[Vec<u8>]) -> Decoded {
    let records: Vec<_> = records.iter().map(Vec::as_slice).collect();
    fixture.decode(&records)
}

const ANY_EVENT: &str = r#"{"time": {"from": "@timestamp"}, "fields": {
    "a": "number", "b": "text", "c": "boolean", "ab": {"from": "a.b", "type": "text"},
    "aa": {"from": "a.a", "type": "number"}, "bc": {"from": "b.c", "type": "number"},
    "aid": {"from": "a.id.a", "type": "text"}, "caab": {"from": "c.a.a.b", "type": "number"}}}"#;

const ITEM_EVENT: &str = r#"{"time": {"from": "@timestamp"}, "fields": {
    "b": "text", "ab": {"from": "a.b", "type": "text"}, "aa": {"from": "a.a", "type": "number"}, "item": {"from": "a", "type": "number"}}}"#;

const NESTED_EVENT: &str = r#"{"time": {"from": "@timestamp"}, "fields": {
    "b": "text", "ab": {"from": "a.b", "type": "text"}, "ac": {"from": "a.c.a", "type": "number"},
    "aab": {"from": "a.a.b", "type": "text"}, "aaa": {"from": "a.a.a", "type": "number"}}}"#;

/// What stands on the way to the array `a.a`, in several ways.
fn way(items: Shape, other: Shape, kind: usize) -> Shape {
    let array = |shape| Shape::Array(Box::new(shape));
    let optional = |shape| Shape::Optional(Box::new(shape));
    let items = array(items);
    let group = |items| Shape::Record(vec![items, other.clone(), other.clone()]);
    match kind {
        0 => group(items),
        1 => array(group(items)),
        2 => optional(array(optional(group(optional(items))))),
        3 => array(array(group(items))),
        _ => array(Shape::Map(Box::new(items))),
    }
}

proptest! {
    #[test]
    fn gives_what_the_same_in_json_gives(
        fields in proptest::collection::vec(shapes(), 1..=4), items in shapes(), other in shapes(), seed in any::<u64>(),
    ) {
        let (schema, data, texts) = records_of(&Shape::Record(fields), seed);
        let texts: Vec<_> = texts.into_iter().map(String::into_bytes).collect();
        let of_json = decoded(Fixture::new(r#""json""#, ANY_EVENT), &texts);
        let of_avro = decoded(bare(&schema, None, ANY_EVENT), &data);
        prop_assert_eq!(of_json, of_avro);

        let items = Shape::Record(vec![Shape::Array(Box::new(items)), other]);
        let (schema, data, texts) = records_of(&items, seed);
        let texts: Vec<_> = texts.into_iter().map(String::into_bytes).collect();
        let of_json = decoded(Fixture::new(r#"{"format": "json", "explode": "a"}"#, ITEM_EVENT), &texts);
        let of_avro = decoded(bare(&schema, Some("a"), ITEM_EVENT), &data);
        prop_assert_eq!(of_json, of_avro);
    }

    #[test]
    fn goes_through_arrays_as_in_json(
        items in shapes(), other in shapes(), kind in 0..5_usize, seed in any::<u64>(),
    ) {
        let (schema, data, texts) =
            records_of(&Shape::Record(vec![way(items, other.clone(), kind), other]), seed);
        let texts: Vec<_> = texts.into_iter().map(String::into_bytes).collect();
        let of_json = decoded(Fixture::new(r#"{"format": "json", "explode": "a.a"}"#, NESTED_EVENT), &texts);
        let of_avro = decoded(bare(&schema, Some("a.a"), NESTED_EVENT), &data);
        prop_assert_eq!(of_json, of_avro);
    }

    #[test]
    fn cut_off_flipped_and_arbitrary_bytes_are_survived(
        fields in proptest::collection::vec(shapes(), 1..=4), seed in any::<u64>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        arbitrary in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let shape = Shape::Record(fields);
        let (schema, data, _) = records_of(&shape, seed);
        let whole = &data[0];
        let mut flipped = whole.clone();
        for (place, byte) in flips {
            if !flipped.is_empty() {
                let place = place.index(flipped.len());
                flipped[place] = byte;
            }
        }
        let mut fixture = bare(&schema, None, ANY_EVENT);
        for end in 0..whole.len() {
            let decoded = fixture.decode(&[&whole[..end]]);
            prop_assert_eq!(decoded.refused.len(), 1, "{}", end);
        }
        fixture.decode(&[&flipped, &arbitrary]);
        // As the items of an array, with which the same bytes mean something else.
        let items = Shape::Record(vec![Shape::Array(Box::new(shape))]);
        let (schema, _, _) = records_of(&items, seed);
        bare(&schema, Some("a"), ITEM_EVENT).decode(&[&flipped, &arbitrary]);
    }
}
