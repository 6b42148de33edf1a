//! Requests of Prometheus Remote-Write, 1.0 and 2.0: which one it is, and what is taken of it.
//!
//! The specifications: <https://prometheus.io/docs/specs/prw/remote_write_spec/> and
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.

mod negotiation;
mod request;
#[cfg(test)]
mod tests;
mod written;

pub(super) use negotiation::{CONTENT_TYPE_V1, Version, is_snappy, named, version};
pub use request::LEAST_RECORD_BYTES;
pub(super) use request::{Unusable, read};
pub(super) use written::Written;
