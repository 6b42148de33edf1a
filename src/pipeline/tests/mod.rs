//! Pipelines as a whole: a source that a test drives, a clock that it moves, samples in a file.

mod bench;
mod failures;
mod parallel;
mod watermarks;
