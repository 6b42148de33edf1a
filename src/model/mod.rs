//! The shared words: time, symbols, batches, labels, samples, positions, secrets.
//!
//! Level 0: everything may import this, and this imports nothing of weir.

pub mod batch;
pub mod duration;
pub mod hash;
pub mod histogram;
pub mod record;
pub mod sample;
pub mod secret;
pub mod symbol;
pub mod time;

pub use batch::{Batch, Column, DataType, Field, Schema, Trilean};
pub use duration::Duration;
pub use histogram::NativeHistogram;
pub use record::{Envelope, RecordBatch, Split, SplitId};
pub use sample::{Sample, Series};
pub use secret::Secret;
pub use symbol::{Interner, Symbol};
pub use time::{Clock, TimestampMs};
