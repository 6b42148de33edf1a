//! The state of a metric as the parts of a checkpoint.
//!
//! A part is the texts of its symbols and behind them its version, its kind and its content. Who has
//! written a part does not matter: what workers have of a pane and what its owner has are partial
//! aggregates of the same pane.

use std::sync::Arc;

use super::held_memory::HeldMemory;
use super::keyed::Block;
use super::living_memory::LivingMemory;
use super::placed::Placed;
use crate::model::{
    Corrupt, Decoder, Encoder, Interner, SymbolReader, SymbolWriter, Texts, TimestampMs,
};
use crate::state::StoreError;
use crate::window::aggregate::AggregateKind;
use crate::window::{Ended, Groups, PaneKey, Piece};

/// The version of the format.
const VERSION: u8 = 1;

const FORMING: u8 = 0;
const PANE: u8 = 1;
const SLIDING: u8 = 2;
const SESSIONS: u8 = 3;
const GATHERED: u8 = 4;
const LIVING: u8 = 5;

/// A part of a checkpoint, to be encoded on another thread.
#[derive(Debug)]
pub(in crate::pipeline) struct SnapshotPart {
    /// Its name, which no other part of the metric has.
    pub(in crate::pipeline) part: String,
    /// Parts with equal numbers have equal content, within one process: such a part need not be encoded
    /// again.
    pub(in crate::pipeline) piece: Option<u64>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Forming(Forming),
    Pane(PaneKey, Arc<Groups>),
    Stored(Arc<Block>),
    Sliding(TimestampMs, Arc<Groups>),
    Sessions(Arc<Groups>),
    Gathered(TimestampMs, Vec<Arc<Ended>>),
    Living(Arc<LivingMemory>),
}

/// What decides a metric's next samples beside the events.
#[derive(Debug, Clone, Default)]
pub(in crate::pipeline) struct Forming {
    /// The end of the last window that was formed, ms since the epoch.
    pub(in crate::pipeline) formed: TimestampMs,
    /// What `hold` remembers.
    pub(in crate::pipeline) held: Option<Arc<HeldMemory>>,
    /// Which series have a place.
    pub(in crate::pipeline) placed: Option<Arc<Placed>>,
    /// The end of the last window with events of any device, ms since the epoch.
    pub(in crate::pipeline) last_events: Option<TimestampMs>,
}

/// A metric at its owner, frozen: cheap to make, and shared with what goes on.
#[derive(Debug)]
pub(in crate::pipeline) struct OwnedSnapshot {
    pub(in crate::pipeline) forming: Forming,
    /// Panes that are not due.
    pub(in crate::pipeline) pending: Vec<(PaneKey, Vec<Piece>)>,
    /// What is not in memory of them.
    pub(in crate::pipeline) stored: Vec<Arc<Block>>,
    /// Which series live, where series end.
    pub(in crate::pipeline) living: Option<Arc<LivingMemory>>,
    /// The panes of sliding windows by their beginnings.
    pub(in crate::pipeline) sliding: Vec<(TimestampMs, Piece)>,
    /// Sessions that have not ended.
    pub(in crate::pipeline) sessions: Option<Piece>,
    /// Sessions that have ended, by the end of their gathering.
    pub(in crate::pipeline) gathered: Vec<(TimestampMs, Vec<Arc<Ended>>)>,
}

impl OwnedSnapshot {
    /// The parts that it consists of; `from` says whose it is.
    pub(in crate::pipeline) fn parts(self, from: &str) -> Vec<SnapshotPart> {
        let mut parts = vec![SnapshotPart {
            part: format!("{from}/forming"),
            piece: None,
            content: Content::Forming(self.forming),
        }];
        parts.extend(pane_parts(self.pending, from));
        for block in self.stored {
            parts.push(SnapshotPart {
                part: format!("{from}/blocks/{}", block.id),
                piece: Some(block.id),
                content: Content::Stored(block),
            });
        }
        if let Some(living) = self.living {
            parts.push(SnapshotPart {
                part: format!("{from}/living"),
                piece: None,
                content: Content::Living(living),
            });
        }
        for (start, piece) in self.sliding {
            parts.push(SnapshotPart {
                part: format!("{from}/sliding/{}", piece.id),
                piece: Some(piece.id),
                content: Content::Sliding(start, piece.groups),
            });
        }
        if let Some(piece) = self.sessions {
            parts.push(SnapshotPart {
                part: format!("{from}/sessions"),
                piece: Some(piece.id),
                content: Content::Sessions(piece.groups),
            });
        }
        for (end, ended) in self.gathered {
            parts.push(SnapshotPart {
                part: format!("{from}/gathered/{end}"),
                piece: None,
                content: Content::Gathered(end, ended),
            });
        }
        parts
    }
}

/// The parts of some panes: of those that a worker has open, or an owner pending.
pub(in crate::pipeline) fn pane_parts(
    panes: Vec<(PaneKey, Vec<Piece>)>,
    from: &str,
) -> Vec<SnapshotPart> {
    let pieces = panes
        .into_iter()
        .flat_map(|(key, pieces)| pieces.into_iter().map(move |piece| (key, piece)));
    let part = |(key, piece): (PaneKey, Piece)| SnapshotPart {
        part: format!("{from}/panes/{}", piece.id),
        piece: Some(piece.id),
        content: Content::Pane(key, piece.groups),
    };
    pieces.map(part).collect()
}

impl SnapshotPart {
    /// Its bytes. `texts` are those of the interner whose symbols it has, of then or later.
    ///
    /// # Errors
    /// It is not in memory, and cannot be read.
    pub(in crate::pipeline) fn encode(&self, texts: &Texts) -> Result<Vec<u8>, StoreError> {
        let mut symbols = SymbolWriter::new(texts);
        let mut out = Encoder::new();
        out.u8(VERSION);
        match &self.content {
            Content::Forming(forming) => {
                out.u8(FORMING);
                forming.encode(&mut out, &mut symbols);
            }
            Content::Pane(key, groups) => return Ok(encode_pane(*key, groups, texts)),
            Content::Stored(block) => return block.read(),
            Content::Sliding(start, groups) => {
                out.u8(SLIDING);
                out.i64(*start);
                groups.encode(&mut out, &mut symbols);
            }
            Content::Sessions(groups) => {
                out.u8(SESSIONS);
                groups.encode(&mut out, &mut symbols);
            }
            Content::Gathered(end, ended) => {
                out.u8(GATHERED);
                out.i64(*end);
                out.count(ended.len());
                for ended in ended {
                    ended.encode(&mut out, &mut symbols);
                }
            }
            Content::Living(living) => {
                out.u8(LIVING);
                living.encode(&mut out, &mut symbols);
            }
        }
        Ok(symbols.finish(&out))
    }
}

/// Groups of a pane as a part of a checkpoint.
pub(in crate::pipeline) fn encode_pane(key: PaneKey, groups: &Groups, texts: &Texts) -> Vec<u8> {
    let mut symbols = SymbolWriter::new(texts);
    let mut out = Encoder::new();
    out.u8(VERSION);
    out.u8(PANE);
    key.encode(&mut out);
    groups.encode(&mut out, &mut symbols);
    symbols.finish(&out)
}

/// Reads the groups that [`encode_pane`] has written.
///
/// # Errors
/// The bytes are no such groups.
pub(in crate::pipeline) fn decode_pane(
    bytes: &[u8],
    width: usize,
    kinds: &[AggregateKind],
    interner: &mut Interner,
) -> Result<Groups, Corrupt> {
    let layout = Layout {
        key_width: width,
        labels: 0,
        kinds: kinds.to_vec(),
        forming: Forming::default(),
    };
    match OwnedPart::decode(bytes, &layout, interner)? {
        OwnedPart::Pane(_, groups) => Ok(groups),
        _ => Err(Corrupt {
            offset: 0,
            reason: "it is another part of the state than a pane".to_owned(),
        }),
    }
}

impl Forming {
    fn encode(&self, out: &mut Encoder, symbols: &mut SymbolWriter<'_>) {
        out.i64(self.formed);
        out.option(self.held.as_ref(), |out, held| held.encode(out, symbols));
        out.option(self.placed.as_ref(), |out, placed| {
            placed.encode(out, symbols);
        });
        out.option(self.last_events, Encoder::i64);
    }

    fn decode(
        from: &mut Decoder<'_>,
        symbols: &SymbolReader,
        like: &Self,
    ) -> Result<Self, Corrupt> {
        let formed = from.i64()?;
        let held = match (from.bool()?, &like.held) {
            (true, Some(like)) => Some(Arc::new(HeldMemory::decode(from, symbols, like)?)),
            (false, None) => None,
            (there, _) => return Err(unlike("held values", there, from)),
        };
        let placed = match (from.bool()?, &like.placed) {
            (true, Some(like)) => Some(Arc::new(Placed::decode(from, symbols, like.width())?)),
            (false, None) => None,
            (there, _) => return Err(unlike("a budget of series", there, from)),
        };
        let last_events = from.option(Decoder::i64)?;
        if last_events.is_some() != like.last_events.is_some() {
            return Err(unlike("a fleet", last_events.is_some(), from));
        }
        Ok(Self {
            formed,
            held,
            placed,
            last_events,
        })
    }
}

fn unlike(what: &str, there: bool, from: &Decoder<'_>) -> Corrupt {
    let (saved, now) = if there {
        ("with", "without")
    } else {
        ("without", "with")
    };
    from.corrupt(format!(
        "the state is of a metric {saved} {what}, and this one is {now}"
    ))
}

/// What the parts of a metric's state look like.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct Layout {
    /// How many symbols a key has.
    pub(in crate::pipeline) key_width: usize,
    /// How many of them are labels.
    pub(in crate::pipeline) labels: usize,
    /// The aggregates of each group.
    pub(in crate::pipeline) kinds: Vec<AggregateKind>,
    /// What is kept beside groups.
    pub(in crate::pipeline) forming: Forming,
}

/// A part of a checkpoint that was read.
#[derive(Debug)]
pub(in crate::pipeline) enum OwnedPart {
    /// What decides the next samples beside the events.
    Forming(Forming),
    /// Groups of a pane that is not due.
    Pane(PaneKey, Groups),
    /// A pane of sliding windows that has been due, by its beginning.
    Sliding(TimestampMs, Groups),
    /// Sessions that have not ended.
    Sessions(Groups),
    /// Sessions that have ended, by the end of their gathering.
    Gathered(TimestampMs, Vec<Ended>),
    /// Series that live.
    Living(LivingMemory),
}

/// What the head of a part tells to one who does not know the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) struct PartHead {
    /// The pane or the sessions that the part is of, where it has groups; other parts may be of the
    /// same.
    pub(in crate::pipeline) pane: Option<HeadPane>,
    /// How many groups it has.
    pub(in crate::pipeline) groups: u64,
}

/// A pane, or sessions, which have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::pipeline) enum HeadPane {
    /// One that is not due.
    Due(PaneKey),
    /// A pane of sliding windows that has been due, by its beginning, ms since the epoch.
    Sliding(TimestampMs),
    /// All sessions that have not ended.
    Sessions,
}

impl PartHead {
    /// Reads the head of what [`SnapshotPart::encode`] has written. Sessions that have ended and are
    /// gathered count as no groups.
    ///
    /// # Errors
    /// The bytes end before, or are of another version.
    pub(in crate::pipeline) fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut from = Decoder::new(bytes);
        SymbolReader::skip(&mut from)?;
        let pane = match kind(&mut from)? {
            PANE => HeadPane::Due(PaneKey::decode(&mut from)?),
            SLIDING => HeadPane::Sliding(from.i64()?),
            SESSIONS => HeadPane::Sessions,
            FORMING | GATHERED | LIVING => {
                let (pane, groups) = (None, 0);
                return Ok(Self { pane, groups });
            }
            other => return Err(no_kind(other, &from)),
        };
        Ok(Self {
            pane: Some(pane),
            groups: Groups::decode_len(&mut from)?,
        })
    }
}

/// Reads the version, which must be the known one, and the kind of a part.
fn kind(from: &mut Decoder<'_>) -> Result<u8, Corrupt> {
    let version = from.u8()?;
    if version != VERSION {
        let reason = format!("state of format {version}; this version reads {VERSION}");
        return Err(from.corrupt(reason));
    }
    from.u8()
}

fn no_kind(kind: u8, from: &Decoder<'_>) -> Corrupt {
    from.corrupt(format!("{kind} is no kind of state"))
}

impl OwnedPart {
    /// Reads what [`SnapshotPart::encode`] has written.
    ///
    /// # Errors
    /// The bytes are no such part, one of another version, or one of a metric of another layout.
    pub(in crate::pipeline) fn decode(
        bytes: &[u8],
        layout: &Layout,
        interner: &mut Interner,
    ) -> Result<Self, Corrupt> {
        let mut from = Decoder::new(bytes);
        let symbols = SymbolReader::read(&mut from, interner)?;
        let kind = kind(&mut from)?;
        let (width, kinds) = (layout.key_width, &layout.kinds);
        let groups = |from: &mut Decoder<'_>| Groups::decode(from, &symbols, width, kinds);
        let part = match kind {
            FORMING => Self::Forming(Forming::decode(&mut from, &symbols, &layout.forming)?),
            PANE => Self::Pane(PaneKey::decode(&mut from)?, groups(&mut from)?),
            SLIDING => Self::Sliding(from.i64()?, groups(&mut from)?),
            SESSIONS => Self::Sessions(groups(&mut from)?),
            GATHERED => {
                let end = from.i64()?;
                let count = from.count(1)?;
                let ended = (0..count).map(|_| Ended::decode(&mut from, &symbols, width, kinds));
                Self::Gathered(end, ended.collect::<Result<_, _>>()?)
            }
            LIVING => Self::Living(LivingMemory::decode(&mut from, &symbols, layout.labels)?),
            other => return Err(no_kind(other, &from)),
        };
        from.end()?;
        Ok(part)
    }
}
