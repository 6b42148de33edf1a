//! The series of a metric that live, as columns that a checkpoint can share.

use crate::model::{
    Corrupt, Decoder, Encoder, HoldsSymbols, Interner, LiveSymbols, Renumbering, Symbol,
    SymbolReader, SymbolWriter, TimestampMs,
};
use crate::pipeline::exchange::texts_of;
use crate::window::Groups;
use crate::window::aggregate::SymbolMap;

/// The time of a series that has ended, and whose slot is kept for a while.
pub(super) const ENDED: TimestampMs = TimestampMs::MIN;

/// Series with the times of their last samples.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct LivingMemory {
    /// Their labels; there are no aggregates.
    pub(super) keys: Groups,
    /// The times of their last samples by slot, ms since the epoch, or [`ENDED`].
    pub(super) last: Vec<TimestampMs>,
}

impl LivingMemory {
    /// No series yet; they have `labels` labels.
    pub(in crate::pipeline) fn new(labels: usize) -> Self {
        Self {
            keys: Groups::new(labels, &[]),
            last: Vec::new(),
        }
    }

    /// The slots of those that live.
    pub(super) fn living(&self) -> Vec<u32> {
        let slots = self.last.iter().zip(0..);
        slots
            .filter(|(last, _)| **last != ENDED)
            .map(|(_, slot)| slot)
            .collect()
    }

    /// Some of them, copied.
    pub(super) fn pick(&self, slots: &[u32]) -> Self {
        let last = |slot: &u32| self.last.get(*slot as usize).copied();
        Self {
            keys: self.keys.pick(slots),
            last: slots.iter().filter_map(last).collect(),
        }
    }

    /// How many bytes it takes, about.
    pub(super) fn byte_len(&self) -> usize {
        self.keys.byte_len() + self.last.capacity() * size_of::<TimestampMs>()
    }

    /// Writes those that live.
    pub(in crate::pipeline) fn encode(&self, out: &mut Encoder, symbols: &mut SymbolWriter<'_>) {
        let living = self.pick(&self.living());
        living.keys.encode(out, symbols);
        out.i64s(living.last.iter().copied());
    }

    /// Reads what [`encode`](Self::encode) has written, of series with so many labels.
    ///
    /// # Errors
    /// The bytes end before, or are of other series.
    pub(in crate::pipeline) fn decode(
        from: &mut Decoder<'_>,
        symbols: &SymbolReader,
        labels: usize,
    ) -> Result<Self, Corrupt> {
        let keys = Groups::decode(from, symbols, labels, &[])?;
        let last = from.i64s()?;
        if last.len() != keys.len() {
            let (times, series) = (last.len(), keys.len());
            return Err(from.corrupt(format!("{series} series have {times} last samples")));
        }
        if last.contains(&ENDED) {
            return Err(from.corrupt("a series that lives has no last sample"));
        }
        Ok(Self { keys, last })
    }

    /// Distributes the series to their owners; `owner_of` is asked for each.
    pub(in crate::pipeline) fn route(
        &self,
        owners: usize,
        owner_of: impl Fn(&[Symbol]) -> usize,
    ) -> Vec<(usize, Self)> {
        let mut slots_of: Vec<Vec<u32>> = vec![Vec::new(); owners];
        for slot in self.living() {
            if let Some(slots) = slots_of.get_mut(owner_of(self.keys.key(slot as usize))) {
                slots.push(slot);
            }
        }
        let slots_of = slots_of.into_iter().enumerate();
        slots_of
            .filter(|(_, slots)| !slots.is_empty())
            .map(|(owner, slots)| (owner, self.pick(&slots)))
            .collect()
    }

    /// The same with another interner's symbols.
    pub(in crate::pipeline) fn translated(self, from: &Interner, to: &mut Interner) -> Self {
        let texts = texts_of(&self.keys, from);
        let length = texts.iter().map(|(symbol, _)| symbol.index() + 1).max();
        let mut table = vec![Symbol::NULL; length.unwrap_or_default()];
        for (symbol, text) in &texts {
            if let Some(entry) = table.get_mut(symbol.index()) {
                *entry = to.intern(text);
            }
        }
        let mut keys = Groups::new(self.keys.width(), &[]);
        // Slots come in their order, so that the times stay with their series.
        keys.merge(&self.keys, &SymbolMap::Table(&table));
        Self {
            keys,
            last: self.last,
        }
    }
}

impl HoldsSymbols for LivingMemory {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.keys.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.keys.renumber(numbers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(interner: &mut Interner) -> LivingMemory {
        let mut memory = LivingMemory::new(2);
        for (region, model, last) in [
            ("UK", "ford", 5_000),
            ("US", "kia", ENDED),
            ("", "kia", -1_000),
        ] {
            let key = [region, model].map(|text| interner.intern(text));
            memory.keys.slot(&key);
            memory.last.push(last);
        }
        memory
    }

    fn written(memory: &LivingMemory, interner: &mut Interner) -> Vec<u8> {
        let texts = interner.texts();
        let mut symbols = SymbolWriter::new(&texts);
        let mut out = Encoder::new();
        memory.encode(&mut out, &mut symbols);
        symbols.finish(&out)
    }

    fn read(bytes: &[u8], labels: usize, interner: &mut Interner) -> Result<LivingMemory, Corrupt> {
        let mut from = Decoder::new(bytes);
        let symbols = SymbolReader::read(&mut from, interner)?;
        let memory = LivingMemory::decode(&mut from, &symbols, labels)?;
        from.end()?;
        Ok(memory)
    }

    /// The series as texts, with their times.
    fn told(memory: &LivingMemory, interner: &Interner) -> Vec<(String, TimestampMs)> {
        let slots = memory.last.iter().enumerate();
        let key = |slot| {
            let texts = memory.keys.key(slot).iter();
            let texts: Vec<_> = texts.map(|symbol| interner.text(*symbol)).collect();
            texts.join("/")
        };
        slots.map(|(slot, last)| (key(slot), *last)).collect()
    }

    #[test]
    fn what_lives_is_read_as_it_was_written_and_no_cut_is_taken_for_it() {
        let mut interner = Interner::new();
        let memory = memory(&mut interner);
        let bytes = written(&memory, &mut interner);
        let mut other = Interner::new();
        other.intern("shifts all symbols");
        let found = read(&bytes, 2, &mut other).unwrap();
        let expected = [("UK/ford".to_owned(), 5_000), ("/kia".to_owned(), -1_000)];
        assert_eq!(told(&found, &other), expected);
        for end in 0..bytes.len() {
            let mut interner = Interner::new();
            assert!(read(&bytes[..end], 2, &mut interner).is_err(), "{end}");
        }
        assert!(read(&bytes, 3, &mut Interner::new()).is_err());
    }

    #[test]
    fn a_series_goes_to_its_owner_with_its_time() {
        let mut interner = Interner::new();
        let memory = memory(&mut interner);
        let owner_of = |key: &[Symbol]| usize::from(!interner.text(key[0]).is_empty());
        let mut routed = memory.route(2, owner_of);
        assert_eq!(routed.len(), 2);
        let (owner, to_last) = routed.remove(1);
        let mut other = Interner::new();
        let translated = to_last.translated(&interner, &mut other);
        assert_eq!(owner, 1);
        assert_eq!(told(&translated, &other), [("UK/ford".to_owned(), 5_000)]);
        let (owner, to_first) = routed.remove(0);
        assert_eq!(owner, 0);
        assert_eq!(told(&to_first, &interner), [("/kia".to_owned(), -1_000)]);
    }
}
