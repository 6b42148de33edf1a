//! Owners take over a metric's state from a checkpoint that may be of another number of owners.

use super::exchange::texts_of;
use super::route::Route;
use crate::model::{Corrupt, Interner, Symbol};
use crate::pipeline::owner::owned::{OwnedMetric, pick_ended};
use crate::pipeline::owner::snapshot::{Forming, Layout, OwnedPart};
use crate::state::StoreError;
use crate::window::aggregate::SymbolMap;
use crate::window::{Ended, Groups};

/// Why a part was not restored.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestoreError {
    /// It is no part of such a metric, or contradicts another one.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// It is too large for memory, and cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A metric at one of its owners, and the interner of that owner's thread.
#[derive(Debug)]
pub(super) struct Target<'t> {
    pub(super) metric: &'t mut OwnedMetric,
    pub(super) interner: &'t mut Interner,
}

/// The restoration of one metric: its parts, in any order and of whatever workers and owners, go to
/// those that own their groups now.
#[derive(Debug)]
pub(super) struct Restoration<'t> {
    route: Route,
    layout: Layout,
    /// The owners by their numbers.
    targets: Vec<Target<'t>>,
}

impl<'t> Restoration<'t> {
    /// Nothing restored yet. `targets` are all owners by their numbers.
    pub(super) fn new(route: Route, targets: Vec<Target<'t>>) -> Option<Self> {
        let layout = targets.first()?.metric.layout();
        Some(Self {
            route,
            layout,
            targets,
        })
    }

    /// Takes in a part.
    ///
    /// # Errors
    /// The bytes are no part of such a metric, or contradict what was restored before; or there is no
    /// room for it.
    pub(super) fn part(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let owners = self.targets.len();
        if let (Route::Whole(_), _) | (_, 1) = (self.route, owners) {
            let owner = self.route.owner_of(&[], owners, &Interner::new());
            let Some(target) = self.targets.get_mut(owner) else {
                return Ok(());
            };
            let part = OwnedPart::decode(bytes, &self.layout, target.interner)?;
            target.metric.restore(part)?;
            return Ok(target.metric.make_room(target.interner)?);
        }
        let mut interner = Interner::new();
        let part = OwnedPart::decode(bytes, &self.layout, &mut interner)?;
        for (owner, part) in self.distribute(part, &interner) {
            if let Some(target) = self.targets.get_mut(owner) {
                let part = translated(part, &interner, target.interner, &self.layout);
                target.metric.restore(part)?;
                target.metric.make_room(target.interner)?;
            }
        }
        Ok(())
    }

    /// All parts were taken in.
    ///
    /// # Errors
    /// They contradict each other.
    pub(super) fn finish(self) -> Result<(), Corrupt> {
        for target in self.targets {
            target.metric.check_restored()?;
        }
        Ok(())
    }

    /// What of a part belongs to each owner.
    fn distribute(&self, part: OwnedPart, interner: &Interner) -> Vec<(usize, OwnedPart)> {
        let owners = self.targets.len();
        let owner_of = |key: &[Symbol]| self.route.owner_of(key, owners, interner);
        let route = |groups: Groups| groups.route(owners, owner_of).into_iter();
        match part {
            // Without groups there is nothing to say to whom it belongs; what is held has one owner.
            OwnedPart::Forming(Forming { formed, .. }) => (0..owners)
                .map(|owner| {
                    let forming = Forming {
                        formed,
                        ..Forming::default()
                    };
                    (owner, OwnedPart::Forming(forming))
                })
                .collect(),
            OwnedPart::Pane(key, groups) => route(groups)
                .map(|routed| (routed.owner, OwnedPart::Pane(key, routed.groups)))
                .collect(),
            OwnedPart::Sliding(start, groups) => route(groups)
                .map(|routed| (routed.owner, OwnedPart::Sliding(start, routed.groups)))
                .collect(),
            OwnedPart::Sessions(groups) => route(groups)
                .map(|routed| (routed.owner, OwnedPart::Sessions(routed.groups)))
                .collect(),
            OwnedPart::Gathered(end, ended) => {
                let mut parts = Vec::new();
                for ended in &ended {
                    for (owner, ended) in distribute_ended(ended, owners, owner_of) {
                        parts.push((owner, OwnedPart::Gathered(end, vec![ended])));
                    }
                }
                parts
            }
            OwnedPart::Living(living) => {
                let routed = living.route(owners, owner_of).into_iter();
                routed
                    .map(|(owner, living)| (owner, OwnedPart::Living(living)))
                    .collect()
            }
        }
    }
}

fn distribute_ended(
    ended: &Ended,
    owners: usize,
    owner_of: impl Fn(&[Symbol]) -> usize,
) -> Vec<(usize, Ended)> {
    let mut slots_of: Vec<Vec<u32>> = vec![Vec::new(); owners];
    for slot in 0..ended.groups.len() {
        if let Some(slots) = slots_of.get_mut(owner_of(ended.groups.key(slot))) {
            slots.push(u32::try_from(slot).unwrap_or(u32::MAX));
        }
    }
    let slots_of = slots_of.into_iter().enumerate();
    slots_of
        .filter(|(_, slots)| !slots.is_empty())
        .map(|(owner, slots)| (owner, pick_ended(ended, &slots)))
        .collect()
}

/// A part with the owner's symbols.
fn translated(part: OwnedPart, from: &Interner, to: &mut Interner, layout: &Layout) -> OwnedPart {
    if let OwnedPart::Living(living) = part {
        return OwnedPart::Living(living.translated(from, to));
    }
    let mut groups = |groups: Groups| {
        let texts = texts_of(&groups, from);
        let length = texts.iter().map(|(symbol, _)| symbol.index() + 1).max();
        let mut table = vec![Symbol::NULL; length.unwrap_or_default()];
        for (symbol, text) in &texts {
            if let Some(entry) = table.get_mut(symbol.index()) {
                *entry = to.intern(text);
            }
        }
        let mut translated = Groups::new(layout.key_width, &layout.kinds);
        translated.merge(&groups, &SymbolMap::Table(&table));
        translated
    };
    match part {
        OwnedPart::Forming(_) | OwnedPart::Living(_) => part,
        OwnedPart::Pane(key, pane) => OwnedPart::Pane(key, groups(pane)),
        OwnedPart::Sliding(start, pane) => OwnedPart::Sliding(start, groups(pane)),
        OwnedPart::Sessions(open) => OwnedPart::Sessions(groups(open)),
        OwnedPart::Gathered(end, ended) => {
            let ended = ended.into_iter().map(|ended| Ended {
                groups: groups(ended.groups),
                spans: ended.spans,
            });
            OwnedPart::Gathered(end, ended.collect())
        }
    }
}
