//! Sessions out of panes.
//!
//! A pane is shorter than the gap, so all events of a key in one pane are of one session, and a
//! session is a run of panes with less than the gap from the last event of one to the first of the
//! next. Panes come in order of time and complete, so a key has one open session at most, and a
//! session has ended once the panes up to a gap behind its last event have come.

use super::aggregate::{AggregateKind, SymbolMap};
use super::bounds::Extent;
use super::groups::Groups;
use super::piece::Piece;
use crate::model::{
    Corrupt, Decoder, Encoder, HoldsSymbols, LiveSymbols, Renumbering, SymbolReader, SymbolWriter,
    TimestampMs,
};

/// The open sessions of a metric. The last two aggregates of the groups are the times of the first
/// and the last event.
#[derive(Debug)]
pub struct Sessions {
    gap_ms: i64,
    open: Piece,
    /// When each open session began and had its last event, by slot.
    spans: Vec<Span>,
}

/// The times of the first and the last event of a session, ms since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first event.
    pub first: TimestampMs,
    /// The last event.
    pub last: TimestampMs,
}

/// Sessions that have ended, no key twice.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Their aggregates.
    pub groups: Groups,
    /// Their times, by slot.
    pub spans: Vec<Span>,
}

impl Span {
    /// Writes columns of both times.
    fn encode_all(spans: &[Self], out: &mut Encoder) {
        out.i64s(spans.iter().map(|span| span.first));
        out.i64s(spans.iter().map(|span| span.last));
    }

    /// Reads what [`encode_all`](Self::encode_all) has written of so many.
    fn decode_all(from: &mut Decoder<'_>, count: usize) -> Result<Vec<Self>, Corrupt> {
        let (first, last) = (from.i64s()?, from.i64s()?);
        if [first.len(), last.len()] != [count; 2] {
            let found = first.len();
            return Err(from.corrupt(format!("{count} sessions have {found} beginnings")));
        }
        let spans: Vec<Self> = first
            .into_iter()
            .zip(last)
            .map(|(first, last)| Self { first, last })
            .collect();
        if spans.iter().any(|span| span.first > span.last) {
            return Err(from.corrupt("a session ends before its beginning"));
        }
        Ok(spans)
    }
}

impl Ended {
    /// Writes the groups and their times.
    pub fn encode(&self, out: &mut Encoder, symbols: &mut SymbolWriter<'_>) {
        self.groups.encode(out, symbols);
        Span::encode_all(&self.spans, out);
    }

    /// Reads what [`encode`](Self::encode) has written; see [`Groups::decode`].
    ///
    /// # Errors
    /// The bytes are of other sessions, or no sessions at all.
    pub fn decode(
        from: &mut Decoder<'_>,
        symbols: &SymbolReader,
        width: usize,
        kinds: &[AggregateKind],
    ) -> Result<Self, Corrupt> {
        let groups = Groups::decode(from, symbols, width, kinds)?;
        let spans = Span::decode_all(from, groups.len())?;
        Ok(Self { groups, spans })
    }
}

impl Sessions {
    /// No sessions yet.
    pub fn new(gap_ms: i64, key_width: usize, kinds: &[AggregateKind]) -> Self {
        Self {
            gap_ms,
            open: Piece::new(Groups::new(key_width, kinds)),
            spans: Vec::new(),
        }
    }

    /// Takes in the next pane. Gives the sessions that ended before its events, of keys that begin
    /// another one here.
    pub fn add(&mut self, groups: &Groups) -> Option<Ended> {
        let spans = spans_of(groups);
        let mut ending = Vec::new();
        for (slot, span) in spans.iter().enumerate() {
            if let Some(open) = self.open.groups.find(groups.key(slot))
                && let Some(known) = self.spans.get(open as usize)
                && span.first.saturating_sub(known.last) >= self.gap_ms
            {
                ending.push(open);
            }
        }
        let ended = self.take(&mut ending);
        self.open.change().merge(groups, &SymbolMap::Same);
        for (slot, span) in spans.into_iter().enumerate() {
            let Some(open) = self.open.groups.find(groups.key(slot)) else {
                continue;
            };
            match self.spans.get_mut(open as usize) {
                Some(known) => {
                    known.first = known.first.min(span.first);
                    known.last = known.last.max(span.last);
                }
                // New keys get their slots in the order of the pane.
                None => self.spans.push(span),
            }
        }
        ended
    }

    /// Gives the sessions that end, by their gap, at or before a time up to which all panes have
    /// come.
    pub fn end(&mut self, until: TimestampMs) -> Option<Ended> {
        let gap_ms = self.gap_ms;
        let ends =
            |span: &Span| until == TimestampMs::MAX || span.last.saturating_add(gap_ms) <= until;
        let mut ending: Vec<u32> = self
            .spans
            .iter()
            .zip(0_u32..)
            .filter(|(span, _)| ends(span))
            .map(|(_, slot)| slot)
            .collect();
        self.take(&mut ending)
    }

    /// Takes sessions out by their slots.
    fn take(&mut self, ending: &mut [u32]) -> Option<Ended> {
        if ending.is_empty() {
            return None;
        }
        ending.sort_unstable();
        let mut staying = Vec::with_capacity(self.spans.len() - ending.len());
        let mut next = ending.iter().copied().peekable();
        for slot in 0..u32::try_from(self.spans.len()).unwrap_or(u32::MAX) {
            if next.next_if_eq(&slot).is_none() {
                staying.push(slot);
            }
        }
        let spans = |slots: &[u32]| -> Vec<Span> {
            let span = |slot: &u32| self.spans.get(*slot as usize).copied();
            slots.iter().filter_map(span).collect()
        };
        let (ended_spans, staying_spans) = (spans(ending), spans(&staying));
        let ended = Ended {
            groups: self.open.groups.pick(ending),
            spans: ended_spans,
        };
        self.open = Piece::new(self.open.groups.pick(&staying));
        self.spans = staying_spans;
        Some(ended)
    }

    /// The open sessions, without copying them: they are copied with the next change, if still held
    /// then.
    pub fn freeze(&self) -> Piece {
        self.open.clone()
    }

    /// Adds what [`freeze`](Self::freeze) gave. Where sessions come in several parts, those of a key
    /// are merged.
    pub fn restore(&mut self, groups: Groups) {
        if self.is_empty() {
            self.open = Piece::new(groups);
        } else {
            self.open.change().merge(&groups, &SymbolMap::Same);
        }
        self.spans = spans_of(&self.open.groups);
    }

    /// How many sessions are open.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether no session is open.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// How many bytes the sessions take, about.
    pub fn byte_len(&self) -> usize {
        self.open.groups.byte_len() + self.spans.capacity() * size_of::<Span>()
    }
}

impl HoldsSymbols for Ended {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.groups.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.groups.renumber(numbers);
    }
}

impl HoldsSymbols for Sessions {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.open.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.open.renumber(numbers);
    }
}

/// The times of the first and the last event of each slot.
fn spans_of(groups: &Groups) -> Vec<Span> {
    let [.., first, last] = groups.aggregates() else {
        return Vec::new();
    };
    // Lowest and highest values need no window.
    let none = Extent::Each(&[]);
    let (first, last) = (first.finish(none), last.finish(none));
    let times = first.numbers().iter().zip(last.numbers());
    times
        .map(|(first, last)| Span {
            first: milliseconds(*first),
            last: milliseconds(*last),
        })
        .collect()
}

/// Event times are whole numbers far below 2^53.
#[expect(clippy::cast_possible_truncation, reason = "it was an i64 before")]
fn milliseconds(time: f64) -> TimestampMs {
    time as TimestampMs
}
