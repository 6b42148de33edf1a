//! Where the stages meet: the source's thread hands batches to workers, workers decode, enrich and
//! aggregate them, the exchange brings partial aggregates to the owners of their series, and owners
//! hand samples to the writer.
//!
//! ```text
//! source ──▶ worker 0 ──┬─▶ owner 0 ──▶ writer
//!        ──▶ worker 1 ──┴─▶ owner 1 ──▶
//! ```
//!
//! Worker `n` and owner `n` are one thread. Nothing is shared between workers but the table of
//! watermarks, which each of them touches once a batch.

mod batch;
mod budget;
mod classic;
mod clock_metrics;
mod clocks;
mod completeness;
mod dead_letters;
mod emitter;
mod exchange;
mod forming;
mod held;
mod inbox;
mod metrics;
mod owned;
mod owner;
mod parked;
mod pending;
mod references;
mod running;
mod series;
mod splits;
mod stage;
#[cfg(test)]
mod tests;
mod top;
mod worker;

pub use inbox::Input;
pub use metrics::PipelineMetrics;
pub use running::{Finished, MakeSource, Options, PipelineError, Running, SourceOf, Status};
