//! Random messages of random types give the columns that the library prost-reflect finds in them.

use std::fmt::Write as _;

use proptest::prelude::*;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage as _, Value,
};

use super::Fixture;
use super::protobuf::varint;

/// How many messages there are; each may have fields of those behind it, and of itself.
const MESSAGES: usize = 3;
const TYPES: [&str; 17] = [
    "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32",
    "fixed64", "sfixed32", "sfixed64", "bool", "string", "bytes", "E", "M",
];

/// A source of small numbers, from a seed.
struct Dice(fastrand::Rng);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0.usize(..limit)
    }
}

/// The source of a file with messages `M0` to `M2`.
fn proto_file(dice: &mut Dice) -> String {
    let mut source = "syntax = \"proto3\";\nenum E { E0 = 0; E1 = 1; EM = -2; }\n".to_owned();
    for message in 0..MESSAGES {
        writeln!(source, "message M{message} {{").unwrap();
        let mut number = 1;
        let mut choice = String::new();
        for field in 0..dice.below(8) + 2 {
            number += 1 + dice.below(3) * dice.below(40);
            let mut type_name = TYPES[dice.below(TYPES.len())].to_owned();
            if type_name == "M" {
                type_name = format!("M{}", message + dice.below(MESSAGES - message));
            }
            let line = match dice.below(6) {
                0 => format!("optional {type_name} f{field} = {number};"),
                1 => format!("repeated {type_name} f{field} = {number};"),
                2 => {
                    let key = ["string", "int32", "bool"][dice.below(3)];
                    format!("map<{key}, {type_name}> f{field} = {number};")
                }
                3 | 4 => {
                    writeln!(choice, "{type_name} f{field} = {number};").unwrap();
                    continue;
                }
                _ => format!("{type_name} f{field} = {number};"),
            };
            writeln!(source, "{line}").unwrap();
        }
        if !choice.is_empty() {
            writeln!(source, "oneof choice {{ {choice} }}").unwrap();
        }
        writeln!(source, "}}").unwrap();
    }
    source
}

/// Random bytes of a message: fields of it in any order and number, and others.
fn wire(descriptor: &MessageDescriptor, depth: usize, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    let fields: Vec<_> = descriptor.fields().collect();
    if depth > 4 || fields.is_empty() {
        return bytes;
    }
    for _ in 0..dice.below(2 * fields.len() + 2) {
        if dice.below(8) == 0 {
            bytes.extend([varint(5_000 << 3), varint(dice.0.u64(..))].concat());
            continue;
        }
        let field = &fields[dice.below(fields.len())];
        if field.is_packed() && dice.below(2) == 0 {
            let values: Vec<u8> = (0..dice.below(3))
                .flat_map(|_| value(field, depth, dice).1)
                .collect();
            bytes.extend(varint(u64::from(field.number()) << 3 | 2));
            bytes.extend(varint(values.len() as u64));
            bytes.extend(values);
            continue;
        }
        let (wire_type, value) = value(field, depth, dice);
        bytes.extend(varint(u64::from(field.number()) << 3 | wire_type));
        bytes.extend(value);
    }
    bytes
}

/// A random value of a field with the number of its wire type.
fn value(field: &FieldDescriptor, depth: usize, dice: &mut Dice) -> (u64, Vec<u8>) {
    let with_length = |bytes: Vec<u8>| [varint(bytes.len() as u64), bytes].concat();
    match field.kind() {
        Kind::Double => {
            let value = [0.0, -1.5, f64::NAN, f64::INFINITY, 1e300][dice.below(5)];
            (1, value.to_le_bytes().to_vec())
        }
        Kind::Float => (
            5,
            [0.0_f32, 2.25, -1e30][dice.below(3)].to_le_bytes().to_vec(),
        ),
        Kind::Fixed64 | Kind::Sfixed64 => (1, dice.0.u64(..).to_le_bytes().to_vec()),
        Kind::Fixed32 | Kind::Sfixed32 => (5, dice.0.u32(..).to_le_bytes().to_vec()),
        Kind::String | Kind::Bytes => {
            let text = [
                "",
                "a",
                "b",
                "true",
                "long enough to be read from its place",
            ][dice.below(5)];
            (2, with_length(text.as_bytes().to_vec()))
        }
        Kind::Message(inner) => (2, with_length(wire(&inner, depth + 1, dice))),
        Kind::Enum(_) => (0, varint([0, 1, -2_i64 as u64, 7][dice.below(4)])),
        _ => {
            let shift = dice.below(64);
            (0, varint(dice.0.u64(..) >> shift))
        }
    }
}

/// Every path of a message that leads to a single value, with the type that a field of it has.
fn paths(
    descriptor: &MessageDescriptor,
    before: &str,
    depth: usize,
    found: &mut Vec<(String, &'static str)>,
) {
    for field in descriptor.fields() {
        let name = format!("{before}{}", field.name());
        if field.is_map() {
            let Kind::Message(pair) = field.kind() else {
                continue;
            };
            let keys: &[&str] = match pair.map_entry_key_field().kind() {
                Kind::String => &["a", "true"],
                Kind::Bool => &["true", "false"],
                _ => &["0", "1"],
            };
            let value = pair.map_entry_value_field();
            for key in keys {
                add(&value, format!("{name}.{key}"), depth, found);
            }
        } else if field.is_list() {
            for place in [0, 2] {
                add(&field, format!("{name}.{place}"), depth, found);
            }
        } else {
            add(&field, name, depth, found);
        }
    }
}

fn add(
    field: &FieldDescriptor,
    path: String,
    depth: usize,
    found: &mut Vec<(String, &'static str)>,
) {
    let data_type = match field.kind() {
        Kind::Message(inner) if depth < 3 => {
            return paths(&inner, &format!("{path}."), depth + 1, found);
        }
        Kind::Message(_) => return,
        Kind::Bool => "boolean",
        Kind::String | Kind::Bytes | Kind::Enum(_) => "text",
        _ => "number",
    };
    found.push((path, data_type));
}

/// What the library has at a path, as a cell is shown.
fn expected(message: &DynamicMessage, keys: &[&str]) -> String {
    let Some((key, mut rest)) = keys.split_first() else {
        return "-".to_owned();
    };
    let field = message.descriptor().get_field_by_name(key).unwrap();
    let is_told = field.supports_presence() || field.is_map() || field.is_list();
    if is_told && !message.has_field(&field) {
        return "-".to_owned();
    }
    let value = message.get_field(&field);
    let mut kind = field.kind();
    let mut value = value.as_ref();
    if let Value::List(items) = value {
        let (place, behind) = rest.split_first().unwrap();
        rest = behind;
        match items.get(place.parse::<usize>().unwrap()) {
            Some(item) => value = item,
            None => return "-".to_owned(),
        }
    }
    if let Value::Map(pairs) = value {
        let (key, behind) = rest.split_first().unwrap();
        rest = behind;
        let Kind::Message(pair) = field.kind() else {
            return "no map".to_owned();
        };
        kind = pair.map_entry_value_field().kind();
        let key = match pair.map_entry_key_field().kind() {
            Kind::String => MapKey::String((*key).to_owned()),
            Kind::Bool => MapKey::Bool(*key == "true"),
            _ => MapKey::I32(key.parse().unwrap()),
        };
        match pairs.get(&key) {
            Some(found) => value = found,
            None => return "-".to_owned(),
        }
    }
    let number = |number: f64| {
        if number.is_finite() {
            number.to_string()
        } else {
            "-".to_owned()
        }
    };
    match value {
        Value::Message(inner) => expected(inner, rest),
        Value::Bool(value) => value.to_string(),
        Value::I32(value) => number(f64::from(*value)),
        Value::I64(value) => number(*value as f64),
        Value::U32(value) => number(f64::from(*value)),
        Value::U64(value) => number(*value as f64),
        Value::F32(value) => number(f64::from(*value)),
        Value::F64(value) => number(*value),
        Value::String(text) => text.clone(),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Value::EnumNumber(number) => {
            let name = kind.as_enum().and_then(|values| values.get_value(*number));
            name.map_or_else(|| number.to_string(), |value| value.name().to_owned())
        }
        other => format!("{other:?}"),
    }
}

/// The set of descriptors of a file.
fn compile(folder: &std::path::Path, source: &str) -> DescriptorPool {
    std::fs::write(folder.join("random.proto"), source).unwrap();
    let set = protox::compile(["random.proto"], [folder])
        .unwrap_or_else(|error| panic!("{error:?}\n{source}"));
    DescriptorPool::from_file_descriptor_set(set).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn random_messages_of_random_types_give_the_same_columns(seed in any::<u64>()) {
        let mut dice = Dice(fastrand::Rng::with_seed(seed));
        let source = proto_file(&mut dice);
        let folder = tempfile::tempdir().unwrap();
        let descriptor = compile(folder.path(), &source).get_message_by_name("M0").unwrap();
        let mut all = Vec::new();
        paths(&descriptor, "", 0, &mut all);
        all.retain(|_| dice.below(4) > 0);
        all.truncate(60);
        if all.is_empty() {
            return Ok(());
        }
        let fields: Vec<_> = all.iter().enumerate().map(|(index, (path, data_type))| {
            format!(r#""c{index}": {{"from": "{path}", "type": "{data_type}"}}"#)
        }).collect();
        let config = format!(r#"{{"time": {{"from": "@timestamp"}}, "fields": {{{}}}}}"#, fields.join(","));
        let format = format!(
            r#"{{"format": "protobuf", "message": "M0", "files": ["{}"]}}"#,
            folder.path().join("random.proto").display()
        );
        let records: Vec<_> = (0..20).map(|_| wire(&descriptor, 0, &mut dice)).collect();
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let decoded = Fixture::new(&format, &config).decode(&records);
        prop_assert_eq!(decoded.refused, Vec::<String>::new(), "{}", source);
        for ((_, _, cells), record) in decoded.rows.iter().zip(&records) {
            let message = DynamicMessage::decode(descriptor.clone(), *record).unwrap();
            for (cell, (path, _)) in cells.iter().zip(&all) {
                let keys: Vec<_> = path.split('.').collect();
                prop_assert_eq!(cell, &expected(&message, &keys), "{} of {:?}\n{}\n{:?}", path, record, source, message);
            }
        }
    }
}
