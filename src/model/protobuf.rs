//! The wire format of Protocol Buffers (<https://protobuf.dev/programming-guides/encoding/>): the fields
//! of a message one after the other, without anything being copied.

/// The longest varint, bytes.
const MAX_VARINT: usize = 10;

/// The content of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// A whole number or a boolean.
    Varint(u64),
    /// Eight bytes: a double or a fixed number.
    Fixed64(u64),
    /// A text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// Four bytes: a float or a fixed number.
    Fixed32(u32),
}

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no message of Protocol Buffers, or it is cut short")]
pub struct Malformed;

/// The fields of a message. Nothing comes behind what is malformed.
#[derive(Debug, Clone)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Of the bytes of a message.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn field(&mut self) -> Result<(u32, Content<'a>), Malformed> {
        let tag = varint(&mut self.0)?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        if number == 0 {
            return Err(Malformed);
        }
        let content = match tag & 7 {
            0 => Content::Varint(varint(&mut self.0)?),
            1 => Content::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = varint(&mut self.0)?;
                let length = usize::try_from(length).map_err(|_| Malformed)?;
                Content::Bytes(self.take(length)?)
            }
            5 => Content::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups are of the past, and nobody sends them.
            _ => return Err(Malformed),
        };
        Ok((number, content))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }
}

impl<'a> Iterator for Fields<'a> {
    /// The number of a field, and its content.
    type Item = Result<(u32, Content<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Takes a varint from the beginning of bytes, which stay as they are where it cannot be read.
///
/// # Errors
/// It has no end, or more than 64 bits.
#[inline]
pub fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    match bytes.split_first() {
        Some((first @ 0..0x80, rest)) => {
            *bytes = rest;
            Ok(u64::from(*first))
        }
        _ => long_varint(bytes),
    }
}

fn long_varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(MAX_VARINT).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if index == MAX_VARINT - 1 && bits > 1 {
            return Err(Malformed);
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = bytes.get(index + 1..).unwrap_or_default();
            return Ok(value);
        }
    }
    Err(Malformed)
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Appends a field of bytes: a text or a message.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_the_guide_shows() {
        // The examples of the page named above.
        let fields: Vec<_> = Fields::of(b"\x08\x96\x01\x12\x07testing").collect();
        assert_eq!(
            fields,
            [
                Ok((1, Content::Varint(150))),
                Ok((2, Content::Bytes(b"testing")))
            ]
        );
        let fixed = b"\x0d\x01\x00\x00\x00\x11\x02\x00\x00\x00\x00\x00\x00\x00";
        let fields: Vec<_> = Fields::of(fixed).collect();
        assert_eq!(
            fields,
            [Ok((1, Content::Fixed32(1))), Ok((2, Content::Fixed64(2)))]
        );
    }

    #[test]
    fn what_is_no_message_is_told_once() {
        for bytes in [
            &b"\x08"[..],
            b"\x08\x96",
            b"\x12\x07test",
            b"\x00\x01",
            b"\x0b\x0c",
            b"\x11\x00",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            let fields: Vec<_> = Fields::of(bytes).collect();
            assert_eq!(fields, [Err(Malformed)], "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn varints_come_back(value: u64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(varint(&mut rest), Ok(value));
            prop_assert!(rest.is_empty());
            for end in 0..bytes.len() {
                let mut cut = &bytes[..end];
                prop_assert_eq!(varint(&mut cut), Err(Malformed));
                prop_assert_eq!(cut, &bytes[..end]);
            }
        }

        #[test]
        fn arbitrary_bytes_end(bytes: Vec<u8>) {
            let fields: Vec<_> = Fields::of(&bytes).collect();
            prop_assert!(fields.len() <= bytes.len());
        }

        #[test]
        fn prost_writes_what_is_read(numbers: Vec<u64>, text in ".{0,300}") {
            let mut bytes = Vec::new();
            for number in &numbers {
                prost::encoding::uint64::encode(7, number, &mut bytes);
            }
            prost::encoding::string::encode(9, &text, &mut bytes);
            let mut expected: Vec<_> = numbers
                .iter()
                .map(|number| Ok((7, Content::Varint(*number))))
                .collect();
            expected.push(Ok((9, Content::Bytes(text.as_bytes()))));
            prop_assert_eq!(Fields::of(&bytes).collect::<Vec<_>>(), expected);
        }
    }
}
