//! The integration tests: weir and the servers around it as real processes.

mod agents;
mod bad_state;
mod chargers;
mod dashboards;
mod dead_letters;
mod expressions;
mod formats;
mod geofences;
mod http_push;
mod http_tls;
mod journal;
mod markdown;
mod metrics;
mod partial;
mod pipelines;
mod prometheus;
mod receivers;
mod reference;
mod rejected;
mod remote_write_source;
mod replayed_letters;
mod replayed_over_http;
mod replayed_to_files;
mod restart;
mod restored;
mod savepoints;
mod servers;
mod several_receivers;
mod signed;
mod staleness;
mod state;
mod state_formats;
mod support;
mod tables;
mod values;
mod windows_guide;
mod wire;

#[cfg(feature = "kafka")]
mod avro;
#[cfg(feature = "kafka")]
mod buses;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_instances;
#[cfg(feature = "kafka")]
mod kafka_records;
#[cfg(feature = "kafka")]
mod kafka_security;
#[cfg(feature = "kafka")]
mod kafka_start;
#[cfg(feature = "kafka")]
mod kafka_topics;
#[cfg(feature = "kinesis")]
mod kinesis;
#[cfg(feature = "kafka")]
mod letters_in_kafka;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "mqtt")]
mod mqtt_log;
#[cfg(feature = "mqtt")]
mod mqtt_refused;
#[cfg(feature = "mqtt")]
mod mqtt_sessions;
#[cfg(feature = "mqtt")]
mod mqtt_storm;
#[cfg(feature = "mqtt")]
mod mqtt_transports;
#[cfg(feature = "kafka")]
mod replayed_refusals;
#[cfg(feature = "kafka")]
mod resume;
#[cfg(feature = "mqtt")]
mod sparkplug;
#[cfg(feature = "kafka")]
mod upgrade;
