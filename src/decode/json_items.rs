//! The items of an array in JSON: one walk along the way to it, in which each item is given on its own.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::explode::{Items, Way, WayStep};
use super::json::{JsonError, ValueSeed, first_line, parse, refuse_depth};
use super::plan::{EntryPlan, Leaves, ObjectPlan};

/// Walks along a way, and hands over what is planned of the objects on it and of each item.
///
/// # Errors
/// The text is not JSON, or no object where the way has keys; an object has a key of the way twice; or
/// `items` wants no more.
pub(super) fn parse_items(text: &str, way: &Way, items: &mut impl Items) -> Result<(), JsonError> {
    refuse_depth(text)?;
    if !way.steps.is_empty() && !text.trim_start().starts_with('{') {
        // Says what it is instead.
        return parse(text, &ObjectPlan::default(), items);
    }
    let mut deserializer = sonic_rs::Deserializer::from_str(text);
    let seed = WaySeed {
        steps: &way.steps,
        item: way.item.as_ref(),
        items,
    };
    let walked = seed.deserialize(&mut deserializer);
    let ended = walked.and_then(|()| deserializer.end());
    ended.map_err(|error| JsonError::Malformed(first_line(&error.to_string())))
}

/// A value on the way.
struct WaySeed<'p, 'l, I> {
    /// The keys that are left.
    steps: &'p [WayStep],
    item: Option<&'p EntryPlan>,
    items: &'l mut I,
}

impl<I: Items> WaySeed<'_, '_, I> {
    fn no_array<E: Error>(self) -> Result<(), E> {
        go_on(self.items.no_array())
    }
}

fn go_on<E: Error>(is_wanted: bool) -> Result<(), E> {
    match is_wanted {
        true => Ok(()),
        false => Err(E::custom("too many items")),
    }
}

impl<'de, I: Items> DeserializeSeed<'de> for WaySeed<'_, '_, I> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, I: Items> Visitor<'de> for WaySeed<'_, '_, I> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.no_array()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.no_array()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.no_array()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.no_array()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.no_array()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.no_array()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.steps.split_first() else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return self.no_array();
        };
        self.items.begin_object();
        let mut expected = 0;
        let mut is_found = false;
        while let Some(key) = map.next_key_seed(WayKeySeed {
            step,
            at: &mut expected,
        })? {
            match key {
                WayKey::OfTheWay if std::mem::replace(&mut is_found, true) => {
                    let key = &step.key;
                    return Err(A::Error::custom(format!("'{key}' stands there twice")));
                }
                WayKey::OfTheWay => map.next_value_seed(WaySeed {
                    steps: rest,
                    item: self.item,
                    items: &mut *self.items,
                })?,
                WayKey::Beside(entry) => map.next_value_seed(ValueSeed {
                    entry,
                    leaves: &mut *self.items,
                })?,
                WayKey::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if !is_found {
            go_on(self.items.no_array())?;
        }
        self.items.end_object();
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        if !self.steps.is_empty() {
            while array
                .next_element_seed(WaySeed {
                    steps: self.steps,
                    item: self.item,
                    items: &mut *self.items,
                })?
                .is_some()
            {}
            return Ok(());
        }
        let Some(item) = self.item else {
            while array.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let mut is_object = false;
        while array
            .next_element_seed(ItemSeed {
                value: ValueSeed {
                    entry: item,
                    leaves: &mut *self.items,
                },
                is_object: &mut is_object,
            })?
            .is_some()
        {
            go_on(self.items.end_item(is_object))?;
        }
        Ok(())
    }
}

/// What a key of an object on the way is.
enum WayKey<'p> {
    OfTheWay,
    Beside(&'p EntryPlan),
    Other,
}

struct WayKeySeed<'p, 'e> {
    step: &'p WayStep,
    at: &'e mut usize,
}

impl<'de, 'p> DeserializeSeed<'de> for WayKeySeed<'p, '_> {
    type Value = WayKey<'p>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for WayKeySeed<'p, '_> {
    type Value = WayKey<'p>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        if key == self.step.key {
            return Ok(WayKey::OfTheWay);
        }
        Ok(match self.step.beside.entry(key, self.at) {
            Some(entry) => WayKey::Beside(entry),
            None => WayKey::Other,
        })
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
