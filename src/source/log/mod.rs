//! The durable log of a source that cannot be read again: what is received is appended to it,
//! synced, acknowledged, and only then processed. The pipeline reads the log as a split, whose
//! positions are the numbers of its records.

mod appender;
mod config;
mod follower;
mod logged;
mod metrics;
mod progress;
mod record;
#[cfg(test)]
mod tests;

pub use config::{Always, Fsync, LogConfig, LogSettings, WhenFull};
pub use record::MAX_LOGGED_BYTES;

pub(super) use appender::Appender;
#[cfg(test)]
pub(super) use appender::Opening;
pub(super) use follower::Follower;
#[cfg(feature = "mqtt")]
pub(super) use logged::look_through;
pub(super) use logged::{Logged, follow, look_back};
#[cfg(feature = "mqtt")]
pub(super) use metrics::LogMetrics;
pub(super) use progress::Progress;
pub(super) use record::Entry;
