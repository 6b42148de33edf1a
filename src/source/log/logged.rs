//! Both sides of a log together: a source appends on one thread and hands over on another.

use std::io;
use std::sync::Arc;
use std::thread;

use crate::durable::LogError;
use crate::model::Split;
use crate::telemetry::Registry;

use super::super::metrics::SourceMetrics;
use super::super::{Context, SourceOutput, StopSignal};
use super::appender::{Appender, Opening};
use super::config::LogSettings;
use super::follower::{FollowError, Follower};
use super::metrics::LogMetrics;
use super::record::Entry;

/// How many bytes of the log are looked through at once at the start.
const READ_BYTES: usize = 1024 * 1024;

/// A log that was opened, with its reader.
#[derive(Debug)]
pub(in crate::source) struct Logged {
    pub(in crate::source) appender: Appender,
    pub(in crate::source) follower: Follower,
}

/// Why a source with a log has ended.
#[derive(Debug, thiserror::Error)]
pub(in crate::source) enum LoggedError {
    #[error("cannot start its thread: {0}")]
    Thread(io::Error),
    #[error("its thread died")]
    Died,
    #[error("its log: {0}")]
    Append(#[from] LogError),
    #[error("its log: {0}")]
    Follow(FollowError),
}

impl Logged {
    /// Opens the log of a source, which is read as `split` from where the state says. The last
    /// `keep_last` records stay in any case: by them it is known what comes again.
    ///
    /// # Errors
    /// Another process or another split has the log, it cannot be read, or the system refuses.
    pub(in crate::source) fn open(
        settings: &LogSettings,
        split: &Split,
        keep_last: u64,
        context: &Context,
        metrics: &SourceMetrics,
        registry: &Registry,
    ) -> Result<Self, LogError> {
        let log_metrics = LogMetrics::new(registry);
        Self::open_one(settings, split, keep_last, context, metrics, log_metrics)
    }

    /// The same for one of several logs, whose metrics are those of all together.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(in crate::source) fn open_one(
        settings: &LogSettings,
        split: &Split,
        keep_last: u64,
        context: &Context,
        metrics: &SourceMetrics,
        log_metrics: LogMetrics,
    ) -> Result<Self, LogError> {
        let opening = Opening {
            split_name: split.name.to_string(),
            resume: context.resume.position(&split.name),
            kept: context.kept.clone(),
            keep_last,
            clock: context.clock.clone(),
            metrics: log_metrics.clone(),
            positions_lost: metrics.positions_lost.clone(),
        };
        let (appender, from) = Appender::open(settings, opening)?;
        let follower = Follower::new(
            appender.reader(from)?.durable_only(),
            split.clone(),
            context.needs_envelope,
            metrics.split(&split.name),
            log_metrics.dropped,
            Arc::clone(appender.progress()),
        );
        Ok(Self { appender, follower })
    }
}

/// Looks through the last `count` records of a log, from the oldest to the newest, passing over those
/// that are damaged.
///
/// # Errors
/// The log cannot be read.
pub(in crate::source) fn look_back(
    appender: &Appender,
    count: u64,
    mut note: impl FnMut(&Entry<'_>),
) -> Result<(), LogError> {
    let (_, next) = appender.range();
    look_through(appender, next.saturating_sub(count), |_, entry| note(entry))
}

/// Looks through the records of a log from a position on, with their positions, passing over those that
/// are damaged.
///
/// # Errors
/// The log cannot be read.
pub(in crate::source) fn look_through(
    appender: &Appender,
    from: u64,
    mut note: impl FnMut(u64, &Entry<'_>),
) -> Result<(), LogError> {
    let (first, _) = appender.range();
    let mut reader = appender.reader(first.max(from))?;
    let mut records = Vec::new();
    loop {
        match reader.read(READ_BYTES, &mut records) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error @ LogError::Corrupt { .. }) => {
                if reader.skip_damaged()?.is_none() {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        for record in records.drain(..) {
            if let Ok(entry) = Entry::decode(&record.bytes) {
                note(record.position, &entry);
            }
        }
    }
}

/// Runs `append` on a thread of its own, and hands over here what the log has, until both have ended.
///
/// # Errors
/// One of them has failed. That the pipeline takes no more is no failure.
pub(in crate::source) fn follow(
    follower: Follower,
    append: impl FnOnce() -> Result<(), LogError> + Send,
    output: &mut dyn SourceOutput,
    stop: &StopSignal,
) -> Result<(), LoggedError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("log".to_owned())
            .spawn_scoped(scope, append)
            .map_err(LoggedError::Thread)?;
        let read = follower.run(output, stop);
        thread.join().map_err(|_| LoggedError::Died)??;
        match read {
            Ok(()) | Err(FollowError::Stopped(_)) => Ok(()),
            Err(error) => Err(LoggedError::Follow(error)),
        }
    })
}
