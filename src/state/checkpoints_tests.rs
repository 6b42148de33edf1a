use std::sync::Arc;

use super::testing::Volatile;
use super::*;

/// A process that writes state of the pipeline `cars`.
pub(super) fn identity(epoch: u64) -> Identity {
    Identity {
        pipeline: "cars".to_owned(),
        writer: format!("host:{epoch}"),
        epoch,
    }
}

pub(super) fn about(created_ms: i64) -> About {
    About {
        created_ms,
        acknowledged_ms: None,
        weir_version: "0.1.0".to_owned(),
    }
}

pub(super) fn open(store: &Arc<dyn Store>, epoch: u64) -> Checkpoints {
    Checkpoints::open(Arc::clone(store), identity(epoch)).unwrap()
}

pub(super) fn commit(
    checkpoints: &mut Checkpoints,
    parts: &[(&str, &[u8])],
) -> Result<Committed, StateError> {
    let number = checkpoints.next_number();
    let mut draft = checkpoints.begin(number);
    for (part, bytes) in parts {
        draft.add("stage", part, bytes)?;
    }
    draft.commit(about(i64::try_from(number).unwrap()))
}

/// Commits an empty checkpoint that says up to when samples were acknowledged.
pub(super) fn commit_acknowledged(checkpoints: &mut Checkpoints, acknowledged_ms: Option<i64>) {
    let number = checkpoints.next_number();
    let about = About {
        acknowledged_ms,
        ..about(0)
    };
    checkpoints.begin(number).commit(about).unwrap();
}

#[test]
fn what_is_withdrawn_is_not_gone_on_from_and_its_number_not_used_again() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut checkpoints = open(&store, 1);
    for bytes in [b"one", b"two", b"tri", b"for"] {
        commit(&mut checkpoints, &[("part", bytes)]).unwrap();
    }
    let mut checkpoints = open(&store, 2);
    assert!(checkpoints.withdraw(9).unwrap().is_empty());
    assert_eq!(checkpoints.withdraw(3).unwrap(), [4, 3]);
    assert_eq!(checkpoints.latest().unwrap().unwrap().number, 2);
    assert_eq!(checkpoints.next_number(), 5);
    commit(&mut checkpoints, &[("part", b"new")]).unwrap();
    assert_eq!(checkpoints.numbers(), [2, 5], "three were kept before");
    // Nothing is left of them.
    let names = store.list("cars/").unwrap();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn what_is_withdrawn_does_not_come_back_after_a_loss_of_power() {
    let volatile = Arc::new(Volatile::default());
    let store: Arc<dyn Store> = Arc::<Volatile>::clone(&volatile);
    let mut checkpoints = open(&store, 1);
    for bytes in [b"one", b"two"] {
        commit(&mut checkpoints, &[("part", bytes)]).unwrap();
    }
    assert_eq!(open(&store, 2).withdraw(2).unwrap(), [2]);
    volatile.lose_power();
    assert_eq!(open(&store, 3).numbers(), [1]);
}

#[test]
fn the_newest_before_those_that_may_be_withdrawn_stays() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut checkpoints = open(&store, 1).keep(2);
    for (first, kept) in [
        (None, vec![1]),
        (None, vec![1, 2]),
        (Some(3), vec![2, 3]),
        (Some(3), vec![2, 3, 4]),
        (Some(3), vec![2, 3, 4, 5]),
        (Some(5), vec![4, 5, 6]),
        (None, vec![6, 7]),
    ] {
        checkpoints.may_withdraw(first);
        let committed = commit(&mut checkpoints, &[("part", b"bytes")]).unwrap();
        assert_eq!(checkpoints.numbers(), kept, "{first:?}");
        assert_eq!(committed.oldest_kept, kept[0]);
    }
}

#[test]
fn what_is_acknowledged_is_that_of_the_oldest_which_is_kept() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let savepoints = Savepoints::new(Arc::clone(&store), identity(1));
    assert_eq!(savepoints.acknowledged_ms().unwrap(), Some(i64::MAX));
    let mut checkpoints = open(&store, 1).keep(2);
    assert_eq!(checkpoints.acknowledged_ms(), None);
    for (acknowledged, oldest) in [
        (Some(7), Some(7)),
        (Some(9), Some(7)),
        (Some(11), Some(9)),
        (None, None),
        (Some(12), None),
        (Some(13), Some(12)),
    ] {
        commit_acknowledged(&mut checkpoints, acknowledged);
        assert_eq!(checkpoints.acknowledged_ms(), oldest, "{acknowledged:?}");
        let newest = *checkpoints.numbers().last().unwrap();
        if newest == 2 || newest == 3 {
            let checkpoint = checkpoints.load(newest).unwrap();
            assert_eq!(checkpoint.acknowledged_ms, acknowledged);
            savepoints.save(&format!("s{newest}"), &checkpoint).unwrap();
        }
    }
    assert_eq!(savepoints.acknowledged_ms().unwrap(), Some(9));
    assert_eq!(open(&store, 2).acknowledged_ms(), Some(12));
    savepoints.delete("s2").unwrap();
    assert_eq!(savepoints.acknowledged_ms().unwrap(), Some(11));
}

/// The parts of a checkpoint with their bytes.
pub(super) fn parts(checkpoint: &Checkpoint) -> Vec<(String, Vec<u8>)> {
    let read = |entry: &Entry| {
        let bytes = checkpoint.read(entry).unwrap();
        assert_eq!(bytes.len() as u64, entry.bytes);
        (entry.part.clone(), bytes)
    };
    checkpoint.entries().iter().map(read).collect()
}

fn owned(parts: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    let own = |(part, bytes): &(&str, &[u8])| ((*part).to_owned(), bytes.to_vec());
    parts.iter().map(own).collect()
}

#[test]
fn a_checkpoint_reads_back() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut checkpoints = open(&store, 1);
    assert!(checkpoints.latest().unwrap().is_none());
    let first: [(&str, &[u8]); 3] = [("a", &[1; 100_000]), ("b", b""), ("a", b"more")];
    let committed = commit(&mut checkpoints, &first).unwrap();
    assert_eq!((committed.number, committed.oldest_kept), (1, 1));
    let read = checkpoints.latest().unwrap().unwrap();
    assert_eq!(parts(&read), owned(&first));
    assert_eq!((read.number, read.created_ms), (1, 1));
    assert_eq!(
        (read.pipeline.as_str(), read.writer.as_str()),
        ("cars", "host:1")
    );

    let second: [(&str, &[u8]); 1] = [("a", b"other")];
    commit(&mut checkpoints, &second).unwrap();
    let read = open(&store, 2).latest().unwrap().unwrap();
    assert_eq!(parts(&read), owned(&second));
}

/// A memory store with checkpoints 1 to 3, whose part `a` holds the number.
fn three() -> Arc<dyn Store> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut checkpoints = open(&store, 1);
    for number in 1..=3_u8 {
        commit(&mut checkpoints, &[("a", &[number; 100])]).unwrap();
    }
    store
}

fn manifest(number: u64) -> String {
    names::checkpoint("cars", number)
}

fn blob(number: u64) -> String {
    format!("cars/data/{}", names::blob(number, 1, 0))
}

fn change(store: &dyn Store, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = store.get(name).unwrap().unwrap();
    change(&mut bytes);
    store.put(name, &bytes).unwrap();
}

fn newest(store: &Arc<dyn Store>) -> Result<Option<u64>, StateError> {
    Ok(open(store, 2).latest()?.map(|found| found.number))
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    type Damage = fn(&dyn Store);
    let damages: [Damage; 7] = [
        |store| change(store, &manifest(3), |bytes| bytes.truncate(bytes.len() - 1)),
        |store| change(store, &manifest(3), |bytes| *bytes.last_mut().unwrap() ^= 1),
        |store| change(store, &manifest(3), |bytes| bytes.clear()),
        |store| change(store, &manifest(3), |bytes| bytes[0] = b'W'),
        |store| store.delete(&blob(3)).unwrap(),
        |store| change(store, &blob(3), |bytes| bytes[3] ^= 1),
        |store| change(store, &blob(3), |bytes| bytes.push(0)),
    ];
    for (index, damage) in damages.into_iter().enumerate() {
        let store = three();
        damage(&*store);
        assert_eq!(newest(&store), Ok(Some(2)), "damage {index}");
        // It goes on behind the one that is damaged.
        let mut checkpoints = open(&store, 2);
        assert_eq!(
            parts(&checkpoints.latest().unwrap().unwrap())[0].1,
            [2; 100]
        );
        let committed = commit(&mut checkpoints, &[("a", &[2; 100])]).unwrap();
        assert_eq!(committed.number, 4);
        assert_eq!(newest(&store), Ok(Some(4)), "damage {index}");
    }
}

#[test]
fn all_damaged_is_an_error() {
    let store = three();
    for number in 1..=3 {
        store.delete(&blob(number)).unwrap();
    }
    let error = newest(&store).unwrap_err();
    let expected = format!(
        "none of the 3 checkpoints of pipeline cars can be used; the newest: checkpoint 3 of \
         pipeline cars in memory: {} is missing",
        blob(3)
    );
    assert_eq!(error.to_string(), expected);
    // Nothing was touched.
    assert_eq!(store.list("cars/checkpoint/").unwrap().len(), 3);
}

#[test]
fn a_newer_format_is_refused() {
    let store = three();
    change(&*store, &manifest(3), |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let text = text.replace("weir checkpoint 1 ", "weir checkpoint 2 ");
        *bytes = text.replace("\"0.1.0\"", "\"9.0.0\"").into_bytes();
    });
    let before = store.list("").unwrap();
    let error = newest(&store).unwrap_err();
    assert_eq!(
        error.to_string(),
        "checkpoint 3 of pipeline cars in memory has format 2, written by weir 9.0.0, and this weir \
         reads formats up to 1: use the newer weir, or start without it"
    );
    assert_eq!(store.list("").unwrap(), before);
}

#[test]
fn state_of_another_pipeline_is_refused() {
    let store = three();
    for name in store.list("cars/").unwrap() {
        let bytes = store.get(&name).unwrap().unwrap();
        store
            .put(&name.replace("cars/", "trucks/"), &bytes)
            .unwrap();
    }
    let trucks = Identity {
        pipeline: "trucks".to_owned(),
        ..identity(2)
    };
    let error = Checkpoints::open(Arc::clone(&store), trucks).unwrap_err();
    assert_eq!(
        error.to_string(),
        "checkpoint 1 of pipeline trucks in memory is of pipeline cars, not of trucks"
    );
    assert_eq!(pipelines(&*store).unwrap(), ["cars", "trucks"]);
}

#[test]
fn a_store_that_does_not_answer_is_not_an_empty_one() {
    let store = three();
    let faulty = Arc::new(testing::Faulty::new(Arc::clone(&store)));
    let through: Arc<dyn Store> = Arc::<testing::Faulty>::clone(&faulty);
    let mut checkpoints = open(&through, 2);
    for succeed in 0..2 {
        faulty.fail_at(succeed, testing::Fault::Refused, false);
        let error = checkpoints.latest().unwrap_err();
        assert!(matches!(error, StateError::Store(_)), "{error}");
    }
    assert_eq!(checkpoints.latest().unwrap().unwrap().number, 3);
}

#[test]
fn what_has_not_changed_is_not_stored_again() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut checkpoints = open(&store, 1);
    let mut random = fastrand::Rng::with_seed(1);
    let same: Vec<u8> = (0..50_000).map(|_| random.u8(..)).collect();
    let first = commit(&mut checkpoints, &[("a", &same), ("b", b"1")]).unwrap();
    assert!(first.new_bytes > 50_000, "{first:?}");
    let second = commit(&mut checkpoints, &[("b", b"2"), ("renamed", &same)]).unwrap();
    assert!(
        second.new_bytes < 2_000 && second.bytes > 50_000,
        "{second:?}"
    );
    // Another process that has read the state refers to it as well.
    let mut other = open(&store, 2);
    other.latest().unwrap();
    let third = commit(&mut other, &[("a", &same)]).unwrap();
    assert!(
        third.new_bytes < 2_000 && third.bytes == 50_000,
        "{third:?}"
    );
}

#[test]
fn a_piece_is_encoded_once() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut checkpoints = open(&store, 1);
    let mut encoded = Vec::new();
    for pieces in [[1, 2], [2, 3], [2, 4], [1, 2]] {
        let number = checkpoints.next_number();
        let mut draft = checkpoints.begin(number);
        for piece in pieces {
            let encode = || {
                encoded.push((number, piece));
                Ok(vec![u8::try_from(piece).unwrap(); 20])
            };
            draft.add_piece("stage", "part", piece, encode).unwrap();
        }
        draft.commit(about(0)).unwrap();
        let read = checkpoints.load(number).unwrap();
        let expected = pieces.map(|piece| {
            let bytes = vec![u8::try_from(piece).unwrap(); 20];
            ("part".to_owned(), bytes)
        });
        assert_eq!(parts(&read), expected);
    }
    // Piece 1 was in no checkpoint for a while, so its bytes may be gone.
    assert_eq!(encoded, [(1, 1), (1, 2), (2, 3), (3, 4), (4, 1)]);
}

#[test]
fn a_writer_that_slept_is_fenced() {
    let store = three();
    let mut slow = open(&store, 5);
    let mut quick = open(&store, 6);
    for number in 4..=9_u8 {
        commit(&mut quick, &[("a", &[number])]).unwrap();
    }
    // Its number is free again.
    assert_eq!(slow.next_number(), 4);
    let error = commit(&mut slow, &[("a", b"slow")]).unwrap_err();
    let fenced = StateError::Fenced {
        pipeline: "cars".to_owned(),
        number: 9,
        by: "host:6 at 1970-01-01T00:00:00.009Z".to_owned(),
    };
    assert_eq!(error, fenced);
    assert_eq!(newest(&store), Ok(Some(9)));
    assert_eq!(checkpoint_names(&*store), [7, 8, 9].map(manifest));
    assert_eq!(store.list("cars/data/").unwrap().len(), 3);
}

fn checkpoint_names(store: &dyn Store) -> Vec<String> {
    store.list("cars/checkpoint/").unwrap()
}

#[test]
fn numbers_only_grow() {
    let store = three();
    let mut checkpoints = open(&store, 2);
    let error = checkpoints.begin(3).commit(about(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "checkpoint 3 cannot follow checkpoint 3: use a higher number"
    );
    assert_eq!(checkpoints.begin(10).commit(about(0)).unwrap().number, 10);
    assert_eq!(checkpoints.next_number(), 11);
    let error = checkpoints.load(4).unwrap_err();
    assert_eq!(error.to_string(), "pipeline cars has no checkpoint 4");
}

#[test]
fn large_parts_are_cut() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut checkpoints = open(&store, 1);
    let mut random = fastrand::Rng::with_seed(3);
    let mut large = vec![0; 20_000_000];
    random.fill(&mut large);
    commit(&mut checkpoints, &[("small", b"x"), ("large", &large)]).unwrap();
    assert_eq!(store.list("cars/data/").unwrap().len(), 3);
    let read = checkpoints.latest().unwrap().unwrap();
    assert!(parts(&read)[1].1 == large);
}
