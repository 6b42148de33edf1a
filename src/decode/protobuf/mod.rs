//! Protocol buffers: a message a record, read by the numbers of the fields that are wanted.
//!
//! What a message consists of is known when the pipeline file is loaded, from `.proto` files or a descriptor
//! set. From it and the paths of the fields a [`Plan`] is made, and records are walked by it alone: no message
//! is ever built, and a field that nobody wants is passed over.

mod compile;
mod levels;
mod message_type;
mod plan;
mod value;
mod walk;
mod wire;

pub use self::message_type::MessageType;

pub(super) use self::message_type::Described;

use self::compile::Compiler;
use self::plan::{Plan, Source};
use self::value::Value;
use self::walk::{Found, FoundItem, Walk};
use self::wire::Cursor;
use super::events::{Events, Refusal};
use super::format::Payload;
use super::plan::{Leaves as _, Scalar, Wanted};

/// Reads messages.
#[derive(Debug)]
pub(super) struct ProtobufReader {
    /// The record; the items of an array in it, where items are the events; items of these, and so on.
    levels: Vec<Part>,
}

/// A plan, and what was found by it.
#[derive(Debug)]
struct Part {
    plan: Plan,
    found: Found,
}

impl ProtobufReader {
    /// The reader that finds the wanted values; `explode` are the keys of an array, of which each item is an
    /// event.
    ///
    /// # Errors
    /// A path that leads to no value.
    pub(super) fn new(
        message_type: &MessageType,
        wanted: &[Wanted],
        explode: Option<Vec<String>>,
    ) -> Result<Self, String> {
        let mut levels = message_type.levels(explode.as_deref())?;
        for Wanted { keys, leaf } in wanted {
            levels.add(keys, *leaf)?;
        }
        Ok(Self {
            levels: levels.finish().map(Part::new).collect(),
        })
    }

    /// Hands over the events of a record.
    ///
    /// # Errors
    /// The record is broken as a whole.
    pub(super) fn read(
        &mut self,
        payload: &Payload<'_>,
        events: &mut Events<'_>,
    ) -> Result<(), Refusal> {
        if let Some(record) = self.levels.first_mut() {
            record.walk(Cursor::new(payload.bytes))?;
        }
        if let [record] = self.levels.as_slice() {
            record.hand_over(payload, events)?;
            return events.end();
        }
        read_items(&mut self.levels, 1, payload, events)
    }
}

/// Hands over the events of a message or item that was walked, whose items are those of a level; where there is
/// no such level, it is an event.
fn read_items(
    levels: &mut [Part],
    level: usize,
    payload: &Payload<'_>,
    events: &mut Events<'_>,
) -> Result<(), Refusal> {
    if level >= levels.len() {
        levels
            .iter()
            .try_for_each(|part| part.hand_over(payload, events))?;
        return events.end();
    }
    let items = levels.get_mut(level - 1);
    let items = items.map_or_else(Vec::new, |part| part.found.take_items());
    let read = items.iter().try_for_each(|found| {
        if let Some(item) = levels.get_mut(level) {
            item.begin(found, payload)?;
        }
        read_items(levels, level + 1, payload, events)
    });
    if let Some(part) = levels.get_mut(level - 1) {
        part.found.put_back(items);
    }
    read
}

impl Part {
    fn new(plan: Plan) -> Self {
        let found = Found::new(&plan);
        Self { plan, found }
    }

    /// The next one is an item.
    fn begin(&mut self, item: &FoundItem, payload: &Payload<'_>) -> Result<(), Refusal> {
        match *item {
            FoundItem::Message(place) => self.walk(place.cursor(payload.bytes)),
            FoundItem::Scalar(value) => {
                self.found.begin();
                self.found.set(Compiler::ITEM_MARK, value);
                Ok(())
            }
        }
    }

    #[inline]
    fn walk(&mut self, cursor: Cursor<'_>) -> Result<(), Refusal> {
        self.found.begin();
        let mut walk = Walk {
            plan: &self.plan,
            found: &mut self.found,
        };
        walk.message(0, cursor)
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "called in two places, and a tenth of reading a message as a call"
    )]
    fn hand_over(&self, payload: &Payload<'_>, events: &mut Events<'_>) -> Result<(), Refusal> {
        for output in &self.plan.outputs {
            match &output.source {
                Source::Scalar {
                    mark,
                    absent,
                    names,
                } => {
                    let default = || {
                        let (message, value) = (*absent)?;
                        self.found.has(message).then_some(value)
                    };
                    let value = self.found.value(*mark).or_else(default);
                    let Some(value) = value else { continue };
                    if let (Value::Integer(number), Some(names)) = (value, names)
                        && events.wants_text(output.leaf)
                        && let Some(name) = names.name(number)
                    {
                        events.take(output.leaf, &Scalar::Text(name.into()));
                        continue;
                    }
                    hand_over(output.leaf, value, payload, events)?;
                }
                Source::Time {
                    message,
                    seconds,
                    nanos,
                    is_instant,
                } if self.found.has(*message) => {
                    let integer = |mark| match self.found.value(mark) {
                        Some(Value::Integer(number)) => number,
                        _ => 0,
                    };
                    let (seconds, nanos) = (integer(*seconds), integer(*nanos));
                    if *is_instant {
                        events.take_instant(output.leaf, seconds, nanos);
                    } else {
                        let length = seconds as f64 + nanos as f64 / 1e9;
                        events.take(output.leaf, &Scalar::Number(length));
                    }
                }
                Source::Time { .. } => {}
            }
        }
        Ok(())
    }
}

/// Hands over a value.
///
/// # Errors
/// A text is not UTF-8.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "called, the value goes through memory"
)]
fn hand_over(
    leaf: usize,
    value: Value,
    payload: &Payload<'_>,
    events: &mut Events<'_>,
) -> Result<(), Refusal> {
    match value {
        Value::Integer(number) => events.take_integer(leaf, number),
        Value::Unsigned(number) => hand_over_unsigned(number, leaf, events),
        Value::Number(number) => events.take_number(leaf, number),
        Value::Boolean(value) => events.take(leaf, &Scalar::Boolean(value)),
        Value::Text(place) => events.take_utf8(leaf, place.of_record(payload.bytes))?,
        Value::Bytes(place) => match std::str::from_utf8(place.of_record(payload.bytes)) {
            Ok(text) => events.take(leaf, &Scalar::Text(text.into())),
            Err(_) => events.take(leaf, &Scalar::Composite),
        },
    }
    Ok(())
}

/// Apart, for it is rare, and what makes its text would be in the way of all others.
#[cold]
fn hand_over_unsigned(number: u64, leaf: usize, events: &mut Events<'_>) {
    if events.wants_text(leaf) {
        events.take(leaf, &Scalar::Text(number.to_string().into()));
    } else {
        events.take_number(leaf, number as f64);
    }
}
