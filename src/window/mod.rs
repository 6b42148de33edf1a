//! Event time: watermarks, windows, partial aggregates, late events.

pub mod aggregate;
mod bounds;
mod config;
mod groups;
mod store;
mod tumbling;
mod watermark;

pub use bounds::Bounds;
pub use config::{LatePolicy, TimeConfig, WindowConfig};
pub use groups::{Groups, Routed};
pub use store::{Argument, Dropped, Rows, WindowStore};
pub use tumbling::Tumbling;
pub use watermark::{END_OF_TIME, SplitState, Watermarks};
