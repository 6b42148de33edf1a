//! Arbitrary bytes as a segment of a log: nothing is read that was not written, and what follows the
//! last intact record is called torn.
//!
//! The bytes are read as they are, and once more as the payloads of records that are then cut short
//! and damaged, because no luck finds a checksum.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::durable::{Contents, Header, HeaderError, read_segment, write_record};

fn read(bytes: &[u8]) -> Result<(Contents, Vec<(u64, i64, Vec<u8>)>), HeaderError> {
    let mut records = Vec::new();
    let contents = read_segment(bytes, |position, time_ms, payload| {
        records.push((position, time_ms, payload.to_vec()));
    })?;
    let count = records.len() as u64;
    assert_eq!(
        count + contents.damaged,
        contents.next - contents.header.first
    );
    assert!(records.is_sorted_by(|a, b| a.0 < b.0));
    assert!(contents.end <= bytes.len());
    assert_eq!(contents.torn == 0, contents.end == bytes.len());
    if contents.damaged == 0 {
        let mut written = contents.header.to_bytes();
        for (position, time_ms, payload) in &records {
            write_record(*position, *time_ms, payload, &mut written);
        }
        assert_eq!(written, bytes[..contents.end], "what is read was written");
    }
    Ok((contents, records))
}

/// The first bytes say where the segment is cut and which of its bytes is changed and how.
fn check_records(data: &[u8]) {
    let [cut_high, cut_low, at_high, at_low, change, rest @ ..] = data else {
        return;
    };
    let header = Header {
        first: 7,
        after: 7,
        newest_ms: i64::MIN,
    };
    let mut bytes = header.to_bytes();
    let begin = bytes.len();
    let mut written = Vec::new();
    for (position, payload) in (7..).zip(rest.split(|byte| *byte == b'\n')) {
        write_record(position, payload.len() as i64, payload, &mut bytes);
        written.push((position, payload.len() as i64, payload.to_vec()));
    }
    let (whole, all) = read(&bytes).expect("a header");
    assert_eq!(all, written);
    assert_eq!(whole.end, bytes.len());

    let records = bytes.len() - begin;
    let cut = usize::from(u16::from_be_bytes([*cut_high, *cut_low])) % (records + 1);
    bytes.truncate(bytes.len() - cut);
    let at = begin + usize::from(u16::from_be_bytes([*at_high, *at_low]));
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= change;
    }
    let (_, some) = read(&bytes).expect("a header");
    for record in some {
        assert!(written.contains(&record), "{record:?} is invented");
    }
}

fuzz_target!(|data: &[u8]| {
    // Refused or read, but never with a panic.
    drop(read(data));
    check_records(data);
});
