//! Topics that cannot be read, for a while or for good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use regex::Regex;

use super::super::intake::Owned;
use super::super::topics::is_pattern;
use super::super::trouble::Trouble;
use super::{LOG_EVERY, Reader};
use crate::telemetry::LogLimit;

/// How long the cluster may take to say which topics there are.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// How often topics are looked for that are gone.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Topics and patterns of the pipeline file of which nothing can be read, and why.
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
        self.found(&[topic]);
    }

    /// There are these topics: forgets the patterns that one of them matches. As a pipeline file has them,
    /// patterns mean the same here as to librdkafka.
    fn found(&mut self, topics: &[&str]) {
        self.topics.retain(|wanted, _| {
            let pattern = is_pattern(wanted).then(|| Regex::new(wanted));
            !pattern.is_some_and(|pattern| {
                pattern.is_ok_and(|pattern| topics.iter().any(|topic| pattern.is_match(topic)))
            })
        });
    }
}

impl Reader {
    /// A topic cannot be read, or there is none for a pattern; the others are.
    pub(super) fn topic_is_unavailable(&mut self, topic: String, trouble: Trouble) {
        let mut wanted = self.source.topics.wanted();
        if wanted.any(|wanted| wanted == topic) {
            self.unavailable.topics.insert(topic, trouble);
        }
    }

    /// What cannot be read is waited for, and told as long as that is so: a topic may be created later, or
    /// allowed.
    pub(super) fn look_for_unavailable_topics(&mut self) {
        if self.unavailable.topics.is_empty() || self.unavailable.log.admit().is_none() {
            return;
        }
        // Of a cluster that does not answer, the next answer would have to be waited for as well.
        if self.look_for_matches().is_err() {
            return self.tell_unavailable();
        }
        let names = self.unavailable.topics.keys();
        let names: Vec<_> = names.filter(|name| !is_pattern(name)).cloned().collect();
        for name in names {
            let metadata = self.consumer.fetch_metadata(Some(&name), METADATA_TIMEOUT);
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
        self.tell_unavailable();
    }

    /// Forgets the patterns that a topic matches by now, also one that another instance reads.
    fn look_for_matches(&mut self) -> KafkaResult<()> {
        if self.unavailable.topics.keys().any(|name| is_pattern(name)) {
            let metadata = self.consumer.fetch_metadata(None, METADATA_TIMEOUT)?;
            let topics = metadata.topics().iter();
            let topics = topics.filter(|topic| topic.error().is_none());
            let names: Vec<_> = topics.map(|topic| topic.name()).collect();
            self.unavailable.found(&names);
        }
        Ok(())
    }

    fn tell_unavailable(&self) {
        for (topic, trouble) in &self.unavailable.topics {
            self.source.errors(*trouble).inc();
            match trouble {
                _ if is_pattern(topic) => {
                    tracing::warn!(
                        pattern = topic,
                        "no kafka topic matches the pattern; waiting for one"
                    );
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_missing_until_there_is_a_topic_that_it_matches() {
        let mut unavailable = Unavailable::new();
        for wanted in ["^bus-[0-9]+$", "^tram-.*", "ferry"] {
            let missing = Trouble::MissingTopic;
            unavailable.topics.insert(wanted.to_owned(), missing);
        }
        let left = |unavailable: &Unavailable| {
            let topics = unavailable.topics.keys();
            topics.cloned().collect::<Vec<_>>().join(" ")
        };
        unavailable.available("bus-x");
        unavailable.found(&["ferry", "my-tram-1"]);
        assert_eq!(left(&unavailable), "^bus-[0-9]+$ ^tram-.* ferry");
        unavailable.available("bus-12");
        assert_eq!(left(&unavailable), "^tram-.* ferry");
        unavailable.found(&["ferry", "tram-1"]);
        unavailable.available("ferry");
        assert_eq!(left(&unavailable), "");
    }
}
