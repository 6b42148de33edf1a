//! The events of a fleet of connected cars: deterministic, paced, with disorder and late arrivals.
//!
//! The same [`FleetConfig`] makes the same events, byte for byte. The command `weirgen` writes them
//! to a file, a Kafka topic or an MQTT broker; a program can as well draw them from a [`Fleet`] in
//! process.
//!
//! ```
//! let mut fleet = weirgen::Fleet::new(weirgen::FleetConfig::new(100))?;
//! let mut line = Vec::new();
//! fleet.next_event().write_json(&mut line);
//! assert!(line.starts_with(b"{\"eventType\":\""));
//! # Ok::<(), weirgen::InvalidFleet>(())
//! ```

pub mod config;
pub mod fleet;
mod held;
mod schedule;
mod vehicle;
mod wheel;

pub mod event;
pub mod region;

mod digits;
mod random;

pub mod pacer;
pub mod reference;

pub mod sink;
pub mod target;

pub use config::{FleetConfig, InvalidFleet};
pub use event::{Event, Kind};
pub use fleet::Fleet;
pub use pacer::Pacer;
pub use reference::write_reference;
pub use region::Region;
pub use target::Target;
pub use vehicle::VehicleId;
