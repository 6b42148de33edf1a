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
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select, unbounded};

use crate::model::{NativeHistogram, Sample, TimestampMs};

use super::acknowledge::Tracker;
use super::already_sent::Marks;
use super::config::FileConfig;
use super::line::write_line;
use super::metrics::{Metrics, QueueGauges};
use super::rooms::Rooms;
use super::snapshot::{DestinationSnapshot, FilePosition};
use super::{Context, Stopped, WriteError};

/// How many messages with samples may wait for the thread.
const INBOX_MESSAGES: usize = 64;

/// Bytes that are collected before the operating system is asked to write.
const BUFFER_BYTES: usize = 128 << 10;

/// The thread that writes a file.
#[derive(Debug)]
pub struct FileWriter {
    inbox: Inbox,
    open: Open,
    /// Gives the error that stopped the thread, or `None`, when it ends.
    ended: Receiver<Option<WriteError>>,
}

/// Dropped to say that no more samples are taken, first to all who look and then to all who wait.
#[derive(Debug)]
struct Open {
    /// Nothing is ever sent.
    _closes: Sender<Infallible>,
    _tells: TellAll,
}

#[derive(Debug)]
struct TellAll(Arc<Rooms>);

impl Drop for TellAll {
    fn drop(&mut self) {
        self.0.open_all();
    }
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

/// What is held, and how far the file was written.
type Snapshot = (Vec<Sample>, FilePosition);

#[derive(Debug)]
enum Message {
    Samples(Vec<Sample>),
    Flushed {
        owner: usize,
        watermark: TimestampMs,
    },
    Snapshot(Sender<Snapshot>),
    Finish,
}

/// What the thread tells the owners.
#[derive(Debug)]
struct Progress {
    acknowledged: AtomicI64,
    bytes: AtomicUsize,
    /// Messages with samples that wait for the thread.
    messages: AtomicUsize,
    /// Which owners found no room.
    refused: Vec<AtomicBool>,
    has_ended: AtomicBool,
}

impl Progress {
    fn new(owners: usize) -> Self {
        Self {
            acknowledged: AtomicI64::new(i64::MIN),
            bytes: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
            refused: (0..owners).map(|_| AtomicBool::new(false)).collect(),
            has_ended: AtomicBool::new(false),
        }
    }

    fn is_full(&self) -> bool {
        self.messages.load(Ordering::SeqCst) >= INBOX_MESSAGES
    }
}

impl FileWriter {
    /// Opens the file, appending to what it holds: samples that were acknowledged by an earlier
    /// run may exist nowhere else. What was written after the checkpoint is cut off: it is formed and
    /// written again. Gives the marks of what is not to be written again.
    ///
    /// # Errors
    /// The file cannot be opened, or there is no thread to be had.
    pub(super) fn start(
        config: &FileConfig,
        context: &Context,
        state: DestinationSnapshot,
    ) -> Result<(Self, Marks), WriteError> {
        let path = config.path.clone();
        if path == Path::new("-") {
            let output = Output::new(path, Box::new(io::stdout()), None);
            return Self::over(output, context, state);
        }
        let position = state.position_in(&path);
        match open(&path, position.and_then(|position| position.length)) {
            Ok((file, regular)) => {
                Self::over(Output::new(path, Box::new(file), regular), context, state)
            }
            Err(error) => Err(WriteError::Open { path, error }),
        }
    }

    fn over(
        output: Output,
        context: &Context,
        state: DestinationSnapshot,
    ) -> Result<(Self, Marks), WriteError> {
        let (messages, inbox) = unbounded();
        let (open, closed) = bounded(0);
        let (end, ended) = bounded(1);
        let progress = Arc::new(Progress::new(context.owners));
        let metrics = &context.metrics;
        let mut marks = state.marks();
        let mut worker = Worker {
            output,
            held: BTreeMap::new(),
            held_samples: 0,
            flushed: Tracker::new(1, context.owners),
            released: i64::MIN,
            written_before: marks.before(),
            gauges: metrics.queue("file"),
            progress: Arc::clone(&progress),
            metrics: Arc::clone(metrics),
        };
        for sample in &state.samples {
            marks.lift(&sample.series, sample.timestamp_ms);
        }
        metrics.take(state.samples.len());
        let bytes = state.samples.iter().map(sample_bytes).sum();
        progress.bytes.store(bytes, Ordering::Relaxed);
        worker.hold(state.samples);
        let rooms = Arc::clone(&context.rooms);
        let run = move || {
            let progress = Arc::clone(&worker.progress);
            let error = worker.run(&inbox, &rooms).err();
            if let Some(error) = &error {
                tracing::error!(%error, "the file writer stops");
            }
            progress.has_ended.store(true, Ordering::SeqCst);
            rooms.open_all();
            // Nobody listens when the writer was dropped or its deadline has passed.
            drop(end.send(error));
        };
        thread::Builder::new()
            .name("weir-write-file".to_owned())
            .spawn(run)
            .map_err(WriteError::Thread)?;
        let writer = Self {
            inbox: Inbox {
                messages,
                closed,
                progress,
                metrics: Arc::clone(metrics),
            },
            open: Open {
                _closes: open,
                _tells: TellAll(Arc::clone(&context.rooms)),
            },
            ended,
        };
        Ok((writer, marks))
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
        drop(inbox.messages.send(Message::Finish));
        ended.recv_deadline(end).ok().flatten()
    }
}

impl Inbox {
    /// Whether the thread has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.progress.has_ended.load(Ordering::SeqCst)
    }

    /// Hands over samples, or gives them back while the thread is behind.
    pub(super) fn offer(&self, owner: usize, samples: Vec<Sample>) -> Result<Vec<Sample>, Stopped> {
        self.check_open()?;
        if self.progress.is_full() {
            if let Some(refused) = self.progress.refused.get(owner) {
                refused.store(true, Ordering::SeqCst);
            }
            // The thread looks for owners to tell after each message: it may just have missed this
            // one.
            if self.progress.is_full() {
                self.check_open()?;
                return Ok(samples);
            }
        }
        let count = samples.len();
        let bytes = samples.iter().map(sample_bytes).sum();
        self.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.progress.messages.fetch_add(1, Ordering::SeqCst);
        if self.messages.send(Message::Samples(samples)).is_err() {
            self.progress.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Stopped);
        }
        self.metrics.take(count);
        Ok(Vec::new())
    }

    /// Passes an owner's watermark on.
    pub(super) fn flushed(&self, owner: usize, watermark: TimestampMs) {
        // A thread that has ended needs no watermark.
        self.messages
            .send(Message::Flushed { owner, watermark })
            .ok();
    }

    /// What is held of all that was handed over, and how far the file was written. What is in the file
    /// is on the disk then.
    pub(super) fn snapshot(&self) -> Result<Snapshot, Stopped> {
        self.check_open()?;
        let (answer, answered) = bounded(1);
        let asked = self.messages.send(Message::Snapshot(answer));
        asked.map_err(|_| Stopped)?;
        select! {
            recv(answered) -> snapshot => snapshot.map_err(|_| Stopped),
            recv(self.closed) -> _ => Err(Stopped),
        }
    }

    fn check_open(&self) -> Result<(), Stopped> {
        let is_closed = self.closed.try_recv() == Err(TryRecvError::Disconnected);
        if is_closed || self.progress.has_ended.load(Ordering::SeqCst) {
            return Err(Stopped);
        }
        Ok(())
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
    /// The same with what was written before a restart.
    written_before: TimestampMs,
    gauges: QueueGauges,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
}

impl Worker {
    /// Writes until told to finish, or until nobody is left who could send anything.
    fn run(mut self, inbox: &Receiver<Message>, rooms: &Rooms) -> Result<(), WriteError> {
        for message in inbox {
            match message {
                Message::Samples(samples) => {
                    self.make_room(rooms);
                    self.hold(samples);
                }
                Message::Flushed { owner, watermark } => {
                    self.flushed.reach(0, owner, watermark);
                    self.release()?;
                }
                Message::Snapshot(answer) => {
                    // Nobody waits for it where the writer is being closed.
                    drop(answer.send(self.snapshot()?));
                }
                Message::Finish => break,
            }
        }
        let rest = std::mem::take(&mut self.held);
        self.write(rest)?;
        self.acknowledge(self.flushed.acknowledged());
        self.output.sync()
    }

    fn make_room(&self, rooms: &Rooms) {
        self.progress.messages.fetch_sub(1, Ordering::SeqCst);
        for (owner, refused) in self.progress.refused.iter().enumerate() {
            if refused.swap(false, Ordering::SeqCst) {
                rooms.open(owner);
            }
        }
    }

    fn snapshot(&self) -> Result<Snapshot, WriteError> {
        self.output.sync()?;
        let position = FilePosition {
            path: self.output.path.to_string_lossy().into_owned(),
            length: self.output.length()?,
            written_before: self.written_before,
        };
        let held = self.held.values().flatten().cloned().collect();
        Ok((held, position))
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
        self.written_before = watermark.max(self.written_before);
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
    /// The same file, where it is one: pipes and devices cannot be synchronised, and have no length.
    regular: Option<File>,
}

impl Output {
    fn new(path: PathBuf, out: Box<dyn Write + Send>, regular: Option<File>) -> Self {
        Self {
            path,
            out: BufWriter::with_capacity(BUFFER_BYTES, out),
            regular,
        }
    }

    fn line(&mut self, sample: &Sample) -> Result<(), WriteError> {
        write_line(&mut self.out, sample).map_err(|error| self.failed(error))
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        self.out.flush().map_err(|error| self.failed(error))
    }

    fn sync(&self) -> Result<(), WriteError> {
        match &self.regular {
            Some(file) => file.sync_all().map_err(|error| self.failed(error)),
            None => Ok(()),
        }
    }

    /// How many bytes are in the file, where it is one. What is written is never left in the buffer.
    fn length(&self) -> Result<Option<u64>, WriteError> {
        let length = self.regular.as_ref().map(|file| Ok(file.metadata()?.len()));
        length.transpose().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> WriteError {
        let path = match self.path.as_os_str().to_str() {
            Some("-") => PathBuf::from("standard output"),
            _ => self.path.clone(),
        };
        WriteError::Write { path, error }
    }
}

/// Opens a file to append to it, at most `length` bytes of what it holds. Gives it twice where it is
/// one, and no pipe or device.
fn open(path: &Path, length: Option<u64>) -> io::Result<(File, Option<File>)> {
    let file = File::options().create(true).append(true).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok((file, None));
    }
    if let Some(length) = length {
        let (path, found) = (path.display(), metadata.len());
        if found < length {
            tracing::warn!(%path, found, length, "the file is shorter than at the checkpoint");
        } else {
            file.set_len(length)?;
        }
    }
    let regular = file.try_clone()?;
    Ok((file, Some(regular)))
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
