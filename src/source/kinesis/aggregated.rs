//! Records that the Kinesis Producer Library has put together into one.
//!
//! `F3 89 9A C2`, then a protobuf message, then its MD5. See
//! <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>:
//!
//! ```text
//! AggregatedRecord { repeated string partition_key_table = 1; repeated string explicit_hash_key_table = 2;
//!                    repeated Record records = 3 }
//! Record { required uint64 partition_key_index = 1; optional uint64 explicit_hash_key_index = 2;
//!          required bytes data = 3; repeated Tag tags = 4 }
//! ```
//!
//! It is walked over and not made into values: what comes of it borrows from the record, so that a
//! hostile one cannot become many times as large.

use md5::{Digest as _, Md5};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::hash_range::hash_key;

/// What an aggregated record begins with.
const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

/// The bytes of the MD5 at the end.
const DIGEST_BYTES: usize = 16;

/// One of the records that a producer has put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserRecord<'a> {
    /// Its partition key.
    pub partition_key: &'a str,
    /// The hash key that the producer gave in its place.
    pub explicit_hash_key: Option<&'a str>,
    /// Its bytes.
    pub data: &'a [u8],
}

impl UserRecord<'_> {
    /// By which its shard was chosen.
    pub fn hash_key(&self) -> u128 {
        let explicit = self.explicit_hash_key.and_then(|key| key.parse().ok());
        explicit.unwrap_or_else(|| hash_key(self.partition_key.as_bytes()))
    }
}

/// The records in an aggregated record, in their order. None where it is none, or a damaged one: it is then
/// a record like any other.
pub fn user_records(bytes: &[u8]) -> Option<Vec<UserRecord<'_>>> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let length = rest
        .len()
        .checked_sub(DIGEST_BYTES)
        .filter(|length| *length > 0)?;
    let (message, digest) = rest.split_at_checked(length)?;
    if Md5::digest(message).as_slice() != digest {
        return None;
    }
    let (mut partition_keys, mut hash_keys, mut records) = (Vec::new(), Vec::new(), Vec::new());
    let mut walk = Walk(message);
    while let Some(field) = walk.next_field() {
        match field? {
            (1, Value::Bytes(key)) => partition_keys.push(std::str::from_utf8(key).ok()?),
            (2, Value::Bytes(key)) => hash_keys.push(std::str::from_utf8(key).ok()?),
            (3, Value::Bytes(record)) => records.push(record),
            _ => {}
        }
    }
    // The tables may stand behind the records.
    let records = records.into_iter().map(|record| {
        let raw = raw(record)?;
        let explicit = match raw.explicit_hash_key {
            None => None,
            Some(index) => Some(*hash_keys.get(usize::try_from(index).ok()?)?),
        };
        Some(UserRecord {
            partition_key: partition_keys.get(usize::try_from(raw.partition_key).ok()?)?,
            explicit_hash_key: explicit,
            data: raw.data,
        })
    });
    records.collect()
}

/// A record as it is written: with places in the tables.
struct Raw<'a> {
    partition_key: u64,
    explicit_hash_key: Option<u64>,
    data: &'a [u8],
}

fn raw(bytes: &[u8]) -> Option<Raw<'_>> {
    let (mut partition_key, mut explicit_hash_key, mut data) = (None, None, None);
    let mut walk = Walk(bytes);
    while let Some(field) = walk.next_field() {
        match field? {
            (1, Value::Number(index)) => partition_key = Some(index),
            (2, Value::Number(index)) => explicit_hash_key = Some(index),
            (3, Value::Bytes(bytes)) => data = Some(bytes),
            _ => {}
        }
    }
    Some(Raw {
        partition_key: partition_key?,
        explicit_hash_key,
        data: data?,
    })
}

/// The fields of a message.
struct Walk<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Walk<'a> {
    /// The next field; the inner value is none where there is something that is no field.
    fn next_field(&mut self) -> Option<Option<(u32, Value<'a>)>> {
        (!self.0.is_empty()).then(|| self.field())
    }

    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let (tag, wire_type) = decode_key(&mut self.0).ok()?;
        let value = match wire_type {
            WireType::Varint => Value::Number(decode_varint(&mut self.0).ok()?),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut self.0).ok()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            other => {
                skip_field(other, tag, &mut self.0, DecodeContext::default()).ok()?;
                Value::Other
            }
        };
        Some((tag, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    /// Two records of two vehicles, the second one with a hash key of its own; made by another library.
    const VECTOR: &str = "f3899ac20a0476696e310a0476696e3212033132331a0b08001a077b2273223a317d1a0d08011\
                          0001a077b2273223a327d0b3c862da970fa713e743fa7ce5d9834";

    #[derive(Clone, PartialEq, Message)]
    struct AggregatedRecord {
        #[prost(string, repeated, tag = "1")]
        partition_key_table: Vec<String>,
        #[prost(string, repeated, tag = "2")]
        explicit_hash_key_table: Vec<String>,
        #[prost(message, repeated, tag = "3")]
        records: Vec<Record>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Record {
        #[prost(uint64, required, tag = "1")]
        partition_key_index: u64,
        #[prost(uint64, optional, tag = "2")]
        explicit_hash_key_index: Option<u64>,
        #[prost(bytes = "vec", required, tag = "3")]
        data: Vec<u8>,
        #[prost(message, repeated, tag = "4")]
        tags: Vec<Tag>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Tag {
        #[prost(string, required, tag = "1")]
        key: String,
        #[prost(string, optional, tag = "2")]
        value: Option<String>,
    }

    fn vector() -> Vec<u8> {
        let digits: Vec<_> = VECTOR.bytes().filter(u8::is_ascii_hexdigit).collect();
        let bytes = digits.chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).unwrap();
            u8::from_str_radix(pair, 16).unwrap()
        });
        bytes.collect()
    }

    /// With the magic and the MD5.
    fn wrapped(message: &[u8]) -> Vec<u8> {
        [&MAGIC, message, &Md5::digest(message)].concat()
    }

    #[test]
    fn what_another_library_has_put_together_is_taken_apart() {
        let bytes = vector();
        let expected = [
            UserRecord {
                partition_key: "vin1",
                explicit_hash_key: None,
                data: br#"{"s":1}"#,
            },
            UserRecord {
                partition_key: "vin2",
                explicit_hash_key: Some("123"),
                data: br#"{"s":2}"#,
            },
        ];
        assert_eq!(user_records(&bytes).unwrap(), expected);
        assert_eq!(expected[0].hash_key(), hash_key(b"vin1"));
        assert_eq!(expected[1].hash_key(), 123);
    }

    #[test]
    fn what_is_damaged_is_no_aggregated_record() {
        let bytes = vector();
        for end in 0..bytes.len() {
            assert_eq!(user_records(&bytes[..end]), None, "{end}");
        }
        for place in 0..bytes.len() {
            let mut other = bytes.clone();
            other[place] ^= 1;
            assert_eq!(user_records(&other), None, "{place}");
        }
        let record = |partition_key_index, explicit_hash_key_index| Record {
            partition_key_index,
            explicit_hash_key_index,
            data: Vec::new(),
            tags: Vec::new(),
        };
        for record in [record(1, None), record(0, Some(0)), record(u64::MAX, None)] {
            let message = AggregatedRecord {
                partition_key_table: vec!["a".to_owned()],
                explicit_hash_key_table: Vec::new(),
                records: vec![record],
            };
            assert_eq!(user_records(&wrapped(&message.encode_to_vec())), None);
        }
        // A record without its data, a text that is none, a field that is cut off.
        for message in [
            &b"\x0a\x01a\x1a\x02\x08\x00"[..],
            b"\x0a\x01\xff",
            b"\x0a\x7f",
        ] {
            assert_eq!(user_records(&wrapped(message)), None, "{message:?}");
        }
        assert_eq!(user_records(&wrapped(b"")), None, "nothing but the MD5");
    }

    proptest! {
        #[test]
        fn whatever_a_producer_puts_together_comes_apart(
            keys in prop::collection::vec("[a-z]{0,6}", 1..5),
            hash_keys in prop::collection::vec("[0-9]{1,30}", 1..4),
            records in prop::collection::vec(
                (0..9_usize, prop::option::of(0..9_usize), prop::collection::vec(any::<u8>(), 0..40),
                 "[a-z]{0,3}"), 1..30),
        ) {
            let expected: Vec<_> = records.iter().map(|(key, hash_key, data, _)| UserRecord {
                partition_key: &keys[key % keys.len()],
                explicit_hash_key: hash_key.map(|key| hash_keys[key % hash_keys.len()].as_str()),
                data,
            }).collect();
            let message = AggregatedRecord {
                partition_key_table: keys.clone(),
                explicit_hash_key_table: hash_keys.clone(),
                records: records.iter().map(|(key, hash_key, data, tag)| Record {
                    partition_key_index: (key % keys.len()) as u64,
                    explicit_hash_key_index: hash_key.map(|key| (key % hash_keys.len()) as u64),
                    data: data.clone(),
                    tags: vec![Tag { key: tag.clone(), value: None }],
                }).collect(),
            };
            let bytes = wrapped(&message.encode_to_vec());
            prop_assert_eq!(user_records(&bytes).unwrap(), expected);
        }

        #[test]
        fn arbitrary_bytes_are_taken_as_prost_takes_them(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let whole = wrapped(&bytes);
            let found = user_records(&whole);
            prop_assert!(found.iter().flatten().count() <= bytes.len() / 4);
            // Whatever is taken here is a message; prost refuses no more than wrong wire types.
            if let (Some(found), Ok(message)) = (found, AggregatedRecord::decode(&bytes[..])) {
                prop_assert_eq!(found.len(), message.records.len());
            }
            user_records(&bytes);
        }
    }
}
