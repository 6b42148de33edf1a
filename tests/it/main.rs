//! The integration tests: weir and the servers around it as real processes.

mod dashboards;
mod dead_letters;
mod expressions;
mod geofences;
mod markdown;
mod metrics;
mod partial;
mod pipelines;
mod prometheus;
mod reference;
mod savepoints;
mod servers;
mod state;
mod support;
mod tables;
mod values;
mod windows_guide;

#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "mqtt")]
mod mqtt_log;
#[cfg(feature = "kafka")]
mod resume;
