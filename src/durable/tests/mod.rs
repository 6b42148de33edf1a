mod damage;
mod model;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::folder::{positions, segment_path};
use super::*;
use crate::testing::{LIMIT, wait_until};

/// Segments so small that they hold three records of [`payload`].
fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 120,
        ..LogConfig::default()
    }
}

fn begin(folder: &Path) -> Log {
    open(folder, small())
}

/// Opens a log to which nothing has happened.
fn open(folder: &Path, config: LogConfig) -> Log {
    let (log, recovered) = Log::open(folder, config).unwrap();
    assert_eq!(recovered, Recovered::default());
    log
}

fn payload(position: u64) -> Vec<u8> {
    format!("record {position:3}").into_bytes()
}

fn time(position: u64) -> i64 {
    i64::try_from(position).unwrap() * 1000
}

fn fill(log: &mut Log, records: u64) {
    for _ in 0..records {
        let position = log.next();
        let appended = log.append(time(position), &payload(position));
        assert_eq!(appended.unwrap(), position);
    }
}

fn checked(records: &[Record]) -> Vec<u64> {
    for record in records {
        assert_eq!(record.bytes, payload(record.position));
        assert_eq!(record.time_ms, time(record.position));
    }
    records.iter().map(|record| record.position).collect()
}

fn read_all(reader: &mut LogReader) -> Vec<u64> {
    let mut records = Vec::new();
    while reader.read(30, &mut records).unwrap() > 0 {}
    checked(&records)
}

fn range(from: u64, to: u64) -> Vec<u64> {
    (from..to).collect()
}

#[test]
fn readers_see_what_is_appended() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = begin(folder.path());
    let mut live = log.reader(0).unwrap();
    let mut other = LogReader::open(folder.path(), 0).unwrap();
    let mut late = log.reader(0).unwrap().durable_only();
    assert_eq!(read_all(&mut live), [0; 0]);
    fill(&mut log, 1);
    assert_eq!(read_all(&mut live), [0]);
    assert_eq!(read_all(&mut other), [0]);
    assert_eq!(read_all(&mut late), [0; 0]);
    fill(&mut log, 9);
    assert_eq!(positions(folder.path()).unwrap(), [0, 3, 6, 9]);
    assert_eq!(read_all(&mut live), range(1, 10));
    assert_eq!(read_all(&mut other), range(1, 10));
    // A segment is synced when it is complete.
    assert_eq!(read_all(&mut late), range(0, 9));
    assert_eq!(log.sync().unwrap(), 10);
    assert_eq!(read_all(&mut late), [9]);
    assert_eq!((live.position(), log.records()), (10, 10));

    for from in 0..=10 {
        let expected = range(from, 10);
        assert_eq!(read_all(&mut log.reader(from).unwrap()), expected);
        let mut other = LogReader::open(folder.path(), from).unwrap();
        assert_eq!(read_all(&mut other), expected);
    }
    let message = "record 11 is asked for, but the log ends before record 10: records that were \
                   read before are gone";
    assert_eq!(log.reader(11).unwrap_err().to_string(), message);
    let mut other = LogReader::open(folder.path(), 11).unwrap();
    let error = other.read(1, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), message);
    fill(&mut log, 2);
    assert_eq!(read_all(&mut other), [11]);
}

#[test]
fn a_reader_that_waits_for_durable_records_may_begin_before_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = begin(folder.path());
    fill(&mut log, 2);
    let mut late = log.reader(2).unwrap().durable_only();
    assert_eq!(read_all(&mut late), [0; 0]);
    fill(&mut log, 1);
    assert!(!late.wait(Duration::ZERO));
    log.sync().unwrap();
    assert!(late.wait(Duration::ZERO));
    assert_eq!(read_all(&mut late), [2]);
}

#[test]
fn as_much_is_read_as_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = begin(folder.path());
    fill(&mut log, 10);
    let mut reader = log.reader(0).unwrap();
    let mut records = Vec::new();
    // A record has 10 bytes; one is given even where it is too large.
    for (max_bytes, count) in [(1, 1), (0, 1), (11, 2), (40, 4), (1000, 2), (1000, 0)] {
        assert_eq!(reader.read(max_bytes, &mut records).unwrap(), count);
    }
    assert_eq!(checked(&records), range(0, 10));
    // Larger than what is read at once, and larger than a segment.
    let large = vec![7; 600_000];
    log.append(0, &large).unwrap();
    fill(&mut log, 1);
    records.clear();
    assert_eq!(reader.read(usize::MAX, &mut records).unwrap(), 2);
    assert_eq!(records[0].bytes, large);
    assert_eq!(checked(&records[1..]), [11]);
    let bytes = MAX_RECORD_BYTES + 1;
    assert_eq!(
        log.append(0, &vec![0; bytes]).unwrap_err().to_string(),
        "a record of 67108865 bytes is too large for a log, which takes up to 67108864"
    );
    assert_eq!(log.next(), 12);
}

#[test]
fn records_that_belong_together_are_there_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = begin(folder.path());
    fill(&mut log, 2);
    // They do not fit into the segment, nor into any.
    log.append_all(2_000, 5, 50, |index, out| {
        *out = payload(2 + index as u64);
    })
    .unwrap();
    assert_eq!(positions(folder.path()).unwrap(), [0, 2]);
    assert_eq!((log.next(), log.records()), (7, 7));
    let mut reader = log.reader(0).unwrap();
    let mut records = Vec::new();
    while reader.read(30, &mut records).unwrap() > 0 {}
    let found: Vec<_> = records.into_iter().map(|record| record.bytes).collect();
    assert_eq!(found, (0..7).map(payload).collect::<Vec<_>>());
    log.append_all(7_000, 0, 0, |_, _| ()).unwrap();
    assert_eq!(log.next(), 7);
}

#[test]
fn of_records_that_cannot_all_be_written_none_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig::default();
    let mut log = open(folder.path(), config);
    fill(&mut log, 1);
    let mut reader = log.reader(0).unwrap();
    let (bytes, mut ahead) = (log.bytes(), Vec::new());
    let error = log.append_all(0, 3, 0, |index, out| match index {
        0 => *out = b"of another".to_vec(),
        1 => *out = vec![7; 300_000],
        // They are in the file by now, and the reader reads ahead.
        _ => {
            assert_eq!(reader.read(1, &mut ahead).unwrap(), 1);
            *out = vec![0; MAX_RECORD_BYTES + 1];
        }
    });
    assert!(matches!(error, Err(LogError::TooLarge { .. })), "{error:?}");
    assert_eq!((log.next(), log.records(), log.bytes()), (1, 1, bytes));
    assert_eq!(read_all(&mut reader), [0; 0]);
    // Others take their place, also for who has read ahead.
    fill(&mut log, 2);
    assert_eq!(read_all(&mut reader), [1, 2]);
    drop(log);
    let log = open(folder.path(), config);
    assert_eq!(read_all(&mut log.reader(0).unwrap()), [0, 1, 2]);
}

#[test]
fn a_log_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..7 {
        let mut log = begin(folder.path());
        assert_eq!((log.next(), log.durable()), (round * 2, round * 2));
        assert_eq!(log.oldest_ms(), (round > 0).then_some(0));
        fill(&mut log, 2);
        assert_eq!(
            read_all(&mut log.reader(0).unwrap()),
            range(0, round * 2 + 2)
        );
        let files = positions(folder.path()).unwrap().into_iter();
        let lengths = files.map(|first| {
            let file = fs::metadata(segment_path(folder.path(), first));
            file.unwrap().len()
        });
        assert_eq!(log.bytes(), lengths.sum::<u64>());
    }
}

#[test]
fn a_log_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let _log = begin(folder.path());
    let error = Log::open(folder.path(), small()).unwrap_err();
    assert!(matches!(error, LogError::Locked(_)), "{error}");
    let words = format!("is in use by process {}", std::process::id());
    assert!(error.to_string().contains(&words), "{error}");
}

#[test]
fn a_reader_is_woken() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = begin(folder.path());
    let mut reader = log.reader(0).unwrap();
    // A reader that is not woken waits until somebody ends the test.
    let waiting = std::thread::spawn(move || {
        let woken = reader.wait(Duration::from_hours(1));
        (woken, read_all(&mut reader))
    });
    wait_until("the reader waits", || log.waiting_readers() == 1);
    fill(&mut log, 1);
    assert_eq!(waiting.join().unwrap(), (true, vec![0]));
    assert_eq!(log.waiting_readers(), 0);
    assert!(!log.reader(1).unwrap().wait(Duration::from_millis(1)));
}

#[test]
fn readers_keep_up_with_a_writer_in_another_thread() {
    const RECORDS: u64 = 3000;
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(
        folder.path(),
        LogConfig {
            segment_bytes: 4000,
            ..LogConfig::default()
        },
    );
    let readers = [
        log.reader(0).unwrap(),
        log.reader(0).unwrap().durable_only(),
        LogReader::open(folder.path(), 0).unwrap(),
    ];
    std::thread::scope(|scope| {
        for mut reader in readers {
            scope.spawn(move || {
                let (mut records, deadline) = (Vec::new(), Instant::now() + LIMIT);
                while reader.position() < RECORDS {
                    assert!(Instant::now() < deadline, "at {}", reader.position());
                    // Without a writer to wait for, this only gives way.
                    reader.wait(Duration::from_millis(1));
                    reader.read(1000, &mut records).unwrap();
                }
                assert_eq!(checked(&records), range(0, RECORDS));
            });
        }
        for group in 0..RECORDS / 20 {
            fill(&mut log, 20);
            if group % 3 == 0 {
                log.sync().unwrap();
            }
        }
        log.sync().unwrap();
    });
}

#[test]
fn an_open_makes_durable_what_an_earlier_sync_may_have_failed_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = begin(folder.path());
    fill(&mut log, 5);
    drop(log);
    // The system takes all of it for written, so that a sync alone would write nothing.
    let segments = [0, 3].map(|first| segment_path(folder.path(), first));
    let before = segments.each_ref().map(|path| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        fs::read(path).unwrap()
    });
    let log = begin(folder.path());
    let modified = |path: &std::path::PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    // A segment that is complete was synced before the next one began.
    assert_eq!(modified(&segments[0]), std::time::UNIX_EPOCH);
    assert!(modified(&segments[1]) > std::time::UNIX_EPOCH);
    assert_eq!(
        before,
        segments.each_ref().map(|path| fs::read(path).unwrap())
    );
    assert_eq!(read_all(&mut log.reader(0).unwrap()), range(0, 5));
}

#[test]
fn a_sync_is_due_as_configured() {
    let every = Fsync::Every(Duration::from_hours(1));
    for (fsync, at_once) in [(Fsync::Always, true), (every, false), (Fsync::Never, true)] {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path(), LogConfig { fsync, ..small() });
        let later = Instant::now() + Duration::from_hours(2);
        assert_eq!(log.sync_deadline(), None);
        assert!(!log.sync_due(later), "there is nothing to sync");
        fill(&mut log, 2);
        assert_eq!(log.durable(), 0);
        assert_eq!(log.sync_due(Instant::now()), at_once, "{fsync:?}");
        assert!(log.sync_due(later));
        assert_eq!(log.sync().unwrap(), 2);
        assert_eq!((log.durable(), log.sync_due(later)), (2, false));
    }
}

#[test]
fn whole_segments_are_trimmed() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = begin(folder.path());
    fill(&mut log, 8);
    assert_eq!(log.trim(2).unwrap(), Dropped::default());
    let dropped = log.trim(7).unwrap();
    assert_eq!((dropped.records, log.first(), log.next()), (6, 6, 8));
    assert_eq!(log.oldest_ms(), Some(6000));
    assert_eq!(
        log.reader(5).unwrap_err().to_string(),
        "record 5 is not in the log any more, the first one is 6"
    );
    assert_eq!(read_all(&mut log.reader(6).unwrap()), [6, 7]);
    // All of them: the positions go on, also after the log is opened again.
    let before = log.bytes();
    let dropped = log.trim(8).unwrap();
    assert_eq!((dropped.records, log.records()), (2, 0));
    assert_eq!(dropped.bytes, before);
    assert_eq!(log.bytes(), 40);
    assert_eq!(log.trim(100).unwrap(), Dropped::default());
    drop(log);
    let mut log = begin(folder.path());
    assert_eq!((log.first(), log.next(), log.oldest_ms()), (8, 8, None));
    fill(&mut log, 1);
    assert_eq!(read_all(&mut log.reader(8).unwrap()), [8]);
}

#[test]
fn a_full_log_drops_its_oldest_segment() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig {
        segment_bytes: 1 << 20,
        max_bytes: Some(8 * 120),
        ..LogConfig::default()
    };
    let mut log = open(folder.path(), config);
    while !log.is_full() {
        fill(&mut log, 1);
    }
    // 118 bytes a segment of three, an eighth of the limit.
    assert_eq!((log.next(), log.bytes()), (25, 8 * 118 + 66));
    let expected = Dropped {
        records: 3,
        bytes: 118,
    };
    assert_eq!(log.drop_oldest().unwrap(), expected);
    assert_eq!((log.first(), log.is_full()), (3, false));
    for _ in 0..7 {
        assert_eq!(log.drop_oldest().unwrap(), expected);
    }
    assert_eq!(log.drop_oldest().unwrap().records, 1);
    assert_eq!(log.drop_oldest().unwrap(), Dropped::default());
    assert_eq!((log.first(), log.next()), (25, 25));
    fill(&mut log, 1);
    assert_eq!(read_all(&mut log.reader(25).unwrap()), [25]);
}

#[test]
fn old_records_expire() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig {
        max_age: Some(Duration::from_secs(10)),
        ..small()
    };
    let mut log = open(folder.path(), config);
    fill(&mut log, 8);
    // The newest of the first segment is of 2 s.
    assert_eq!(log.expire(12_000).unwrap().records, 0);
    assert_eq!(log.expire(12_001).unwrap().records, 3);
    drop(log);
    let mut log = open(folder.path(), config);
    assert_eq!(log.expire(15_001).unwrap().records, 3);
    // A record with an earlier time than those before it is kept as long as they are.
    log.append(-5, b"").unwrap();
    assert_eq!(log.expire(17_000).unwrap().records, 0);
    drop(log);
    let mut log = open(folder.path(), config);
    assert_eq!(log.expire(17_000).unwrap().records, 0);
    assert_eq!(log.expire(17_001).unwrap().records, 3);
    assert_eq!((log.records(), log.next()), (0, 9));
    // An empty log does not begin a new segment each time.
    assert_eq!(log.expire(99_000).unwrap(), Dropped::default());
    let mut log = begin(tempfile::tempdir().unwrap().path());
    fill(&mut log, 3);
    assert_eq!(log.expire(i64::MAX).unwrap(), Dropped::default());
}

#[test]
fn a_reader_is_told_what_was_deleted_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = begin(folder.path());
    fill(&mut log, 8);
    let mut records = Vec::new();
    let mut live = log.reader(0).unwrap();
    let mut other = LogReader::open(folder.path(), 0).unwrap();
    live.read(1, &mut records).unwrap();
    other.read(1, &mut records).unwrap();
    let mut behind = log.reader(0).unwrap();
    log.trim(6).unwrap();
    for reader in [&mut live, &mut other] {
        let mut rest = Vec::new();
        // The segment that it has open it can still read.
        assert_eq!(reader.read(1000, &mut rest).unwrap(), 2);
        let error = reader.read(1000, &mut rest).unwrap_err();
        assert!(
            matches!(error, LogError::ReadFrom { asked: 3, first: 6 }),
            "{error}"
        );
        reader.seek(6).unwrap();
        assert_eq!(read_all(reader), [6, 7]);
    }
    let error = behind.read(1, &mut records).unwrap_err();
    assert!(
        matches!(error, LogError::ReadFrom { asked: 0, first: 6 }),
        "{error}"
    );
}

#[test]
fn positions_can_be_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = begin(folder.path());
    let mut live = log.reader(0).unwrap();
    let mut other = LogReader::open(folder.path(), 0).unwrap();
    fill(&mut log, 2);
    log.skip_to(1).unwrap();
    assert_eq!(log.next(), 2);
    log.skip_to(20).unwrap();
    assert_eq!((log.next(), log.durable(), log.records()), (20, 20, 2));
    fill(&mut log, 2);
    log.skip_to(30).unwrap();
    drop(log);
    let mut log = begin(folder.path());
    assert_eq!((log.next(), log.records()), (30, 4));
    fill(&mut log, 1);
    let expected = [0, 1, 20, 21, 30];
    assert_eq!(read_all(&mut other), expected);
    assert_eq!(read_all(&mut log.reader(0).unwrap()), expected);
    assert_eq!(read_all(&mut log.reader(15).unwrap()), [20, 21, 30]);
    // The log that this reader belonged to has ended.
    assert_eq!(read_all(&mut live), [0, 1, 20, 21]);
    assert_eq!(log.trim(22).unwrap().records, 4);
    assert_eq!(log.first(), 30);
}

#[test]
fn a_segment_that_cannot_be_begun_is_an_error_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = begin(folder.path());
    fill(&mut log, 3);
    let path = segment_path(folder.path(), 3);
    let obstacle = path.with_extension("log.new");
    fs::create_dir(&obstacle).unwrap();
    for _ in 0..2 {
        let error = log.append(0, &payload(3)).unwrap_err();
        let begin = format!("cannot create {}: ", path.display());
        assert!(error.to_string().starts_with(&begin), "{error}");
        assert_eq!(log.next(), 3);
    }
    fs::remove_dir(&obstacle).unwrap();
    fill(&mut log, 2);
    assert_eq!(read_all(&mut log.reader(0).unwrap()), range(0, 5));
    drop(log);
    // What a crash leaves of one that was being made goes.
    fs::write(&obstacle, "weir").unwrap();
    begin(folder.path());
    assert!(!obstacle.exists());
}
