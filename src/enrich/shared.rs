//! A table that all workers share, and that is replaced while they run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::table::Table;

/// A table and its version, which grows with every change.
#[derive(Debug)]
pub struct SharedTable {
    table: Mutex<Arc<Table>>,
    version: AtomicU64,
}

impl SharedTable {
    /// A first table.
    pub fn new(table: Table) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::new(Arc::new(table)),
            version: AtomicU64::new(1),
        })
    }

    /// The version in use.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The table in use.
    pub fn table(&self) -> Arc<Table> {
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts another table in use; gives its version.
    pub fn replace(&self, table: Table) -> u64 {
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        self.version.fetch_add(1, Ordering::Release) + 1
    }
}
