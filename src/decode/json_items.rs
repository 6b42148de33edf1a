//! The items of an array in JSON: one walk over the record, in which each item is given on its own.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::explode::Items;
use super::json::{JsonError, ValueSeed, first_line, refuse_depth};
use super::plan::{EntryPlan, Leaves};

/// Walks the array at a path, and hands over the planned values of each item. Gives whether there is
/// an array.
///
/// # Errors
/// The text is not JSON, the array stands there twice, or `items` wants no more.
pub(super) fn parse_items(
    text: &str,
    path: &[String],
    item: &EntryPlan,
    items: &mut impl Items,
) -> Result<bool, JsonError> {
    refuse_depth(text)?;
    let mut found = false;
    let mut deserializer = sonic_rs::Deserializer::from_str(text);
    let seed = ArraySeed {
        path,
        item,
        items,
        found: &mut found,
    };
    let walked = seed.deserialize(&mut deserializer);
    match walked.and_then(|()| deserializer.end()) {
        Ok(()) => Ok(found),
        Err(error) => Err(JsonError::Malformed(first_line(&error.to_string()))),
    }
}

/// Looks for an array; below a path, in the objects on the way.
struct ArraySeed<'p, 'l, I> {
    path: &'p [String],
    item: &'p EntryPlan,
    items: &'l mut I,
    found: &'l mut bool,
}

impl<'de, I: Items> DeserializeSeed<'de> for ArraySeed<'_, '_, I> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, I: Items> Visitor<'de> for ArraySeed<'_, '_, I> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (key, rest) = match self.path.split_first() {
            Some((key, rest)) => (Some(key), rest),
            None => (None, self.path),
        };
        while let Some(is_key) = map.next_key_seed(IsKey(key.map(String::as_str)))? {
            if is_key {
                map.next_value_seed(ArraySeed {
                    path: rest,
                    item: self.item,
                    items: &mut *self.items,
                    found: &mut *self.found,
                })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        if !self.path.is_empty() {
            while array.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        if std::mem::replace(self.found, true) {
            return Err(A::Error::custom("the array stands there twice"));
        }
        let mut is_object = false;
        while array
            .next_element_seed(ItemSeed {
                value: ValueSeed {
                    entry: self.item,
                    leaves: &mut *self.items,
                },
                is_object: &mut is_object,
            })?
            .is_some()
        {
            if !self.items.end_item(is_object) {
                return Err(A::Error::custom("too many items"));
            }
        }
        Ok(())
    }
}

/// Whether a key is the one that is looked for.
struct IsKey<'p>(Option<&'p str>);

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(self.0 == Some(key))
    }
}

/// An item of an array, of which is noted whether it is an object, or an array whose items are wanted.
struct ItemSeed<'p, 'l, L> {
    value: ValueSeed<'p, 'l, L>,
    is_object: &'l mut bool,
}

impl<'de, L: Leaves> DeserializeSeed<'de> for ItemSeed<'_, '_, L> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        *self.is_object = false;
        deserializer.deserialize_any(self)
    }
}

impl<'de, L: Leaves> Visitor<'de> for ItemSeed<'_, '_, L> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.value.visit_unit()
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.value.visit_bool(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.value.visit_i64(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.value.visit_u64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.value.visit_f64(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.value.visit_str(value)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        *self.is_object = true;
        self.value.visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        *self.is_object = self.value.entry.items().is_some();
        self.value.visit_seq(items)
    }
}
