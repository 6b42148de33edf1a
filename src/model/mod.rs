//! The shared words: time, symbols, batches, labels, samples, positions, secrets.
//!
//! Level 0: everything may import this, and this imports nothing of weir.

pub mod aggregate;
pub mod backoff;
pub mod batch;
pub mod broker;
pub mod codec;
pub mod duration;
pub mod hash;
pub mod histogram;
pub mod live;
pub mod protobuf;
pub mod record;
pub mod sample;
pub mod secret;
pub mod similar;
pub mod symbol;
mod symbol_table;
pub mod time;
pub mod tls;
pub mod topic;

pub use aggregate::AGGREGATE_NAMES;
pub use backoff::{Backoff, BackoffLimits, parse_retry_after};
pub use batch::{Batch, Column, DataType, Field, Schema, Trilean};
pub use broker::{
    BrokerSecurity, BrokerToken, BrokerTokens, Found, SaslConfig, SaslMechanism, SignerConfig,
    TokenConfig,
};
pub use codec::{Corrupt, Decoder, Encoder, SymbolReader, SymbolWriter};
pub use duration::Duration;
pub use histogram::NativeHistogram;
pub use live::{HoldsSymbols, LiveSymbols, Renumbering};
pub use record::{Envelope, RecordBatch, Split, SplitId};
pub use sample::{STALE_NAN_BITS, Sample, SampleValue, Series};
pub use secret::Secret;
pub use similar::suggest;
pub use symbol::{Interner, Symbol, TextPlace, Texts};
pub use time::{Clock, TimestampMs};
pub use tls::{TlsConfig, install_tls, read_certificates, read_private_key};
pub use topic::{InvalidTopic, TopicTemplate};
