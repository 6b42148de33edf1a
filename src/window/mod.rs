//! Event time: watermarks, windows, partial aggregates, late events.

pub mod aggregate;
mod bounds;
mod config;
mod groups;
mod panes;
mod session;
mod sliding;
mod store;
mod watermark;
mod windows;

pub use bounds::Bounds;
pub use config::{LatePolicy, TimeConfig, WindowConfig, WindowProblem};
pub use groups::{Groups, Routed};
pub use panes::Panes;
pub use session::{Ended, Sessions, Span};
pub use sliding::SlidingPanes;
pub use store::{Argument, Dropped, PaneKey, Rows, WindowStore};
pub use watermark::{END_OF_TIME, SplitState, Watermarks};
pub use windows::{Closed, Progress, WindowKind, Windows, zone_of};
