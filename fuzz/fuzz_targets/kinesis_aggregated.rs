//! Arbitrary bytes as a record that a Kinesis producer has put together: taken apart or refused, and
//! never more than there is.
//!
//! The bytes are read as they are, and once more as the message of a record whose MD5 is right, because
//! no luck finds one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use md5::{Digest as _, Md5};
use weir::source::user_records;

fn read(bytes: &[u8]) {
    let Some(records) = user_records(bytes) else {
        return;
    };
    let data: usize = records.iter().map(|record| record.data.len()).sum();
    assert!(data <= bytes.len(), "{data} bytes of {}", bytes.len());
    assert!(records.len() <= bytes.len() / 4);
    for record in &records {
        record.hash_key();
    }
}

fuzz_target!(|data: &[u8]| {
    read(data);
    let wrapped = [&[0xf3, 0x89, 0x9a, 0xc2][..], data, &Md5::digest(data)].concat();
    read(&wrapped);
});
