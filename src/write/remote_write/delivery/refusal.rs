//! Samples that are not sent, because the receiver is known to refuse them.

use crate::write::WriteError;
use crate::write::rejected::RejectedSample;

use super::super::checks::Refused;
use super::super::config::OnRejected;
use super::super::shard::Transport;
use super::{Delivery, Ends};

impl<T: Transport> Delivery<T> {
    /// Drops samples that the receiver is known to refuse, each for its own reason, and keeps them where
    /// there is a place for it, as if it had been asked.
    ///
    /// # Errors
    /// The pipeline is to fail in place of that.
    pub(in crate::write::remote_write) async fn refuse(
        &mut self,
        refused: &[Refused],
    ) -> Result<(), Ends> {
        let Some(first) = refused.first() else {
            return Ok(());
        };
        if self.shared.on_rejected == OnRejected::Fail {
            let message = format!(
                "a sample of {} would be refused by the receiver: {}",
                first.sample.series, first.violation
            );
            self.shared.fatal.set(WriteError::Rejected(message));
            return Err(Ends);
        }
        let now_ms = self.shared.clock.now_ms();
        let records = refused
            .iter()
            .map(|Refused { sample, violation }| RejectedSample {
                rejected_at_ms: now_ms,
                receiver: self.shared.receiver.clone(),
                status: None,
                words: violation.to_string(),
                sample: sample.clone(),
            });
        let records = records.collect();
        let is_kept = self.write_down(records).await;
        for Refused { violation, .. } in refused {
            self.shared.metrics.drop_samples(violation.reason(), 1);
        }
        let Some(held_back) = self.refusal_log.admit() else {
            return Ok(());
        };
        let (shard, samples, series) = (self.shard, refused.len(), &first.sample.series);
        let (timestamp_ms, why) = (first.sample.timestamp_ms, &first.violation);
        if is_kept {
            tracing::error!(
                shard, samples, %series, timestamp_ms, %why, held_back,
                "samples are not sent, because the receiver would refuse them, and kept: \
                 weir rejected list shows them"
            );
        } else {
            tracing::error!(
                shard, samples, %series, timestamp_ms, %why, held_back,
                "samples are dropped, because the receiver would refuse them"
            );
        }
        Ok(())
    }
}
