//! Where owners wait for room in a full queue.

use crossbeam_channel::{Receiver, Sender, bounded};

/// A signal for each owner.
#[derive(Debug)]
pub(super) struct Rooms {
    signals: Vec<(Sender<()>, Receiver<()>)>,
}

impl Rooms {
    /// Signals for so many owners.
    pub(super) fn new(owners: usize) -> Self {
        Self {
            signals: (0..owners).map(|_| bounded(1)).collect(),
        }
    }

    /// Filled when an owner that was refused may try again. An owner that there is not waits for
    /// ever.
    pub(super) fn of(&self, owner: usize) -> Receiver<()> {
        match self.signals.get(owner) {
            Some((_, room)) => room.clone(),
            None => crossbeam_channel::never(),
        }
    }

    /// Tells an owner to try again.
    pub(super) fn open(&self, owner: usize) {
        if let Some((signal, _)) = self.signals.get(owner) {
            // A full channel says the same already.
            signal.try_send(()).ok();
        }
    }

    /// Tells all owners to try again.
    pub(super) fn open_all(&self) {
        for (signal, _) in &self.signals {
            signal.try_send(()).ok();
        }
    }
}
