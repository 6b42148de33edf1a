//! Real servers, the project's own programs and their files, for the integration tests.
//!
//! Each server runs as a process of its own on 127.0.0.1, in a temporary folder, on free ports.
//! Nothing is left running or lying about, even when the tests are killed: see [`process`].

pub(crate) mod certificates;
pub(crate) mod fake_http;
pub(crate) mod faults;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod moto;
pub(crate) mod ports;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod remote_write;
pub(crate) mod samples;
pub(crate) mod signed_receiver;
pub(crate) mod small_disk;
pub(crate) mod sparkplug;
pub(crate) mod victoria_metrics;
pub(crate) mod write_request;

#[cfg(feature = "mqtt")]
pub(crate) mod mosquitto;

#[cfg(feature = "mqtt")]
pub(crate) mod publishers;

#[cfg(feature = "mqtt")]
pub(crate) mod web_socket;

#[cfg(any(feature = "kafka", feature = "mqtt"))]
pub(crate) mod source;

#[cfg(feature = "kafka")]
pub(crate) mod kafka;

#[cfg(feature = "kinesis")]
pub(crate) mod kinesis;

use std::time::Duration;

/// The longest wait for a server to start, to answer or to stop. Where all is well, nothing waits so long, and a
/// test that fails does so once; a machine that has much else to do may need many times as long as others.
pub(crate) const LIMIT: Duration = Duration::from_mins(5);
