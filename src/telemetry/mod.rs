//! Our own metrics and logs.

pub mod cause;
pub mod computed;
pub mod limit;
pub mod log;
pub mod registry;

pub use cause::with_causes;
pub use computed::ComputedGauges;
pub use limit::LogLimit;
pub use registry::Registry;
