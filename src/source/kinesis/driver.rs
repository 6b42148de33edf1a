//! The shards of a stream: which there are, who reads them, and what that means for the watermark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::model::{Split, SplitId, TimestampMs};
use crate::telemetry::LogLimit;

use super::super::config::{Instance, KinesisStart, StartTime};
use super::super::idle::IdleTracker;
use super::super::{SourceEvent, StopSignal, Stopped};
use super::backoff::Backoff;
use super::began::Began;
use super::client::{ShardInfo, Trouble};
use super::hash_range::HashRange;
use super::place::Place;
use super::reader::{Reader, Report, Shared};
use super::shards::Shards;

/// How often the stop signal, idle splits and the time for a listing are looked for.
const TICK: Duration = Duration::from_millis(10);

/// How often the same trouble is logged.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// How often a checkpoint is asked for that is to have where the stream is begun with.
const WISH_EVERY: Duration = Duration::from_secs(1);

/// Reads a stream into the queue to the pipeline.
pub(super) struct Driver {
    shared: Arc<Shared>,
    reports: UnboundedReceiver<Report>,
    shards: Shards,
    ranges: BTreeMap<String, HashRange>,
    /// With which sequence numbers the shards begin that were listed.
    starts: BTreeMap<String, String>,
    /// Where shards begin that were there at the first start.
    places: BTreeMap<String, Place>,
    readers: JoinSet<()>,
    idle: IdleTracker,
    start: Start,
    instance: Option<Instance>,
    discover_every: Duration,
    /// The listing that is under way, and whether another one must follow: a shard has ended since it
    /// began.
    listing: Option<JoinHandle<Result<Vec<ShardInfo>, Trouble>>>,
    again: bool,
    next_listing: Instant,
    backoff: Backoff,
    /// Splits that have ended, which hold back the watermark until their children do.
    ended: Vec<SplitId>,
    /// Splits of which nothing can be had for now.
    troubled: BTreeSet<SplitId>,
    /// The generation of the alignment that `ahead` is of.
    aligned: Option<u64>,
    ahead: BTreeSet<SplitId>,
    /// Since when nothing is read before a checkpoint says where the stream is begun with, and when the
    /// next one is asked for.
    held_since: Option<Instant>,
    next_wish: Instant,
    log: LogLimit,
}

/// Where the stream is begun with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    at: Option<TimestampMs>,
    /// Whether shards that are closed already are left out: the beginning is now.
    only_open: bool,
}

impl Start {
    /// What a valid configuration says.
    ///
    /// # Errors
    /// The time is none.
    pub(super) fn new(start: &KinesisStart, now_ms: TimestampMs) -> Result<Self, String> {
        Ok(match start {
            KinesisStart::TrimHorizon => Self {
                at: None,
                only_open: false,
            },
            KinesisStart::Latest => Self {
                at: Some(now_ms),
                only_open: true,
            },
            KinesisStart::Timestamp(StartTime { timestamp: text }) => {
                let time = text.parse::<jiff::Timestamp>();
                let time = time.map_err(|_| format!("start: '{text}' is not a time"))?;
                Self {
                    at: Some(time.as_millisecond()),
                    only_open: false,
                }
            }
        })
    }

    /// Where a shard is begun with that there was at the first start.
    fn place(self, closed: bool) -> Place {
        match self.at {
            Some(_) if self.only_open && closed => Place::End,
            Some(at) => Place::At(at),
            None => Place::TrimHorizon,
        }
    }
}

impl Driver {
    /// A driver with the shards of the state. `make` gets the way to it for readers.
    pub(super) fn new(
        start: Start,
        instance: Option<Instance>,
        discover_every: Duration,
        make: impl FnOnce(tokio::sync::mpsc::UnboundedSender<Report>) -> Shared,
    ) -> Self {
        let (sender, reports) = unbounded_channel();
        let shared = make(sender);
        let idle = IdleTracker::new(shared.context.idle_after.to_std());
        Self {
            shared: Arc::new(shared),
            reports,
            shards: Shards::default(),
            ranges: BTreeMap::new(),
            starts: BTreeMap::new(),
            held_since: None,
            next_wish: Instant::now(),
            places: BTreeMap::new(),
            readers: JoinSet::new(),
            idle,
            start,
            instance,
            discover_every,
            listing: None,
            again: false,
            next_listing: Instant::now(),
            backoff: Backoff::new(0),
            ended: Vec::new(),
            troubled: BTreeSet::new(),
            aligned: None,
            ahead: BTreeSet::new(),
            log: LogLimit::every(LOG_EVERY),
        }
    }

    /// Reads until the signal is set or the pipeline takes no more; `first` is the first listing.
    ///
    /// # Errors
    /// An id of a shard cannot be understood.
    pub(super) async fn run(
        mut self,
        first: Vec<ShardInfo>,
        stop: &StopSignal,
        refused: &AtomicBool,
    ) -> Result<(), String> {
        self.idle.connected(true, Instant::now());
        self.shared.source_metrics.connected.set(1);
        let ended = match self.begin(first) {
            Ok(()) => self.read(stop, refused).await,
            Err(end) => Err(end),
        };
        self.readers.abort_all();
        self.shared.producer.finish();
        self.shared.source_metrics.connected.set(0);
        match ended {
            Ok(()) | Err(Failed::Stopped) => Ok(()),
            Err(Failed::Shard(message)) => Err(message),
        }
    }

    async fn read(&mut self, stop: &StopSignal, refused: &AtomicBool) -> Result<(), Failed> {
        while !stop.is_stopped() && !refused.load(Ordering::Acquire) {
            tokio::select! {
                report = self.reports.recv() => if let Some(report) = report {
                    self.hear(report);
                },
                () = sleep(TICK) => {}
            }
            // What is idle is decided behind everything that was said.
            while let Ok(report) = self.reports.try_recv() {
                self.hear(report);
            }
            while let Some(ended) = self.readers.try_join_next() {
                if ended.is_err_and(|error| error.is_panic()) {
                    return Err(Failed::Shard("a reader of a shard died".to_owned()));
                }
            }
            self.align();
            self.release();
            self.discover().await?;
            self.tell_idle()?;
        }
        Ok(())
    }

    /// Goes on with the shards of the state, and begins with the others.
    fn begin(&mut self, first: Vec<ShardInfo>) -> Result<(), Failed> {
        let shared = self.shared.clone();
        let (context, stream) = (&shared.context, &shared.stream);
        let prefix = format!("{stream}/");
        // Said of the stream as a whole, so that a restart knows also of an instance without shards that
        // it is none of the first.
        let began = context.resume.token(stream).map(|token| &*token.text);
        let is_first = began.is_none();
        let now_ms = context.clock.now_ms();
        let began = Began::go_on(began, self.instance, now_ms).map_err(Failed::Shard)?;
        context.tokens.add(stream, 0, &began.to_string());
        for (name, token) in context.resume.tokens() {
            let Some(shard) = name.strip_prefix(&prefix) else {
                continue;
            };
            let place = token.text.parse::<Place>();
            let place = place.map_err(|error| Failed::Shard(format!("{name}: {error}")))?;
            let info = first.iter().find(|info| info.listed.id == shard);
            if info.is_some_and(|info| info.is_another(&place)) {
                return Err(Failed::Shard(another(stream, shard)));
            }
            self.shards.restore(shard, place == Place::End);
        }
        if is_first {
            for shard in &first {
                if !self.is_ours(shard) {
                    continue;
                }
                let (id, place) = (&shard.listed.id, self.start.place(shard.closed));
                context.tokens.add(&self.name(id), 0, &place.to_string());
                if place == Place::End {
                    self.shards.restore(id, true);
                }
                self.places.insert(id.clone(), place);
            }
        }
        if is_first && self.start.only_open && !context.tokens.is_saved(stream) {
            shared.is_held.store(true, Ordering::Release);
            self.held_since = Some(Instant::now());
        }
        self.take(first, is_first)
    }

    /// Lets readers begin once a checkpoint has where: otherwise a crash would begin at a later time.
    fn release(&mut self) {
        let Some(since) = self.held_since else {
            return;
        };
        let (now, shared) = (Instant::now(), &self.shared);
        if shared.context.tokens.is_saved(&shared.stream) {
            shared.is_held.store(false, Ordering::Release);
            self.held_since = None;
        } else if now >= self.next_wish {
            self.next_wish = now + WISH_EVERY;
            shared.context.checkpointed.ask();
            if now.saturating_duration_since(since) > LOG_EVERY
                && let Some(held_back) = self.log.admit()
            {
                tracing::warn!(
                    stream = shared.stream,
                    held_back,
                    "nothing is read before a checkpoint has the time of the start"
                );
            }
        }
    }

    fn is_ours(&self, shard: &ShardInfo) -> bool {
        let is_of = |instance| shard.range.is_of(instance);
        self.instance.is_none_or(is_of)
    }

    fn name(&self, shard: &str) -> String {
        format!("{}/{shard}", self.shared.stream)
    }

    /// The stream has these shards.
    fn take(&mut self, all: Vec<ShardInfo>, is_first: bool) -> Result<(), Failed> {
        let mut listed = Vec::new();
        for shard in all {
            if self.is_ours(&shard) {
                let id = &shard.listed.id;
                if let Some(start) = shard.start {
                    let known = self.starts.entry(id.clone());
                    if *known.or_insert_with(|| start.clone()) != start {
                        return Err(Failed::Shard(another(&self.shared.stream, id)));
                    }
                }
                self.ranges.insert(shard.listed.id.clone(), shard.range);
                if shard.closed {
                    self.shared.close(&shard.listed.id);
                }
                listed.push(shard.listed);
            }
        }
        let new = self.shards.list(&listed);
        if !is_first && !new.is_empty() {
            tracing::info!(
                stream = self.shared.stream,
                shards = ?new,
                "new kinesis shards, to be read from their beginning"
            );
        }
        for shard in new.iter().filter(|_| !is_first) {
            let place = Place::TrimHorizon.to_string();
            let name = self.name(shard);
            self.shared.context.tokens.add(&name, 0, &place);
        }
        for shard in self.shards.ready() {
            self.assign(&shard)?;
        }
        for shard in self.shards.forget() {
            self.ranges.remove(&shard);
            self.starts.remove(&shard);
            self.shared.forget(&shard);
            self.shared.context.tokens.forget(&self.name(&shard));
        }
        self.shared.metrics.shards(&self.shards);
        Ok(())
    }

    /// Reads a shard from now on.
    fn assign(&mut self, shard: &str) -> Result<(), Failed> {
        let name = self.name(shard);
        let context = &self.shared.context;
        let (place, next) = match context.resume.token(&name) {
            Some(token) => {
                let place = token.text.parse::<Place>();
                let place = place.map_err(|error| Failed::Shard(format!("{name}: {error}")))?;
                (place, token.position)
            }
            // Of the first start, or new.
            None => (self.places.remove(shard).unwrap_or(Place::TrimHorizon), 0),
        };
        let split = Split {
            id: number(shard).map_err(Failed::Shard)?,
            name: name.as_str().into(),
        };
        tracing::debug!(%split, %place, "a kinesis shard is read");
        self.idle.assigned(split.id, Instant::now());
        self.shared
            .producer
            .push(SourceEvent::Assigned(split.clone()), 0)?;
        // Without a range, nothing can be outside of it.
        let everything = HashRange {
            first: 0,
            last: u128::MAX,
        };
        let range = self.ranges.get(shard).copied().unwrap_or(everything);
        let shared = self.shared.clone();
        let reader = Reader::new(shared, (split, shard.to_owned()), range, (place, next));
        self.readers.spawn(reader.run());
        Ok(())
    }

    fn hear(&mut self, report: Report) {
        let now = Instant::now();
        match report {
            Report::Read {
                split,
                records,
                caught_up,
            } => {
                if records {
                    self.idle.active(split.id, now);
                }
                self.idle.caught_up(split.id, caught_up, now);
                if self.troubled.remove(&split.id) && self.troubled.is_empty() {
                    self.shared.source_metrics.connected.set(1);
                    self.shared.source_metrics.reconnects.inc();
                    tracing::info!(stream = self.shared.stream, "kinesis answers again");
                }
            }
            Report::Trouble { split, trouble } => {
                // Its silence means nothing.
                self.idle.caught_up(split.id, false, now);
                self.troubled.insert(split.id);
                self.shared.source_metrics.connected.set(0);
                if let Some(held_back) = self.log.admit() {
                    tracing::warn!(
                        split = %split,
                        reason = trouble.words(),
                        held_back,
                        "kinesis does not give its records; it is asked again"
                    );
                }
            }
            Report::Ended { split, shard } => {
                tracing::info!(%split, "the kinesis shard was read to its end");
                self.idle.revoked(split.id);
                self.troubled.remove(&split.id);
                self.shards.end(&shard);
                self.ended.push(split.id);
                self.shared.metrics.closed_shards.inc();
                // Its children are wanted at once, and a listing that is under way may not have them.
                self.again = true;
                self.next_listing = now;
            }
        }
    }

    /// Asks for the shards when it is time, and takes what was answered.
    async fn discover(&mut self) -> Result<(), Failed> {
        let is_done = self.listing.as_ref().is_some_and(JoinHandle::is_finished);
        if is_done && let Some(listing) = self.listing.take() {
            match listing.await {
                Ok(Ok(shards)) => {
                    self.backoff.reset();
                    self.take(shards, false)?;
                    if !self.again {
                        self.next_listing = Instant::now() + self.discover_every;
                        // Behind the assignment of their children.
                        for split in std::mem::take(&mut self.ended) {
                            self.shared.producer.push(SourceEvent::Finished(split), 0)?;
                        }
                    }
                }
                Ok(Err(trouble)) => {
                    if matches!(trouble, Trouble::Throttled(_)) {
                        self.shared.metrics.throttled.inc();
                    }
                    self.next_listing = Instant::now() + self.backoff.next();
                    if let Some(held_back) = self.log.admit() {
                        let reason = trouble.words();
                        tracing::warn!(reason, held_back, "the kinesis shards cannot be listed");
                    }
                }
                Err(_) => self.next_listing = Instant::now() + self.backoff.next(),
            }
        }
        if self.listing.is_none() && Instant::now() >= self.next_listing {
            self.again = false;
            let client = self.shared.client.clone();
            self.listing = Some(tokio::spawn(async move { client.shards().await }));
        }
        Ok(())
    }

    fn align(&mut self) {
        let alignment = &self.shared.context.alignment;
        let generation = alignment.generation();
        if self.aligned == Some(generation) {
            return;
        }
        self.aligned = Some(generation);
        let ahead = alignment.paused();
        let now = Instant::now();
        for split in ahead.difference(&self.ahead) {
            self.idle.paused(*split, true, now);
        }
        for split in self.ahead.difference(&ahead) {
            self.idle.paused(*split, false, now);
        }
        self.ahead = ahead;
    }

    fn tell_idle(&mut self) -> Result<(), Stopped> {
        let now = Instant::now();
        if !self.shared.producer.has_room(Duration::ZERO) {
            self.idle.blocked(now);
        }
        for split in self.idle.take_woken() {
            self.shared.producer.push(SourceEvent::Active(split), 0)?;
        }
        for split in self.idle.due(now) {
            self.shared.producer.push(SourceEvent::Idle(split), 0)?;
        }
        Ok(())
    }
}

/// Why the driver ends before it is told to.
#[derive(Debug, PartialEq, Eq)]
enum Failed {
    /// The pipeline takes no more.
    Stopped,
    /// A shard cannot be read.
    Shard(String),
}

impl From<Stopped> for Failed {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// What is to be done where a stream has the name of another one.
fn another(stream: &str, shard: &str) -> String {
    format!(
        "shard {shard} is not the one that was read, of which the state has a position before its \
         beginning, or its end: {stream} was deleted and made anew, and is another stream; begin with an \
         empty state (--restore fresh)"
    )
}

/// The number of a shard: they count up in the order in which they were made.
///
/// # Errors
/// The id does not end with one.
fn number(shard: &str) -> Result<SplitId, String> {
    let digits = shard.rsplit('-').next().unwrap_or_default();
    let number = digits.parse().map(SplitId);
    number.map_err(|_| {
        format!("shard {shard} has no number at its end, such as shardId-000000000007")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_has_the_number_of_its_shard() {
        assert_eq!(number("shardId-000000000012"), Ok(SplitId(12)));
        assert!(number("shard-x").is_err());
        assert!(number("shardId-999999999999").is_err());
    }

    #[test]
    fn a_start_says_where_the_first_shards_begin() {
        let timestamp = StartTime {
            timestamp: "1970-01-01T00:00:07Z".to_owned(),
        };
        for (start, open, closed) in [
            (
                KinesisStart::TrimHorizon,
                Place::TrimHorizon,
                Place::TrimHorizon,
            ),
            (KinesisStart::Latest, Place::At(5), Place::End),
            (
                KinesisStart::Timestamp(timestamp),
                Place::At(7_000),
                Place::At(7_000),
            ),
        ] {
            let start = Start::new(&start, 5).unwrap();
            assert_eq!((start.place(false), start.place(true)), (open, closed));
        }
    }
}
