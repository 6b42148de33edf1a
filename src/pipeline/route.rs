//! Which owner the groups of a metric belong to.

use crate::config::Metric;
use crate::model::hash::StableHash;
use crate::model::{Interner, Symbol};

/// Which owner a metric's groups go to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Route {
    /// By the hash of their labels, which are so many first symbols of the key: each group has its
    /// owner.
    ByLabels(usize),
    /// All to one owner, by this hash: what is formed depends on all groups together.
    Whole(u64),
}

impl Route {
    pub(super) fn of(metric: &Metric) -> Self {
        if metric.needs_all_groups() {
            Self::Whole(StableHash::default().text(&metric.name).finish())
        } else {
            Self::ByLabels(metric.by.len())
        }
    }

    /// The owner of a group, of so many. `interner` is that of the key's symbols; the owner depends on
    /// their texts alone.
    pub(super) fn owner_of(self, key: &[Symbol], owners: usize, interner: &Interner) -> usize {
        let hash = match self {
            Self::Whole(hash) => hash,
            Self::ByLabels(labels) => {
                let labels = key.iter().take(labels);
                let text = |symbol: &Symbol| interner.text(*symbol);
                labels
                    .fold(StableHash::default(), |hash, symbol| {
                        hash.text(text(symbol))
                    })
                    .finish()
            }
        };
        usize::try_from(hash % owners.max(1) as u64).unwrap_or_default()
    }
}
