//! The durable log of a source that cannot be read again: what is received is appended to it,
//! synced, acknowledged, and only then processed. The pipeline reads the log as a split, whose
//! positions are the numbers of its records.

#[cfg(feature = "mqtt")]
mod appender;
mod config;
#[cfg(feature = "mqtt")]
mod follower;
#[cfg(feature = "mqtt")]
mod metrics;
#[cfg(feature = "mqtt")]
mod progress;
#[cfg(feature = "mqtt")]
mod record;
#[cfg(feature = "mqtt")]
#[cfg(test)]
mod tests;

pub use config::{Always, Fsync, LogConfig, LogSettings, WhenFull};

#[cfg(feature = "mqtt")]
pub(super) use appender::{Appender, Opening};
#[cfg(feature = "mqtt")]
pub(super) use follower::{FollowError, Follower};
#[cfg(feature = "mqtt")]
pub(super) use metrics::LogMetrics;
#[cfg(feature = "mqtt")]
pub(super) use progress::Progress;
#[cfg(feature = "mqtt")]
pub(super) use record::Entry;
