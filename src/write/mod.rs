//! Samples out: to a Remote-Write receiver or to a file.
//!
//! The pipeline's workers own disjoint sets of series. Each hands over its samples through a
//! [`WriterHandle`], blocks while a queue is full, and says up to which watermark it has handed
//! over everything; the writer says up to which watermark everything is written.

mod acknowledge;
pub mod config;
pub mod dead_letters;
pub mod file;
mod guard;
mod histogram;
mod line;
mod metrics;
pub mod remote_write;
#[cfg(test)]
mod testing;

pub use config::{Config, FileConfig, Problem};
pub use dead_letters::{
    DeadLetter, DeadLetterHandle, DeadLetterMetrics, DeadLetters, DeadLettersError,
};
pub use file::FileWriter;
pub use remote_write::{RemoteWriteConfig, RemoteWriter};

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::model::{Sample, TimestampMs};
use crate::telemetry::Registry;

use guard::{Guard, MAX_LABEL_VALUE_BYTES};
use metrics::Metrics;

/// A running writer.
#[derive(Debug)]
pub struct Writer {
    handle: WriterHandle,
    metrics: Arc<Metrics>,
    destination: Destination,
}

#[derive(Debug)]
enum Destination {
    RemoteWrite(RemoteWriter),
    File(FileWriter),
}

/// What became of all samples that were handed over.
#[derive(Debug)]
pub struct WriteSummary {
    /// Samples that the receiver acknowledged or the file took.
    pub written: u64,
    /// Samples that were dropped for a permanent reason, which the metrics name.
    pub dropped: u64,
    /// Samples that were abandoned: at the deadline, or because of `error`. A receiver may have
    /// taken those of a request that was in flight.
    pub unsent: u64,
    /// What stopped the writer before its time.
    pub error: Option<WriteError>,
}

/// Why a writer cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Not exactly one destination.
    #[error("write has {0} destinations; give exactly one of remote_write and file")]
    Destinations(usize),
    /// A value that validation would have refused.
    #[error("write.{path} {message}")]
    Invalid {
        /// The keys that lead to the value.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// A password or token file cannot be read.
    #[error("cannot read the credentials in {path}: {error}", path = path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The HTTP client cannot be set up.
    #[error("cannot set up the http client: {0}")]
    Client(#[source] reqwest::Error),
    /// The file cannot be opened.
    #[error("cannot open {path} for writing: {error}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The file took no more.
    #[error("cannot write to {path}: {error}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The operating system gave no thread.
    #[error("cannot start the thread that writes the file: {0}")]
    Thread(#[source] io::Error),
}

/// The writer takes no more samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the writer has stopped")]
pub struct Stopped;

impl Writer {
    /// Starts writing for `owners` owners, numbered from 0. Remote-Write runs on the runtime, a
    /// file on a thread of its own.
    ///
    /// # Errors
    /// The configuration is invalid, a file cannot be opened, or the HTTP client cannot be set up.
    pub fn start(
        config: &Config,
        owners: usize,
        registry: &Registry,
        runtime: Handle,
    ) -> Result<Self, WriteError> {
        let metrics = Arc::new(Metrics::new(registry));
        let (destination, way, max_label_value_bytes) = match (&config.remote_write, &config.file) {
            (Some(config), None) => {
                let metrics = Arc::clone(&metrics);
                let writer = RemoteWriter::start(config, owners, registry, metrics, runtime)?;
                let way = Way::RemoteWrite(writer.queues());
                (
                    Destination::RemoteWrite(writer),
                    way,
                    config.max_label_value_bytes,
                )
            }
            (None, Some(config)) => {
                let writer = FileWriter::start(config, owners, Arc::clone(&metrics))?;
                let way = Way::File(writer.inbox());
                (Destination::File(writer), way, MAX_LABEL_VALUE_BYTES)
            }
            (None, None) => return Err(WriteError::Destinations(0)),
            (Some(_), Some(_)) => return Err(WriteError::Destinations(2)),
        };
        let guard = Arc::new(Guard::new(max_label_value_bytes, Arc::clone(&metrics)));
        Ok(Self {
            handle: WriterHandle { guard, way },
            metrics,
            destination,
        })
    }

    /// The way to hand over samples; one clone for each owner.
    pub fn handle(&self) -> WriterHandle {
        self.handle.clone()
    }

    /// Takes no more samples and waits until all are written, or until the deadline; without one
    /// it waits as long as the receiver takes to come back. To be called from a thread outside the
    /// runtime.
    pub fn finish(self, deadline: Option<Duration>) -> WriteSummary {
        let error = match self.destination {
            Destination::RemoteWrite(writer) => {
                writer.finish(deadline);
                None
            }
            Destination::File(writer) => writer.finish(deadline),
        };
        WriteSummary {
            written: self.metrics.written(),
            dropped: self.metrics.dropped(),
            unsent: self.metrics.waiting(),
            error,
        }
    }
}

/// Hands samples to a writer.
#[derive(Debug, Clone)]
pub struct WriterHandle {
    guard: Arc<Guard>,
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    RemoteWrite(Arc<remote_write::Queues>),
    File(file::Inbox),
}

impl WriterHandle {
    /// Hands over samples; blocks while there is no room, so it must not be called from a task.
    /// The samples of a series all come from one owner, in the order in which they are to be sent.
    ///
    /// # Errors
    /// [`Stopped`] once the writer takes no more; some of the samples may have been taken.
    pub fn send(&self, _owner: usize, samples: Vec<Sample>) -> Result<(), Stopped> {
        let samples = self.guard.admit(samples);
        if samples.is_empty() {
            return Ok(());
        }
        match &self.way {
            Way::RemoteWrite(queues) => queues.send(samples),
            Way::File(inbox) => inbox.send(samples),
        }
    }

    /// Says that the owner has handed over all its samples up to `watermark`, ms since the epoch.
    pub fn flushed(&self, owner: usize, watermark: TimestampMs) {
        match &self.way {
            Way::RemoteWrite(queues) => queues.flushed(owner, watermark),
            Way::File(inbox) => inbox.flushed(owner, watermark),
        }
    }

    /// The watermark (ms since the epoch) up to which every owner has handed over everything and
    /// all of it is written, or dropped for a permanent reason; `i64::MIN` at first. It never goes
    /// back.
    pub fn acknowledged(&self) -> TimestampMs {
        match &self.way {
            Way::RemoteWrite(queues) => queues.acknowledged(),
            Way::File(inbox) => inbox.acknowledged(),
        }
    }

    /// How many bytes of samples wait to be written, requests in flight not counted.
    pub fn queued_bytes(&self) -> usize {
        match &self.way {
            Way::RemoteWrite(queues) => queues.bytes(),
            Way::File(inbox) => inbox.bytes(),
        }
    }
}
