//! What to look for in a message, by the numbers of its fields.
//!
//! A plan is a tree of the messages on the way to what is wanted. What may be found has a mark, which
//! says whether it was found in the record at hand.

use super::value::{ScalarType, Value};
use super::wire::Wire;

/// Field numbers below this are looked up in a table.
const SMALL: u32 = 64;

/// What to look for in a message.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The messages on the way; the first one is the record, or an item of it.
    pub(super) messages: Vec<MessagePlan>,
    pub(super) outputs: Vec<Output>,
    /// How many marks there are.
    pub(super) marks: usize,
}

/// What to look for in a message at one place of the tree.
#[derive(Debug)]
pub(super) struct MessagePlan {
    /// The mark that the message is there.
    pub(super) mark: usize,
    fields: Vec<FieldPlan>,
    /// By number, one more than the place in `fields`.
    small: Vec<u8>,
}

/// What to do with a field.
#[derive(Debug)]
pub(super) struct FieldPlan {
    pub(super) number: u32,
    pub(super) action: Action,
    /// Marks of what is no longer there when this field is: the others of its `oneof`.
    pub(super) clears: Vec<usize>,
    /// The same for the items.
    pub(super) clears_items: bool,
}

/// What a field is.
#[derive(Debug)]
pub(super) enum Action {
    /// A value.
    Scalar { scalar: ScalarType, mark: usize },
    /// A message that goes on at this place of the plan.
    Message { message: usize, wire: Wire },
    /// Pairs of keys and values.
    Map(Vec<MapEntry>),
    /// Values or messages, each of which is an event.
    Items(Item),
    /// Values or messages of which some are wanted by their places.
    Places(Places),
    /// Nothing that is wanted; that it is there matters.
    Noted(Wire),
}

/// Which items of an array are wanted.
#[derive(Debug)]
pub(super) struct Places {
    /// The mark of how many items there were so far.
    pub(super) count: usize,
    pub(super) item: Item,
    /// The places, each with the mark of a value or the place of a message in the plan.
    pub(super) wanted: Vec<(usize, usize)>,
}

/// What to do with a pair of a map.
#[derive(Debug)]
pub(super) struct MapEntry {
    pub(super) key: MapKey,
    /// The pair as a message.
    pub(super) message: usize,
    /// The value, where it is a message, which is there also where it is not written.
    pub(super) value: Option<usize>,
    /// What an earlier pair of this key has given.
    pub(super) clears: Vec<usize>,
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum MapKey {
    Text(Box<str>),
    Other(ScalarType, Value),
}

/// What the items of an array are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Scalar(ScalarType),
    Message(Wire),
}

/// A value that is handed over.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) leaf: usize,
    pub(super) source: Source,
}

/// Where a value comes from.
#[derive(Debug)]
pub(super) enum Source {
    Scalar {
        mark: usize,
        /// The value where the field is not there, but its message is, whose mark this is.
        absent: Option<(usize, Value)>,
        names: Option<EnumNames>,
    },
    /// Seconds and nanoseconds of a message that is there.
    Time {
        message: usize,
        seconds: usize,
        nanos: usize,
        /// A point in time, and no length of time.
        is_instant: bool,
    },
}

/// The names of an enum's values.
#[derive(Debug)]
pub(super) struct EnumNames(Vec<(i32, Box<str>)>);

impl EnumNames {
    /// Of several names of a value the first one holds.
    pub(super) fn new(values: impl Iterator<Item = (i32, Box<str>)>) -> Self {
        let mut names: Vec<_> = values.collect();
        names.sort_by_key(|(number, _)| *number);
        names.dedup_by_key(|(number, _)| *number);
        Self(names)
    }

    pub(super) fn name(&self, number: i64) -> Option<&str> {
        let found = self
            .0
            .binary_search_by_key(&number, |(known, _)| i64::from(*known));
        let (_, name) = self.0.get(found.ok()?)?;
        Some(name)
    }
}

impl Plan {
    pub(super) fn mark(&mut self) -> usize {
        self.marks += 1;
        self.marks - 1
    }

    pub(super) fn message(&mut self) -> usize {
        let mark = self.mark();
        self.messages.push(MessagePlan {
            mark,
            fields: Vec::new(),
            small: Vec::new(),
        });
        self.messages.len() - 1
    }

    /// What is done with a field so far.
    pub(super) fn field(&self, message: usize, number: u32) -> Option<&FieldPlan> {
        let fields = &self.messages.get(message)?.fields;
        fields.iter().find(|field| field.number == number)
    }

    pub(super) fn field_mut(&mut self, message: usize, number: u32) -> Option<&mut FieldPlan> {
        let fields = &mut self.messages.get_mut(message)?.fields;
        fields.iter_mut().find(|field| field.number == number)
    }

    pub(super) fn add_field(&mut self, message: usize, number: u32, action: Action) {
        if let Some(message) = self.messages.get_mut(message) {
            message.fields.push(FieldPlan {
                number,
                action,
                clears: Vec::new(),
                clears_items: false,
            });
        }
    }

    /// The marks of all that is in a field, and whether the items are.
    pub(super) fn marks_of(&self, field: &FieldPlan) -> (Vec<usize>, bool) {
        match &field.action {
            Action::Scalar { mark, .. } => (vec![*mark], false),
            Action::Message { message, .. } => self.marks_in(*message),
            Action::Map(entries) => {
                let all = entries.iter().map(|entry| self.marks_in(entry.message).0);
                (all.flatten().collect(), false)
            }
            Action::Items(_) => (Vec::new(), true),
            Action::Places(places) => {
                let items = places.wanted.iter();
                let marks = items.flat_map(|(_, item)| match places.item {
                    Item::Scalar(_) => vec![*item],
                    Item::Message(_) => self.marks_in(*item).0,
                });
                (marks.chain([places.count]).collect(), false)
            }
            Action::Noted(_) => (Vec::new(), false),
        }
    }

    /// The marks of all that is in a message, and whether the items are.
    pub(super) fn marks_in(&self, message: usize) -> (Vec<usize>, bool) {
        let Some(message) = self.messages.get(message) else {
            return (Vec::new(), false);
        };
        let (mut marks, mut has_items) = (vec![message.mark], false);
        for field in &message.fields {
            let (below, items) = self.marks_of(field);
            marks.extend(below);
            has_items |= items;
        }
        (marks, has_items)
    }

    /// Completes the tables and what a pair of a map clears. Nothing is added any more.
    pub(super) fn finish(&mut self) {
        let marks: Vec<_> = (0..self.messages.len())
            .map(|message| self.marks_in(message).0)
            .collect();
        for message in &mut self.messages {
            for field in &mut message.fields {
                if let Action::Map(entries) = &mut field.action {
                    for entry in entries {
                        entry.clears = marks.get(entry.message).cloned().unwrap_or_default();
                    }
                }
            }
            message.finish();
        }
    }
}

impl MessagePlan {
    fn finish(&mut self) {
        self.fields.sort_by_key(|field| field.number);
        self.small = vec![0; SMALL as usize];
        // What finds no room in the table is found by its order.
        let small = self.fields.iter().take_while(|field| field.number < SMALL);
        for (field, place) in small.zip(1_u8..) {
            if let Some(entry) = self.small.get_mut(field.number as usize) {
                *entry = place;
            }
        }
    }

    /// What to do with the field of a number.
    #[inline]
    pub(super) fn field(&self, number: u32) -> Option<&FieldPlan> {
        if let Some(place) = self.small.get(number as usize) {
            return self.fields.get(usize::from(*place).checked_sub(1)?);
        }
        let found = self
            .fields
            .binary_search_by_key(&number, |field| field.number);
        self.fields.get(found.ok()?)
    }
}
