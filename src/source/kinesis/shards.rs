//! Which shards of a stream may be read: a child only once its parents are read to their end, so that
//! the records of a partition key stay in their order through splits and merges.

use std::collections::BTreeMap;

/// How many listings in a row must be without a shard that is read to its end, until it is forgotten.
const MISSING_LISTINGS: u32 = 3;

/// A shard as the stream lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: String,
    /// None, one for each half of a split shard, or both of a merged one.
    pub(super) parents: Vec<String>,
}

/// How far a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Waiting,
    Reading,
    Ended,
}

#[derive(Debug)]
struct Shard {
    parents: Vec<String>,
    progress: Progress,
    /// How many listings it was not in since it was.
    missing: u32,
}

/// The shards that are ours, by their ids.
#[derive(Debug, Default)]
pub(super) struct Shards(BTreeMap<String, Shard>);

impl Shards {
    /// A shard of an earlier run: one that is read to its end, or to be read on.
    pub(super) fn restore(&mut self, id: &str, ended: bool) {
        let progress = if ended {
            Progress::Ended
        } else {
            Progress::Waiting
        };
        self.insert(id, Vec::new(), progress);
    }

    /// The stream has these shards of ours. Gives those that are new.
    pub(super) fn list(&mut self, listed: &[Listed]) -> Vec<String> {
        for shard in self.0.values_mut() {
            shard.missing = shard.missing.saturating_add(1);
        }
        let mut new = Vec::new();
        for Listed { id, parents } in listed {
            match self.0.get_mut(id) {
                Some(known) => {
                    known.missing = 0;
                    known.parents.clone_from(parents);
                }
                None => {
                    self.insert(id, parents.clone(), Progress::Waiting);
                    new.push(id.clone());
                }
            }
        }
        new
    }

    /// The shards that may be read from now on, each once: those without parents that are ours and not
    /// at their end. A parent that is not ours is read elsewhere, and no sample of ours can tell when; one
    /// that is not known is no longer kept.
    pub(super) fn ready(&mut self) -> Vec<String> {
        let is_over = |id: &String| {
            let parent = self.0.get(id);
            parent.is_none_or(|parent| parent.progress == Progress::Ended)
        };
        let ready: Vec<_> = self
            .0
            .iter()
            .filter(|(_, shard)| shard.progress == Progress::Waiting)
            .filter(|(_, shard)| shard.parents.iter().all(is_over))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &ready {
            if let Some(shard) = self.0.get_mut(id) {
                shard.progress = Progress::Reading;
            }
        }
        ready
    }

    /// Everything of a shard was handed over.
    pub(super) fn end(&mut self, id: &str) {
        if let Some(shard) = self.0.get_mut(id) {
            shard.progress = Progress::Ended;
        }
    }

    /// The shards that are read to their end and have left the stream; they are no longer known.
    pub(super) fn forget(&mut self) -> Vec<String> {
        let is_gone =
            |shard: &Shard| shard.progress == Progress::Ended && shard.missing >= MISSING_LISTINGS;
        let gone = self.0.iter().filter(|(_, shard)| is_gone(shard));
        let gone: Vec<_> = gone.map(|(id, _)| id.clone()).collect();
        self.0.retain(|_, shard| !is_gone(shard));
        gone
    }

    /// How many shards are so far.
    pub(super) fn count(&self, progress: Progress) -> usize {
        let shards = self.0.values();
        shards.filter(|shard| shard.progress == progress).count()
    }

    fn insert(&mut self, id: &str, parents: Vec<String>, progress: Progress) {
        let shard = Shard {
            parents,
            progress,
            missing: 0,
        };
        self.0.insert(id.to_owned(), shard);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn listed(id: &str, parents: &[&str]) -> Listed {
        Listed {
            id: id.to_owned(),
            parents: parents.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    #[test]
    fn a_child_waits_for_both_parents() {
        let mut shards = Shards::default();
        let stream = [
            listed("a", &[]),
            listed("b", &[]),
            listed("c", &["a", "b"]),
            listed("d", &["c"]),
        ];
        assert_eq!(shards.list(&stream), ["a", "b", "c", "d"]);
        assert_eq!(shards.ready(), ["a", "b"]);
        assert_eq!(shards.ready(), [""; 0], "each once");
        shards.end("b");
        assert_eq!(shards.ready(), [""; 0]);
        shards.end("a");
        assert_eq!(shards.list(&stream), [""; 0]);
        assert_eq!(shards.ready(), ["c"]);
        assert_eq!(shards.count(Progress::Ended), 2);
        assert_eq!(shards.count(Progress::Waiting), 1);
    }

    #[test]
    fn a_parent_that_is_not_ours_is_not_waited_for() {
        let mut shards = Shards::default();
        shards.list(&[listed("c", &["elsewhere", "gone"])]);
        assert_eq!(shards.ready(), ["c"]);
    }

    #[test]
    fn what_an_earlier_run_has_read_is_not_read_again() {
        let mut shards = Shards::default();
        shards.restore("a", true);
        shards.restore("b", false);
        assert_eq!(
            shards.list(&[listed("a", &[]), listed("b", &["a"])]),
            [""; 0]
        );
        assert_eq!(shards.ready(), ["b"]);
    }

    #[test]
    fn a_shard_is_forgotten_once_it_is_read_and_has_left_the_stream_for_good() {
        let mut shards = Shards::default();
        shards.list(&[listed("a", &[]), listed("b", &[])]);
        shards.ready();
        shards.end("a");
        let rest = [listed("b", &[])];
        for _ in 1..MISSING_LISTINGS {
            shards.list(&rest);
            assert_eq!(shards.forget(), [""; 0]);
        }
        assert_eq!(shards.list(&[listed("a", &[]), listed("b", &[])]), [""; 0]);
        for _ in 0..MISSING_LISTINGS {
            assert_eq!(shards.forget(), [""; 0]);
            shards.list(&[]);
        }
        assert_eq!(shards.forget(), ["a"], "b is not read yet");
    }

    /// What happens to a stream and its reader.
    #[derive(Debug, Clone)]
    enum Step {
        Split(usize),
        Merge(usize, usize),
        List,
        End(usize),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..8_usize).prop_map(Step::Split),
            (0..8_usize, 0..8_usize).prop_map(|(a, b)| Step::Merge(a, b)),
            Just(Step::List),
            (0..8_usize).prop_map(Step::End),
            (0..8_usize).prop_map(Step::End),
            Just(Step::Restart),
        ]
    }

    proptest! {
        /// The reference is the history of the stream: a shard is read once, behind all its ancestors, and at
        /// the end all of them are read.
        #[test]
        fn every_shard_is_read_once_and_behind_its_ancestors(
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let mut stream = vec![listed("s000", &[]), listed("s001", &[])];
            let mut open: Vec<usize> = vec![0, 1];
            let mut shards = Shards::default();
            let (mut reading, mut ended) = (Vec::<String>::new(), BTreeSet::<String>::new());
            let end = [Step::List, Step::End(0)];
            let rest = std::iter::repeat_n(end, 80).flatten();
            for step in steps.into_iter().chain(rest) {
                let next = format!("s{:03}", stream.len());
                match step {
                    Step::Split(n) => {
                        let parent = stream[open.remove(n % open.len())].id.clone();
                        for _ in 0..2 {
                            open.push(stream.len());
                            let id = format!("s{:03}", stream.len());
                            stream.push(listed(&id, &[&parent]));
                        }
                    }
                    Step::Merge(a, b) if open.len() > 1 => {
                        let a = stream[open.remove(a % open.len())].id.clone();
                        let b = stream[open.remove(b % open.len())].id.clone();
                        open.push(stream.len());
                        stream.push(listed(&next, &[&a, &b]));
                    }
                    Step::Merge(..) => {}
                    Step::List => {
                        shards.list(&stream);
                    }
                    Step::End(_) if reading.is_empty() => {}
                    Step::End(n) => {
                        let id = reading.remove(n % reading.len());
                        shards.end(&id);
                        prop_assert!(ended.insert(id));
                    }
                    Step::Restart => {
                        shards = Shards::default();
                        for id in &ended {
                            shards.restore(id, true);
                        }
                        for id in std::mem::take(&mut reading) {
                            shards.restore(&id, false);
                        }
                        shards.list(&stream);
                    }
                }
                for id in shards.ready() {
                    let parents = &stream.iter().find(|shard| shard.id == id).unwrap().parents;
                    prop_assert!(parents.iter().all(|parent| ended.contains(parent)), "{id}");
                    prop_assert!(!ended.contains(&id) && !reading.contains(&id), "{id} again");
                    reading.push(id);
                }
            }
            prop_assert_eq!(ended.len(), stream.len());
        }
    }
}
