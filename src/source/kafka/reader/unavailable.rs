//! Topics that cannot be read, for a while or for good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use super::super::intake::Owned;
use super::super::topics::is_pattern;
use super::super::trouble::Trouble;
use super::{LOG_EVERY, Reader};
use crate::telemetry::LogLimit;

/// How long the cluster may take to say which topics there are.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// How often topics are looked for that are gone.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Topics of the pipeline file that cannot be read, and why.
#[derive(Debug)]
pub(super) struct Unavailable {
    topics: BTreeMap<String, Trouble>,
    log: LogLimit,
    next_look: Instant,
}

impl Unavailable {
    /// None is known.
    pub(super) fn new() -> Self {
        Self {
            topics: BTreeMap::new(),
            log: LogLimit::every(LOG_EVERY),
            next_look: Instant::now() + LOOK_EVERY,
        }
    }

    /// A topic can be read.
    pub(super) fn available(&mut self, topic: &str) {
        self.topics.remove(topic);
    }
}

impl Reader {
    /// A topic cannot be read; the others are.
    pub(super) fn topic_is_unavailable(&mut self, topic: String, trouble: Trouble) {
        let mut wanted = self.source.topics.wanted();
        if wanted.any(|wanted| wanted == topic && !is_pattern(wanted)) {
            self.unavailable.topics.insert(topic, trouble);
        }
    }

    /// What cannot be read is waited for, and told as long as that is so: a topic may be created later, or
    /// allowed.
    pub(super) fn look_for_unavailable_topics(&mut self) {
        if self.unavailable.topics.is_empty() || self.unavailable.log.admit().is_none() {
            return;
        }
        let names: Vec<_> = self.unavailable.topics.keys().cloned().collect();
        for name in names {
            let metadata = self.consumer.fetch_metadata(Some(&name), METADATA_TIMEOUT);
            // The next one would have to be waited for as well.
            let Ok(metadata) = metadata else { break };
            let mut topics = metadata.topics().iter();
            let topic = topics.find(|topic| topic.name() == name);
            match topic.and_then(|topic| topic.error()) {
                Some(error) => {
                    let trouble = Trouble::of(Some(error.into()));
                    self.unavailable.topics.insert(name, trouble);
                }
                None if topic.is_some_and(|topic| !topic.partitions().is_empty())
                    && !self.is_refused(&name) =>
                {
                    self.unavailable.topics.remove(&name);
                }
                None => {}
            }
        }
        for (topic, trouble) in &self.unavailable.topics {
            self.source.errors(*trouble).inc();
            match trouble {
                Trouble::MissingTopic => {
                    tracing::warn!(%topic, "the kafka topic does not exist; waiting for it");
                }
                Trouble::Authorization => {
                    tracing::warn!(%topic, "we may not read the kafka topic; waiting until we may");
                }
                _ => tracing::warn!(%topic, "the kafka topic cannot be read; waiting for it"),
            }
        }
    }

    /// Whether a topic that we may see is one that we may not read: no broker has said where one of our
    /// partitions of it ends.
    fn is_refused(&self, topic: &str) -> bool {
        let is_of_topic = |owned: &&Owned| {
            let partition = self.source.topics.partition(owned.split.id);
            partition.is_some_and(|(name, _)| &*name == topic)
        };
        let mut ours = self.owned.values().filter(is_of_topic).peekable();
        self.unavailable.topics.get(topic) == Some(&Trouble::Authorization)
            && ours.peek().is_some()
            && ours.all(|owned| owned.end.is_none())
    }

    /// Forgets the topics that patterns had found and that are gone for good.
    pub(super) fn look_for_vanished_topics(&mut self, now: Instant) {
        if !self.source.topics.has_patterns() || now < self.unavailable.next_look {
            return;
        }
        self.unavailable.next_look = now + LOOK_EVERY;
        let topic = |split| self.source.topics.partition(split).map(|(topic, _)| topic);
        let ours: BTreeSet<_> = self
            .owned
            .keys()
            .filter_map(|split| topic(*split))
            .collect();
        let mut missing: BTreeSet<Arc<str>> = self.source.topics.numbered().into_iter().collect();
        missing.retain(|topic| !ours.contains(topic));
        if missing.is_empty() {
            return;
        }
        let Ok(metadata) = self.consumer.fetch_metadata(None, METADATA_TIMEOUT) else {
            return;
        };
        for topic in metadata.topics() {
            missing.remove(topic.name());
        }
        for topic in self.vanished.look(missing, now) {
            tracing::info!(%topic, "the kafka topic is gone; checkpoints have nothing of it any more");
            self.consumer.context().forget(&topic);
        }
    }
}
