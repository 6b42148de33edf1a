//! What was written and read again goes on as what was not, whatever it is; other bytes are refused or
//! do no harm.

use proptest::sample::Index;

use super::*;
use crate::model::{Corrupt, Decoder, Encoder, Interner, SymbolReader, SymbolWriter};

/// Has a text for every symbol that the events use.
fn interner() -> Interner {
    let mut interner = Interner::new();
    for number in 1..=10_100 {
        interner.intern(&format!("text {number}"));
    }
    interner
}

fn encoded(aggregate: &Aggregate, interner: &mut Interner) -> Vec<u8> {
    let texts = interner.texts();
    let (mut out, mut symbols) = (Encoder::new(), SymbolWriter::new(&texts));
    aggregate.encode(&mut out, &mut symbols);
    symbols.finish(&out)
}

fn decoded(
    bytes: &[u8],
    kind: &AggregateKind,
    interner: &mut Interner,
) -> Result<Aggregate, Corrupt> {
    let mut from = Decoder::new(bytes);
    let symbols = SymbolReader::read(&mut from, interner)?;
    let aggregate = Aggregate::decode(&mut from, &symbols, kind, 3)?;
    from.end()?;
    Ok(aggregate)
}

/// Many different values, so that sets are tables and bitmaps, and registers are all kept.
fn many(numbers: impl Iterator<Item = u32>) -> Vec<Event> {
    let event = |number: u32| Event {
        slot: number % 2,
        time: i64::from(number % 50),
        value: Some(f64::from(number)),
        passes: true,
    };
    numbers.map(event).collect()
}

fn goes_on_the_same(events: &[Event], more: &[Event], interner: &mut Interner) {
    for kind in kinds().into_iter().chain([kind_of(Function::Collect)]) {
        let mut kept = aggregate(&kind, events, 0);
        let bytes = encoded(&kept, interner);
        let mut read = decoded(&bytes, &kind, interner).unwrap();
        assert_eq!(results(&kept), results(&read), "{kind:?}");
        assert_eq!(encoded(&read, interner), bytes, "{kind:?}");
        let other = aggregate(&kind, more, 1_000);
        for aggregate in [&mut kept, &mut read] {
            update(aggregate, &kind, more, 100);
            aggregate.merge(&other, &[2, 0, 1], &SymbolMap::Same);
        }
        assert_eq!(results(&kept), results(&read), "{kind:?}");
        for slot in 0..3 {
            assert_eq!(kept.readings(slot), read.readings(slot), "{kind:?}");
        }
        let picked = |from: &Aggregate| results(&from.pick(&[1, 0, 1]));
        assert_eq!(picked(&kept), picked(&read), "{kind:?}");
        let merged = |from: &Aggregate| {
            let mut merged = other.clone();
            merged.merge(from, &[0, 1, 2], &SymbolMap::Same);
            results(&merged)
        };
        assert_eq!(merged(&kept), merged(&read), "{kind:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_read_goes_on_as_what_was_written(
        integers in integers(),
        doubles in doubles(),
        more in doubles(),
    ) {
        let mut interner = interner();
        for events in [integers, doubles] {
            goes_on_the_same(&events, &more, &mut interner);
        }
    }

    #[test]
    fn changed_bytes_do_no_harm(events in doubles(), flips in prop::collection::vec(any::<(Index, u8)>(), 1..40)) {
        let mut interner = interner();
        for kind in kinds() {
            let whole = aggregate(&kind, &events, 0);
            let bytes = encoded(&whole, &mut interner);
            for (place, bit) in &flips {
                let mut changed = bytes.clone();
                changed[place.index(bytes.len())] ^= 1 << (bit % 8);
                if let Ok(mut read) = decoded(&changed, &kind, &mut interner) {
                    read.merge(&whole, &[0, 1, 2], &SymbolMap::Same);
                    read = read.pick(&[2, 1, 0]);
                    update(&mut read, &kind, &events, 0);
                    results(&read);
                }
            }
        }
    }
}

#[test]
fn large_sets_and_registers_go_on_as_well() {
    let mut interner = interner();
    goes_on_the_same(
        &many(0..3_000),
        &many((0..2_000).map(|number| number * 3)),
        &mut interner,
    );
    // Few symbols, far apart: a table.
    goes_on_the_same(
        &many((0..24).map(|number| number * 400)),
        &many(0..50),
        &mut interner,
    );
}

#[test]
fn every_cut_and_every_other_kind_is_refused() {
    let mut interner = interner();
    let events = many((0..40).map(|number| number * 7));
    for kind in kinds() {
        let bytes = encoded(&aggregate(&kind, &events, 0), &mut interner);
        for end in 0..bytes.len() {
            assert!(
                decoded(&bytes[..end], &kind, &mut interner).is_err(),
                "{kind:?} {end}"
            );
        }
        for other in kinds() {
            if std::mem::discriminant(&Aggregate::new(&other))
                != std::mem::discriminant(&Aggregate::new(&kind))
            {
                assert!(decoded(&bytes, &other, &mut interner).is_err(), "{other:?}");
            }
        }
    }
}

fn refusal(kind: &AggregateKind, write: impl FnOnce(&mut Encoder)) -> String {
    let mut interner = Interner::new();
    let (texts, mut out) = (interner.texts(), Encoder::new());
    write(&mut out);
    let bytes = SymbolWriter::new(&texts).finish(&out);
    let error = decoded(&bytes, kind, &mut interner).unwrap_err();
    error.reason
}

fn kind_of(function: Function) -> AggregateKind {
    AggregateKind {
        function,
        argument: Some(DataType::Number),
    }
}

#[test]
fn what_no_aggregation_could_have_made_is_refused() {
    let u64s = |out: &mut Encoder, values: [u64; 3]| out.u64s(values.into_iter());
    let f64s = |out: &mut Encoder, values: [f64; 3]| out.f64s(values.into_iter());
    let count = refusal(&kind_of(Function::Count), |out| {
        out.u8(1);
        u64s(out, [0, u64::MAX, 0]);
    });
    assert_eq!(
        count,
        "a group has 18446744073709551615 values, more than there can be"
    );
    let slots = refusal(&kind_of(Function::Count), |out| {
        out.u8(1);
        out.u64s([1, 2].into_iter());
    });
    assert_eq!(slots, "a column has 2 values for 3 groups");
    let state = refusal(&kind_of(Function::Count), |out| out.u8(9));
    assert_eq!(
        state,
        "state number 9 is not that of count of number, which is 1"
    );
    let sum = refusal(&kind_of(Function::Sum), |out| {
        out.u8(5);
        out.i128s([0, 1, 0].into_iter());
        u64s(out, [0, 0, 2]);
        out.u64s([].into_iter());
    });
    assert_eq!(sum, "the sum of no values is not 0");
    let rest = refusal(&kind_of(Function::Sum), |out| {
        out.u8(5);
        out.i128s([0, 1, 0].into_iter());
        u64s(out, [0, 1, 2]);
        out.u64s([7].into_iter());
        for _ in 0..2 {
            out.i32(-3);
            out.u64s([5].into_iter());
        }
    });
    assert_eq!(rest, "group 7 of 3 has the rest of a sum");
    let words = refusal(&kind_of(Function::Sum), |out| {
        out.u8(5);
        out.i128s([0, 1, 0].into_iter());
        u64s(out, [0, 1, 2]);
        out.u64s([1].into_iter());
        out.i32(i32::MAX);
        out.u64s([5].into_iter());
    });
    assert_eq!(
        words,
        "1 words from 2147483647 on are the exact sum of no doubles"
    );
    let lowest = refusal(&kind_of(Function::Max), |out| {
        out.u8(9);
        out.bool(false);
    });
    assert_eq!(lowest, "the lowest values are not the highest ones");
    let numbers = refusal(&kind_of(Function::CountDistinct), |out| {
        out.u8(3);
        u64s(out, [0, 2, 0]);
        out.u64s([7, 7].into_iter());
    });
    assert_eq!(numbers, "a set has a number twice");
    let missing = refusal(&kind_of(Function::CountDistinct), |out| {
        out.u8(3);
        u64s(out, [0, 2, u64::MAX]);
        out.u64s([7, 7].into_iter());
    });
    assert_eq!(
        missing,
        "a column has 2 values, far fewer than the groups say"
    );
    let quantile = |buckets: [i32; 2], counts: [u64; 2], lowest, highest| {
        refusal(&kind_of(Function::Quantile(0.5)), |out| {
            out.u8(8);
            u64s(out, [0, 0, 0]);
            u64s(out, [2, 0, 0]);
            u64s(out, [0, 0, 0]);
            out.i32s(buckets.into_iter());
            out.u64s(counts.into_iter());
            f64s(out, [lowest, f64::INFINITY, f64::INFINITY]);
            f64s(out, [highest, f64::NEG_INFINITY, f64::NEG_INFINITY]);
        })
    };
    let buckets = "buckets are not those of values by schema 6";
    assert_eq!(quantile([3, 3], [1, 1], 1.0, 2.0), buckets);
    assert_eq!(quantile([3, 4], [1, 0], 1.0, 2.0), buckets);
    assert_eq!(quantile([3, i32::MAX], [1, 1], 1.0, 2.0), buckets);
    assert_eq!(quantile([3, 4], [u64::MAX, 1], 1.0, 2.0), buckets);
    let ends = "buckets do not go with the lowest and highest value";
    assert_eq!(quantile([3, 4], [1, 1], 2.0, 1.0), ends);
    assert_eq!(quantile([3, 4], [1, 1], f64::NAN, 1.0), ends);
    let schema = refusal(&kind_of(Function::Histogram { schema: 3 }), |out| {
        out.u8(14);
        out.i32(4);
    });
    assert_eq!(schema, "the schema is 4, not 3");
    let bounds = [1.0, 2.0].as_slice().into();
    let bounds = refusal(&kind_of(Function::Buckets { bounds }), |out| {
        out.u8(15);
        out.f64s([1.0].into_iter());
    });
    assert_eq!(bounds, "the bounds are [1.0], not [1.0, 2.0]");
}
