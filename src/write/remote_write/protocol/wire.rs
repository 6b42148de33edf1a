//! Protobuf as it is written: tags, lengths and varints.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

use prost::encoding::encoded_len_varint;

/// The label that carries the metric name.
pub(in crate::write::remote_write) const NAME_LABEL: &str = "__name__";

/// The wire type of messages, texts and packed lists.
const LENGTH_DELIMITED: u8 = 2;

/// The tag of a message, a text or a packed list in a field of a number below 16.
pub(in crate::write::remote_write) const fn delimited(field: u8) -> u8 {
    field << 3 | LENGTH_DELIMITED
}

/// Appends a number.
#[inline]
pub(in crate::write::remote_write) fn put_varint(out: &mut Vec<u8>, number: u64) {
    if number < 0x80 {
        return out.push(number as u8);
    }
    let (bytes, length) = varint(number);
    out.extend_from_slice(bytes.get(..length).unwrap_or_default());
}

/// The bytes of a number, and how many they are.
#[inline]
fn varint(mut number: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut length = 0;
    for byte in &mut bytes {
        length += 1;
        *byte = number as u8 & 0x7f;
        number >>= 7;
        if number == 0 {
            break;
        }
        *byte |= 0x80;
    }
    (bytes, length)
}

/// Appends a text with its tag and length.
pub(in crate::write::remote_write) fn put_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    out.push(tag);
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// How many bytes a message, a text or a list of a length takes with its tag and length.
pub(in crate::write::remote_write) fn delimited_bytes(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

/// Appends a message that is written by `write`; its length is known only then. `EXPECTED` is how many
/// bytes the length will probably take; where it takes more or less, what is behind it is moved, and the
/// answer is true.
#[inline]
pub(in crate::write::remote_write) fn put_message<const EXPECTED: usize>(
    out: &mut Vec<u8>,
    tag: u8,
    write: impl FnOnce(&mut Vec<u8>),
) -> bool {
    out.push(tag);
    let begin = out.len();
    out.extend_from_slice(&[0; EXPECTED]);
    let behind = out.len();
    write(out);
    let (bytes, length) = varint((out.len() - behind) as u64);
    if length == EXPECTED
        && let Some(place) = out.get_mut(begin..behind)
        && let Some(bytes) = bytes.get(..EXPECTED)
    {
        place.copy_from_slice(bytes);
        return false;
    }
    out.splice(begin..behind, bytes.into_iter().take(length));
    true
}

/// Appends a sample in a field: both fields of the message, also where they are zero, and a start where
/// there is one. Timestamps are ms since the epoch.
#[inline]
pub(in crate::write::remote_write) fn put_sample(
    out: &mut Vec<u8>,
    tag: u8,
    value: f64,
    timestamp: i64,
    start: i64,
) {
    let begin = out.len();
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    // The length, which is written last, is one byte: the longest sample has 33.
    out.extend_from_slice(&[tag, 0, 0x09, a, b, c, d, e, f, g, h, 0x10]);
    put_varint(out, timestamp.cast_unsigned());
    if start != 0 {
        out.push(0x18);
        put_varint(out, start.cast_unsigned());
    }
    let length = out.len() - begin - 2;
    if let Some(place) = out.get_mut(begin + 1) {
        *place = length as u8;
    }
}

/// How many bytes such a sample takes.
pub(in crate::write::remote_write) fn sample_bytes(timestamp: i64, start: i64) -> usize {
    let start = match start {
        0 => 0,
        start => 1 + encoded_len_varint(start.cast_unsigned()),
    };
    2 + 9 + 1 + encoded_len_varint(timestamp.cast_unsigned()) + start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        for length in [0_usize, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            let mut right = vec![7, 0x12];
            prost::encoding::encode_varint(length as u64, &mut right);
            let length_bytes = right.len() - 2;
            right.resize(right.len() + length, 9);
            assert_eq!(delimited_bytes(length) + 1, right.len());
            let write = |out: &mut Vec<u8>| out.resize(out.len() + length, 9);
            let mut out = vec![7];
            let moved = put_message::<1>(&mut out, delimited(2), write);
            assert_eq!((&out, moved), (&right, length_bytes != 1));
            let mut out = vec![7];
            let moved = put_message::<2>(&mut out, delimited(2), write);
            assert_eq!((&out, moved), (&right, length_bytes != 2));
        }
    }

    #[test]
    fn numbers_are_as_prost_writes_them() {
        for shift in 0..64 {
            for number in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let (mut found, mut right) = (Vec::new(), Vec::new());
                put_varint(&mut found, number);
                prost::encoding::encode_varint(number, &mut right);
                assert_eq!(found, right);
            }
        }
    }

    #[test]
    fn samples_take_what_is_said() {
        for timestamp in [0, 1, -1, 1_730_621_750_000, i64::MIN, i64::MAX] {
            for start in [0, 1, -1, 1_730_621_745_000] {
                let mut out = Vec::new();
                put_sample(&mut out, delimited(2), 0.5, timestamp, start);
                assert_eq!(out.len(), sample_bytes(timestamp, start));
                assert_eq!(usize::from(out[1]), out.len() - 2);
            }
        }
    }
}
