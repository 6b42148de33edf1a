//! One walk over a message, in which only the planned fields are looked at.
//!
//! A field that stands there twice gives its last value; two occurrences of a message are one, with the fields of
//! both, as the specification says.

use super::super::events::{MAX_EVENTS, Refusal};
use super::super::metrics::Reason;
use super::plan::{Action, FieldPlan, Item, MapEntry, MapKey, Places, Plan};
use super::value::{Place, Value};
use super::wire::{Cursor, Wire};

/// What was found in a message.
#[derive(Debug)]
pub(super) struct Found {
    /// The number of the message at hand: a mark with this number was found in it.
    message: u32,
    marks: Vec<Mark>,
    items: Vec<FoundItem>,
}

/// What was found of one thing that is looked for.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// The message in which it was found last; 0 is none.
    message: u32,
    value: Value,
}

/// An item of an array.
#[derive(Debug, Clone, Copy)]
pub(super) enum FoundItem {
    Scalar(Value),
    Message(Place),
}

impl Found {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            message: 0,
            marks: vec![
                Mark {
                    message: 0,
                    value: Value::Boolean(false),
                };
                plan.marks
            ],
            items: Vec::new(),
        }
    }

    /// Nothing of the next message has been found yet.
    pub(super) fn begin(&mut self) {
        self.items.clear();
        self.message = self.message.wrapping_add(1);
        if self.message == 0 {
            self.marks.iter_mut().for_each(|mark| mark.message = 0);
            self.message = 1;
        }
    }

    pub(super) fn has(&self, mark: usize) -> bool {
        let found = self.marks.get(mark);
        found.is_some_and(|found| found.message == self.message)
    }

    pub(super) fn value(&self, mark: usize) -> Option<Value> {
        let found = self.marks.get(mark)?;
        (found.message == self.message).then_some(found.value)
    }

    /// The items, which are given back with [`put_back`](Self::put_back).
    pub(super) fn take_items(&mut self) -> Vec<FoundItem> {
        std::mem::take(&mut self.items)
    }

    pub(super) fn put_back(&mut self, items: Vec<FoundItem>) {
        self.items = items;
    }

    fn set_mark(&mut self, mark: usize) {
        if let Some(found) = self.marks.get_mut(mark) {
            found.message = self.message;
        }
    }

    pub(super) fn set(&mut self, mark: usize, value: Value) {
        if let Some(found) = self.marks.get_mut(mark) {
            *found = Mark {
                message: self.message,
                value,
            };
        }
    }

    fn clear(&mut self, marks: &[usize]) {
        for mark in marks {
            if let Some(found) = self.marks.get_mut(*mark) {
                found.message = 0;
            }
        }
    }

    fn push(&mut self, item: FoundItem) -> Result<(), Refusal> {
        if self.items.len() == MAX_EVENTS {
            let detail = format!("more than {MAX_EVENTS}");
            return Err((Reason::TooManyEvents, detail));
        }
        self.items.push(item);
        Ok(())
    }
}

/// Walks messages by a plan.
pub(super) struct Walk<'p> {
    pub(super) plan: &'p Plan,
    pub(super) found: &'p mut Found,
}

impl Walk<'_> {
    /// Finds what is planned in a message at a place of the plan. How deep it goes is bounded by the plan.
    ///
    /// # Errors
    /// The message is broken, or has too many items.
    pub(super) fn message(
        &mut self,
        message: usize,
        mut cursor: Cursor<'_>,
    ) -> Result<(), Refusal> {
        let Some(plan) = self.plan.messages.get(message) else {
            return Ok(());
        };
        self.found.set_mark(plan.mark);
        while !cursor.is_empty() {
            let (number, wire) = cursor.tag()?;
            match plan.field(number) {
                None => cursor.skip(number, wire)?,
                Some(field) => match &field.action {
                    Action::Scalar { scalar, mark } if scalar.wire() == wire => {
                        let value = scalar.read(&mut cursor)?;
                        self.make_way(field);
                        self.found.set(*mark, value);
                    }
                    _ => self.field(field, wire, &mut cursor)?,
                },
            }
        }
        Ok(())
    }

    /// What is no scalar, apart from those, which are most: among all these their branch is not foreseen. A field
    /// that is written in another way than its type is, is an unknown field.
    #[inline(never)]
    fn field(
        &mut self,
        field: &FieldPlan,
        wire: Wire,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Refusal> {
        match &field.action {
            Action::Message {
                message,
                wire: expected,
            } if *expected == wire => {
                let inner = inner(field.number, wire, cursor)?;
                self.make_way(field);
                self.message(*message, inner)?;
            }
            Action::Map(entries) if wire == Wire::Delimited => {
                self.pair(entries, cursor.delimited()?)?;
            }
            Action::Items(Item::Message(expected)) if *expected == wire => {
                let inner = inner(field.number, wire, cursor)?;
                self.found.push(FoundItem::Message(Place::of(&inner)))?;
            }
            Action::Items(Item::Scalar(scalar)) if scalar.wire() == wire => {
                let value = scalar.read(cursor)?;
                self.found.push(FoundItem::Scalar(value))?;
            }
            Action::Items(Item::Scalar(scalar)) if wire == Wire::Delimited => {
                let mut packed = cursor.delimited()?;
                while !packed.is_empty() {
                    let value = scalar.read(&mut packed)?;
                    self.found.push(FoundItem::Scalar(value))?;
                }
            }
            Action::Places(places) => self.places(places, field.number, wire, cursor)?,
            Action::Noted(expected) if *expected == wire => {
                cursor.skip(field.number, wire)?;
                self.make_way(field);
            }
            _ => cursor.skip(field.number, wire)?,
        }
        Ok(())
    }

    /// Some items of an array: one, or several that are packed.
    fn places(
        &mut self,
        places: &Places,
        number: u32,
        wire: Wire,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Refusal> {
        match places.item {
            Item::Message(expected) if expected == wire => {
                let inner = inner(number, wire, cursor)?;
                if let Some(message) = self.next_item(places) {
                    self.message(message, inner)?;
                }
            }
            Item::Scalar(scalar) if scalar.wire() == wire => match self.next_item(places) {
                Some(mark) => self.found.set(mark, scalar.read(cursor)?),
                None => cursor.skip(number, wire)?,
            },
            Item::Scalar(scalar) if wire == Wire::Delimited => {
                let mut packed = cursor.delimited()?;
                while !packed.is_empty() {
                    let value = scalar.read(&mut packed)?;
                    if let Some(mark) = self.next_item(places) {
                        self.found.set(mark, value);
                    }
                }
            }
            _ => cursor.skip(number, wire)?,
        }
        Ok(())
    }

    /// Counts the next item of an array, and gives what it is where it is wanted.
    fn next_item(&mut self, places: &Places) -> Option<usize> {
        let place = match self.found.value(places.count) {
            Some(Value::Integer(place)) => place,
            _ => 0,
        };
        self.found.set(places.count, Value::Integer(place + 1));
        let mut wanted = places.wanted.iter();
        let found = wanted.find(|(wanted, _)| usize::try_from(place) == Ok(*wanted));
        found.map(|(_, item)| *item)
    }

    /// Of a `oneof` only the last field is there.
    #[inline]
    fn make_way(&mut self, field: &FieldPlan) {
        self.found.clear(&field.clears);
        if field.clears_items {
            self.found.items.clear();
        }
    }

    /// A pair of a map. The last one of a key holds.
    fn pair(&mut self, entries: &[MapEntry], pair: Cursor<'_>) -> Result<(), Refusal> {
        for entry in entries {
            if !entry.key.stands_in(pair)? {
                continue;
            }
            self.found.clear(&entry.clears);
            self.message(entry.message, pair)?;
            let value = entry.value.and_then(|value| self.plan.messages.get(value));
            if let Some(value) = value {
                self.found.set_mark(value.mark);
            }
        }
        Ok(())
    }
}

/// What is in a field that is a message.
fn inner<'b>(number: u32, wire: Wire, cursor: &mut Cursor<'b>) -> Result<Cursor<'b>, Refusal> {
    match wire {
        Wire::Group => cursor.group(number),
        _ => cursor.delimited(),
    }
}

impl MapKey {
    /// Whether this is the key of a pair. One that is not written is the default of its type.
    fn stands_in(&self, mut pair: Cursor<'_>) -> Result<bool, Refusal> {
        let (mut is_key, expected) = match self {
            Self::Text(text) => (text.is_empty(), Wire::Delimited),
            Self::Other(scalar, value) => (*value == scalar.default_value(), scalar.wire()),
        };
        while !pair.is_empty() {
            let (number, wire) = pair.tag()?;
            match self {
                _ if number != 1 || wire != expected => pair.skip(number, wire)?,
                Self::Text(text) => is_key = pair.delimited()?.bytes() == text.as_bytes(),
                Self::Other(scalar, value) => is_key = scalar.read(&mut pair)? == *value,
            }
        }
        Ok(is_key)
    }
}
