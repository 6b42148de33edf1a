//! Requests as agents write them, compared with what is in the records.

use proptest::prelude::*;

use crate::model::STALE_NAN_BITS;
use crate::model::protobuf::{Content, Fields, put_bytes, put_varint};

use super::super::budget::{Budget, Exhausted};
use super::super::records::Records;
use super::*;

const LIMIT: usize = 1 << 20;

/// A series: its labels, and its samples as the bits of values and times.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Series {
    labels: Vec<(String, String)>,
    samples: Vec<(u64, i64)>,
}

fn series(labels: &[(&str, &str)], samples: &[(f64, i64)]) -> Series {
    Series {
        labels: labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        samples: samples
            .iter()
            .map(|(value, time)| (value.to_bits(), *time))
            .collect(),
    }
}

fn put_sample(out: &mut Vec<u8>, (value, time): (u64, i64)) {
    let mut sample = vec![1 << 3 | 1];
    sample.extend(value.to_le_bytes());
    sample.push(2 << 3);
    put_varint(&mut sample, time.cast_unsigned());
    put_bytes(out, 2, &sample);
}

/// As 1.0 writes it, with an exemplar, a histogram and metadata that are nobody's.
fn v1(all: &[Series]) -> Vec<u8> {
    let mut request = Vec::new();
    for one in all {
        let mut series = Vec::new();
        for (name, value) in &one.labels {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut series, 1, &label);
        }
        for sample in &one.samples {
            put_sample(&mut series, *sample);
        }
        put_bytes(&mut series, 3, b"");
        put_bytes(&mut series, 4, b"");
        put_bytes(&mut request, 1, &series);
    }
    put_bytes(&mut request, 3, b"");
    request
}

/// The same as 2.0 writes it.
fn v2(all: &[Series]) -> Vec<u8> {
    let mut texts = vec![String::new()];
    let mut written = Vec::new();
    for one in all {
        let (mut series, mut packed) = (Vec::new(), Vec::new());
        for (name, value) in &one.labels {
            for text in [name, value] {
                let known = texts.iter().position(|known| known == text);
                let number = known.unwrap_or_else(|| {
                    texts.push(text.clone());
                    texts.len() - 1
                });
                put_varint(&mut packed, number as u64);
            }
        }
        put_bytes(&mut series, 1, &packed);
        for sample in &one.samples {
            put_sample(&mut series, *sample);
        }
        put_bytes(&mut series, 3, b"");
        put_bytes(&mut series, 4, b"");
        put_bytes(&mut written, 5, &series);
    }
    let mut request = Vec::new();
    for text in texts {
        put_bytes(&mut request, 4, text.as_bytes());
    }
    request.extend(written);
    request
}

fn snappy(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).unwrap()
}

/// Reads a request where there are no others.
fn read_alone(body: &[u8], version: Version, limit: usize) -> Result<(Records, Written), Unusable> {
    read(body, version, limit, &mut Budget::new(usize::MAX).hold())
}

/// The series of records; what is divided of one stands there twice.
fn found(bytes: &[u8], version: Version) -> Result<(Vec<Series>, Written), Unusable> {
    let (records, written) = read_alone(&snappy(bytes), version, LIMIT)?;
    let bytes_of = |content: Content<'_>| match content {
        Content::Bytes(bytes) => bytes.to_vec(),
        other => panic!("{other:?}"),
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let mut all = Vec::new();
    for record in records.iter() {
        for field in Fields::of(record) {
            let (1, Content::Bytes(bytes)) = field.unwrap() else {
                panic!("{record:?}")
            };
            let mut one = series(&[], &[]);
            for field in Fields::of(bytes) {
                let (number, content) = field.unwrap();
                let bytes = bytes_of(content);
                let parts: Vec<_> = Fields::of(&bytes).map(Result::unwrap).collect();
                match (number, parts.as_slice()) {
                    (1, [(1, name), (2, value)]) => {
                        one.labels
                            .push((text(bytes_of(*name)), text(bytes_of(*value))));
                    }
                    (2, [(1, Content::Fixed64(value)), (2, Content::Varint(time))]) => {
                        one.samples.push((*value, time.cast_signed()));
                    }
                    other => panic!("{other:?}"),
                }
            }
            all.push(one);
        }
    }
    Ok((all, written))
}

#[test]
fn stale_markers_histograms_and_exemplars_are_counted_and_left_out() {
    let stale = f64::from_bits(STALE_NAN_BITS);
    let all = [
        series(&[("__name__", "up")], &[(1.0, 5), (stale, 6), (0.5, 7)]),
        series(&[("__name__", "gone")], &[(stale, 5)]),
    ];
    let expected = [series(&[("__name__", "up")], &[(1.0, 5), (0.5, 7)])];
    for (bytes, version) in [(v1(&all), Version::V1), (v2(&all), Version::V2)] {
        let (found, written) = found(&bytes, version).unwrap();
        assert_eq!(found, expected);
        let numbers = (
            written.samples,
            written.stale,
            written.histograms,
            written.exemplars,
        );
        assert_eq!(numbers, (2, 2, 2, 2));
    }
}

#[test]
fn many_samples_are_several_records() {
    let one: Vec<_> = (0..4_500).map(|time| (1.5, time)).collect();
    let all = [
        series(&[("__name__", "up")], &one),
        series(&[("a", "b")], &[(2.0, 1)]),
    ];
    let (records, written) = read_alone(&snappy(&v1(&all)), Version::V1, LIMIT).unwrap();
    assert_eq!((records.len(), written.samples), (3, 4_501));
    let (found, _) = found(&v2(&all), Version::V2).unwrap();
    let samples: Vec<_> = found.iter().flat_map(|one| one.samples.clone()).collect();
    let expected: Vec<_> = all.iter().flat_map(|one| one.samples.clone()).collect();
    assert_eq!(samples, expected);
    let long = "x".repeat(60_000);
    let all: Vec<_> = (0..20)
        .map(|number| series(&[("a", &long)], &[(1.0, number)]))
        .collect();
    let (records, _) = read_alone(&snappy(&v1(&all)), Version::V1, 2 << 20).unwrap();
    assert!(records.len() >= 5, "{}", records.len());
    assert!(records.iter().all(|record| record.len() <= 400_000));
}

#[test]
fn what_is_no_request_is_told() {
    let told = |bytes: &[u8], version| found(bytes, version).unwrap_err().to_string();
    let of = |labels: &[(&str, &str)]| v1(&[series(labels, &[(1.0, 1)])]);
    assert_eq!(told(&of(&[("", "x")]), Version::V1), "a label has no name");
    assert_eq!(
        told(&of(&[("a", "x"), ("b", ""), ("a", "y")]), Version::V1),
        "a series has the label 'a' twice"
    );
    let long = "x".repeat(70_000);
    assert_eq!(
        told(&of(&[("a", &long)]), Version::V1),
        "the labels of a series have more than 65536 bytes"
    );
    let names: Vec<_> = (0..1_001).map(|number| format!("l{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (&**name, "")).collect();
    assert_eq!(
        told(&of(&many), Version::V1),
        "a series has more than 1000 labels"
    );
    let mut cut = of(&[("a", "x")]);
    cut.pop();
    assert!(told(&cut, Version::V1).starts_with("the request cannot be read: "));

    let of = |texts: &[&str], references: &[u8]| {
        let (mut request, mut series) = (Vec::new(), Vec::new());
        texts
            .iter()
            .for_each(|text| put_bytes(&mut request, 4, text.as_bytes()));
        put_bytes(&mut series, 1, references);
        put_sample(&mut series, (0, 1));
        put_bytes(&mut request, 5, &series);
        request
    };
    assert_eq!(
        told(&of(&["a"], b""), Version::V2),
        "the first text of the table is not empty"
    );
    assert_eq!(
        told(&of(&["", "a"], b"\x01\x02"), Version::V2),
        "a series refers to text 2, and the table has 2"
    );
    assert_eq!(
        told(&of(&["", "a"], b"\x01"), Version::V2),
        "a series has a label's name without a value"
    );
}

#[test]
fn few_bytes_do_not_become_many() {
    // It claims 4 GiB.
    let bomb = b"\xff\xff\xff\xff\x0f\x00";
    let error = read_alone(bomb, Version::V1, LIMIT).err().unwrap();
    assert_eq!(
        error,
        Unusable::TooLarge {
            claimed: 0xffff_ffff,
            limit: LIMIT
        }
    );
    assert!(matches!(
        read_alone(b"", Version::V1, LIMIT),
        Err(Unusable::Snappy(_))
    ));
    // A long text that a thousand series refer to.
    let long = "x".repeat(60_000);
    let all = vec![series(&[("a", &long)], &[(1.0, 1)]); 1_000];
    let request = v2(&all);
    assert!(request.len() < 100_000);
    let error = found(&request, Version::V2).unwrap_err();
    assert_eq!(error, Unusable::TooManyBytes(4 * LIMIT));
}

/// A series with so many samples that have neither value nor time, which is two bytes each.
fn empty_samples(labels: &[(&str, &str)], count: usize) -> Vec<u8> {
    let mut series = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        put_bytes(&mut label, 1, name.as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        put_bytes(&mut series, 1, &label);
    }
    series.extend([2 << 3 | 2, 0].repeat(count));
    let mut request = Vec::new();
    put_bytes(&mut request, 1, &series);
    request
}

#[test]
fn what_takes_more_memory_than_bytes_is_bounded() {
    let refused = |plain: &[u8], version| read_alone(&snappy(plain), version, LIMIT).err();
    // Thirteen bytes are written of a sample.
    let most = 4 * LIMIT / 13;
    assert_eq!(refused(&empty_samples(&[], most), Version::V1), None);
    let too_many = Some(Unusable::TooManyBytes(4 * LIMIT));
    let more = empty_samples(&[], most + 1);
    assert_eq!(refused(&more, Version::V1), too_many);
    // Every record has the labels again.
    let long = "x".repeat(60_000);
    let series = empty_samples(&[("a", &long)], 200_000);
    assert_eq!(refused(&series, Version::V1), too_many);
    // Labels are counted before the next one is looked at.
    let mut series = [1 << 3 | 2, 0].repeat(1_000);
    series.extend([1 << 3 | 2, 3, 1 << 3 | 2, 1, 0xff]);
    let mut request = Vec::new();
    put_bytes(&mut request, 1, &series);
    let error = refused(&request, Version::V1);
    assert_eq!(error, Some(Unusable::TooManyLabels));
    // A text without a character takes sixteen bytes.
    let texts = [4 << 3 | 2, 0].repeat(LIMIT / 16 + 1);
    assert_eq!(
        refused(&texts, Version::V2),
        Some(Unusable::TooManyTexts(LIMIT / 16))
    );
}

#[test]
fn memory_is_held_before_it_is_taken() {
    let long = "x".repeat(10_000);
    let all = vec![series(&[("a", &long)], &[(1.0, 1)]); 100];
    let body = snappy(&v2(&all));
    let budget = Budget::new(1 << 21);
    let mut held = budget.hold();
    let (records, _) = read(&body, Version::V2, LIMIT, &mut held).unwrap();
    assert!(records.bytes() > 1_000_000);
    // Others can hold no more than the rest.
    let rest = (1 << 21) - records.bytes();
    assert_eq!(budget.hold().grow(rest), Err(Exhausted));
    drop(held);
    // Neither the body nor what becomes of it is held beyond the budget.
    for bytes in [100, 100_000, 1_000_000] {
        let mut held = Budget::new(bytes).hold();
        let error = read(&body, Version::V2, LIMIT, &mut held).err();
        assert_eq!(error, Some(Unusable::Exhausted(Exhausted)));
    }
}

fn any_series() -> impl Strategy<Value = Series> {
    let labels = prop::collection::btree_map("[a-z_é]{1,5}", ".{0,9}", 0..6);
    let samples = prop::collection::vec((any::<u64>(), any::<i64>()), 0..6);
    (labels, samples).prop_map(|(labels, samples)| Series {
        labels: labels.into_iter().collect(),
        samples,
    })
}

proptest! {
    #[test]
    fn both_versions_give_what_was_written(all in prop::collection::vec(any_series(), 0..8)) {
        let mut expected = all.clone();
        for one in &mut expected {
            one.samples.retain(|(value, _)| *value != STALE_NAN_BITS);
        }
        expected.retain(|one| !one.samples.is_empty());
        for (bytes, version) in [(v1(&all), Version::V1), (v2(&all), Version::V2)] {
            prop_assert_eq!(&found(&bytes, version).unwrap().0, &expected);
        }
    }

    #[test]
    fn damaged_requests_are_refused_or_read(
        all in prop::collection::vec(any_series(), 1..4),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        for (bytes, version) in [(v1(&all), Version::V1), (v2(&all), Version::V2)] {
            let _either_way = found(&bytes[..cut.index(bytes.len())], version).is_ok();
            let mut flipped = bytes.clone();
            let index = at.index(flipped.len());
            flipped[index] ^= flip;
            let _either_way = read_alone(&snappy(&flipped), version, LIMIT).is_ok();
            let mut body = snappy(&bytes);
            let index = at.index(body.len());
            body[index] ^= flip;
            let _either_way = read_alone(&body, version, LIMIT).is_ok();
            let _either_way = read_alone(&noise, version, LIMIT).is_ok();
            let _either_way = read_alone(&snappy(&noise), version, LIMIT).is_ok();
        }
    }
}
