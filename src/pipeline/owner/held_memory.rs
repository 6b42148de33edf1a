//! What `per … hold` remembers, as columns that a checkpoint can share.

use crate::model::{
    Column, Corrupt, DataType, Decoder, Encoder, HoldsSymbols, LiveSymbols, Renumbering, Symbol,
    SymbolReader, SymbolWriter, TimestampMs, Trilean,
};

/// The last rows of all keys, a slot each.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::pipeline) struct HeldMemory {
    /// How many labels a key has.
    labels: usize,
    /// The keys.
    pub(in crate::pipeline) keys: Vec<Symbol>,
    /// `labels` symbols a slot.
    pub(in crate::pipeline) label_symbols: Vec<Symbol>,
    /// The named values, and the ends of the windows that they come from, ms since the epoch.
    pub(in crate::pipeline) values: Vec<(Column, Vec<TimestampMs>)>,
    /// The end of the last window in which each key had an event, ms since the epoch.
    pub(in crate::pipeline) last: Vec<TimestampMs>,
}

impl HeldMemory {
    /// No keys yet; their values have these types.
    pub(in crate::pipeline) fn new(labels: usize, types: impl Iterator<Item = DataType>) -> Self {
        Self {
            labels,
            keys: Vec::new(),
            label_symbols: Vec::new(),
            values: types
                .map(|data_type| (Column::empty(data_type), Vec::new()))
                .collect(),
            last: Vec::new(),
        }
    }

    /// Gives a key the next slot, without labels and values.
    pub(in crate::pipeline) fn add(&mut self, key: Symbol) {
        self.keys.push(key);
        self.label_symbols
            .extend(std::iter::repeat_n(Symbol::NULL, self.labels));
        self.last.push(TimestampMs::MIN);
        for (column, seen) in &mut self.values {
            column.push_null();
            seen.push(TimestampMs::MIN);
        }
    }

    /// Some of the slots, copied.
    pub(in crate::pipeline) fn pick(&self, slots: &[usize]) -> Self {
        let places: Vec<usize> = slots
            .iter()
            .flat_map(|slot| slot * self.labels..(slot + 1) * self.labels)
            .collect();
        let values = self.values.iter().map(|(column, seen)| {
            let column = match column {
                Column::Number(values) => Column::Number(pick(values, slots)),
                Column::Boolean(values) => Column::Boolean(pick(values, slots)),
                Column::Text(values) => Column::Text(pick(values, slots)),
            };
            (column, pick(seen, slots))
        });
        Self {
            labels: self.labels,
            keys: pick(&self.keys, slots),
            label_symbols: pick(&self.label_symbols, &places),
            values: values.collect(),
            last: pick(&self.last, slots),
        }
    }

    /// Writes it: the keys, their labels, when each was last heard, and of each value its type, its
    /// column and from when it is.
    pub(in crate::pipeline) fn encode(&self, out: &mut Encoder, symbols: &mut SymbolWriter<'_>) {
        let mut write = |out: &mut Encoder, column: &[Symbol]| {
            out.u32s(column.iter().map(|symbol| symbols.number(*symbol)));
        };
        write(out, &self.keys);
        write(out, &self.label_symbols);
        out.i64s(self.last.iter().copied());
        out.count(self.values.len());
        for (column, seen) in &self.values {
            match column {
                Column::Number(values) => {
                    out.u8(0);
                    out.f64s(values.iter().copied());
                }
                Column::Boolean(values) => {
                    out.u8(1);
                    out.u8s(values.iter().map(|value| number_of(*value)));
                }
                Column::Text(values) => {
                    out.u8(2);
                    write(out, values);
                }
            }
            out.i64s(seen.iter().copied());
        }
    }

    /// Reads what [`encode`](Self::encode) has written, of a memory that has the labels and the types
    /// of `like`.
    ///
    /// # Errors
    /// The bytes end before, or are of another memory.
    pub(in crate::pipeline) fn decode(
        from: &mut Decoder<'_>,
        symbols: &SymbolReader,
        like: &Self,
    ) -> Result<Self, Corrupt> {
        let read = |from: &mut Decoder<'_>| -> Result<Vec<Symbol>, Corrupt> {
            let numbers = from.u32s()?.into_iter();
            numbers.map(|number| symbols.symbol(number)).collect()
        };
        let keys = read(from)?;
        let label_symbols = column_of(read(from)?, keys.len().saturating_mul(like.labels), from)?;
        let last = column_of(from.i64s()?, keys.len(), from)?;
        let count = from.count(1)?;
        if count != like.values.len() {
            let reason = format!(
                "{count} held values, of {} that are named",
                like.values.len()
            );
            return Err(from.corrupt(reason));
        }
        let mut values = Vec::with_capacity(count);
        for (known, _) in &like.values {
            let column = match (from.u8()?, known) {
                (0, Column::Number(_)) => {
                    Column::Number(column_of(from.f64s()?, keys.len(), from)?)
                }
                (1, Column::Boolean(_)) => {
                    let numbers = column_of(from.u8s()?, keys.len(), from)?;
                    let values = numbers.into_iter().map(|number| value_of(number, from));
                    Column::Boolean(values.collect::<Result<_, _>>()?)
                }
                (2, Column::Text(_)) => Column::Text(column_of(read(from)?, keys.len(), from)?),
                (other, _) => {
                    let reason = format!("a held value of type {other}, which is not its type");
                    return Err(from.corrupt(reason));
                }
            };
            values.push((column, column_of(from.i64s()?, keys.len(), from)?));
        }
        Ok(Self {
            labels: like.labels,
            keys,
            label_symbols,
            values,
            last,
        })
    }
}

impl HoldsSymbols for HeldMemory {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.keys.mark_live(live);
        self.label_symbols.mark_live(live);
        self.values
            .iter()
            .for_each(|(column, _)| column.mark_live(live));
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.keys.renumber(numbers);
        self.label_symbols.renumber(numbers);
        for (column, _) in &mut self.values {
            column.renumber(numbers);
        }
    }
}

fn pick<T: Copy>(values: &[T], places: &[usize]) -> Vec<T> {
    let value = |place: &usize| values.get(*place).copied();
    places.iter().filter_map(value).collect()
}

/// A column that has as many values as it should.
fn column_of<T>(column: Vec<T>, count: usize, from: &Decoder<'_>) -> Result<Vec<T>, Corrupt> {
    if column.len() == count {
        return Ok(column);
    }
    Err(from.corrupt(format!(
        "a column of {} values, where {count} belong",
        column.len()
    )))
}

fn number_of(value: Trilean) -> u8 {
    match value {
        Trilean::False => 0,
        Trilean::True => 1,
        Trilean::Null => 2,
    }
}

fn value_of(number: u8, from: &Decoder<'_>) -> Result<Trilean, Corrupt> {
    match number {
        0 => Ok(Trilean::False),
        1 => Ok(Trilean::True),
        2 => Ok(Trilean::Null),
        other => Err(from.corrupt(format!(
            "{other} is no truth value or NULL, which is 0 to 2"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Interner;

    fn memory(interner: &mut Interner) -> HeldMemory {
        let types = [DataType::Number, DataType::Boolean, DataType::Text];
        let mut memory = HeldMemory::new(2, types.into_iter());
        for (key, row) in [("V1", 0_i64), ("V2", 1), ("V3", 2)] {
            memory.add(interner.intern(key));
            *memory.last.last_mut().unwrap() = 1_000 * row;
        }
        memory.label_symbols[1] = interner.intern("UK");
        memory.values[0] = (Column::Number(vec![0.1, -0.0, 3.0]), vec![1, 2, 3]);
        let truth = [Trilean::True, Trilean::Null, Trilean::False];
        memory.values[1] = (Column::Boolean(truth.into()), vec![4, 5, 6]);
        let text = interner.intern("red");
        memory.values[2] = (Column::Text(vec![text, text, Symbol::NULL]), vec![7, 8, 9]);
        memory
    }

    fn bytes_of(memory: &HeldMemory, interner: &mut Interner) -> Vec<u8> {
        let texts = interner.texts();
        let mut symbols = SymbolWriter::new(&texts);
        let mut out = Encoder::new();
        memory.encode(&mut out, &mut symbols);
        symbols.finish(&out)
    }

    fn read(bytes: &[u8], like: &HeldMemory) -> Result<HeldMemory, Corrupt> {
        let mut interner = Interner::new();
        let mut from = Decoder::new(bytes);
        let symbols = SymbolReader::read(&mut from, &mut interner)?;
        let memory = HeldMemory::decode(&mut from, &symbols, like)?;
        from.end()?;
        // The same texts in the same order have the same symbols.
        Ok(memory)
    }

    #[test]
    fn a_memory_is_read_as_it_was_written_and_no_cut_is_taken_for_one() {
        let mut interner = Interner::new();
        let memory = memory(&mut interner);
        let bytes = bytes_of(&memory, &mut interner);
        assert_eq!(read(&bytes, &memory), Ok(memory.clone()));
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end], &memory).is_err(), "{end}");
        }
    }

    #[test]
    fn a_memory_of_other_values_is_refused() {
        let mut interner = Interner::new();
        let memory = memory(&mut interner);
        let bytes = bytes_of(&memory, &mut interner);
        let reason = |labels, types: &[DataType]| {
            let like = HeldMemory::new(labels, types.iter().copied());
            read(&bytes, &like).unwrap_err().reason
        };
        let types = [DataType::Number, DataType::Boolean, DataType::Text];
        assert_eq!(reason(1, &types), "a column of 6 values, where 3 belong");
        assert_eq!(reason(2, &types[..2]), "3 held values, of 2 that are named");
        assert_eq!(
            reason(2, &[DataType::Text; 3]),
            "a held value of type 0, which is not its type"
        );
    }
}
