//! Groups that are handed out to be saved while processing goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::aggregate::SymbolMap;
use super::groups::Groups;
use crate::model::{HoldsSymbols, LiveSymbols, Renumbering};

/// Groups that do not change as long as somebody else holds them.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Equal numbers are the same content, within one process.
    pub id: u64,
    /// The groups.
    pub groups: Arc<Groups>,
}

impl Piece {
    /// Groups that nobody else has.
    pub fn new(groups: Groups) -> Self {
        Self {
            id: new_id(),
            groups: Arc::new(groups),
        }
    }

    /// The groups, to be changed, which makes another piece of it. They are copied where somebody else
    /// holds them.
    pub(super) fn change(&mut self) -> &mut Groups {
        self.id = new_id();
        Arc::make_mut(&mut self.groups)
    }

    /// Whether nobody else holds the groups.
    pub(super) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.groups) == 1
    }

    /// The groups, copied where somebody else holds them.
    pub(super) fn into_groups(self) -> Groups {
        Arc::unwrap_or_clone(self.groups)
    }
}

/// The content stays the same, and so does the number: only its symbols have other numbers.
impl HoldsSymbols for Piece {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.groups.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.groups.renumber(numbers);
    }
}

/// Merges pieces of similar size that nobody else holds, the last ones first, as long as the last is at
/// least half as long as the one before: so there are few of them, and each group is merged few times.
pub(super) fn merge_similar(pieces: &mut Vec<Piece>) {
    while let [.., before, last] = pieces.as_mut_slice()
        && last.groups.len() >= before.groups.len() / 2
        && before.is_alone()
        && last.is_alone()
    {
        if last.groups.len() > before.groups.len() {
            std::mem::swap(before, last);
        }
        before.change().merge(&last.groups, &SymbolMap::Same);
        pieces.pop();
    }
}

/// Numbers of pieces reach no state: stores only tell by them what they have already.
fn new_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
