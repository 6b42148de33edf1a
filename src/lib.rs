//! weir: a fleet's events in, a few well-made Prometheus series out.
//!
//! Modules in reading order, with their level: a module imports only from lower levels, and
//! modules of level 1 never import each other.

pub mod auth; // 0 credentials: those that expire, Amazon's, signatures
pub mod durable; // 0 files that survive a crash: logs, atomic files, locks
pub mod model; // 0 the shared words: time, symbols, batches, labels, samples, positions
pub mod telemetry; // 0 our own metrics and logs
#[cfg(test)]
mod testing; // 0 what tests share

pub mod decode; // 1 bytes to columns: JSON
pub mod enrich; // 1 reference data: tables, lookups, refresh
pub mod expr; // 1 SQL expressions: parse, type, evaluate over a batch
pub mod source; // 1 bytes in: files, Kafka, MQTT, HTTP, Remote-Write
pub mod state; // 1 state kept: checkpoints, savepoints, and the stores for them
pub mod window; // 1 event time: watermarks, windows, partial aggregates
pub mod write; // 1 samples out: order, queues, Remote-Write, files

pub mod config; // 2 the pipeline file, checked and compiled

pub mod pipeline; // 3 where the stages meet: workers, exchange, owners

pub mod control; // 4 HTTP: health, metrics, savepoints

pub mod cli; // 5 run, validate, schema, demo, savepoint, state, rejected, dead-letters
