//! The groups of a window: keys to slots, and the partial aggregates of every slot.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::aggregate::{Aggregate, AggregateKind, SymbolMap};
use crate::model::{
    Corrupt, Decoder, Encoder, HoldsSymbols, Interner, LiveSymbols, Renumbering, Symbol,
    SymbolReader, SymbolWriter, Texts,
};

/// The version of the format of groups and of the aggregates in them.
const VERSION: u8 = 1;

/// Groups in order of first appearance. A key is a fixed number of symbols; slot `n` has the symbols
/// `keys[n × width .. (n + 1) × width]`.
#[derive(Debug, Clone)]
pub struct Groups {
    width: usize,
    keys: Vec<Symbol>,
    slots: usize,
    table: HashTable<u32>,
    hasher: FixedState,
    aggregates: Vec<Aggregate>,
}

/// The groups of a window that go to one owner.
#[derive(Debug)]
pub struct Routed {
    /// The owner.
    pub owner: usize,
    /// Its groups.
    pub groups: Groups,
}

impl Groups {
    /// No groups yet; keys have `width` symbols.
    pub fn new(width: usize, kinds: &[AggregateKind]) -> Self {
        Self {
            width,
            keys: Vec::new(),
            slots: 0,
            table: HashTable::new(),
            hasher: FixedState::with_seed(0),
            aggregates: kinds.iter().map(Aggregate::new).collect(),
        }
    }

    /// How many groups.
    pub fn len(&self) -> usize {
        self.slots
    }

    /// Whether there are no groups.
    pub fn is_empty(&self) -> bool {
        self.slots == 0
    }

    /// How many symbols a key has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The key of a slot.
    pub fn key(&self, slot: usize) -> &[Symbol] {
        self.keys
            .get(slot * self.width..(slot + 1) * self.width)
            .unwrap_or_default()
    }

    /// The aggregates, one value a slot each.
    pub fn aggregates(&self) -> &[Aggregate] {
        &self.aggregates
    }

    /// The aggregates, to be updated.
    pub fn aggregates_mut(&mut self) -> &mut [Aggregate] {
        &mut self.aggregates
    }

    /// Gives every aggregate a value for every slot.
    pub fn grow_aggregates(&mut self) {
        for aggregate in &mut self.aggregates {
            aggregate.grow(self.slots);
        }
    }

    /// The slot of a key, new or known.
    #[inline]
    pub fn slot(&mut self, key: &[Symbol]) -> u32 {
        let hash = hash_key(&self.hasher, key);
        let (keys, width) = (&self.keys, self.width);
        let found = self
            .table
            .find(hash, |slot| key_of(keys, width, *slot) == key);
        match found {
            Some(slot) => *slot,
            None => self.insert(hash, key),
        }
    }

    /// The slot of a known key.
    pub fn find(&self, key: &[Symbol]) -> Option<u32> {
        let (keys, width) = (&self.keys, self.width);
        self.table
            .find(hash_key(&self.hasher, key), |slot| {
                key_of(keys, width, *slot) == key
            })
            .copied()
    }

    #[cold]
    fn insert(&mut self, hash: u64, key: &[Symbol]) -> u32 {
        let slot = u32::try_from(self.slots).unwrap_or(u32::MAX);
        self.keys.extend_from_slice(key);
        self.slots += 1;
        let (keys, width, hasher) = (&self.keys, self.width, &self.hasher);
        self.table.insert_unique(hash, slot, |slot| {
            hash_key(hasher, key_of(keys, width, *slot))
        });
        slot
    }

    /// Adds other groups to these. `symbols` gives this worker's symbol for each of theirs.
    pub fn merge(&mut self, other: &Self, symbols: &SymbolMap<'_>) {
        let mut key = Vec::with_capacity(self.width);
        let slots: Vec<u32> = (0..other.len())
            .map(|slot| {
                key.clear();
                key.extend(other.key(slot).iter().map(|symbol| symbols.get(*symbol)));
                self.slot(&key)
            })
            .collect();
        self.grow_aggregates();
        for (mine, theirs) in self.aggregates.iter_mut().zip(&other.aggregates) {
            mine.merge(theirs, &slots, symbols);
        }
    }

    /// The same groups under other keys, which `rename` appends to its second argument. Groups whose
    /// keys become equal are merged.
    pub fn regroup(
        &self,
        kinds: &[AggregateKind],
        rename: impl Fn(&[Symbol], &mut Vec<Symbol>),
    ) -> Self {
        let mut regrouped = Self::new(self.width, kinds);
        let mut key = Vec::with_capacity(self.width);
        let slots: Vec<u32> = (0..self.len())
            .map(|slot| {
                key.clear();
                rename(self.key(slot), &mut key);
                regrouped.slot(&key)
            })
            .collect();
        regrouped.grow_aggregates();
        for (merged, original) in regrouped.aggregates.iter_mut().zip(&self.aggregates) {
            merged.merge(original, &slots, &SymbolMap::Same);
        }
        regrouped
    }

    /// Distributes the groups to their owners; `owner` is asked for each key.
    pub fn route(self, owners: usize, mut owner: impl FnMut(&[Symbol]) -> usize) -> Vec<Routed> {
        if owners <= 1 {
            return vec![Routed {
                owner: 0,
                groups: self,
            }];
        }
        let mut slots_of: Vec<Vec<u32>> = vec![Vec::new(); owners];
        for slot in 0..self.slots {
            let owner = owner(self.key(slot)).min(owners - 1);
            if let Some(slots) = slots_of.get_mut(owner) {
                slots.push(u32::try_from(slot).unwrap_or(u32::MAX));
            }
        }
        let routed = slots_of
            .into_iter()
            .enumerate()
            .filter(|(_, slots)| !slots.is_empty());
        routed
            .map(|(owner, slots)| Routed {
                owner,
                groups: self.pick(&slots),
            })
            .collect()
    }

    /// Some of the groups, copied.
    pub fn pick(&self, slots: &[u32]) -> Self {
        let mut picked = Self {
            width: self.width,
            keys: Vec::with_capacity(slots.len() * self.width),
            slots: 0,
            table: HashTable::with_capacity(slots.len()),
            hasher: self.hasher.clone(),
            aggregates: self
                .aggregates
                .iter()
                .map(|aggregate| aggregate.pick(slots))
                .collect(),
        };
        for slot in slots {
            picked.slot(self.key(*slot as usize));
        }
        picked
    }

    /// Every symbol that a key or an aggregate refers to, some of them several times.
    pub fn for_each_symbol(&self, mut visit: impl FnMut(Symbol)) {
        self.keys.iter().copied().for_each(&mut visit);
        for aggregate in &self.aggregates {
            aggregate.for_each_symbol(&mut visit);
        }
    }

    /// Writes the groups: the keys of all slots, and aggregate by aggregate the values of all slots.
    /// The writer must have been made of texts that are no older than the groups.
    pub fn encode(&self, out: &mut Encoder, symbols: &mut SymbolWriter<'_>) {
        out.u8(VERSION);
        out.count(self.width);
        out.count(self.slots);
        out.u32s(self.keys.iter().map(|symbol| symbols.number(*symbol)));
        out.count(self.aggregates.len());
        for aggregate in &self.aggregates {
            aggregate.encode(out, symbols);
        }
    }

    /// How many groups [`encode`](Self::encode) has written. What they hold is not read.
    ///
    /// # Errors
    /// The bytes end before, or are of another version.
    pub fn decode_len(from: &mut Decoder<'_>) -> Result<u64, Corrupt> {
        Self::decode_version(from)?;
        let _width = from.u64()?;
        from.u64()
    }

    fn decode_version(from: &mut Decoder<'_>) -> Result<(), Corrupt> {
        let version = from.u8()?;
        if version != VERSION {
            return Err(from.corrupt(format!(
                "groups are of version {version}, this weir reads version {VERSION}"
            )));
        }
        Ok(())
    }

    /// Reads what [`encode`](Self::encode) has written of groups with as many symbols in a key and
    /// aggregates of the same kinds. Slots are numbered as they were.
    ///
    /// # Errors
    /// The bytes are of other groups, or no groups at all.
    pub fn decode(
        from: &mut Decoder<'_>,
        symbols: &SymbolReader,
        width: usize,
        kinds: &[AggregateKind],
    ) -> Result<Self, Corrupt> {
        Self::decode_version(from)?;
        let announced = [width, kinds.len()].map(|count| count as u64);
        let [found_width, slots] = [from.u64()?, from.u64()?];
        let keys = from.u32s()?;
        let length = found_width.checked_mul(slots);
        if length != Some(keys.len() as u64) || width == 0 && slots > 1 {
            let length = keys.len();
            return Err(from.corrupt(format!(
                "{length} symbols are not the keys of {slots} groups, {found_width} each"
            )));
        }
        let found = [found_width, from.u64()?];
        if found != announced {
            let ([found_keys, found_kinds], [keys, kinds]) = (found, announced);
            return Err(from.corrupt(format!(
                "groups have {found_keys} symbols in a key and {found_kinds} aggregates, not {keys} \
                 and {kinds}"
            )));
        }
        let keys: Result<Vec<Symbol>, Corrupt> = keys
            .into_iter()
            .map(|number| symbols.symbol(number))
            .collect();
        // As many as there are keys, or at most 1.
        let slots = usize::try_from(slots).unwrap_or_default();
        let mut groups = Self {
            keys: keys?,
            slots,
            table: HashTable::with_capacity(slots),
            ..Self::new(width, &[])
        };
        if let Some(slot) = groups.build_table() {
            return Err(from.corrupt(format!("group {slot} has the key of another one")));
        }
        groups.aggregates = kinds
            .iter()
            .map(|kind| Aggregate::decode(from, symbols, kind, slots))
            .collect::<Result<_, _>>()?;
        Ok(groups)
    }

    /// Fills the empty table; gives the first slot whose key another one has, where there is one.
    fn build_table(&mut self) -> Option<u32> {
        let (keys, width, hasher) = (&self.keys, self.width, &self.hasher);
        let hash = |slot: &u32| hash_key(hasher, key_of(keys, width, *slot));
        for slot in 0..u32::try_from(self.slots).unwrap_or(u32::MAX) {
            let key = key_of(keys, width, slot);
            let is_key = |other: &u32| key_of(keys, width, *other) == key;
            match self.table.entry(hash(&slot), is_key, hash) {
                Entry::Vacant(place) => drop(place.insert(slot)),
                Entry::Occupied(_) => return Some(slot),
            }
        }
        None
    }

    /// The groups with the texts of their symbols, which must all be among `texts`.
    pub fn to_bytes(&self, texts: &Texts) -> Vec<u8> {
        let (mut out, mut symbols) = (Encoder::new(), SymbolWriter::new(texts));
        self.encode(&mut out, &mut symbols);
        symbols.finish(&out)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) has written.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode); or there are more bytes.
    pub fn from_bytes(
        bytes: &[u8],
        interner: &mut Interner,
        width: usize,
        kinds: &[AggregateKind],
    ) -> Result<Self, Corrupt> {
        let mut from = Decoder::new(bytes);
        let symbols = SymbolReader::read(&mut from, interner)?;
        let groups = Self::decode(&mut from, &symbols, width, kinds)?;
        from.end()?;
        Ok(groups)
    }

    /// How many bytes the groups take, about.
    pub fn byte_len(&self) -> usize {
        self.keys.capacity() * size_of::<Symbol>()
            + self.table.capacity() * (size_of::<u32>() + 1)
            + self
                .aggregates
                .iter()
                .map(Aggregate::byte_len)
                .sum::<usize>()
    }
}

impl HoldsSymbols for Groups {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.keys.mark_live(live);
        self.aggregates.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.keys.renumber(numbers);
        self.aggregates.renumber(numbers);
        // A key's place follows from its symbols. Slots stay as they are.
        self.table.clear();
        let (keys, width, hasher) = (&self.keys, self.width, &self.hasher);
        let hash = |slot: &u32| hash_key(hasher, key_of(keys, width, *slot));
        for slot in 0..u32::try_from(self.slots).unwrap_or(u32::MAX) {
            self.table.insert_unique(hash(&slot), slot, hash);
        }
    }
}

#[inline]
fn key_of(keys: &[Symbol], width: usize, slot: u32) -> &[Symbol] {
    let start = slot as usize * width;
    keys.get(start..start + width).unwrap_or_default()
}

#[inline]
fn hash_key(hasher: &FixedState, key: &[Symbol]) -> u64 {
    match key {
        [] => 0,
        [one] => hasher.hash_one(one.0),
        [one, two] => hasher.hash_one(u64::from(one.0) << 32 | u64::from(two.0)),
        [one, two, three] => hasher.hash_one((u64::from(one.0) << 32 | u64::from(two.0), three.0)),
        more => hasher.hash_one(more),
    }
}
