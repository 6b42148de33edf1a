//! Reading a shard by a subscription: enhanced fan-out.

use std::time::Duration;

use aws_sdk_kinesis::types::SubscribeToShardEventStream as Event;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Trouble, trouble};
use super::metrics::Restart;
use super::reader::{End, Reader};

/// How long a subscription may say nothing at all. Of a quiet shard an event comes every few seconds.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a shard cannot be subscribed to again by the same consumer.
const AGAIN: Duration = Duration::from_secs(5);

/// A subscription that has ended sooner has failed.
const SHORTEST: Duration = Duration::from_secs(5);

/// What has ended a subscription.
enum Over {
    /// There is nothing more in the shard.
    Shard,
    /// It begins anew.
    Subscription(Restart),
    /// The shard takes no more records, and all that came were read: whether those were all is asked.
    Closed,
    /// It was refused.
    Trouble(Trouble),
}

/// How long a subscription is held while the pipeline takes nothing.
const PATIENCE: Duration = Duration::from_secs(5);

impl Reader {
    /// Subscribes again and again; ends with the shard, or when the pipeline takes no more.
    pub(super) async fn follow(&mut self) -> End {
        loop {
            let began = Instant::now();
            let over = match self.subscription().await {
                Ok(over) => over,
                Err(end) => return end,
            };
            match over {
                Over::Shard => return End::OfShard,
                Over::Closed => return self.poll().await,
                Over::Subscription(reason) => {
                    self.shared.metrics.restarted(reason);
                    if reason == Restart::Stalled {
                        tracing::warn!(
                            split = %self.split,
                            silence_s = SILENCE.as_secs(),
                            "a kinesis subscription was silent and begins anew"
                        );
                    }
                    // Whoever closes it at once is not to be asked without end.
                    if began.elapsed() < SHORTEST {
                        sleep(self.backoff.next()).await;
                    }
                }
                Over::Trouble(Trouble::Invalid(words)) if self.place.sequence().is_some() => {
                    // Of the position, or of the consumer: an iterator says which.
                    let iterator = self.shared.client.iterator(&self.shard, &self.place).await;
                    let done = match iterator {
                        Err(Trouble::Invalid(words)) => self.fall_back(words).await,
                        _ => self.recover(Trouble::Invalid(words)).await,
                    };
                    if let Err(end) = done {
                        return end;
                    }
                }
                Over::Trouble(trouble) => {
                    if matches!(trouble, Trouble::InUse(_)) {
                        sleep(AGAIN).await;
                    }
                    if let Err(end) = self.recover(trouble).await {
                        return end;
                    }
                }
            }
        }
    }

    /// One subscription to its end.
    async fn subscription(&mut self) -> Result<Over, End> {
        self.wait_for_turn().await?;
        let shared = self.shared.clone();
        let consumer = shared.consumer_arn.as_deref().unwrap_or_default();
        let subscribed = shared.client.subscribe(consumer, &self.shard, &self.place);
        let mut stream = match subscribed.await {
            Ok(answer) => answer.event_stream,
            Err(trouble) => return Ok(Over::Trouble(trouble)),
        };
        loop {
            // All subscriptions share a connection, which what nobody reads would fill for the others.
            match timeout(PATIENCE, self.wait_for_turn()).await {
                Ok(turn) => turn?,
                Err(_) => return Ok(Over::Subscription(Restart::Paused)),
            }
            let event = match timeout(SILENCE, stream.recv()).await {
                Err(_) => return Ok(Over::Subscription(Restart::Stalled)),
                Ok(Ok(None)) => return Ok(Over::Subscription(Restart::Ended)),
                Ok(Ok(Some(Event::SubscribeToShardEvent(event)))) => event,
                // A kind of event that came after this weir.
                Ok(Ok(Some(_))) => continue,
                Ok(Err(error)) => {
                    shared.metrics.restarted(Restart::Failed);
                    return Ok(Over::Trouble(trouble(&error)));
                }
            };
            self.look_for_loss(event.records()).await;
            self.hand_over(event.records())?;
            let behind = event.millis_behind_latest();
            self.has_read(!event.records().is_empty(), behind);
            if event.continuation_sequence_number().is_empty() || !event.child_shards().is_empty() {
                return Ok(Over::Shard);
            }
            if behind == 0 && event.records().is_empty() && shared.is_closed(&self.shard) {
                return Ok(Over::Closed);
            }
        }
    }
}
