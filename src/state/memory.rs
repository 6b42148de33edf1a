//! State in memory: for tests, and for pipelines whose state need not outlive the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::store::{Store, StoreError, StoreErrorKind, check_name};

/// Keeps bytes in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    names: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        // Each call makes one change, so a panic in another thread leaves nothing half done.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_name(self, name)?;
        self.names().insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_name(self, name)?;
        let mut names = self.names();
        if names.contains_key(name) {
            let location = format!("{}/{name}", self.location());
            let words = "it was to be created";
            return Err(StoreError::new(
                StoreErrorKind::AlreadyExists,
                location,
                words,
            ));
        }
        names.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_name(self, name)?;
        Ok(self.names().get(name).cloned())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let names = self.names();
        let from = names.range(prefix.to_owned()..);
        let found = from.take_while(|(name, _)| name.starts_with(prefix));
        Ok(found.map(|(name, _)| name.clone()).collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(self, name)?;
        self.names().remove(name);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        // Nothing of it survives anything.
        Ok(())
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}
