//! Avro: data that says nothing of itself, read by the schema that it was written with.
//!
//! The schema and what is wanted of it become a [`Plan`] once; a record is one walk along the plan, in
//! which all that nobody wants is passed over. Where the schema comes from is the [`Framing`].

mod container;
mod cursor;
mod numbered;
mod parse;
mod plan;
mod schema;
mod walk;

use std::borrow::Cow;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::events::{Events, MAX_EVENTS, Refusal};
use super::explode::{Explode, Exploded, Items, Shared};
use super::metrics::Reason;
use super::plan::{EntryPlan, Leaves, ObjectPlan, Scalar, Wanted};
use crate::model::{RecordBatch, SplitId};
use container::Container;
use cursor::Cursor;
use numbered::Numbered;
use plan::Plan;

pub use numbered::{SchemaAnswer, SchemaQuestion, SchemaSource};
pub use parse::{SchemaError, SchemaParser};
pub use schema::AvroSchema;

/// How many schemas of containers a reader remembers.
const REMEMBERED: usize = 16;

/// Reads the records of Avro.
#[derive(Debug)]
pub(super) struct AvroReader {
    wanted: What,
    framing: Framing,
}

/// How a record says what its schema is.
#[derive(Debug)]
enum Framing {
    /// Not at all: it is always the same.
    Bare(Compiled),
    /// It holds it. Those of the last records, with the bytes of the schemas.
    Container(Vec<(Box<[u8]>, Arc<Compiled>)>),
    /// By a number.
    Numbered(Box<Numbered>),
}

/// What is looked for in every record.
#[derive(Debug)]
enum What {
    One(EntryPlan),
    Exploded(Explode),
}

/// What is done with the records of one schema.
#[derive(Debug)]
struct Compiled {
    plan: Plan,
    /// What all events share, where the items of an array are events.
    shared: Option<Plan>,
}

impl AvroReader {
    fn new(wanted: &[Wanted], explode: Option<Vec<String>>, framing: Framing) -> Self {
        let wanted = What::new(wanted, explode);
        Self { wanted, framing }
    }

    /// Reads records that are one datum of a schema, and nothing else.
    pub(super) fn bare(
        wanted: &[Wanted],
        explode: Option<Vec<String>>,
        schema: &AvroSchema,
    ) -> Self {
        let wanted = What::new(wanted, explode);
        let framing = Framing::Bare(wanted.compile(schema));
        Self { wanted, framing }
    }

    /// Reads records that are object container files.
    pub(super) fn container(wanted: &[Wanted], explode: Option<Vec<String>>) -> Self {
        Self::new(wanted, explode, Framing::Container(Vec::new()))
    }

    /// Reads records that begin with the number of their schema.
    pub(super) fn numbered(wanted: &[Wanted], explode: Option<Vec<String>>) -> Self {
        Self::new(
            wanted,
            explode,
            Framing::Numbered(Box::new(Numbered::new())),
        )
    }

    /// Where schemas are that records name by a number; `wake` is filled when one has come.
    pub(super) fn ask(&mut self, source: Arc<dyn SchemaSource>, wake: Sender<()>) {
        if let Framing::Numbered(numbered) = &mut self.framing {
            numbered.ask(source, wake);
        }
    }

    /// Finds the schemas of a batch, whose records `show` shows with their places in it; it is called only
    /// where it matters. Gives whether all of them are known; otherwise they are on their way.
    pub(super) fn find_schemas(
        &mut self,
        records: &RecordBatch,
        show: impl FnOnce(&mut dyn FnMut(usize, &[u8])),
    ) -> bool {
        match &mut self.framing {
            Framing::Numbered(numbered) => numbered.find(&self.wanted, records, show),
            _ => true,
        }
    }

    /// The batch of a split comes next whose schemas were found.
    pub(super) fn begin(&mut self, split: SplitId) {
        if let Framing::Numbered(numbered) = &mut self.framing {
            numbered.begin(split);
        }
    }

    /// The batch of a split that was begun is not decoded to its end: the rest comes later.
    pub(super) fn leave(&mut self, split: SplitId) {
        if let Framing::Numbered(numbered) = &mut self.framing {
            numbered.leave(split);
        }
    }

    /// A split is somebody else's.
    pub(super) fn forget(&mut self, split: SplitId) {
        if let Framing::Numbered(numbered) = &mut self.framing {
            numbered.forget(split);
        }
    }

    /// Hands over the events of a record.
    ///
    /// # Errors
    /// The record is broken as a whole, or its schema is not known.
    pub(super) fn read(&mut self, record: &[u8], events: &mut Events<'_>) -> Result<(), Refusal> {
        let Self { wanted, framing } = self;
        match framing {
            Framing::Bare(compiled) => {
                let mut cursor = Cursor::new(record);
                wanted.datum(compiled, &mut cursor, events)?;
                cursor.end()
            }
            Framing::Numbered(numbered) => {
                let (compiled, begin) = numbered.compiled(record)?;
                let mut cursor = Cursor::at(record, begin);
                wanted.datum(compiled, &mut cursor, events)?;
                cursor.end()
            }
            Framing::Container(remembered) => {
                let mut container = Container::open(record)?;
                let compiled = compiled_of(wanted, &container, remembered)?;
                let mut data = 0_u64;
                while let Some(block) = container.block()? {
                    // Data may have no bytes, or no items that are events, and blocks no data.
                    data = data.saturating_add(block.count.max(1));
                    if data > MAX_EVENTS as u64 {
                        let detail = format!("more than {MAX_EVENTS} data");
                        return Err((Reason::TooManyEvents, detail));
                    }
                    let mut cursor = Cursor::new(&block.bytes);
                    for _ in 0..block.count {
                        wanted.datum(&compiled, &mut cursor, events)?;
                    }
                    cursor.end()?;
                }
                Ok(())
            }
        }
    }
}

/// What is done with the records of a container.
fn compiled_of(
    wanted: &What,
    container: &Container<'_>,
    remembered: &mut Vec<(Box<[u8]>, Arc<Compiled>)>,
) -> Result<Arc<Compiled>, Refusal> {
    let found = remembered
        .iter()
        .position(|(schema, _)| **schema == *container.schema);
    if let Some(index) = found {
        // The one that was used last comes last.
        let known = remembered.remove(index);
        let compiled = known.1.clone();
        remembered.push(known);
        return Ok(compiled);
    }
    let text = std::str::from_utf8(&container.schema)
        .map_err(|error| (Reason::InvalidUtf8, error.to_string()))?;
    let schema = AvroSchema::parse(text)
        .map_err(|error| (Reason::UnknownSchema, format!("its own schema: {error}")))?;
    let compiled = Arc::new(wanted.compile(&schema));
    if remembered.len() == REMEMBERED {
        remembered.remove(0);
    }
    remembered.push((container.schema.clone().into(), compiled.clone()));
    Ok(compiled)
}

impl What {
    fn new(wanted: &[Wanted], explode: Option<Vec<String>>) -> Self {
        match explode {
            None => Self::One(EntryPlan {
                leaves: Vec::new(),
                object: Some(ObjectPlan::of(wanted)),
            }),
            Some(path) => Self::Exploded(Explode::new(&path, wanted)),
        }
    }

    fn compile(&self, schema: &AvroSchema) -> Compiled {
        match self {
            Self::One(entry) => Compiled {
                plan: Plan::of(schema, entry),
                shared: None,
            },
            Self::Exploded(explode) => Compiled {
                plan: Plan::of_way(schema, &explode.items),
                shared: Some(Plan::of_way(schema, &explode.shared)),
            },
        }
    }

    /// Hands over the events of the next datum.
    fn datum(
        &self,
        compiled: &Compiled,
        cursor: &mut Cursor<'_>,
        events: &mut Events<'_>,
    ) -> Result<(), Refusal> {
        let (explode, shared) = match (self, &compiled.shared) {
            (Self::Exploded(explode), Some(shared)) => (explode, shared),
            _ => {
                let is_object = walk::walk(&compiled.plan, cursor, &mut One(events))?;
                return match is_object {
                    true => events.end(),
                    false => events.refuse(Reason::NotAnObject, String::new()),
                };
            }
        };
        let mut values = Shared::default();
        if explode.has_way()
            && let Err(refusal) = walk::walk(shared, &mut cursor.clone(), &mut values)
        {
            return Err(values.failed().unwrap_or(refusal));
        }
        let mut items = Exploded::new(explode, values, events);
        match walk::walk(&compiled.plan, cursor, &mut items) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(items.failed().unwrap_or(refusal)),
        }
    }
}

/// A datum that is one event.
struct One<'e, 'r>(&'e mut Events<'r>);

impl Leaves for One<'_, '_> {
    #[inline]
    fn take(&mut self, leaf: usize, value: &Scalar<'_>) {
        self.0.take(leaf, value);
    }
}

/// There is no way to any items.
impl Items for One<'_, '_> {
    fn no_array(&mut self) -> bool {
        true
    }

    fn end_item(&mut self, _is_object: bool) -> bool {
        true
    }
}

/// A text of the record, which need not be copied.
fn text(bytes: &[u8]) -> Result<Scalar<'_>, Refusal> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Scalar::Text(Cow::Borrowed(text))),
        Err(error) => Err((Reason::InvalidUtf8, error.to_string())),
    }
}
