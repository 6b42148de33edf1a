//! Groups that memory is not to hold: blocks in a store of this run.
//!
//! A block has the groups of one pane whose keys fall into one of [`PARTITIONS`] partitions, so that
//! a window can be formed of one partition after the other. Its bytes are those of a part of a
//! checkpoint, which therefore takes them as they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::snapshot::{decode_pane, encode_pane};
use crate::model::hash::StableHash;
use crate::model::{Corrupt, Interner, Symbol};
use crate::state::{Store, StoreError, StoreErrorKind};
use crate::window::aggregate::{AggregateKind, SymbolMap};
use crate::window::{Groups, PaneKey};

/// How many partitions a pane is cut into. So many times the groups that fit into memory can be formed
/// within it.
const PARTITIONS: usize = 64;

/// Where groups go that memory is not to hold.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct KeyedState {
    store: Arc<dyn Store>,
    limit: usize,
}

impl KeyedState {
    /// In a store that nobody else uses and that is empty, with so many groups of a metric in the memory
    /// of a worker, and of an owner.
    pub(in crate::pipeline) fn new(store: Arc<dyn Store>, limit: usize) -> Self {
        Self { store, limit }
    }

    /// How many groups of a metric a worker holds in memory, and an owner.
    pub(in crate::pipeline) fn limit(&self) -> usize {
        self.limit
    }

    /// Writes groups of a pane, whose symbols are the interner's.
    ///
    /// # Errors
    /// The store does not take them.
    pub(in crate::pipeline) fn put(
        &self,
        key: PaneKey,
        groups: &Groups,
        interner: &mut Interner,
    ) -> Result<Vec<Arc<Block>>, StoreError> {
        let mut slots_of: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for (slot, number) in (0..groups.len()).zip(0_u32..) {
            let partition = partition_of(groups.key(slot), interner);
            slots_of.entry(partition).or_default().push(number);
        }
        let texts = interner.texts();
        let blocks = slots_of.into_iter().map(|(partition, slots)| {
            let bytes = encode_pane(key, &groups.pick(&slots), &texts);
            Block::write(&self.store, partition, &bytes)
        });
        blocks.collect()
    }
}

/// The partition of a key, which depends on its texts alone: all workers have the same.
fn partition_of(key: &[Symbol], interner: &Interner) -> usize {
    let hash = key.iter().fold(StableHash::default(), |hash, symbol| {
        hash.text(interner.text(*symbol))
    });
    // By the high bits: the low ones have chosen the owner, so that one owner has few of them.
    let partitions = PARTITIONS as u64;
    usize::try_from((hash.finish() >> 32) % partitions).unwrap_or_default()
}

/// Groups of one pane and one partition in the store. They are removed with the last that knows of
/// them: the window, or a checkpoint that is being written.
#[derive(Debug)]
pub(in crate::pipeline) struct Block {
    /// Equal numbers are the same content, within one process.
    pub(in crate::pipeline) id: u64,
    /// How many bytes it has.
    pub(in crate::pipeline) bytes: usize,
    partition: usize,
    name: String,
    store: Arc<dyn Store>,
}

impl Block {
    fn write(
        store: &Arc<dyn Store>,
        partition: usize,
        bytes: &[u8],
    ) -> Result<Arc<Self>, StoreError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let block = Self {
            id,
            bytes: bytes.len(),
            partition,
            name: format!("{id:016x}"),
            store: store.clone(),
        };
        store.put(&block.name, bytes)?;
        Ok(Arc::new(block))
    }

    /// Its bytes, those of a part of a checkpoint.
    ///
    /// # Errors
    /// The store does not give them back.
    pub(in crate::pipeline) fn read(&self) -> Result<Vec<u8>, StoreError> {
        let bytes = self.store.get(&self.name)?;
        bytes.ok_or_else(|| self.damaged("it was written and is not there any more"))
    }

    fn damaged(&self, words: impl Into<String>) -> StoreError {
        let location = format!("{}/{}", self.store.location(), self.name);
        StoreError::new(StoreErrorKind::Corrupt, location, words)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // The next start empties the store in any case.
        if let Err(error) = self.store.delete(&self.name) {
            tracing::debug!(%error, "groups that nobody needs any more stay on disk");
        }
    }
}

/// A pane on disk, read one partition after the other.
#[derive(Debug)]
pub(in crate::pipeline) struct StoredPane {
    blocks: BTreeMap<usize, Vec<Arc<Block>>>,
    width: usize,
    kinds: Vec<AggregateKind>,
    /// The partitions before this one were read.
    next: usize,
}

impl StoredPane {
    /// A pane that consists of these blocks. Keys have `width` symbols.
    pub(in crate::pipeline) fn new(
        blocks: Vec<Arc<Block>>,
        width: usize,
        kinds: Vec<AggregateKind>,
    ) -> Self {
        let mut by_partition: BTreeMap<usize, Vec<Arc<Block>>> = BTreeMap::new();
        for block in blocks {
            let partition = by_partition.entry(block.partition);
            partition.or_default().push(block);
        }
        Self {
            blocks: by_partition,
            width,
            kinds,
            next: 0,
        }
    }

    /// The groups of the next partition, whose keys no other partition has; nothing behind the last.
    ///
    /// # Errors
    /// The store does not give them back.
    pub(in crate::pipeline) fn next(
        &mut self,
        interner: &mut Interner,
    ) -> Result<Option<Groups>, StoreError> {
        let Some((partition, blocks)) = self.blocks.range(self.next..).next() else {
            return Ok(None);
        };
        self.next = partition + 1;
        let mut all: Option<Groups> = None;
        for block in blocks {
            let bytes = block.read()?;
            let groups = decode_pane(&bytes, self.width, &self.kinds, interner)
                .map_err(|Corrupt { reason, .. }| block.damaged(reason))?;
            match &mut all {
                Some(all) => all.merge(&groups, &SymbolMap::Same),
                None => all = Some(groups),
            }
        }
        Ok(all)
    }

    /// Begins with the first partition again.
    pub(in crate::pipeline) fn rewind(&mut self) {
        self.next = 0;
    }

    /// Groups of the same kind, none yet.
    pub(in crate::pipeline) fn empty(&self) -> Groups {
        Groups::new(self.width, &self.kinds)
    }
}
