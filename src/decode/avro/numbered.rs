//! Schemas by their numbers: which of them a batch needs, and what is known of these.
//!
//! A batch waits until all its schemas are known. What it was told holds for it until it is decoded, however
//! long that takes and whatever is asked for in the meantime.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crossbeam_channel::Sender;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::super::events::Refusal;
use super::super::metrics::Reason;
use super::super::recent::Recent;
use super::cursor::broken;
use super::schema::AvroSchema;
use super::{Compiled, What};
use crate::model::{RecordBatch, SplitId};

/// The first byte of a record that names its schema by a number.
const MAGIC: u8 = 0;

/// How many schemas a reader remembers for batches to come.
const REMEMBERED: usize = 1_000;

/// Knows schemas by their numbers.
pub trait SchemaSource: std::fmt::Debug + Send + Sync {
    /// Asks for the schema of a number, which the record at a place names. Where the answer is not there
    /// yet, `wake` is filled once it is.
    fn ask(&self, id: u32, place: &str, wake: &Sender<()>) -> Arc<SchemaQuestion>;
}

/// A schema, or why there is none that could be used.
pub type SchemaAnswer = Result<Arc<AvroSchema>, Arc<str>>;

/// A question for a schema. Its answer holds for whoever has asked it.
#[derive(Debug, Default)]
pub struct SchemaQuestion(OnceLock<SchemaAnswer>);

impl SchemaQuestion {
    /// One whose answer is known already.
    pub fn answered(answer: SchemaAnswer) -> Arc<Self> {
        Arc::new(Self(OnceLock::from(answer)))
    }

    /// Answers it. The first answer holds.
    pub fn set(&self, answer: SchemaAnswer) {
        self.0.get_or_init(|| answer);
    }

    /// The answer, once it is there.
    pub fn answer(&self) -> Option<&SchemaAnswer> {
        self.0.get()
    }
}

/// What the batches of a reader need.
#[derive(Debug)]
pub(super) struct Numbered {
    source: Option<(Arc<dyn SchemaSource>, Sender<()>)>,
    /// What is done with the records of schemas that were named lately.
    compiled: Recent<Arc<Compiled>>,
    /// What the next batch of a split needs, which is not decoded yet.
    next: BTreeMap<SplitId, Needs>,
    /// What the batch at hand needs.
    at_hand: Needs,
}

/// By what a batch is known again: the name of its split, the positions of its first and last record, and how
/// long it is.
type Identity = (Arc<str>, u64, u64, usize);

/// What a batch needs.
#[derive(Debug, Default)]
struct Needs {
    batch: Identity,
    schemas: HashMap<u32, Known, FixedState>,
}

/// What is known of a schema.
#[derive(Debug)]
enum Known {
    Schema(Arc<Compiled>),
    /// There is none, and why.
    None(Arc<str>),
    /// Nothing yet.
    Asked(Arc<SchemaQuestion>),
}

impl Numbered {
    pub(super) fn new() -> Self {
        Self {
            source: None,
            compiled: Recent::new(REMEMBERED),
            next: BTreeMap::new(),
            at_hand: Needs::default(),
        }
    }

    /// Where schemas are; `wake` is filled when an answer has come.
    pub(super) fn ask(&mut self, source: Arc<dyn SchemaSource>, wake: Sender<()>) {
        self.source = Some((source, wake));
    }

    /// Finds the schemas of a batch, whose records `show` shows with their places in it. Gives whether all of
    /// them are known; otherwise they are on their way, and the records need not be shown again.
    pub(super) fn find(
        &mut self,
        wanted: &What,
        records: &RecordBatch,
        show: impl FnOnce(&mut dyn FnMut(usize, &[u8])),
    ) -> bool {
        let Some((source, wake)) = &self.source else {
            return true;
        };
        let split = records.split().id;
        let batch = identity(records);
        let mut needs = match self.next.remove(&split) {
            Some(needs) if needs.batch == batch => needs,
            _ => Needs {
                batch,
                schemas: HashMap::default(),
            },
        };
        if needs.schemas.is_empty() {
            let mut last = None;
            show(&mut |index, record| {
                let Ok((id, _)) = number(record) else {
                    return;
                };
                if last.replace(id) == Some(id) || needs.schemas.contains_key(&id) {
                    return;
                }
                let known = match self.compiled.get(id) {
                    Some(compiled) => Known::Schema(compiled.clone()),
                    None => Known::Asked(source.ask(id, &records.place(index), wake)),
                };
                needs.schemas.insert(id, known);
            });
        }
        let mut are_known = true;
        for (id, known) in &mut needs.schemas {
            let Known::Asked(question) = known else {
                continue;
            };
            match question.answer() {
                None => are_known = false,
                Some(Err(reason)) => *known = Known::None(reason.clone()),
                Some(Ok(schema)) => {
                    let compiled = Arc::new(wanted.compile(schema));
                    self.compiled.insert(*id, compiled.clone());
                    *known = Known::Schema(compiled);
                }
            }
        }
        self.next.insert(split, needs);
        are_known
    }

    /// The batch of a split is decoded from here on.
    pub(super) fn begin(&mut self, split: SplitId) {
        self.at_hand = self.next.remove(&split).unwrap_or_default();
    }

    /// The rest of the batch at hand is decoded later. Its records need not be shown again.
    pub(super) fn leave(&mut self, split: SplitId) {
        self.next.insert(split, std::mem::take(&mut self.at_hand));
    }

    /// A split is somebody else's.
    pub(super) fn forget(&mut self, split: SplitId) {
        self.next.remove(&split);
    }

    /// What is done with a record, and where its datum begins.
    ///
    /// # Errors
    /// It names no schema, or there is none of this number.
    pub(super) fn compiled(&self, record: &[u8]) -> Result<(&Compiled, usize), Refusal> {
        let (id, begin) = number(record)?;
        match self.at_hand.schemas.get(&id) {
            Some(Known::Schema(compiled)) => Ok((compiled, begin)),
            Some(Known::None(reason)) => Err((Reason::UnknownSchema, format!("{id}: {reason}"))),
            Some(Known::Asked(_)) | None => Err((Reason::UnknownSchema, id.to_string())),
        }
    }
}

fn identity(records: &RecordBatch) -> Identity {
    let position = |index| records.get(index).map(|record| record.position);
    let first = position(0).unwrap_or_default();
    let last = position(records.len().saturating_sub(1)).unwrap_or_default();
    let name = records.split().name.clone();
    (name, first, last, records.byte_len())
}

/// The number of a record's schema, and where its datum begins.
fn number(record: &[u8]) -> Result<(u32, usize), Refusal> {
    match record {
        [MAGIC, a, b, c, d, ..] => match u32::from_be_bytes([*a, *b, *c, *d]) {
            // A registry takes it for no number at all, and says so in words of its own.
            number if number > i32::MAX as u32 => {
                let detail = format!("number {number}; that of a schema is at most {}", i32::MAX);
                Err((Reason::UnknownSchema, detail))
            }
            number => Ok((number, 5)),
        },
        [MAGIC, ..] | [] => Err(broken(format!(
            "cut off at byte {}, within the schema's number",
            record.len()
        ))),
        [first, ..] => Err(broken(format!(
            "begins with byte {first}, not with 0 and the schema's number"
        ))),
    }
}
