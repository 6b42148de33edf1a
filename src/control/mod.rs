//! The HTTP side: health, metrics and savepoints.

mod health;
mod process;
mod savepoints;
mod server;

pub use health::Health;
pub use server::{ControlError, Server};
