//! Dead letters: records that reached no window, kept with the reason, to be looked at and replayed.
//!
//! Workers hand them over through a [`DeadLetterHandle`] and wait while the queue is full; a thread
//! of its own writes them. They go beside the samples and never hold these back for longer than
//! their own writing takes.

mod config;
mod file;
#[cfg(feature = "kafka")]
mod kafka;
mod kept;
#[cfg(feature = "kafka")]
mod kept_topic;
mod letter;
mod metrics;
mod replayed;
mod stored;

pub use config::{Config, KafkaConfig};
pub use kept::{LetterError, Take, read};
pub use letter::{DeadLetter, Origin};
pub use metrics::DeadLetterMetrics;
pub use replayed::Replayed;
pub use stored::StoredLetter;

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, select};

use crate::model::BrokerTokens;
use crate::telemetry::LogLimit;

use file::LetterFile;

/// How many batches of letters may wait for the thread. A batch holds what a batch of records had,
/// some hundred kilobytes at most, but for records that are longer themselves.
const INBOX_BATCHES: usize = 16;

/// How long a letter may wait in memory.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// How long the thread may take to notice that the rest is given up.
const GRACE: Duration = Duration::from_secs(1);

/// The thread that writes dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    handle: DeadLetterHandle,
    /// Dropped to say that no more letters are taken; nothing is ever sent.
    open: Sender<Infallible>,
    /// Breaks when the thread ends.
    ended: Receiver<Infallible>,
    abandoned: Arc<AtomicBool>,
}

/// Hands dead letters over.
#[derive(Debug, Clone)]
pub struct DeadLetterHandle {
    letters: Sender<Message>,
    /// Breaks when no more letters are taken.
    closed: Receiver<Infallible>,
    metrics: DeadLetterMetrics,
}

#[derive(Debug)]
enum Message {
    Letters(Vec<DeadLetter>),
    /// To make all that came before durable, and say whether it is.
    MakeDurable(Sender<bool>),
    Finish,
}

/// Why dead letters cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum DeadLettersError {
    /// Not exactly one destination.
    #[error("dead_letters has {0} destinations; give exactly one of file and kafka")]
    Destinations(usize),
    /// The file cannot be opened.
    #[error("cannot open {path} for dead letters: {error}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// librdkafka refuses a setting, or is not there.
    #[error("dead letters to kafka {brokers}: {message}")]
    Kafka {
        /// Where.
        brokers: String,
        /// What is wrong.
        message: String,
    },
    /// The operating system gave no thread.
    #[error("cannot start the thread that writes dead letters: {0}")]
    Thread(#[source] io::Error),
}

/// Where the thread brings letters.
enum Destination {
    File(LetterFile),
    #[cfg(feature = "kafka")]
    Kafka(kafka::LetterTopic),
}

impl Destination {
    fn open(
        config: &Config,
        tokens: Option<Arc<dyn BrokerTokens>>,
        origin: &Origin,
        ledger: Ledger,
        abandoned: &Arc<AtomicBool>,
    ) -> Result<Self, DeadLettersError> {
        match (&config.file, &config.kafka) {
            (Some(path), None) => {
                let path = path.clone();
                LetterFile::open(path, config.max_bytes(), origin, ledger).map(Self::File)
            }
            (None, Some(kafka)) => Self::open_kafka(kafka, tokens, origin, ledger, abandoned),
            (None, None) => Err(DeadLettersError::Destinations(0)),
            (Some(_), Some(_)) => Err(DeadLettersError::Destinations(2)),
        }
    }

    #[cfg(feature = "kafka")]
    fn open_kafka(
        config: &KafkaConfig,
        tokens: Option<Arc<dyn BrokerTokens>>,
        origin: &Origin,
        ledger: Ledger,
        abandoned: &Arc<AtomicBool>,
    ) -> Result<Self, DeadLettersError> {
        let abandoned = Arc::clone(abandoned);
        kafka::LetterTopic::open(config, tokens, origin, ledger, abandoned).map(Self::Kafka)
    }

    #[cfg(not(feature = "kafka"))]
    fn open_kafka(
        config: &KafkaConfig,
        _: Option<Arc<dyn BrokerTokens>>,
        _: &Origin,
        _: Ledger,
        _: &Arc<AtomicBool>,
    ) -> Result<Self, DeadLettersError> {
        Err(DeadLettersError::Kafka {
            brokers: config.brokers.clone(),
            message: "this weir was built without Kafka; build it with --features kafka".to_owned(),
        })
    }

    fn write(&mut self, letters: Vec<DeadLetter>) {
        match self {
            Self::File(file) => file.write(letters),
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => topic.write(letters),
        }
    }

    /// Writes what waits in memory, without waiting for an answer.
    fn flush(&mut self) {
        match self {
            Self::File(file) => file.flush(),
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => topic.poll(),
        }
    }

    /// Has all letters where a crash does not reach them, or counted as lost. Says whether that is so.
    fn make_durable(&mut self) -> bool {
        match self {
            Self::File(file) => file.make_durable(),
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => topic.deliver(),
        }
    }
}

impl DeadLetters {
    /// Opens the destination and starts the thread. `tokens` are for brokers that want some.
    ///
    /// # Errors
    /// The file cannot be opened, librdkafka refuses a setting, or there is no thread to be had.
    pub fn start(
        config: &Config,
        tokens: Option<Arc<dyn BrokerTokens>>,
        origin: &Origin,
        metrics: DeadLetterMetrics,
    ) -> Result<Self, DeadLettersError> {
        let abandoned = Arc::<AtomicBool>::default();
        let ledger = Ledger::new(metrics.clone());
        let destination = Destination::open(config, tokens, origin, ledger, &abandoned)?;
        let (letters, inbox) = bounded(INBOX_BATCHES);
        let (open, closed) = bounded(0);
        let (end, ended) = bounded::<Infallible>(0);
        let run = move || {
            run(destination, &inbox);
            drop(end);
        };
        thread::Builder::new()
            .name("dead-letters".to_owned())
            .spawn(run)
            .map_err(DeadLettersError::Thread)?;
        Ok(Self {
            handle: DeadLetterHandle {
                letters,
                closed,
                metrics,
            },
            open,
            ended,
            abandoned,
        })
    }

    /// The way to hand letters over; a clone for each worker.
    pub fn handle(&self) -> DeadLetterHandle {
        self.handle.clone()
    }

    /// Takes no more letters, and waits until all are written, or for `patience`. What is not
    /// written by then is counted and logged as lost; says how many letters were lost in all.
    pub fn finish(self, patience: Duration) -> u64 {
        let Self {
            handle,
            open,
            ended,
            abandoned,
        } = self;
        drop(open);
        let end = Instant::now() + patience;
        // Not taken where the thread has ended already, or is stuck.
        drop(handle.letters.send_deadline(Message::Finish, end));
        if ended.recv_deadline(end) == Err(RecvTimeoutError::Timeout) {
            abandoned.store(true, Ordering::Release);
            // A queue that was full at the deadline has room again once the thread lets go.
            let end = Instant::now() + GRACE;
            drop(handle.letters.send_deadline(Message::Finish, end));
            ended.recv_deadline(end).ok();
        }
        let lost = handle.metrics.give_up_the_rest();
        if lost > 0 {
            tracing::error!(lost, "dead letters were lost");
        }
        lost
    }
}

impl DeadLetterHandle {
    /// Hands letters over; blocks while the queue is full. Once no more are taken, they are counted
    /// as lost.
    pub fn send(&self, letters: Vec<DeadLetter>) {
        if letters.is_empty() {
            return;
        }
        for letter in &letters {
            self.metrics.take(letter.reason);
        }
        // Where both sides of the selection are ready, it takes either.
        if self.closed.try_recv() == Err(TryRecvError::Disconnected) {
            return self.lose(&letters);
        }
        let reasons: Vec<_> = letters.iter().map(|letter| letter.reason).collect();
        let is_sent = select! {
            send(self.letters, Message::Letters(letters)) -> sent => sent.is_ok(),
            recv(self.closed) -> _ => false,
        };
        if !is_sent {
            reasons.iter().for_each(|reason| self.metrics.lose(reason));
        }
    }

    /// Waits until all letters that were handed over before are where a crash does not reach them, or
    /// are counted as lost. Says whether that was so by the deadline; once no more letters are taken, or
    /// where the disk has failed, it is not known.
    pub fn make_durable(&self, deadline: Instant) -> bool {
        if self.closed.try_recv() == Err(TryRecvError::Disconnected) {
            return false;
        }
        let (done, told) = bounded(1);
        let asked = self
            .letters
            .send_deadline(Message::MakeDurable(done), deadline);
        match asked {
            Ok(()) => told.recv_deadline(deadline) == Ok(true),
            Err(_) => false,
        }
    }

    fn lose(&self, letters: &[DeadLetter]) {
        for letter in letters {
            self.metrics.lose(letter.reason);
        }
    }
}

/// Writes until told to finish, or until nobody is left who could send anything.
fn run(mut destination: Destination, inbox: &Receiver<Message>) {
    let mut flushed = Instant::now();
    loop {
        let wait = FLUSH_EVERY.saturating_sub(flushed.elapsed());
        match inbox.recv_timeout(wait) {
            Ok(Message::Letters(letters)) => destination.write(letters),
            Ok(Message::MakeDurable(done)) => {
                let is_durable = destination.make_durable();
                // Nobody waits any more, where it took long.
                done.send(is_durable).ok();
            }
            Ok(Message::Finish) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if flushed.elapsed() >= FLUSH_EVERY {
            destination.flush();
            flushed = Instant::now();
        }
    }
    // What a worker handed over while the queue was being closed.
    while let Ok(Message::Letters(letters)) = inbox.try_recv() {
        destination.write(letters);
    }
    destination.make_durable();
}

/// Counts letters that are written or lost, and logs the lost ones at a bounded rate.
#[derive(Debug)]
struct Ledger {
    metrics: DeadLetterMetrics,
    log: LogLimit,
    #[cfg(feature = "kafka")]
    trouble: LogLimit,
}

impl Ledger {
    fn new(metrics: DeadLetterMetrics) -> Self {
        Self {
            metrics,
            log: LogLimit::every(Duration::from_secs(10)),
            #[cfg(feature = "kafka")]
            trouble: LogLimit::every(Duration::from_secs(10)),
        }
    }

    fn write(&self, reason: &str) {
        self.metrics.write(reason);
    }

    /// Something keeps letters from where they go, for now.
    #[cfg(feature = "kafka")]
    fn wait(&mut self, destination: &str, why: &str) {
        if let Some(held_back) = self.trouble.admit() {
            tracing::warn!(destination, reason = why, held_back, "dead letters wait");
        }
    }

    fn lose(&mut self, reason: &str, destination: &str, why: &dyn std::fmt::Display) {
        self.metrics.lose(reason);
        if let Some(held_back) = self.log.admit() {
            tracing::error!(destination, reason, error = %why, held_back, "a dead letter is lost");
        }
    }
}

#[cfg(test)]
mod tests;
