//! The way into one destination.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Sample, TimestampMs};

use super::admission::Admission;
use super::already_sent::{AlreadySent, Marks};
use super::metrics::{DropReason, Metrics};
use super::relabel::Relabeller;
use super::snapshot::DestinationSnapshot;
use super::{Context, Stopped, WriteError, file, remote_write};

/// Takes samples for a destination. What it has no room for it holds, so that the other destinations
/// need not wait for it; more is handed over when nothing is held.
#[derive(Debug)]
pub(super) struct Intake {
    name: String,
    admission: Arc<Admission>,
    already_sent: AlreadySent,
    metrics: Arc<Metrics>,
    way: Way,
    owners: Vec<Mutex<Owner>>,
    /// Samples have been lost because the destination takes no more.
    has_stopped: AtomicBool,
}

/// What an owner has here.
#[derive(Debug)]
struct Owner {
    relabeller: Relabeller,
    /// What there was no room for.
    held: VecDeque<Sample>,
}

/// Where samples wait for the destination.
#[derive(Debug)]
pub(super) enum Way {
    RemoteWrite(Arc<remote_write::Queues>),
    File(file::Inbox),
}

impl Intake {
    /// Holds nothing yet; `marks` is what was sent before the start.
    pub(super) fn new(
        name: &str,
        admission: Admission,
        marks: Marks,
        way: Way,
        context: &Context,
    ) -> Self {
        let gauge = context.metrics.already_sent_series();
        let owners = (0..context.owners).map(|_| {
            Mutex::new(Owner {
                relabeller: admission.relabeller(context.owners),
                held: VecDeque::new(),
            })
        });
        Self {
            name: name.to_owned(),
            owners: owners.collect(),
            admission: Arc::new(admission),
            already_sent: AlreadySent::new(marks, context.owners, gauge),
            metrics: Arc::clone(&context.metrics),
            way,
            has_stopped: AtomicBool::new(false),
        }
    }

    /// What is counted of the samples here.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How many samples are not done, those that are held as well.
    pub(super) fn waiting(&self) -> u64 {
        let held = self
            .owners
            .iter()
            .map(|owner| lock(owner).held.len() as u64);
        self.metrics.waiting() + held.sum::<u64>()
    }

    /// Whether the destination takes no more, for whatever reason.
    pub(super) fn has_ended(&self) -> bool {
        match &self.way {
            Way::RemoteWrite(queues) => queues.has_ended(),
            Way::File(inbox) => inbox.has_ended(),
        }
    }

    /// The way into the shards, where there are any.
    #[cfg(test)]
    pub(super) fn queues(&self) -> Option<&Arc<remote_write::Queues>> {
        match &self.way {
            Way::RemoteWrite(queues) => Some(queues),
            Way::File(_) => None,
        }
    }

    /// Takes all samples, and holds those that there is no room for.
    ///
    /// # Errors
    /// The destination takes no more.
    pub(super) fn take(
        &self,
        owner: usize,
        samples: impl IntoIterator<Item = Sample>,
    ) -> Result<(), Stopped> {
        let Some(owner_here) = self.owners.get(owner) else {
            return Ok(());
        };
        let marks = self.already_sent.marks();
        let Owner { relabeller, held } = &mut *lock(owner_here);
        let mut admitted = Vec::new();
        for sample in samples {
            let Some(sample) = self.admission.relabel(relabeller, sample) else {
                continue;
            };
            if marks.as_ref().is_some_and(|marks| marks.covers(&sample)) {
                self.metrics.drop_samples(DropReason::AlreadySent, 1);
            } else if self.admission.admits(&sample) {
                admitted.push(sample);
            }
        }
        self.queue(owner, admitted, held)
    }

    /// Queues what is held, as far as there is room now; says whether nothing is held any more.
    ///
    /// # Errors
    /// The destination takes no more.
    pub(super) fn release(&self, owner: usize) -> Result<bool, Stopped> {
        let Some(owner_here) = self.owners.get(owner) else {
            return Ok(true);
        };
        // Until they are where the others wait: a snapshot must find them here or there.
        let Owner { held, .. } = &mut *lock(owner_here);
        let samples = std::mem::take(held).into();
        self.queue(owner, samples, held)?;
        Ok(held.is_empty())
    }

    /// Whether something is held of an owner.
    pub(super) fn holds(&self, owner: usize) -> bool {
        let owner = self.owners.get(owner);
        owner.is_some_and(|owner| !lock(owner).held.is_empty())
    }

    fn queue(
        &self,
        owner: usize,
        samples: Vec<Sample>,
        held: &mut VecDeque<Sample>,
    ) -> Result<(), Stopped> {
        if samples.is_empty() {
            return Ok(());
        }
        let refused = match &self.way {
            Way::RemoteWrite(queues) => queues.offer(owner, samples),
            Way::File(inbox) => inbox.offer(owner, samples),
        };
        // While the owner is locked: a snapshot must not be made without what was held.
        held.extend(
            refused.inspect_err(|Stopped| self.has_stopped.store(true, Ordering::Release))?,
        );
        Ok(())
    }

    /// The owner has handed over all its samples up to `watermark`, and none is held.
    pub(super) fn flushed(&self, owner: usize, watermark: TimestampMs) {
        match &self.way {
            Way::RemoteWrite(queues) => queues.flushed(owner, watermark),
            Way::File(inbox) => inbox.flushed(owner, watermark),
        }
        self.already_sent.flushed(owner, watermark);
    }

    pub(super) fn next_checkpoint(&self) -> u64 {
        match &self.way {
            Way::RemoteWrite(queues) => queues.next_checkpoint(),
            Way::File(_) => 0,
        }
    }

    pub(super) fn begin_checkpoint(&self, number: u64) -> Result<(), WriteError> {
        self.already_sent.begin_checkpoint();
        match &self.way {
            Way::RemoteWrite(queues) => queues.begin_checkpoint(number),
            Way::File(_) => Ok(()),
        }
    }

    pub(super) fn snapshot(&self) -> Result<DestinationSnapshot, Stopped> {
        // First, because what is held moves on to where the others wait: it is found there then.
        let owners = self.owners.iter();
        let held: Vec<_> = owners.flat_map(|owner| lock(owner).held.clone()).collect();
        let (samples, file) = match &self.way {
            Way::RemoteWrite(queues) => (queues.unacknowledged(), None),
            Way::File(inbox) => {
                let (samples, position) = inbox.snapshot()?;
                (samples, Some(position))
            }
        };
        let mut snapshot = DestinationSnapshot {
            name: self.name.clone(),
            samples,
            marks: self.already_sent.at_checkpoint(),
            file,
            admission: Some(Arc::clone(&self.admission)),
        };
        snapshot.append(held);
        match self.has_stopped.load(Ordering::Acquire) {
            true => Err(Stopped),
            false => Ok(snapshot),
        }
    }

    pub(super) fn completed(&self, oldest_acknowledged: &impl Fn() -> TimestampMs) {
        if let Way::RemoteWrite(queues) = &self.way {
            queues.completed(oldest_acknowledged);
        }
    }

    pub(super) fn acknowledged(&self) -> TimestampMs {
        match &self.way {
            Way::RemoteWrite(queues) => queues.acknowledged(),
            Way::File(inbox) => inbox.acknowledged(),
        }
    }

    pub(super) fn queued_bytes(&self) -> usize {
        match &self.way {
            Way::RemoteWrite(queues) => queues.bytes(),
            Way::File(inbox) => inbox.bytes(),
        }
    }
}

fn lock(owner: &Mutex<Owner>) -> MutexGuard<'_, Owner> {
    owner.lock().unwrap_or_else(PoisonError::into_inner)
}
