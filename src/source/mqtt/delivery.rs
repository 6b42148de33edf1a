//! The thread that hands messages over to the pipeline and says when they may be acknowledged.

use crate::model::{Clock, RecordBatch, Split};

use super::super::handover::Consumer;
use super::super::metrics::{DropReason, SourceMetrics, SplitMetrics};
use super::super::{Context, SourceEvent, SourceOutput, Stopped};
use super::acks::{Ack, Acks};
use super::client::Message;

/// The most that one batch holds. It is whatever came while the one before was handed over, and
/// never waited for: a broker may send only some 20 messages before the first is acknowledged.
const BATCH_RECORDS: usize = 4_096;
const BATCH_BYTES: usize = 256 * 1024;

/// What the connection has for the pipeline, in order.
#[derive(Debug)]
pub(super) enum Handed {
    /// A message of the connection with this number.
    Message(Message, u64),
    /// Another connection is there; whether the broker still had our session.
    Connected { session_kept: bool },
    /// Something else.
    Event(SourceEvent),
}

/// Which messages are taken, and the counters of the others.
#[derive(Debug, Clone)]
pub(super) struct MessageFilter {
    pub(super) max_record_bytes: usize,
    /// Whether those are left out that the broker has kept for who subscribes.
    pub(super) ignores_retained: bool,
    pub(super) metrics: SourceMetrics,
}

impl MessageFilter {
    /// Whether a message is taken; counts it where it is not.
    pub(super) fn takes(&self, message: &Message) -> bool {
        let reason = if message.retained && self.ignores_retained {
            DropReason::Retained
        } else if message.payload.is_empty() {
            DropReason::Tombstone
        } else if message.payload.len() > self.max_record_bytes {
            DropReason::TooLarge
        } else {
            return true;
        };
        self.metrics.dropped(reason).inc();
        false
    }
}

/// Makes batches of messages.
#[derive(Debug)]
pub(super) struct Delivery<'a> {
    split: Split,
    clock: Clock,
    needs_envelope: bool,
    filter: MessageFilter,
    split_metrics: SplitMetrics,
    acks: &'a Acks,
    next_position: u64,
}

impl Drop for Delivery<'_> {
    /// However delivery ends, the connection must not wait for more acknowledgements.
    fn drop(&mut self) {
        self.acks.complete();
    }
}

impl<'a> Delivery<'a> {
    pub(super) fn new(
        split: Split,
        context: &Context,
        filter: MessageFilter,
        acks: &'a Acks,
    ) -> Self {
        Self {
            clock: context.clock.clone(),
            needs_envelope: context.needs_envelope,
            split_metrics: filter.metrics.split(&split.name),
            filter,
            split,
            acks,
            next_position: 0,
        }
    }

    /// Hands over until the connection has ended or the pipeline takes no more.
    pub(super) fn run(mut self, handed: Consumer<Handed>, output: &mut dyn SourceOutput) {
        loop {
            let taken = handed.take(BATCH_RECORDS, BATCH_BYTES);
            if taken.is_empty() || self.hand_over(taken, output).is_err() {
                return;
            }
        }
    }

    fn hand_over(
        &mut self,
        taken: Vec<Handed>,
        output: &mut dyn SourceOutput,
    ) -> Result<(), Stopped> {
        let mut batch = self.new_batch();
        let mut acks = Vec::new();
        for handed in taken {
            match handed {
                Handed::Message(message, connection) => {
                    self.add(&mut batch, &message);
                    if message.packet_id != 0 {
                        acks.push(Ack {
                            packet_id: message.packet_id,
                            connection,
                            position: None,
                        });
                    }
                }
                Handed::Connected { .. } => {}
                Handed::Event(event) => {
                    let full = std::mem::replace(&mut batch, self.new_batch());
                    self.send(full, std::mem::take(&mut acks), output)?;
                    output.send(event)?;
                }
            }
        }
        self.send(batch, acks, output)
    }

    fn new_batch(&self) -> RecordBatch {
        RecordBatch::new(self.split.clone(), self.clock.now_ms())
    }

    fn add(&mut self, batch: &mut RecordBatch, message: &Message) {
        let position = self.next_position;
        self.next_position += 1;
        if !self.filter.takes(message) {
            return;
        }
        if self.needs_envelope {
            batch.push_enveloped(&message.payload, position, &message.topic, &[]);
        } else {
            batch.push(&message.payload, position);
        }
        batch.set_timestamp(batch.received_ms());
    }

    /// Messages are acknowledged once the pipeline has them, dropped ones in turn with the others.
    fn send(
        &self,
        batch: RecordBatch,
        acks: Vec<Ack>,
        output: &mut dyn SourceOutput,
    ) -> Result<(), Stopped> {
        if !batch.is_empty() {
            self.split_metrics.count(&batch);
            output.send(SourceEvent::Records(batch))?;
        }
        if !acks.is_empty() {
            self.acks.add(acks);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::handover::queue;
    use super::super::super::{Alignment, FileProgress, KeptPositions, Resume, SafePositions};
    use super::*;
    use crate::model::{Duration, SplitId};
    use crate::telemetry::Registry;

    /// Writes down what is handed over, and takes so many events.
    struct Log(Vec<String>, usize);

    impl SourceOutput for Log {
        fn send(&mut self, event: SourceEvent) -> Result<(), Stopped> {
            if self.0.len() == self.1 {
                return Err(Stopped);
            }
            self.0.push(match event {
                SourceEvent::Records(batch) => {
                    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                    let records = batch.records().map(|record| {
                        assert_eq!(record.timestamp, Some(42));
                        format!(
                            "{}={}@{}",
                            text(record.topic),
                            text(record.bytes),
                            record.position
                        )
                    });
                    records.collect::<Vec<_>>().join(" ")
                }
                other => format!("{other:?}"),
            });
            Ok(())
        }

        fn end(&mut self) {}
    }

    fn message(payload: &str, packet_id: u16) -> Handed {
        let message = Message {
            topic: b"cars/1".to_vec(),
            payload: payload.as_bytes().to_vec(),
            packet_id,
            ..Message::default()
        };
        Handed::Message(message, 1)
    }

    fn retained(payload: &str, packet_id: u16) -> Handed {
        match message(payload, packet_id) {
            Handed::Message(message, connection) => {
                let retained = true;
                Handed::Message(
                    Message {
                        retained,
                        ..message
                    },
                    connection,
                )
            }
            other => other,
        }
    }

    /// What is handed over of a queue, and which packets are acknowledged, when the pipeline takes
    /// so many events.
    fn deliver(handed: Vec<Handed>, taken: usize) -> (Vec<String>, Vec<u16>) {
        deliver_with(handed, taken, false)
    }

    fn deliver_with(
        handed: Vec<Handed>,
        taken: usize,
        ignores_retained: bool,
    ) -> (Vec<String>, Vec<u16>) {
        let context = Context {
            pipeline: "test".to_owned(),
            idle_after: Duration::from_secs(1),
            commit_every: crate::model::Duration::from_secs(5),
            max_record_bytes: 10,
            needs_envelope: true,
            headers: Default::default(),
            checkpointed: Default::default(),
            clock: Clock::Fixed(42),
            safe: SafePositions::default(),
            resume: Resume::default(),
            kept: KeptPositions::default(),
            tokens: crate::source::PositionTokens::default(),
            log: None,
            alignment: Alignment::default(),
            progress: FileProgress::default(),
        };
        let split = Split {
            id: SplitId(0),
            name: "mqtt broker:1883".into(),
        };
        let filter = MessageFilter {
            max_record_bytes: context.max_record_bytes,
            ignores_retained,
            metrics: SourceMetrics::new(&Registry::new("test")),
        };
        let acks = Acks::default();
        let (producer, consumer) = queue(1_000_000);
        for item in handed {
            producer.push(item, 100).unwrap();
        }
        drop(producer);
        let mut log = Log(Vec::new(), taken);
        Delivery::new(split, &context, filter, &acks).run(consumer, &mut log);
        let mut acknowledged = Vec::new();
        acks.send(1, |ack| {
            acknowledged.push(ack.packet_id);
            true
        });
        assert!(acks.are_done());
        (log.0, acknowledged)
    }

    #[test]
    fn what_has_come_is_one_batch() {
        let handed = vec![message("a", 1), message("b", 0), message("c", 2)];
        let (log, acknowledged) = deliver(handed, usize::MAX);
        assert_eq!(log, ["cars/1=a@0 cars/1=b@1 cars/1=c@2"]);
        assert_eq!(acknowledged, [1, 2]);
    }

    #[test]
    fn order_is_kept_around_other_events() {
        let idle = || Handed::Event(SourceEvent::Idle(SplitId(0)));
        let handed = vec![idle(), message("a", 1), idle(), message("b", 2)];
        let (log, _) = deliver(handed, usize::MAX);
        assert_eq!(
            log,
            [
                "Idle(SplitId(0))",
                "cars/1=a@0",
                "Idle(SplitId(0))",
                "cars/1=b@1"
            ]
        );
    }

    #[test]
    fn dropped_messages_are_acknowledged_in_order() {
        let handed = vec![message("", 1), message("a", 2), message("01234567890", 3)];
        let (log, acknowledged) = deliver(handed, usize::MAX);
        assert_eq!(log, ["cars/1=a@1"]);
        assert_eq!(acknowledged, [1, 2, 3]);
    }

    #[test]
    fn retained_messages_are_taken_or_left_out_and_acknowledged_in_either_case() {
        for (ignores, expected) in [
            (false, "cars/1=a@0 cars/1=b@1 cars/1=c@2"),
            (true, "cars/1=a@0 cars/1=c@2"),
        ] {
            let handed = vec![message("a", 1), retained("b", 2), message("c", 3)];
            let (log, acknowledged) = deliver_with(handed, usize::MAX, ignores);
            assert_eq!(log, [expected]);
            assert_eq!(acknowledged, [1, 2, 3]);
        }
    }

    #[test]
    fn what_the_pipeline_did_not_take_is_not_acknowledged() {
        let idle = Handed::Event(SourceEvent::Idle(SplitId(0)));
        let (log, acknowledged) = deliver(vec![message("a", 1), idle, message("b", 2)], 2);
        assert_eq!(log, ["cars/1=a@0", "Idle(SplitId(0))"]);
        assert_eq!(acknowledged, [1]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let handed = (0..5_000)
            .map(|number| message("a", number % 60_000 + 1))
            .collect();
        let (log, acknowledged) = deliver(handed, usize::MAX);
        assert_eq!(
            log.iter()
                .map(|batch| batch.split(' ').count())
                .sum::<usize>(),
            5_000
        );
        // Each item was pushed with a size of 100 bytes.
        assert_eq!(log[0].split(' ').count(), BATCH_BYTES.div_ceil(100));
        assert_eq!(acknowledged.len(), 5_000);
    }
}
