//! What goes on to the owners: the panes of windows that the watermark has closed.

use std::sync::atomic::Ordering;

use super::Worker;
use crate::model::{Symbol, TimestampMs};
use crate::pipeline::exchange::{Meaning, Message, Partials, texts_of};
use crate::pipeline::owner::keyed::KeyedState;
use crate::pipeline::route::Route;
use crate::window::{END_OF_TIME, Groups, PaneKey};

impl Worker {
    /// Closes the windows that the watermark has passed.
    pub(super) fn advance(&mut self) {
        if self.input_ended {
            return;
        }
        let now_ms = self.shared.clock.now_ms();
        let watermark = self.watermarks(|watermarks| {
            let watermark = watermarks.advance(now_ms);
            // Told under the lock, so that no later decision is overtaken by an earlier one.
            if let Some(paused) = watermarks.align() {
                self.shared.metrics.split_pauses.inc_by(paused.new);
                self.shared.alignment.set(paused.splits);
            }
            watermark
        });
        if watermark > self.flushed && watermark != END_OF_TIME {
            self.flush(watermark);
        }
    }

    /// Sends the partials of all windows that end at or before the watermark to their owners.
    pub(super) fn flush(&mut self, watermark: TimestampMs) {
        self.flushed = watermark;
        self.shared.watermark.fetch_max(watermark, Ordering::AcqRel);
        for metric in 0..self.stages.len() {
            let closed = self
                .stages
                .get_mut(metric)
                .map(|stage| stage.close(watermark));
            for (key, groups) in closed.unwrap_or_default() {
                self.send(metric, key, groups);
            }
        }
        let reached = self.splits.furthest_watermark();
        self.exchange
            .broadcast(|| Message::Flushed { watermark, reached });
    }

    /// Sends what is too much for memory to the owners before its time.
    pub(super) fn make_room(&mut self) {
        let Some(limit) = self.keyed.as_ref().map(KeyedState::limit) else {
            return;
        };
        for metric in 0..self.stages.len() {
            let stage = self.stages.get_mut(metric);
            let panes = stage.map(|stage| stage.hand_over_beyond(limit));
            for (key, groups) in panes.unwrap_or_default() {
                self.send(metric, key, groups);
            }
        }
    }

    fn send(&self, metric: usize, key: PaneKey, groups: Groups) {
        let route = self.routes.get(metric).copied().unwrap_or(Route::Whole(0));
        let owners = self.exchange.owners();
        let owner_of = |key: &[Symbol]| route.owner_of(key, owners, &self.interner);
        for routed in groups.route(owners, owner_of) {
            let meaning = match routed.owner == self.number {
                true => Meaning::Own {
                    _under_way: self.own_partials.clone(),
                },
                false => Meaning::Texts(texts_of(&routed.groups, &self.interner)),
            };
            let partials = Partials {
                metric,
                key,
                groups: routed.groups,
                meaning,
            };
            self.exchange
                .send(routed.owner, Message::Partials(Box::new(partials)));
        }
    }
}
