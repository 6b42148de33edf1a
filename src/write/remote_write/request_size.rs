//! How large requests are: small at first, as large as the receiver takes them in a good time, and never
//! larger than the pipeline file says.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::time::Instant;

use crate::telemetry::Registry;

/// What the first requests may have. A receiver that is slow or strict is found out with little.
const FIRST: Size = Size {
    samples: 100,
    bytes: 64 << 10,
};

/// A request that took at most this part of the timeout may be followed by one of twice the size, which
/// stays well below the timeout.
const QUICK: u32 = 4;

/// Once a request was too large or too slow, the limit grows no sooner than this after the last change,
const GROWS_AGAIN_AFTER: Duration = Duration::from_secs(300);
/// and only by this part: a receiver that takes less than is allowed here refuses two or three requests an
/// hour then, and not every second one.
const GROWS_AGAIN_BY: usize = 8;

/// An extent of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) samples: usize,
    /// Before compression.
    pub(super) bytes: usize,
}

impl Size {
    fn at_most(self, other: Self) -> Self {
        Self {
            samples: self.samples.min(other.samples),
            bytes: self.bytes.min(other.bytes),
        }
    }

    fn at_least(self, other: Self) -> Self {
        Self {
            samples: self.samples.max(other.samples),
            bytes: self.bytes.max(other.bytes),
        }
    }

    fn doubled(self) -> Self {
        Self {
            samples: self.samples.saturating_mul(2),
            bytes: self.bytes.saturating_mul(2),
        }
    }

    fn half(self) -> Self {
        Self {
            samples: (self.samples / 2).max(1),
            bytes: (self.bytes / 2).max(1),
        }
    }

    fn a_bit_more(self) -> Self {
        let more = |size: usize| size.saturating_add((size / GROWS_AGAIN_BY).max(1));
        Self {
            samples: more(self.samples),
            bytes: more(self.bytes),
        }
    }
}

/// What a request may have now. It doubles with every full request that is taken quickly. Half of a request
/// that was too large or too slow is the limit from then on; behind that it grows slowly.
#[derive(Debug)]
pub(super) struct RequestSize {
    most: Size,
    timeout: Duration,
    now: Size,
    /// When it was last changed, where something was too large or too slow before.
    cautious_since: Option<Instant>,
}

impl RequestSize {
    /// Begins small, and never exceeds `most`.
    pub(super) fn new(most: Size, timeout: Duration) -> Self {
        Self {
            most,
            timeout,
            now: FIRST.at_most(most),
            cautious_since: None,
        }
    }

    /// The limit.
    pub(super) fn now(&self) -> Size {
        self.now
    }

    /// A request that was as large as `limit` allowed was taken at the first attempt, and took so long.
    pub(super) fn taken(&mut self, limit: Size, took: Duration, at: Instant) {
        // One that was made under an earlier limit says nothing of this one.
        if limit != self.now || limit == self.most || took > self.timeout / QUICK {
            return;
        }
        self.now = match self.cautious_since {
            None => limit.doubled(),
            Some(since) if at.saturating_duration_since(since) < GROWS_AGAIN_AFTER => return,
            Some(_) => {
                self.cautious_since = Some(at);
                limit.a_bit_more()
            }
        }
        .at_most(self.most);
    }

    /// A request was too large. Several of one size, or one several times, count as one.
    pub(super) fn refused(&mut self, request: Size, at: Instant) {
        self.lower_to(request.half(), at);
    }

    /// A request that was as large as `limit` allowed was not taken within the timeout. That need not be its
    /// size, so the limit does not become smaller than it was at first.
    pub(super) fn slow(&mut self, limit: Size, at: Instant) {
        self.lower_to(limit.half().at_least(FIRST), at);
    }

    fn lower_to(&mut self, size: Size, at: Instant) {
        let half = size.at_most(self.now);
        if half != self.now {
            self.now = half;
            self.cautious_since = Some(at);
        }
    }
}

/// The limit that the shards of a receiver share.
#[derive(Debug)]
pub(super) struct SharedRequestSize {
    size: Mutex<RequestSize>,
    samples: IntGauge,
    bytes: IntGauge,
}

impl SharedRequestSize {
    /// Registers its gauges.
    pub(super) fn new(size: RequestSize, registry: &Registry) -> Self {
        let shared = Self {
            samples: registry.int_gauge(
                "weir_remote_write_batch_limit_samples",
                "How many samples a request may have now",
            ),
            bytes: registry.int_gauge(
                "weir_remote_write_batch_limit_bytes",
                "How many bytes a request may have now, before compression",
            ),
            size: Mutex::new(size),
        };
        shared.change(|_| {});
        shared
    }

    /// The limit.
    pub(super) fn now(&self) -> Size {
        self.size
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .now()
    }

    /// See [`RequestSize::taken`].
    pub(super) fn taken(&self, limit: Size, took: Duration) {
        self.change(|size| size.taken(limit, took, Instant::now()));
    }

    /// See [`RequestSize::refused`].
    pub(super) fn refused(&self, request: Size) {
        self.change(|size| size.refused(request, Instant::now()));
    }

    /// See [`RequestSize::slow`].
    pub(super) fn slow(&self, limit: Size) {
        self.change(|size| size.slow(limit, Instant::now()));
    }

    fn change(&self, change: impl FnOnce(&mut RequestSize)) {
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut size);
        let Size { samples, bytes } = size.now();
        self.samples.set(i64::try_from(samples).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn size(samples: usize, bytes: usize) -> Size {
        Size { samples, bytes }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The limits behind so many full requests, each of which took so long.
    fn grown(of: &mut RequestSize, requests: usize, took: Duration, at: Instant) -> Vec<Size> {
        (0..requests)
            .map(|_| {
                of.taken(of.now(), took, at);
                of.now()
            })
            .collect()
    }

    #[test]
    fn doubles_up_to_the_most() {
        let mut of = RequestSize::new(size(2_000, 512 * KIB), seconds(30));
        assert_eq!(of.now(), size(100, 64 * KIB));
        let now = Instant::now();
        assert_eq!(
            grown(&mut of, 6, seconds(7), now),
            [
                size(200, 128 * KIB),
                size(400, 256 * KIB),
                size(800, 512 * KIB),
                size(1_600, 512 * KIB),
                size(2_000, 512 * KIB),
                size(2_000, 512 * KIB),
            ]
        );
        assert_eq!(
            RequestSize::new(size(10, 20), seconds(30)).now(),
            size(10, 20)
        );
    }

    #[test]
    fn grows_by_what_says_something_of_the_limit() {
        let mut of = RequestSize::new(size(2_000, 512 * KIB), seconds(30));
        let now = Instant::now();
        of.taken(of.now(), seconds(8), now);
        assert_eq!(of.now(), FIRST, "a slow one");
        let earlier = of.now();
        // Two shards had one of the same limit under way.
        of.taken(earlier, seconds(1), now);
        of.taken(earlier, seconds(1), now);
        assert_eq!(of.now(), FIRST.doubled());
    }

    #[test]
    fn half_of_what_was_refused_is_the_limit() {
        let most = size(2_000, 512 * KIB);
        for (refused, expected) in [
            (vec![size(2_000, 180 * KIB)], size(1_000, 90 * KIB)),
            // Of several shards at once, and repeated.
            (vec![size(2_000, 180 * KIB); 5], size(1_000, 90 * KIB)),
            (
                vec![size(2_000, 180 * KIB), size(1_000, 90 * KIB)],
                size(500, 45 * KIB),
            ),
            // Made under an earlier, larger limit.
            (
                vec![size(500, 45 * KIB), size(2_000, 180 * KIB)],
                size(250, 45 * KIB / 2),
            ),
            (vec![size(1, 1)], size(1, 1)),
        ] {
            let mut of = RequestSize::new(most, seconds(30));
            grown(&mut of, 5, seconds(0), Instant::now());
            assert_eq!(of.now(), most);
            for refused in refused.iter().copied() {
                of.refused(refused, Instant::now());
            }
            assert_eq!(of.now(), expected, "{refused:?}");
        }
    }

    #[test]
    fn a_receiver_of_one_mib_is_seldom_given_more() {
        let limit = 1 << 20;
        let mut of = RequestSize::new(size(1_000_000, 2 << 20), seconds(30));
        let start = Instant::now();
        let (mut refused, mut least) = (Vec::new(), usize::MAX);
        // A full request each second for a day.
        for second in 0..86_400 {
            let (at, now) = (start + seconds(second), of.now());
            if now.bytes > limit {
                of.refused(now, at);
                refused.push(second);
            } else {
                of.taken(now, seconds(0), at);
            }
            if second > 10 {
                least = least.min(of.now().bytes);
            }
        }
        assert!(least >= limit / 2, "{least}");
        // Half of the first one was exactly as much as it takes, and that is soon tried out.
        let distances = refused.windows(2).skip(1).map(|pair| pair[1] - pair[0]);
        assert!(distances.min() >= Some(1_500), "{refused:?}");
    }

    #[test]
    fn behind_a_slow_one_it_grows_by_a_bit_now_and_then() {
        let mut of = RequestSize::new(size(1_000, 1_000), seconds(30));
        let start = Instant::now();
        grown(&mut of, 9, seconds(0), start);
        of.refused(size(1_000, 800), start);
        assert_eq!(of.now(), size(500, 400));
        for (at, expected) in [
            (299, size(500, 400)),
            (300, size(562, 450)),
            (599, size(562, 450)),
            (600, size(632, 506)),
        ] {
            of.taken(of.now(), seconds(1), start + seconds(at));
            assert_eq!(of.now(), expected, "at {at} s");
        }
        for step in 3..20 {
            of.taken(of.now(), seconds(1), start + seconds(300 * step));
        }
        assert_eq!(of.now(), size(1_000, 1_000));
    }
}
