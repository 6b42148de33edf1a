//! What is done with each part of the data of a schema, worked out once: taken, or passed over.

use std::collections::{BTreeMap, VecDeque};

use super::super::config::TimeUnit;
use super::super::explode::Way;
use super::super::plan::{EntryPlan, place};
use super::schema::{AvroSchema, Node, RecordField};

/// How data of one schema is walked.
#[derive(Debug)]
pub(super) struct Plan {
    steps: Vec<Step>,
}

/// What is done with a value.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) kind: Kind,
    /// The leaves that take it. A value that nobody takes is passed over.
    pub(super) leaves: Box<[usize]>,
}

/// How a value is written, and what is done with its parts.
#[derive(Debug)]
pub(super) enum Kind {
    /// No bytes.
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Decimal {
        size: Option<usize>,
        scale: u32,
    },
    Uuid,
    Date,
    Timestamp(TimeUnit),
    Enum(Vec<Box<str>>),
    Array {
        /// What is done with an item.
        item: usize,
        /// Items that are looked for, with their places.
        places: Vec<(usize, usize)>,
        /// Whether an item has no bytes.
        is_empty: bool,
    },
    /// The array whose items are events.
    Items {
        item: usize,
        is_empty: bool,
    },
    Map {
        /// What is done with a value.
        value: usize,
        /// Values that are looked for, with their keys.
        keys: Vec<(Box<str>, usize)>,
    },
    Union(Vec<usize>),
    Record(Vec<Part>),
    /// A record or map on the way to the items.
    OnTheWay {
        object: Box<Kind>,
        /// What is done with what is further on the way.
        below: usize,
    },
    /// An array on the way to the items.
    Through {
        item: usize,
        is_empty: bool,
    },
    /// Where the way ends without an array, and how that is passed over.
    NoArray(usize),
}

/// A part of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// So many bytes that nobody takes.
    Skip(usize),
    /// So many numbers of variable length that nobody takes.
    SkipNumbers(usize),
    /// A value that is walked.
    Step(usize),
    /// A value that is walked more than once: it is wanted by its name and by an alias.
    Again(Box<[usize]>),
}

/// What is wanted of a value.
#[derive(Debug, Clone, Copy)]
enum Want<'w> {
    Nothing,
    Entry(&'w EntryPlan),
    /// What is wanted along a way, of which so many keys are behind.
    Way(&'w Way, usize),
}

/// A step by the number of its node and where what is wanted of it lies in memory.
type Key = (usize, usize, usize);

impl Plan {
    /// The plan that takes what an entry wants.
    pub(super) fn of(schema: &AvroSchema, entry: &EntryPlan) -> Self {
        Compiler::new(schema).compile(Want::Entry(entry))
    }

    /// The plan that takes what is wanted along a way.
    pub(super) fn of_way(schema: &AvroSchema, way: &Way) -> Self {
        Compiler::new(schema).compile(Want::Way(way, 0))
    }

    /// A step; the first one is the whole.
    #[inline]
    pub(super) fn step(&self, index: usize) -> Option<&Step> {
        self.steps.get(index)
    }
}

/// Makes a plan. Steps that are alike are one: however a schema holds itself, there are no more steps
/// than it has types, times what is wanted.
struct Compiler<'s, 'w> {
    schema: &'s AvroSchema,
    /// The types without any bytes, by the numbers of their nodes.
    empty: Vec<bool>,
    known: BTreeMap<Key, usize>,
    /// What is to be made yet: a schema's types may be nested deeper than a stack.
    due: VecDeque<(usize, Want<'w>)>,
}

impl<'s, 'w> Compiler<'s, 'w> {
    fn new(schema: &'s AvroSchema) -> Self {
        Self {
            schema,
            empty: empty_nodes(&schema.nodes),
            known: BTreeMap::new(),
            due: VecDeque::new(),
        }
    }

    fn compile(mut self, want: Want<'w>) -> Plan {
        let mut steps = Vec::new();
        self.step(self.schema.root, want);
        while let Some((node, want)) = self.due.pop_front() {
            let step = self.make(node, want);
            steps.push(step);
        }
        Plan { steps }
    }

    /// The number of a step, which is made when it is its turn.
    fn step(&mut self, node: usize, want: Want<'w>) -> usize {
        let (what, left) = match want {
            Want::Nothing => (0, 0),
            Want::Entry(entry) => (std::ptr::from_ref(entry).addr(), 0),
            Want::Way(way, behind) => (std::ptr::from_ref(way).addr(), behind + 1),
        };
        let next = self.known.len();
        *self.known.entry((node, what, left)).or_insert_with(|| {
            self.due.push_back((node, want));
            next
        })
    }

    fn is_empty(&self, node: usize) -> bool {
        self.empty.get(node).copied().unwrap_or_default()
    }

    fn make(&mut self, node: usize, want: Want<'w>) -> Step {
        let kind = match want {
            Want::Way(way, behind) => self.on_the_way(node, way, behind),
            _ => self.kind(node, want),
        };
        let leaves = match want {
            // Of a union, the branch takes it.
            Want::Entry(entry) if !matches!(kind, Kind::Union(_)) => entry.leaves.as_slice(),
            _ => &[],
        };
        Step {
            kind,
            leaves: leaves.into(),
        }
    }

    fn kind(&mut self, node: usize, want: Want<'w>) -> Kind {
        let schema = self.schema;
        match schema.nodes.get(node) {
            None | Some(Node::Null) => Kind::Null,
            Some(Node::Boolean) => Kind::Boolean,
            Some(Node::Int) => Kind::Int,
            Some(Node::Long) => Kind::Long,
            Some(Node::Float) => Kind::Float,
            Some(Node::Double) => Kind::Double,
            Some(Node::Bytes) => Kind::Bytes,
            Some(Node::Text) => Kind::Text,
            Some(Node::Fixed(size)) => Kind::Fixed(*size),
            Some(Node::Decimal { size, scale }) => Kind::Decimal {
                size: *size,
                scale: *scale,
            },
            Some(Node::Uuid) => Kind::Uuid,
            Some(Node::Date) => Kind::Date,
            Some(Node::Timestamp(unit)) => Kind::Timestamp(*unit),
            Some(Node::Enum(symbols)) => Kind::Enum(symbols.clone()),
            Some(Node::Array(item)) => self.array(*item, want),
            Some(Node::Map(values)) => {
                let wanted = self.wanted_parts(want);
                let keys = wanted.iter();
                Kind::Map {
                    value: self.step(*values, Want::Nothing),
                    keys: keys
                        .map(|(key, want)| ((*key).into(), self.step(*values, *want)))
                        .collect(),
                }
            }
            Some(Node::Union(branches)) => {
                let branches = branches.iter();
                Kind::Union(branches.map(|branch| self.step(*branch, want)).collect())
            }
            Some(Node::Record(fields)) => self.record(fields, want),
        }
    }

    /// What is done with a node on the way, of which so many keys are behind.
    fn on_the_way(&mut self, node: usize, way: &'w Way, behind: usize) -> Kind {
        let schema = self.schema;
        let want = Want::Way(way, behind);
        let step = way.steps.get(behind);
        match (schema.nodes.get(node), step) {
            (Some(Node::Union(_)), _) => self.kind(node, want),
            (Some(Node::Array(item)), None) => match &way.item {
                Some(entry) => Kind::Items {
                    item: self.step(*item, Want::Entry(entry)),
                    is_empty: self.is_empty(*item),
                },
                None => self.kind(node, Want::Nothing),
            },
            // The record itself is no array that is gone through.
            (Some(Node::Array(item)), Some(_)) if behind > 0 => Kind::Through {
                item: self.step(*item, want),
                is_empty: self.is_empty(*item),
            },
            (Some(Node::Map(values)), Some(_)) => Kind::OnTheWay {
                object: Box::new(self.kind(node, want)),
                below: self.step(*values, Want::Way(way, behind + 1)),
            },
            (Some(Node::Record(fields)), Some(step)) => {
                let field = field_of(fields, &step.key).and_then(|index| fields.get(index));
                let Some(field) = field else {
                    return Kind::NoArray(self.step(node, Want::Nothing));
                };
                Kind::OnTheWay {
                    object: Box::new(self.record(fields, want)),
                    below: self.step(field.node, Want::Way(way, behind + 1)),
                }
            }
            _ => Kind::NoArray(self.step(node, Want::Nothing)),
        }
    }

    /// The keys that are wanted of a value.
    fn wanted_parts(&self, want: Want<'w>) -> Vec<(&'w str, Want<'w>)> {
        match want {
            Want::Nothing => Vec::new(),
            Want::Entry(entry) => {
                let entries = entry.object.iter().flat_map(|object| object.entries());
                entries
                    .map(|(key, entry)| (key, Want::Entry(entry)))
                    .collect()
            }
            Want::Way(way, behind) => {
                let step = way.steps.get(behind).into_iter();
                let wanted = step.flat_map(|step| {
                    let beside = step.beside.entries();
                    let beside = beside.map(|(key, entry)| (key, Want::Entry(entry)));
                    // Last, for a field may have several names.
                    beside.chain([(step.key.as_str(), Want::Way(way, behind + 1))])
                });
                wanted.collect()
            }
        }
    }

    fn array(&mut self, item: usize, want: Want<'w>) -> Kind {
        let mut places = Vec::new();
        for (key, want) in self.wanted_parts(want) {
            if let Some(place) = place(key) {
                places.push((place, self.step(item, want)));
            }
        }
        Kind::Array {
            item: self.step(item, Want::Nothing),
            places,
            is_empty: self.is_empty(item),
        }
    }

    fn record(&mut self, fields: &[RecordField], want: Want<'w>) -> Kind {
        let wanted = self.wanted_parts(want);
        // A name and its aliases may be wanted at once, each for another field of the event.
        let mut wants = vec![Vec::new(); fields.len()];
        for (key, want) in wanted {
            let found = field_of(fields, key);
            if let Some(wants) = found.and_then(|index| wants.get_mut(index)) {
                wants.push(want);
            }
        }
        let mut parts: Vec<Part> = Vec::new();
        for (field, wants) in fields.iter().zip(wants) {
            let want = match wants.as_slice() {
                [] => Want::Nothing,
                [want] => *want,
                several => {
                    let steps = several.iter().map(|want| self.step(field.node, *want));
                    parts.push(Part::Again(steps.collect()));
                    continue;
                }
            };
            let part = match (want, self.schema.nodes.get(field.node)) {
                (Want::Nothing, _) if self.is_empty(field.node) => continue,
                (Want::Nothing, Some(Node::Boolean)) => Part::Skip(1),
                (Want::Nothing, Some(Node::Float)) => Part::Skip(4),
                (Want::Nothing, Some(Node::Double)) => Part::Skip(8),
                (Want::Nothing, Some(Node::Uuid)) => Part::Skip(16),
                (
                    Want::Nothing,
                    Some(
                        Node::Fixed(size)
                        | Node::Decimal {
                            size: Some(size), ..
                        },
                    ),
                ) => Part::Skip(*size),
                (
                    Want::Nothing,
                    Some(Node::Int | Node::Long | Node::Date | Node::Timestamp(_) | Node::Enum(_)),
                ) => Part::SkipNumbers(1),
                (want, _) => Part::Step(self.step(field.node, want)),
            };
            match (parts.last_mut(), part) {
                (Some(Part::Skip(before)), Part::Skip(size)) => {
                    *before = before.saturating_add(size);
                }
                (Some(Part::SkipNumbers(before)), Part::SkipNumbers(more)) => *before += more,
                (_, part) => parts.push(part),
            }
        }
        Kind::Record(parts)
    }
}

/// The place of the field of a name: its own, or else an alias.
fn field_of(fields: &[RecordField], name: &str) -> Option<usize> {
    let by_name = fields.iter().position(|field| *field.name == *name);
    by_name.or_else(|| fields.iter().position(|field| field.is_called(name)))
}

/// The types whose values have no bytes: a list of a billion of them is nothing to walk over.
fn empty_nodes(nodes: &[Node]) -> Vec<bool> {
    let mut empty = vec![false; nodes.len()];
    // How many fields of each record may have bytes, and the records that a type is a field of.
    let mut filled = vec![0_usize; nodes.len()];
    let mut records: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut found = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        match node {
            Node::Null | Node::Fixed(0) => found.push(index),
            Node::Record(fields) => {
                if fields.is_empty() {
                    found.push(index);
                }
                if let Some(filled) = filled.get_mut(index) {
                    *filled = fields.len();
                }
                for field in fields {
                    if let Some(records) = records.get_mut(field.node) {
                        records.push(index);
                    }
                }
            }
            _ => {}
        }
    }
    while let Some(index) = found.pop() {
        if let Some(place) = empty.get_mut(index) {
            *place = true;
        }
        for record in records.get(index).into_iter().flatten() {
            if let Some(filled) = filled.get_mut(*record) {
                *filled -= 1;
                if *filled == 0 {
                    found.push(*record);
                }
            }
        }
    }
    empty
}
