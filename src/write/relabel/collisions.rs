//! Series that become one by relabelling, which the configuration is to blame for: their samples would
//! be out of order, or several of one time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::Series;
use crate::telemetry::LogLimit;

use super::generations::Generations;

/// Parts of the table with a lock each, so that owners rarely wait for one another.
const PARTS: usize = 16;

/// Which series each result was made of first, as far as memory goes.
#[derive(Debug)]
pub(super) struct Collisions {
    parts: Vec<Mutex<Generations<Made>>>,
    log: Mutex<LogLimit>,
}

#[derive(Debug)]
struct Made {
    result: Arc<Series>,
    from: Arc<Series>,
}

impl Collisions {
    /// A table of up to `limit` results.
    pub(super) fn new(limit: usize) -> Self {
        let part = || {
            Mutex::new(Generations::new(limit / PARTS, |made: &Made| {
                made.result.hash()
            }))
        };
        Self {
            parts: (0..PARTS).map(|_| part()).collect(),
            log: Mutex::new(LogLimit::every(Duration::from_secs(10))),
        }
    }

    /// Notes what a result was made of, and says whether it is also made of another series, which is
    /// logged, not too often.
    pub(super) fn note(&self, result: &Arc<Series>, from: &Arc<Series>) -> bool {
        let hash = result.hash();
        // The low bits choose the place in the table.
        let Some(part) = self.parts.get((hash >> 32) as usize % PARTS) else {
            return false;
        };
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let first = part.get(
            hash,
            |made| made.result == *result,
            |made| made.from.clone(),
        );
        let Some(first) = first else {
            part.insert(Made {
                result: Arc::clone(result),
                from: Arc::clone(from),
            });
            return false;
        };
        drop(part);
        if first == *from {
            return false;
        }
        self.tell(&first, from, result);
        true
    }

    fn tell(&self, first: &Series, second: &Series, result: &Series) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held_back) = log.admit() {
            tracing::error!(
                %first,
                %second,
                %result,
                held_back,
                "relabelling makes one series of two: keep a label that tells them apart"
            );
        }
    }
}
