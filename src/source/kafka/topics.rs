//! The numbers and names of a topic's partitions as splits.

use std::sync::Arc;

use crate::model::{Split, SplitId};

/// The topics of a source in the order that numbers their splits: sorted, so that a pipeline file
/// may list them in any order.
#[derive(Debug, Clone)]
pub(super) struct Topics(Vec<Arc<str>>);

impl Topics {
    /// The topics, sorted.
    pub(super) fn new(topics: &[String]) -> Self {
        let mut names: Vec<Arc<str>> = topics.iter().map(|topic| topic.as_str().into()).collect();
        names.sort();
        Self(names)
    }

    /// All names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }

    /// The number of a partition: that of its topic in the upper half, its own in the lower. None
    /// for another topic and for a partition beyond 65535.
    pub(super) fn id(&self, topic: &str, partition: i32) -> Option<SplitId> {
        let index = self.0.binary_search_by(|name| (**name).cmp(topic)).ok()?;
        let index = u32::from(u16::try_from(index).ok()?);
        Some(SplitId(
            index << 16 | u32::from(u16::try_from(partition).ok()?),
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

    /// The topic and partition of a split.
    pub(super) fn partition(&self, split: SplitId) -> Option<(&str, i32)> {
        let topic = self.0.get((split.0 >> 16) as usize)?;
        Some((topic, i32::from((split.0 & 0xffff) as u16)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_depend_on_the_order_in_the_file() {
        let topics = Topics::new(&["trips".to_owned(), "alarms".to_owned()]);
        let split = topics.split("trips", 3).unwrap();
        assert_eq!((split.id, &*split.name), (SplitId(0x1_0003), "trips/3"));
        assert_eq!(topics.id("alarms", 65_535), Some(SplitId(0xffff)));
        assert_eq!(topics.partition(split.id), Some(("trips", 3)));
        assert_eq!(topics.partition(SplitId(0xffff)), Some(("alarms", 65_535)));
    }

    #[test]
    fn what_has_no_number_is_no_split() {
        let topics = Topics::new(&["trips".to_owned()]);
        assert_eq!(topics.id("alarms", 0), None);
        assert_eq!(topics.id("trips", -1), None);
        assert_eq!(topics.id("trips", 65_536), None);
        assert_eq!(topics.partition(SplitId(0x1_0000)), None);
    }
}
