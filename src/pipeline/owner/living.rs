//! The series of a metric that live: those that have had a sample and no staleness marker since.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::living_memory::{ENDED, LivingMemory};
use crate::config::Metric;
use crate::model::{
    Corrupt, HoldsSymbols, Interner, LiveSymbols, Renumbering, Symbol, TimestampMs,
};
use crate::window::Windows;

/// The labels of a series.
type Key = Box<[Symbol]>;

/// The series that live, with the times of their last samples.
#[derive(Debug)]
pub(in crate::pipeline) struct Living {
    stale_after_ms: i64,
    /// How many there may be at most.
    limit: usize,
    /// Shared with a checkpoint that is being written: copied where it then changes.
    memory: Arc<LivingMemory>,
    /// How many have had their last sample at a time: so it is known at once whether one ends.
    by_last: BTreeMap<TimestampMs, usize>,
    /// How many slots are of series that have ended.
    ended: usize,
    /// No series ends at or before this, ms since the epoch: receivers may have been told of later times.
    behind: TimestampMs,
}

impl Living {
    /// No series yet; nothing where no series of the metric ends.
    pub(in crate::pipeline) fn new(metric: &Metric) -> Option<Self> {
        Some(Self {
            stale_after_ms: metric.windows.stale_after_ms()?,
            // Those of the budget, and the group of the rest.
            limit: metric.max_series.map_or(usize::MAX, |limit| limit + 1),
            memory: Arc::new(LivingMemory::new(metric.by.len())),
            by_last: BTreeMap::new(),
            ended: 0,
            behind: TimestampMs::MIN,
        })
    }

    /// Whether no series lives.
    pub(in crate::pipeline) fn is_empty(&self) -> bool {
        self.by_last.is_empty()
    }

    fn len(&self) -> usize {
        self.memory.last.len() - self.ended
    }

    /// What lives now.
    pub(in crate::pipeline) fn freeze(&self) -> Arc<LivingMemory> {
        self.memory.clone()
    }

    /// Takes over series of a checkpoint.
    ///
    /// # Errors
    /// A series lives twice.
    pub(in crate::pipeline) fn restore(&mut self, memory: &LivingMemory) -> Result<(), Corrupt> {
        for slot in memory.living() {
            let key = memory.keys.key(slot as usize);
            let is_known = self.memory.keys.find(key).is_some();
            if let Some(last) = memory.last.get(slot as usize).filter(|_| !is_known) {
                self.saw(key, *last);
                continue;
            }
            let reason = "a series lives twice".to_owned();
            return Err(Corrupt { offset: 0, reason });
        }
        Ok(())
    }

    /// Everything up to a time is formed, by the run before: no series ends at or before it.
    pub(in crate::pipeline) fn go_on_behind(&mut self, formed: TimestampMs) {
        self.behind = formed;
    }

    /// How many bytes it takes, about.
    pub(in crate::pipeline) fn byte_len(&self) -> usize {
        self.memory.byte_len()
    }

    /// A series has a sample, no earlier than any before.
    pub(in crate::pipeline) fn saw(&mut self, key: &[Symbol], time: TimestampMs) {
        let memory = Arc::make_mut(&mut self.memory);
        let slot = memory.keys.slot(key) as usize;
        if slot == memory.last.len() {
            memory.last.push(ENDED);
            self.ended += 1;
        }
        let Some(last) = memory.last.get_mut(slot) else {
            return;
        };
        match std::mem::replace(last, time) {
            before if before == time => return,
            ENDED => self.ended -= 1,
            before => forget(&mut self.by_last, before),
        }
        *self.by_last.entry(time).or_default() += 1;
    }

    /// The end of the first window without samples of a series that has ended by then.
    pub(in crate::pipeline) fn next_end(&self, windows: &Windows) -> Option<TimestampMs> {
        let (last, _) = self.by_last.first_key_value()?;
        let until = last.saturating_add(self.stale_after_ms);
        Some(windows.next_end(until.saturating_sub(1).max(self.behind)))
    }

    /// Takes out the series that have ended by the end of a window, behind its samples: those whose last
    /// sample is long ago, and where there are too many, those that have been silent longest.
    pub(in crate::pipeline) fn take_ended(
        &mut self,
        end: TimestampMs,
        interner: &Interner,
    ) -> Vec<Key> {
        let until = end.saturating_sub(self.stale_after_ms);
        let mut slots = Vec::new();
        if self.by_last.range(..=until).next().is_some() {
            slots = self.slots_between(TimestampMs::MIN, until);
        }
        let too_many = (self.len() - slots.len()).saturating_sub(self.limit);
        if too_many > 0 {
            let mut silent = self.slots_between(until, end.saturating_sub(1));
            silent.sort_by(|one, other| self.by_silence(*one, *other, interner));
            slots.extend(silent.into_iter().take(too_many));
        }
        let keys = slots.into_iter().map(|slot| self.end(slot)).collect();
        self.make_room();
        keys
    }

    /// Takes out at most so many, in no order, with the times of their last samples.
    pub(in crate::pipeline) fn take_some(&mut self, count: usize) -> Vec<(Key, TimestampMs)> {
        let slots = self.memory.living();
        let taken = slots.into_iter().take(count).map(|slot| {
            let last = self.memory.last.get(slot as usize).copied();
            (self.end(slot), last.unwrap_or(ENDED))
        });
        let taken = taken.collect();
        self.make_room();
        taken
    }

    /// Those whose last sample was after one time and not after another.
    fn slots_between(&self, after: TimestampMs, until: TimestampMs) -> Vec<u32> {
        let slots = self.memory.last.iter().zip(0..);
        slots
            .filter(|(last, _)| after < **last && **last <= until)
            .map(|(_, slot)| slot)
            .collect()
    }

    fn by_silence(&self, one: u32, other: u32, interner: &Interner) -> Ordering {
        let last = |slot: u32| self.memory.last.get(slot as usize);
        let texts = |slot: u32| {
            let key = self.memory.keys.key(slot as usize);
            key.iter().map(|symbol| interner.text(*symbol))
        };
        let by_time = last(one).cmp(&last(other));
        by_time.then_with(|| texts(one).cmp(texts(other)))
    }

    fn end(&mut self, slot: u32) -> Key {
        let memory = Arc::make_mut(&mut self.memory);
        if let Some(last) = memory.last.get_mut(slot as usize) {
            forget(&mut self.by_last, std::mem::replace(last, ENDED));
            self.ended += 1;
        }
        memory.keys.key(slot as usize).into()
    }

    /// Lets go of slots, so that they are never more than twice as many as series live.
    fn make_room(&mut self) {
        if self.ended > self.len() {
            self.memory = Arc::new(self.memory.pick(&self.memory.living()));
            self.ended = 0;
        }
    }
}

fn forget(by_last: &mut BTreeMap<TimestampMs, usize>, time: TimestampMs) {
    if let Some(count) = by_last.get_mut(&time) {
        *count -= 1;
        if *count == 0 {
            by_last.remove(&time);
        }
    }
}

impl HoldsSymbols for Living {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.memory.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.memory.renumber(numbers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::tests::remote_pipeline;

    fn living() -> Living {
        let metric = "\n  m: { window: { tumbling: 5s, stale_after: 10s }, by: [vehicle, region], value: \
                      count(*) }";
        Living::new(&remote_pipeline("[]", metric).metrics[0]).unwrap()
    }

    #[test]
    fn a_series_takes_few_bytes_and_gives_them_back() {
        let mut living = living();
        let mut interner = Interner::new();
        let keys: Vec<_> = (0..100_000)
            .map(|number| [interner.intern(&format!("V{number}")), Symbol::NULL])
            .collect();
        for key in &keys {
            living.saw(key, 5_000);
        }
        let bytes = living.byte_len() / keys.len();
        assert!((20..=56).contains(&bytes), "{bytes} bytes a series");
        living.saw(&keys[7], 10_000);
        assert_eq!(living.take_ended(10_000, &interner), Vec::<Key>::new());
        assert_eq!(living.take_ended(15_000, &interner).len(), 99_999);
        assert_eq!((living.len(), living.ended), (1, 0));
        assert!(living.byte_len() < 1_000, "{}", living.byte_len());
        assert_eq!(living.take_some(9), [(keys[7].into(), 10_000)]);
        assert!(living.is_empty());
    }

    #[test]
    fn a_series_that_has_ended_may_live_again() {
        let mut living = living();
        let mut interner = Interner::new();
        let keys = ["V1", "V2", "V3"].map(|text| [interner.intern(text), Symbol::NULL]);
        for key in &keys {
            living.saw(key, 5_000);
        }
        living.saw(&keys[1], 10_000);
        living.saw(&keys[2], 10_000);
        let ended = living.take_ended(15_000, &interner);
        assert_eq!(ended, [Key::from(keys[0])]);
        living.saw(&keys[0], 20_000);
        assert_eq!((living.len(), living.ended), (3, 0));
        let ended = living.take_ended(20_000, &interner);
        assert_eq!(ended, [Key::from(keys[1]), Key::from(keys[2])]);
        let restored = living.freeze();
        let error = living.restore(&restored).unwrap_err();
        assert_eq!(error.reason, "a series lives twice");
    }
}
