//! Text as small numbers.
//!
//! Each worker has an interner of its own: a text that was seen before costs one hash and one
//! comparison, and everything behind it (lookups, groups, distinct counts) works on `u32`.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// The id of a text in one worker's [`Interner`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Symbol(pub u32);

impl Symbol {
    /// No text: SQL's NULL.
    pub const NULL: Self = Self(0);

    /// Whether this is NULL.
    pub fn is_null(self) -> bool {
        self == Self::NULL
    }

    /// The id as an index into tables by symbol.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A symbol with the place of its text, so that finding a symbol touches the table and the text and
/// nothing between them: with many texts, each place is a cache miss.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: usize,
    length: u32,
    id: u32,
}

impl Entry {
    #[inline]
    fn text(self, bytes: &str) -> &str {
        bytes
            .get(self.start..self.start + self.length as usize)
            .unwrap_or_default()
    }
}

/// Texts by symbol and symbols by text.
///
/// The hash is seeded with a constant: ids follow the order of first appearance, so the same input
/// gives the same ids.
#[derive(Debug)]
pub struct Interner {
    table: HashTable<Entry>,
    /// Where each symbol's text ends in `bytes`; it begins where the one before ends.
    ends: Vec<usize>,
    bytes: String,
    hasher: FixedState,
}

impl Default for Interner {
    fn default() -> Self {
        // Symbol 0 is NULL; it has the empty text and is in no table.
        Self {
            table: HashTable::new(),
            ends: vec![0],
            bytes: String::new(),
            hasher: FixedState::with_seed(0),
        }
    }
}

impl Interner {
    /// An interner that holds only NULL.
    pub fn new() -> Self {
        Self::default()
    }

    /// The symbol of a text, new or known. The empty text has a symbol too: it is not NULL.
    #[inline]
    pub fn intern(&mut self, text: &str) -> Symbol {
        let hash = self.hasher.hash_one(text.as_bytes());
        let bytes = &self.bytes;
        if let Some(entry) = self.table.find(hash, |entry| entry.text(bytes) == text) {
            return Symbol(entry.id);
        }
        self.insert(hash, text)
    }

    #[cold]
    fn insert(&mut self, hash: u64, text: &str) -> Symbol {
        let id = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let entry = Entry {
            start: self.bytes.len(),
            length,
            id,
        };
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
        let (bytes, hasher) = (&self.bytes, &self.hasher);
        self.table.insert_unique(hash, entry, |entry| {
            hasher.hash_one(entry.text(bytes).as_bytes())
        });
        Symbol(id)
    }

    /// The symbol of a text that was interned before.
    pub fn find(&self, text: &str) -> Option<Symbol> {
        let hash = self.hasher.hash_one(text.as_bytes());
        let found = self
            .table
            .find(hash, |entry| entry.text(&self.bytes) == text)?;
        Some(Symbol(found.id))
    }

    /// The text of a symbol; empty for NULL and for a symbol of another interner.
    pub fn text(&self, symbol: Symbol) -> &str {
        text_of(&self.ends, &self.bytes, symbol.0)
    }

    /// How many symbols there are, NULL among them: every symbol's index is below this.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether only NULL is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 1
    }

    /// How many bytes the texts and tables take.
    pub fn byte_len(&self) -> usize {
        self.bytes.capacity()
            + self.ends.capacity() * size_of::<usize>()
            + self.table.capacity() * (size_of::<Entry>() + 1)
    }
}

fn text_of<'a>(ends: &[usize], bytes: &'a str, id: u32) -> &'a str {
    let index = id as usize;
    let end = ends.get(index).copied().unwrap_or_default();
    let start = index
        .checked_sub(1)
        .and_then(|before| ends.get(before))
        .copied();
    bytes
        .get(start.unwrap_or_default()..end)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_text_one_symbol_in_order_of_appearance() {
        let mut interner = Interner::new();
        let symbols: Vec<_> = ["UK", "", "US", "UK", "日本"]
            .map(|text| interner.intern(text))
            .into();
        assert_eq!(symbols, [1, 2, 3, 1, 4].map(Symbol));
        assert_eq!(interner.text(Symbol(4)), "日本");
        assert_eq!(interner.text(Symbol(2)), "");
        assert_eq!(interner.text(Symbol::NULL), "");
        assert_eq!(interner.find("US"), Some(Symbol(3)));
        assert_eq!(interner.find("FR"), None);
        assert_eq!(interner.len(), 5);
    }

    #[test]
    fn finds_everything_again_after_growing() {
        let mut interner = Interner::new();
        let first: Vec<_> = (0..10_000)
            .map(|n| interner.intern(&format!("V{n:010}")))
            .collect();
        let second: Vec<_> = (0..10_000)
            .map(|n| interner.intern(&format!("V{n:010}")))
            .collect();
        assert_eq!(first, second);
        assert_eq!(interner.len(), 10_001);
    }
}
