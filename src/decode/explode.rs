//! Records that hold an array of which each item is an event, maybe below the items of other arrays.
//!
//! A record is walked twice: first for what events share, then for the items. So what stands behind the
//! array is known as well as what stands before it, and no tree is built.

use super::events::{Events, MAX_EVENTS, Refusal, too_many_events};
use super::metrics::Reason;
use super::path::{InvalidPath, Path};
use super::plan::{EntryPlan, Leaves, ObjectPlan, Scalar, Wanted, place};

/// The path of an array that is the record itself.
const RECORD: &str = ".";

/// What to look for in a record whose events are the items of an array.
#[derive(Debug)]
pub(super) struct Explode {
    /// What events share, by the objects on the way to the array.
    pub(super) shared: Way,
    /// The same way, and what is wanted of each item.
    pub(super) items: Way,
}

/// The way from a record to an array. An array that stands on it is gone through, item by item.
#[derive(Debug)]
pub(super) struct Way {
    /// Its keys; none where the record is the array.
    pub(super) steps: Vec<WayStep>,
    /// What to look for in an item; nothing where the array at the end is passed over.
    pub(super) item: Option<EntryPlan>,
}

/// A key on the way.
#[derive(Debug)]
pub(super) struct WayStep {
    pub(super) key: String,
    /// What else to look for in the object that has the key.
    pub(super) beside: ObjectPlan,
}

impl Way {
    /// A way on which nothing else is looked for.
    fn along(path: &[String], item: Option<EntryPlan>) -> Self {
        let steps = path.iter().map(|key| WayStep {
            key: key.clone(),
            beside: ObjectPlan::default(),
        });
        Self {
            steps: steps.collect(),
            item,
        }
    }

    /// To a record that is the array.
    pub(super) fn to_record(item: EntryPlan) -> Self {
        Self::along(&[], Some(item))
    }

    fn path(&self) -> String {
        let keys: Vec<_> = self.steps.iter().map(|step| step.key.as_str()).collect();
        match keys.as_slice() {
            [] => RECORD.to_owned(),
            keys => keys.join("."),
        }
    }
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

    /// The same, where a number can be nothing but the place of an item.
    ///
    /// # Errors
    /// It is no path of the record, or names an item by its place.
    pub(super) fn keys_without_places(path: &str) -> Result<Vec<String>, InvalidPath> {
        let keys = Self::keys(path)?;
        let is_place = |key: &&String| place(key).is_some();
        let Some(found) = keys.iter().find(is_place) else {
            return Ok(keys);
        };
        let rest = keys.iter().filter(|key| !is_place(key)).cloned();
        Err(InvalidPath::Place {
            place: found.clone(),
            right: Way::along(&rest.collect::<Vec<_>>(), None).path(),
        })
    }

    /// Divides what is wanted. A path goes along the way as far as it has the same keys, and on from what is
    /// at hand there: the item, an object on the way, or the record. The way itself is no value.
    pub(super) fn new(path: &[String], wanted: &[Wanted]) -> Self {
        let mut shared = Way::along(path, None);
        let mut item = EntryPlan::default();
        for Wanted { keys, leaf } in wanted {
            let on_the_way = in_common(keys, path);
            let rest = keys.get(on_the_way..).unwrap_or_default();
            match shared.steps.get_mut(on_the_way) {
                Some(step) => step.beside.add(rest, *leaf),
                None => item.add(rest, *leaf),
            }
        }
        let items = Way::along(path, Some(item));
        Self { shared, items }
    }

    /// Whether there is a way on which events can share something.
    pub(super) fn has_way(&self) -> bool {
        !self.shared.steps.is_empty()
    }
}

/// With how many of the same keys two paths begin.
pub(super) fn in_common(keys: &[String], others: &[String]) -> usize {
    let both = keys.iter().zip(others);
    both.take_while(|(key, other)| key == other).count()
}

/// Takes what a walk along a way finds.
pub(super) trait Items: Leaves {
    /// An object on the way begins: until it ends, values are its own, but for those of objects that begin and
    /// end within.
    fn begin_object(&mut self) {}

    /// The object has ended that began last of those that have not.
    fn end_object(&mut self) {}

    /// The way has ended without an array. Gives whether to go on.
    fn no_array(&mut self) -> bool;

    /// The item at hand has ended; `is_object` also where it is an array whose items are wanted. Gives whether
    /// to go on.
    fn end_item(&mut self, is_object: bool) -> bool;
}

/// Values by their leaves.
type Values = Vec<(usize, Scalar<'static>)>;

/// The values that the events below an object share. Only the last one of a leaf is kept: a key that stands
/// in the object many times would otherwise be handed over so often for each item.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Of each object on the way, in the order in which they begin.
    objects: Vec<Values>,
    /// The places of those that have not ended.
    open: Vec<usize>,
    /// How often the way has ended without an array.
    without_array: usize,
}

impl Shared {
    /// Why the record was not read to its end, if that was by its number of events.
    pub(super) fn failed(self) -> Option<Refusal> {
        (self.without_array > MAX_EVENTS).then(too_many_events)
    }
}

impl Leaves for Shared {
    fn take(&mut self, leaf: usize, value: &Scalar<'_>) {
        let object = self.open.last().copied();
        let Some(values) = object.and_then(|place| self.objects.get_mut(place)) else {
            return;
        };
        let value = value.to_owned_scalar();
        match values.iter_mut().find(|(known, _)| *known == leaf) {
            Some((_, known)) => *known = value,
            None => values.push((leaf, value)),
        }
    }
}

impl Items for Shared {
    fn begin_object(&mut self) {
        self.open.push(self.objects.len());
        self.objects.push(Values::new());
    }

    fn end_object(&mut self) {
        self.open.pop();
    }

    fn no_array(&mut self) -> bool {
        // Each is an event that cannot be used.
        self.without_array += 1;
        self.without_array <= MAX_EVENTS
    }

    fn end_item(&mut self, _is_object: bool) -> bool {
        true
    }
}

/// Makes an event of each item.
pub(super) struct Exploded<'e, 'r> {
    plan: &'e Explode,
    events: &'e mut Events<'r>,
    /// The values of the objects on the way that have not begun yet.
    objects: std::vec::IntoIter<Values>,
    /// Those of the objects that the item at hand is in.
    open: Vec<Values>,
    /// Whether an item itself is a value, so that it need not be an object.
    is_value: bool,
    failed: Option<Refusal>,
}

impl<'e, 'r> Exploded<'e, 'r> {
    pub(super) fn new(plan: &'e Explode, shared: Shared, events: &'e mut Events<'r>) -> Self {
        let item = plan.items.item.as_ref();
        Self {
            plan,
            events,
            objects: shared.objects.into_iter(),
            open: Vec::new(),
            is_value: item.is_some_and(|item| !item.leaves.is_empty()),
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
    fn begin_object(&mut self) {
        let values = self.objects.next().unwrap_or_default().into_iter();
        let values = values.map(|(leaf, value)| (leaf, self.events.prepare(leaf, value)));
        self.open.push(values.collect());
    }

    fn end_object(&mut self) {
        self.open.pop();
    }

    fn no_array(&mut self) -> bool {
        let detail = self.plan.items.path();
        self.failed = self.events.refuse(Reason::NotAnArray, detail).err();
        self.failed.is_none()
    }

    fn end_item(&mut self, is_object: bool) -> bool {
        let ended = if is_object || self.is_value {
            for (leaf, value) in self.open.iter().flatten() {
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
