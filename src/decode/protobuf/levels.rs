//! A message, the items of an array in it, the items of an array in these, and so on to those that are the
//! events: each of them has a plan of its own.

use prost_reflect::{FieldDescriptor, MessageDescriptor};

use super::compile::{Compiler, Step, Target};
use super::plan::Plan;
use crate::decode::explode::in_common;

/// The levels of records whose events may be the items of an array.
#[derive(Debug)]
pub(super) struct Levels {
    /// The keys of that array; none where a record is one event.
    path: Vec<String>,
    /// Never empty; the first one is the record.
    levels: Vec<Level>,
}

/// A message or an item of an array.
#[derive(Debug)]
struct Level {
    compiler: Compiler,
    /// The array that it is an item of.
    array: Option<FieldDescriptor>,
    /// How many keys of the path lead to it.
    behind: usize,
}

impl Levels {
    /// The levels of records of which each is one event.
    pub(super) fn of_record(descriptor: &MessageDescriptor) -> Self {
        let record = Level {
            compiler: Compiler::of_message(descriptor),
            array: None,
            behind: 0,
        };
        Self {
            path: Vec::new(),
            levels: vec![record],
        }
    }

    /// The levels of records whose events are the items of an array. Arrays on the way to it are gone through.
    ///
    /// # Errors
    /// The path leads to no array.
    pub(super) fn to_items(
        descriptor: &MessageDescriptor,
        path: &[String],
    ) -> Result<Self, String> {
        if path.is_empty() {
            return Err("a record is one message; name a repeated field of it".to_owned());
        }
        let mut levels = Self::of_record(descriptor);
        path.clone_into(&mut levels.path);
        let mut message = 0;
        for (key, behind) in path.iter().zip(1..) {
            let Some(level) = levels.levels.last_mut() else {
                break;
            };
            let step = level.compiler.step_to_items(message, key)?;
            let is_last = behind == path.len();
            match step {
                Step::Message(_) | Step::Other if is_last => {
                    return Err(format!("'{}' is not repeated", path.join(".")));
                }
                Step::Items(field) if !is_last && field.kind().as_message().is_none() => {
                    return Err(no_messages(key));
                }
                Step::Other => return Err(no_messages(key)),
                Step::Message(next) => message = next,
                Step::Items(field) => {
                    levels.levels.push(Level {
                        compiler: Compiler::of_item(&field),
                        array: Some(field),
                        behind,
                    });
                    message = 0;
                }
            }
        }
        Ok(levels)
    }

    /// Adds a path for a leaf. It goes along the way to the items as far as it has the same keys, and on from
    /// what is at hand there.
    ///
    /// # Errors
    /// It leads nowhere, or to no single value.
    pub(super) fn add(&mut self, keys: &[String], leaf: usize) -> Result<Target, String> {
        let on_the_way = in_common(keys, &self.path);
        let mut levels = self.levels.iter_mut().rev();
        let Some(level) = levels.find(|level| level.behind <= on_the_way) else {
            return Err("a record has no messages".to_owned());
        };
        let rest = keys.get(level.behind..).unwrap_or_default();
        match &level.array {
            Some(array) => level.compiler.add_item(array, rest, leaf),
            None => level.compiler.add(rest, leaf),
        }
    }

    /// The plan of each level, the record's first.
    pub(super) fn finish(self) -> impl Iterator<Item = Plan> {
        let levels = self.levels.into_iter();
        levels.map(|level| level.compiler.finish())
    }
}

/// Why no array is reached through a field.
fn no_messages(key: &str) -> String {
    format!("'{key}' is neither a message nor repeated messages")
}
