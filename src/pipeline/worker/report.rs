//! What is told of a worker.

use super::Worker;
use crate::model::TimestampMs;
use crate::window::{END_OF_TIME, SplitState};

impl Worker {
    /// Brings gauges and safe positions up to date.
    pub(in crate::pipeline) fn report(&mut self) {
        self.note_crowd();
        let owned = self.owner.metrics();
        for ((stage, gauges), owned) in self.stages.iter().zip(&mut self.state_gauges).zip(owned) {
            let store = stage.store();
            let (panes, groups, bytes) = owned.state();
            gauges.set(
                store.open_windows() + panes,
                store.open_groups() + groups,
                store.byte_len() + bytes,
            );
            gauges.set_stored(owned.stored_bytes());
        }
        let [texts, bytes] = &self.interner_gauges;
        texts.set(i64::try_from(self.interner.len()).unwrap_or(i64::MAX));
        bytes.set(i64::try_from(self.interner.byte_len()).unwrap_or(i64::MAX));
        self.preparation.report(&self.interner);
        self.splits
            .report(self.writer.acknowledged(), &self.shared.safe);
        if self.number != 0 {
            return;
        }
        let metrics = &self.shared.metrics;
        self.watermarks(|watermarks| {
            for (state, name) in [
                (SplitState::Active, "active"),
                (SplitState::Idle, "idle"),
                (SplitState::Finished, "finished"),
            ] {
                let count = i64::try_from(watermarks.count(state)).unwrap_or(i64::MAX);
                metrics.splits(name).set(count);
            }
            let paused = i64::try_from(watermarks.count_paused()).unwrap_or(i64::MAX);
            metrics.splits("paused").set(paused);
            metrics.drift.set(watermarks.drift_ms() as f64 / 1e3);
        });
        if self.flushed > TimestampMs::MIN && self.flushed < END_OF_TIME {
            let now_ms = self.shared.clock.now_ms();
            metrics.watermark.set(self.flushed as f64 / 1e3);
            metrics
                .watermark_lag
                .set(now_ms.saturating_sub(self.flushed) as f64 / 1e3);
        }
    }
}
