//! Arbitrary bytes as the file that old journals are folded into: what is read of it is read to the end
//! or up to where it is damaged, and means the same after it was written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::write::rewrite_marks;

/// A frame around some bytes, because no luck finds a checksum.
fn frame(content: &[u8]) -> Vec<u8> {
    let mut crc = !0_u32;
    for byte in content {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    let length = u32::try_from(content.len()).expect("a short input");
    let head = [length.to_le_bytes(), (!crc).to_le_bytes()].concat();
    [head.as_slice(), content].concat()
}

fn check(bytes: &[u8]) {
    let (marks, written) = rewrite_marks(bytes);
    if let Some(written) = written {
        let again = rewrite_marks(&written);
        assert_eq!(again, (marks, Some(written)));
    }
}

fuzz_target!(|data: &[u8]| {
    check(data);
    // The same as contents of frames, each behind a byte with its length.
    let mut bytes = b"weirmark\x01".to_vec();
    let mut rest = data;
    while let Some((length, behind)) = rest.split_first() {
        let (content, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        bytes.extend(frame(content));
        rest = behind;
    }
    check(&bytes);
});
