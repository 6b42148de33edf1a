//! The exchange: partial aggregates on their way to the owner of their series.
//!
//! Symbols mean something only to one worker's interner, so partials carry the texts of the symbols
//! that they use. A worker's partials for itself need none, and its interner does not change meanwhile.

use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::model::{Interner, Symbol, TimestampMs};
use crate::window::{Groups, PaneKey};

/// Something that a worker says to an owner. What one worker says arrives in order.
#[derive(Debug)]
pub(super) struct Sent {
    /// The worker.
    pub(super) worker: usize,
    /// What it says.
    pub(super) message: Message,
}

/// What workers say to owners.
#[derive(Debug)]
pub(super) enum Message {
    /// Groups of a pane that a window needs now.
    Partials(Box<Partials>),
    /// The worker has sent all windows that end at or before this.
    Flushed {
        /// Up to when, ms since the epoch.
        watermark: TimestampMs,
        /// The furthest watermark of the worker's own splits: where all input has ended, `watermark`
        /// is the end of time, and this is when the last event was.
        reached: TimestampMs,
    },
    /// The input is over for good. Once all windows are formed that are to be, all series have ended.
    SeriesEnd {
        /// The highest event time of the worker's own splits, where all windows are formed, ms since the
        /// epoch.
        last_event: TimestampMs,
    },
    /// What comes before belongs to this checkpoint, what comes after does not.
    Barrier(u64),
    /// The worker sends nothing more.
    Done,
}

/// Some groups of one pane of one metric.
#[derive(Debug)]
pub(super) struct Partials {
    /// The metric's number.
    pub(super) metric: usize,
    /// The pane, and from which window on it counts.
    pub(super) key: PaneKey,
    /// The groups.
    pub(super) groups: Groups,
    /// What the symbols of the groups mean.
    pub(super) meaning: Meaning,
}

/// What the symbols of partials mean.
#[derive(Debug)]
pub(super) enum Meaning {
    /// The same to sender and owner, which are one.
    Own { _under_way: OwnPartials },
    /// These texts.
    Texts(Vec<(Symbol, Box<str>)>),
}

/// A worker's partials that are on their way to itself. Nobody gets at their symbols there, so as long as
/// there are any, no symbol may become another one.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnPartials(Arc<()>);

impl OwnPartials {
    /// Whether there are any.
    pub(super) fn are_under_way(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Partials {
    /// The owner's symbol of each of the sender's symbols, by the sender's.
    pub(super) fn translation(&self, interner: &mut Interner) -> Option<Vec<Symbol>> {
        let Meaning::Texts(texts) = &self.meaning else {
            return None;
        };
        let length = texts
            .iter()
            .map(|(symbol, _)| symbol.index() + 1)
            .max()
            .unwrap_or_default();
        let mut table = vec![Symbol::NULL; length];
        for (symbol, text) in texts {
            if let Some(entry) = table.get_mut(symbol.index()) {
                *entry = interner.intern(text);
            }
        }
        Some(table)
    }
}

/// The texts of all symbols that groups use, each once.
pub(super) fn texts_of(groups: &Groups, interner: &Interner) -> Vec<(Symbol, Box<str>)> {
    let mut seen = vec![0_u64; interner.len().div_ceil(64)];
    let mut texts = Vec::new();
    groups.for_each_symbol(|symbol| {
        let bit = 1_u64 << (symbol.index() % 64);
        if let Some(word) = seen.get_mut(symbol.index() / 64)
            && *word & bit == 0
            && !symbol.is_null()
        {
            *word |= bit;
            texts.push((symbol, interner.text(symbol).into()));
        }
    });
    texts
}

/// A worker's ways to all owners.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    worker: usize,
    owners: Vec<Sender<Sent>>,
}

impl Exchange {
    /// The ways of a worker to the owners, by their numbers.
    pub(super) fn new(worker: usize, owners: Vec<Sender<Sent>>) -> Self {
        Self { worker, owners }
    }

    /// The worker whose ways these are.
    pub(super) fn worker(&self) -> usize {
        self.worker
    }

    /// How many owners there are.
    pub(super) fn owners(&self) -> usize {
        self.owners.len()
    }

    /// Sends to one owner. An owner that has ended early has failed, and the pipeline with it, so
    /// the message is of no use to anybody.
    pub(super) fn send(&self, owner: usize, message: Message) {
        let worker = self.worker;
        if let Some(sender) = self.owners.get(owner)
            && sender.send(Sent { worker, message }).is_err()
        {
            tracing::debug!(owner, "the owner has ended already");
        }
    }

    /// Sends to all owners.
    pub(super) fn broadcast(&self, message: impl Fn() -> Message) {
        for owner in 0..self.owners.len() {
            self.send(owner, message());
        }
    }
}
