//! Partitions that are not fetched for now: because the pipeline takes nothing, or because they run ahead
//! of the others.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;

use super::super::answers::watermarks;
use super::Reader;
use crate::model::SplitId;

/// How often the ends of paused partitions are asked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long the brokers may take to say where the paused partitions end.
const ENDS_TIMEOUT: Duration = Duration::from_secs(1);

impl Reader {
    pub(super) fn pause(&mut self) {
        self.paused = true;
        let paused = self
            .consumer
            .assignment()
            .and_then(|list| self.consumer.pause(&list));
        if let Err(error) = paused {
            tracing::warn!(%error, "the partitions cannot be paused");
        }
    }

    /// Resumes what is assigned and does not run ahead.
    pub(super) fn resume(&mut self) {
        self.paused = false;
        let splits = self.owned.keys().copied();
        self.resume_partitions(splits.filter(|split| !self.ahead.contains(split)));
    }

    pub(super) fn resume_partitions(&self, splits: impl Iterator<Item = SplitId>) {
        if let Err(error) = self.consumer.resume(&self.partitions(splits)) {
            tracing::warn!(%error, "the partitions cannot be resumed");
        }
    }

    pub(super) fn partitions(&self, splits: impl Iterator<Item = SplitId>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in splits.filter_map(|split| self.source.topics.partition(split)) {
            list.add_partition(&topic, partition);
        }
        list
    }

    /// Pauses the partitions that run ahead of the others, and resumes those that no longer do.
    pub(super) fn align(&mut self) {
        let alignment = &self.source.context.alignment;
        let generation = alignment.generation();
        if self.aligned == Some(generation) {
            return;
        }
        self.aligned = Some(generation);
        let mut ahead = alignment.paused();
        ahead.retain(|split| self.owned.contains_key(split));
        let resumed: Vec<_> = self.ahead.difference(&ahead).copied().collect();
        let paused: Vec<_> = ahead.difference(&self.ahead).copied().collect();
        self.ahead = ahead;
        let now = Instant::now();
        if !paused.is_empty() {
            tracing::debug!(splits = ?paused, "kafka partitions run ahead and are paused");
            let list = self.partitions(paused.iter().copied());
            if let Err(error) = self.consumer.pause(&list) {
                tracing::warn!(%error, "the partitions that run ahead cannot be paused");
            }
        }
        if !resumed.is_empty() {
            tracing::debug!(splits = ?resumed, "kafka partitions are resumed");
            self.resume_partitions(resumed.iter().copied());
        }
        for (splits, is_paused) in [(paused, true), (resumed, false)] {
            for split in splits {
                self.idle.paused(split, is_paused, now);
            }
        }
    }

    /// Asks for the ends of the partitions that are paused: nothing is fetched of them that would
    /// tell.
    pub(super) fn look_at_paused(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK_EVERY;
        let is_paused = |split: &&SplitId| self.paused || self.ahead.contains(split);
        let paused = self.owned.keys().filter(is_paused);
        let paused: Vec<_> = paused
            .filter_map(|split| Some((*split, self.source.topics.partition(*split)?)))
            .collect();
        let partitions = paused
            .iter()
            .map(|(_, (topic, number))| (&**topic, *number));
        let partitions: Vec<_> = partitions.collect();
        let found = watermarks(&self.consumer, &partitions, ENDS_TIMEOUT);
        let Ok(mut found) = found.inspect_err(|error| {
            tracing::debug!(%error, "the ends of the paused partitions are not known");
        }) else {
            return;
        };
        for (split, (topic, number)) in paused {
            let end = found.remove(&(topic.to_string(), number));
            if let (Some((_, end)), Some(owned)) = (end, self.owned.get_mut(&split)) {
                owned.end = owned.end.max(Some(end));
            }
        }
    }
}
