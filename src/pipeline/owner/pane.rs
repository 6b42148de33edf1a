//! A pane at its owner, in pieces that a checkpoint shares, and in blocks on disk.

use std::sync::Arc;

use super::keyed::{Block, KeyedState};
use crate::model::{HoldsSymbols, Interner, LiveSymbols, Renumbering};
use crate::state::StoreError;
use crate::window::aggregate::{AggregateKind, SymbolMap};
use crate::window::{Groups, PaneKey, Piece};

/// What came of a pane so far. What a checkpoint has seen does not change any more, and what comes
/// behind it is apart, so that nothing is copied and nothing saved twice.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Pane {
    frozen: Vec<Piece>,
    live: Option<Groups>,
    /// What is not in memory.
    stored: Vec<Arc<Block>>,
}

impl Pane {
    /// Takes in groups, whose symbols are to be translated where they are another worker's. Keys have
    /// `width` symbols.
    pub(in crate::pipeline) fn merge(
        &mut self,
        groups: Groups,
        symbols: &SymbolMap<'_>,
        width: usize,
        kinds: &[AggregateKind],
    ) {
        match (&mut self.live, symbols) {
            (Some(live), symbols) => live.merge(&groups, symbols),
            (None, SymbolMap::Same) => self.live = Some(groups),
            (None, symbols) => {
                let mut translated = Groups::new(width, kinds);
                translated.merge(&groups, symbols);
                self.live = Some(translated);
            }
        }
    }

    /// What is in memory goes to the store.
    ///
    /// # Errors
    /// The store does not take it.
    pub(in crate::pipeline) fn store(
        &mut self,
        key: PaneKey,
        keyed: &KeyedState,
        interner: &mut Interner,
    ) -> Result<(), StoreError> {
        let frozen = std::mem::take(&mut self.frozen);
        if let Some(groups) = merged(frozen, self.live.take()) {
            self.stored.extend(keyed.put(key, &groups, interner)?);
        }
        Ok(())
    }

    /// What of it is in the store.
    pub(in crate::pipeline) fn stored(&self) -> &[Arc<Block>] {
        &self.stored
    }

    /// All that is in memory as it is now.
    pub(in crate::pipeline) fn freeze(&mut self) -> Vec<Piece> {
        if let Some(live) = self.live.take().filter(|live| !live.is_empty()) {
            self.frozen.push(Piece::new(live));
        }
        self.frozen.clone()
    }

    /// All that is in memory as one; nothing where there are no groups.
    pub(in crate::pipeline) fn into_groups(self) -> Option<Groups> {
        merged(self.frozen, self.live)
    }

    /// How many groups are in memory, where those of several pieces count several times.
    pub(in crate::pipeline) fn len(&self) -> usize {
        self.all().map(Groups::len).sum()
    }

    /// How many bytes it takes in the store.
    pub(in crate::pipeline) fn stored_bytes(&self) -> usize {
        self.stored.iter().map(|block| block.bytes).sum()
    }

    /// How many bytes it takes in memory, about.
    pub(in crate::pipeline) fn byte_len(&self) -> usize {
        self.all().map(Groups::byte_len).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Groups> {
        let frozen = self.frozen.iter().map(|piece| &*piece.groups);
        frozen.chain(&self.live)
    }
}

/// What is in the store has its texts with it.
impl HoldsSymbols for Pane {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.frozen.mark_live(live);
        self.live.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.frozen.renumber(numbers);
        self.live.renumber(numbers);
    }
}

fn merged(frozen: Vec<Piece>, live: Option<Groups>) -> Option<Groups> {
    let mut pieces = frozen.into_iter().map(|piece| piece.groups);
    let first = live.or_else(|| pieces.next().map(Arc::unwrap_or_clone));
    first.map(|mut all| {
        for piece in pieces {
            all.merge(&piece, &SymbolMap::Same);
        }
        all
    })
}
