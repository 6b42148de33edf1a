//! What became of dead letters.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntCounter;

use crate::telemetry::Registry;

/// The letters' book-keeping: what was taken is written, lost, or still on its way.
#[derive(Debug, Clone)]
pub struct DeadLetterMetrics(Arc<Mutex<Accounts>>);

#[derive(Debug)]
struct Accounts {
    accounts: Vec<Account>,
    gone: IntCounter,
    /// Whether all that was on its way was given up: nothing that comes after counts a second time.
    closed: bool,
}

/// The letters of one reason.
#[derive(Debug)]
struct Account {
    reason: &'static str,
    taken: u64,
    written: IntCounter,
    lost: IntCounter,
}

impl DeadLetterMetrics {
    /// Registers the metrics with all reasons that letters can have, so that each is exported before
    /// it first happens.
    pub fn new(registry: &Registry, reasons: impl IntoIterator<Item = &'static str>) -> Self {
        let written = registry.counters(
            "weir_dead_letters_total",
            "Dead letters written, by reason.",
            &["reason"],
        );
        let lost = registry.counters(
            "weir_dead_letters_lost_total",
            "Dead letters that could not be written, by reason.",
            &["reason"],
        );
        let accounts = reasons.into_iter().map(|reason| Account {
            reason,
            taken: 0,
            written: written.with_label_values(&[reason]),
            lost: lost.with_label_values(&[reason]),
        });
        let gone = registry.counter(
            "weir_dead_letters_gone_total",
            "Dead letters of the file that had to give way to later ones.",
        );
        Self(Arc::new(Mutex::new(Accounts {
            accounts: accounts.collect(),
            gone,
            closed: false,
        })))
    }

    /// A letter came in.
    pub(super) fn take(&self, reason: &str) {
        self.lock().of(reason, |account, closed| {
            account.taken += 1;
            if closed {
                account.lost.inc();
            }
        });
    }

    /// A letter is where it belongs.
    pub(super) fn write(&self, reason: &str) {
        self.lock().of(reason, |account, closed| {
            if !closed {
                account.written.inc();
            }
        });
    }

    /// A letter will never be there.
    pub(super) fn lose(&self, reason: &str) {
        self.lock().of(reason, |account, closed| {
            if !closed {
                account.lost.inc();
            }
        });
    }

    /// Letters that were written had to give way to later ones.
    pub(super) fn gone(&self, letters: u64) {
        self.lock().gone.inc_by(letters);
    }

    /// Gives up what is still on its way; says how many letters are lost in all.
    pub(super) fn give_up_the_rest(&self) -> u64 {
        let mut accounts = self.lock();
        accounts.closed = true;
        let mut lost = 0;
        for account in &accounts.accounts {
            let done = account.written.get() + account.lost.get();
            account.lost.inc_by(account.taken.saturating_sub(done));
            lost += account.lost.get();
        }
        lost
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    fn of(&mut self, reason: &str, note: impl FnOnce(&mut Account, bool)) {
        let mut accounts = self.accounts.iter_mut();
        if let Some(account) = accounts.find(|account| account.reason == reason) {
            note(account, self.closed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_is_lost_in_the_end() {
        let registry = Registry::new("test");
        let metrics = DeadLetterMetrics::new(&registry, ["late", "malformed_json"]);
        for _ in 0..5 {
            metrics.take("late");
        }
        metrics.write("late");
        metrics.lose("late");
        assert_eq!(metrics.give_up_the_rest(), 4);
        // The thread was only slow: what it does now is known as lost already.
        metrics.lose("late");
        metrics.write("late");
        metrics.take("malformed_json");
        let text = Registry::text([&registry]);
        for line in [
            r#"weir_dead_letters_total{reason="late",pipeline="test"} 1"#,
            r#"weir_dead_letters_lost_total{reason="late",pipeline="test"} 4"#,
            r#"weir_dead_letters_lost_total{reason="malformed_json",pipeline="test"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
