//! A pane at its owner, in pieces that a checkpoint shares.

use std::sync::Arc;

use crate::window::aggregate::{AggregateKind, SymbolMap};
use crate::window::{Groups, Piece};

/// What came of a pane so far. What a checkpoint has seen does not change any more, and what comes
/// behind it is apart, so that nothing is copied and nothing saved twice.
#[derive(Debug, Default)]
pub(super) struct Pane {
    frozen: Vec<Piece>,
    live: Option<Groups>,
}

impl Pane {
    /// Takes in groups, whose symbols are to be translated where they are another worker's. Keys have
    /// `width` symbols.
    pub(super) fn merge(
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

    /// All of it as it is now.
    pub(super) fn freeze(&mut self) -> Vec<Piece> {
        if let Some(live) = self.live.take().filter(|live| !live.is_empty()) {
            self.frozen.push(Piece::new(live));
        }
        self.frozen.clone()
    }

    /// All of it as one; nothing where there are no groups.
    pub(super) fn into_groups(self) -> Option<Groups> {
        let mut pieces = self.frozen.into_iter().map(|piece| piece.groups);
        let first = self
            .live
            .or_else(|| pieces.next().map(Arc::unwrap_or_clone));
        first.map(|mut all| {
            for piece in pieces {
                all.merge(&piece, &SymbolMap::Same);
            }
            all
        })
    }

    /// How many groups, where those of several pieces count several times.
    pub(super) fn len(&self) -> usize {
        self.all().map(Groups::len).sum()
    }

    /// How many bytes it takes, about.
    pub(super) fn byte_len(&self) -> usize {
        self.all().map(Groups::byte_len).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Groups> {
        let frozen = self.frozen.iter().map(|piece| &*piece.groups);
        frozen.chain(&self.live)
    }
}
