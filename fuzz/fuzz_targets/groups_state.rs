//! Arbitrary bytes as the groups of a window: they are refused, or are groups that can be used as any
//! others, and mean the same after they were written and read again.
//!
//! The first byte says which aggregates the groups have.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::model::{DataType, Interner};
use weir::window::aggregate::{AggregateKind, Function, Measure, SymbolMap};
use weir::window::{Bounds, Extent, Groups};

fn kinds() -> Vec<AggregateKind> {
    let kind = |function, argument| AggregateKind { function, argument };
    let number = |function| kind(function, Some(DataType::Number));
    let text = |function| kind(function, Some(DataType::Text));
    let boolean = |function| kind(function, Some(DataType::Boolean));
    let measure = Measure {
        population: false,
        root: true,
    };
    let bounds = [-1.0, 0.0, 10.0].as_slice().into();
    vec![
        kind(Function::Count, None),
        text(Function::CountDistinct),
        number(Function::CountDistinct),
        number(Function::ApproxCountDistinct),
        number(Function::Sum),
        number(Function::Average),
        number(Function::Spread(measure)),
        number(Function::Quantile(0.9)),
        number(Function::Min),
        number(Function::Last),
        text(Function::First),
        boolean(Function::Last),
        number(Function::Rate),
        boolean(Function::TimeIn),
        number(Function::Histogram { schema: 3 }),
        number(Function::Buckets { bounds }),
    ]
}

/// Everything that is made of groups. NaN is NULL, so results are compared by what they print.
fn shown(groups: &Groups, interner: &Interner) -> String {
    let extent = Extent::All(Bounds { start: 0, end: 100 });
    let mut shown = String::new();
    for aggregate in groups.aggregates() {
        let column = aggregate.finish(extent);
        assert_eq!(column.len(), groups.len(), "a result for each group");
        // Symbols are those of one interner or another.
        if column.data_type() != DataType::Text {
            shown.push_str(&format!("{column:?}"));
        }
        for slot in 0..groups.len() {
            let native = aggregate.native_histogram(slot);
            let classic = aggregate.classic_histogram(slot);
            shown.push_str(&format!("{native:?} {classic:?}"));
        }
    }
    for slot in 0..groups.len() {
        let texts = groups.key(slot).iter().map(|symbol| interner.text(*symbol));
        shown.push_str(&format!("{:?}", texts.collect::<Vec<_>>()));
    }
    shown
}

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let all = kinds();
    // One aggregate, or all of them.
    let kinds = match all.get(usize::from(*first)) {
        Some(kind) => vec![kind.clone()],
        None => all,
    };
    let mut interner = Interner::new();
    let Ok(groups) = Groups::from_bytes(bytes, &mut interner, 1, &kinds) else {
        return;
    };
    let before = shown(&groups, &interner);
    let again = groups.to_bytes(&interner.texts());
    let mut other = Interner::new();
    other.intern("another");
    let read = Groups::from_bytes(&again, &mut other, 1, &kinds);
    let read = read.expect("what was read can be written and read");
    assert_eq!(shown(&read, &other), before);
    let mut merged = Groups::new(1, &kinds);
    for _ in 0..2 {
        merged.merge(&groups, &SymbolMap::Same);
    }
    assert_eq!(merged.len(), groups.len(), "the same keys");
    shown(&merged, &interner);
});
