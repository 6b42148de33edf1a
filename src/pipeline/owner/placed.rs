//! The series that have a place in a metric's budget, as columns that a checkpoint can share.

use crate::model::{
    Corrupt, Decoder, Encoder, HoldsSymbols, LiveSymbols, Renumbering, Symbol, SymbolReader,
    SymbolWriter, TimestampMs,
};

/// Series with the end of the last window that they were in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pipeline) struct Placed {
    /// How many labels a series has.
    width: usize,
    /// `width` symbols a series.
    keys: Vec<Symbol>,
    /// The ends, ms since the epoch, by place.
    pub(in crate::pipeline) last: Vec<TimestampMs>,
}

impl Placed {
    /// No series yet; they have `width` labels.
    pub(in crate::pipeline) fn new(width: usize) -> Self {
        Self {
            width,
            keys: Vec::new(),
            last: Vec::new(),
        }
    }

    /// How many series.
    pub(in crate::pipeline) fn len(&self) -> usize {
        self.last.len()
    }

    /// How many labels a series has.
    pub(in crate::pipeline) fn width(&self) -> usize {
        self.width
    }

    /// The series by their places.
    pub(in crate::pipeline) fn series(&self) -> impl Iterator<Item = Box<[Symbol]>> {
        (0..self.len()).map(|place| self.key(place).into())
    }

    fn key(&self, place: usize) -> &[Symbol] {
        let key = self.keys.get(place * self.width..(place + 1) * self.width);
        key.unwrap_or_default()
    }

    /// Gives a series the next place.
    pub(in crate::pipeline) fn add(&mut self, key: &[Symbol], end: TimestampMs) {
        self.keys.extend_from_slice(key);
        self.last.push(end);
    }

    /// Keeps the series whose last window is worth it; they move up.
    pub(in crate::pipeline) fn retain(&mut self, is_kept: impl Fn(TimestampMs) -> bool) {
        let mut kept = Self::new(self.width);
        for (place, last) in self.last.iter().enumerate() {
            if is_kept(*last) {
                kept.add(self.key(place), *last);
            }
        }
        *self = kept;
    }

    /// Writes it.
    pub(in crate::pipeline) fn encode(&self, out: &mut Encoder, symbols: &mut SymbolWriter<'_>) {
        out.i64s(self.last.iter().copied());
        out.u32s(self.keys.iter().map(|symbol| symbols.number(*symbol)));
    }

    /// Reads what [`encode`](Self::encode) has written, of series with `width` labels.
    ///
    /// # Errors
    /// The bytes end before, or are of other series.
    pub(in crate::pipeline) fn decode(
        from: &mut Decoder<'_>,
        symbols: &SymbolReader,
        width: usize,
    ) -> Result<Self, Corrupt> {
        let last = from.i64s()?;
        let numbers = from.u32s()?;
        if numbers.len() != last.len().saturating_mul(width) {
            let (found, series) = (numbers.len(), last.len());
            let reason = format!("{found} labels of {series} series, which have {width} each");
            return Err(from.corrupt(reason));
        }
        let keys = numbers.into_iter().map(|number| symbols.symbol(number));
        Ok(Self {
            width,
            keys: keys.collect::<Result<_, _>>()?,
            last,
        })
    }
}

impl HoldsSymbols for Placed {
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
    use crate::model::Interner;

    #[test]
    fn series_are_read_as_they_were_written_and_no_cut_is_taken_for_them() {
        let mut interner = Interner::new();
        let mut placed = Placed::new(2);
        for (first, second, end) in [("UK", "ford", 5), ("US", "", -7), ("UK", "kia", 6)] {
            let key = [first, second].map(|text| interner.intern(text));
            placed.add(&key, end);
        }
        let texts = interner.texts();
        let mut symbols = SymbolWriter::new(&texts);
        let mut out = Encoder::new();
        placed.encode(&mut out, &mut symbols);
        let bytes = symbols.finish(&out);
        let read = |bytes: &[u8], width| {
            let mut interner = Interner::new();
            let mut from = Decoder::new(bytes);
            let symbols = SymbolReader::read(&mut from, &mut interner)?;
            Placed::decode(&mut from, &symbols, width)
        };
        assert_eq!(read(&bytes, 2), Ok(placed.clone()));
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end], 2).is_err(), "{end}");
        }
        assert_eq!(
            read(&bytes, 3).unwrap_err().reason,
            "6 labels of 3 series, which have 3 each"
        );
        placed.retain(|last| last != -7);
        let kept = [0, 1].map(|place| interner.text(placed.key(place)[1]));
        assert_eq!((kept, &placed.last[..]), (["ford", "kia"], &[5, 6][..]));
    }
}
