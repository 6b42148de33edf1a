//! What workers and owners have frozen for a checkpoint, on its way to the checkpointer.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never};

use crate::model::{Sample, Texts, TimestampMs};
use crate::pipeline::owner::snapshot::OwnedSnapshot;
use crate::pipeline::worker::clock_state::ClockSnapshot;
use crate::pipeline::worker::decoder_state::DecoderSnapshot;
use crate::pipeline::worker::split_state::SplitState;
use crate::window::{PaneKey, Piece};

/// A checkpoint begins here and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) struct Barrier {
    /// The checkpoint.
    pub(in crate::pipeline) number: u64,
    /// Whether the pipeline stops behind it: no input is taken any more.
    pub(in crate::pipeline) is_last: bool,
}

/// What one worker or owner has frozen.
#[derive(Debug)]
pub(in crate::pipeline) struct Frozen {
    pub(in crate::pipeline) checkpoint: u64,
    /// The number of the worker, which is that of its owner.
    pub(in crate::pipeline) worker: usize,
    pub(in crate::pipeline) state: FrozenState,
    /// How long its thread did nothing else for it.
    pub(in crate::pipeline) took: Duration,
}

/// The state of a worker or of an owner. Nothing of it changes any more.
#[derive(Debug)]
pub(in crate::pipeline) enum FrozenState {
    Worker(WorkerState),
    Owner(OwnerState),
}

/// The state of a worker.
#[derive(Debug)]
pub(in crate::pipeline) struct WorkerState {
    pub(in crate::pipeline) splits: Vec<SplitState>,
    /// The clocks of the devices of each split.
    pub(in crate::pipeline) clocks: Vec<ClockSnapshot>,
    /// What the decoder keeps of each split.
    pub(in crate::pipeline) decoders: Vec<DecoderSnapshot>,
    /// The open panes of each metric.
    pub(in crate::pipeline) panes: Vec<Vec<(PaneKey, Vec<Piece>)>>,
    /// The texts of its symbols.
    pub(in crate::pipeline) texts: Texts,
}

/// The state of an owner.
#[derive(Debug)]
pub(in crate::pipeline) struct OwnerState {
    pub(in crate::pipeline) frozen: FrozenOwner,
    /// Samples that the writer had no room for.
    pub(in crate::pipeline) unsent: Vec<Sample>,
    /// The texts of its symbols.
    pub(in crate::pipeline) texts: Texts,
}

/// What an owner has merged and formed.
#[derive(Debug)]
pub(in crate::pipeline) struct FrozenOwner {
    /// Up to when all workers have sent everything, ms since the epoch.
    pub(in crate::pipeline) flushed: TimestampMs,
    /// The furthest watermark of any split, ms since the epoch.
    pub(in crate::pipeline) reached: TimestampMs,
    /// In the order of the pipeline's metrics.
    pub(in crate::pipeline) metrics: Vec<OwnedSnapshot>,
}

/// A worker's way to and from the checkpointer.
#[derive(Debug)]
pub(in crate::pipeline) struct WorkerPort {
    /// Nothing comes of it where there are no checkpoints.
    barriers: Receiver<Barrier>,
    frozen: Option<Sender<Frozen>>,
}

impl WorkerPort {
    /// A way to a checkpointer.
    pub(in crate::pipeline) fn new(barriers: Receiver<Barrier>, frozen: Sender<Frozen>) -> Self {
        Self {
            barriers,
            frozen: Some(frozen),
        }
    }

    /// Where there are no checkpoints.
    pub(in crate::pipeline) fn closed() -> Self {
        Self {
            barriers: never(),
            frozen: None,
        }
    }

    /// Whether there are checkpoints.
    pub(in crate::pipeline) fn is_open(&self) -> bool {
        self.frozen.is_some()
    }

    /// There are no more checkpoints.
    pub(in crate::pipeline) fn close(&mut self) {
        *self = Self::closed();
    }

    /// Where barriers come from.
    pub(in crate::pipeline) fn barriers(&self) -> &Receiver<Barrier> {
        &self.barriers
    }

    /// Hands over what was frozen. A checkpointer that has ended needs none of it.
    pub(in crate::pipeline) fn froze(
        &self,
        checkpoint: u64,
        worker: usize,
        state: FrozenState,
        took: Duration,
    ) {
        let frozen = Frozen {
            checkpoint,
            worker,
            state,
            took,
        };
        if let Some(sender) = &self.frozen
            && sender.send(frozen).is_err()
        {
            tracing::debug!(checkpoint, worker, "nobody stores checkpoints any more");
        }
    }
}
