//! Text as small numbers.
//!
//! Each worker has an interner of its own: a text that was seen before costs one hash and one
//! comparison, and everything behind it (lookups, groups, distinct counts) works on `u32`.

use std::sync::Arc;

use super::live::{LiveSymbols, Renumbering};
use super::symbol_table::{Key, SymbolTable};

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

/// How many texts are looked for at once: as many as a core has cache misses under way.
const AT_ONCE: usize = 32;

/// A text that has no symbol yet, as a place in a buffer; or a symbol, where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextPlace {
    start: u32,
    length: u32,
}

impl TextPlace {
    /// No text is as long as a batch may be: this length says that `start` is a symbol.
    const KNOWN: u32 = u32::MAX;
    /// SQL's NULL.
    pub const NULL: Self = Self::known(Symbol::NULL);

    /// The text at these bytes of a buffer.
    #[inline]
    pub fn at(start: u32, end: u32) -> Self {
        let length = end.saturating_sub(start).min(Self::KNOWN - 1);
        Self { start, length }
    }

    /// A text whose symbol is known.
    pub const fn known(symbol: Symbol) -> Self {
        Self {
            start: symbol.0,
            length: Self::KNOWN,
        }
    }

    /// Whether this is NULL.
    pub fn is_null(self) -> bool {
        self == Self::NULL
    }

    /// The text in its buffer, where it has no symbol yet. A place outside reads as empty.
    #[inline]
    fn text(self, buffer: &[u8]) -> Option<&[u8]> {
        if self.length == Self::KNOWN {
            return None;
        }
        let start = self.start as usize;
        let text = buffer.get(start..start + self.length as usize);
        Some(text.unwrap_or_default())
    }
}

/// Texts by symbol and symbols by text.
///
/// The hash is seeded with a constant: ids follow the order of first appearance, so the same input
/// gives the same ids.
#[derive(Debug)]
pub struct Interner {
    table: SymbolTable,
    /// Where each symbol's text ends in `bytes`; it begins where the one before ends.
    ends: Vec<usize>,
    bytes: String,
    /// Copies of the texts that were asked for so far.
    copied: Texts,
}

/// The texts of an interner as they were at one moment, for another thread to read. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    /// In the order of their first symbols, without a gap.
    parts: Vec<Arc<TextPart>>,
}

/// The texts of some consecutive symbols.
#[derive(Debug)]
struct TextPart {
    /// The symbol of the first text.
    first: usize,
    /// Where each text ends in `bytes`.
    ends: Vec<usize>,
    bytes: String,
}

impl TextPart {
    fn end(&self) -> usize {
        self.first + self.ends.len()
    }
}

impl Texts {
    /// How many symbols there were, NULL among them.
    pub fn len(&self) -> usize {
        self.parts.last().map_or(0, |part| part.end())
    }

    /// Whether there was not even NULL.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The text of a symbol; empty for NULL and for a symbol of later or of another interner.
    pub fn text(&self, symbol: Symbol) -> &str {
        let place = self
            .parts
            .partition_point(|part| part.end() <= symbol.index());
        let part = self.parts.get(place);
        part.map_or("", |part| {
            let id = u32::try_from(symbol.index() - part.first).unwrap_or(u32::MAX);
            text_of(&part.ends, &part.bytes, id)
        })
    }

    /// Appends the texts from the last known symbol on. Parts of similar size become one, so that there
    /// are few of them and each text is copied few times.
    fn extend(&mut self, ends: &[usize], bytes: &str) {
        let mut first = self.len();
        if first == ends.len() {
            return;
        }
        while let Some(last) = self.parts.last()
            && last.ends.len() <= ends.len() - first
        {
            first = last.first;
            self.parts.pop();
        }
        let start = first
            .checked_sub(1)
            .and_then(|before| ends.get(before).copied())
            .unwrap_or_default();
        self.parts.push(Arc::new(TextPart {
            first,
            ends: ends
                .iter()
                .skip(first)
                .map(|end| end.saturating_sub(start))
                .collect(),
            bytes: bytes.get(start..).unwrap_or_default().to_owned(),
        }));
    }
}

impl Default for Interner {
    fn default() -> Self {
        // Symbol 0 is NULL; it has the empty text and is in no table.
        Self {
            table: SymbolTable::new(),
            ends: vec![0],
            bytes: String::new(),
            copied: Texts::default(),
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
        let key = self.table.key(text.as_bytes());
        match self.find_key(&key, text.as_bytes()) {
            Some(symbol) => symbol,
            None => self.insert(&key, text),
        }
    }

    /// The symbols of a column of texts, which are appended to `symbols`. What is not UTF-8 is NULL.
    pub fn intern_all(&mut self, buffer: &[u8], places: &[TextPlace], symbols: &mut Vec<Symbol>) {
        symbols.reserve(places.len());
        for places in places.chunks(AT_ONCE) {
            let mut keys = [Key::default(); AT_ONCE];
            let mut touched = 0;
            for (key, place) in keys.iter_mut().zip(places) {
                *key = self.table.key(place.text(buffer).unwrap_or_default());
                touched ^= self.table.touch(key);
            }
            std::hint::black_box(touched);
            for (key, place) in keys.iter().zip(places) {
                let symbol = match place.text(buffer) {
                    None => Symbol(place.start),
                    Some(text) => match self.find_key(key, text) {
                        Some(symbol) => symbol,
                        None => self.insert_bytes(key, text),
                    },
                };
                symbols.push(symbol);
            }
        }
    }

    #[inline]
    fn find_key(&self, key: &Key, text: &[u8]) -> Option<Symbol> {
        let is_text = |id| text_of(&self.ends, &self.bytes, id).as_bytes() == text;
        self.table.find(key, is_text).map(Symbol)
    }

    #[cold]
    fn insert_bytes(&mut self, key: &Key, text: &[u8]) -> Symbol {
        std::str::from_utf8(text).map_or(Symbol::NULL, |text| self.insert(key, text))
    }

    #[cold]
    fn insert(&mut self, key: &Key, text: &str) -> Symbol {
        let id = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
        self.table.insert(key, id);
        Symbol(id)
    }

    /// The symbol of a text that was interned before.
    pub fn find(&self, text: &str) -> Option<Symbol> {
        let key = self.table.key(text.as_bytes());
        self.find_key(&key, text.as_bytes())
    }

    /// The text of a symbol; empty for NULL and for a symbol of another interner.
    pub fn text(&self, symbol: Symbol) -> &str {
        text_of(&self.ends, &self.bytes, symbol.0)
    }

    /// All texts as they are now. What was asked for before is not copied again.
    pub fn texts(&mut self) -> Texts {
        self.copied.extend(&self.ends, &self.bytes);
        self.copied.clone()
    }

    /// How many symbols there are, NULL among them: every symbol's index is below this.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether only NULL is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 1
    }

    /// Lets go of all texts that are not in use. Symbols keep their order. Texts that were
    /// [asked for](Self::texts) stay as they were for those who have them.
    pub fn compact(&mut self, live: &LiveSymbols) -> Renumbering {
        let (count, length) = self.extent_of(live);
        let mut table = vec![Symbol::NULL; self.len()];
        let mut ends = Vec::with_capacity(count + 1);
        let mut bytes = String::with_capacity(length);
        ends.push(0);
        for symbol in live.symbols() {
            if let Some(new) = table.get_mut(symbol.index()) {
                *new = Symbol(u32::try_from(ends.len()).unwrap_or(u32::MAX));
                bytes.push_str(self.text(symbol));
                ends.push(bytes.len());
            }
        }
        self.table.renumber(count, |id| {
            let new = table.get(id as usize);
            new.map_or(0, |symbol| symbol.0)
        });
        (self.ends, self.bytes) = (ends, bytes);
        if !std::mem::take(&mut self.copied).is_empty() {
            // Here and not in the next checkpoint, whose barrier others wait for.
            self.texts();
        }
        Renumbering::new(table)
    }

    /// How many bytes all texts need, about. It grows evenly, not as [`byte_len`](Self::byte_len) does,
    /// which has steps where tables double.
    pub fn needed_bytes(&self) -> usize {
        needed_bytes(self.len(), self.bytes.len())
    }

    /// The same of those texts alone that are in use.
    pub fn needed_bytes_of(&self, live: &LiveSymbols) -> usize {
        let (count, length) = self.extent_of(live);
        needed_bytes(count, length)
    }

    /// How many texts are in use, and their bytes.
    fn extent_of(&self, live: &LiveSymbols) -> (usize, usize) {
        live.symbols().fold((0, 0), |(count, length), symbol| {
            (count + 1, length + self.text(symbol).len())
        })
    }

    /// How many bytes the texts and tables take.
    pub fn byte_len(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>() + self.table.byte_len()
    }
}

/// The bytes of so many texts that are so long together, with their places and entries.
fn needed_bytes(count: usize, length: usize) -> usize {
    length + count * (size_of::<usize>() + SymbolTable::ENTRY_BYTES)
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

    #[test]
    fn interns_a_column_as_one_text_after_the_other() {
        let texts: Vec<_> = (0..1_000)
            .map(|n| match n % 5 {
                0 => format!("V{:010}", n % 300),
                1 => format!("a text that lies in no entry, {}", n % 70),
                2 => String::new(),
                3 => "日本".to_owned(),
                _ => format!("{n}"),
            })
            .collect();
        let (mut buffer, mut places) = (Vec::new(), Vec::new());
        let mut one_by_one = Interner::new();
        let mut expected = Vec::new();
        for text in &texts {
            let start = buffer.len() as u32;
            buffer.extend_from_slice(text.as_bytes());
            places.push(TextPlace::at(start, buffer.len() as u32));
            expected.push(one_by_one.intern(text));
        }
        places[7] = TextPlace::NULL;
        expected[7] = Symbol::NULL;
        let (mut at_once, mut symbols) = (Interner::new(), Vec::new());
        at_once.intern_all(&buffer, &places, &mut symbols);
        at_once.intern_all(&buffer, &places, &mut symbols);
        // Text 7 was a new one, so it is the others' numbers that have to be told apart by text.
        let text = |interner: &Interner, symbol: &Symbol| interner.text(*symbol).to_owned();
        for (row, (symbol, expected)) in symbols.iter().zip(expected.iter().cycle()).enumerate() {
            assert_eq!(text(&at_once, symbol), text(&one_by_one, expected), "{row}");
            assert_eq!(symbol.is_null(), row % 1_000 == 7);
        }
        assert_eq!(symbols[..1_000], symbols[1_000..]);
        assert_eq!(at_once.intern("日本"), symbols[3]);
    }

    #[test]
    fn texts_stay_as_they_were_when_they_were_asked_for() {
        let mut interner = Interner::new();
        let mut moments = vec![interner.texts()];
        for number in 0..1_000 {
            interner.intern(&format!("V{number}"));
            if number % 7 == 0 {
                moments.push(interner.texts());
            }
        }
        assert_eq!(moments[0].len(), 1);
        for (moment, texts) in moments.iter().enumerate().skip(1) {
            assert_eq!(texts.len(), (moment - 1) * 7 + 2);
            assert!(texts.parts.len() <= 11, "{}", texts.parts.len());
            for symbol in 0..texts.len() + 3 {
                let symbol = Symbol(u32::try_from(symbol).unwrap());
                let known = symbol.index() < texts.len();
                let expected = if known { interner.text(symbol) } else { "" };
                assert_eq!(texts.text(symbol), expected);
            }
        }
    }

    #[test]
    fn keeps_what_is_in_use_in_its_order_and_gives_the_rest_new_symbols_when_it_comes_again() {
        let text = |number: usize| match number % 3 {
            0 => format!("V{number}"),
            1 => format!("a text that lies in no entry, {number}"),
            _ => "日".repeat(number % 7) + &number.to_string(),
        };
        for (texts, step) in [(1_000, 3), (1_000, 1), (100, 200), (0, 1)] {
            let mut interner = Interner::new();
            let symbols: Vec<_> = (0..texts).map(|n| interner.intern(&text(n))).collect();
            let before = interner.texts();
            let (needed, taken) = (interner.needed_bytes(), interner.byte_len());
            let mut live = LiveSymbols::new(interner.len());
            live.mark(Symbol::NULL);
            let kept: Vec<_> = (0..texts).filter(|n| n % step == 1 % step).collect();
            kept.iter().for_each(|n| live.mark(symbols[*n]));
            let expected = interner.needed_bytes_of(&live);
            let numbers = interner.compact(&live);

            assert_eq!(interner.len(), kept.len() + 1);
            let null = needed_bytes(1, 0);
            assert_eq!(interner.needed_bytes(), expected + null);
            assert!(interner.needed_bytes() <= needed && interner.byte_len() <= taken.max(4_096));
            for (new, number) in kept.iter().enumerate() {
                let symbol = numbers.get(symbols[*number]);
                assert_eq!(symbol.index(), new + 1, "in order");
                assert_eq!(interner.text(symbol), text(*number));
            }
            assert_eq!(numbers.get(Symbol::NULL), Symbol::NULL);
            let after = interner.texts();
            for (number, symbol) in symbols.iter().enumerate() {
                let is_kept = kept.binary_search(&number).is_ok();
                assert_eq!(interner.find(&text(number)).is_some(), is_kept, "{number}");
                assert_eq!(before.text(*symbol), text(number));
            }
            for number in 0..texts {
                let symbol = interner.intern(&text(number));
                assert_eq!(interner.text(symbol), text(number));
                assert_eq!(
                    symbol.index() < after.len(),
                    after.text(symbol) == text(number)
                );
            }
            assert_eq!(interner.len(), texts + 1);
        }
    }

    #[test]
    fn a_place_that_is_no_text_is_null_or_empty() {
        let (mut interner, mut symbols) = (Interner::new(), Vec::new());
        let places = [TextPlace::at(0, 2), TextPlace::at(9, 11)];
        interner.intern_all(b"\xff\xfe", &places, &mut symbols);
        let empty = interner.find("").unwrap();
        assert_eq!(symbols, [Symbol::NULL, empty]);
    }
}
