//! Which samples of a refused request are to blame, found with few requests.
//!
//! A receiver that refuses a request says little of which sample it means. So the request is cut into
//! halves, and each half that is refused as well again, until single samples are left. One guilty sample
//! of n costs about log2(n) requests: what one half is not to blame for, the other one is, and need not
//! be asked about as a whole.
//!
//! Pieces are ranges of the request's samples in their order, and go out in this order, so that those of
//! a series stay in theirs.

use std::ops::Range;

/// Why a request, or a piece of it, was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::write::remote_write) enum Refusal {
    /// Of what is in it: where one half is taken, the other one is to blame.
    Content,
    /// Of its size: both halves may be taken.
    Size,
}

/// A piece that waits to be sent.
#[derive(Debug)]
struct Piece {
    range: Range<usize>,
    /// Whether it is to blame for something, and is cut before it is sent.
    is_guilty: bool,
    /// The half before it: if that is taken, this one is to blame.
    other_half: Option<Range<usize>>,
}

/// The search in one request.
#[derive(Debug)]
pub(in crate::write::remote_write) struct Isolation {
    /// What is to be sent, the first one last.
    open: Vec<Piece>,
    /// How many more requests may be made before pieces stay whole.
    requests: usize,
}

impl Isolation {
    /// A request of so many samples was refused, and about so many more may be made to find out why.
    pub(in crate::write::remote_write) fn new(
        samples: usize,
        refusal: Refusal,
        requests: usize,
    ) -> Self {
        let mut isolation = Self {
            open: Vec::new(),
            requests,
        };
        isolation.cut(0..samples, refusal);
        isolation
    }

    /// The samples that are to be sent next; nothing when all are known.
    pub(in crate::write::remote_write) fn next(&mut self) -> Option<Range<usize>> {
        while let Some(piece) = self.open.pop() {
            if piece.is_guilty && self.may_cut(&piece.range) {
                self.cut(piece.range, Refusal::Content);
                continue;
            }
            self.requests = self.requests.saturating_sub(1);
            return Some(piece.range);
        }
        None
    }

    /// The piece that was given last has arrived.
    pub(in crate::write::remote_write) fn taken(&mut self, piece: &Range<usize>) {
        if let Some(next) = self.open.last_mut()
            && next.other_half.as_ref() == Some(piece)
        {
            next.is_guilty = true;
        }
    }

    /// The piece that was given last was refused. Gives it back where it is not cut any further: it is one
    /// sample, or no more requests may be made.
    pub(in crate::write::remote_write) fn refused(
        &mut self,
        piece: Range<usize>,
        refusal: Refusal,
    ) -> Option<Range<usize>> {
        if !self.may_cut(&piece) {
            return Some(piece);
        }
        self.cut(piece, refusal);
        None
    }

    /// Whether no more requests may be made, so that what is refused now is not cut any further.
    pub(in crate::write::remote_write) fn is_exhausted(&self) -> bool {
        self.requests == 0
    }

    fn may_cut(&self, piece: &Range<usize>) -> bool {
        piece.len() > 1 && !self.is_exhausted()
    }

    fn cut(&mut self, range: Range<usize>, refusal: Refusal) {
        let middle = range.start + range.len() / 2;
        let (first, second) = (range.start..middle, middle..range.end);
        let is_alone = first.is_empty();
        self.open.push(Piece {
            range: second,
            is_guilty: false,
            other_half: (refusal == Refusal::Content).then(|| first.clone()),
        });
        if !is_alone {
            self.open.push(Piece {
                range: first,
                is_guilty: false,
                other_half: None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Asks a receiver that refuses what has a guilty sample in it. Gives what it took, in its order, what
    /// stayed refused (from which on, and how many), and how many requests that took.
    fn search(
        samples: usize,
        guilty: &BTreeSet<usize>,
        requests: usize,
    ) -> (Vec<usize>, Vec<(usize, usize)>, usize) {
        let mut isolation = Isolation::new(samples, Refusal::Content, requests);
        let (mut taken, mut refused, mut asked) = (Vec::new(), Vec::new(), 0);
        while let Some(piece) = isolation.next() {
            asked += 1;
            if piece.clone().any(|sample| guilty.contains(&sample)) {
                let whole = isolation.refused(piece, Refusal::Content);
                refused.extend(whole.map(|piece| (piece.start, piece.len())));
            } else {
                taken.extend(piece.clone());
                isolation.taken(&piece);
            }
        }
        (taken, refused, asked)
    }

    #[test]
    fn one_of_two_thousand_is_found_with_a_dozen_requests() {
        for guilty in [0, 1, 777, 1_999] {
            let (taken, refused, asked) = search(2_000, &BTreeSet::from([guilty]), 256);
            assert_eq!(refused, vec![(guilty, 1)]);
            assert_eq!(taken.len(), 1_999);
            assert!(asked <= 22, "{guilty}: {asked}");
        }
    }

    #[test]
    fn a_request_of_one_sample_is_asked_about_once_more() {
        assert_eq!(
            search(1, &BTreeSet::from([0]), 256),
            (vec![], vec![(0, 1)], 1)
        );
        assert_eq!(search(1, &BTreeSet::new(), 256), (vec![0], vec![], 1));
    }

    #[test]
    fn what_is_too_large_is_only_cut() {
        let mut isolation = Isolation::new(4, Refusal::Size, 256);
        let mut pieces = Vec::new();
        while let Some(piece) = isolation.next() {
            match piece.len() {
                1 => isolation.taken(&piece),
                _ => assert_eq!(isolation.refused(piece.clone(), Refusal::Size), None),
            }
            pieces.push(piece);
        }
        assert_eq!(pieces, [0..2, 0..1, 1..2, 2..4, 2..3, 3..4]);
    }

    #[test]
    fn with_many_guilty_ones_the_requests_are_bounded() {
        let all: BTreeSet<usize> = (0..2_000).collect();
        let (taken, refused, asked) = search(2_000, &all, 64);
        assert_eq!(taken, Vec::<usize>::new());
        assert_eq!(
            refused.iter().map(|(_, length)| length).sum::<usize>(),
            2_000
        );
        assert!(asked <= 64 + 12, "{asked}");
    }

    proptest! {
        #[test]
        fn everything_good_arrives_in_order_and_only_the_guilty_stay(
            samples in 1_usize..300,
            guilty in prop::collection::btree_set(0_usize..300, 0..12),
        ) {
            let guilty: BTreeSet<usize> = guilty.into_iter().filter(|at| *at < samples).collect();
            let (taken, refused, asked) = search(samples, &guilty, usize::MAX);
            let good: Vec<usize> = (0..samples).filter(|at| !guilty.contains(at)).collect();
            prop_assert_eq!(taken, good);
            let single: Vec<_> = guilty.iter().map(|at| (*at, 1)).collect();
            prop_assert_eq!(refused, single);
            let most = 3 + 2 * guilty.len().max(1) * (samples.ilog2() as usize + 1);
            prop_assert!(asked <= most, "{} of {}: {}", guilty.len(), samples, asked);
        }

        #[test]
        fn with_few_requests_no_good_sample_is_lost_silently(
            samples in 1_usize..300,
            guilty in prop::collection::btree_set(0_usize..300, 0..40),
            requests in 0_usize..40,
        ) {
            let (taken, refused, _) = search(samples, &guilty, requests);
            let refused = refused.into_iter().flat_map(|(start, length)| start..start + length);
            let mut all: Vec<usize> = taken.into_iter().chain(refused).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..samples).collect::<Vec<_>>());
        }
    }
}
