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
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("other requests hold all memory there is for them; send it again")]
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
        if before.saturating_add(bytes) > self.budget.limit {
            held.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Exhausted);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Holds so many bytes from now on, in place of what it held.
    ///
    /// # Errors
    /// It is more, and others hold that.
    pub(super) fn settle(&mut self, bytes: usize) -> Result<(), Exhausted> {
        if let Some(more) = bytes.checked_sub(self.bytes) {
            return self.grow(more);
        }
        let less = self.bytes - bytes;
        self.budget.held.fetch_sub(less, Ordering::Relaxed);
        self.bytes = bytes;
        Ok(())
    }

    /// Appends to a buffer, whose room is held before it is taken.
    ///
    /// # Errors
    /// Others hold what there is.
    pub(super) fn extend(&mut self, buffer: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Exhausted> {
        let free = buffer.capacity() - buffer.len();
        if bytes.len() > free {
            // A quarter more, so that what comes in small pieces is not copied for each of them.
            let room = (bytes.len() - free).max(buffer.capacity() / 4);
            self.grow(room)?;
            buffer.reserve_exact(free + room);
        }
        buffer.extend_from_slice(bytes);
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
        let mut third = budget.hold();
        assert_eq!(third.grow(3), Ok(()));
        drop(second);
        drop(first);
        assert_eq!(third.grow(7), Ok(()));
        assert_eq!(third.grow(1), Err(Exhausted));
        drop(third);
        assert_eq!(budget.hold().grow(10), Ok(()));
        let mut last = budget.hold();
        for bytes in [10, 4, 7] {
            assert_eq!(last.settle(bytes), Ok(()));
        }
        assert_eq!(last.settle(11), Err(Exhausted));
        assert_eq!(budget.hold().grow(4), Err(Exhausted));
        assert_eq!(budget.hold().grow(3), Ok(()));
    }

    #[test]
    fn a_buffer_takes_no_more_than_is_held() {
        let budget = Budget::new(10_000);
        let (mut held, mut buffer) = (budget.hold(), Vec::new());
        let full = (0..).find(|_| held.extend(&mut buffer, &[7; 100]).is_err());
        assert_eq!(held.bytes, buffer.capacity());
        let pieces = full.unwrap();
        assert_eq!(buffer, vec![7; pieces * 100]);
        assert!((70..=100).contains(&pieces), "{pieces}");
        let other = budget.hold().grow(10_000 - buffer.capacity() + 1);
        assert_eq!(other, Err(Exhausted));
    }
}
