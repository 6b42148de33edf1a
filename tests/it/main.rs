//! The integration tests: weir and the servers around it as real processes.

mod dashboards;
mod servers;
mod support;
mod prometheus;
mod reference;
mod values;

#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "mqtt")]
mod mqtt;
