//! Partial lookups: a service is asked for each key when an event needs it, behind a cache. The
//! batch waits meanwhile, the worker does not.

mod answer;
mod cache;
mod client;
mod config;
mod dynamodb;
mod fields;
mod http;
mod lookup;
mod metrics;
mod postgres;
mod service;
mod ticket;
mod tls;

pub use config::{
    CacheConfig, DynamoDbService, HttpService, PostgresService, PostgresTls, RetryConfig,
};
pub use lookup::{PartialLookup, Waiting};
pub(super) use metrics::PartialMetrics;
pub use service::PartialService;
