//! A log against a list of its records, whatever happens to it.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[derive(Debug, Clone)]
enum Action {
    Append {
        time: i64,
        bytes: Vec<u8>,
    },
    Sync,
    Trim(Index),
    DropOldest,
    Expire(i64),
    SkipTo(u64),
    /// The process ends and the machine goes on.
    Reopen,
    /// The machine ends: of what was not synced something is left, and behind it anything.
    Crash {
        kept: Index,
        garbage: Vec<u8>,
    },
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let garbage = prop_oneof![bytes(), (0_usize..60).prop_map(|count| vec![0; count])];
    let action = prop_oneof![
        12 => (0_i64..100, bytes()).prop_map(|(time, bytes)| Action::Append { time, bytes }),
        3 => Just(Action::Sync),
        2 => any::<Index>().prop_map(Action::Trim),
        1 => Just(Action::DropOldest),
        1 => (0_i64..120).prop_map(Action::Expire),
        1 => (0_u64..5).prop_map(Action::SkipTo),
        1 => Just(Action::Reopen),
        2 => (any::<Index>(), garbage).prop_map(|(kept, garbage)| Action::Crash { kept, garbage }),
    ];
    prop::collection::vec(action, 0..40)
}

/// What should be in the log.
#[derive(Debug, Default)]
struct Model {
    records: Vec<Record>,
    next: u64,
}

impl Model {
    fn behind(&self, position: u64) -> &[Record] {
        let at = self
            .records
            .partition_point(|record| record.position < position);
        &self.records[at..]
    }

    /// Takes note of what the log has deleted, and holds that it was allowed to.
    fn delete(&mut self, dropped: Dropped, log: &Log, may: impl Fn(&Record) -> bool) {
        let kept = self.behind(log.first()).to_vec();
        let deleted = self.records.len() - kept.len();
        assert_eq!(dropped.records, deleted as u64);
        assert!(self.records[..deleted].iter().all(may));
        self.records = kept;
    }

    /// Loses records from one on.
    fn lose(&mut self, from: u64) {
        self.records.retain(|record| record.position < from);
        self.next = from;
    }
}

const CONFIG: LogConfig = LogConfig {
    segment_bytes: 150,
    fsync: Fsync::Always,
    max_bytes: None,
    max_age: Some(Duration::from_millis(50)),
};

fn check(log: &Log, model: &Model, folder: &Path) {
    assert_eq!(log.next(), model.next);
    assert_eq!(log.records(), model.records.len() as u64);
    let first = model.records.first();
    assert_eq!(log.oldest_ms(), first.map(|record| record.time_ms));
    assert_eq!(
        log.first(),
        first.map_or(model.next, |record| record.position)
    );
    let readers = [
        log.reader(log.first()),
        LogReader::open(folder, log.first()),
    ];
    for reader in readers {
        let mut records = Vec::new();
        reader.unwrap().read(usize::MAX, &mut records).unwrap();
        assert_eq!(records, model.records);
    }
    let durable = log.reader(log.first()).unwrap();
    let mut records = Vec::new();
    durable
        .durable_only()
        .read(usize::MAX, &mut records)
        .unwrap();
    let expected = model.records.len() - model.behind(log.durable()).len();
    assert_eq!(records, model.records[..expected]);
}

/// Ends the machine: gives the position from which on everything is lost.
fn crash(folder: &Path, model: &Model, durable: u64, kept: Index, garbage: &[u8]) -> u64 {
    let last = *positions(folder).unwrap().last().unwrap();
    let path = segment_path(folder, last);
    let mut bytes = fs::read(&path).unwrap();
    let sizes = model.behind(durable).iter();
    let sizes: Vec<_> = sizes.map(|record| 16 + record.bytes.len()).collect();
    let pending: usize = sizes.iter().sum();
    let mut left = kept.index(pending + 1);
    let torn = bytes.split_off(bytes.len() - pending + left);
    let end = bytes.len();
    bytes.extend_from_slice(garbage);
    // Garbage that is the rest of the record would be no garbage.
    if let (Some(garbage), Some(torn)) = (bytes.get_mut(end), torn.first())
        && garbage == torn
    {
        *garbage ^= 0x55;
    }
    fs::write(&path, bytes).unwrap();
    let mut lost = durable;
    for size in sizes {
        if size > left {
            break;
        }
        left -= size;
        lost += 1;
    }
    lost
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_log_is_the_list_of_its_records(actions in actions()) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut model = Model::default();
        let mut log = open(folder, CONFIG);
        for action in actions {
            match action {
                Action::Append { time, bytes } => {
                    let position = log.append(time, &bytes).unwrap();
                    assert_eq!(position, model.next);
                    model.next += 1;
                    model.records.push(Record { position, time_ms: time, bytes });
                }
                Action::Sync => {
                    assert_eq!(log.sync().unwrap(), model.next);
                    assert_eq!(log.durable(), model.next);
                }
                Action::Trim(before) => {
                    let before = before.index(model.next as usize + 1) as u64;
                    let dropped = log.trim(before).unwrap();
                    model.delete(dropped, &log, |record| record.position < before);
                }
                Action::DropOldest => {
                    let had = model.records.len();
                    let dropped = log.drop_oldest().unwrap();
                    model.delete(dropped, &log, |_| true);
                    assert_eq!(dropped.records > 0, had > 0);
                }
                Action::Expire(now) => {
                    let dropped = log.expire(now).unwrap();
                    model.delete(dropped, &log, |record| record.time_ms < now - 50);
                }
                Action::SkipTo(more) => {
                    model.next += more;
                    log.skip_to(model.next).unwrap();
                }
                Action::Reopen => {
                    drop(log);
                    log = open(folder, CONFIG);
                    assert_eq!(log.durable(), model.next);
                }
                Action::Crash { kept, garbage } => {
                    let durable = log.durable();
                    drop(log);
                    let lost = crash(folder, &model, durable, kept, &garbage);
                    model.lose(lost);
                    log = Log::open(folder, CONFIG).unwrap().0;
                }
            }
            check(&log, &model, folder);
        }
    }
}
