//! Watermarks that go on from where an earlier run was.

use std::collections::BTreeSet;

use super::super::Watermarks;
use crate::model::SplitId;

const A: SplitId = SplitId(0);
const B: SplitId = SplitId(1);

#[test]
fn goes_on_from_where_it_was() {
    let mut watermarks = Watermarks::new(2_000);
    watermarks.restore(5_000);
    watermarks.seed(A, 10_000);
    watermarks.seed(B, 7_000);
    assert_eq!(watermarks.advance(1_000_000), 5_000);
    watermarks.assign(A);
    assert_eq!(watermarks.advance(1_000_000), 8_000);
    watermarks.assign(B);
    assert_eq!(watermarks.advance(1_000_000), 8_000);
    watermarks.events(A, Some(20_000), 1_000_000);
    assert_eq!(watermarks.advance(1_000_000), 8_000, "B is at 7,000");
    watermarks.events(B, Some(6_000), 1_000_000);
    assert_eq!(watermarks.advance(1_000_000), 8_000, "and has been before");
    watermarks.events(B, Some(12_000), 1_000_000);
    assert_eq!(watermarks.advance(1_000_000), 10_000);
    watermarks.revoke(B);
    watermarks.assign(B);
    assert_eq!(watermarks.advance(1_000_000), 10_000);
    watermarks.events(A, Some(30_000), 1_000_000);
    assert_eq!(
        watermarks.advance(1_000_000),
        10_000,
        "a second assignment begins with nothing"
    );
}

#[test]
fn silence_before_the_first_events_of_a_run_counts_from_its_beginning() {
    let mut watermarks = Watermarks::new(2_000);
    watermarks.restore(5_000);
    watermarks.seed(A, 10_000);
    watermarks.assign(A);
    assert_eq!(watermarks.advance(500_000), 8_000);
    watermarks.idle(A);
    assert_eq!(watermarks.advance(510_000), 18_000);
}

#[test]
fn silence_goes_on_from_where_it_was() {
    let mut watermarks = Watermarks::new(2_000);
    // A quarter of an hour of silence behind the last event.
    watermarks.restore(900_000);
    watermarks.seed(A, 2_000);
    watermarks.assign(A);
    assert_eq!(watermarks.advance(5_000_000), 900_000);
    watermarks.idle(A);
    assert_eq!(watermarks.advance(5_010_000), 910_000);
    watermarks.events(A, Some(950_000), 5_020_000);
    assert_eq!(watermarks.advance(5_020_000), 948_000);
    watermarks.idle(A);
    assert_eq!(watermarks.advance(5_025_000), 953_000);
}

#[test]
fn a_split_that_was_ahead_is_paused_at_once() {
    let mut watermarks = Watermarks::new(0).with_max_drift(1_000);
    watermarks.restore(10_000);
    watermarks.seed(A, 10_000);
    watermarks.seed(B, 11_500);
    watermarks.assign(A);
    watermarks.assign(B);
    assert_eq!(watermarks.advance(0), 10_000);
    let paused = watermarks.align().unwrap();
    assert_eq!((paused.splits, paused.new), (BTreeSet::from([B]), 1));
}
