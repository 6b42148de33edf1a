//! `count(DISTINCT x)`, exact: how many different values that are not NULL. Of nothing: 0. Merged by
//! union.

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use super::state::{must, must_add_up, read_lengths, read_symbols, write_lengths};
use super::{Input, SymbolMap, merge_slots, pick_slots};
use crate::model::{
    Column, Corrupt, Decoder, Encoder, HoldsSymbols, LiveSymbols, Renumbering, Symbol,
    SymbolReader, SymbolWriter, Trilean,
};

type FastSet<T> = HashSet<T, FixedState>;

/// How many symbols a set holds in a plain list before it becomes a table.
const FEW: usize = 8;
/// A bitmap is taken once it is at most this many times as large as the table.
const BITMAP_RATIO: usize = 4;

/// Different symbols of one group. Symbols are dense small numbers, so a bitmap holds them in a bit
/// each where a group has a good part of them all; a table where it has few.
#[derive(Debug, Clone)]
enum SymbolSet {
    Few(Vec<Symbol>),
    Table(FastSet<Symbol>),
    Bitmap { words: Vec<u64>, count: usize },
}

impl Default for SymbolSet {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl SymbolSet {
    #[inline]
    fn insert(&mut self, symbol: Symbol) {
        let (word, bit) = (symbol.index() / 64, 1_u64 << (symbol.index() % 64));
        match self {
            Self::Bitmap { words, count } => {
                if word >= words.len() {
                    words.resize((word + 1).next_power_of_two(), 0);
                }
                if let Some(word) = words.get_mut(word)
                    && *word & bit == 0
                {
                    *word |= bit;
                    *count += 1;
                }
            }
            Self::Table(table) => {
                if table.insert(symbol) && bitmap_pays(table, symbol) {
                    self.become_bitmap();
                }
            }
            Self::Few(few) => {
                if !few.contains(&symbol) {
                    few.push(symbol);
                    if few.len() > FEW {
                        *self = Self::Table(few.drain(..).collect());
                    }
                }
            }
        }
    }

    #[cold]
    fn become_bitmap(&mut self) {
        if let Self::Table(table) = self {
            let symbols = std::mem::take(table);
            *self = Self::Bitmap {
                words: Vec::new(),
                count: 0,
            };
            symbols.into_iter().for_each(|symbol| self.insert(symbol));
        }
    }

    fn contains(&self, symbol: Symbol) -> bool {
        match self {
            Self::Few(few) => few.contains(&symbol),
            Self::Table(table) => table.contains(&symbol),
            Self::Bitmap { words, .. } => words
                .get(symbol.index() / 64)
                .is_some_and(|word| word & (1 << (symbol.index() % 64)) != 0),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Table(table) => table.len(),
            Self::Bitmap { count, .. } => *count,
        }
    }

    fn for_each(&self, mut visit: impl FnMut(Symbol)) {
        match self {
            Self::Few(few) => few.iter().copied().for_each(visit),
            Self::Table(table) => table.iter().copied().for_each(visit),
            Self::Bitmap { words, .. } => {
                for (index, word) in words.iter().enumerate() {
                    let mut rest = *word;
                    while rest != 0 {
                        let bit = rest.trailing_zeros();
                        rest &= rest - 1;
                        let id = index * 64 + bit as usize;
                        visit(Symbol(u32::try_from(id).unwrap_or(u32::MAX)));
                    }
                }
            }
        }
    }

    /// Appends the symbols in an order of their own, not that of a table.
    fn write(&self, symbols: &mut Vec<Symbol>) {
        let start = symbols.len();
        self.for_each(|symbol| symbols.push(symbol));
        if let Self::Table(_) = self {
            symbols.get_mut(start..).unwrap_or_default().sort_unstable();
        }
    }

    /// The set of symbols, in the form that takes least; nothing where one of them is there twice.
    fn of(symbols: Vec<Symbol>) -> Option<Self> {
        let count = symbols.len();
        if count <= FEW {
            let is_new = |(place, symbol)| symbols.iter().take(place).all(|other| other != symbol);
            let are_new = symbols.iter().enumerate().all(is_new);
            return are_new.then_some(Self::Few(symbols));
        }
        let highest = symbols.iter().max().copied().unwrap_or(Symbol::NULL);
        let table = FastSet::with_capacity_and_hasher(count, FixedState::default());
        let mut set = match bitmap_pays(&table, highest) {
            true => Self::Bitmap {
                words: Vec::new(),
                count: 0,
            },
            false => Self::Table(table),
        };
        symbols.into_iter().for_each(|symbol| set.insert(symbol));
        (set.len() == count).then_some(set)
    }

    fn byte_len(&self) -> usize {
        match self {
            Self::Few(few) => few.capacity() * size_of::<Symbol>(),
            Self::Table(table) => table.capacity() * (size_of::<Symbol>() + 1),
            Self::Bitmap { words, .. } => words.capacity() * size_of::<u64>(),
        }
    }
}

impl HoldsSymbols for SymbolSet {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.for_each(|symbol| live.mark(symbol));
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        match self {
            Self::Few(few) => few.renumber(numbers),
            Self::Table(table) => {
                *table = table.drain().map(|symbol| numbers.get(symbol)).collect();
            }
            Self::Bitmap { .. } => {
                let empty = Self::Bitmap {
                    words: Vec::new(),
                    count: 0,
                };
                let old = std::mem::replace(self, empty);
                old.for_each(|symbol| self.insert(numbers.get(symbol)));
            }
        }
    }
}

/// The new symbol stands for the highest so far: symbols are given out in order of appearance, so
/// this is right about the size of the bitmap to within a growth step.
fn bitmap_pays(table: &FastSet<Symbol>, newest: Symbol) -> bool {
    let bitmap_bytes = newest.index() / 8;
    let table_bytes = table.capacity() * (size_of::<Symbol>() + 1);
    bitmap_bytes <= BITMAP_RATIO * table_bytes
}

/// Different texts by slot.
#[derive(Debug, Clone, Default)]
pub struct DistinctTexts(Vec<SymbolSet>);

impl DistinctTexts {
    pub(super) fn grow(&mut self, slots: usize) {
        self.0.resize(slots, SymbolSet::default());
    }

    pub(super) fn update(
        &mut self,
        input: &Input<'_>,
        values: &[Symbol],
        filter: Option<&[Trilean]>,
    ) {
        let sets = &mut self.0;
        input.for_each(filter, |row, slot| {
            if let (Some(symbol), Some(set)) = (values.get(row), sets.get_mut(slot))
                && !symbol.is_null()
            {
                set.insert(*symbol);
            }
        });
    }

    pub(super) fn merge(&mut self, other: &Self, slots: &[u32], symbols: &SymbolMap<'_>) {
        merge_slots(&mut self.0, &other.0, slots, |mine, theirs| {
            theirs.for_each(|symbol| mine.insert(symbols.get(symbol)));
        });
    }

    pub(super) fn pick(&self, slots: &[u32]) -> Self {
        Self(pick_slots(&self.0, slots))
    }

    pub(super) fn finish(&self) -> Column {
        Column::Number(self.0.iter().map(|set| set.len() as f64).collect())
    }

    /// The different texts of a slot.
    pub(super) fn for_each(&self, slot: usize, visit: impl FnMut(Symbol)) {
        if let Some(set) = self.0.get(slot) {
            set.for_each(visit);
        }
    }

    /// The texts of a slot that another set does not have in it.
    pub(super) fn for_each_besides(
        &self,
        other: &Self,
        slot: usize,
        mut visit: impl FnMut(Symbol),
    ) {
        let others = other.0.get(slot);
        self.for_each(slot, |symbol| {
            if others.is_none_or(|others| !others.contains(symbol)) {
                visit(symbol);
            }
        });
    }

    pub(super) fn for_each_symbol(&self, mut visit: impl FnMut(Symbol)) {
        self.0.iter().for_each(|set| set.for_each(&mut visit));
    }

    /// How many texts each slot has, and all of these texts.
    pub(super) fn encode(&self, out: &mut Encoder, symbols: &mut SymbolWriter<'_>) {
        write_lengths(out, self.0.iter().map(SymbolSet::len));
        let mut all = Vec::with_capacity(self.0.iter().map(SymbolSet::len).sum());
        self.0.iter().for_each(|set| set.write(&mut all));
        out.u32s(all.into_iter().map(|symbol| symbols.number(symbol)));
    }

    pub(super) fn decode(
        from: &mut Decoder<'_>,
        symbols: &SymbolReader,
        slots: usize,
    ) -> Result<Self, Corrupt> {
        let lengths = read_lengths(from, slots)?;
        let all = read_symbols(from, symbols)?;
        must_add_up(from, lengths.iter().copied(), all.len())?;
        let mut all = all.into_iter();
        let sets: Option<Vec<_>> = lengths
            .into_iter()
            .map(|length| SymbolSet::of(all.by_ref().take(length).collect()))
            .collect();
        sets.map(Self)
            .ok_or_else(|| from.corrupt("a set has a text twice"))
    }

    pub(super) fn byte_len(&self) -> usize {
        let sets: usize = self.0.iter().map(SymbolSet::byte_len).sum();
        sets + self.0.capacity() * size_of::<SymbolSet>()
    }
}

impl HoldsSymbols for DistinctTexts {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.0.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.0.renumber(numbers);
    }
}

/// Different numbers or truth values by slot. −0 and 0 are the same number.
#[derive(Debug, Clone, Default)]
pub struct DistinctNumbers(Vec<FastSet<u64>>);

impl DistinctNumbers {
    pub(super) fn grow(&mut self, slots: usize) {
        self.0.resize_with(slots, FastSet::default);
    }

    pub(super) fn update(
        &mut self,
        input: &Input<'_>,
        column: &Column,
        filter: Option<&[Trilean]>,
    ) {
        let sets = &mut self.0;
        input.for_each(filter, |row, slot| {
            let value = match column {
                Column::Number(values) => values
                    .get(row)
                    .filter(|value| !value.is_nan())
                    .map(|value| value + 0.0),
                Column::Boolean(values) => values
                    .get(row)
                    .filter(|value| **value != Trilean::Null)
                    .map(|value| f64::from(u8::from(value.is_true()))),
                Column::Text(_) => None,
            };
            if let (Some(value), Some(set)) = (value, sets.get_mut(slot)) {
                set.insert(value.to_bits());
            }
        });
    }

    pub(super) fn merge(&mut self, other: &Self, slots: &[u32]) {
        merge_slots(&mut self.0, &other.0, slots, |mine, theirs| {
            mine.extend(theirs)
        });
    }

    pub(super) fn pick(&self, slots: &[u32]) -> Self {
        Self(pick_slots(&self.0, slots))
    }

    pub(super) fn finish(&self) -> Column {
        Column::Number(self.0.iter().map(|set| set.len() as f64).collect())
    }

    /// How many numbers each slot has, and all of these numbers, those of a slot in order.
    pub(super) fn encode(&self, out: &mut Encoder) {
        write_lengths(out, self.0.iter().map(HashSet::len));
        let mut all: Vec<u64> = Vec::with_capacity(self.0.iter().map(HashSet::len).sum());
        for set in &self.0 {
            let start = all.len();
            all.extend(set);
            all.get_mut(start..).unwrap_or_default().sort_unstable();
        }
        out.u64s(all.into_iter());
    }

    pub(super) fn decode(from: &mut Decoder<'_>, slots: usize) -> Result<Self, Corrupt> {
        let lengths = read_lengths(from, slots)?;
        let all = from.u64s()?;
        must_add_up(from, lengths.iter().copied(), all.len())?;
        let is_number =
            |bits: &u64| !f64::from_bits(*bits).is_nan() && *bits != (-0.0_f64).to_bits();
        must(from, all.iter().all(is_number), || {
            "a number of a set is NULL or −0".to_owned()
        })?;
        let mut all = all.into_iter();
        let mut sets = Vec::with_capacity(slots);
        for length in lengths {
            let set: FastSet<u64> = all.by_ref().take(length).collect();
            must(from, set.len() == length, || {
                "a set has a number twice".to_owned()
            })?;
            sets.push(set);
        }
        Ok(Self(sets))
    }

    pub(super) fn byte_len(&self) -> usize {
        let values: usize = self.0.iter().map(HashSet::capacity).sum();
        values * (size_of::<u64>() + 1) + self.0.capacity() * size_of::<FastSet<u64>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Interner;

    #[test]
    fn counts_each_symbol_once_in_every_form() {
        let mut set = SymbolSet::default();
        let mut lengths = Vec::new();
        for round in 0..2 {
            for id in 0..2_000_u32 {
                set.insert(Symbol(1 + (id * 7) % 2_000));
                if round == 0 && [5, 40].contains(&id) {
                    lengths.push(set.len());
                }
            }
        }
        assert_eq!(lengths, [6, 41]);
        assert_eq!(set.len(), 2_000);
        assert!(matches!(set, SymbolSet::Bitmap { .. }));
        let mut found = Vec::new();
        set.for_each(|symbol| found.push(symbol.0));
        assert_eq!(found, (1..=2_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_set_is_the_same_set_under_other_numbers_in_every_form() {
        for (count, step) in [(5, 3), (40, 1_000), (2_000, 2)] {
            let mut interner = Interner::new();
            for number in 0..count * step {
                interner.intern(&number.to_string());
            }
            let mut set = SymbolSet::default();
            let symbols = (0..count).map(|number| Symbol(number * step + 1));
            symbols.clone().for_each(|symbol| set.insert(symbol));
            let form = std::mem::discriminant(&set);
            let mut live = LiveSymbols::new(interner.len());
            set.mark_live(&mut live);
            set.renumber(&interner.compact(&live));
            assert_eq!(std::mem::discriminant(&set), form);
            assert_eq!(set.len(), count as usize);
            let mut written = Vec::new();
            set.write(&mut written);
            let expected: Vec<_> = (1..=count).map(Symbol).collect();
            assert_eq!(written, expected, "in the order that it had");
            assert!(expected.iter().all(|symbol| set.contains(*symbol)));
        }
    }

    #[test]
    fn stays_small_where_a_group_has_few_of_many_symbols() {
        let mut set = SymbolSet::default();
        for id in 0..100_u32 {
            set.insert(Symbol(10_000_000 + id * 1_000));
        }
        assert!(matches!(set, SymbolSet::Table(_)));
        assert!(set.byte_len() < 2_000, "{}", set.byte_len());
    }
}
