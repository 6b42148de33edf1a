//! What every store has to do.

use std::fs;
use std::sync::Arc;
use std::thread;

use super::checkpoints_tests::{commit, open, parts};
use super::*;

fn basics(store: &dyn Store) {
    assert_eq!(store.list("").unwrap(), Vec::<String>::new());
    assert_eq!(store.get("a/b").unwrap(), None);
    store.delete("a/b").unwrap();
    store.put("a/b", b"one").unwrap();
    store.put("a/c.x", b"").unwrap();
    store.put("ab", &[0; 100_000]).unwrap();
    store.put("a/b", b"two").unwrap();
    assert_eq!(store.get("a/b").unwrap().unwrap(), b"two");
    assert_eq!(store.get("a/c.x").unwrap().unwrap(), b"");
    assert_eq!(store.get("ab").unwrap().unwrap(), [0; 100_000]);
    assert_eq!(store.list("").unwrap(), ["a/b", "a/c.x", "ab"]);
    assert_eq!(store.list("a").unwrap(), ["a/b", "a/c.x", "ab"]);
    assert_eq!(store.list("a/").unwrap(), ["a/b", "a/c.x"]);
    assert_eq!(store.list("a/c").unwrap(), ["a/c.x"]);
    assert_eq!(store.list("none/").unwrap(), Vec::<String>::new());

    store.create("a/n", b"mine").unwrap();
    let error = store.create("a/n", b"theirs").unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error}");
    assert!(error.location.contains("a/n"), "{error}");
    assert_eq!(store.get("a/n").unwrap().unwrap(), b"mine");
    store.delete("a/n").unwrap();
    store.create("a/n", b"again").unwrap();

    store.delete("a/b").unwrap();
    store.sync().unwrap();
    assert_eq!(store.list("").unwrap(), ["a/c.x", "a/n", "ab"]);
    for name in ["", "/a", "a/", "../a", "a//b", "a b", "a/./b", "ä"] {
        let error = store.put(name, b"").unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unsupported, "{name}: {error}");
        assert!(store.get(name).is_err(), "{name}");
    }
    for name in store.list("").unwrap() {
        store.delete(&name).unwrap();
    }
}

/// Of all who create a name at once, one succeeds.
fn one_creator(store: &dyn Store) {
    let won = thread::scope(|scope| {
        let creators: Vec<_> = (0..8_u8)
            .map(|creator| scope.spawn(move || store.create("race/n", &[creator; 10]).is_ok()))
            .collect();
        let won = creators.into_iter().map(|creator| creator.join().unwrap());
        won.collect::<Vec<_>>()
    });
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
    let winner = u8::try_from(won.iter().position(|won| *won).unwrap()).unwrap();
    assert_eq!(store.get("race/n").unwrap().unwrap(), [winner; 10]);
    assert_eq!(store.list("").unwrap(), ["race/n"]);
    store.delete("race/n").unwrap();
}

fn cycle(store: &Arc<dyn Store>) {
    let big = vec![3; 100_000];
    let mut checkpoints = open(store, 1);
    for number in 1..=5_u8 {
        commit(&mut checkpoints, &[("big", &big), ("small", &[number])]).unwrap();
    }
    assert_eq!(checkpoints.numbers(), [3, 4, 5]);
    let read = open(store, 2).latest().unwrap().unwrap();
    let expected = [("big".to_owned(), big), ("small".to_owned(), vec![5])];
    assert_eq!(parts(&read), expected);
    assert_eq!(pipelines(&**store).unwrap(), ["cars"]);
}

/// Two processes on the same state: one stops.
fn fenced(store: &Arc<dyn Store>) {
    let mut one = open(store, 7);
    let mut other = open(store, 8);
    let number = one.next_number();
    commit(&mut one, &[("a", b"one")]).unwrap();
    let error = commit(&mut other, &[("a", b"other")]).unwrap_err();
    let expected = format!(
        "another weir writes the state of pipeline cars: checkpoint {number} was written by host:7 \
         at 1970-01-01T00:00:00.00{number}Z; this one stops"
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(
        parts(&open(store, 9).latest().unwrap().unwrap())[0].1,
        b"one"
    );
    commit(&mut one, &[("a", b"goes on")]).unwrap();
}

fn suite(store: Arc<dyn Store>) {
    basics(&*store);
    one_creator(&*store);
    cycle(&store);
    fenced(&store);
}

#[test]
fn memory() {
    suite(Arc::new(MemoryStore::new()));
}

#[test]
fn a_directory() {
    let folder = tempfile::tempdir().unwrap();
    suite(Arc::new(
        DirectoryStore::open(&folder.path().join("deep/state")).unwrap(),
    ));
}

#[test]
fn a_directory_that_was_left_in_the_middle_of_a_write() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(DirectoryStore::open(folder.path()).unwrap());
    let mut checkpoints = open(&store, 1);
    commit(&mut checkpoints, &[("a", b"one")]).unwrap();
    let files = [
        (
            "checkpoint",
            "00000000000000000001.manifest.0.unfinished",
            false,
        ),
        (
            "checkpoint",
            "00000000000000000002.manifest.0.unfinished",
            true,
        ),
        (
            "data",
            "00000000000000000001-0000000000000001-0000.blob.0.unfinished",
            false,
        ),
        (
            "data",
            "00000000000000000001-0000000000000009-0000.blob",
            false,
        ),
        (
            "data",
            "00000000000000000003-0000000000000009-0000.blob.0.unfinished",
            true,
        ),
        (
            "data",
            "00000000000000000003-0000000000000009-0000.blob",
            true,
        ),
        ("data", "notes.txt", true),
    ];
    for (kind, name, _) in files {
        fs::write(folder.path().join("cars").join(kind).join(name), b"half").unwrap();
    }
    commit(&mut checkpoints, &[("a", b"two")]).unwrap();
    let read = open(&store, 2).latest().unwrap().unwrap();
    assert_eq!(parts(&read), [("a".to_owned(), b"two".to_vec())]);
    for (kind, name, stays) in files {
        let path = folder.path().join("cars").join(kind).join(name);
        assert_eq!(path.exists(), stays, "{name}");
    }
}

#[test]
fn a_directory_that_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, b"").unwrap();
    for path in [path.clone(), path.join("below")] {
        let error = DirectoryStore::open(&path).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains("file"), "{error}");
    }
}

#[cfg(feature = "rocksdb")]
mod with_rocksdb {
    use super::*;

    #[test]
    fn rocksdb() {
        let folder = tempfile::tempdir().unwrap();
        suite(Arc::new(
            RocksStore::open(&folder.path().join("state")).unwrap(),
        ));
    }

    #[test]
    fn what_rocksdb_was_given_is_there_when_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(RocksStore::open(folder.path()).unwrap());
        let big = vec![1; 30 << 20];
        commit(&mut open(&store, 1), &[("a", &big)]).unwrap();
        drop(store);
        let store: Arc<dyn Store> = Arc::new(RocksStore::open(folder.path()).unwrap());
        let read = open(&store, 2).latest().unwrap().unwrap();
        assert!(parts(&read) == [("a".to_owned(), big)]);
    }

    #[test]
    fn rocksdb_is_open_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = RocksStore::open(folder.path()).unwrap();
        store.create("a/b", b"one").unwrap();
        let error = RocksStore::open(folder.path()).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Locked, "{error}");
        let place = folder.path().display();
        let expected = format!("rocksdb {place}: in use by another process: ");
        assert!(error.to_string().starts_with(&expected), "{error}");

        let reader = RocksStore::open_read_only(folder.path()).unwrap();
        assert_eq!(reader.get("a/b").unwrap().unwrap(), b"one");
        let error = reader.put("a/b", b"two").unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unsupported, "{error}");
        drop(store);
        RocksStore::open(folder.path()).unwrap();
    }

    #[test]
    fn a_scratch_database_works_as_any_other_and_begins_empty() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("keyed");
        suite(open_scratch(&place).unwrap());
        let store = open_scratch(&place).unwrap();
        let big = vec![1; 1 << 20];
        for number in 0..100 {
            store.put(&number.to_string(), &big).unwrap();
        }
        for number in 0..99 {
            store.delete(&number.to_string()).unwrap();
        }
        assert!(store.get("99").unwrap() == Some(big));
        assert_eq!(store.list("").unwrap(), ["99"]);
        let error = open_scratch(&place).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Locked, "{error}");
        assert_eq!(store.list("").unwrap(), ["99"], "nothing of it is gone");
        assert!(place.join("CURRENT").exists());
        drop(store);
        let store = open_scratch(&place).unwrap();
        assert_eq!(store.list("").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn rocksdb_that_is_not_there_or_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let error = RocksStore::open_read_only(&folder.path().join("none")).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Missing, "{error}");
        RocksStore::open(folder.path()).unwrap();
        fs::write(folder.path().join("CURRENT"), b"MANIFEST-999\n").unwrap();
        let error = RocksStore::open(folder.path()).unwrap_err();
        assert!(!error.kind.is_temporary(), "{error}");
    }
}

#[cfg(not(feature = "rocksdb"))]
#[test]
fn without_rocksdb() {
    let location = StoreLocation::Rocks("state".into());
    let error = location.open(&S3Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "rocksdb state: not supported: this weir was built without RocksDB; build it with \
         --features rocksdb"
    );
}
