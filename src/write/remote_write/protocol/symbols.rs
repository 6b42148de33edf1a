//! The table of texts of a Remote-Write 2.0 request.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::encode::Place;
use super::wire::{delimited, put_text};

const SYMBOL: u8 = delimited(4);

/// How many texts are looked for by their places first; a power of two.
const SLOTS: usize = 1_024;

/// The texts of a request, each once, by the order of their first use. Number 0 is the empty text.
#[derive(Debug)]
pub(in crate::write::remote_write) struct Symbols {
    /// Numbers by text.
    numbers: HashTable<u32>,
    /// Where each text stands in `bytes`.
    texts: Vec<(usize, usize)>,
    /// The table as it is sent.
    bytes: Vec<u8>,
    recent: Box<[Slot]>,
    /// Which slots are of this request.
    round: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    place: Place,
    number: u32,
    round: u64,
}

impl Default for Symbols {
    fn default() -> Self {
        Self {
            numbers: HashTable::new(),
            texts: Vec::new(),
            bytes: Vec::new(),
            recent: vec![Slot::default(); SLOTS].into(),
            round: 0,
        }
    }
}

impl Symbols {
    /// Begins the table of another request. Texts whose numbers were asked for may move from now on.
    pub(in crate::write::remote_write) fn clear(&mut self) {
        self.numbers.clear();
        self.texts.clear();
        self.bytes.clear();
        self.round += 1;
        self.number_of_text("");
    }

    /// The table as it is sent.
    pub(in crate::write::remote_write) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of a text, which must stay where it is until the next [`clear`](Self::clear).
    pub(in crate::write::remote_write) fn number(&mut self, text: &str) -> u32 {
        let place = Place::of(text);
        let index = place.hash() & (SLOTS - 1);
        if let Some(slot) = self.recent.get(index)
            && slot.place == place
            && slot.round == self.round
        {
            return slot.number;
        }
        let number = self.number_of_text(text);
        let round = self.round;
        if let Some(slot) = self.recent.get_mut(index) {
            *slot = Slot {
                place,
                number,
                round,
            };
        }
        number
    }

    fn number_of_text(&mut self, text: &str) -> u32 {
        let hasher = FixedState::default();
        let (texts, bytes) = (&self.texts, &self.bytes);
        let text_of = |number: &u32| {
            let (begin, end) = texts.get(*number as usize).copied().unwrap_or_default();
            bytes.get(begin..end).unwrap_or_default()
        };
        let hash = hasher.hash_one(text.as_bytes());
        let is_it = |number: &u32| text_of(number) == text.as_bytes();
        if let Some(number) = self.numbers.find(hash, is_it) {
            return *number;
        }
        let number = self.texts.len() as u32;
        self.numbers
            .insert_unique(hash, number, |other| hasher.hash_one(text_of(other)));
        put_text(&mut self.bytes, SYMBOL, text);
        let end = self.bytes.len();
        self.texts.push((end - text.len(), end));
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_one_number() {
        let mut symbols = Symbols::default();
        for _ in 0..2 {
            symbols.clear();
            let copies: Vec<String> = (0..5_000).map(|n| format!("text {}", n % 2_500)).collect();
            let numbers: Vec<u32> = copies.iter().map(|text| symbols.number(text)).collect();
            let expected: Vec<u32> = (0..5_000).map(|n| n % 2_500 + 1).collect();
            assert_eq!(numbers, expected);
            assert_eq!(symbols.number(""), 0);
            assert_eq!(symbols.number(&copies[7]), 8);
            assert_eq!(&symbols.bytes()[..10], b"\x22\x00\x22\x06text 0");
        }
    }
}
