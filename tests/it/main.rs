//! The integration tests: weir and the servers around it as real processes.

mod servers;
mod support;
