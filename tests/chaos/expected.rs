//! Whether the samples found are the expected ones.

use std::cmp::Ordering;

use anyhow::{Result, bail};

use crate::support::samples::Sample;

/// How many differences a message shows of each kind.
const SHOWN: usize = 8;

/// Both in the order of samples.
///
/// # Errors
/// They differ; with the first differences.
pub(crate) fn expect_same(found: &[Sample], expected: &[Sample]) -> Result<()> {
    let (mut missing, mut unexpected) = (Vec::new(), Vec::new());
    let (mut left, mut right) = (found.iter().peekable(), expected.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some(found), Some(expected)) => found.cmp(expected),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        match order {
            Ordering::Less => unexpected.extend(left.next()),
            Ordering::Greater => missing.extend(right.next()),
            Ordering::Equal => {
                left.next();
                right.next();
            }
        }
    }
    if missing.is_empty() && unexpected.is_empty() {
        return Ok(());
    }
    let mut text = format!(
        "{} samples for {} expected: {} missing, {} unexpected",
        found.len(),
        expected.len(),
        missing.len(),
        unexpected.len()
    );
    for (what, samples) in [("missing   ", missing), ("unexpected", unexpected)] {
        for sample in samples.iter().take(SHOWN) {
            text.push_str(&format!("\n  {what} {sample:?}"));
        }
    }
    bail!("{text}")
}

#[test]
fn every_difference_is_told() {
    let sample = |time_ms, value| Sample::new("a", &[], time_ms, value);
    let expected = [sample(1, 1.0), sample(2, 2.0), sample(3, 3.0)];
    expect_same(&expected, &expected).unwrap();
    for (found, message) in [
        (
            vec![sample(1, 1.0), sample(2, 2.0)],
            "1 missing, 0 unexpected",
        ),
        (
            vec![sample(1, 1.0), sample(2, 2.5), sample(3, 3.0)],
            "1 missing, 1 unexpected",
        ),
        (
            vec![
                sample(1, 1.0),
                sample(2, 2.0),
                sample(3, 3.0),
                sample(4, 1.0),
            ],
            "0 missing, 1 unexpected",
        ),
        (
            vec![
                sample(1, 1.0),
                sample(2, 2.0),
                sample(2, 2.0),
                sample(3, 3.0),
            ],
            "0 missing, 1 unexpected",
        ),
    ] {
        let error = expect_same(&found, &expected).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
