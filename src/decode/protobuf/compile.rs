//! From the descriptors of messages to a plan. Here all names are looked up, and never again.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::plan::{Action, EnumNames, Item, MapEntry, MapKey, Output, Places, Plan, Source};
use super::value::{ScalarType, Value, unsigned};
use super::wire::Wire;
use crate::decode::plan::place;
use crate::decode::purpose::ValueKind;
use crate::model::suggest;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) kind: ValueKind,
    /// The name of its type.
    pub(super) type_name: String,
}

/// Where a step on the way to items leads.
pub(super) enum Step {
    /// To a message at this place of the plan.
    Message(usize),
    /// To an array, whose items have a plan of their own.
    Items(FieldDescriptor),
    /// To neither: no further.
    Other,
}

/// Makes a plan.
#[derive(Debug)]
pub(super) struct Compiler {
    plan: Plan,
    /// What is at each message's place of the plan; nothing where the items are no messages.
    descriptors: Vec<Option<MessageDescriptor>>,
}

impl Compiler {
    /// A plan for a message, which looks for nothing yet.
    pub(super) fn of_message(descriptor: &MessageDescriptor) -> Self {
        let mut compiler = Self {
            plan: Plan::default(),
            descriptors: Vec::new(),
        };
        compiler.message(Some(descriptor));
        compiler
    }

    /// A plan for an item of an array.
    pub(super) fn of_item(field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(descriptor) => Self::of_message(&descriptor),
            _ => {
                let mut compiler = Self {
                    plan: Plan::default(),
                    descriptors: Vec::new(),
                };
                compiler.message(None);
                // The item itself has the mark behind that of the place.
                compiler.plan.mark();
                compiler
            }
        }
    }

    /// The mark of an item that is no message.
    pub(super) const ITEM_MARK: usize = 1;

    fn message(&mut self, descriptor: Option<&MessageDescriptor>) -> usize {
        self.descriptors.push(descriptor.cloned());
        self.plan.message()
    }

    fn descriptor(&self, message: usize) -> Option<MessageDescriptor> {
        self.descriptors.get(message)?.clone()
    }

    /// Adds a path within the record, for a leaf.
    ///
    /// # Errors
    /// It leads nowhere, or to no single value.
    pub(super) fn add(&mut self, keys: &[String], leaf: usize) -> Result<Target, String> {
        self.add_below(0, keys, leaf)
    }

    /// Adds the rest of a path within an item of an array; of no keys, the item itself.
    pub(super) fn add_item(
        &mut self,
        field: &FieldDescriptor,
        keys: &[String],
        leaf: usize,
    ) -> Result<Target, String> {
        match (ScalarType::of(&field.kind()), keys) {
            (None, keys) => self.add_below(0, keys, leaf),
            (Some(scalar), []) => {
                self.output(leaf, Self::ITEM_MARK, None, &field.kind());
                Ok(target(scalar, &field.kind()))
            }
            (Some(_), _) => Err(no_fields(field)),
        }
    }

    fn add_below(
        &mut self,
        message: usize,
        keys: &[String],
        leaf: usize,
    ) -> Result<Target, String> {
        let Some(descriptor) = self.descriptor(message) else {
            return Err("an item that is no message has no fields".to_owned());
        };
        let Some((key, rest)) = keys.split_first() else {
            return self.add_whole(message, &descriptor, leaf);
        };
        let field = field_of(&descriptor, key)?;
        if field.is_map() {
            let Some((key, rest)) = rest.split_first() else {
                return Err(format!("'{key}' is a map; name a key of it: {key}.KEY"));
            };
            let pair = self.pair(message, &field, key)?;
            let value: Vec<_> = std::iter::once("value".to_owned())
                .chain(rest.iter().cloned())
                .collect();
            return self.add_below(pair, &value, leaf);
        }
        if field.is_list() {
            let item = rest.split_first();
            let Some((place, rest)) = item.and_then(|(item, rest)| Some((place(item)?, rest)))
            else {
                return Err(format!(
                    "'{key}' is repeated; name the place of an item, from 0: {key}.0, or read all with 'explode'"
                ));
            };
            let item = self.item(message, &field, place);
            return match ScalarType::of(&field.kind()) {
                None => self.add_below(item, rest, leaf),
                Some(scalar) if rest.is_empty() => {
                    self.output(leaf, item, None, &field.kind());
                    Ok(target(scalar, &field.kind()))
                }
                Some(_) => Err(no_fields(&field)),
            };
        }
        let Some(scalar) = ScalarType::of(&field.kind()) else {
            let below = self.inner(message, &field);
            return self.add_below(below, rest, leaf);
        };
        if !rest.is_empty() {
            return Err(no_fields(&field));
        }
        let mark = self.scalar(message, &field, scalar);
        // The fields of a pair have defaults, whatever the syntax of the file.
        let is_told = field.supports_presence() && !descriptor.is_map_entry();
        let absent = self.plan.messages.get(message).filter(|_| !is_told);
        let absent = absent.map(|message| (message.mark, scalar.default_value()));
        self.output(leaf, mark, absent, &field.kind());
        Ok(target(scalar, &field.kind()))
    }

    /// A message that is a value as a whole.
    fn add_whole(
        &mut self,
        message: usize,
        descriptor: &MessageDescriptor,
        leaf: usize,
    ) -> Result<Target, String> {
        let name = descriptor.full_name();
        let kind = match name {
            "google.protobuf.Timestamp" => ValueKind::Instant,
            "google.protobuf.Duration" => ValueKind::Duration,
            "google.protobuf.DoubleValue"
            | "google.protobuf.FloatValue"
            | "google.protobuf.Int64Value"
            | "google.protobuf.UInt64Value"
            | "google.protobuf.Int32Value"
            | "google.protobuf.UInt32Value"
            | "google.protobuf.BoolValue"
            | "google.protobuf.StringValue"
            | "google.protobuf.BytesValue" => {
                return self.add_below(message, &["value".to_owned()], leaf);
            }
            _ => {
                let fields: Vec<_> = descriptor.fields().collect();
                let names: Vec<_> = fields.iter().map(FieldDescriptor::name).collect();
                let names = names.join(", ");
                return Err(format!(
                    "a whole message is no value; name a field of {name}: {names}"
                ));
            }
        };
        let mut marks = [0; 2];
        for (mark, name) in marks.iter_mut().zip(["seconds", "nanos"]) {
            let field = field_of(descriptor, name)?;
            let scalar = ScalarType::of(&field.kind());
            let scalar = scalar.ok_or_else(|| format!("'{name}' of {descriptor:?} is odd"))?;
            *mark = self.scalar(message, &field, scalar);
        }
        let [seconds, nanos] = marks;
        let mark = self.plan.messages.get(message).map(|message| message.mark);
        self.plan.outputs.push(Output {
            leaf,
            source: Source::Time {
                message: mark.unwrap_or_default(),
                seconds,
                nanos,
                is_instant: kind == ValueKind::Instant,
            },
        });
        Ok(Target {
            kind,
            type_name: name.to_owned(),
        })
    }

    /// Goes from a message to one of its fields, which is on the way to items or is their array.
    ///
    /// # Errors
    /// There is no such field.
    pub(super) fn step_to_items(&mut self, message: usize, key: &str) -> Result<Step, String> {
        let descriptor = self.descriptor(message);
        let descriptor = descriptor.ok_or_else(|| format!("'{key}' is below no message"))?;
        let field = field_of(&descriptor, key)?;
        let scalar = ScalarType::of(&field.kind());
        if !field.is_list() {
            return Ok(match field.is_map() || scalar.is_some() {
                true => Step::Other,
                false => Step::Message(self.inner(message, &field)),
            });
        }
        let item = match scalar {
            Some(scalar) => Item::Scalar(scalar),
            None => Item::Message(message_wire(&field)),
        };
        let action = Action::Items(item);
        self.plan.add_field(message, field.number(), action);
        Ok(Step::Items(field))
    }

    /// The item of an array at a place: its mark, or its place in the plan where it is a message.
    fn item(&mut self, message: usize, field: &FieldDescriptor, place: usize) -> usize {
        let known = self.plan.field(message, field.number());
        if let Some(Action::Places(places)) = known.map(|known| &known.action)
            && let Some((_, item)) = places.wanted.iter().find(|(known, _)| *known == place)
        {
            return *item;
        }
        let is_known = known.is_some();
        let (item, index) = match ScalarType::of(&field.kind()) {
            Some(scalar) => (Item::Scalar(scalar), self.plan.mark()),
            None => {
                let index = self.message(field.kind().as_message());
                (Item::Message(message_wire(field)), index)
            }
        };
        if !is_known {
            let places = Places {
                count: self.plan.mark(),
                item,
                wanted: Vec::new(),
            };
            let action = Action::Places(places);
            self.plan.add_field(message, field.number(), action);
        }
        let known = self.plan.field_mut(message, field.number());
        if let Some(Action::Places(places)) = known.map(|known| &mut known.action) {
            places.wanted.push((place, index));
        }
        index
    }

    /// The place of a pair of a map.
    fn pair(
        &mut self,
        message: usize,
        field: &FieldDescriptor,
        key: &str,
    ) -> Result<usize, String> {
        let Kind::Message(descriptor) = field.kind() else {
            return Err(no_fields(field));
        };
        let key = map_key(&descriptor.map_entry_key_field(), key)?;
        if let Some(field) = self.plan.field(message, field.number())
            && let Action::Map(entries) = &field.action
            && let Some(entry) = entries.iter().find(|entry| entry.key == key)
        {
            return Ok(entry.message);
        }
        let pair = self.message(Some(&descriptor));
        let value = descriptor.map_entry_value_field();
        let value = match value.kind() {
            Kind::Message(_) => Some(self.inner(pair, &value)),
            _ => None,
        };
        let entry = MapEntry {
            key,
            message: pair,
            value,
            clears: Vec::new(),
        };
        match self.plan.field_mut(message, field.number()) {
            Some(known) => {
                if let Action::Map(entries) = &mut known.action {
                    entries.push(entry);
                }
            }
            None => {
                let action = Action::Map(vec![entry]);
                self.plan.add_field(message, field.number(), action);
            }
        }
        Ok(pair)
    }

    /// The place of a message in a field.
    fn inner(&mut self, message: usize, field: &FieldDescriptor) -> usize {
        if let Some(known) = self.plan.field(message, field.number())
            && let Action::Message { message, .. } = known.action
        {
            return message;
        }
        let below = self.message(field.kind().as_message());
        let action = Action::Message {
            message: below,
            wire: message_wire(field),
        };
        self.plan.add_field(message, field.number(), action);
        below
    }

    /// The mark of a field that is a value.
    fn scalar(&mut self, message: usize, field: &FieldDescriptor, scalar: ScalarType) -> usize {
        if let Some(known) = self.plan.field(message, field.number())
            && let Action::Scalar { mark, .. } = known.action
        {
            return mark;
        }
        let mark = self.plan.mark();
        let action = Action::Scalar { scalar, mark };
        self.plan.add_field(message, field.number(), action);
        mark
    }

    fn output(&mut self, leaf: usize, mark: usize, absent: Option<(usize, Value)>, kind: &Kind) {
        let names = kind.as_enum().map(|values| {
            // As they stand in the file: of several names of a number the first one holds.
            let values = values.enum_descriptor_proto().value.iter();
            EnumNames::new(values.map(|value| (value.number(), value.name().into())))
        });
        let source = Source::Scalar {
            mark,
            absent,
            names,
        };
        self.plan.outputs.push(Output { leaf, source });
    }

    /// The plan, in which the fields of a `oneof` make way for each other.
    pub(super) fn finish(mut self) -> Plan {
        for message in 0..self.descriptors.len() {
            let Some(descriptor) = self.descriptor(message) else {
                continue;
            };
            for oneof in descriptor.oneofs().filter(|oneof| !oneof.is_synthetic()) {
                let members: Vec<_> = oneof.fields().collect();
                let planned = |plan: &Plan, member: &FieldDescriptor| {
                    plan.field(message, member.number()).is_some()
                };
                if !members.iter().any(|member| planned(&self.plan, member)) {
                    continue;
                }
                for member in &members {
                    if !planned(&self.plan, member) {
                        let wire = ScalarType::of(&member.kind())
                            .map_or_else(|| message_wire(member), ScalarType::wire);
                        let action = Action::Noted(wire);
                        self.plan.add_field(message, member.number(), action);
                    }
                }
                for member in &members {
                    let (mut clears, mut clears_items) = (Vec::new(), false);
                    for other in &members {
                        let other = self.plan.field(message, other.number());
                        if let Some(other) = other.filter(|other| other.number != member.number()) {
                            let (marks, has_items) = self.plan.marks_of(other);
                            clears.extend(marks);
                            clears_items |= has_items;
                        }
                    }
                    if let Some(field) = self.plan.field_mut(message, member.number()) {
                        field.clears = clears;
                        field.clears_items = clears_items;
                    }
                }
            }
        }
        self.plan.finish();
        self.plan
    }
}

fn message_wire(field: &FieldDescriptor) -> Wire {
    if field.is_group() {
        return Wire::Group;
    }
    Wire::Delimited
}

fn target(scalar: ScalarType, kind: &Kind) -> Target {
    Target {
        kind: match scalar {
            ScalarType::Double | ScalarType::Float => ValueKind::Float,
            ScalarType::Bool => ValueKind::Boolean,
            ScalarType::String | ScalarType::Bytes => ValueKind::Text,
            ScalarType::Enum => ValueKind::NumberedName,
            _ => ValueKind::Integer,
        },
        type_name: type_name(kind),
    }
}

/// As it stands in a .proto file.
fn type_name(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(values) => values.full_name().to_owned(),
        Kind::Double => "double".to_owned(),
        Kind::Float => "float".to_owned(),
        Kind::Int32 => "int32".to_owned(),
        Kind::Int64 => "int64".to_owned(),
        Kind::Uint32 => "uint32".to_owned(),
        Kind::Uint64 => "uint64".to_owned(),
        Kind::Sint32 => "sint32".to_owned(),
        Kind::Sint64 => "sint64".to_owned(),
        Kind::Fixed32 => "fixed32".to_owned(),
        Kind::Fixed64 => "fixed64".to_owned(),
        Kind::Sfixed32 => "sfixed32".to_owned(),
        Kind::Sfixed64 => "sfixed64".to_owned(),
        Kind::Bool => "bool".to_owned(),
        Kind::String => "string".to_owned(),
        Kind::Bytes => "bytes".to_owned(),
    }
}

fn no_fields(field: &FieldDescriptor) -> String {
    let type_name = type_name(&field.kind());
    format!("'{}' is a {type_name}, which has no fields", field.name())
}

/// The field of a name, which is that of the .proto file.
fn field_of(descriptor: &MessageDescriptor, name: &str) -> Result<FieldDescriptor, String> {
    if let Some(field) = descriptor.get_field_by_name(name) {
        return Ok(field);
    }
    let fields: Vec<_> = descriptor.fields().collect();
    let names: Vec<_> = fields.iter().map(FieldDescriptor::name).collect();
    let hint = match suggest(name, names.iter().copied()) {
        _ if names.is_empty() => "it has none".to_owned(),
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("its fields are {}", names.join(", ")),
    };
    let message = descriptor.full_name();
    Err(format!("{message} has no field '{name}'; {hint}"))
}

/// A key of a map as it stands in a path.
fn map_key(field: &FieldDescriptor, text: &str) -> Result<MapKey, String> {
    let integer = |scalar, value: Option<i64>| Some((scalar, Value::Integer(value?)));
    let key = match ScalarType::of(&field.kind()) {
        None | Some(ScalarType::String) => return Ok(MapKey::Text(text.into())),
        Some(scalar) => match scalar {
            ScalarType::Bool => text
                .parse()
                .ok()
                .map(|value| (scalar, Value::Boolean(value))),
            ScalarType::Int64 | ScalarType::Sint64 | ScalarType::Sfixed64 => {
                integer(scalar, text.parse().ok())
            }
            ScalarType::Uint64 | ScalarType::Fixed64 => {
                text.parse().ok().map(|value| (scalar, unsigned(value)))
            }
            ScalarType::Uint32 | ScalarType::Fixed32 => {
                integer(scalar, text.parse::<u32>().ok().map(i64::from))
            }
            _ => integer(scalar, text.parse::<i32>().ok().map(i64::from)),
        },
    };
    let (scalar, value) = key.ok_or_else(|| {
        let type_name = type_name(&field.kind());
        format!("'{text}' is no key of the map, whose keys are {type_name}")
    })?;
    Ok(MapKey::Other(scalar, value))
}
