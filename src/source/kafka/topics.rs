//! The numbers and names of a topic's partitions as splits.
//!
//! With names alone, the topics are numbered in their order, so that a pipeline file may list them in
//! any. Patterns find topics while weir runs; each gets the next number, and keeps it over a restart,
//! because the number breaks ties between events of the same time: a checkpoint has it as a token.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::model::{Split, SplitId};
use crate::source::Resume;

/// What stands before a topic's number in a token.
const TOKEN: &str = "topic=";

/// The topics of a source. Clones share the same numbers.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    /// Names, and patterns that begin with `^`.
    wanted: Arc<[String]>,
    has_patterns: bool,
    numbers: Arc<RwLock<Numbers>>,
}

#[derive(Debug, Default)]
struct Numbers {
    by_name: BTreeMap<Arc<str>, u16>,
    by_number: BTreeMap<u16, Arc<str>>,
}

impl Numbers {
    fn insert(&mut self, name: &str, number: u16) {
        if self.by_name.contains_key(name) || self.by_number.contains_key(&number) {
            return;
        }
        let name: Arc<str> = name.into();
        self.by_name.insert(name.clone(), number);
        self.by_number.insert(number, name);
    }

    /// Gives a topic the next number, or else one that a topic has left which is gone; none where there
    /// are no more.
    fn add(&mut self, name: &str) {
        let last = self.by_number.last_key_value();
        let next = last.map_or(Some(0), |(last, _)| last.checked_add(1));
        let is_free = |number: &u16| !self.by_number.contains_key(number);
        if let Some(number) = next.or_else(|| (0..=u16::MAX).find(is_free)) {
            self.insert(name, number);
        }
    }
}

/// Whether a topic of the pipeline file is a pattern.
pub(super) fn is_pattern(topic: &str) -> bool {
    topic.starts_with('^')
}

impl Topics {
    /// The topics of a pipeline file; with patterns, those have numbers that a state knows.
    pub(super) fn new(topics: &[String], resume: &Resume) -> Self {
        let has_patterns = topics.iter().any(|topic| is_pattern(topic));
        let mut numbers = Numbers::default();
        if has_patterns {
            for (split, token) in resume.tokens() {
                let number = token.text.strip_prefix(TOKEN);
                let number = number.and_then(|number| number.parse().ok());
                if let (Some((topic, _)), Some(number)) = (split.rsplit_once('/'), number) {
                    numbers.insert(topic, number);
                }
            }
        } else {
            let mut names: Vec<_> = topics.iter().collect();
            names.sort();
            names.into_iter().for_each(|name| numbers.add(name));
        }
        Self {
            wanted: topics.into(),
            has_patterns,
            numbers: Arc::new(RwLock::new(numbers)),
        }
    }

    /// Names and patterns.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &str> {
        self.wanted.iter().map(String::as_str)
    }

    /// Whether topics may appear that nobody has named.
    pub(super) fn has_patterns(&self) -> bool {
        self.has_patterns
    }

    /// Whether there is no more than one topic, ever.
    pub(super) fn is_one(&self) -> bool {
        self.wanted.len() == 1 && !self.has_patterns
    }

    /// Numbers the topics among these that are new, in their order.
    pub(super) fn learn<'a>(&self, topics: impl Iterator<Item = &'a str>) {
        if !self.has_patterns {
            return;
        }
        let mut topics: Vec<_> = topics.collect();
        topics.sort_unstable();
        let mut numbers = self.write();
        topics.into_iter().for_each(|topic| {
            if !numbers.by_name.contains_key(topic) {
                numbers.add(topic);
            }
        });
    }

    /// Why a partition has no number: which bound was hit.
    pub(super) fn bound(&self, topic: &str, partition: i32) -> String {
        if u16::try_from(partition).is_err() {
            return format!(
                "partition {topic}/{partition} cannot be read: at most 65536 of a topic are"
            );
        }
        format!(
            "topic {topic} cannot be read: the patterns have found more than 65536 topics, also those \
             that are gone by now; a restart forgets these"
        )
    }

    /// All topics that have a number.
    pub(super) fn numbered(&self) -> Vec<Arc<str>> {
        self.read().by_name.keys().cloned().collect()
    }

    /// What a checkpoint keeps of a split, so that its topic has the same number again; nothing where
    /// that follows from the pipeline file.
    pub(super) fn token(&self, split: SplitId) -> Option<String> {
        self.has_patterns
            .then(|| format!("{TOKEN}{}", split.0 >> 16))
    }

    /// The number of a partition: that of its topic in the upper half, its own in the lower. None
    /// for another topic and for a partition beyond 65535.
    pub(super) fn id(&self, topic: &str, partition: i32) -> Option<SplitId> {
        let number = u32::from(*self.read().by_name.get(topic)?);
        Some(SplitId(
            number << 16 | u32::from(u16::try_from(partition).ok()?),
        ))
    }

    /// The split of a partition.
    pub(super) fn split(&self, topic: &str, partition: i32) -> Option<Split> {
        let id = self.id(topic, partition)?;
        Some(Split {
            id,
            name: format!("{topic}/{partition}").into(),
        })
    }

    /// The name of a split.
    pub(super) fn name(&self, split: SplitId) -> Option<String> {
        let (topic, partition) = self.partition(split)?;
        Some(format!("{topic}/{partition}"))
    }

    /// The topic and partition of a split.
    pub(super) fn partition(&self, split: SplitId) -> Option<(Arc<str>, i32)> {
        let number = u16::try_from(split.0 >> 16).ok()?;
        let topic = self.read().by_number.get(&number)?.clone();
        Some((topic, i32::from((split.0 & 0xffff) as u16)))
    }

    fn read(&self) -> RwLockReadGuard<'_, Numbers> {
        self.numbers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Numbers> {
        self.numbers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PositionToken;

    fn topics(wanted: &[&str], resume: &Resume) -> Topics {
        let wanted: Vec<_> = wanted.iter().map(|topic| (*topic).to_owned()).collect();
        Topics::new(&wanted, resume)
    }

    #[test]
    fn numbers_do_not_depend_on_the_order_in_the_file() {
        let topics = topics(&["trips", "alarms"], &Resume::default());
        let split = topics.split("trips", 3).unwrap();
        assert_eq!((split.id, &*split.name), (SplitId(0x1_0003), "trips/3"));
        assert_eq!(topics.id("alarms", 65_535), Some(SplitId(0xffff)));
        assert_eq!(topics.partition(split.id), Some(("trips".into(), 3)));
        let last = topics.partition(SplitId(0xffff));
        assert_eq!(last, Some(("alarms".into(), 65_535)));
        topics.learn(["other"].into_iter());
        assert_eq!(topics.id("other", 0), None);
        assert_eq!(topics.token(split.id), None);
    }

    #[test]
    fn what_has_no_number_is_no_split() {
        let topics = topics(&["trips"], &Resume::default());
        assert_eq!(topics.id("alarms", 0), None);
        assert_eq!(topics.id("trips", -1), None);
        assert_eq!(topics.id("trips", 65_536), None);
        assert_eq!(topics.partition(SplitId(0x1_0000)), None);
    }

    #[test]
    fn what_a_pattern_has_found_keeps_its_number() {
        let wanted = ["^fleet-.*", "alarms"];
        let first = topics(&wanted, &Resume::default());
        first.learn(["fleet-uk", "fleet-de", "fleet-uk"].into_iter());
        first.learn(["alarms"].into_iter());
        let names = ["fleet-de", "fleet-uk", "alarms"];
        let numbers = |topics: &Topics| names.map(|name| topics.id(name, 0).map(|id| id.0 >> 16));
        assert_eq!(numbers(&first), [Some(0), Some(1), Some(2)]);
        let token = |name: &str| {
            let split = first.split(name, 0).unwrap();
            let token = PositionToken {
                position: 0,
                text: first.token(split.id).unwrap().into(),
            };
            (split.name.to_string(), token)
        };
        // One topic is gone, and a new one comes before the others in the alphabet.
        let tokens = ["fleet-uk", "alarms"].map(token).into();
        let second = topics(&wanted, &Resume::default().with_tokens(tokens));
        second.learn(["alarms", "fleet-at", "fleet-uk"].into_iter());
        assert_eq!(numbers(&second), [None, Some(1), Some(2)]);
        assert_eq!(second.id("fleet-at", 0), Some(SplitId(3 << 16)));
    }

    #[test]
    fn a_number_is_used_again_where_there_is_no_next_one() {
        let token = |number: u16| PositionToken {
            position: 0,
            text: format!("{TOKEN}{number}").into(),
        };
        let tokens = (0..=u16::MAX)
            .filter(|number| *number != 7)
            .map(|number| (format!("fleet-{number}/0"), token(number)));
        let resume = Resume::default().with_tokens(tokens.collect());
        let topics = topics(&["^fleet-.*"], &resume);
        topics.learn(["fleet-new", "fleet-newer"].into_iter());
        assert_eq!(topics.id("fleet-new", 0), Some(SplitId(7 << 16)));
        assert_eq!(topics.id("fleet-newer", 0), None);
        let bound = topics.bound("fleet-newer", 0);
        assert!(
            bound.starts_with("topic fleet-newer cannot be read: "),
            "{bound}"
        );
        let bound = topics.bound("fleet-new", 65_536);
        assert!(
            bound.starts_with("partition fleet-new/65536 cannot be read: "),
            "{bound}"
        );
    }
}
