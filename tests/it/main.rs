//! The integration tests: weir and the servers around it as real processes.

mod dashboards;
mod expressions;
mod markdown;
mod metrics;
mod pipelines;
mod prometheus;
mod reference;
mod servers;
mod support;
mod values;

#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "mqtt")]
mod mqtt;
