//! What is looked for in a record, and what is done with it: shared by the parsers.

use std::borrow::Cow;

use super::path::Path;
use crate::model::Symbol;

/// A value that a field can take.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// A text that has its symbol already.
    Symbol(Symbol),
    /// A time whose unit the record says itself.
    Time {
        /// The number that is written, which is what a field takes.
        raw: i64,
        /// ms since the epoch.
        ms: i64,
    },
    /// An object or an array.
    Composite,
}

impl Scalar<'_> {
    /// The same, and nothing borrowed.
    pub(super) fn to_owned_scalar(&self) -> Scalar<'static> {
        match self {
            Self::Null => Scalar::Null,
            Self::Boolean(value) => Scalar::Boolean(*value),
            Self::Integer(value) => Scalar::Integer(*value),
            Self::Number(value) => Scalar::Number(*value),
            Self::Text(text) => Scalar::Text(Cow::Owned(text.clone().into_owned())),
            Self::Symbol(symbol) => Scalar::Symbol(*symbol),
            Self::Time { raw, ms } => Scalar::Time { raw: *raw, ms: *ms },
            Self::Composite => Scalar::Composite,
        }
    }
}

/// A value that is looked for in a record.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Its keys from the outermost object inwards.
    pub(super) keys: Vec<String>,
    /// The leaf that takes it.
    pub(super) leaf: usize,
}

impl Wanted {
    /// Adds the value of a path, unless that is of the envelope.
    pub(super) fn add(wanted: &mut Vec<Self>, path: &Path, leaf: usize) {
        if let Path::Body(keys) = path {
            wanted.push(Self {
                keys: keys.clone(),
                leaf,
            });
        }
    }
}

/// What to look for in an object.
#[derive(Debug, Clone, Default)]
pub(super) struct ObjectPlan {
    entries: Vec<(Box<str>, EntryPlan)>,
    /// Places of arrays by the entries whose keys are their numbers.
    places: Vec<(usize, usize)>,
    /// The entry of all keys with this end that have no other one; it has no key of its own.
    by_end: Option<(u8, Box<EntryPlan>)>,
}

/// What to do with the value of a key.
#[derive(Debug, Clone, Default)]
pub(super) struct EntryPlan {
    /// The leaves that take the value itself. One key may feed several fields.
    pub(super) leaves: Vec<usize>,
    /// The keys below, where the value is an object.
    pub(super) object: Option<ObjectPlan>,
}

impl ObjectPlan {
    /// The plan for all that is wanted.
    pub(super) fn of(wanted: &[Wanted]) -> Self {
        let mut plan = Self::default();
        for Wanted { keys, leaf } in wanted {
            plan.add(keys, *leaf);
        }
        plan
    }

    /// The plan for records without depth, whose names may have dots.
    pub(super) fn flat(wanted: &[Wanted]) -> Self {
        let mut plan = Self::default();
        for Wanted { keys, leaf } in wanted {
            plan.add(&[keys.join(".")], *leaf);
        }
        plan
    }

    /// Adds a leaf at the end of a path of keys.
    pub(super) fn add(&mut self, keys: &[String], leaf: usize) {
        let Some((key, rest)) = keys.split_first() else {
            return;
        };
        let index = match self.entries.iter().position(|(known, _)| **known == **key) {
            Some(index) => index,
            None => {
                let index = self.entries.len();
                self.places.extend(place(key).map(|place| (place, index)));
                self.entries
                    .push((key.as_str().into(), EntryPlan::default()));
                index
            }
        };
        let Some((_, entry)) = self.entries.get_mut(index) else {
            return;
        };
        entry.add(rest, leaf);
    }

    /// Adds a leaf for all keys that end in a character of ASCII and that nothing else is added for.
    pub(super) fn add_by_end(&mut self, end: u8, leaf: usize) {
        let mut entry = EntryPlan::default();
        entry.add(&[], leaf);
        self.by_end = Some((end, Box::new(entry)));
    }

    /// The entry of an item of an array, where the object is one.
    pub(super) fn item(&self, place: usize) -> Option<&EntryPlan> {
        let (_, index) = self.places.iter().find(|(known, _)| *known == place)?;
        self.entries.get(*index).map(|(_, entry)| entry)
    }

    /// The keys, and what to do with their values.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &EntryPlan)> {
        self.entries.iter().map(|(key, entry)| (&**key, entry))
    }

    /// How many keys are looked for in the outermost object.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The place of the entry whose value itself a leaf takes, where it is in the outermost object.
    pub(super) fn place_of(&self, leaf: usize) -> Option<usize> {
        let feeds = |(_, entry): &(Box<str>, EntryPlan)| entry.leaves.contains(&leaf);
        self.entries.iter().position(feeds)
    }

    /// An entry by its place in the plan.
    #[cfg(test)]
    pub(super) fn at(&self, index: usize) -> Option<(&str, &EntryPlan)> {
        self.entries.get(index).map(|(key, entry)| (&**key, entry))
    }

    /// The entry of a key. A device sends its keys in the same order every time, so the entry after
    /// the last one found is tried first.
    pub(super) fn entry(&self, key: &str, expected: &mut usize) -> Option<&EntryPlan> {
        match self.index(key.as_bytes(), expected) {
            Some(index) => self.entries.get(index).map(|(_, entry)| entry),
            None => {
                let (end, entry) = self.by_end.as_ref()?;
                key.as_bytes().ends_with(&[*end]).then_some(&**entry)
            }
        }
    }

    /// The place in the plan of the entry that a key has for itself, found as by [`entry`](Self::entry).
    #[inline]
    pub(super) fn index(&self, key: &[u8], expected: &mut usize) -> Option<usize> {
        let is_key = |(name, _): &(Box<str>, EntryPlan)| name.as_bytes() == key;
        let index = match self.entries.get(*expected) {
            Some(entry) if is_key(entry) => *expected,
            _ => self.entries.iter().position(is_key)?,
        };
        *expected = index + 1;
        Some(index)
    }
}

impl EntryPlan {
    /// Adds a leaf at the end of a path of keys below; of no keys, the value itself.
    pub(super) fn add(&mut self, keys: &[String], leaf: usize) {
        if keys.is_empty() {
            self.leaves.push(leaf);
        } else {
            self.object.get_or_insert_default().add(keys, leaf);
        }
    }

    /// What to look for in the items of an array, by their places.
    pub(super) fn items(&self) -> Option<&ObjectPlan> {
        let object = self.object.as_ref()?;
        (!object.places.is_empty()).then_some(object)
    }

    /// Hands a value to all leaves that take it.
    #[inline]
    pub(super) fn hand_over(&self, value: &Scalar<'_>, leaves: &mut impl Leaves) {
        for leaf in &self.leaves {
            leaves.take(*leaf, value);
        }
    }
}

/// The place of an array's item that a key is: its number from 0, written as numbers are.
pub(super) fn place(key: &str) -> Option<usize> {
    let is_written_so = key == "0" || key.starts_with(|first| matches!(first, '1'..='9'));
    key.parse().ok().filter(|_| is_written_so)
}

/// Takes the values as they are found.
pub(super) trait Leaves {
    /// The value of a leaf. A key that stands twice in an object gives its values in order; the
    /// last one holds.
    fn take(&mut self, leaf: usize, value: &Scalar<'_>);
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn places_are_numbers_without_anything_before() {
        assert_eq!(place("0"), Some(0));
        assert_eq!(place("120"), Some(120));
        for key in [
            "",
            "-1",
            "+1",
            "00",
            "01",
            "1.0",
            "1e3",
            " 1",
            "x",
            "99999999999999999999",
        ] {
            assert_eq!(place(key), None, "{key}");
        }
    }
}
