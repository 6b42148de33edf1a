//! Where state is kept: checkpoints and savepoints, as opaque bytes by stage and part.
//!
//! Level 1. Each stage makes bytes of its own state; this module knows nothing of what they mean.

mod archive;
mod checkpoint;
mod checkpoints;
mod chunk;
mod directory;
mod draft;
mod error;
mod location;
mod manifest;
mod memory;
mod names;
mod object;
mod packer;
#[cfg(feature = "rocksdb")]
mod rocks;
mod savepoints;
mod store;
mod unconfirmed;

#[cfg(test)]
mod checkpoints_tests;
#[cfg(test)]
mod faults_tests;
#[cfg(test)]
mod formats_tests;
#[cfg(test)]
mod savepoints_tests;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
pub(crate) mod testing;

pub use checkpoint::Checkpoint;
pub use checkpoints::{Checkpoints, DEFAULT_KEEP, Identity, pipelines};
pub use directory::DirectoryStore;
pub use draft::{About, Committed, Draft};
pub use error::StateError;
pub use location::{StoreLocation, open_scratch};
pub use manifest::Entry;
pub use memory::MemoryStore;
pub use object::{S3Options, S3Store};
#[cfg(feature = "rocksdb")]
pub use rocks::RocksStore;
pub use savepoints::{Savepoint, Savepoints};
pub use store::{Store, StoreError, StoreErrorKind};
pub use unconfirmed::{Unconfirmed, UnconfirmedNote};
