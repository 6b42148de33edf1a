//! Limits on the groups of a window, and the memory of `per`.

use super::super::document::PathSegment;
use super::super::file::MetricConfig;
use super::super::pipeline::{Hold, Side, Top};
use super::Validator;
use crate::expr::AggregateExpression;
use crate::model::Duration;
use crate::window::aggregate::Output;

/// How many keys are held where it is not said.
const DEFAULT_HELD_KEYS: u32 = 1_000_000;

/// Values are held no longer: a hundred years, as the longest window.
const MAX_HOLD: Duration = Duration::from_secs(36_500 * 86_400);

impl Validator<'_> {
    /// Limits on the groups of a window.
    pub(super) fn limits(
        &mut self,
        at: &[PathSegment<'_>; 2],
        config: &MetricConfig,
    ) -> Option<Top> {
        let given = [
            ("topk", config.topk),
            ("bottomk", config.bottomk),
            ("max_series", config.max_series),
        ];
        let lone_sessions = config.per.is_none() && is_session(config);
        for (key, _) in given.iter().filter(|(_, limit)| limit.is_some()) {
            let message = if config.window.is_none() {
                format!("{key} limits the groups of a window; add one")
            } else if lone_sessions {
                format!(
                    "{key} is for groups of one time, and each session ends at its own; remove it, \
                     or gather sessions with per and every"
                )
            } else {
                continue;
            };
            self.problem_of_key(&[at[0], at[1], (*key).into()], message);
        }
        let top = |side, count: u32| Top {
            side,
            count: count as usize,
        };
        match (config.topk, config.bottomk) {
            (Some(_), Some(_)) => {
                let message = "'bottomk' does not go with 'topk'; remove one of them";
                self.problem_of_key(&[at[0], at[1], "bottomk".into()], message);
                None
            }
            (Some(count), None) => Some(top(Side::Highest, count)),
            (None, Some(count)) => Some(top(Side::Lowest, count)),
            (None, None) => None,
        }
    }

    /// Refuses to compare groups whose values are no numbers.
    pub(super) fn compares_numbers(
        &mut self,
        at: &[PathSegment<'_>; 2],
        config: &MetricConfig,
        value: &AggregateExpression,
        output: &Output,
    ) {
        let given = [("topk", config.topk), ("bottomk", config.bottomk)];
        if *output == Output::Number {
            return;
        }
        let function = value.calls.first().map(|call| call.function.as_str());
        for (key, _) in given.iter().filter(|(_, count)| count.is_some()) {
            let message = format!(
                "{key} compares numbers, and {} gives a distribution; remove one of them",
                function.unwrap_or_default()
            );
            self.problem_of_key(&[at[0], at[1], (*key).into()], message);
        }
    }

    /// The memory of `per`; nothing where it is refused.
    #[expect(
        clippy::option_option,
        reason = "a memory that is not wanted is no refusal"
    )]
    pub(super) fn hold(
        &mut self,
        at: &[PathSegment<'_>; 2],
        config: &MetricConfig,
    ) -> Option<Option<Hold>> {
        let per = config.per.as_ref()?;
        let path = |key: &'static str| [at[0], at[1], "per".into(), key.into()];
        let Some(duration) = per.hold else {
            if per.max_held_keys.is_some() {
                let message =
                    "max_held_keys limits what hold remembers; add hold, such as hold: 5m";
                self.problem_of_key(&path("max_held_keys"), message);
                return None;
            }
            return Some(None);
        };
        if is_session(config) {
            let message = "hold does not go with sessions: a silent key is in none; remove it";
            self.problem_of_key(&path("hold"), message);
            return None;
        }
        if duration.as_millis() == 0 {
            self.problem(&path("hold"), "must be longer than 0s");
            return None;
        }
        if duration > MAX_HOLD {
            self.problem(&path("hold"), "must be at most 36500d");
            return None;
        }
        let max_keys = per.max_held_keys.unwrap_or(DEFAULT_HELD_KEYS) as usize;
        Some(Some(Hold { duration, max_keys }))
    }
}

fn is_session(config: &MetricConfig) -> bool {
    let window = config.window.as_ref();
    window.is_some_and(|window| window.session.is_some())
}
