//! Whether the cluster can be reached.

use std::time::Instant;

use super::super::idle::IdleTracker;
use super::KafkaSource;

/// Whether brokers can be reached, and whether they ever could.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    Never,
    Up,
    Lost,
}

impl Connection {
    /// A broker has answered.
    pub(super) fn seen(self, source: &KafkaSource, idle: &mut IdleTracker, now: Instant) -> Self {
        match self {
            Self::Up => return self,
            Self::Never => {}
            Self::Lost => {
                source.metrics.reconnects.inc();
                tracing::info!("kafka is connected again");
            }
        }
        source.metrics.connected.set(1);
        idle.connected(true, now);
        Self::Up
    }
}
