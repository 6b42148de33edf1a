//! What comes in: the records of splits, in their order, through all stages into windows.

use super::Worker;
use super::batch::{Prepared, Undecoded, Undelivered};
use super::pending::Item;
use super::stage::BatchProgress;
use crate::model::{SplitId, TimestampMs};
use crate::pipeline::ending::Ending;
use crate::pipeline::exchange::Message;
use crate::pipeline::inbox::Input;
use crate::source::SourceEvent;
use crate::window::END_OF_TIME;

use std::sync::PoisonError;

impl Worker {
    /// Handles what came, unless it is of a split that runs ahead: that has to wait.
    pub(super) fn receive_input(&mut self, input: Input) {
        let event = match input {
            Input::Source(event) => event,
            Input::End(ending) => {
                self.ending = Some(ending);
                if ending.closes_windows() || !self.checkpoints.is_open() {
                    return self.end();
                }
                // What is in the windows goes into the last checkpoint, which is on its way.
                self.takes_input = false;
                return;
            }
        };
        let split = event.split();
        match event {
            SourceEvent::Revoked(_) => {
                for forgotten in self.parked.forget(split) {
                    self.inbox.taken(&forgotten);
                }
            }
            // It lets go what waits before it.
            SourceEvent::Leaving(_) => {
                self.take(event);
                return self.advance();
            }
            _ => {}
        }
        let runs_ahead = matches!(event, SourceEvent::Records(_))
            && self.watermarks(|watermarks| watermarks.is_paused(split));
        if runs_ahead || self.parked.holds(split) {
            self.parked.push(event);
        } else {
            self.handle(event);
        }
    }

    /// Handles one of the events that have waited for the other splits; says whether there was one.
    pub(in crate::pipeline) fn release(&mut self) -> bool {
        if self.parked.is_empty() || self.pending.is_full() || !self.has_room() {
            return false;
        }
        let watermarks = self.shared.watermarks.clone();
        let released = {
            let watermarks = watermarks.lock().unwrap_or_else(PoisonError::into_inner);
            self.parked.take(|split| !watermarks.is_paused(split))
        };
        let Some(event) = released else {
            return false;
        };
        self.handle(event);
        if self.is_closing() {
            self.end();
        }
        true
    }

    /// There is no more input. Where windows are to close, what waits for other splits or for answers
    /// is processed first, and still in step with the others; what would be read again is left.
    pub(super) fn end(&mut self) {
        let ending = self.ending.unwrap_or(Ending::Interrupted);
        let mut last_event = TimestampMs::MIN;
        if !ending.closes_windows() {
            // It is read again, or not counted.
            self.pending.drop_all();
        } else {
            let owners = self.exchange.owners();
            self.watermarks(|watermarks| {
                watermarks.end(|split| {
                    split.0 as usize % owners.max(1) == self.number
                        && !self.parked.holds(split)
                        && !self.pending.holds(split)
                });
            });
            if !self.parked.is_empty() || !self.pending.is_empty() {
                self.advance();
                return;
            }
            last_event = self.splits.highest().unwrap_or(TimestampMs::MIN);
        }
        self.ending = None;
        // In this order: with its last windows an owner knows whether their series have ended.
        if ending.ends_series() {
            self.exchange
                .broadcast(|| Message::SeriesEnd { last_event });
        }
        if ending.closes_windows() {
            self.flush(END_OF_TIME);
        }
        // Nothing waits any more, so the watermark is not held for this worker.
        self.is_full();
        self.exchange.broadcast(|| Message::Done);
        self.input_ended = true;
    }

    /// Handles an event, or puts it behind what waits of its split for answers.
    fn handle(&mut self, event: SourceEvent) {
        self.inbox.taken(&event);
        let split = event.split();
        if self.pending.holds(split) {
            self.park(split, event);
        } else {
            self.take(event);
        }
        self.advance();
    }

    fn take(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Records(records) => self.take_records(records.into()),
            SourceEvent::Assigned(split) => {
                tracing::debug!(worker = self.number, split = %split, "split assigned");
                self.splits.assign(&split);
                self.preparation.assign(&split, &mut self.interner);
            }
            SourceEvent::Written { split, until } => self.splits.set_written(split, until),
            SourceEvent::Idle(split) => self.watermarks(|watermarks| watermarks.idle(split)),
            SourceEvent::Active(split) => self.watermarks(|watermarks| watermarks.wake(split)),
            SourceEvent::Finished(split) => self.watermarks(|watermarks| watermarks.finish(split)),
            SourceEvent::Leaving(split) => self.watermarks(|watermarks| watermarks.leave(split)),
            SourceEvent::Anew(split) => self.splits.begin_anew(split),
            SourceEvent::Revoked(split) => {
                self.watermarks(|watermarks| watermarks.revoke(split));
                self.splits.revoke(split);
                self.preparation.revoke(split);
                self.shared.safe.remove(split);
            }
        }
    }

    fn take_records(&mut self, records: Undecoded) {
        if !self.preparation.may_begin(&records) {
            return self.park_records(records);
        }
        let (mut prepared, is_ready, rest) = self.prepare(records);
        if is_ready {
            self.process(&mut prepared);
        } else {
            self.park_batch(prepared, is_ready);
        }
        if let Some(rest) = rest {
            self.park_records(rest);
            // Not at once: it may be much, and others wait for barriers and partials. A rest that waits for
            // answers takes no other split its turn.
            if is_ready {
                self.pending.set_goes_on(true);
            }
        }
    }

    /// Puts something behind what waits of its split.
    fn park(&mut self, split: SplitId, event: SourceEvent) {
        let records: Undecoded = match event {
            SourceEvent::Records(records) => records.into(),
            event => return self.pending.push(split, Item::Event(event)),
        };
        if !self.pending.may_begin(split) || !self.preparation.may_begin(&records) {
            return self.pending.push(split, Item::Records(records));
        }
        let (prepared, is_ready, rest) = self.prepare(records);
        self.park_batch(prepared, is_ready);
        if let Some(rest) = rest {
            self.pending.push(split, Item::Records(rest));
        }
    }

    /// Lets a batch wait. Its split holds back the watermark until then, also where it was idle
    /// before: its events must not become late by waiting.
    fn park_batch(&mut self, prepared: Prepared, is_ready: bool) {
        let split = prepared.batch.split;
        self.watermarks(|watermarks| watermarks.wake(split));
        let prepared = Box::new(prepared);
        self.pending.push(split, Item::Batch { prepared, is_ready });
    }

    /// The same of records that are not decoded yet.
    fn park_records(&mut self, records: Undecoded) {
        let split = records.split();
        self.watermarks(|watermarks| watermarks.wake(split));
        self.pending.push(split, Item::Records(records));
    }

    /// Answers have come, or there is a rest: goes on with all that waited, split by split. No more than one batch
    /// of each is decoded.
    pub(super) fn go_on(&mut self) {
        self.pending.set_goes_on(false);
        for split in self.pending.splits() {
            let mut lane = self.pending.take(split);
            let mut has_decoded = false;
            for item in &mut lane {
                // Also behind one that still waits, because it may have more to ask.
                if let Item::Batch { prepared, is_ready } = item
                    && !*is_ready
                {
                    *is_ready = self.preparation.go_on(prepared, &mut self.interner);
                }
            }
            while let Some(item) = lane.pop_front() {
                match item {
                    Item::Batch {
                        mut prepared,
                        is_ready,
                    } if is_ready => self.process(&mut prepared),
                    Item::Records(records)
                        if !has_decoded && self.preparation.may_begin(&records) =>
                    {
                        has_decoded = true;
                        let (prepared, is_ready, rest) = self.prepare(records);
                        let prepared = Box::new(prepared);
                        if let Some(rest) = rest {
                            lane.push_front(Item::Records(rest));
                        }
                        lane.push_front(Item::Batch { prepared, is_ready });
                    }
                    // Records behind it say that the silence is over already.
                    Item::Event(SourceEvent::Idle(_)) if lane.iter().any(Item::is_batch) => {}
                    Item::Event(event) => self.take(event),
                    Item::Batch { .. } | Item::Records(_) => {
                        if has_decoded && matches!(item, Item::Records(_)) {
                            self.pending.set_goes_on(true);
                        }
                        lane.push_front(item);
                        self.watermarks(|watermarks| watermarks.wake(split));
                        break;
                    }
                }
            }
            self.pending.put_back(split, lane);
        }
        self.advance();
        if self.is_closing() {
            self.end();
        }
    }

    /// A batch of records with its columns, whether all of them are there, and the records that are left.
    fn prepare(&mut self, records: Undecoded) -> (Prepared, bool, Option<Undecoded>) {
        let (splits, interner) = (&mut self.splits, &mut self.interner);
        let (mut prepared, rest) = self.preparation.begin(records, splits, interner);
        let is_ready = self.preparation.go_on(&mut prepared, interner);
        (prepared, is_ready, rest)
    }

    fn process(&mut self, prepared: &mut Prepared) {
        let quarantined = self.preparation.settle(prepared);
        if let Some(first) = quarantined.first() {
            tracing::debug!(
                events = quarantined.len(),
                ?first,
                "events of wrong clocks are dropped"
            );
        }
        let batch = &prepared.batch;
        let split = batch.split;
        let (earliest, latest) = (batch.times.iter().min(), batch.times.iter().max());
        let progress = BatchProgress {
            span: earliest
                .zip(latest)
                .map_or((0, 0), |(from, to)| (*from, *to)),
            last_watermark: prepared.watermark,
            written: self.splits.written(split),
        };
        for (metric, stage) in self.stages.iter_mut().enumerate() {
            let ingested = stage.ingest(batch, &progress, &mut self.interner);
            if let Some(mailroom) = &mut self.dead_letters {
                mailroom.note(metric, ingested);
            }
        }
        if let (Some(mailroom), Some(undelivered)) = (&mut self.dead_letters, &prepared.undelivered)
        {
            let now_ms = self.shared.clock.now_ms();
            let Undelivered {
                records,
                rejected,
                processed_before,
            } = undelivered;
            mailroom.reject(records, batch, rejected, *processed_before, now_ms);
            mailroom.quarantine(records, batch, &quarantined, now_ms);
            mailroom.divert(records, batch, self.flushed, now_ms);
            mailroom.send();
        }
        for (stage, gauges) in self.stages.iter().zip(&mut self.state_gauges) {
            gauges.saw(stage.store().open_windows());
        }
        self.make_room();
        let end = latest.copied().and_then(|latest| {
            self.stages
                .iter()
                .map(|stage| stage.last_end(latest, prepared.watermark))
                .max()
        });
        if let Some((first, last)) = prepared.positions {
            let highest = prepared.highest;
            self.splits.processed(split, first, last + 1, end, highest);
        }
        let now_ms = self.shared.clock.now_ms();
        let idle_after_ms = self.shared.idle_after_ms;
        self.watermarks(|watermarks| {
            // Events that may move no watermark must not hold it back for ever, either.
            if prepared.decoded == 0 || prepared.all_doubted {
                watermarks.eventless(split, now_ms, idle_after_ms);
            } else {
                watermarks.events(split, prepared.highest, now_ms);
            }
        });
    }
}
