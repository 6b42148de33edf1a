//! What the tests of all modules share: waiting for what another thread does.

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
