//! The writing side of the log: what is received is appended, synced together with others, and can
//! be acknowledged after that.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::durable::{self, Dropped, Log, LogError, LogReader};
use crate::model::{Clock, TimestampMs};
use crate::telemetry::LogLimit;

use super::super::KeptPositions;
use super::config::{Fsync, LogSettings, WhenFull};
use super::metrics::LogMetrics;
use super::progress::Progress;
use super::record::Entry;

/// How large a segment of the log grows, bytes.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// How often records that nobody needs any more are looked for.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);

/// How often the same trouble is logged.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Appends to a log.
#[derive(Debug)]
pub(in crate::source) struct Appender {
    log: Log,
    when_full: WhenFull,
    split_name: String,
    kept: KeptPositions,
    /// How many of the last records stay in any case.
    keep_last: u64,
    clock: Clock,
    progress: Arc<Progress>,
    metrics: LogMetrics,
    /// When the records since the last sync were received: all at the same time, so that they can be
    /// read as one batch.
    received_ms: Option<TimestampMs>,
    #[cfg(any(feature = "mqtt", test))]
    scratch: Vec<u8>,
    next_housekeeping: Instant,
    is_full: bool,
    drop_log: LogLimit,
    full_log: LogLimit,
}

/// What a log is opened with beside its settings.
#[derive(Debug)]
pub(in crate::source) struct Opening {
    /// The name of the split that it is read as.
    pub(in crate::source) split_name: String,
    /// Up to where the state has processed it.
    pub(in crate::source) resume: Option<u64>,
    /// What checkpoints still need.
    pub(in crate::source) kept: KeptPositions,
    /// How many of the last records stay in any case: by them it is known what comes again.
    pub(in crate::source) keep_last: u64,
    pub(in crate::source) clock: Clock,
    pub(in crate::source) metrics: LogMetrics,
    /// Counts that the log has not all that is to be read.
    pub(in crate::source) positions_lost: IntCounter,
}

impl Appender {
    /// Opens the log, cuts off what a crash has torn, and gives from where it is to be read: from
    /// where the state says, or else from its first record. What was acknowledged is never passed
    /// over.
    ///
    /// # Errors
    /// Another process or another split has the log, it cannot be read, or the system refuses.
    pub(in crate::source) fn open(
        settings: &LogSettings,
        opening: Opening,
    ) -> Result<(Self, u64), LogError> {
        let config = durable::LogConfig {
            segment_bytes: SEGMENT_BYTES,
            fsync: match settings.config.fsync {
                Fsync::Always(_) => durable::Fsync::Always,
                Fsync::Every(every) => durable::Fsync::Every(every.to_std()),
            },
            max_bytes: Some(settings.config.max_bytes),
            max_age: settings.config.max_age.map(|age| age.to_std()),
        };
        let (mut log, recovered) = Log::open(&settings.folder, config)?;
        log.claim(&opening.split_name)?;
        let split = &opening.split_name;
        if recovered.bytes > 0 {
            opening.metrics.torn_bytes.inc_by(recovered.bytes);
            tracing::warn!(
                %split,
                bytes = recovered.bytes,
                records = recovered.records,
                "the end of the log was torn by a crash and was cut off; what was not acknowledged \
                 comes again"
            );
        }
        if recovered.damaged > 0 {
            tracing::warn!(%split, records = recovered.damaged, "the log has damaged records");
        }
        let wanted = opening.resume.unwrap_or_else(|| log.first());
        if wanted > log.next() {
            tracing::warn!(
                %split,
                next = log.next(),
                wanted,
                "the state has processed more than the log has; the log goes on behind that"
            );
            log.skip_to(wanted)?;
        }
        let first = log.first();
        let from = wanted.max(first);
        if wanted < first {
            opening.positions_lost.inc();
            opening.metrics.dropped.inc_by(first - wanted);
            tracing::warn!(
                %split,
                wanted,
                first,
                "the log has no longer what was to be read next; reading goes on at its first record"
            );
        }
        let progress = Progress::default();
        progress.change(|state| {
            state.first = first;
            state.durable = log.durable();
            state.next = log.next();
            state.handed = from;
        });
        let appender = Self {
            log,
            when_full: settings.config.when_full,
            split_name: opening.split_name,
            kept: opening.kept,
            keep_last: opening.keep_last,
            clock: opening.clock,
            progress: Arc::new(progress),
            metrics: opening.metrics,
            received_ms: None,
            #[cfg(any(feature = "mqtt", test))]
            scratch: Vec::new(),
            next_housekeeping: Instant::now(),
            is_full: false,
            drop_log: LogLimit::every(LOG_EVERY),
            full_log: LogLimit::every(LOG_EVERY),
        };
        appender.show();
        Ok((appender, from))
    }

    /// What the reader is told.
    pub(in crate::source) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Reads the log from a position on.
    ///
    /// # Errors
    /// The position is not in the log, or the system refuses.
    pub(in crate::source) fn reader(&self, from: u64) -> Result<LogReader, LogError> {
        self.log.reader(from)
    }

    /// The position of the first record, and the one that the next record gets.
    pub(in crate::source) fn range(&self) -> (u64, u64) {
        (self.log.first(), self.log.next())
    }

    /// Whether there is room for a record, which by the settings is made or not.
    ///
    /// # Errors
    /// The system refuses.
    pub(in crate::source) fn has_room(&mut self) -> Result<bool, LogError> {
        if !self.log.is_full() {
            return Ok(true);
        }
        // Room is more than knowing what comes again.
        self.trim(0)?;
        if self.log.is_full() && self.when_full == WhenFull::DropOldest {
            let dropped = self.drop(Log::drop_oldest)?;
            if let Some(held_back) = self.drop_log.admit() {
                tracing::warn!(
                    split = %self.split_name,
                    held_back,
                    records = dropped.records,
                    "the log is full: its oldest records were thrown away"
                );
            }
        }
        if !self.log.is_full() {
            return Ok(true);
        }
        self.count_full();
        if let Some(held_back) = self.full_log.admit() {
            tracing::warn!(
                split = %self.split_name,
                held_back,
                bytes = self.log.bytes(),
                "the log is full: nothing more is received until there is room"
            );
        }
        Ok(false)
    }

    /// Counts that the log takes nothing, once until it takes something again.
    fn count_full(&mut self) {
        if !std::mem::replace(&mut self.is_full, true) {
            self.metrics.full.inc();
        }
    }

    /// Appends a message, which is not durable before the next [`sync`](Self::sync). Says whether there was
    /// room on the disk.
    ///
    /// # Errors
    /// The system refuses for another reason, or the message is too large.
    #[cfg(any(feature = "mqtt", test))]
    pub(in crate::source) fn append(&mut self, entry: &Entry<'_>) -> Result<bool, LogError> {
        let received_ms = self.received_ms();
        entry.encode(&mut self.scratch);
        let appended = self.log.append(received_ms, &self.scratch);
        self.has_appended(1, appended.map(drop))
    }

    /// Appends the messages with these numbers, all or none, which have about so many bytes together. Says
    /// whether there was room on the disk.
    ///
    /// # Errors
    /// The system refuses for another reason, or a message is too large.
    pub(in crate::source) fn append_all<'a>(
        &mut self,
        numbers: Range<usize>,
        bytes: usize,
        entry: impl Fn(usize) -> Entry<'a>,
    ) -> Result<bool, LogError> {
        if numbers.is_empty() {
            return Ok(true);
        }
        let (received_ms, begin) = (self.received_ms(), numbers.start);
        let encode = |index, out: &mut Vec<u8>| entry(begin + index).encode(out);
        let count = numbers.len();
        let appended = self.log.append_all(received_ms, count, bytes, encode);
        self.has_appended(count as u64, appended)
    }

    /// Takes note of what has become of so many records. Says whether there was room on the disk.
    fn has_appended(
        &mut self,
        count: u64,
        appended: Result<(), LogError>,
    ) -> Result<bool, LogError> {
        match appended {
            Ok(()) => {
                self.is_full = false;
                self.metrics.appended.inc_by(count);
                let (next, durable) = (self.log.next(), self.log.durable());
                self.progress.change(|state| {
                    state.next = next;
                    state.durable = durable;
                    state.idle = false;
                });
                Ok(true)
            }
            Err(error) if error.is_disk_full() => {
                if self.is_durable() {
                    self.received_ms = None;
                }
                // What was appended before may have become durable with its segment.
                self.tell_first();
                self.count_full();
                if let Some(held_back) = self.full_log.admit() {
                    tracing::warn!(
                        split = %self.split_name,
                        held_back,
                        %error,
                        "the log cannot be written: nothing more is received until there is room"
                    );
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn received_ms(&mut self) -> TimestampMs {
        *self.received_ms.get_or_insert_with(|| self.clock.now_ms())
    }

    /// How long until something is to be done: a sync, or [`keep_house`](Self::keep_house).
    pub(in crate::source) fn patience(&self, now: Instant) -> Duration {
        let next = self
            .log
            .sync_deadline()
            .map_or(self.next_housekeeping, |sync| {
                sync.min(self.next_housekeeping)
            });
        next.saturating_duration_since(now)
    }

    /// Whether everything that was appended is durable.
    pub(in crate::source) fn is_durable(&self) -> bool {
        self.log.durable() == self.log.next()
    }

    /// Counts a message that came again.
    pub(in crate::source) fn repeated(&self) {
        self.metrics.repeated.inc();
    }

    /// Whether a sync is due.
    pub(in crate::source) fn sync_is_due(&self, now: Instant) -> bool {
        self.log.sync_due(now)
    }

    /// Makes everything durable: it may be acknowledged, and processed.
    ///
    /// # Errors
    /// The system refuses.
    pub(in crate::source) fn sync(&mut self) -> Result<(), LogError> {
        self.received_ms = None;
        if self.is_durable() {
            return Ok(());
        }
        let start = Instant::now();
        let durable = self.log.sync()?;
        self.metrics
            .sync_seconds
            .observe(start.elapsed().as_secs_f64());
        self.progress.change(|state| state.durable = durable);
        Ok(())
    }

    /// Now and then throws away what no checkpoint needs or what is too old, and says in the metrics
    /// how the log stands.
    ///
    /// # Errors
    /// The system refuses.
    pub(in crate::source) fn keep_house(&mut self, now: Instant) -> Result<(), LogError> {
        if now < self.next_housekeeping {
            return Ok(());
        }
        self.next_housekeeping = now + HOUSEKEEPING_EVERY;
        self.trim(self.keep_last)?;
        let now_ms = self.clock.now_ms();
        let dropped = self.drop(|log| log.expire(now_ms))?;
        if dropped.records > 0
            && let Some(held_back) = self.drop_log.admit()
        {
            tracing::warn!(
                split = %self.split_name,
                held_back,
                records = dropped.records,
                "records of the log became too old and were thrown away"
            );
        }
        self.show();
        Ok(())
    }

    /// Throws away what no checkpoint needs, but not the last records.
    fn trim(&mut self, keep_last: u64) -> Result<(), LogError> {
        if let Some(kept) = self.kept.position(&self.split_name) {
            let last = self.log.next().saturating_sub(keep_last);
            as_far_as_there_is_room(self.log.trim(kept.min(last)))?;
            self.tell_first();
        }
        Ok(())
    }

    /// Throws away records, and counts those that were not handed over to the pipeline.
    fn drop(
        &mut self,
        how: impl FnOnce(&mut Log) -> Result<Dropped, LogError>,
    ) -> Result<Dropped, LogError> {
        let before = self.log.first().max(self.progress.now().handed);
        let dropped = as_far_as_there_is_room(how(&mut self.log))?;
        self.metrics
            .dropped
            .inc_by(self.log.first().saturating_sub(before));
        self.tell_first();
        Ok(dropped)
    }

    fn tell_first(&self) {
        let (first, next, durable) = (self.log.first(), self.log.next(), self.log.durable());
        self.progress.change(|state| {
            state.first = first;
            state.next = next;
            state.durable = durable;
        });
    }

    fn show(&self) {
        let age_ms = self
            .log
            .oldest_ms()
            .map_or(0, |oldest| self.clock.now_ms().saturating_sub(oldest));
        let age_seconds = age_ms.max(0) / 1_000;
        self.metrics
            .show(self.log.bytes(), self.log.records(), age_seconds);
    }
}

/// What was thrown away. To let go of the last segment takes a new one: on a full disk it stays for now.
fn as_far_as_there_is_room(dropped: Result<Dropped, LogError>) -> Result<Dropped, LogError> {
    match dropped {
        Err(error) if error.is_disk_full() => Ok(Dropped::default()),
        dropped => dropped,
    }
}

impl Drop for Appender {
    /// However appending ends, the reader must not wait for more.
    fn drop(&mut self) {
        self.progress.change(|state| state.ended = true);
    }
}
