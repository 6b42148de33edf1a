//! A writer whose receiver is a script, for tests of the whole pipeline.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use foldhash::fast::FixedState;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::config::{BackoffConfig, BatchConfig, RemoteWriteConfig};
use super::delivery::failure::Failure;
use super::delivery::reply::Reply;
use super::oracle::Oracle;
use super::protocol::encode::Body;
use super::shard::Transport;
use super::{Limits, Past, RemoteWriter};
use crate::model::TimestampMs;
use crate::telemetry::Registry;
use crate::write::admission::Admission;
use crate::write::guard::Guard;
use crate::write::relabel::Relabelling;
use crate::write::snapshot::{DestinationSnapshot, WriterSnapshot};
use crate::write::{Context, Destination, Resume, Writer};

/// How a writer is made, and how its receiver behaves.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) shards: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) batch_samples: usize,
    /// How large a file of the journal becomes.
    pub(crate) journal_bytes: u64,
    /// How long a request and its answer take at most, ms.
    pub(crate) latency: u64,
    /// How many of 256 requests are answered with 503, and not taken.
    pub(crate) unavailable: u8,
    /// How many of 256 are lost on their way.
    pub(crate) lost: u8,
    /// How many of 256 are taken, and the answer is lost.
    pub(crate) answer_lost: u8,
    /// For how long nobody is there, from the start on.
    pub(crate) away: Duration,
}

impl Script {
    /// A receiver that is there and takes everything.
    pub(crate) fn plain() -> Self {
        Self {
            seed: 0,
            shards: 1,
            queue_bytes: 1 << 20,
            batch_samples: 1_000,
            journal_bytes: 1 << 20,
            latency: 0,
            unavailable: 0,
            lost: 0,
            answer_lost: 0,
            away: Duration::ZERO,
        }
    }

    /// Starts a writer to an oracle, on a runtime that runs now.
    pub(crate) fn start(
        self,
        owners: usize,
        oracle: &Arc<Mutex<Oracle>>,
        registry: &Registry,
        resume: &Resume,
    ) -> Writer {
        let config = RemoteWriteConfig {
            min_shards: self.shards,
            max_shards: self.shards,
            queue_bytes: self.queue_bytes,
            journal_sync: false,
            batch: BatchConfig {
                samples: self.batch_samples,
                deadline: crate::model::Duration::from_millis(5),
                ..BatchConfig::default()
            },
            backoff: BackoffConfig {
                min: crate::model::Duration::from_millis(5),
                max: crate::model::Duration::from_millis(60),
            },
            ..serde_json::from_str(r#"{"url": "http://oracle"}"#).unwrap()
        };
        let context = Context::new(owners, registry, self.seed);
        let state = resume.state.as_deref();
        let journal = resume.folder.as_ref().map(|folder| folder.join("journal"));
        let past = Past {
            journal: journal.as_deref(),
            rejected: None,
            checkpoint: resume.checkpoint,
            newest: resume.newest,
            acknowledged: resume.acknowledged.unwrap_or(TimestampMs::MIN),
            limits: Limits::small(self.journal_bytes),
            state: state.map_or_else(DestinationSnapshot::default, |state| {
                let mut state = WriterSnapshot::decode(state).unwrap();
                state.take(&["default"]).remove(0)
            }),
        };
        let transport = Way {
            began: Instant::now(),
            oracle: Arc::clone(oracle),
            script: self,
        };
        let (writer, marks) =
            RemoteWriter::over(transport, &config, &context, past, Handle::current()).unwrap();
        let guard = Guard::new(None, Arc::clone(&context.metrics));
        let destination = Destination::RemoteWrite(writer);
        let admission = Admission::new(Relabelling::default(), guard, &context);
        let intake = destination.intake("default", admission, marks, &context);
        Writer::of(vec![(destination, intake)], context.rooms)
    }
}

/// The way to the oracle.
struct Way {
    began: Instant,
    oracle: Arc<Mutex<Oracle>>,
    script: Script,
}

impl Transport for Way {
    async fn post(&self, body: Body, attempt: u32) -> Reply {
        self.answer(&body.bytes, attempt).await.into()
    }
}

impl Way {
    async fn answer(&self, body: &[u8], attempt: u32) -> Result<u16, Failure> {
        let script = &self.script;
        // Of the request and not of the order of requests: which shard is first to have its journal
        // written is decided by threads.
        let seed = FixedState::default().hash_one((script.seed, body, attempt));
        let mut random = Rng::with_seed(seed);
        let luck = random.u8(..);
        sleep(Duration::from_millis(random.u64(0..=script.latency))).await;
        if luck < script.lost || self.began.elapsed() < script.away {
            return Err(Failure::Network("refused".into()));
        }
        let luck = random.u8(..);
        if luck < script.unavailable {
            return Err(Failure::Unavailable {
                status: 503,
                body: String::new(),
                retry_after: None,
            });
        }
        self.oracle.lock().unwrap().take(body);
        sleep(Duration::from_millis(random.u64(0..=script.latency))).await;
        if random.u8(..) < script.answer_lost {
            return Err(Failure::Network("reset".into()));
        }
        Ok(204)
    }
}
