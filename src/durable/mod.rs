//! Files that survive a crash: append-only logs in segments, whole files that are replaced at once,
//! locked folders.
//!
//! Level 0. What is in a log's records is its user's affair.

mod active;
mod error;
mod files;
mod folder;
mod live;
mod lock;
mod log;
mod owner;
mod reader;
mod segment;
#[cfg(test)]
mod tests;

pub use error::LogError;
pub use files::{create_folder, sync_name, write_atomically, write_atomically_with};
pub use lock::{FolderLock, LockError};
pub use log::{Dropped, Fsync, Log, LogConfig, Recovered};
pub use reader::{LogReader, Skipped};
pub use segment::{
    Contents, FORMAT_VERSION, Header, HeaderError, MAX_RECORD_BYTES, Record, read_segment,
    write_record,
};
