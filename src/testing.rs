//! What the tests of all modules share: waiting for what another thread does, and room for deep records.

use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

/// For how long a test waits before it fails. Where all is well none does; where the machine has much else to
/// do, a shorter time would find faults that are not there.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// Waits until something is so that tells nobody of it. Between two looks the processor is left to others: what
/// is waited for may need it.
///
/// # Panics
/// It is not so within [`LIMIT`].
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The stack of a worker, bytes: that of a test's thread is less than records nested to their limit need where
/// nothing is optimised.
const WORKER_STACK: usize = 8 << 20;

/// Does something on a thread with the stack of a worker.
///
/// # Panics
/// It does.
pub(crate) fn on_worker_stack(what: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(WORKER_STACK);
        let thread = thread.spawn_scoped(scope, what).unwrap();
        if let Err(panic) = thread.join() {
            resume_unwind(panic);
        }
    });
}
