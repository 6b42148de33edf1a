//! `topk` and `bottomk`: of a window's groups only those with the highest or lowest values.

use crate::config::{Side, Top};
use crate::model::Interner;
use crate::window::Groups;

/// Makes the values NULL of all groups but the first `top.count`: by value, and between equal values
/// by the texts of their labels.
pub(in crate::pipeline) fn keep_top(
    top: Top,
    values: &mut [f64],
    groups: &Groups,
    interner: &Interner,
) {
    let mut slots: Vec<usize> = (0..values.len())
        .filter(|slot| values.get(*slot).is_some_and(|value| !value.is_nan()))
        .collect();
    if slots.len() <= top.count {
        return;
    }
    let value = |slot: usize| values.get(slot).copied().unwrap_or(f64::NAN);
    let texts = |slot: usize| groups.key(slot).iter().map(|symbol| interner.text(*symbol));
    slots.sort_by(|one, other| {
        let by_value = match top.side {
            Side::Highest => value(*other).total_cmp(&value(*one)),
            Side::Lowest => value(*one).total_cmp(&value(*other)),
        };
        by_value.then_with(|| texts(*one).cmp(texts(*other)))
    });
    for slot in slots.into_iter().skip(top.count) {
        if let Some(value) = values.get_mut(slot) {
            *value = f64::NAN;
        }
    }
}
