//! A lookup on one worker: each distinct key is looked up once, and is an array access afterwards.

use std::sync::Arc;

use prometheus::IntCounter;

use super::config::{LookupConfig, Otherwise, OtherwiseWord};
use super::dated::DatedCache;
use super::fallback::fallbacks;
use super::field_value::FieldValue;
use super::metrics::LookupMetrics;
use super::plain::PlainCache;
use super::shared::SharedTable;
use super::table::Table;
use crate::model::{Column, HoldsSymbols, Interner, LiveSymbols, Renumbering, Symbol, TimestampMs};

/// What a worker has taken over from its table.
#[derive(Debug)]
enum Cache {
    Plain(PlainCache),
    Dated(DatedCache),
}

/// A lookup on one worker.
#[derive(Debug)]
pub struct Lookup {
    shared: Arc<SharedTable>,
    table: Arc<Table>,
    version: u64,
    fallbacks: Vec<FieldValue>,
    drop_misses: bool,
    cache: Option<Cache>,
    pub(super) hits: IntCounter,
    pub(super) misses: IntCounter,
    pub(super) dropped: IntCounter,
}

impl Lookup {
    /// A lookup in a shared table.
    ///
    /// # Errors
    /// A value of `otherwise` is of another type than its column, or its column is not added.
    pub fn build(
        config: &LookupConfig,
        shared: Arc<SharedTable>,
        metrics: &LookupMetrics,
    ) -> Result<Self, String> {
        let fallbacks = fallbacks(&config.add, &config.otherwise)?;
        // The version first: a table that is replaced in between is then found to be new.
        let version = shared.version();
        let table = shared.table();
        let name = [config.lookup.as_str()];
        Ok(Self {
            shared,
            table,
            version,
            cache: None,
            fallbacks,
            drop_misses: config.otherwise == Otherwise::Word(OtherwiseWord::Drop),
            hits: metrics.hits.with_label_values(&name),
            misses: metrics.misses.with_label_values(&name),
            dropped: metrics.dropped.with_label_values(&name),
        })
    }

    /// Looks up a column of keys, each at its event's time, and appends the added fields to
    /// `columns`. Where misses are to be dropped, gives the rows that stay; all do where it gives
    /// nothing. A table that has changed is taken in here, between two batches: all events of a
    /// batch see one version.
    pub fn apply(
        &mut self,
        keys: &[Symbol],
        times: &[TimestampMs],
        columns: &mut Vec<Column>,
        interner: &mut Interner,
    ) -> Option<Vec<u32>> {
        if self.shared.version() != self.version {
            self.version = self.shared.version();
            self.table = self.shared.table();
            self.cache = None;
        }
        let (table, fallbacks) = (&*self.table, &*self.fallbacks);
        let cache = self
            .cache
            .get_or_insert_with(|| Cache::new(table, fallbacks));
        let misses = match (&mut *cache, &table.validity) {
            (Cache::Dated(cache), Some(validity)) => {
                cache.apply(keys, times, (table, validity), fallbacks, columns, interner)
            }
            (Cache::Plain(cache), _) => cache.apply(keys, table, fallbacks, columns, interner),
            // The cache is made for its table.
            (Cache::Dated(_), None) => 0,
        };
        self.hits.inc_by(keys.len() as u64 - misses);
        if misses == 0 {
            return None;
        }
        self.misses.inc_by(misses);
        if !self.drop_misses {
            return None;
        }
        self.dropped.inc_by(misses);
        match cache {
            Cache::Plain(cache) => Some(cache.hits(keys)),
            Cache::Dated(cache) => Some(cache.hits()),
        }
    }
}

/// What was taken over is found in the table again.
impl HoldsSymbols for Lookup {
    fn mark_live(&self, _live: &mut LiveSymbols) {}

    fn renumber(&mut self, _numbers: &Renumbering) {
        self.cache = None;
    }
}

impl Cache {
    fn new(table: &Table, fallbacks: &[FieldValue]) -> Self {
        match table.validity {
            Some(_) => Self::Dated(DatedCache::new(fallbacks)),
            None => Self::Plain(PlainCache::new(fallbacks)),
        }
    }
}
