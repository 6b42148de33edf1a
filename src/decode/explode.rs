//! Records that hold an array of which each item is an event.
//!
//! A record is walked twice: first for what all its events share, then for the items. So what stands
//! behind the array is known as well as what stands before it, and no tree is built.

use super::events::{Events, Refusal};
use super::metrics::Reason;
use super::path::{InvalidPath, Path};
use super::plan::{EntryPlan, Leaves, ObjectPlan, Scalar, Wanted};

/// The path of an array that is the record itself.
const RECORD: &str = ".";

/// What to look for in a record whose events are the items of an array.
#[derive(Debug)]
pub(super) struct Explode {
    /// Where the array is; empty where it is the record.
    pub(super) path: Vec<String>,
    /// What all events share.
    pub(super) shared: ObjectPlan,
    /// What to look for in an item.
    pub(super) item: EntryPlan,
}

impl Explode {
    /// The keys of the path of an array; none where the array is the record.
    ///
    /// # Errors
    /// It is no path of the record.
    pub(super) fn keys(path: &str) -> Result<Vec<String>, InvalidPath> {
        if path == RECORD {
            return Ok(Vec::new());
        }
        match path.parse()? {
            Path::Body(keys) => Ok(keys),
            _ => Err(InvalidPath::NoArray(path.to_owned())),
        }
    }

    /// Divides what is wanted: a path that begins with that of the array goes on in each item, and any
    /// other one is of the record.
    pub(super) fn new(path: Vec<String>, wanted: &[Wanted]) -> Self {
        let mut shared = ObjectPlan::default();
        let mut item = EntryPlan::default();
        for Wanted { keys, leaf } in wanted {
            match keys.strip_prefix(path.as_slice()) {
                Some(rest) => item.add(rest, *leaf),
                None => shared.add(keys, *leaf),
            }
        }
        Self { path, shared, item }
    }
}

/// Takes the items of an array.
pub(super) trait Items: Leaves {
    /// The item at hand has ended; `is_object` also where it is an array whose items are wanted. Gives whether
    /// to go on.
    fn end_item(&mut self, is_object: bool) -> bool;
}

/// The values that all events of a record share, by their leaves. Only the last one of a leaf is kept: a key
/// that stands in the record many times would otherwise be handed over so often for each item.
#[derive(Debug, Default)]
pub(super) struct Shared(Vec<Option<Scalar<'static>>>);

impl Leaves for Shared {
    fn take(&mut self, leaf: usize, value: &Scalar<'_>) {
        if leaf >= self.0.len() {
            self.0.resize(leaf + 1, None);
        }
        if let Some(known) = self.0.get_mut(leaf) {
            *known = Some(value.to_owned_scalar());
        }
    }
}

/// Makes an event of each item.
pub(super) struct Exploded<'e, 'r> {
    pub(super) events: &'e mut Events<'r>,
    /// What all of them share, by leaves.
    shared: Vec<(usize, Scalar<'static>)>,
    /// Whether an item itself is a value, so that it need not be an object.
    is_value: bool,
    failed: Option<Refusal>,
}

impl<'e, 'r> Exploded<'e, 'r> {
    pub(super) fn new(plan: &Explode, shared: Shared, events: &'e mut Events<'r>) -> Self {
        let shared = shared.0.into_iter().zip(0..);
        let shared = shared
            .filter_map(|(value, leaf)| Some((leaf, events.prepare(leaf, value?))))
            .collect();
        Self {
            events,
            shared,
            is_value: !plan.item.leaves.is_empty(),
            failed: None,
        }
    }

    /// Why the items were not read to their end, if that was by their number.
    pub(super) fn failed(self) -> Option<Refusal> {
        self.failed
    }
}

impl Leaves for Exploded<'_, '_> {
    fn take(&mut self, leaf: usize, value: &Scalar<'_>) {
        self.events.take(leaf, value);
    }
}

impl Items for Exploded<'_, '_> {
    fn end_item(&mut self, is_object: bool) -> bool {
        let ended = if is_object || self.is_value {
            for (leaf, value) in &self.shared {
                self.events.take(*leaf, value);
            }
            self.events.end()
        } else {
            self.events.refuse(Reason::NotAnObject, String::new())
        };
        self.failed = ended.err();
        self.failed.is_none()
    }
}

/// Why the items of a record were not found.
pub(super) fn no_array(path: &[String]) -> Refusal {
    let path = match path {
        [] => RECORD.to_owned(),
        keys => keys.join("."),
    };
    (Reason::NotAnArray, path)
}
