//! Event time: watermarks, windows, partial aggregates, late events.

pub mod aggregate;
mod bounds;
pub mod clock;
mod config;
mod groups;
mod panes;
mod piece;
mod session;
mod sliding;
mod slots;
mod store;
mod watermark;
mod windows;

#[cfg(test)]
mod tests;

pub use bounds::{Bounds, Extent};
pub use config::{ClockConfig, LatePolicy, TimeConfig, WindowConfig, WindowProblem};
pub use groups::{Groups, Routed};
pub use panes::Panes;
pub use piece::Piece;
pub use session::{Ended, Sessions, Span};
pub use sliding::SlidingPanes;
pub use store::{Argument, Dropped, LateRow, PaneKey, Rows, WindowStore};
pub use watermark::{END_OF_TIME, Paused, SplitState, Watermarks};
pub use windows::{Closed, Progress, WindowKind, Windows, zone_of};
