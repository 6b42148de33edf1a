//! State as bytes: what checkpoints, logs and journals are made of.
//!
//! Numbers are little-endian and of fixed width, columns carry their length before them, and nothing
//! is aligned. A format is the order in which its fields are written; each has a version of its own,
//! next to its encoder and decoder. What is read is never trusted: a length is held against the bytes
//! that are there before anything is allocated.

use super::symbol::{Interner, Symbol, Texts};

/// Bytes that are no state, or state of another format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {reason}")]
pub struct Corrupt {
    /// Where, in bytes from the beginning of what was decoded.
    pub offset: usize,
    /// What was found there and what would be right.
    pub reason: String,
}

/// Writes state.
#[derive(Debug, Clone, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

macro_rules! write_numbers {
    ($($one:ident $many:ident $type:ty),*) => {$(
        #[doc = concat!("A number of type `", stringify!($type), "`.")]
        pub fn $one(&mut self, value: $type) {
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }

        #[doc = concat!("A column of `", stringify!($type), "` with its length.")]
        pub fn $many(&mut self, values: impl ExactSizeIterator<Item = $type>) {
            self.count(values.len());
            self.bytes.reserve(values.len() * size_of::<$type>());
            for value in values {
                self.bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
    )*};
}

impl Encoder {
    /// No bytes yet.
    pub fn new() -> Self {
        Self::default()
    }

    write_numbers!(
        u8 u8s u8,
        u16 u16s u16,
        u32 u32s u32,
        u64 u64s u64,
        i32 i32s i32,
        i64 i64s i64,
        i128 i128s i128,
        f64 f64s f64
    );

    /// A truth value.
    pub fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// How many of something follow.
    pub fn count(&mut self, count: usize) {
        self.u64(count as u64);
    }

    /// Bytes with their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// A text with its length.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A value that may be missing.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads state.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    offset: usize,
}

macro_rules! read_numbers {
    ($($one:ident $many:ident $type:ty),*) => {$(
        #[doc = concat!("A number of type `", stringify!($type), "`.")]
        ///
        /// # Errors
        /// The bytes end before.
        pub fn $one(&mut self) -> Result<$type, Corrupt> {
            let mut number = [0; size_of::<$type>()];
            let bytes = self.take(number.len(), stringify!($type))?;
            number.copy_from_slice(bytes);
            Ok(<$type>::from_le_bytes(number))
        }

        #[doc = concat!("A column of `", stringify!($type), "`.")]
        ///
        /// # Errors
        /// The bytes end before.
        pub fn $many(&mut self) -> Result<Vec<$type>, Corrupt> {
            let count = self.count(size_of::<$type>())?;
            let bytes = self.take(count * size_of::<$type>(), stringify!($type))?;
            let (numbers, _) = bytes.as_chunks::<{ size_of::<$type>() }>();
            Ok(numbers.iter().map(|number| <$type>::from_le_bytes(*number)).collect())
        }
    )*};
}

impl<'a> Decoder<'a> {
    /// Reads from the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    read_numbers!(
        u8 u8s u8,
        u16 u16s u16,
        u32 u32s u32,
        u64 u64s u64,
        i32 i32s i32,
        i64 i64s i64,
        i128 i128s i128,
        f64 f64s f64
    );

    /// A truth value.
    ///
    /// # Errors
    /// The bytes end before, or there is neither 0 nor 1.
    pub fn bool(&mut self) -> Result<bool, Corrupt> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.corrupt(format!("{other} is no truth value, which is 0 or 1"))),
        }
    }

    /// How many of something follow, of which each takes `size` bytes at least.
    ///
    /// # Errors
    /// The bytes end before, or are too few for so many.
    pub fn count(&mut self, size: usize) -> Result<usize, Corrupt> {
        let count = self.u64()?;
        let fits = usize::try_from(count).ok().filter(|count| {
            let bytes = count.checked_mul(size.max(1));
            bytes.is_some_and(|bytes| bytes <= self.remaining())
        });
        fits.ok_or_else(|| {
            let left = self.remaining();
            self.corrupt(format!(
                "{count} values are announced, {left} bytes are left"
            ))
        })
    }

    /// Bytes with their length.
    ///
    /// # Errors
    /// The bytes end before.
    pub fn bytes(&mut self) -> Result<&'a [u8], Corrupt> {
        let count = self.count(1)?;
        self.take(count, "bytes")
    }

    /// A text with its length.
    ///
    /// # Errors
    /// The bytes end before, or are no UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Corrupt> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.corrupt("a text is not UTF-8".to_owned()))
    }

    /// A value that may be missing.
    ///
    /// # Errors
    /// Those of [`bool`](Self::bool) and of `read`.
    pub fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Corrupt>,
    ) -> Result<Option<T>, Corrupt> {
        Ok(if self.bool()? {
            Some(read(self)?)
        } else {
            None
        })
    }

    /// That everything was read.
    ///
    /// # Errors
    /// There are more bytes.
    pub fn end(&self) -> Result<(), Corrupt> {
        match self.remaining() {
            0 => Ok(()),
            more => Err(self.corrupt(format!("{more} bytes too many"))),
        }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// An error at this place.
    pub fn corrupt(&self, reason: impl Into<String>) -> Corrupt {
        Corrupt {
            offset: self.offset,
            reason: reason.into(),
        }
    }

    fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], Corrupt> {
        let end = self.offset.checked_add(count);
        let Some(bytes) = end.and_then(|end| self.bytes.get(self.offset..end)) else {
            let left = self.remaining();
            return Err(self.corrupt(format!("{what} takes {count} bytes, {left} are left")));
        };
        self.offset += count;
        Ok(bytes)
    }
}

/// Gives the symbols of one piece of state small numbers of its own, so that the piece carries the
/// texts that it uses and no others, and means the same to every interner.
#[derive(Debug)]
pub struct SymbolWriter<'t> {
    texts: &'t Texts,
    /// The number of each symbol, or 0.
    numbers: Vec<u32>,
    /// The symbols by their numbers, which count from 1.
    used: Vec<Symbol>,
}

impl<'t> SymbolWriter<'t> {
    /// No symbols yet; their texts are in `texts`.
    pub fn new(texts: &'t Texts) -> Self {
        Self {
            texts,
            numbers: vec![0; texts.len()],
            used: Vec::new(),
        }
    }

    /// The number of a symbol; 0 for NULL.
    pub fn number(&mut self, symbol: Symbol) -> u32 {
        if symbol.is_null() {
            return 0;
        }
        let Some(number) = self.numbers.get_mut(symbol.index()) else {
            return 0;
        };
        if *number == 0 {
            self.used.push(symbol);
            *number = u32::try_from(self.used.len()).unwrap_or(u32::MAX);
        }
        *number
    }

    /// The texts, and behind them the state that uses their numbers.
    pub fn finish(self, state: &Encoder) -> Vec<u8> {
        let mut all = Encoder::new();
        all.u32s(self.used.iter().map(|symbol| {
            let length = self.texts.text(*symbol).len();
            u32::try_from(length).unwrap_or(u32::MAX)
        }));
        for symbol in &self.used {
            all.bytes
                .extend_from_slice(self.texts.text(*symbol).as_bytes());
        }
        all.bytes.extend_from_slice(state.as_bytes());
        all.into_bytes()
    }
}

/// The symbols of a piece of state by their numbers in it.
#[derive(Debug, Clone, Default)]
pub struct SymbolReader {
    symbols: Vec<Symbol>,
}

impl SymbolReader {
    /// Reads the texts that [`SymbolWriter::finish`] has put before the state. The decoder then stands
    /// at the state.
    ///
    /// # Errors
    /// The bytes end before, or a text is no UTF-8.
    pub fn read(decoder: &mut Decoder<'_>, interner: &mut Interner) -> Result<Self, Corrupt> {
        let lengths = decoder.u32s()?;
        let mut symbols = Vec::with_capacity(lengths.len() + 1);
        symbols.push(Symbol::NULL);
        for length in lengths {
            let bytes = decoder.take(length as usize, "a text")?;
            let text =
                std::str::from_utf8(bytes).map_err(|_| decoder.corrupt("a text is not UTF-8"))?;
            symbols.push(interner.intern(text));
        }
        Ok(Self { symbols })
    }

    /// Passes over the texts, for one who wants to know nothing of them.
    ///
    /// # Errors
    /// The bytes end before.
    pub fn skip(decoder: &mut Decoder<'_>) -> Result<(), Corrupt> {
        for length in decoder.u32s()? {
            decoder.take(length as usize, "a text")?;
        }
        Ok(())
    }

    /// The symbol of a number.
    ///
    /// # Errors
    /// The piece has fewer texts.
    pub fn symbol(&self, number: u32) -> Result<Symbol, Corrupt> {
        self.symbols.get(number as usize).copied().ok_or_else(|| {
            let count = self.symbols.len();
            let reason = format!("text {number} is used, of {count} that there are");
            Corrupt { offset: 0, reason }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written() {
        let mut out = Encoder::new();
        out.u8(7);
        out.i64(-3);
        out.f64(0.1);
        out.bool(true);
        out.text("日本");
        out.i128s([i128::MIN, 5].into_iter());
        out.u32s([].into_iter());
        out.option(Some(4_u16), Encoder::u16);
        out.option(None, Encoder::u16);
        let bytes = out.into_bytes();
        let mut from = Decoder::new(&bytes);
        assert_eq!(from.u8(), Ok(7));
        assert_eq!(from.i64(), Ok(-3));
        assert_eq!(from.f64(), Ok(0.1));
        assert_eq!(from.bool(), Ok(true));
        assert_eq!(from.text(), Ok("日本"));
        assert_eq!(from.i128s(), Ok(vec![i128::MIN, 5]));
        assert_eq!(from.u32s(), Ok(vec![]));
        assert_eq!(from.option(Decoder::u16), Ok(Some(4)));
        assert_eq!(from.option(Decoder::u16), Ok(None));
        assert_eq!(from.end(), Ok(()));
    }

    #[test]
    fn every_cut_is_noticed() {
        let mut out = Encoder::new();
        out.u64s([1, 2, 3].into_iter());
        out.text("text");
        let bytes = out.into_bytes();
        for end in 0..bytes.len() {
            let mut from = Decoder::new(&bytes[..end]);
            let read = from.u64s().and_then(|_| from.text());
            assert!(read.is_err(), "{end}");
        }
    }

    #[test]
    fn a_length_is_not_believed() {
        let mut out = Encoder::new();
        out.u64(u64::MAX);
        let bytes = out.into_bytes();
        let error = Decoder::new(&bytes).u64s().unwrap_err();
        assert_eq!(
            error.to_string(),
            "byte 8: 18446744073709551615 values are announced, 0 bytes are left"
        );
        assert!(Decoder::new(&[2]).bool().is_err());
        assert!(Decoder::new(&bytes).end().is_err());
    }

    #[test]
    fn a_piece_carries_the_texts_that_it_uses() {
        let mut interner = Interner::new();
        let symbols = ["unused", "UK", "US", ""].map(|text| interner.intern(text));
        let texts = interner.texts();
        let mut writer = SymbolWriter::new(&texts);
        let mut state = Encoder::new();
        for symbol in [symbols[2], Symbol::NULL, symbols[1], symbols[2], symbols[3]] {
            state.u32(writer.number(symbol));
        }
        let bytes = writer.finish(&state);

        let mut other = Interner::new();
        other.intern("FR");
        let mut from = Decoder::new(&bytes);
        let reader = SymbolReader::read(&mut from, &mut other).unwrap();
        let read: Vec<_> = (0..5)
            .map(|_| reader.symbol(from.u32().unwrap()).unwrap())
            .collect();
        from.end().unwrap();
        let mut from = Decoder::new(&bytes);
        SymbolReader::skip(&mut from).unwrap();
        assert_eq!((from.u32(), from.u32()), (Ok(1), Ok(0)));
        let expected = [Some("US"), None, Some("UK"), Some("US"), Some("")]
            .map(|text| text.map_or(Symbol::NULL, |text| other.find(text).unwrap()));
        assert_eq!(read, expected);
        assert_eq!(other.find("unused"), None);
        assert!(reader.symbol(9).is_err());
    }
}
