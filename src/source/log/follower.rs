//! The reading side of the log: what is durable is handed over to the pipeline.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;

use crate::durable::{LogError, LogReader, Record};
use crate::model::{RecordBatch, Split};

use super::super::metrics::SplitMetrics;
use super::super::{SourceEvent, SourceOutput, StopSignal, Stopped};
use super::progress::{Progress, State};
use super::record::{Entry, InvalidEntry};

/// How many bytes of the log are read at once.
const READ_BYTES: usize = 256 * 1024;

/// The most records of a batch.
const BATCH_RECORDS: usize = 4_096;

/// How often the stop signal is looked for.
const PATIENCE: Duration = Duration::from_millis(20);

/// Reads a log as a split.
#[derive(Debug)]
pub(in crate::source) struct Follower {
    reader: LogReader,
    split: Split,
    needs_envelope: bool,
    metrics: SplitMetrics,
    dropped: IntCounter,
    progress: Arc<Progress>,
    /// The position of the next record to be handed over.
    next: u64,
    /// Whether the pipeline was told that the split is idle.
    told_idle: bool,
    /// Whether the pipeline was told that the split begins.
    is_assigned: bool,
}

/// Why reading ended before its time.
#[derive(Debug, thiserror::Error)]
pub(in crate::source) enum FollowError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("record {position} of the log cannot be read: {reason}")]
    Record { position: u64, reason: InvalidEntry },
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Follower {
    /// Reads from position `next` on, with a reader that stands there.
    pub(in crate::source) fn new(
        reader: LogReader,
        split: Split,
        needs_envelope: bool,
        metrics: SplitMetrics,
        dropped: IntCounter,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            reader,
            split,
            needs_envelope,
            metrics,
            dropped,
            next: progress.now().handed,
            progress,
            told_idle: false,
            is_assigned: false,
        }
    }

    /// Its split. The source says that it begins, and [`run`](Self::run) does not: for one with several
    /// splits, which are all said first.
    #[cfg(feature = "mqtt")]
    pub(in crate::source) fn begin(&mut self) -> Split {
        self.is_assigned = true;
        self.split.clone()
    }

    /// Whether everything that the log has was handed over in an earlier run.
    #[cfg(feature = "mqtt")]
    pub(in crate::source) fn is_at_end(&self) -> bool {
        self.next >= self.progress.now().next
    }

    /// Hands over until the signal is set, or everything of a log that nobody appends to any more.
    /// What is not handed over stays in the log.
    ///
    /// # Errors
    /// The log cannot be read, or the pipeline takes no more.
    pub(in crate::source) fn run(
        mut self,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), FollowError> {
        let result = self.follow(output, stop);
        self.progress
            .change(|state| state.abandoned |= result.is_err());
        result
    }

    fn follow(
        &mut self,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), FollowError> {
        if !self.is_assigned {
            output.send(SourceEvent::Assigned(self.split.clone()))?;
        }
        let mut records = Vec::new();
        while !stop.is_stopped() {
            let state = self.progress.wait(PATIENCE, |state| {
                state.durable > self.next || state.ended || self.is_news(state)
            });
            if state.durable > self.next {
                self.read(&mut records)?;
                self.hand_over(&mut records, output)?;
            } else if state.ended {
                return Ok(());
            } else if self.is_news(&state) {
                let id = self.split.id;
                self.told_idle = state.idle;
                output.send(if state.idle {
                    SourceEvent::Idle(id)
                } else {
                    SourceEvent::Active(id)
                })?;
            }
        }
        Ok(())
    }

    /// Whether the split has become idle or is no longer so. While the log holds what was not handed
    /// over, silence says nothing.
    fn is_news(&self, state: &State) -> bool {
        self.next >= state.next && state.idle != self.told_idle
    }

    /// Reads some records. Where those that come next were thrown away or are damaged, goes on at the
    /// first one that there is.
    fn read(&mut self, records: &mut Vec<Record>) -> Result<(), LogError> {
        match self.reader.read(READ_BYTES, records) {
            Ok(0) => {
                // Positions may have been left out.
                self.next = self.next.max(self.reader.position());
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(LogError::ReadFrom { first, .. }) => self.reader.seek(first),
            Err(error @ LogError::Corrupt { .. }) => {
                let Some(skipped) = self.reader.skip_damaged()? else {
                    return Err(error);
                };
                self.dropped.inc_by(skipped.records);
                tracing::warn!(
                    split = %self.split,
                    %error,
                    records = skipped.records,
                    "damaged records of the log are passed over"
                );
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Hands over in batches of records that were received at the same time: so a batch is the same
    /// whenever and however often it is read.
    fn hand_over(
        &mut self,
        records: &mut Vec<Record>,
        output: &mut dyn SourceOutput,
    ) -> Result<(), FollowError> {
        let mut batch: Option<RecordBatch> = None;
        for record in records.drain(..) {
            let is_other = |batch: &RecordBatch| {
                batch.received_ms() != record.time_ms || batch.len() >= BATCH_RECORDS
            };
            if batch.as_ref().is_some_and(is_other)
                && let Some(full) = batch.take()
            {
                self.send(full, output)?;
            }
            let batch =
                batch.get_or_insert_with(|| RecordBatch::new(self.split.clone(), record.time_ms));
            let position = record.position;
            let entry = Entry::decode(&record.bytes)
                .map_err(|reason| FollowError::Record { position, reason })?;
            if self.needs_envelope {
                batch.push_enveloped(entry.payload, position, entry.topic, &[]);
            } else {
                batch.push(entry.payload, position);
            }
            // The log has no transport beside us that would know better, and says the same again.
            batch.set_timestamp(record.time_ms);
            self.next = position + 1;
        }
        if let Some(last) = batch {
            self.send(last, output)?;
        }
        let handed = self.next;
        self.progress.change(|state| state.handed = handed);
        Ok(())
    }

    fn send(&mut self, batch: RecordBatch, output: &mut dyn SourceOutput) -> Result<(), Stopped> {
        self.metrics.count(&batch);
        self.told_idle = false;
        output.send(SourceEvent::Records(batch))?;
        Ok(())
    }
}
