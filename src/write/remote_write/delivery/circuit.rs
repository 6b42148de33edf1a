//! A receiver that is away is asked by one shard alone.

use std::sync::atomic::{AtomicU32, Ordering};

use prometheus::IntGauge;
use tokio::sync::{Semaphore, SemaphorePermit};

/// After so many requests in a row that the receiver has not taken, the others wait for one.
const OPENS_AT: u32 = 5;

/// Keeps shards from asking a receiver that is away, each for itself. It is closed while requests go
/// through. Once it is open, one shard repeats its request with its growing waits, and the others wait
/// until that has gone through.
#[derive(Debug)]
pub(in crate::write::remote_write) struct Circuit {
    /// How many requests in a row have failed.
    failures: AtomicU32,
    probe: Semaphore,
    open: IntGauge,
}

impl Circuit {
    /// Closed; `open` tells whether it is open.
    pub(in crate::write::remote_write) fn new(open: IntGauge) -> Self {
        Self {
            failures: AtomicU32::new(0),
            probe: Semaphore::new(1),
            open,
        }
    }

    /// Waits until a request may be made. Where the circuit is open, what is given is the right to be
    /// the one that asks; it is to be kept until the request has gone through.
    pub(in crate::write::remote_write) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        if !self.is_open() {
            return None;
        }
        // It is never closed.
        let probe = self.probe.acquire().await.ok();
        // The receiver may have come back while this one waited.
        probe.filter(|_| self.is_open())
    }

    /// The receiver has answered to a request, whether it liked it or not.
    pub(in crate::write::remote_write) fn answered(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.open.set(0);
    }

    /// The receiver has not taken a request that it may take later.
    pub(in crate::write::remote_write) fn failed(&self) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        if failures.saturating_add(1) >= OPENS_AT {
            self.open.set(1);
        }
    }

    /// Whether requests have to wait until they may be made.
    pub(in crate::write::remote_write) fn is_open(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= OPENS_AT
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn circuit() -> Arc<Circuit> {
        Arc::new(Circuit::new(IntGauge::new("open", "open").unwrap()))
    }

    #[tokio::test]
    async fn all_may_ask_until_it_opens() {
        let circuit = circuit();
        for _ in 1..OPENS_AT {
            circuit.failed();
            assert!(circuit.enter().await.is_none());
            assert_eq!(circuit.open.get(), 0);
        }
        circuit.failed();
        assert_eq!(circuit.open.get(), 1);
        assert!(circuit.enter().await.is_some());
        circuit.answered();
        assert!(circuit.enter().await.is_none());
        assert_eq!(circuit.open.get(), 0);
    }

    #[tokio::test]
    async fn one_asks_and_the_others_wait_for_it() {
        let circuit = circuit();
        for _ in 0..OPENS_AT {
            circuit.failed();
        }
        let probe = circuit.enter().await;
        assert!(probe.is_some());
        let other = tokio::spawn({
            let circuit = Arc::clone(&circuit);
            async move { circuit.enter().await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(!other.is_finished());
        circuit.answered();
        drop(probe);
        assert!(!other.await.unwrap(), "it may ask as all do");
    }

    #[tokio::test]
    async fn when_the_one_that_asks_gives_up_the_next_one_asks() {
        let circuit = circuit();
        for _ in 0..OPENS_AT {
            circuit.failed();
        }
        drop(circuit.enter().await);
        assert!(circuit.enter().await.is_some());
    }
}
