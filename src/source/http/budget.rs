//! How many bytes all requests together may hold, from their first byte to their answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes that requests share; clones share the same.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    limit: usize,
    held: Arc<AtomicUsize>,
}

/// What one request holds. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Held {
    budget: Budget,
    bytes: usize,
}

/// There is not enough left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Budget {
    /// A budget of so many bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            held: Arc::default(),
        }
    }

    /// Begins with nothing held.
    pub(super) fn hold(&self) -> Held {
        Held {
            budget: self.clone(),
            bytes: 0,
        }
    }
}

impl Held {
    /// Holds so many bytes more.
    ///
    /// # Errors
    /// Others hold them.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let held = &self.budget.held;
        let before = held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before.saturating_add(bytes) > self.budget.limit {
            return Err(Exhausted);
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_holds_another_cannot() {
        let budget = Budget::new(10);
        let (mut first, mut second) = (budget.hold(), budget.hold());
        assert_eq!(first.grow(6), Ok(()));
        assert_eq!(first.grow(1), Ok(()));
        assert_eq!(second.grow(4), Err(Exhausted));
        drop(second);
        let mut third = budget.hold();
        assert_eq!(third.grow(3), Ok(()));
        drop(first);
        assert_eq!(third.grow(7), Ok(()));
        assert_eq!(third.grow(1), Err(Exhausted));
        drop(third);
        assert_eq!(budget.hold().grow(10), Ok(()));
    }
}
