//! Topics that patterns had found and that are gone: a topic for each trip must not stay in every
//! checkpoint for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After how long a topic is taken to be gone for good. Until then it may be one that we are not allowed
/// to see for a while.
const GONE_AFTER: Duration = Duration::from_secs(3_600);

/// Since when topics are gone; none where that was told.
#[derive(Debug, Default)]
pub(super) struct Vanished(BTreeMap<Arc<str>, Option<Instant>>);

impl Vanished {
    /// Takes note of which topics that were found before are not there now. Gives those that have been
    /// gone for long enough, each once.
    pub(super) fn look(&mut self, missing: BTreeSet<Arc<str>>, now: Instant) -> Vec<Arc<str>> {
        self.0.retain(|topic, _| missing.contains(topic));
        let mut gone = Vec::new();
        for topic in missing {
            let since = self.0.entry(topic.clone()).or_insert(Some(now));
            if since.is_some_and(|since| now.saturating_duration_since(since) >= GONE_AFTER) {
                *since = None;
                gone.push(topic);
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_gone_that_was_missing_all_the_time_and_is_told_once() {
        let (mut vanished, start) = (Vanished::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let look = |vanished: &mut Vanished, topics: &[&str], seconds| {
            let missing = topics.iter().map(|topic| Arc::from(*topic)).collect();
            let gone = vanished.look(missing, at(seconds));
            gone.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let nothing: [&str; 0] = [];
        assert_eq!(look(&mut vanished, &["a", "b"], 0), nothing);
        assert_eq!(
            look(&mut vanished, &["a"], 1_800),
            nothing,
            "b is there again"
        );
        assert_eq!(look(&mut vanished, &["a", "b"], 3_600), ["a"]);
        assert_eq!(look(&mut vanished, &["a", "b"], 7_199), nothing);
        assert_eq!(look(&mut vanished, &["a", "b"], 7_200), ["b"]);
        // It comes again, and vanishes again.
        assert_eq!(look(&mut vanished, &["b"], 7_300), nothing);
        assert_eq!(look(&mut vanished, &["a", "b"], 7_400), nothing);
        assert_eq!(look(&mut vanished, &["a"], 11_000), ["a"]);
    }
}
