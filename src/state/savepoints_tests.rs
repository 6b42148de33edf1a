use std::sync::Arc;

use super::checkpoints_tests::{commit, identity, open, parts};
use super::*;

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

fn savepoints(store: &Arc<dyn Store>) -> Savepoints {
    Savepoints::new(Arc::clone(store), identity(1))
}

/// A checkpoint that shares bytes with an earlier one.
fn checkpoint(store: &Arc<dyn Store>) -> Checkpoint {
    let mut checkpoints = open(store, 1);
    commit(
        &mut checkpoints,
        &[("a", &[1; 1000]), ("unused", &[7; 5000])],
    )
    .unwrap();
    commit(
        &mut checkpoints,
        &[("a", &[1; 1000]), ("b", b"two"), ("c", b"two"), ("d", b"")],
    )
    .unwrap();
    checkpoints.latest().unwrap().unwrap()
}

#[test]
fn a_savepoint_outlives_its_checkpoint() {
    let store = memory();
    let checkpoint = checkpoint(&store);
    let savepoints = savepoints(&store);
    let saved = savepoints.save("before-1.2", &checkpoint).unwrap();
    assert_eq!((saved.name.as_str(), saved.number), ("before-1.2", 2));
    assert_eq!(
        (saved.created_ms, saved.weir_version.as_str()),
        (2, "0.1.0")
    );
    assert_eq!(saved.bytes, checkpoint.stored_bytes());
    for folder in ["cars/data/", "cars/checkpoint/"] {
        for name in store.list(folder).unwrap() {
            store.delete(&name).unwrap();
        }
    }
    let listed = savepoints.list().unwrap();
    assert_eq!(listed, [Ok(saved)]);
    store
        .put("cars/savepoint/broken/savepoint.manifest", b"no")
        .unwrap();
    let listed = savepoints.list().unwrap();
    assert!(listed[0].is_ok());
    assert_eq!(
        listed[1].clone().unwrap_err().to_string(),
        "savepoint 'broken' of pipeline cars in memory: the manifest does not begin as one"
    );
    savepoints.delete("broken").unwrap();
    let loaded = savepoints.load("before-1.2").unwrap();
    assert_eq!(parts(&loaded), parts(&checkpoint));
    assert_eq!((loaded.number, loaded.created_ms), (2, 2));
    savepoints.delete("before-1.2").unwrap();
    assert_eq!(store.list("").unwrap(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_done_with_savepoints() {
    let store = memory();
    let checkpoint = checkpoint(&store);
    let savepoints = savepoints(&store);
    savepoints.save("one", &checkpoint).unwrap();
    let before = store.list("").unwrap();
    let errors = [
        (
            savepoints.save("one", &checkpoint).unwrap_err(),
            "pipeline cars has a savepoint 'one' already: delete it, or use another name",
        ),
        (
            savepoints.save("../one", &checkpoint).unwrap_err(),
            "'../one' is not a savepoint's name; use up to 100 letters, digits, '-', '_' and '.', \
             and begin with a letter or digit",
        ),
        (
            savepoints.load("two").unwrap_err(),
            "pipeline cars has no savepoint 'two'; there are one",
        ),
        (
            savepoints.delete("two").unwrap_err(),
            "pipeline cars has no savepoint 'two'; there are one",
        ),
    ];
    for (error, expected) in errors {
        assert_eq!(error.to_string(), expected);
    }
    let trucks = Identity {
        pipeline: "trucks".to_owned(),
        ..identity(1)
    };
    let error = Savepoints::new(Arc::clone(&store), trucks)
        .save("x", &checkpoint)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "checkpoint 2 is of pipeline cars, not of trucks"
    );
    assert_eq!(store.list("").unwrap(), before);
}

/// Deletes a savepoint when its first blob is read.
#[derive(Debug)]
struct DeletesMeanwhile(Arc<dyn Store>);

impl Store for DeletesMeanwhile {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.put(name, bytes)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.create(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if name.ends_with(".blob") {
            drop(savepoints(&self.0).delete("one"));
        }
        self.0.get(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.0.list(prefix)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.0.delete(name)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.0.sync()
    }

    fn location(&self) -> String {
        self.0.location()
    }
}

#[test]
fn a_savepoint_that_is_deleted_while_it_is_read() {
    let store = memory();
    savepoints(&store).save("one", &checkpoint(&store)).unwrap();
    let through: Arc<dyn Store> = Arc::new(DeletesMeanwhile(store));
    let error = savepoints(&through).load("one").unwrap_err();
    assert_eq!(
        error.to_string(),
        "savepoint 'one' of pipeline cars was deleted while it was being read"
    );
}

#[test]
fn a_savepoint_whose_writing_fails() {
    use testing::{Fault, Faulty};

    let checkpoint = checkpoint(&memory());
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::Torn] {
        for succeed in 0.. {
            let store = memory();
            let faulty = Arc::new(Faulty::new(Arc::clone(&store)));
            let through: Arc<dyn Store> = Arc::<Faulty>::clone(&faulty);
            faulty.fail_at(succeed, fault, true);
            let saved = savepoints(&through).save("one", &checkpoint);
            if !faulty.has_failed() {
                assert_eq!(succeed, 3, "the calls that were made");
                break;
            }
            assert!(saved.is_err(), "{fault:?} {succeed}");
            match savepoints(&store).load("one") {
                Ok(loaded) => assert_eq!(parts(&loaded), parts(&checkpoint)),
                Err(StateError::NoSavepoint { .. } | StateError::Damaged { .. }) => {}
                Err(error) => panic!("{fault:?} {succeed}: {error}"),
            }
            // Either way its name can be made free, and then nothing is left.
            drop(savepoints(&store).delete("one"));
            assert_eq!(store.list("").unwrap(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_file_brings_a_savepoint_to_another_store() {
    let from = memory();
    let checkpoint = checkpoint(&from);
    savepoints(&from).save("one", &checkpoint).unwrap();
    let mut file = Vec::new();
    let bytes = savepoints(&from).export("one", &mut file).unwrap();
    assert_eq!(bytes, file.len() as u64);

    let to = memory();
    let saved = savepoints(&to)
        .import("copy", &mut file.as_slice())
        .unwrap();
    assert_eq!((saved.number, saved.bytes), (2, checkpoint.stored_bytes()));
    assert_eq!(
        parts(&savepoints(&to).load("copy").unwrap()),
        parts(&checkpoint)
    );

    for end in 0..file.len() {
        let error = savepoints(&to)
            .import("cut", &mut &file[..end])
            .unwrap_err();
        assert!(
            matches!(error, StateError::Damaged { .. }),
            "{end}: {error}"
        );
    }
    for place in 0..file.len() {
        let mut wrong = file.clone();
        wrong[place] ^= 4;
        let error = savepoints(&to).import("changed", &mut wrong.as_slice());
        assert!(error.is_err(), "{place}");
    }
    file.push(0);
    let error = savepoints(&to)
        .import("long", &mut file.as_slice())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "a savepoint's file: it goes on behind its end"
    );
    assert_eq!(savepoints(&to).list().unwrap().len(), 1);
}
