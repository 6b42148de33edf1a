//! Reads records of objects within objects, however those are written.

use super::events::{Events, Refusal};
use super::explode::{Explode, Exploded, Items, Shared, Way};
use super::plan::{Leaves, ObjectPlan, Wanted};

/// A record of objects within objects.
pub(super) trait Tree {
    /// Walks the record and hands over the planned values.
    ///
    /// # Errors
    /// The record is broken, or no object.
    fn parse(&self, plan: &ObjectPlan, leaves: &mut impl Leaves) -> Result<(), Refusal>;

    /// Walks along a way, and hands over what is planned of the objects on it and of each item.
    ///
    /// # Errors
    /// The record is broken, or no object where the way has keys; an object has a key of the way twice; or
    /// `items` wants no more.
    fn parse_items(&self, way: &Way, items: &mut impl Items) -> Result<(), Refusal>;
}

/// Reads one format's records.
#[derive(Debug)]
pub(super) enum TreeReader {
    /// A record is an event.
    One(ObjectPlan),
    /// The items of an array are the events.
    Exploded(Explode),
}

impl TreeReader {
    /// The reader that finds the wanted values; `explode` are the keys of an array, of which each item
    /// is an event.
    pub(super) fn new(wanted: &[Wanted], explode: Option<Vec<String>>) -> Self {
        match explode {
            None => Self::One(ObjectPlan::of(wanted)),
            Some(path) => Self::Exploded(Explode::new(&path, wanted)),
        }
    }

    /// The plan, where a record is one event.
    pub(super) fn plan(&self) -> Option<&ObjectPlan> {
        match self {
            Self::One(plan) => Some(plan),
            Self::Exploded(_) => None,
        }
    }

    /// Hands over the events of a record.
    ///
    /// # Errors
    /// The record is broken as a whole.
    #[cold]
    pub(super) fn read(&self, record: &impl Tree, events: &mut Events<'_>) -> Result<(), Refusal> {
        match self {
            Self::One(plan) => {
                record.parse(plan, events)?;
                events.end()
            }
            Self::Exploded(explode) => {
                let mut shared = Shared::default();
                if explode.has_way()
                    && let Err(refusal) = record.parse_items(&explode.shared, &mut shared)
                {
                    return Err(shared.failed().unwrap_or(refusal));
                }
                let mut items = Exploded::new(explode, shared, events);
                let parsed = record.parse_items(&explode.items, &mut items);
                parsed.map_err(|refusal| items.failed().unwrap_or(refusal))
            }
        }
    }
}
