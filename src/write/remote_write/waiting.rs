//! Since when samples wait, of a queue whose samples come in many at a time.

use std::collections::VecDeque;

use tokio::time::Instant;

/// The times at which the samples of a queue came in, in their order.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Times, each with how many samples came in then.
    times: VecDeque<(Instant, usize)>,
    samples: usize,
}

impl Waiting {
    /// A sample came in.
    pub(super) fn push(&mut self, now: Instant) {
        self.samples += 1;
        match self.times.back_mut() {
            Some((time, samples)) if *time == now => *samples += 1,
            _ => self.times.push_back((now, 1)),
        }
    }

    /// The first sample went, which came in then.
    pub(super) fn pop(&mut self) -> Option<Instant> {
        let (time, samples) = self.times.front_mut()?;
        let time = *time;
        self.samples -= 1;
        *samples -= 1;
        if *samples == 0 {
            self.times.pop_front();
        }
        Some(time)
    }

    /// When the first sample came in that is still there.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.times.front().map(|(time, _)| *time)
    }

    /// How many samples there are.
    pub(super) fn len(&self) -> usize {
        self.samples
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.samples == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn gives_the_times_in_their_order() {
        let start = Instant::now();
        let mut waiting = Waiting::default();
        let times = [0, 0, 0, 1, 2, 2].map(|second| start + Duration::from_secs(second));
        for time in times {
            waiting.push(time);
        }
        assert_eq!((waiting.len(), waiting.times.len()), (6, 3));
        for (gone, time) in times.into_iter().enumerate() {
            assert_eq!(waiting.oldest(), Some(time));
            assert_eq!(waiting.len(), 6 - gone);
            assert_eq!(waiting.pop(), Some(time));
        }
        assert!(waiting.is_empty() && waiting.oldest().is_none() && waiting.pop().is_none());
    }
}
