//! One metric on one worker: which events it takes, and its open windows.

use std::borrow::Cow;

use prometheus::IntCounter;

use crate::config::{Completeness, Metric, Shape};
use crate::expr::{AggregateExpression, Program};
use crate::model::{
    Batch, Column, HoldsSymbols, Interner, LiveSymbols, Renumbering, Symbol, TimestampMs, Trilean,
};
use crate::pipeline::kinds::{kinds_of, times_of};
use crate::pipeline::metrics::MetricCounters;
use crate::window::aggregate::Origin;
use crate::window::{Argument, Groups, LateRow, PaneKey, Piece, Rows, WindowStore};

/// Where a batch stands in time, ms since the epoch.
#[derive(Debug, Clone, Copy)]
pub(in crate::pipeline) struct BatchProgress {
    /// The earliest and the latest event.
    pub(in crate::pipeline) span: (TimestampMs, TimestampMs),
    /// The watermark of its split behind it.
    pub(in crate::pipeline) last_watermark: TimestampMs,
    /// Windows up to this were written with the split's events by an earlier run.
    pub(in crate::pipeline) written: TimestampMs,
}

/// What became of a batch's rows, where that is to be told.
#[derive(Debug)]
pub(in crate::pipeline) struct Ingested<'a> {
    /// The rows that count here, in their order, but for the late ones; all of them where nothing stands.
    pub(in crate::pipeline) wanted: Option<Vec<u32>>,
    /// Those that were late, where they are to be diverted.
    pub(in crate::pipeline) late: &'a [LateRow],
}

/// One metric on one worker.
#[derive(Debug)]
pub(in crate::pipeline) struct MetricStage {
    filter: Option<Program>,
    /// The columns of the key: the labels, then the key of `per`.
    key_columns: Vec<usize>,
    labels: usize,
    inputs: Vec<AggregateInput>,
    store: WindowStore,
    /// Whether late events are no loss here, but what is told of.
    counts_late_devices: bool,
    late: IntCounter,
    late_after_idle: IntCounter,
    already_written: IntCounter,
    null_key: IntCounter,
}

/// What an aggregate is computed of.
#[derive(Debug)]
enum AggregateInput {
    /// The argument and filter of a call.
    Call {
        argument: Option<Program>,
        filter: Option<Program>,
    },
    /// The events' times.
    Time,
    /// The devices of the events in this column: of those in time, or of those that were late.
    Devices { column: usize, late: bool },
}

impl MetricStage {
    pub(in crate::pipeline) fn new(metric: &Metric, counters: &MetricCounters) -> Self {
        let mut key_columns: Vec<_> = metric.by.iter().map(|(_, column)| *column).collect();
        let mut inputs = match &metric.shape {
            Shape::Aggregate { value } => inputs_of(std::slice::from_ref(value)),
            Shape::Per { key, values, .. } => {
                key_columns.push(*key);
                inputs_of(values)
            }
            Shape::Completeness(Completeness { device, .. }) => [false, true]
                .map(|late| AggregateInput::Devices {
                    column: *device,
                    late,
                })
                .into(),
            Shape::Raw { value } => {
                vec![AggregateInput::Call {
                    argument: Some(value.clone()),
                    filter: None,
                }]
            }
        };
        inputs.extend(times_of(metric).iter().map(|_| AggregateInput::Time));
        let is_per = matches!(metric.shape, Shape::Per { .. });
        let kinds = kinds_of(metric);
        let mut store = WindowStore::new(metric.windows.clone(), kinds, key_columns.len(), is_per);
        let counts_late_devices = matches!(metric.shape, Shape::Completeness(_));
        if counts_late_devices {
            store.keep_late_rows();
        }
        Self {
            filter: metric.filter.clone(),
            store,
            counts_late_devices,
            key_columns,
            labels: metric.by.len(),
            inputs,
            late: counters.late.clone(),
            late_after_idle: counters.late_after_idle.clone(),
            already_written: counters.already_written.clone(),
            null_key: counters.null_key.clone(),
        }
    }

    /// Takes in a batch.
    pub(in crate::pipeline) fn ingest(
        &mut self,
        batch: &Batch,
        progress: &BatchProgress,
        interner: &mut Interner,
    ) -> Ingested<'_> {
        // What a completeness counts, it counts once, however often it comes.
        let nothing = Ingested {
            wanted: Some(Vec::new()),
            late: &[],
        };
        let rows = batch.rows();
        let selected = match &mut self.filter {
            None => None,
            Some(filter) => {
                let passes = filter.evaluate(&batch.columns, rows, interner);
                let selected = true_rows(passes.booleans());
                if selected.is_empty() {
                    return nothing;
                }
                Some(selected)
            }
        };
        let mut columns = Vec::with_capacity(self.inputs.len());
        for input in &mut self.inputs {
            let mut evaluate = |program: &mut Option<Program>| -> Option<Cow<'_, Column>> {
                let program = program.as_mut()?;
                Some(program.evaluate(&batch.columns, rows, interner))
            };
            columns.push(match input {
                AggregateInput::Call { argument, filter } => (evaluate(argument), evaluate(filter)),
                AggregateInput::Time => {
                    let times = batch.times.iter().map(|time| *time as f64);
                    (Some(Cow::Owned(Column::Number(times.collect()))), None)
                }
                AggregateInput::Devices { column, .. } => {
                    (batch.columns.get(*column).map(Cow::Borrowed), None)
                }
            });
        }
        let arguments = |late_rows: bool| -> Vec<Argument<'_>> {
            let columns = columns.iter().zip(&self.inputs);
            columns
                .map(|((argument, filter), input)| Argument {
                    column: argument.as_deref(),
                    filter: match input {
                        // A filter without rows passes none.
                        AggregateInput::Devices { late, .. } if *late != late_rows => Some(&[]),
                        _ => filter.as_deref().map(Column::booleans),
                    },
                })
                .collect()
        };
        let empty = interner.find("");
        let keys: Vec<_> = self
            .key_columns
            .iter()
            .zip(0..)
            .map(|(column, place)| {
                let column = batch
                    .columns
                    .get(*column)
                    .map(Column::symbols)
                    .unwrap_or_default();
                empty
                    .filter(|_| place < self.labels)
                    .map_or(Cow::Borrowed(column), |empty| without_empty(column, empty))
            })
            .collect();
        let keys: Vec<&[Symbol]> = keys.iter().map(Cow::as_ref).collect();
        let rows = Rows {
            times: &batch.times,
            origin: Origin {
                split: batch.split,
                positions: &batch.positions,
            },
            watermarks: &batch.watermarks,
            span: progress.span,
            last_watermark: progress.last_watermark,
            written: progress.written,
            selected: selected.as_deref(),
        };
        let dropped = self.store.ingest(&rows, &keys, &arguments(false));
        if self.counts_late_devices {
            self.store.ingest_late(&rows, &keys, &arguments(true));
            return nothing;
        }
        if dropped != crate::window::Dropped::default() {
            self.late.inc_by(dropped.late);
            self.late_after_idle.inc_by(dropped.late_after_idle);
            self.already_written.inc_by(dropped.already_written);
            self.null_key.inc_by(dropped.null_key);
        }
        Ingested {
            wanted: selected,
            late: self.store.late_rows(),
        }
    }

    /// From now on, [`ingest`](Self::ingest) gives the late rows.
    pub(in crate::pipeline) fn divert_late(&mut self) {
        self.store.keep_late_rows();
    }

    /// Takes out what windows that close at the watermark need.
    pub(in crate::pipeline) fn close(&mut self, watermark: TimestampMs) -> Vec<(PaneKey, Groups)> {
        self.store.close(watermark)
    }

    /// Takes out all panes, where they have more than `limit` groups: memory is not to hold more here,
    /// and the owners can merge what comes of them later.
    pub(in crate::pipeline) fn hand_over_beyond(&mut self, limit: usize) -> Vec<(PaneKey, Groups)> {
        if self.store.open_groups() <= limit {
            return Vec::new();
        }
        self.store.hand_over()
    }

    /// The open panes as they are now, without copying them.
    pub(in crate::pipeline) fn freeze(&mut self) -> Vec<(PaneKey, Vec<Piece>)> {
        self.store.freeze()
    }

    /// Merges what earlier calls of [`freeze`](Self::freeze) have divided, where nobody holds it any
    /// more.
    pub(in crate::pipeline) fn merge_pieces(&mut self) {
        self.store.merge_pieces();
    }

    /// Begins anew behind the watermark up to which an earlier run has handed on its panes; what it had
    /// open is its owners' now.
    pub(in crate::pipeline) fn restore(&mut self, closed: TimestampMs) {
        self.store.restore(closed);
    }

    /// The end of the last window that a batch counts for whose latest event is at `latest` and behind
    /// which the watermark of its split is `watermark`.
    pub(in crate::pipeline) fn last_end(
        &self,
        latest: TimestampMs,
        watermark: TimestampMs,
    ) -> TimestampMs {
        // Late devices are counted when they come.
        let came = match self.counts_late_devices {
            true => latest.max(watermark),
            false => latest,
        };
        self.store.windows().last_end(came)
    }

    /// The open windows.
    pub(in crate::pipeline) fn store(&self) -> &WindowStore {
        &self.store
    }
}

impl HoldsSymbols for MetricStage {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.store.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.store.renumber(numbers);
        self.filter.renumber(numbers);
        for input in &mut self.inputs {
            if let AggregateInput::Call { argument, filter } = input {
                argument.renumber(numbers);
                filter.renumber(numbers);
            }
        }
    }
}

fn inputs_of(values: &[AggregateExpression]) -> Vec<AggregateInput> {
    let calls = values.iter().flat_map(|value| &value.calls);
    calls
        .map(|call| AggregateInput::Call {
            argument: call.input.clone(),
            filter: call.filter.clone(),
        })
        .collect()
}

/// A label column in which the empty text is NULL. Both make the same series, so they must be one
/// group.
fn without_empty(column: &[Symbol], empty: Symbol) -> Cow<'_, [Symbol]> {
    if !column.contains(&empty) {
        return Cow::Borrowed(column);
    }
    let value = |symbol: &Symbol| {
        if *symbol == empty {
            Symbol::NULL
        } else {
            *symbol
        }
    };
    column.iter().map(value).collect()
}

fn true_rows(passes: &[Trilean]) -> Vec<u32> {
    // Appending without a branch: the value is written always and kept only where it counts.
    let mut rows = vec![0_u32; passes.len()];
    let mut count = 0;
    for (passes, row) in passes.iter().zip(0_u32..) {
        if let Some(entry) = rows.get_mut(count) {
            *entry = row;
        }
        count += usize::from(passes.is_true());
    }
    rows.truncate(count);
    rows
}
