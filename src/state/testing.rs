//! For tests: a store that fails when it is told to, and one that forgets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::memory::MemoryStore;
use super::store::{Store, StoreError, StoreErrorKind};

/// What happens at the call that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is done.
    Refused,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// A write leaves half of its bytes.
    Torn,
}

/// Fails the n-th call from [`fail_at`](Self::fail_at) on.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Arc<dyn Store>,
    /// How many calls succeed before the one that fails, the fault, and whether all later calls fail.
    plan: Mutex<Option<(u64, Fault, bool)>>,
    calls: AtomicU64,
    failed: AtomicBool,
}

impl Faulty {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            plan: Mutex::new(None),
            calls: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        }
    }

    /// Fails the call after `succeed` more; as a process that was killed then, if `for_good`.
    pub(crate) fn fail_at(&self, succeed: u64, fault: Fault, for_good: bool) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((succeed, fault, for_good));
        self.calls.store(0, Ordering::Relaxed);
        self.failed.store(false, Ordering::Relaxed);
    }

    /// Fails no more.
    pub(crate) fn heal(&self) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the call that was to fail was made.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    fn fault(&self) -> Option<Fault> {
        let plan = *self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let (succeed, fault, for_good) = plan?;
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if call == succeed {
            self.failed.store(true, Ordering::Relaxed);
            return Some(fault);
        }
        (call > succeed && for_good).then_some(Fault::Refused)
    }

    fn write(
        &self,
        bytes: &[u8],
        write: impl FnOnce(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self.fault() {
            None => return write(bytes),
            Some(Fault::Refused) => {}
            Some(Fault::AnswerLost) => write(bytes)?,
            Some(Fault::Torn) => write(&bytes[..bytes.len() / 2])?,
        }
        Err(broken())
    }
}

fn broken() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "faulty", "a fault of the test")
}

impl Store for Faulty {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(bytes, |bytes| self.inner.put(name, bytes))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(bytes, |bytes| self.inner.create(name, bytes))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.fault() {
            None => self.inner.get(name),
            Some(_) => Err(broken()),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        match self.fault() {
            None => self.inner.list(prefix),
            Some(_) => Err(broken()),
        }
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        match self.fault() {
            None => self.inner.delete(name),
            Some(Fault::Refused) => Err(broken()),
            Some(_) => {
                self.inner.delete(name)?;
                Err(broken())
            }
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        match self.fault() {
            None => self.inner.sync(),
            Some(_) => Err(broken()),
        }
    }

    fn location(&self) -> String {
        "faulty".to_owned()
    }
}

/// Keeps through a loss of power what a store has to, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Volatile {
    now: MemoryStore,
    durable: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Volatile {
    /// What was not synced is gone.
    pub(crate) fn lose_power(&self) {
        for name in self.now.list("").unwrap() {
            self.now.delete(&name).unwrap();
        }
        for (name, bytes) in &*self.durable.lock().unwrap() {
            self.now.put(name, bytes).unwrap();
        }
    }
}

impl Store for Volatile {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.now.put(name, bytes)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.now.create(name, bytes)?;
        self.sync()
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.now.get(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.now.list(prefix)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.now.delete(name)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let names = self.now.list("")?.into_iter();
        let all = names.map(|name| {
            let bytes = self.now.get(&name)?.unwrap_or_default();
            Ok((name, bytes))
        });
        *self.durable.lock().unwrap() = all.collect::<Result<_, StoreError>>()?;
        Ok(())
    }

    fn location(&self) -> String {
        self.now.location()
    }
}
