//! What becomes of a sample before a destination takes it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::{Sample, Series};
use crate::telemetry::LogLimit;

use super::Context;
use super::guard::Guard;
use super::metrics::{DropReason, Metrics};
use super::relabel::{REMEMBERED_SERIES, Refused, Relabeller, Relabelling};

/// The way of samples to one destination: which go there, what they are called there, and whether they may
/// be sent.
#[derive(Debug)]
pub(super) struct Admission {
    relabelling: Arc<Relabelling>,
    guard: Guard,
    metrics: Arc<Metrics>,
    log: Mutex<LogLimit>,
}

impl Admission {
    /// By this relabelling, and past this guard.
    pub(super) fn new(relabelling: Relabelling, guard: Guard, context: &Context) -> Self {
        Self {
            relabelling: Arc::new(relabelling),
            guard,
            metrics: Arc::clone(&context.metrics),
            log: Mutex::new(LogLimit::every(Duration::from_secs(10))),
        }
    }

    /// What one of so many owners relabels with.
    pub(super) fn relabeller(&self, owners: usize) -> Relabeller {
        self.relabelling
            .relabeller(REMEMBERED_SERIES / owners.max(1))
    }

    /// The sample under the name that it has for the destination; nothing where it is not for it, which is
    /// counted.
    pub(super) fn relabel(&self, with: &mut Relabeller, mut sample: Sample) -> Option<Sample> {
        match with.apply(&sample.series) {
            Ok(Some(series)) => sample.series = series,
            Ok(None) => {
                self.metrics.drop_samples(DropReason::Filtered, 1);
                return None;
            }
            Err(why) => {
                self.refuse(&sample.series, &why);
                return None;
            }
        }
        let collisions = with.take_collisions();
        if collisions > 0 {
            self.metrics.collide(collisions);
        }
        Some(sample)
    }

    /// Whether a relabelled sample may be sent. One that must not is counted and logged.
    pub(super) fn admits(&self, sample: &Sample) -> bool {
        self.guard.admits(sample)
    }

    /// The sample as it goes out, without counting: it comes again.
    pub(super) fn preview(&self, mut sample: Sample) -> Option<Sample> {
        sample.series = self.relabelling.relabel(&sample.series).ok()??;
        self.guard.takes(&sample).then_some(sample)
    }

    fn refuse(&self, series: &Series, why: &Refused) {
        self.metrics.take(1);
        self.metrics.drop_samples(DropReason::InvalidName, 1);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held_back) = log.admit() {
            tracing::error!(%series, %why, held_back, "a sample is dropped");
        }
    }
}
