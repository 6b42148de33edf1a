//! A metric at its owner: partial aggregates of panes become windows, and these samples.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::IntCounter;

use super::forming::{Former, Part};
use super::metrics::MetricCounters;
use super::stage::kinds_of;
use crate::config::{Metric, Shape};
use crate::enrich::SharedTable;
use crate::model::{Interner, Sample, TimestampMs};
use crate::window::aggregate::{AggregateKind, SymbolMap};
use crate::window::{
    Bounds, END_OF_TIME, Ended, Groups, PaneKey, Sessions, SlidingPanes, WindowKind, Windows,
};

/// After so many samples at once the writer has its turn: a gap in the events may be thousands of
/// windows that are formed at one moment.
const MANY_SAMPLES: usize = 100_000;

/// A metric at its owner.
#[derive(Debug)]
pub(super) struct OwnedMetric {
    windows: Windows,
    kinds: Vec<AggregateKind>,
    key_width: usize,
    /// Whether samples have the times of events.
    is_raw: bool,
    /// Panes that some workers may still have partials for.
    pending: BTreeMap<PaneKey, Groups>,
    assembly: Assembly,
    former: Former,
    /// The end of the last window that was formed.
    formed: TimestampMs,
    samples: IntCounter,
}

/// How panes become windows.
#[derive(Debug)]
enum Assembly {
    Tumbling,
    Sliding(SlidingPanes),
    Session {
        sessions: Sessions,
        gap_ms: i64,
        /// Where they are gathered: sessions that have ended, by the end of their gathering.
        gathered: Option<BTreeMap<TimestampMs, Vec<Ended>>>,
    },
}

impl OwnedMetric {
    pub(super) fn new(
        metric: &Metric,
        counters: &MetricCounters,
        tables: &[Option<Arc<SharedTable>>],
    ) -> Self {
        let kinds = kinds_of(metric);
        let is_per = matches!(metric.shape, Shape::Per { .. });
        let key_width = metric.by.len() + usize::from(is_per);
        let assembly = match metric.windows.kind() {
            WindowKind::Tumbling => Assembly::Tumbling,
            WindowKind::Sliding { size_ms, .. } => {
                let pane_ms = metric.windows.pane(0).length_ms();
                let kinds = kinds.clone();
                Assembly::Sliding(SlidingPanes::new(key_width, kinds, pane_ms, size_ms))
            }
            WindowKind::Session { gap_ms, every_ms } => Assembly::Session {
                sessions: Sessions::new(gap_ms, key_width, &kinds),
                gap_ms,
                gathered: every_ms.map(|_| BTreeMap::new()),
            },
        };
        Self {
            windows: metric.windows.clone(),
            former: Former::new(metric, counters, tables),
            kinds,
            key_width,
            is_raw: matches!(metric.shape, Shape::Raw { .. }),
            pending: BTreeMap::new(),
            assembly,
            formed: TimestampMs::MIN,
            samples: counters.samples.clone(),
        }
    }

    /// Takes in a worker's groups of a pane.
    pub(super) fn merge(&mut self, key: PaneKey, groups: Groups, symbols: &SymbolMap<'_>) {
        match (self.pending.get_mut(&key), symbols) {
            (Some(known), symbols) => known.merge(&groups, symbols),
            (None, SymbolMap::Same) => drop(self.pending.insert(key, groups)),
            (None, symbols) => {
                let mut translated = Groups::new(self.key_width, &self.kinds);
                translated.merge(&groups, symbols);
                self.pending.insert(key, translated);
            }
        }
    }

    /// No sample at or before this comes once everything up to the watermark is formed.
    pub(super) fn complete_until(&self, watermark: TimestampMs) -> TimestampMs {
        let closed = self.windows.closed_until(watermark);
        match self.assembly {
            _ if watermark == END_OF_TIME => END_OF_TIME,
            // Events of a pane that is still open will be samples of times before the watermark.
            _ if self.is_raw => self.windows.panes_until(watermark),
            Assembly::Session { .. } => self.windows.panes_until(watermark),
            Assembly::Tumbling | Assembly::Sliding(_) => closed,
        }
    }

    /// Forms the samples of the windows that are closed at a watermark, and says whether these are
    /// all: after many samples it stops, and is to be called again. Where the watermark is the end of
    /// time, windows without events are formed up to `reached` only.
    pub(super) fn advance(
        &mut self,
        watermark: TimestampMs,
        reached: TimestampMs,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) -> bool {
        let before = samples.len();
        let mut is_complete = true;
        let until = self.windows.closed_until(watermark);
        if matches!(self.assembly, Assembly::Session { .. }) {
            self.end_sessions(self.windows.panes_until(watermark), interner, samples);
        } else {
            let silent_until = match watermark {
                END_OF_TIME => self.windows.closed_until(reached),
                _ => until,
            };
            while let Some(end) = self.next_window(until, silent_until) {
                let bounds = self.windows.window(end);
                let groups = self.assemble(bounds);
                let part = Part::of_window(groups);
                self.former.form(bounds, vec![part], interner, samples);
                self.formed = end;
                if samples.len() >= MANY_SAMPLES {
                    is_complete = false;
                    break;
                }
            }
        }
        self.samples.inc_by((samples.len() - before) as u64);
        is_complete
    }

    /// How many panes, groups and bytes are kept here, about.
    pub(super) fn state(&self) -> (usize, usize, usize) {
        let groups: usize = self.pending.values().map(Groups::len).sum();
        let bytes: usize = self.pending.values().map(Groups::byte_len).sum();
        let (panes, more_groups, more_bytes) = match &self.assembly {
            Assembly::Tumbling => (0, 0, 0),
            Assembly::Sliding(panes) => (panes.len(), panes.groups(), panes.byte_len()),
            Assembly::Session {
                sessions, gathered, ..
            } => {
                let ended = gathered.iter().flat_map(BTreeMap::values).flatten();
                ended.fold(
                    (0, sessions.len(), sessions.byte_len()),
                    |(panes, groups, bytes), ended| {
                        let (more, taken) = (ended.groups.len(), ended.groups.byte_len());
                        (panes, groups + more, bytes + taken)
                    },
                )
            }
        };
        (
            self.pending.len() + panes,
            groups + more_groups,
            bytes + more_bytes + self.former.byte_len(),
        )
    }

    /// The end of the next window that may have samples: one that has events, by `until`, or one of
    /// silence, between those or by `silent_until`.
    fn next_window(&self, until: TimestampMs, silent_until: TimestampMs) -> Option<TimestampMs> {
        let pending = self.pending.first_key_value().map(|(key, _)| key.due);
        let pending = pending.filter(|end| *end <= until);
        if self.formed == TimestampMs::MIN {
            return pending;
        }
        let following = self.windows.next_end(self.formed);
        let overlaps = matches!(&self.assembly, Assembly::Sliding(panes) if !panes.is_empty());
        let in_time = following <= silent_until || pending.is_some_and(|end| following <= end);
        let goes_on = overlaps && following <= until || self.former.goes_on(self.formed) && in_time;
        match pending {
            Some(pending) if goes_on => Some(pending.min(following)),
            None if goes_on => Some(following),
            pending => pending,
        }
    }

    /// The groups of the window, of all panes that are due by its end.
    fn assemble(&mut self, window: Bounds) -> Groups {
        let mut groups = None;
        while let Some((key, _)) = self.pending.first_key_value()
            && key.due <= window.end
        {
            let Some((key, pane)) = self.pending.pop_first() else {
                break;
            };
            match &mut self.assembly {
                Assembly::Sliding(panes) => panes.add(key.pane, &pane),
                _ => groups = Some(pane),
            }
        }
        match &mut self.assembly {
            Assembly::Sliding(panes) => panes.window(window),
            _ => groups.unwrap_or_else(|| Groups::new(self.key_width, &self.kinds)),
        }
    }

    fn end_sessions(
        &mut self,
        until: TimestampMs,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) {
        if until <= self.formed {
            return;
        }
        self.formed = until;
        let Assembly::Session {
            sessions,
            gap_ms,
            gathered,
        } = &mut self.assembly
        else {
            return;
        };
        let mut ended = Vec::new();
        while let Some((key, _)) = self.pending.first_key_value()
            && key.due <= until
            && let Some((_, pane)) = self.pending.pop_first()
        {
            ended.extend(sessions.add(&pane));
        }
        ended.extend(sessions.end(until));
        let Some(gathered) = gathered else {
            for ended in ended {
                let part = Part::of_sessions(ended, *gap_ms);
                let bounds = self.windows.window(until);
                self.former.form(bounds, vec![part], interner, samples);
            }
            return;
        };
        for ended in ended {
            for (end, part) in by_gathering(&ended, *gap_ms, &self.windows) {
                gathered.entry(end).or_default().push(part);
            }
        }
        while let Some(entry) = gathered.first_entry()
            && *entry.key() <= until
        {
            let (end, ended) = entry.remove_entry();
            let parts: Vec<_> = ended
                .into_iter()
                .map(|ended| Part::of_sessions(ended, *gap_ms))
                .collect();
            self.former
                .form(self.windows.window(end), parts, interner, samples);
        }
    }
}

/// Sessions by the end of the gathering that they end in.
fn by_gathering(ended: &Ended, gap_ms: i64, windows: &Windows) -> Vec<(TimestampMs, Ended)> {
    let mut slots: BTreeMap<TimestampMs, Vec<u32>> = BTreeMap::new();
    for (span, slot) in ended.spans.iter().zip(0_u32..) {
        let end = span.last.saturating_add(gap_ms);
        let gathering = windows.next_end(end.saturating_sub(1));
        slots.entry(gathering).or_default().push(slot);
    }
    let part = |slots: &[u32]| Ended {
        groups: ended.groups.pick(slots),
        spans: slots
            .iter()
            .filter_map(|slot| ended.spans.get(*slot as usize).copied())
            .collect(),
    };
    slots
        .into_iter()
        .map(|(end, slots)| (end, part(&slots)))
        .collect()
}
