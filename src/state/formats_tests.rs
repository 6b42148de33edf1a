//! What earlier versions of weir have written: a file for every format, each with the same state.
//! `UPDATE=1` writes the file of the newest one where there is none; a file that is there is never
//! written again.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use super::checkpoints_tests::{about, identity, parts};
use super::manifest::FORMAT;
use super::*;

fn path(format: u32) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/state-formats");
    folder.join(format!("v{format}/cars.savepoint"))
}

/// Parts that are compressed, not compressed, empty, and in pieces.
fn expected() -> Vec<(String, Vec<u8>)> {
    let row = |index: u32| format!("vehicle-{index:04};48.137;11.575\n");
    let rows: String = (0..200).map(row).collect();
    let bytes: Vec<u8> = (0..=255).map(|byte: u8| byte.wrapping_mul(167)).collect();
    [
        ("workers/0", rows.as_bytes()),
        ("workers/1", &bytes),
        ("owners/0", b""),
        ("owners/0", b"piece 1"),
        ("owners/0", "Stück 2, 日本".as_bytes()),
    ]
    .map(|(part, bytes)| (part.to_owned(), bytes.to_vec()))
    .into()
}

fn write(path: &PathBuf) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut checkpoints = Checkpoints::open(Arc::clone(&store), identity(7)).unwrap();
    let mut draft = checkpoints.begin(42);
    for (part, bytes) in expected() {
        draft.add("windows", &part, bytes).unwrap();
    }
    draft.commit(about(1_730_592_000_123)).unwrap();
    let savepoints = Savepoints::new(store, identity(7));
    savepoints
        .save("cars", &checkpoints.load(42).unwrap())
        .unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    savepoints
        .export("cars", &mut File::create_new(path).unwrap())
        .unwrap();
}

#[test]
fn every_format_reads() {
    for format in 1..=FORMAT {
        let path = path(format);
        let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
        if update && format == FORMAT && !path.exists() {
            write(&path);
        }
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let savepoints = Savepoints::new(store, identity(8));
        let mut file = File::open(&path).unwrap();
        savepoints.import("old", &mut file).unwrap();
        let loaded = savepoints.load("old").unwrap();
        assert_eq!((loaded.number, loaded.created_ms), (42, 1_730_592_000_123));
        let words = (loaded.weir_version.as_str(), loaded.writer.as_str());
        assert_eq!(words, ("0.1.0", "host:7"));
        assert!(
            loaded
                .entries()
                .iter()
                .all(|entry| entry.stage == "windows")
        );
        assert_eq!(parts(&loaded), expected());
    }
}
