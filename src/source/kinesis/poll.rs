//! Reading a shard by asking for its records.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::client::Trouble;
use super::reader::{End, Reader};

/// The shortest time between two requests for a shard that is read from behind: Kinesis answers five a
/// second, to all who ask.
const BEHIND: Duration = Duration::from_millis(200);

impl Reader {
    /// Asks again and again; ends with the shard, or when the pipeline takes no more.
    pub(super) async fn poll(&mut self) -> End {
        loop {
            if let Err(end) = self.poll_from_place().await {
                return end;
            }
        }
    }

    /// The same until an iterator is needed that begins at the place that was reached.
    async fn poll_from_place(&mut self) -> Result<(), End> {
        let mut iterator = match self.shared.client.iterator(&self.shard, &self.place).await {
            Ok(iterator) => iterator,
            Err(Trouble::Invalid(words)) if self.place.sequence().is_some() => {
                return self.fall_back(words).await;
            }
            Err(trouble) => return self.recover(trouble).await,
        };
        loop {
            let shared = self.shared.clone();
            // Room is looked for with the permit in hand, which is kept until the answer takes it up:
            // otherwise all shards would find the same room.
            let permit = loop {
                self.wait_for_turn().await?;
                // The semaphore is never closed.
                let permit = shared.requests.acquire().await;
                if shared.producer.has_room(Duration::ZERO) {
                    break permit;
                }
            };
            let asked = Instant::now();
            let answer = match shared.client.records(&iterator).await {
                Ok(answer) => answer,
                Err(trouble) => {
                    drop(permit);
                    return self.recover(trouble).await;
                }
            };
            self.look_for_loss(answer.records()).await;
            self.hand_over(answer.records())?;
            drop(permit);
            let behind = answer.millis_behind_latest().unwrap_or_default();
            self.has_read(!answer.records().is_empty(), behind);
            match answer.next_shard_iterator() {
                // Also an empty text: there is nothing that could follow it.
                None | Some("") => return Err(End::OfShard),
                Some(next) => next.clone_into(&mut iterator),
            }
            let pause = match behind {
                0 => self.shared.poll_every,
                _ => BEHIND,
            };
            sleep_until(asked + pause).await;
        }
    }
}
