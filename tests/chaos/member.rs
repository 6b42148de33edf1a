//! A stranger in weir's consumer group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

/// How long a look for records lasts; leaving takes no longer.
const LOOK: Duration = Duration::from_millis(20);

/// A member that wants another topic: while it comes and when it goes, all partitions are taken from
/// weir and given back. Dropping it makes it leave.
#[derive(Debug)]
pub(crate) struct Member {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Joins.
    ///
    /// # Errors
    /// The client cannot be made.
    pub(crate) fn join(brokers: &str, group: &str, topic: &str) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", group)
            .set("partition.assignment.strategy", ASSIGNMENT)
            .set("heartbeat.interval.ms", "100")
            .create()?;
        consumer.subscribe(&[topic])?;
        let done = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&done);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                // The topic is empty; a broker that is busy says so here, and that is no matter.
                drop(consumer.poll(LOOK));
            }
        });
        Ok(Self {
            done,
            thread: Some(thread),
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// How partitions are assigned: all members must agree on one, and this one takes all away first.
pub(crate) const ASSIGNMENT: &str = "range";
