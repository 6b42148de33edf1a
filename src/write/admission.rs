//! What becomes of a sample before a destination takes it.

use crate::model::Sample;

use super::guard::Guard;

/// The way of a sample to one destination: what it is called there, and whether it may go there.
#[derive(Debug)]
pub(super) struct Admission {
    guard: Guard,
}

impl Admission {
    /// Past this guard.
    pub(super) fn new(guard: Guard) -> Self {
        Self { guard }
    }

    /// The sample as it goes out; nothing where it must not, which is counted.
    pub(super) fn admit(&self, sample: Sample) -> Option<Sample> {
        self.guard.admits(&sample).then_some(sample)
    }

    /// The same without counting: the sample comes again.
    pub(super) fn preview(&self, sample: Sample) -> Option<Sample> {
        self.guard.takes(&sample).then_some(sample)
    }
}
