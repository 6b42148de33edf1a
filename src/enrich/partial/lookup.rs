//! A partial lookup on one worker: what it has learnt of keys is an array access, the rest is asked
//! for while the batch waits.

use std::sync::Arc;

use crossbeam_channel::Sender;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use prometheus::IntCounter;

use super::super::config::{LookupConfig, Otherwise, OtherwiseWord};
use super::super::event_lookup::Looked;
use super::super::fallback::fallbacks;
use super::super::field_value::FieldValue;
use super::super::metrics::LookupMetrics;
use super::answer::Answer;
use super::fields::Fields;
use super::service::{Counted, PartialService};
use super::ticket::Ticket;
use crate::model::{HoldsSymbols, Interner, LiveSymbols, Renumbering, Symbol};

/// A partial lookup on one worker.
#[derive(Debug)]
pub struct PartialLookup {
    service: Arc<PartialService>,
    wake: Sender<()>,
    fallbacks: Vec<FieldValue>,
    drop_misses: bool,
    memo: Memo,
    hits: IntCounter,
    misses: IntCounter,
    dropped: IntCounter,
}

/// The fields of keys by their symbol, each for as long as its answer holds.
#[derive(Debug)]
struct Memo {
    fields: Fields,
    until_ms: Vec<u64>,
    /// How many keys are remembered.
    keys: usize,
}

/// A batch that waits for answers.
#[derive(Debug)]
pub struct Waiting {
    /// The fields as far as they were known, by row.
    fields: Fields,
    /// The rows that wait, each with the slot of its key.
    rows: Vec<(u32, u32)>,
    /// The keys by slot.
    keys: Vec<Symbol>,
    ticket: Arc<Ticket>,
    _parked: Counted,
}

impl Waiting {
    /// Whether all answers are there.
    pub fn is_answered(&self) -> bool {
        self.ticket.is_complete()
    }
}

impl PartialLookup {
    /// A lookup at a shared service. `wake` has room for one message: it is filled when a batch of
    /// this worker may go on.
    ///
    /// # Errors
    /// A value of `otherwise` is of another type than its column, or its column is not added.
    pub fn build(
        config: &LookupConfig,
        service: Arc<PartialService>,
        metrics: &LookupMetrics,
        wake: Sender<()>,
    ) -> Result<Self, String> {
        let fallbacks = fallbacks(&config.add, &config.otherwise)?;
        let name = [config.lookup.as_str()];
        Ok(Self {
            service,
            wake,
            memo: Memo::new(&fallbacks),
            fallbacks,
            drop_misses: config.otherwise == Otherwise::Word(OtherwiseWord::Drop),
            hits: metrics.hits.with_label_values(&name),
            misses: metrics.misses.with_label_values(&name),
            dropped: metrics.dropped.with_label_values(&name),
        })
    }

    /// Looks up a column of keys. Keys that are not known are asked for, all at once. NULL and the
    /// empty text are no keys: nobody is asked for them.
    pub fn begin(&mut self, keys: &[Symbol], interner: &mut Interner) -> Looked {
        let now_ms = self.service.now_ms();
        let mut fields = Fields::new(&self.fallbacks);
        fields.resize(keys.len());
        let mut slots: HashMap<Symbol, u32, FixedState> =
            HashMap::with_hasher(FixedState::with_seed(0));
        let mut asked = Vec::new();
        let mut rows = Vec::new();
        let mut hits = 0_u64;
        for (row, key) in (0_u32..).zip(keys) {
            if self.memo.until_ms(*key) > now_ms {
                fields.copy(row as usize, &self.memo.fields, key.index());
                hits += 1;
            } else if interner.text(*key).is_empty() {
                fields.set(row as usize, &Answer::Missing, &self.fallbacks, interner);
            } else {
                let slot = *slots.entry(*key).or_insert_with(|| {
                    asked.push(*key);
                    u32::try_from(asked.len() - 1).unwrap_or(u32::MAX)
                });
                rows.push((row, slot));
            }
        }
        let counters = &self.service.counters;
        counters.hits.inc_by(hits);
        if rows.is_empty() {
            return self.end(fields);
        }
        let texts: Vec<_> = asked.iter().map(|key| interner.text(*key)).collect();
        let answers = self.service.ask(&texts, &self.wake);
        let cached = |slot: u32| answers.cached.get(slot as usize) == Some(&true);
        let hits = rows.iter().filter(|(_, slot)| cached(*slot)).count();
        counters.hits.inc_by(hits as u64);
        counters.misses.inc_by((rows.len() - hits) as u64);
        let waiting = Waiting {
            fields,
            rows,
            keys: asked,
            ticket: answers.ticket,
            _parked: Counted::new(&counters.parked),
        };
        if waiting.is_answered() {
            self.finish(waiting, interner)
        } else {
            Looked::Waits(waiting)
        }
    }

    /// Goes on with a batch whose answers are there.
    pub fn finish(&mut self, mut waiting: Waiting, interner: &mut Interner) -> Looked {
        if !waiting.is_answered() {
            return Looked::Waits(waiting);
        }
        let answers = waiting.ticket.take();
        let mut slots = Fields::new(&self.fallbacks);
        slots.resize(waiting.keys.len());
        for (slot, (key, known)) in waiting.keys.iter().zip(&answers).enumerate() {
            let Some(known) = known else { continue };
            slots.set(slot, &known.answer, &self.fallbacks, interner);
            if known.answer != Answer::Failed {
                self.memo
                    .remember(*key, &slots, slot, known.until_ms, self.service.max_keys());
            }
        }
        for (row, slot) in &waiting.rows {
            waiting.fields.copy(*row as usize, &slots, *slot as usize);
        }
        self.end(waiting.fields)
    }

    fn end(&self, fields: Fields) -> Looked {
        let hits = fields.hits() as u64;
        let misses = fields.len() as u64 - hits;
        self.hits.inc_by(hits);
        self.misses.inc_by(misses);
        let kept = (misses > 0 && self.drop_misses).then(|| {
            self.dropped.inc_by(misses);
            fields.places_of_hits()
        });
        Looked::Up(fields.into_columns(), kept)
    }
}

impl HoldsSymbols for Waiting {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.fields.mark_live(live);
        self.keys.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.fields.renumber(numbers);
        self.keys.renumber(numbers);
    }
}

/// Answers are kept: what was asked once is not asked again because of a text that is let go of.
impl HoldsSymbols for PartialLookup {
    fn mark_live(&self, live: &mut LiveSymbols) {
        for (key, _) in self.memo.known() {
            live.mark(key);
            self.memo.fields.mark_place(key.index(), live);
        }
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        let mut memo = Memo::new(&self.fallbacks);
        for (key, until_ms) in self.memo.known() {
            memo.put(numbers.get(key), &self.memo.fields, key.index(), until_ms);
        }
        memo.keys = self.memo.keys;
        memo.fields.renumber(numbers);
        self.memo = memo;
    }
}

impl Memo {
    fn new(fallbacks: &[FieldValue]) -> Self {
        Self {
            fields: Fields::new(fallbacks),
            until_ms: Vec::new(),
            keys: 0,
        }
    }

    fn until_ms(&self, key: Symbol) -> u64 {
        self.until_ms.get(key.index()).copied().unwrap_or_default()
    }

    /// Remembers a slot as a key's fields. A full memory is emptied: what is still in the shared
    /// cache comes back from there without a request.
    fn remember(&mut self, key: Symbol, slots: &Fields, slot: usize, until_ms: u64, max: usize) {
        if self.until_ms(key) == 0 {
            if self.keys >= max {
                self.until_ms.fill(0);
                self.keys = 0;
            }
            self.keys += 1;
        }
        self.put(key, slots, slot, until_ms);
    }

    /// The keys that are remembered, with until when.
    fn known(&self) -> impl Iterator<Item = (Symbol, u64)> {
        let keys = self.until_ms.iter().zip(0_u32..);
        let known = keys.filter(|(until_ms, _)| **until_ms > 0);
        known.map(|(until_ms, key)| (Symbol(key), *until_ms))
    }

    fn put(&mut self, key: Symbol, from: &Fields, place: usize, until_ms: u64) {
        if self.until_ms.len() <= key.index() {
            let length = (key.index() + 1).next_power_of_two();
            self.until_ms.resize(length, 0);
            self.fields.resize(length);
        }
        if let Some(entry) = self.until_ms.get_mut(key.index()) {
            *entry = until_ms;
        }
        self.fields.copy(key.index(), from, place);
    }
}
