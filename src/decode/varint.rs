//! Numbers in groups of seven bits, the lowest first, as protobuf writes them.

/// A number and what stands behind it; nothing where it is cut off or longer than ten bytes. Bits beyond the 64th
/// are dropped, as every reader of protobuf does.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first < 0x80 {
        return Some((u64::from(*first), rest));
    }
    let mut number = u64::from(first & 0x7f);
    for (byte, index) in rest.iter().zip(1_usize..10) {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return Some((number, rest.get(index..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_whole() {
        let cases: [(&[u8], _); 9] = [
            (b"", None),
            (b"\x05x", Some((5, &b"x"[..]))),
            (b"\xac\x02", Some((300, b""))),
            (b"\x80", None),
            (b"\x80\x00", Some((0, b""))),
            (
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                Some((u64::MAX, b"")),
            ),
            (
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
                Some((u64::MAX, b"")),
            ),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(varint(bytes), expected, "{bytes:?}");
        }
    }
}
