//! The samples of one request.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::model::{Sample, SampleValue, Series, TimestampMs};

use super::checks::{Refused, Violation};
use super::config::BatchConfig;
use super::last_sent::LastSent;
use super::limits::ReceiverLimits;
use super::protocol::Protocol;
use super::request_size::Size;

/// Samples by series in the order of their arrival, up to the limits of a request.
#[derive(Debug)]
pub(super) struct Batch {
    limits: BatchConfig,
    /// What it may have of them now.
    limit: Size,
    /// The protocol whose requests may be the larger ones, of those that it may be written in.
    largest: Protocol,
    /// What all of its samples are.
    origin: Option<Origin>,
    /// Whether something had no room.
    is_full: bool,
    groups: Vec<Group>,
    /// Indices into `groups` by series.
    index: HashTable<usize>,
    samples: usize,
    /// An upper bound for the encoded request.
    bytes: usize,
}

/// What samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// News.
    Formed,
    /// Of an earlier run. The receiver may have this request, so it goes out as it was: only with samples of
    /// the same number, and whatever the limit is at the moment.
    Restored(u64),
}

/// Whether a batch takes a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room for it.
    Free,
    /// It goes into another request, which others need not.
    Later,
    /// The request has what it may have.
    Full,
}

/// The samples of one series in a request.
#[derive(Debug, Clone)]
pub struct Group {
    /// The series.
    pub series: Arc<Series>,
    /// Its samples: when (ms since the epoch), and what. In a request they are sorted by time.
    pub points: Vec<(TimestampMs, SampleValue)>,
}

/// A batch as it goes out, and what had to be left out of it.
#[derive(Debug)]
pub(super) struct Sealed {
    /// How many samples are in the request.
    pub(super) samples: usize,
    /// Its extent, with what was left out: an upper bound.
    pub(super) size: Size,
    /// The limit that it was made under, where it is as large as that allows.
    pub(super) full: Option<Size>,
    /// The latest timestamp in the request, ms since the epoch.
    pub(super) highest: TimestampMs,
    /// How many samples gave way to a later one of the same series and time.
    pub(super) duplicates: usize,
    /// How many samples are not newer than what was sent before.
    pub(super) out_of_order: usize,
    /// What the request is made of: each series once, its samples with strictly increasing timestamps.
    pub(super) groups: Vec<Group>,
}

impl Batch {
    /// An empty batch, for requests that are no larger than those of `largest`.
    pub(super) fn new(limits: BatchConfig, largest: Protocol) -> Self {
        Self {
            limits,
            limit: Size {
                samples: limits.samples,
                bytes: limits.bytes,
            },
            largest,
            origin: None,
            is_full: false,
            groups: Vec::new(),
            index: HashTable::new(),
            samples: 0,
            bytes: largest.frame_bytes(),
        }
    }

    /// The same with no more than `limit`, unless it is of an earlier run.
    pub(super) fn within(self, limit: Size) -> Self {
        Self { limit, ..self }
    }

    /// Whether there are no samples.
    pub(super) fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// How many samples there are.
    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    /// Whether the limits leave room for a sample. The first one always fits: it must go out,
    /// however large it is.
    pub(super) fn room_for(&mut self, sample: &Sample, origin: Origin) -> Room {
        if self.is_empty() {
            return Room::Free;
        }
        if self.origin != Some(origin) {
            return Room::Later;
        }
        let known = self.find(&sample.series);
        let series = match known.and_then(|group| self.groups.get(group)) {
            Some(group) if !self.takes_one_more(group, sample) => return Room::Later,
            Some(_) => 0,
            None => self.largest.series_bytes(&sample.series),
        };
        let point = self.largest.point_bytes(sample.timestamp_ms, &sample.value);
        let bytes = self.bytes + series + point;
        self.is_full = self.samples >= self.limit.samples || bytes > self.limit.bytes;
        match self.is_full {
            true => Room::Full,
            false => Room::Free,
        }
    }

    /// Whether a series may have one more sample. One of equal time replaces the other. A series has
    /// numbers or histograms in a request: 2.0 takes no other.
    fn takes_one_more(&self, group: &Group, sample: &Sample) -> bool {
        let kind = std::mem::discriminant(&sample.value);
        let last = group.points.last();
        if last.is_some_and(|(_, value)| std::mem::discriminant(value) != kind) {
            return false;
        }
        let timestamp = sample.timestamp_ms;
        let limit = self.limits.samples_per_series;
        limit == 0
            || group.points.len() < limit
            || group.points.iter().any(|(known, _)| *known == timestamp)
    }

    /// Whether it has what it may have.
    pub(super) fn is_full(&self) -> bool {
        self.is_full || self.samples >= self.limit.samples
    }

    /// Whether it is of an earlier run.
    pub(super) fn is_restored(&self) -> bool {
        matches!(self.origin, Some(Origin::Restored(_)))
    }

    /// Adds a sample.
    pub(super) fn push(&mut self, sample: Sample, origin: Origin) {
        if self.is_empty() && matches!(origin, Origin::Restored(_)) {
            let BatchConfig { samples, bytes, .. } = self.limits;
            self.limit = Size { samples, bytes };
        }
        self.origin = Some(origin);
        self.samples += 1;
        self.bytes += self.largest.point_bytes(sample.timestamp_ms, &sample.value);
        let point = (sample.timestamp_ms, sample.value);
        let known = self.find(&sample.series);
        if let Some(group) = known.and_then(|group| self.groups.get_mut(group)) {
            group.points.push(point);
            return;
        }
        self.bytes += self.largest.series_bytes(&sample.series);
        let hash = sample.series.hash();
        self.groups.push(Group {
            series: sample.series,
            points: vec![point],
        });
        let groups = &self.groups;
        self.index
            .insert_unique(hash, groups.len() - 1, |group| hash_of(groups, *group));
    }

    fn find(&self, series: &Arc<Series>) -> Option<usize> {
        let is_it = |group: &usize| {
            self.groups
                .get(*group)
                .is_some_and(|group| group.series == *series)
        };
        self.index.find(series.hash(), is_it).copied()
    }

    /// Takes out what the receiver would refuse at `now_ms` (ms since the epoch), in the order of the
    /// series. To be asked before anything of it is noted as sent: a sample that is far ahead must not
    /// make those behind it late.
    pub(super) fn refuse(
        &mut self,
        limits: &ReceiverLimits,
        last_sent: &LastSent,
        now_ms: TimestampMs,
    ) -> Vec<Refused> {
        let mut refused = Vec::new();
        for Group { series, points } in &mut self.groups {
            // A series of which something was sent has been looked at then.
            let of_series = match last_sent.get(series) {
                Some(_) => None,
                None => limits.refuse_series(series),
            };
            refuse_points(series, points, &mut refused, |timestamp| {
                let of_series = of_series.clone();
                of_series.or_else(|| limits.refuse_time(timestamp, now_ms))
            });
        }
        self.samples = self.samples.saturating_sub(refused.len());
        refused
    }

    /// Puts the samples into order and notes them as sent.
    pub(super) fn seal(self, last_sent: &LastSent) -> Sealed {
        let is_full = self.is_full();
        let mut sealed = Sealed {
            samples: 0,
            size: Size {
                samples: self.samples,
                bytes: self.bytes,
            },
            full: is_full.then_some(self.limit),
            highest: TimestampMs::MIN,
            duplicates: 0,
            out_of_order: 0,
            groups: Vec::with_capacity(self.groups.len()),
        };
        for Group { series, mut points } in self.groups {
            let handed_over = points.len();
            // The sort is stable: of equal timestamps the last one handed over stays the last.
            points.sort_by_key(|(timestamp, _)| *timestamp);
            keep_last_of_equal_times(&mut points);
            sealed.duplicates += handed_over - points.len();

            let last = last_sent.get(&series);
            let unique = points.len();
            points.retain(|(timestamp, _)| last.is_none_or(|last| *timestamp > last));
            sealed.out_of_order += unique - points.len();

            let Some((newest, _)) = points.last() else {
                continue;
            };
            last_sent.set(&series, *newest);
            sealed.highest = sealed.highest.max(*newest);
            sealed.samples += points.len();
            sealed.groups.push(Group { series, points });
        }
        sealed
    }
}

/// Takes out of a request what has become too old for the receiver.
pub(super) fn refuse_outdated(
    groups: &mut Vec<Group>,
    limits: &ReceiverLimits,
    now_ms: TimestampMs,
) -> Vec<Refused> {
    let mut refused = Vec::new();
    for Group { series, points } in &mut *groups {
        refuse_points(series, points, &mut refused, |timestamp| {
            limits.refuse_age(timestamp, now_ms)
        });
    }
    groups.retain(|group| !group.points.is_empty());
    refused
}

/// Moves the samples of a series to `refused` that must not be sent.
fn refuse_points(
    series: &Arc<Series>,
    points: &mut Vec<(TimestampMs, SampleValue)>,
    refused: &mut Vec<Refused>,
    violation: impl Fn(TimestampMs) -> Option<Violation>,
) {
    points.retain(|(timestamp_ms, value)| {
        let Some(violation) = violation(*timestamp_ms) else {
            return true;
        };
        let sample = Sample {
            series: Arc::clone(series),
            timestamp_ms: *timestamp_ms,
            value: value.clone(),
        };
        refused.push(Refused { sample, violation });
        false
    });
}

/// Some of the samples of groups, by their places in all of them.
pub(super) fn cut(groups: &[Group], samples: Range<usize>) -> Vec<Group> {
    let mut cut = Vec::new();
    let mut start = 0;
    for Group { series, points } in groups {
        let end = start + points.len();
        let from = samples.start.clamp(start, end) - start;
        let to = samples.end.clamp(start, end) - start;
        if let Some(points) = points.get(from..to).filter(|points| !points.is_empty()) {
            cut.push(Group {
                series: Arc::clone(series),
                points: points.to_vec(),
            });
        }
        start = end;
    }
    cut
}

/// The samples of groups, in their order.
pub(super) fn points_of(groups: &[Group]) -> impl Iterator<Item = Sample> {
    groups.iter().flat_map(|Group { series, points }| {
        points.iter().map(|(timestamp_ms, value)| Sample {
            series: Arc::clone(series),
            timestamp_ms: *timestamp_ms,
            value: value.clone(),
        })
    })
}

fn hash_of(groups: &[Group], group: usize) -> u64 {
    groups.get(group).map_or(0, |group| group.series.hash())
}

/// `dedup_by_key` would keep the first of equal ones.
fn keep_last_of_equal_times(points: &mut Vec<(TimestampMs, SampleValue)>) {
    points.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            std::mem::swap(&mut kept.1, &mut later.1);
        }
        same
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Duration, NativeHistogram};
    use crate::write::remote_write::protocol::encode::RequestEncoder;
    use crate::write::testing::{histogram, sample};

    fn limits(samples: usize, bytes: usize) -> BatchConfig {
        BatchConfig {
            samples,
            bytes,
            deadline: Duration::from_secs(1),
            samples_per_series: 0,
        }
    }

    fn has_room(batch: &mut Batch, sample: &Sample) -> bool {
        batch.room_for(sample, Origin::Formed) == Room::Free
    }

    fn batch_of(samples: &[Sample]) -> Batch {
        let mut batch = Batch::new(BatchConfig::default(), Protocol::V1);
        for sample in samples {
            batch.push(sample.clone(), Origin::Formed);
        }
        batch
    }

    fn plain_bytes(batch: Batch) -> usize {
        let protocol = batch.largest;
        let sealed = batch.seal(&LastSent::new(1));
        let mut encoder = RequestEncoder::new(Arc::default());
        encoder.plain(&sealed.groups, protocol).len()
    }

    fn points(sealed: &Sealed) -> Vec<Vec<(TimestampMs, f64)>> {
        let number = |point: &(TimestampMs, SampleValue)| Some((point.0, point.1.number()?));
        let groups = sealed.groups.iter();
        groups
            .map(|one| one.points.iter().filter_map(number).collect())
            .collect()
    }

    #[test]
    fn groups_by_series_and_sorts_by_time() {
        let sealed = batch_of(&[
            sample("a", &[], 20, 2.0),
            sample("b", &[], 15, 9.0),
            sample("a", &[], 10, 1.0),
        ])
        .seal(&LastSent::new(1));
        assert_eq!(
            points(&sealed),
            [vec![(10, 1.0), (20, 2.0)], vec![(15, 9.0)]]
        );
        assert_eq!((sealed.samples, sealed.highest), (3, 20));
        assert_eq!((sealed.duplicates, sealed.out_of_order), (0, 0));
    }

    #[test]
    fn keeps_the_last_one_handed_over_of_equal_times() {
        let sealed = batch_of(&[
            sample("a", &[], 10, 3.0),
            sample("a", &[], 20, 5.0),
            sample("a", &[], 10, 1.0),
            sample("a", &[], 10, 2.0),
        ])
        .seal(&LastSent::new(1));
        assert_eq!(points(&sealed), [[(10, 2.0), (20, 5.0)]]);
        assert_eq!((sealed.samples, sealed.duplicates), (2, 2));
    }

    #[test]
    fn leaves_out_what_is_not_newer_than_the_batch_before() {
        let last_sent = LastSent::new(1);
        batch_of(&[sample("a", &[], 10, 1.0)]).seal(&last_sent);
        let second = batch_of(&[
            sample("a", &[], 9, 1.0),
            sample("a", &[], 10, 1.0),
            sample("a", &[], 11, 1.0),
            sample("b", &[], 9, 1.0),
        ])
        .seal(&last_sent);
        assert_eq!(points(&second), [[(11, 1.0)], [(9, 1.0)]]);
        assert_eq!(second.out_of_order, 2);

        let third = batch_of(&[sample("a", &[], 11, 1.0)]).seal(&last_sent);
        assert!(third.groups.is_empty());
        assert_eq!((third.samples, third.out_of_order), (0, 1));
    }

    #[test]
    fn histograms_go_by_the_same_rules_as_numbers() {
        let last_sent = LastSent::new(1);
        let second = NativeHistogram {
            sum: -1.0,
            ..histogram()
        };
        let sealed = batch_of(&[
            sample("a", &[], 20, 2.0),
            sample("a", &[], 10, histogram()),
            sample("a", &[], 20, second.clone()),
            sample("a", &[], 30, 3.0),
        ])
        .seal(&last_sent);
        assert_eq!(points(&sealed), [[(30, 3.0)]]);
        assert_eq!(
            sealed.groups[0].points[..2],
            [(10, histogram().into()), (20, second.into())]
        );
        assert_eq!((sealed.samples, sealed.duplicates), (3, 1));

        let again = batch_of(&[sample("a", &[], 30, histogram())]).seal(&last_sent);
        assert_eq!((again.samples, again.out_of_order), (0, 1));
    }

    #[test]
    fn is_full_at_its_number_of_samples() {
        let mut batch = Batch::new(limits(2, 1 << 20), Protocol::V1);
        batch.push(sample("a", &[], 1, 1.0), Origin::Formed);
        assert!(!batch.is_full() && has_room(&mut batch, &sample("a", &[], 2, 1.0)));
        batch.push(sample("a", &[], 2, 1.0), Origin::Formed);
        assert!(batch.is_full() && !has_room(&mut batch, &sample("a", &[], 3, 1.0)));
    }

    #[test]
    fn says_whether_it_is_as_large_as_it_may_be() {
        let limit = |samples, bytes| Size { samples, bytes };
        let of = |samples: i64, limit| {
            let mut batch = Batch::new(limits(10, 1 << 20), Protocol::V1).within(limit);
            for time in 0..samples {
                let next = sample("a", &[], time, 1.0);
                if !has_room(&mut batch, &next) {
                    break;
                }
                batch.push(next, Origin::Formed);
            }
            let is_full = batch.is_full();
            let sealed = batch.seal(&LastSent::new(1));
            assert_eq!(sealed.full.is_some(), is_full);
            assert_eq!(sealed.size.samples, sealed.samples);
            (sealed.samples, sealed.full)
        };
        assert_eq!(of(2, limit(3, 1_000)), (2, None));
        assert_eq!(of(3, limit(3, 1_000)), (3, Some(limit(3, 1_000))));
        assert_eq!(of(5, limit(3, 1_000)), (3, Some(limit(3, 1_000))));
        let (samples, full) = of(9, limit(9, 60));
        assert!(samples < 5 && full == Some(limit(9, 60)), "{samples}");
    }

    #[test]
    fn what_is_of_an_earlier_run_stays_together_and_alone() {
        let limit = Size {
            samples: 1,
            bytes: 1,
        };
        let mut batch = Batch::new(limits(3, 1 << 20), Protocol::V1).within(limit);
        let next = |time| sample("a", &[], time, 1.0);
        assert_eq!(batch.room_for(&next(1), Origin::Restored(7)), Room::Free);
        batch.push(next(1), Origin::Restored(7));
        for other in [Origin::Formed, Origin::Restored(8)] {
            assert_eq!(batch.room_for(&next(2), other), Room::Later);
        }
        for time in 2..=3 {
            // The limit of the moment does not count.
            assert_eq!(batch.room_for(&next(time), Origin::Restored(7)), Room::Free);
            batch.push(next(time), Origin::Restored(7));
        }
        assert_eq!(batch.room_for(&next(4), Origin::Restored(7)), Room::Full);
    }

    #[test]
    fn takes_so_many_samples_of_a_series() {
        for limit in [1, 2] {
            let limits = BatchConfig {
                samples_per_series: limit,
                ..BatchConfig::default()
            };
            let mut batch = Batch::new(limits, Protocol::V1);
            for time in 1..=limit {
                let next = sample("a", &[], time as i64, 1.0);
                assert!(has_room(&mut batch, &next));
                batch.push(next, Origin::Formed);
            }
            assert!(!has_room(&mut batch, &sample("a", &[], 3, 1.0)));
            assert!(has_room(&mut batch, &sample("b", &[], 3, 1.0)));
            // It takes the place of one that is there.
            let again = sample("a", &[], limit as i64, 2.0);
            assert!(has_room(&mut batch, &again));
            batch.push(again, Origin::Formed);
            let sealed = batch.seal(&LastSent::new(1));
            assert_eq!((sealed.samples, sealed.duplicates), (limit, 1));
            assert_eq!(points(&sealed)[0].last(), Some(&(limit as i64, 2.0)));
        }
    }

    #[test]
    fn never_exceeds_its_bytes() {
        for bytes in [100, 333, 1_000, 5_000] {
            let mut batch = Batch::new(limits(10_000, bytes), Protocol::V1);
            let mut timestamp = 1_730_621_750_000;
            loop {
                let vehicle = (timestamp % 7).to_string();
                let next = sample("speed", &[("vehicle", &vehicle)], timestamp, 0.5);
                if !has_room(&mut batch, &next) {
                    break;
                }
                batch.push(next, Origin::Formed);
                timestamp += 1;
            }
            let encoded = plain_bytes(batch);
            assert!(
                encoded <= bytes && encoded + 110 > bytes,
                "{encoded} of {bytes}"
            );
        }
    }

    #[test]
    fn counts_the_bytes_of_histograms() {
        let mut batch = Batch::new(limits(10_000, 5_000), Protocol::V1);
        let next = |number| sample("speed", &[], number, histogram());
        let held = (0..).take_while(|number| {
            let is_free = has_room(&mut batch, &next(*number));
            if is_free {
                batch.push(next(*number), Origin::Formed);
            }
            is_free
        });
        let held = held.count();
        let encoded = plain_bytes(batch);
        // A histogram of six buckets takes some 80 bytes, and counts for less than three times that.
        assert!(held > 20 && encoded <= 5_000, "{held}: {encoded} bytes");
    }

    #[test]
    fn takes_one_sample_however_large_it_is() {
        let mut batch = Batch::new(limits(10, 20), Protocol::V1);
        let large = sample("speed", &[("vehicle", "V0123456789")], 1, 1.0);
        assert!(has_room(&mut batch, &large));
        batch.push(large.clone(), Origin::Formed);
        assert!(!has_room(&mut batch, &large));
    }
}
