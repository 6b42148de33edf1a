//! Samples to a file or to standard output, one line of JSON each.
//!
//! The lines are the same however many owners there are and in whatever order their threads run:
//! samples are held back until every owner has flushed past their timestamp, and then written by
//! timestamp, name and labels.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select};

use crate::model::{NativeHistogram, Sample, TimestampMs};

use super::acknowledge::Tracker;
use super::config::FileConfig;
use super::line::write_line;
use super::metrics::{Metrics, QueueGauges};
use super::{Stopped, WriteError};

/// How many messages of the owners may wait for the thread.
const INBOX_MESSAGES: usize = 64;

/// Bytes that are collected before the operating system is asked to write.
const BUFFER_BYTES: usize = 128 << 10;

/// The thread that writes a file.
#[derive(Debug)]
pub struct FileWriter {
    inbox: Inbox,
    /// Dropped to say that no more samples are taken; nothing is ever sent.
    open: Sender<Infallible>,
    /// Gives the error that stopped the thread, or `None`, when it ends.
    ended: Receiver<Option<WriteError>>,
}

/// The way to the thread.
#[derive(Debug, Clone)]
pub(super) struct Inbox {
    messages: Sender<Message>,
    /// Breaks when no more samples are taken.
    closed: Receiver<Infallible>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
enum Message {
    Samples(Vec<Sample>),
    Flushed {
        owner: usize,
        watermark: TimestampMs,
    },
    Finish,
}

/// What the thread tells the owners.
#[derive(Debug)]
struct Progress {
    acknowledged: AtomicI64,
    bytes: AtomicUsize,
}

impl FileWriter {
    /// Opens the file, appending to what it holds: samples that were acknowledged by an earlier
    /// run may exist nowhere else.
    ///
    /// # Errors
    /// The file cannot be opened, or there is no thread to be had.
    pub(super) fn start(
        config: &FileConfig,
        owners: usize,
        metrics: Arc<Metrics>,
    ) -> Result<Self, WriteError> {
        let path = config.path.clone();
        if path == Path::new("-") {
            let name = PathBuf::from("standard output");
            return Self::over(
                Output::new(name, Box::new(io::stdout()), None),
                owners,
                metrics,
            );
        }
        let open = || -> io::Result<(File, Option<File>)> {
            let file = File::options().create(true).append(true).open(&path)?;
            // A pipe or a device cannot be synchronised.
            let to_sync = if file.metadata()?.is_file() {
                Some(file.try_clone()?)
            } else {
                None
            };
            Ok((file, to_sync))
        };
        match open() {
            Ok((file, to_sync)) => {
                Self::over(Output::new(path, Box::new(file), to_sync), owners, metrics)
            }
            Err(error) => Err(WriteError::Open { path, error }),
        }
    }

    fn over(output: Output, owners: usize, metrics: Arc<Metrics>) -> Result<Self, WriteError> {
        let (messages, inbox) = bounded(INBOX_MESSAGES);
        let (open, closed) = bounded(0);
        let (end, ended) = bounded(1);
        let progress = Arc::new(Progress {
            acknowledged: AtomicI64::new(i64::MIN),
            bytes: AtomicUsize::new(0),
        });
        let worker = Worker {
            output,
            held: BTreeMap::new(),
            held_samples: 0,
            flushed: Tracker::new(1, owners),
            released: i64::MIN,
            gauges: metrics.queue("file"),
            progress: Arc::clone(&progress),
            metrics: Arc::clone(&metrics),
        };
        let run = move || {
            let error = worker.run(&inbox).err();
            if let Some(error) = &error {
                tracing::error!(%error, "the file writer stops");
            }
            // Nobody listens when the writer was dropped or its deadline has passed.
            drop(end.send(error));
        };
        thread::Builder::new()
            .name("weir-write-file".to_owned())
            .spawn(run)
            .map_err(WriteError::Thread)?;
        Ok(Self {
            inbox: Inbox {
                messages,
                closed,
                progress,
                metrics,
            },
            open,
            ended,
        })
    }

    /// The way to the thread.
    pub(super) fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// Takes no more samples, writes all that are held, and gives the error that has stopped the
    /// thread, if any. At the deadline the thread is left to itself.
    pub(super) fn finish(self, deadline: Option<Duration>) -> Option<WriteError> {
        let Self { inbox, open, ended } = self;
        drop(open);
        // The message is not taken where the thread has ended already.
        let Some(deadline) = deadline else {
            drop(inbox.messages.send(Message::Finish));
            return ended.recv().ok().flatten();
        };
        let end = Instant::now() + deadline;
        drop(inbox.messages.send_deadline(Message::Finish, end));
        ended.recv_deadline(end).ok().flatten()
    }
}

impl Inbox {
    /// Hands over samples; blocks while the thread is behind.
    pub(super) fn send(&self, samples: Vec<Sample>) -> Result<(), Stopped> {
        let count = samples.len();
        let bytes = samples.iter().map(sample_bytes).sum();
        self.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Err(stopped) = self.deliver(Message::Samples(samples)) {
            self.progress.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(stopped);
        }
        self.metrics.take(count);
        Ok(())
    }

    /// Passes an owner's watermark on.
    pub(super) fn flushed(&self, owner: usize, watermark: TimestampMs) {
        // A thread that has ended needs no watermark.
        self.deliver(Message::Flushed { owner, watermark }).ok();
    }

    fn deliver(&self, message: Message) -> Result<(), Stopped> {
        // Where both sides of the selection are ready, it takes either.
        if self.closed.try_recv() == Err(TryRecvError::Disconnected) {
            return Err(Stopped);
        }
        select! {
            send(self.messages, message) -> sent => sent.map_err(|_| Stopped),
            recv(self.closed) -> _ => Err(Stopped),
        }
    }

    /// The watermark up to which everything is written.
    pub(super) fn acknowledged(&self) -> TimestampMs {
        self.progress.acknowledged.load(Ordering::Acquire)
    }

    /// How many bytes of samples are held back or on their way.
    pub(super) fn bytes(&self) -> usize {
        self.progress.bytes.load(Ordering::Relaxed)
    }
}

/// The thread's state.
struct Worker {
    output: Output,
    held: BTreeMap<TimestampMs, Vec<Sample>>,
    held_samples: usize,
    flushed: Tracker,
    /// Everything before this timestamp is written.
    released: TimestampMs,
    gauges: QueueGauges,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
}

impl Worker {
    /// Writes until told to finish, or until nobody is left who could send anything.
    fn run(mut self, inbox: &Receiver<Message>) -> Result<(), WriteError> {
        for message in inbox {
            match message {
                Message::Samples(samples) => self.hold(samples),
                Message::Flushed { owner, watermark } => {
                    self.flushed.reach(0, owner, watermark);
                    self.release()?;
                }
                Message::Finish => break,
            }
        }
        let rest = std::mem::take(&mut self.held);
        self.write(rest)?;
        self.acknowledge(self.flushed.acknowledged());
        self.output.sync()
    }

    fn hold(&mut self, samples: Vec<Sample>) {
        self.held_samples += samples.len();
        for sample in samples {
            self.held
                .entry(sample.timestamp_ms)
                .or_default()
                .push(sample);
        }
        self.gauges.set(
            self.progress.bytes.load(Ordering::Relaxed),
            self.held_samples,
        );
    }

    /// Writes what every owner has flushed past. A sample at the watermark itself waits: an owner
    /// may still hand over another one of that time, which may have to stand before it.
    fn release(&mut self) -> Result<(), WriteError> {
        let watermark = self.flushed.acknowledged();
        if watermark <= self.released {
            return Ok(());
        }
        self.released = watermark;
        let kept = self.held.split_off(&watermark);
        let released = std::mem::replace(&mut self.held, kept);
        self.write(released)?;
        let waits = self.held.contains_key(&watermark);
        self.acknowledge(if waits { watermark - 1 } else { watermark });
        Ok(())
    }

    fn acknowledge(&self, watermark: TimestampMs) {
        self.progress
            .acknowledged
            .fetch_max(watermark, Ordering::AcqRel);
    }

    fn write(&mut self, by_time: BTreeMap<TimestampMs, Vec<Sample>>) -> Result<(), WriteError> {
        if by_time.is_empty() {
            return Ok(());
        }
        let mut count = 0;
        let mut bytes = 0;
        for mut samples in by_time.into_values() {
            // The sort is stable: samples of one series stay as their owner handed them over.
            samples.sort_by(|a, b| {
                let by_name = a.series.name().cmp(b.series.name());
                by_name.then_with(|| a.series.labels().cmp(b.series.labels()))
            });
            for sample in &samples {
                self.output.line(sample)?;
                bytes += sample_bytes(sample);
            }
            count += samples.len();
        }
        self.output.flush()?;
        self.metrics.write(count);
        self.held_samples -= count;
        let before = self.progress.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.gauges
            .set(before.saturating_sub(bytes), self.held_samples);
        Ok(())
    }
}

/// A buffered file with the name that errors carry.
struct Output {
    path: PathBuf,
    out: BufWriter<Box<dyn Write + Send>>,
    to_sync: Option<File>,
}

impl Output {
    fn new(path: PathBuf, out: Box<dyn Write + Send>, to_sync: Option<File>) -> Self {
        Self {
            path,
            out: BufWriter::with_capacity(BUFFER_BYTES, out),
            to_sync,
        }
    }

    fn line(&mut self, sample: &Sample) -> Result<(), WriteError> {
        write_line(&mut self.out, sample).map_err(|error| self.failed(error))
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        self.out.flush().map_err(|error| self.failed(error))
    }

    fn sync(&self) -> Result<(), WriteError> {
        match &self.to_sync {
            Some(file) => file.sync_all().map_err(|error| self.failed(error)),
            None => Ok(()),
        }
    }

    fn failed(&self, error: io::Error) -> WriteError {
        WriteError::Write {
            path: self.path.clone(),
            error,
        }
    }
}

/// What a held sample counts for, in bytes: its place in memory, its histogram, and its texts as if
/// they were its own.
fn sample_bytes(sample: &Sample) -> usize {
    let histogram = sample.value.histogram().map_or(0, |histogram| {
        let buckets = histogram.positive.len() + histogram.negative.len();
        size_of::<NativeHistogram>() + buckets * size_of::<(i32, u64)>()
    });
    size_of::<Sample>() + sample.series.text_bytes() + histogram
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
