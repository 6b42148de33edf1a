//! Checkpoints in a store that fails, and random sequences of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::checkpoints_tests::{about, commit, open, parts};
use super::manifest::Manifest;
use super::testing::{Fault, Faulty};
use super::*;

/// Bytes that no compression makes smaller.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..bytes).map(|_| random.u8(..)).collect()
}

/// Holds the blobs that there are against those that manifests name.
fn nothing_unused(store: &dyn Store) {
    let mut used = BTreeSet::new();
    for name in store.list("cars/checkpoint/").unwrap() {
        let manifest = Manifest::decode("", &store.get(&name).unwrap().unwrap()).unwrap();
        let blobs = manifest.blobs.iter();
        used.extend(blobs.map(|blob| format!("cars/data/{}", blob.name)));
    }
    let there: BTreeSet<_> = store.list("cars/data/").unwrap().into_iter().collect();
    assert_eq!(there, used);
}

/// A checkpoint of which one part is that of the checkpoint before.
fn state(number: u64) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("same", noise(0, 5_000)),
        ("large", noise(number, 20_000)),
        ("small", vec![u8::try_from(number).unwrap(); 10]),
    ]
}

fn commit_state(checkpoints: &mut Checkpoints, number: u64) -> Result<Committed, StateError> {
    let state = state(number);
    let parts: Vec<_> = state
        .iter()
        .map(|(part, bytes)| (*part, bytes.as_slice()))
        .collect();
    commit(checkpoints, &parts)
}

fn is_state(checkpoint: &Checkpoint, number: u64) -> bool {
    let expected = state(number);
    let expected = expected
        .into_iter()
        .map(|(part, bytes)| (part.to_owned(), bytes));
    parts(checkpoint) == expected.collect::<Vec<_>>()
}

/// Whatever call fails, and however, the state before or the one after is there, whole.
#[test]
fn any_call_may_fail() {
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::Torn] {
        for for_good in [false, true] {
            for succeed in 0.. {
                if !one_call_fails(succeed, fault, for_good) {
                    assert_eq!(succeed, 5, "the calls that were made");
                    break;
                }
            }
        }
    }
}

fn one_call_fails(succeed: u64, fault: Fault, for_good: bool) -> bool {
    let place = format!("{fault:?} after {succeed} calls, for good: {for_good}");
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let faulty = Arc::new(Faulty::new(Arc::clone(&memory)));
    let through: Arc<dyn Store> = Arc::<Faulty>::clone(&faulty);
    let mut checkpoints = open(&through, 1).keep(2);
    for number in 1..=3 {
        commit_state(&mut checkpoints, number).unwrap();
    }
    faulty.fail_at(succeed, fault, for_good);
    let committed = commit_state(&mut checkpoints, 4).is_ok();
    let failed = faulty.has_failed();
    faulty.heal();

    let found = open(&memory, 2).latest().unwrap().unwrap();
    let number = found.number;
    assert!(
        number == 4 || (number == 3 && !committed),
        "{place}: {number} was found"
    );
    assert!(is_state(&found, number), "{place}");

    // The same process goes on, or another one where it is gone.
    if for_good {
        checkpoints = open(&memory, 3).keep(2);
        checkpoints.latest().unwrap();
    }
    let number = checkpoints.next_number();
    commit_state(&mut checkpoints, number).unwrap();
    let found = open(&memory, 4).latest().unwrap().unwrap();
    assert_eq!(found.number, number, "{place}");
    assert!(is_state(&found, number), "{place}");
    // Torn manifests, and what crashed writers have left, go as newer checkpoints come.
    for _ in 0..2 {
        let number = checkpoints.next_number();
        commit_state(&mut checkpoints, number).unwrap();
    }
    open(&memory, 5);
    nothing_unused(&*memory);
    failed
}

/// What a checkpoint is to hold: parts with their contents, and pieces.
#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(u8, u8)>, Vec<u8>),
    /// A draft that is given up.
    Drop(Vec<(u8, u8)>),
    /// Another process takes over, whether or not it reads the state.
    Reopen(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let parts = prop::collection::vec((0..4_u8, 0..5_u8), 0..4);
    let pieces = prop::collection::vec(0..6_u8, 0..4);
    let step = prop_oneof![
        6 => (parts.clone(), pieces).prop_map(|(parts, pieces)| Step::Commit(parts, pieces)),
        1 => parts.prop_map(Step::Drop),
        1 => any::<bool>().prop_map(Step::Reopen),
    ];
    prop::collection::vec(step, 1..25)
}

fn content(of: u8) -> Vec<u8> {
    match of {
        0 => Vec::new(),
        1 => vec![1; 10_000],
        of => noise(u64::from(of), 3_000),
    }
}

proptest! {
    #[test]
    fn every_kept_checkpoint_reads_back(steps in steps(), keep in 1..4_usize) {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut epoch = 1;
        let mut checkpoints = open(&store, epoch).keep(keep);
        let mut expected: BTreeMap<u64, Vec<(String, Vec<u8>)>> = BTreeMap::new();
        for step in steps {
            let number = checkpoints.next_number();
            match step {
                Step::Commit(parts, pieces) => {
                    let mut draft = checkpoints.begin(number);
                    let mut all = Vec::new();
                    for (part, of) in parts {
                        draft.add("stage", &part.to_string(), content(of)).unwrap();
                        all.push((part.to_string(), content(of)));
                    }
                    for piece in pieces {
                        let bytes = noise(100 + u64::from(piece), 2_000);
                        let encode = || Ok(bytes.clone());
                        draft.add_piece("stage", "pieces", u64::from(piece), encode).unwrap();
                        all.push(("pieces".to_owned(), bytes));
                    }
                    let committed = draft.commit(about(0)).unwrap();
                    expected.insert(number, all);
                    while expected.len() > keep {
                        expected.pop_first();
                    }
                    prop_assert_eq!(Some(&committed.oldest_kept), expected.keys().next());
                    nothing_unused(&*store);
                }
                Step::Drop(parts) => {
                    let mut draft = checkpoints.begin(number);
                    for (part, of) in parts {
                        draft.add("stage", &part.to_string(), content(of)).unwrap();
                    }
                }
                Step::Reopen(read) => {
                    epoch += 1;
                    checkpoints = open(&store, epoch).keep(keep);
                    if read {
                        let newest = checkpoints.latest().unwrap().map(|found| found.number);
                        prop_assert_eq!(newest.as_ref(), expected.keys().next_back());
                    }
                }
            }
            let numbers: Vec<_> = expected.keys().copied().collect();
            prop_assert_eq!(checkpoints.numbers(), numbers);
            for (number, all) in &expected {
                prop_assert_eq!(&parts(&checkpoints.load(*number).unwrap()), all);
            }
        }
    }
}
