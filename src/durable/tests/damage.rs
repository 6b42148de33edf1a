//! Files that are not as they were written.

use super::*;

/// Reads on behind all damage: the records, and what was told of the damage.
fn read_past_damage(reader: &mut LogReader) -> (Vec<u64>, Vec<String>, u64) {
    let mut records = Vec::new();
    let (mut errors, mut skipped) = (Vec::new(), 0);
    loop {
        match reader.read(1 << 20, &mut records) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
                errors.push(error.to_string());
                match reader.skip_damaged().unwrap() {
                    Some(more) => skipped += more.records,
                    None => break,
                }
            }
        }
    }
    (checked(&records), errors, skipped)
}

/// Changes bytes of a file.
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_torn_end_is_cut_off_wherever_it_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    fill(&mut begin(folder.path()), 5);
    let path = segment_path(folder.path(), 3);
    let whole = fs::read(&path).unwrap();
    // A header of 40 bytes, and two records of 26.
    assert_eq!(whole.len(), 92);
    for end in 40..=whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let next = 3 + (end as u64 - 40) / 26;
        let torn = (end as u64 - 40) % 26;
        // A reader of another process does not wait for the writer to cut it off.
        let mut other = LogReader::open(folder.path(), 0).unwrap();
        assert_eq!(read_all(&mut other), range(0, next));
        let (mut log, recovered) = Log::open(folder.path(), small()).unwrap();
        let expected = Recovered {
            records: u64::from(torn > 0),
            bytes: torn,
            damaged: 0,
        };
        assert_eq!(recovered, expected, "{end}");
        assert_eq!((log.next(), log.durable()), (next, next), "{end}");
        assert_eq!(log.oldest_ms(), Some(0));
        fill(&mut log, 2);
        assert_eq!(read_all(&mut log.reader(0).unwrap()), range(0, next + 2));
        assert_eq!(read_all(&mut other), [next, next + 1]);
        log.trim(3).unwrap();
        log.trim(0).unwrap();
        drop(log);
        for first in positions(folder.path()).unwrap() {
            fs::remove_file(segment_path(folder.path(), first)).unwrap();
        }
        fill(&mut begin(folder.path()), 5);
    }
    for end in 0..40 {
        fs::write(&path, &whole[..end]).unwrap();
        let error = Log::open(folder.path(), small()).unwrap_err();
        assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), &whole[..end], "it is untouched");
    }
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    fill(&mut begin(folder.path()), 8);
    let firsts = positions(folder.path()).unwrap();
    assert_eq!(firsts, [0, 3, 6]);
    for first in firsts {
        let path = segment_path(folder.path(), first);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            // A version that is newer is another error, and is tested elsewhere.
            if (8..12).contains(&at) {
                changed[at] = if at == 8 { 0 } else { continue };
            }
            fs::write(&path, &changed).unwrap();
            let place = format!("byte {at} of {}", path.display());
            let reader = LogReader::open(folder.path(), 0);
            let (records, errors, skipped) = read_past_damage(&mut reader.unwrap());
            let missing = range(0, 8)
                .iter()
                .filter(|position| !records.contains(position))
                .count();
            if at < 40 {
                // Records of a segment that does not begin as one are not read.
                let lost = if first == 6 { 2 } else { 3 };
                assert_eq!((missing, errors.len()), (lost, 1), "{place}: {errors:?}");
            } else {
                assert!(missing > 0, "{place}");
            }
            let opened = Log::open(folder.path(), small());
            if first < 6 {
                assert_eq!((errors.len(), skipped), (1, missing as u64), "{place}");
                let (log, recovered) = opened.unwrap();
                assert_eq!((log.next(), recovered), (8, Recovered::default()));
            } else if at < 40 {
                opened.unwrap_err();
            } else {
                let (log, recovered) = opened.unwrap();
                let kept = log.next() + recovered.records;
                assert!(recovered != Recovered::default(), "{place}");
                assert!(kept <= 8 && log.next() >= 6, "{place}");
                let mut reader = log.reader(0).unwrap();
                let (again, _, _) = read_past_damage(&mut reader);
                assert_eq!(again, records, "{place}");
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(
        read_all(&mut LogReader::open(folder.path(), 0).unwrap()),
        range(0, 8)
    );
}

#[test]
fn damage_is_told_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    fill(&mut begin(folder.path()), 8);
    let path = segment_path(folder.path(), 3);
    let message = format!(
        "{} is damaged at byte 66: record 4 is not what its checksum says",
        path.display()
    );
    change(&path, |bytes| bytes[90] ^= 1);
    for live in [false, true] {
        let log = begin(folder.path());
        let mut reader = match live {
            true => log.reader(0).unwrap(),
            false => LogReader::open(folder.path(), 0).unwrap(),
        };
        let mut records = Vec::new();
        assert_eq!(reader.read(1 << 20, &mut records).unwrap(), 4);
        for _ in 0..2 {
            let error = reader.read(1 << 20, &mut records).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        assert_eq!(reader.position(), 4);
        let expected = Skipped {
            records: 1,
            bytes: 26,
        };
        assert_eq!(reader.skip_damaged().unwrap(), Some(expected));
        assert_eq!(reader.read(1 << 20, &mut records).unwrap(), 3);
        assert_eq!(checked(&records), [0, 1, 2, 3, 5, 6, 7]);
        // Who does not want the damaged record does not hear of it.
        assert_eq!(read_all(&mut log.reader(5).unwrap()), [5, 6, 7]);
    }
}

#[test]
fn segments_that_end_too_early_or_are_missing_are_told() {
    let folder = tempfile::tempdir().unwrap();
    fill(&mut begin(folder.path()), 8);
    let [first, second] = [0, 3].map(|first| segment_path(folder.path(), first));
    change(&second, |bytes| bytes.truncate(80));
    let mut reader = LogReader::open(folder.path(), 0).unwrap();
    let (records, errors, skipped) = read_past_damage(&mut reader);
    assert_eq!((records, skipped), (vec![0, 1, 2, 3, 6, 7], 2));
    let message = format!(
        "{} is damaged at byte 66: it ends before record 4, the next segment begins behind record 6",
        second.display()
    );
    assert_eq!(errors, [message]);
    fs::remove_file(&second).unwrap();
    let mut reader = LogReader::open(folder.path(), 0).unwrap();
    let (records, errors, skipped) = read_past_damage(&mut reader);
    assert_eq!((records, skipped), (vec![0, 1, 2, 6, 7], 3));
    let message = format!(
        "{} is damaged at byte 118: it ends before record 3, the next segment begins behind record 6",
        first.display()
    );
    assert_eq!(errors, [message]);
    // A file under the name of another one.
    fs::copy(&first, &second).unwrap();
    let mut reader = LogReader::open(folder.path(), 4).unwrap();
    let error = reader.read(1, &mut Vec::new()).unwrap_err();
    let message = format!(
        "{} is damaged at byte 12: it begins with record 0, its name says 3",
        second.display()
    );
    assert_eq!(error.to_string(), message);
}

#[test]
fn a_live_reader_is_told_of_records_that_vanish() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = begin(folder.path());
    fill(&mut log, 2);
    let mut reader = log.reader(0).unwrap();
    let path = segment_path(folder.path(), 0);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(70).unwrap();
    let mut records = Vec::new();
    assert_eq!(reader.read(1 << 20, &mut records).unwrap(), 1);
    let error = reader.read(1 << 20, &mut records).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} is damaged at byte 66: record 1 is cut off",
            path.display()
        )
    );
    assert_eq!(reader.skip_damaged().unwrap(), None);
}

#[test]
fn a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fill(&mut begin(folder.path()), 5);
    for first in [0, 3] {
        let path = segment_path(folder.path(), first);
        change(&path, |bytes| bytes[8] = 2);
        let message = format!(
            "{} has version 2 of the log format, this weir reads up to version 1: it was written by \
             a newer weir",
            path.display()
        );
        let error = Log::open(folder.path(), small()).unwrap_err();
        assert_eq!(error.to_string(), message);
        let mut reader = LogReader::open(folder.path(), first).unwrap();
        let error = reader.read(1, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), message);
        change(&path, |bytes| bytes[8] = 1);
    }
    assert_eq!(begin(folder.path()).next(), 5);
}

#[test]
fn a_folder_that_cannot_be_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Log::open(&file.join("log"), small()).unwrap_err();
    let begin = format!("cannot create the folder {}: ", file.join("log").display());
    assert!(error.to_string().starts_with(&begin), "{error}");
    let none = folder.path().join("none");
    let error = LogReader::open(&none, 0).unwrap_err();
    let begin = format!("cannot list {}: ", none.display());
    assert!(error.to_string().starts_with(&begin), "{error}");
}
