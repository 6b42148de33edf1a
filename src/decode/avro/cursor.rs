//! Reads what Avro's binary encoding is made of.

use super::super::events::Refusal;
use super::super::metrics::Reason;

/// A place in a record.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

pub(super) fn broken(message: impl Into<String>) -> Refusal {
    (Reason::Malformed, message.into())
}

impl<'b> Cursor<'b> {
    /// At the beginning.
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self::at(bytes, 0)
    }

    /// At a byte.
    pub(super) fn at(bytes: &'b [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// The next bytes.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Result<&'b [u8], Refusal> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.get(..length) {
            Some(taken) => {
                self.at += length;
                Ok(taken)
            }
            None => Err(self.cut_off()),
        }
    }

    #[cold]
    fn cut_off(&self) -> Refusal {
        broken(format!("cut off at byte {}", self.bytes.len()))
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at.min(self.bytes.len())
    }

    /// That there is nothing more.
    pub(super) fn end(&self) -> Result<(), Refusal> {
        match self.left() {
            0 => Ok(()),
            _ => Err(broken(format!(
                "something behind the end at byte {}",
                self.at
            ))),
        }
    }

    /// A number of variable length.
    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, Refusal> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if let [byte @ 0..0x80, ..] = rest {
            self.at += 1;
            return Ok(zigzag(u64::from(*byte)));
        }
        let mut number = 0;
        for (byte, shift) in rest.iter().zip((0..64_u32).step_by(7)) {
            // The tenth byte has room for one bit only.
            if shift == 63 && *byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                self.at += shift as usize / 7 + 1;
                return Ok(zigzag(number));
            }
        }
        Err(match rest.len() {
            0..10 => self.cut_off(),
            _ => broken(format!("a number of more than 64 bits at byte {}", self.at)),
        })
    }

    /// The same, of 32 bits.
    #[inline]
    pub(super) fn int(&mut self) -> Result<i64, Refusal> {
        let at = self.at;
        let number = self.long()?;
        match i32::try_from(number) {
            Ok(_) => Ok(number),
            Err(_) => Err(broken(format!("an int of more than 32 bits at byte {at}"))),
        }
    }

    /// The length of something that follows.
    #[inline]
    pub(super) fn length(&mut self) -> Result<usize, Refusal> {
        let at = self.at;
        let length = self.long()?;
        usize::try_from(length).map_err(|_| broken(format!("a length of {length} at byte {at}")))
    }

    /// Bytes with their length.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'b [u8], Refusal> {
        let length = self.length()?;
        self.take(length)
    }

    /// A few bytes.
    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let taken = self.take(N)?;
        Ok(taken.first_chunk().copied().unwrap_or([0; N]))
    }

    /// The head of a block of an array or map: how many items there are; none at the end. Where the block
    /// says its size, it is given as well.
    pub(super) fn block(&mut self) -> Result<(u64, Option<usize>), Refusal> {
        let count = self.long()?;
        match count {
            0.. => Ok((count.unsigned_abs(), None)),
            _ => Ok((count.unsigned_abs(), Some(self.length()?))),
        }
    }
}

fn zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: i64) -> Vec<u8> {
        let mut number = ((value << 1) ^ (value >> 63)).cast_unsigned();
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    #[test]
    fn numbers_of_every_length_are_read_and_no_cut_is_one() {
        for shift in 0..64 {
            for value in [
                1_i64 << shift,
                (1_i64 << shift).wrapping_sub(1),
                i64::MIN >> shift,
            ] {
                let bytes = encoded(value);
                let mut cursor = Cursor::new(&bytes);
                assert_eq!(cursor.long(), Ok(value));
                assert_eq!(cursor.end(), Ok(()));
                for end in 0..bytes.len() {
                    let (_, message) = Cursor::new(&bytes[..end]).long().unwrap_err();
                    assert_eq!(message, format!("cut off at byte {end}"));
                }
            }
        }
        let too_long = [0xff; 11];
        let (_, message) = Cursor::new(&too_long).long().unwrap_err();
        assert_eq!(message, "a number of more than 64 bits at byte 0");
        let mut past = [0xff; 10];
        past[9] = 2;
        assert!(Cursor::new(&past).long().is_err());
        let (_, message) = Cursor::new(&encoded(1 << 31)).int().unwrap_err();
        assert_eq!(message, "an int of more than 32 bits at byte 0");
        let (_, message) = Cursor::new(&encoded(-7)).bytes().unwrap_err();
        assert_eq!(message, "a length of -7 at byte 0");
    }
}
