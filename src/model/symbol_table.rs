//! The hash table of an interner: open addressing, with short texts in the entries themselves.
//!
//! With a hundred thousand texts the table is larger than a core's own cache, so finding one costs a
//! cache miss, and that miss is most of its cost. A text of at most [`INLINE_BYTES`] is compared
//! within its entry: one miss, not two. And because the place of a text follows from its hash alone,
//! many can be [touched](SymbolTable::touch) before the first is compared: their misses overlap.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

/// The longest text that lies in its entry.
const INLINE_BYTES: usize = 16;
/// The entries of the smallest table that is not empty.
const SMALLEST: usize = 64;

/// A text as the table compares it. Two texts of at most [`INLINE_BYTES`] have the same key exactly
/// if they are the same.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Key {
    hash: u64,
    /// The first eight bytes and the last eight, which overlap in a text of less than sixteen. Of a
    /// longer text: its hash and nothing.
    words: [u64; 2],
    length: u32,
}

/// A text and its number; number 0 stands for an entry that is free.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    words: [u64; 2],
    length: u32,
    id: u32,
}

/// Numbers by text.
#[derive(Debug)]
pub(super) struct SymbolTable {
    /// A power of two, or none at all.
    entries: Vec<Entry>,
    used: usize,
    hasher: FixedState,
}

impl SymbolTable {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            used: 0,
            hasher: FixedState::with_seed(0),
        }
    }

    /// The key of a text.
    #[inline]
    pub(super) fn key(&self, text: &[u8]) -> Key {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let Some(words) = inline_words(text) else {
            let hash = self.hasher.hash_one(text);
            let words = [hash, 0];
            return Key {
                hash,
                words,
                length,
            };
        };
        Key {
            hash: self.inline_hash(words, length),
            words,
            length,
        }
    }

    #[inline]
    fn inline_hash(&self, [first, last]: [u64; 2], length: u32) -> u64 {
        // The length tells apart what the words do not: "a" and "aa".
        let last = last.rotate_left(32) ^ u64::from(length);
        self.hasher
            .hash_one(u128::from(first) << 64 | u128::from(last))
    }

    /// Reads the place of a key and makes something of it. Where this is done for many keys before
    /// they are looked for, the processor waits for all of them at once.
    #[inline]
    pub(super) fn touch(&self, key: &Key) -> u32 {
        let place = self.entries.get(self.place(key.hash));
        place.map_or(0, |entry| entry.id)
    }

    /// The number of a text, where it is known. `is_text` decides whether a number's text is the one
    /// that is looked for; it is asked for long texts only.
    #[inline]
    pub(super) fn find(&self, key: &Key, is_text: impl Fn(u32) -> bool) -> Option<u32> {
        let mut place = self.place(key.hash);
        loop {
            let entry = self.entries.get(place)?;
            if entry.id == 0 {
                return None;
            }
            if entry.words == key.words
                && entry.length == key.length
                && (key.length as usize <= INLINE_BYTES || is_text(entry.id))
            {
                return Some(entry.id);
            }
            place = self.after(place);
        }
    }

    /// Adds a text that is not known.
    pub(super) fn insert(&mut self, key: &Key, id: u32) {
        // At most three quarters are in use: a fourth entry is looked at rarely.
        if self.used * 4 >= self.entries.len() * 3 {
            self.grow();
        }
        self.put(
            key.hash,
            Entry {
                words: key.words,
                length: key.length,
                id,
            },
        );
        self.used += 1;
    }

    fn grow(&mut self) {
        let size = (self.entries.len() * 2).max(SMALLEST);
        self.move_to(size, |id| id);
    }

    /// Gives the texts other numbers, and lets go of those whose number is 0 then; `count` are left.
    pub(super) fn renumber(&mut self, count: usize, number: impl Fn(u32) -> u32) {
        // As large as if it had grown to that.
        let size = (count * 4 / 3 + 1).next_power_of_two().max(SMALLEST);
        self.move_to(size, number);
        self.used = count;
    }

    /// Moves the entries to a table of this size, with other numbers, or away where that is 0.
    fn move_to(&mut self, size: usize, number: impl Fn(u32) -> u32) {
        let old = std::mem::replace(&mut self.entries, vec![Entry::default(); size]);
        for entry in old.into_iter().filter(|entry| entry.id != 0) {
            let id = number(entry.id);
            if id == 0 {
                continue;
            }
            let [first, _] = entry.words;
            let hash = if entry.length as usize <= INLINE_BYTES {
                self.inline_hash(entry.words, entry.length)
            } else {
                first
            };
            self.put(hash, Entry { id, ..entry });
        }
    }

    /// Puts an entry into the next free place.
    fn put(&mut self, hash: u64, entry: Entry) {
        let mut place = self.place(hash);
        while self.entries.get(place).is_some_and(|known| known.id != 0) {
            place = self.after(place);
        }
        if let Some(free) = self.entries.get_mut(place) {
            *free = entry;
        }
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        // Fewer than 2^32 entries, so the lower half of the hash is enough on every machine.
        (hash as u32) as usize & self.entries.len().wrapping_sub(1)
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        (place + 1) & self.entries.len().wrapping_sub(1)
    }

    /// How many bytes an entry takes.
    pub(super) const ENTRY_BYTES: usize = size_of::<Entry>();

    /// How many bytes it takes.
    pub(super) fn byte_len(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}

/// A short text in two words, without a loop and without a copy.
#[inline]
fn inline_words(text: &[u8]) -> Option<[u64; 2]> {
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let is_short = text.len() <= INLINE_BYTES;
        return is_short.then(|| [u64::from_le_bytes(*first), u64::from_le_bytes(*last)]);
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let [first, last] = [u32::from_le_bytes(*first), u32::from_le_bytes(*last)];
        return Some([u64::from(first), u64::from(last)]);
    }
    Some(match text {
        [] => [0, 0],
        [one] => [u64::from(*one), 0],
        [one, two] => [u64::from(*one), u64::from(*two)],
        [one, two, three, ..] => [
            u64::from(*one),
            u64::from(*two) << 8 | u64::from(*three) << 16,
        ],
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tells_all_short_texts_apart() {
        // Every text of a few letters, up to one byte more than lies in an entry.
        let mut texts = vec![String::new()];
        for length in 1..=INLINE_BYTES + 1 {
            for place in 0..length {
                for letter in ["a", "b", "\0"] {
                    let mut text = "a".repeat(length);
                    text.replace_range(place..=place, letter);
                    texts.push(text);
                }
            }
        }
        texts.sort();
        texts.dedup();
        let table = SymbolTable::new();
        let mut seen = BTreeMap::new();
        for text in &texts {
            let Key { words, length, .. } = table.key(text.as_bytes());
            assert_eq!(seen.insert((words, length), text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn finds_what_was_put_in(texts in prop::collection::vec("[ab]{0,20}", 0..400)) {
            let mut table = SymbolTable::new();
            let mut known: Vec<String> = vec![String::new()];
            for text in &texts {
                let key = table.key(text.as_bytes());
                let found = table.find(&key, |id| known[id as usize] == *text);
                let expected = known.iter().skip(1).position(|known| known == text);
                prop_assert_eq!(found, expected.map(|place| place as u32 + 1));
                if found.is_none() {
                    table.insert(&key, known.len() as u32);
                    known.push(text.clone());
                }
            }
        }
    }
}
