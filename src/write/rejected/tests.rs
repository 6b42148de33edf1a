use super::*;
use crate::write::testing::sample;

fn rejected(at: i64) -> RejectedSample {
    RejectedSample {
        rejected_at_ms: at,
        receiver: "http://here/write".to_owned(),
        status: Some(400),
        words: "no".to_owned(),
        sample: sample("up", &[("vehicle", "V1")], at, 1.5),
    }
}

fn store(max_bytes: u64) -> (tempfile::TempDir, RejectedSamples) {
    let folder = tempfile::tempdir().unwrap();
    let store = RejectedSamples::new(folder.path().join("state/rejected"), max_bytes);
    (folder, store)
}

fn times(store: &RejectedSamples) -> Vec<i64> {
    let contents = store.read().unwrap();
    assert_eq!(contents.damaged, []);
    contents
        .samples
        .iter()
        .map(|sample| sample.rejected_at_ms)
        .collect()
}

#[test]
fn what_is_kept_is_read_in_its_order() {
    let (_folder, store) = store(1 << 20);
    assert_eq!(store.read().unwrap(), Contents::default());
    assert_eq!(store.purge().unwrap(), 0);
    assert_eq!(store.keep(&[rejected(3), rejected(1)]).unwrap(), 0);
    assert_eq!(store.keep(&[rejected(2)]).unwrap(), 0);
    let samples = store.read().unwrap().samples;
    assert_eq!(samples, [rejected(1), rejected(2), rejected(3)]);
    assert_eq!(store.purge().unwrap(), 3);
    assert_eq!(times(&store), Vec::<i64>::new());
}

#[test]
fn the_oldest_go_where_there_are_too_many() {
    let mut line = Vec::new();
    rejected(1).write(&mut line).unwrap();
    let (_folder, store) = store(line.len() as u64 * 4);
    let gone: Vec<u64> = (1..=7)
        .map(|at| store.keep(&[rejected(at)]).unwrap())
        .collect();
    assert_eq!(gone, [0, 0, 0, 0, 2, 0, 2]);
    assert_eq!(times(&store), [5, 6, 7]);
}

#[test]
fn a_line_that_was_cut_off_is_told_and_harms_no_other() {
    let (_folder, store) = store(1 << 20);
    store.keep(&[rejected(1), rejected(2)]).unwrap();
    let path = store.folder().join(NEWEST);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    store.keep(&[rejected(3)]).unwrap();
    let contents = store.read().unwrap();
    assert_eq!(contents.samples, [rejected(1), rejected(3)]);
    let [(file, line, _)] = &contents.damaged[..] else {
        panic!("{contents:?}")
    };
    assert_eq!((file, *line), (&path, 2));
}

#[test]
fn what_is_put_aside_is_apart_from_what_comes() {
    let (_folder, store) = store(1 << 20);
    assert_eq!(store.put_aside().unwrap(), Vec::<PathBuf>::new());
    store.keep(&[rejected(1)]).unwrap();
    let [first] = &store.put_aside().unwrap()[..] else {
        panic!("not one file")
    };
    store.keep(&[rejected(2)]).unwrap();
    let aside = store.put_aside().unwrap();
    assert_eq!(aside.len(), 2, "that of an earlier attempt as well");
    assert_eq!(&aside[0], first);
    store.keep(&[rejected(3)]).unwrap();
    assert_eq!(times(&store), [1, 2, 3]);
    for path in aside {
        fs::remove_file(path).unwrap();
    }
    assert_eq!(times(&store), [3]);
}

/// Several shards keep at once, and each has the files turned over now and then.
#[test]
fn of_several_who_keep_at_once_nothing_is_lost_or_counted_twice() {
    let mut line = Vec::new();
    rejected(100).write(&mut line).unwrap();
    let (_folder, store) = store(line.len() as u64 * 20);
    let keep = |first: i64| {
        let kept = (first..first + 100).map(|at| store.keep(&[rejected(at)]).unwrap());
        kept.sum::<u64>()
    };
    let gone: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=4)
            .map(|thread| scope.spawn(move || keep(thread * 1_000)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    let left = times(&store).len();
    assert!((10..=20).contains(&left), "{left}");
    assert_eq!(gone + left as u64, 400);
}
