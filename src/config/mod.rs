//! The pipeline file: its shape, its checks, and the pipeline that it describes.
//!
//! [`PipelineFile`] is what is written, [`Pipeline`] what it means. Between them stands
//! `validate`, which reports every problem of a file at its place, all at once.

mod check;
mod compile;
mod document;
mod environment;
mod file;
mod load;
mod notes;
mod pipeline;
mod report;
mod salvage;
mod validate;

pub use document::ReadError;
pub use environment::process_variable;
pub use file::{
    CompletenessConfig, CompletenessDetail, MetricConfig, PerConfig, PipelineFile, RestartConfig,
    SourceSection, StateBackend,
};
pub use load::{LoadError, Overrides, load, load_text, schema};
pub use pipeline::{
    CheckpointSettings, Clocks, Completeness, Derived, Hold, Metric, Pipeline, Shape, Side,
    StateSettings, Top, checkpoints_below,
};
pub use report::{Problem, Problems};
