//! Gives the partitions to as many shards as the receiver's delay asks for, from time to time.

mod rate;
pub(in crate::write::remote_write) mod wanted;

use std::sync::Arc;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::metrics::ShardGauges;
use super::partitions::Partitions;
use wanted::{INTERVAL, Seen, WantedShards};

/// Looks at the flow of the partitions, and changes the number of shards after it. It never ends.
pub(super) async fn adapt(
    mut wanted: WantedShards,
    partitions: Arc<Partitions>,
    gauges: ShardGauges,
) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let assignment = partitions.assignment();
        let running = assignment.running();
        let seen = Seen {
            counts: partitions.flow().counts(),
            is_repeating: assignment.is_any_stuck(),
            oldest: partitions.oldest(),
            running,
        };
        let shards = wanted.after(seen, Instant::now());
        gauges.wanted.set(wanted.exact());
        if shards != running {
            partitions.run(shards);
            let wanted = wanted.exact();
            tracing::info!(running, shards, wanted, "the number of shards changes");
        }
        gauges
            .running
            .set(i64::try_from(assignment.running()).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
#[path = "sharding/tests.rs"]
mod tests;
