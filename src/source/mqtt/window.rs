//! How many messages a broker sends before it wants the first of them acknowledged.
//!
//! Acknowledgements wait for a sync of the log, which is done once for all messages of some time. A
//! broker that sends only few before it waits (Mosquitto: 20, unless it is told otherwise) would send
//! no more than these each time. So where it was seen to stop at a number, that number is not waited
//! with any longer.

use std::time::Instant;

/// Notices at how many unacknowledged messages a broker stops.
#[derive(Debug, Default)]
pub(super) struct BrokerWindow {
    /// At how many it stopped.
    size: Option<usize>,
    /// When the first and the last of the messages came that wait for a sync.
    first_last: Option<(Instant, Instant)>,
}

impl BrokerWindow {
    /// Messages have come.
    pub(super) fn arrived(&mut self, now: Instant) {
        let (first, _) = self.first_last.unwrap_or((now, now));
        self.first_last = Some((first, now));
    }

    /// So many unacknowledged messages have waited for a sync for as long as they may. Where nothing
    /// came in the second half of that time, the broker may have stopped.
    pub(super) fn waited(&mut self, unacknowledged: usize, now: Instant) {
        if let Some((first, last)) = self.first_last {
            let is_quiet =
                now.saturating_duration_since(last) >= last.saturating_duration_since(first);
            self.size = (is_quiet && unacknowledged > 0).then_some(unacknowledged);
        }
    }

    /// Everything is synced.
    pub(super) fn synced(&mut self) {
        self.first_last = None;
    }

    /// Whether the broker waits for us, with so many unacknowledged messages.
    pub(super) fn is_reached(&mut self, unacknowledged: usize) -> bool {
        match self.size {
            Some(size) if unacknowledged == size => true,
            // It goes on sending: it had not stopped there, it had no more.
            Some(size) if unacknowledged > size => {
                self.size = None;
                false
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What is found out when messages come at these milliseconds and the sync is due at 100.
    fn after(arrivals: &[u64], unacknowledged: usize) -> BrokerWindow {
        let start = Instant::now();
        let mut window = BrokerWindow::default();
        for arrival in arrivals {
            window.arrived(start + Duration::from_millis(*arrival));
        }
        window.waited(unacknowledged, start + Duration::from_millis(100));
        window.synced();
        window
    }

    #[test]
    fn a_broker_that_stops_is_not_kept_waiting_again() {
        let mut window = after(&[0, 1, 2], 20);
        assert!(!window.is_reached(19));
        assert!(window.is_reached(20));
        assert!(window.is_reached(20), "nor the next time");
        assert!(!window.is_reached(21), "it goes on");
        assert!(!window.is_reached(20), "so that was no limit");
    }

    #[test]
    fn a_broker_that_goes_on_sending_has_not_stopped() {
        let mut window = after(&[0, 30, 60, 90], 20);
        assert!(!window.is_reached(20));
        let mut window = after(&[0, 1], 0);
        assert!(!window.is_reached(0), "nothing is to be acknowledged");
        assert!(!BrokerWindow::default().is_reached(0));
    }
}
