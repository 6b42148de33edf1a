//! Which texts of an interner are still needed, and what their symbols are once the others are gone.
//!
//! An interner only grows. To let go of texts, everything that holds symbols marks them, the interner
//! keeps the marked ones, and every holder takes over their new numbers. Numbers keep their order, so
//! that nothing that is sorted by symbols changes, and a number that is no longer in use is never
//! that of another text: it is only given again together with the renumbering of all holders.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::batch::{Batch, Column};
use super::symbol::Symbol;

/// Something that holds symbols of an interner from one batch to the next.
pub trait HoldsSymbols {
    /// Marks all symbols that are held. What is only remembered, and can be found out again, need not
    /// be marked; [`renumber`](Self::renumber) then has to forget it.
    fn mark_live(&self, live: &mut LiveSymbols);

    /// Takes over the new numbers of all symbols that [`mark_live`](Self::mark_live) has marked.
    fn renumber(&mut self, numbers: &Renumbering);
}

/// The symbols of an interner that are still in use.
#[derive(Debug, Clone)]
pub struct LiveSymbols {
    /// A bit for each symbol.
    words: Vec<u64>,
}

impl LiveSymbols {
    /// None yet, of an interner that has so many symbols.
    pub fn new(symbols: usize) -> Self {
        Self {
            words: vec![0; symbols.div_ceil(64)],
        }
    }

    /// Marks a symbol as in use.
    #[inline]
    pub fn mark(&mut self, symbol: Symbol) {
        if let Some(word) = self.words.get_mut(symbol.index() / 64) {
            *word |= 1 << (symbol.index() % 64);
        }
    }

    /// The symbols in use, in their order, without NULL.
    pub fn symbols(&self) -> impl Iterator<Item = Symbol> {
        let words = (0_u32..).step_by(64).zip(&self.words);
        let symbols = words.flat_map(|(first, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(Symbol(first + bit))
            })
        });
        symbols.filter(|symbol| !symbol.is_null())
    }

    /// How many symbols are in use, without NULL.
    pub fn count(&self) -> usize {
        self.symbols().count()
    }
}

/// The new numbers of the symbols of an interner that has let go of texts.
#[derive(Debug)]
pub struct Renumbering {
    /// By the old symbol; NULL where the text is gone.
    table: Vec<Symbol>,
}

impl Renumbering {
    /// By the old symbols, NULL for those whose text is gone.
    pub(super) fn new(table: Vec<Symbol>) -> Self {
        Self { table }
    }

    /// The new symbol of a text; NULL for NULL, and for a text that is gone.
    #[inline]
    pub fn get(&self, symbol: Symbol) -> Symbol {
        let new = self.table.get(symbol.index()).copied();
        let new = new.unwrap_or(Symbol::NULL);
        #[cfg(test)]
        assert!(
            symbol.is_null() || !new.is_null(),
            "{symbol:?} is held and was not marked"
        );
        new
    }
}

impl HoldsSymbols for Symbol {
    #[inline]
    fn mark_live(&self, live: &mut LiveSymbols) {
        live.mark(*self);
    }

    #[inline]
    fn renumber(&mut self, numbers: &Renumbering) {
        *self = numbers.get(*self);
    }
}

impl HoldsSymbols for Column {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.symbols().mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        if let Self::Text(symbols) = self {
            symbols.renumber(numbers);
        }
    }
}

impl HoldsSymbols for Batch {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.columns.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.columns.renumber(numbers);
    }
}

impl<T: HoldsSymbols> HoldsSymbols for [T] {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.iter().for_each(|each| each.mark_live(live));
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.iter_mut().for_each(|each| each.renumber(numbers));
    }
}

impl<T: HoldsSymbols> HoldsSymbols for Vec<T> {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.as_slice().mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.as_mut_slice().renumber(numbers);
    }
}

impl<T: HoldsSymbols> HoldsSymbols for VecDeque<T> {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.iter().for_each(|each| each.mark_live(live));
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.iter_mut().for_each(|each| each.renumber(numbers));
    }
}

impl<K, T: HoldsSymbols> HoldsSymbols for BTreeMap<K, T> {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.values().for_each(|each| each.mark_live(live));
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.values_mut().for_each(|each| each.renumber(numbers));
    }
}

impl<T: HoldsSymbols> HoldsSymbols for Option<T> {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.iter().for_each(|each| each.mark_live(live));
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.iter_mut().for_each(|each| each.renumber(numbers));
    }
}

impl<T: HoldsSymbols + ?Sized> HoldsSymbols for Box<T> {
    fn mark_live(&self, live: &mut LiveSymbols) {
        (**self).mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        (**self).renumber(numbers);
    }
}

/// Copied where somebody else holds it, such as a checkpoint that is being written: that goes on with the
/// old symbols and the texts that it took with them.
impl<T: HoldsSymbols + Clone> HoldsSymbols for Arc<T> {
    fn mark_live(&self, live: &mut LiveSymbols) {
        (**self).mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        Self::make_mut(self).renumber(numbers);
    }
}
