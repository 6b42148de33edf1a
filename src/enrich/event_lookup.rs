//! A lookup with the columns of an event that it reads.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::config::LookupConfig;
use super::geofence::Geofence;
use super::lookup::Lookup;
use super::metrics::LookupMetrics;
use super::partial::{PartialLookup, PartialService, Waiting};
use super::shared::SharedTable;
use super::unmade::UnmadeLookup;
use crate::model::{Batch, Column, HoldsSymbols, Interner, LiveSymbols, Renumbering};

/// The columns of an event that a lookup reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupInput {
    /// The text column of the key.
    Key(usize),
    /// The number columns of a position in degrees.
    Position {
        /// The latitude.
        latitude: usize,
        /// The longitude.
        longitude: usize,
    },
}

/// What all workers share of a lookup.
#[derive(Debug, Clone)]
pub enum Reference {
    /// A table in memory.
    Table(Arc<SharedTable>),
    /// A service that is asked for keys.
    Service(Arc<PartialService>),
    /// Nothing: the lookup is not made.
    None,
}

/// A lookup on one worker, of any kind.
#[derive(Debug)]
pub enum EventLookup {
    /// By a key in a table.
    Key {
        /// The lookup.
        lookup: Box<Lookup>,
        /// The column of the key.
        key: usize,
    },
    /// By a position in a table of zones.
    Position {
        /// The lookup.
        geofence: Box<Geofence>,
        /// The column of the latitude.
        latitude: usize,
        /// The column of the longitude.
        longitude: usize,
    },
    /// By a key at a service.
    Partial {
        /// The lookup.
        lookup: Box<PartialLookup>,
        /// The column of the key.
        key: usize,
    },
    /// One that is not made.
    Unmade(UnmadeLookup),
}

/// What became of a batch in a lookup.
#[derive(Debug)]
pub enum Looked {
    /// The added columns are there. Where misses are to be dropped, the rows that stay; all do where
    /// there is nothing.
    Up(Vec<Column>, Option<Vec<u32>>),
    /// Answers are missing; the worker is woken when they are there.
    Waits(Waiting),
}

impl EventLookup {
    /// A lookup in what all workers share. `wake` has room for one message: it is filled when a batch
    /// of this worker may go on.
    ///
    /// # Errors
    /// A value of `otherwise` is of another type than its column, its column is not added, or the
    /// input is not one for the reference.
    pub fn build(
        config: &LookupConfig,
        input: LookupInput,
        reference: &Reference,
        metrics: &LookupMetrics,
        wake: &Sender<()>,
    ) -> Result<Self, String> {
        Ok(match (reference, input) {
            (Reference::None, _) => Self::Unmade(UnmadeLookup::build(config)?),
            (Reference::Table(table), LookupInput::Key(key)) => Self::Key {
                lookup: Box::new(Lookup::build(config, table.clone(), metrics)?),
                key,
            },
            (
                Reference::Table(table),
                LookupInput::Position {
                    latitude,
                    longitude,
                },
            ) => Self::Position {
                geofence: Box::new(Geofence::build(config, table.clone(), metrics)?),
                latitude,
                longitude,
            },
            (Reference::Service(service), LookupInput::Key(key)) => {
                let service = service.clone();
                let lookup = PartialLookup::build(config, service, metrics, wake.clone())?;
                Self::Partial {
                    lookup: Box::new(lookup),
                    key,
                }
            }
            (Reference::Service(_), LookupInput::Position { .. }) => {
                return Err("a service is asked for keys, not for positions".to_owned());
            }
        })
    }

    /// Looks up a batch, each event at its own time; or goes on with one that waits for answers. A
    /// table that has changed is taken in here, between two batches.
    pub fn look_up(
        &mut self,
        batch: &Batch,
        waiting: Option<Waiting>,
        interner: &mut Interner,
    ) -> Looked {
        let symbols = |column: usize| batch.columns.get(column).map_or(&[][..], Column::symbols);
        let numbers = |column: usize| batch.columns.get(column).map_or(&[][..], Column::numbers);
        let mut columns = Vec::new();
        match self {
            Self::Key { lookup, key } => {
                let kept = lookup.apply(symbols(*key), &batch.times, &mut columns, interner);
                Looked::Up(columns, kept)
            }
            Self::Position {
                geofence,
                latitude,
                longitude,
            } => {
                let zones = geofence.find(numbers(*latitude), numbers(*longitude));
                let kept = geofence.add(&zones, &mut columns, interner);
                Looked::Up(columns, kept)
            }
            Self::Partial { lookup, key } => match waiting {
                None => lookup.begin(symbols(*key), interner),
                Some(waiting) => lookup.finish(waiting, interner),
            },
            Self::Unmade(lookup) => Looked::Up(lookup.columns(batch.rows(), interner), None),
        }
    }
}

impl HoldsSymbols for EventLookup {
    fn mark_live(&self, live: &mut LiveSymbols) {
        match self {
            Self::Key { lookup, .. } => lookup.mark_live(live),
            Self::Position { geofence, .. } => geofence.mark_live(live),
            Self::Partial { lookup, .. } => lookup.mark_live(live),
            Self::Unmade(lookup) => lookup.mark_live(live),
        }
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        match self {
            Self::Key { lookup, .. } => lookup.renumber(numbers),
            Self::Position { geofence, .. } => geofence.renumber(numbers),
            Self::Partial { lookup, .. } => lookup.renumber(numbers),
            Self::Unmade(lookup) => lookup.renumber(numbers),
        }
    }
}
