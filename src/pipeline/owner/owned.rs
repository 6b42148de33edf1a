//! A metric at its owner: partial aggregates of panes become windows, and these samples.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::IntCounter;

use super::forming::{Former, Part, Parts};
use super::keyed::{KeyedState, StoredPane};
use super::living::Living;
use super::pane::Pane;
use super::snapshot::{Forming, Layout, OwnedPart, OwnedSnapshot};
use crate::config::{Metric, Shape};
use crate::enrich::SharedTable;
use crate::model::{
    Corrupt, HoldsSymbols, Interner, LiveSymbols, Renumbering, Sample, TimestampMs,
};
use crate::pipeline::kinds::kinds_of;
use crate::pipeline::metrics::MetricCounters;
use crate::state::StoreError;
use crate::window::aggregate::{AggregateKind, SymbolMap};
use crate::window::{
    Bounds, END_OF_TIME, Ended, Groups, PaneKey, Sessions, SlidingPanes, WindowKind, Windows,
};

/// After so many samples at once the writer has its turn: a gap in the events may be thousands of
/// windows that are formed at one moment.
const MANY_SAMPLES: usize = 100_000;

/// A metric at its owner.
#[derive(Debug)]
pub(in crate::pipeline) struct OwnedMetric {
    windows: Windows,
    kinds: Vec<AggregateKind>,
    key_width: usize,
    /// How many symbols of a key are labels.
    labels: usize,
    /// Whether samples have the times of events.
    is_raw: bool,
    /// Panes that some workers may still have partials for.
    pending: BTreeMap<PaneKey, Pane>,
    /// Where groups go that are too many for memory. Nothing where they stay there.
    keyed: Option<KeyedState>,
    assembly: Assembly,
    former: Former,
    /// The end of the last window that was formed.
    formed: TimestampMs,
    /// Once all series are known to end: the time of the input's last event, as far as it is known.
    last_event: Option<TimestampMs>,
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
        gathered: Option<BTreeMap<TimestampMs, Vec<Arc<Ended>>>>,
    },
}

impl OwnedMetric {
    pub(in crate::pipeline) fn new(
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
            labels: metric.by.len(),
            is_raw: matches!(metric.shape, Shape::Raw { .. }),
            pending: BTreeMap::new(),
            keyed: None,
            assembly,
            formed: TimestampMs::MIN,
            last_event: None,
            samples: counters.samples.clone(),
        }
    }

    /// Groups of panes that are not due go to a store where they are too many for memory. Sliding
    /// windows and sessions are put together of panes in memory, and a window with completeness of all
    /// its groups, so those stay there.
    pub(in crate::pipeline) fn keep_in(&mut self, keyed: &KeyedState) {
        let is_whole = !matches!(self.assembly, Assembly::Tumbling) || self.former.needs_whole();
        self.keyed = (!is_whole).then(|| keyed.clone());
    }

    /// Takes in a worker's groups of a pane.
    pub(in crate::pipeline) fn merge(
        &mut self,
        key: PaneKey,
        groups: Groups,
        symbols: &SymbolMap<'_>,
    ) {
        let pane = self.pending.entry(key).or_default();
        pane.merge(groups, symbols, self.key_width, &self.kinds);
    }

    /// Makes room in memory, where there are more groups than belong there.
    ///
    /// # Errors
    /// The store does not take them.
    pub(in crate::pipeline) fn make_room(
        &mut self,
        interner: &mut Interner,
    ) -> Result<(), StoreError> {
        let Some(keyed) = &self.keyed else {
            return Ok(());
        };
        let mut groups: usize = self.pending.values().map(Pane::len).sum();
        if groups <= keyed.limit() {
            return Ok(());
        }
        // The largest first, and half of all: so there are few blocks, and none of them small.
        let mut panes: Vec<_> = self.pending.iter_mut().collect();
        panes.sort_by_key(|(_, pane)| Reverse(pane.len()));
        for (key, pane) in panes {
            if groups <= keyed.limit() / 2 {
                break;
            }
            groups -= pane.len();
            pane.store(*key, keyed, interner)?;
        }
        Ok(())
    }

    /// Everything that decides later samples, as it is now.
    pub(in crate::pipeline) fn freeze(&mut self) -> OwnedSnapshot {
        let forming = self.forming();
        let stored = self.pending.values().flat_map(Pane::stored).cloned();
        let stored = stored.collect();
        let pending = self.pending.iter_mut();
        let pending = pending.map(|(key, pane)| (*key, pane.freeze()));
        let mut snapshot = OwnedSnapshot {
            forming,
            pending: pending.collect(),
            stored,
            living: self.former.living().map(Living::freeze),
            sliding: Vec::new(),
            sessions: None,
            gathered: Vec::new(),
        };
        match &mut self.assembly {
            Assembly::Tumbling => {}
            Assembly::Sliding(panes) => snapshot.sliding = panes.freeze(),
            Assembly::Session {
                sessions, gathered, ..
            } => {
                snapshot.sessions = Some(sessions.freeze());
                let gathered = gathered.iter().flatten();
                let shared = gathered.map(|(end, ended)| (*end, ended.clone()));
                snapshot.gathered = shared.collect();
            }
        }
        snapshot
    }

    /// What its parts in a checkpoint look like.
    pub(in crate::pipeline) fn layout(&self) -> Layout {
        Layout {
            key_width: self.key_width,
            labels: self.labels,
            kinds: self.kinds.clone(),
            forming: self.forming(),
        }
    }

    fn forming(&self) -> Forming {
        Forming {
            formed: self.formed,
            ..self.former.freeze()
        }
    }

    /// Takes over a part of a checkpoint, whose groups are all this owner's.
    ///
    /// # Errors
    /// It is no part of such a metric, or contradicts another one.
    pub(in crate::pipeline) fn restore(&mut self, part: OwnedPart) -> Result<(), Corrupt> {
        let (width, kinds) = (self.key_width, &self.kinds);
        let wrong = |reason: String| Err(Corrupt { offset: 0, reason });
        match (part, &mut self.assembly) {
            (OwnedPart::Forming(forming), _) => {
                self.formed = self.formed.max(forming.formed);
                return self.former.restore(forming);
            }
            (OwnedPart::Living(memory), _) => return self.former.restore_living(&memory),
            (OwnedPart::Pane(key, groups), _) => {
                let pane = self.pending.entry(key).or_default();
                pane.merge(groups, &SymbolMap::Same, width, kinds);
            }
            (OwnedPart::Sliding(start, groups), Assembly::Sliding(panes)) => {
                let pane = self.windows.pane(start);
                if pane.start != start {
                    return wrong(format!("no pane begins at {start}"));
                }
                panes.restore(start, groups);
            }
            (OwnedPart::Sessions(groups), Assembly::Session { sessions, .. }) => {
                sessions.restore(groups);
            }
            (
                OwnedPart::Gathered(end, ended),
                Assembly::Session {
                    gathered: Some(gathered),
                    ..
                },
            ) => {
                let known = gathered.entry(end).or_default();
                known.extend(ended.into_iter().map(Arc::new));
            }
            (OwnedPart::Sliding(..), _) => {
                return wrong("panes of sliding windows, of which there are none".to_owned());
            }
            (OwnedPart::Sessions(_) | OwnedPart::Gathered(..), _) => {
                return wrong("sessions of a metric that has none such".to_owned());
            }
        }
        Ok(())
    }

    /// That what was restored can be gone on with.
    ///
    /// # Errors
    /// A window that was formed has events still to come in, or sessions are left that were gathered.
    pub(in crate::pipeline) fn check_restored(&self) -> Result<(), Corrupt> {
        let mut ends = Vec::new();
        ends.extend(self.pending.first_key_value().map(|(key, _)| key.due));
        if let Assembly::Session {
            gathered: Some(gathered),
            ..
        } = &self.assembly
        {
            ends.extend(gathered.first_key_value().map(|(end, _)| *end));
        }
        match ends.into_iter().min() {
            Some(end) if end <= self.formed => Err(Corrupt {
                offset: 0,
                reason: format!(
                    "something is left of the window that ends at {end}, and windows were formed up \
                     to {}",
                    self.formed
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Everything up to a watermark is formed, by the run before.
    pub(in crate::pipeline) fn go_on_behind(&mut self, watermark: TimestampMs) {
        let closed = self.windows.closed_until(watermark);
        self.former.go_on_behind(closed);
    }

    /// All series end, behind the last window that is formed: one that `last_event` may belong to.
    pub(in crate::pipeline) fn ends_behind(&mut self, last_event: TimestampMs) {
        self.last_event = self.last_event.max(Some(last_event));
    }

    /// No sample at or before this comes once everything up to the watermark is formed.
    pub(in crate::pipeline) fn complete_until(&self, watermark: TimestampMs) -> TimestampMs {
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
    ///
    /// # Errors
    /// Groups cannot be read from their store.
    pub(in crate::pipeline) fn advance(
        &mut self,
        watermark: TimestampMs,
        reached: TimestampMs,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) -> Result<bool, StoreError> {
        let before = samples.len();
        let mut is_complete = true;
        let until = self.windows.closed_until(watermark);
        if matches!(self.assembly, Assembly::Session { .. }) {
            self.end_sessions(self.windows.panes_until(watermark), interner, samples)?;
        } else {
            let silent_until = match watermark {
                END_OF_TIME => self.windows.closed_until(reached),
                _ => until,
            };
            let ends_until = match watermark {
                END_OF_TIME => silent_until.max(self.last_window()),
                _ => until,
            };
            loop {
                let window = self.next_window(until, silent_until);
                let in_time = |end: &TimestampMs| {
                    *end <= ends_until || window.is_some_and(|window| *end < window)
                };
                let silence = self.former.next_end(&self.windows).filter(in_time);
                match (window, silence) {
                    (Some(end), silence) if silence.is_none_or(|silence| end <= silence) => {
                        let bounds = self.windows.window(end);
                        let parts = self.assemble(bounds, interner)?;
                        self.former.form(bounds, parts, interner, samples)?;
                        self.formed = end;
                    }
                    (_, Some(end)) => self.former.end_silent(end, interner, samples),
                    (_, None) => break,
                }
                if samples.len() >= MANY_SAMPLES {
                    is_complete = false;
                    break;
                }
            }
        }
        self.samples.inc_by((samples.len() - before) as u64);
        Ok(is_complete)
    }

    /// The end of the last window that events belong to, as far as all workers have said which was the
    /// last event.
    fn last_window(&self) -> TimestampMs {
        match self.last_event {
            None | Some(TimestampMs::MIN) => TimestampMs::MIN,
            Some(last_event) => self.windows.last_end(last_event),
        }
    }

    /// Says of all series that they have ended, at the end of the first window that is not formed: none is
    /// formed at or before the watermark `closed`, or that events belong to. Says whether these are all:
    /// after many samples it stops, and is to be called again.
    pub(in crate::pipeline) fn end_series(
        &mut self,
        closed: TimestampMs,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) -> bool {
        let before = samples.len();
        let formed = match closed {
            // The run before this one has formed them all.
            END_OF_TIME => TimestampMs::MIN,
            closed => self.windows.closed_until(closed),
        };
        let formed = formed.max(self.last_window());
        let windows = &self.windows;
        let end_of = |last: TimestampMs| windows.next_end(formed.max(last));
        let count = MANY_SAMPLES.saturating_sub(samples.len());
        let is_complete = self.former.end_all(count, end_of, interner, samples);
        self.samples.inc_by((samples.len() - before) as u64);
        is_complete
    }

    /// How many bytes of panes are in the store.
    pub(in crate::pipeline) fn stored_bytes(&self) -> usize {
        self.pending.values().map(Pane::stored_bytes).sum()
    }

    /// How many groups in memory wait for their windows to be formed, at a watermark.
    pub(in crate::pipeline) fn due_groups(&self, watermark: TimestampMs) -> usize {
        let panes = self.pending.iter();
        let due = panes.take_while(|(key, _)| key.due <= watermark);
        due.map(|(_, pane)| pane.len()).sum()
    }

    /// How many panes there are here, and of how many groups and bytes they are in memory, about.
    pub(in crate::pipeline) fn state(&self) -> (usize, usize, usize) {
        let groups: usize = self.pending.values().map(Pane::len).sum();
        let bytes: usize = self.pending.values().map(Pane::byte_len).sum();
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
    fn assemble(&mut self, window: Bounds, interner: &mut Interner) -> Result<Parts, StoreError> {
        let mut groups = None;
        while let Some((key, _)) = self.pending.first_key_value()
            && key.due <= window.end
        {
            let Some((key, mut pane)) = self.pending.pop_first() else {
                break;
            };
            if let Some(keyed) = &self.keyed
                && !pane.stored().is_empty()
            {
                // A tumbling window is one pane. The rest of it goes to its partitions as well.
                pane.store(key, keyed, interner)?;
                let (blocks, kinds) = (pane.stored().to_vec(), self.kinds.clone());
                let stored = StoredPane::new(blocks, self.key_width, kinds);
                return Ok(Parts::Stored(stored));
            }
            let Some(pane) = pane.into_groups() else {
                continue;
            };
            match &mut self.assembly {
                Assembly::Sliding(panes) => panes.add(key.pane, &pane),
                _ => groups = Some(pane),
            }
        }
        let groups = match &mut self.assembly {
            Assembly::Sliding(panes) => panes.window(window),
            _ => groups.unwrap_or_else(|| Groups::new(self.key_width, &self.kinds)),
        };
        Ok(vec![Part::of_window(groups)].into())
    }

    fn end_sessions(
        &mut self,
        until: TimestampMs,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) -> Result<(), StoreError> {
        if until <= self.formed {
            return Ok(());
        }
        self.formed = until;
        let Assembly::Session {
            sessions,
            gap_ms,
            gathered,
        } = &mut self.assembly
        else {
            return Ok(());
        };
        let mut ended = Vec::new();
        while let Some((key, _)) = self.pending.first_key_value()
            && key.due <= until
            && let Some((_, pane)) = self.pending.pop_first()
        {
            let ending = pane.into_groups().and_then(|pane| sessions.add(&pane));
            ended.extend(ending);
        }
        ended.extend(sessions.end(until));
        let Some(gathered) = gathered else {
            for ended in ended {
                let part = Part::of_sessions(ended, *gap_ms);
                let bounds = self.windows.window(until);
                let parts = vec![part].into();
                self.former.form(bounds, parts, interner, samples)?;
            }
            return Ok(());
        };
        for ended in ended {
            for (end, part) in by_gathering(&ended, *gap_ms, &self.windows) {
                gathered.entry(end).or_default().push(Arc::new(part));
            }
        }
        while let Some(entry) = gathered.first_entry()
            && *entry.key() <= until
        {
            let (end, ended) = entry.remove_entry();
            let parts: Vec<_> = ended
                .into_iter()
                .map(|ended| Part::of_sessions(Arc::unwrap_or_clone(ended), *gap_ms))
                .collect();
            let bounds = self.windows.window(end);
            self.former.form(bounds, parts.into(), interner, samples)?;
        }
        Ok(())
    }
}

impl HoldsSymbols for OwnedMetric {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.pending.mark_live(live);
        self.assembly.mark_live(live);
        self.former.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.pending.renumber(numbers);
        self.assembly.renumber(numbers);
        self.former.renumber(numbers);
    }
}

impl HoldsSymbols for Assembly {
    fn mark_live(&self, live: &mut LiveSymbols) {
        match self {
            Self::Tumbling => {}
            Self::Sliding(panes) => panes.mark_live(live),
            Self::Session {
                sessions, gathered, ..
            } => {
                sessions.mark_live(live);
                gathered.mark_live(live);
            }
        }
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        match self {
            Self::Tumbling => {}
            Self::Sliding(panes) => panes.renumber(numbers),
            Self::Session {
                sessions, gathered, ..
            } => {
                sessions.renumber(numbers);
                gathered.renumber(numbers);
            }
        }
    }
}

/// Some of some sessions.
pub(in crate::pipeline) fn pick_ended(ended: &Ended, slots: &[u32]) -> Ended {
    let span = |slot: &u32| ended.spans.get(*slot as usize).copied();
    Ended {
        groups: ended.groups.pick(slots),
        spans: slots.iter().filter_map(span).collect(),
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
    slots
        .into_iter()
        .map(|(end, slots)| (end, pick_ended(ended, &slots)))
        .collect()
}
