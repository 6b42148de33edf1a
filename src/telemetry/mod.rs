//! Our own metrics and logs.

pub mod limit;
pub mod log;
pub mod registry;

pub use limit::LogLimit;
pub use registry::Registry;
