//! Waiting on a lookup's own thread, until it is told to end.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// The lookup was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::enrich) struct Stopped;

/// Runs what a lookup waits for. Lookups have threads of their own: reading a table is long work,
/// and nobody else is to wait for it.
#[derive(Debug)]
pub(in crate::enrich) struct Waiter {
    /// Taken out only at the end.
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
}

/// Ends all waiting.
#[derive(Debug)]
pub(in crate::enrich) struct StopWaiting(watch::Sender<bool>);

impl StopWaiting {
    pub(in crate::enrich) fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Waiter {
    pub(in crate::enrich) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            runtime: Some(runtime),
            stop: watch::Sender::new(false),
        })
    }

    /// Can end all waiting from another thread.
    pub(in crate::enrich) fn stopper(&self) -> StopWaiting {
        StopWaiting(self.stop.clone())
    }

    /// The result of a future, unless the lookup is told to end before there is one.
    pub(in crate::enrich) fn wait<F: Future>(&self, future: F) -> Result<F::Output, Stopped> {
        let Some(runtime) = &self.runtime else {
            return Err(Stopped);
        };
        let mut stop = self.stop.subscribe();
        runtime.block_on(async {
            tokio::select! {
                biased;
                // An error says that nobody can stop it any more, which is an end as well.
                _ = stop.wait_for(|stop| *stop) => Err(Stopped),
                output = future => Ok(output),
            }
        })
    }

    pub(in crate::enrich) fn sleep(&self, time: Duration) -> Result<(), Stopped> {
        self.wait(async move { tokio::time::sleep(time).await })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // Nothing is left to wait for, wherever this is dropped.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
