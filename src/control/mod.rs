//! The HTTP side: health and metrics.

mod process;
mod server;

pub use server::{ControlError, Health, Server};
