use super::*;
use crate::telemetry::Registry;
use crate::write::remote_write::config::BatchConfig;
use crate::write::testing::sample;

fn partition_for(samples: usize) -> Partition {
    let metrics = Arc::new(Metrics::new(&Registry::new("test")));
    let common = Common {
        capacity_bytes: samples * sample_bytes(&up(0)),
        on_throttle_limit: OnThrottleLimit::Wait,
        rooms: Arc::new(Rooms::new(2)),
        gauges: metrics.queue("remote_write"),
        metrics,
        assignment: Assignment::new(2, 1),
        flow: Flow::default(),
    };
    Partition::new(0, Arc::new(common))
}

fn up(timestamp: TimestampMs) -> Sample {
    sample("up", &[], timestamp, 1.0)
}

fn ups(timestamps: impl IntoIterator<Item = TimestampMs>) -> Vec<Sample> {
    timestamps.into_iter().map(up).collect()
}

fn offer(
    partition: &Partition,
    owner: usize,
    timestamps: impl IntoIterator<Item = TimestampMs>,
) -> Result<Vec<Sample>, Stopped> {
    partition.offer(owner, ups(timestamps), Instant::now())
}

fn drain_of(shard: usize, partition: &Partition, samples: usize) -> (Drained, Collected) {
    let limits = BatchConfig {
        samples,
        samples_per_series: 0,
        ..BatchConfig::default()
    };
    let mut collected = Collected::into(Batch::new(limits, Protocol::V1));
    (partition.drain(shard, &mut collected), collected)
}

/// What one request after the other takes, which is done at once.
fn drain(partition: &Partition, samples: usize) -> (Drained, Vec<Mark>) {
    let (drained, collected) = drain_of(0, partition, samples);
    partition.done(0);
    (drained, collected.marks)
}

#[test]
fn keeps_marks_behind_their_samples() {
    let partition = partition_for(10);
    let mark = |owner, watermark| Mark {
        partition: 0,
        owner,
        watermark,
    };
    offer(&partition, 0, [1, 2]).unwrap();
    partition.mark(0, 2);
    offer(&partition, 0, [3]).unwrap();
    partition.mark(0, 3);
    partition.mark(1, 7);
    partition.mark(0, 4);
    assert_eq!(drain(&partition, 1), (Drained::Full, vec![]));
    assert_eq!(drain(&partition, 1), (Drained::Full, vec![mark(0, 2)]));
    assert_eq!(
        drain(&partition, 2),
        (Drained::Empty, vec![mark(0, 4), mark(1, 7)])
    );
    partition.mark(1, 8);
    assert_eq!(drain(&partition, 2), (Drained::Reached(mark(1, 8)), vec![]));
    partition.close();
    assert_eq!(drain(&partition, 2), (Drained::Closed, vec![]));
}

#[test]
fn gives_back_what_has_no_room_and_says_when_there_is_some() {
    let partition = partition_for(2);
    assert_eq!(offer(&partition, 0, 0..2), Ok(vec![]));
    assert_eq!(offer(&partition, 1, 2..5), Ok(ups(2..5)));
    assert_eq!(partition.bytes(), 2 * sample_bytes(&up(0)));
    let rooms = &partition.common.rooms;
    let signals = || [0, 1].map(|owner| rooms.of(owner).try_recv().is_ok());
    assert_eq!(signals(), [false, false]);
    drain(&partition, 1);
    // Only who was refused waits.
    assert_eq!(signals(), [false, true]);
    assert_eq!(offer(&partition, 1, 2..5), Ok(ups(3..5)));
    drain(&partition, 2);
    assert_eq!(signals(), [false, true]);
    drain(&partition, 2);
    assert_eq!(signals(), [false, false]);
    partition.close();
    assert_eq!(offer(&partition, 1, 3..5), Err(Stopped));
    assert_eq!(partition.common.metrics.waiting(), 3);
    let counts = partition.common.flow.counts();
    assert_eq!((counts.taken, counts.refusals), (3, 2));
}

#[test]
fn an_empty_queue_takes_a_sample_that_is_too_large() {
    assert_eq!(offer(&partition_for(0), 0, 0..2), Ok(ups(1..2)));
}

#[test]
fn samples_are_unacknowledged_until_they_are_done() {
    let partition = partition_for(10);
    offer(&partition, 0, 0..5).unwrap();
    drain_of(0, &partition, 2);
    drain_of(0, &partition, 1);
    assert_eq!(partition.unacknowledged(), ups(0..5));
    partition.done(0);
    assert_eq!(partition.unacknowledged(), ups(3..5));
}

#[test]
fn what_is_restored_goes_out_in_requests_of_its_own() {
    let partition = partition_for(1);
    let now = Instant::now();
    partition.restore(0, ups(0..3), now);
    partition.restore(1, ups([]), now);
    partition.restore(2, ups(3..4), now);
    assert_eq!(offer(&partition, 0, 4..5), Ok(ups(4..5)));
    let requests = [(Drained::Behind, 3), (Drained::Empty, 1)];
    for expected in requests {
        let (drained, collected) = drain_of(0, &partition, 100);
        partition.done(0);
        assert_eq!((drained, collected.batch.samples()), expected);
    }
    assert_eq!(offer(&partition, 0, 4..5), Ok(vec![]));
    assert_eq!(drain(&partition, 100), (Drained::Empty, vec![]));
}

#[test]
fn belongs_to_a_shard_until_that_is_done() {
    let partition = partition_for(10);
    offer(&partition, 0, 0..2).unwrap();
    let (_, collected) = drain_of(0, &partition, 100);
    assert_eq!(collected.partitions, [0]);
    offer(&partition, 0, 2..4).unwrap();
    assert_eq!(drain_of(1, &partition, 100).0, Drained::Busy);
    // Somebody else's word does not count.
    partition.done(1);
    assert_eq!(drain_of(1, &partition, 100).0, Drained::Busy);
    partition.done(0);
    // While a checkpoint begins it stays with the shard that it was with.
    partition.common.assignment.hold();
    assert_eq!(drain_of(1, &partition, 100).0, Drained::Busy);
    partition.common.assignment.let_go();
    let (drained, collected) = drain_of(1, &partition, 100);
    assert_eq!((drained, collected.batch.samples()), (Drained::Empty, 2));
    partition.ended(0);
    assert_eq!(drain_of(0, &partition, 100).0, Drained::Busy);
    partition.ended(1);
    assert_eq!(drain_of(0, &partition, 100).0, Drained::Closed);
}

#[test]
fn tells_for_how_long_the_oldest_has_waited() {
    let partition = partition_for(10);
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    assert_eq!(partition.oldest(at(9)), Duration::ZERO);
    partition.offer(0, ups(0..2), at(1)).unwrap();
    partition.offer(0, ups(2..4), at(4)).unwrap();
    assert_eq!(partition.oldest(at(9)), Duration::from_secs(8));
    // Also what is in flight has waited.
    drain_of(0, &partition, 2);
    assert_eq!(partition.oldest(at(9)), Duration::from_secs(8));
    partition.done(0);
    assert_eq!(partition.oldest(at(9)), Duration::from_secs(5));
    drain(&partition, 100);
    assert_eq!(partition.oldest(at(9)), Duration::ZERO);
}

#[test]
fn marks_do_not_pile_up_where_samples_give_way() {
    let partition = partition_for(2);
    for time in 1..=100 {
        let mut state = partition.lock();
        while state.is_over(2 * sample_bytes(&up(0)), sample_bytes(&up(0))) {
            assert_eq!(state.drop_oldest(), 1);
        }
        drop(state);
        assert_eq!(offer(&partition, 0, [time]), Ok(vec![]));
        partition.mark(0, time);
        partition.mark(1, 2 * time);
    }
    // Of each owner one in front of the first sample, and one behind each.
    assert_eq!(partition.lock().items.len(), 2 + 3 * 2);
    let mut found = Vec::new();
    let into = loop {
        match drain_of(0, &partition, 100) {
            (Drained::Reached(mark), _) => found.push((mark.owner, mark.watermark)),
            (_, into) => break into,
        }
    };
    assert_eq!(found, [(0, 98), (1, 196)]);
    let behind: Vec<_> = into.marks.iter().map(|mark| mark.watermark).collect();
    assert_eq!(behind, [99, 198, 100, 200]);
}
