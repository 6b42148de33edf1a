//! Small and capital letters as Go's `strings.ToLower` and `strings.ToUpper` make them: letter by letter,
//! with the simple mapping of Unicode, where Rust's own makes several letters of one (`ß` to `SS`).

/// In small letters.
pub(super) fn lowercase(text: &str) -> String {
    text.chars().map(lower).collect()
}

/// In capital letters.
pub(super) fn uppercase(text: &str) -> String {
    text.chars().map(upper).collect()
}

fn lower(c: char) -> char {
    // The only one whose full mapping has two letters; the simple one is a plain i.
    if c == '\u{130}' {
        return 'i';
    }
    single(c.to_lowercase()).unwrap_or(c)
}

fn upper(c: char) -> char {
    let distance = match u32::from(c) {
        // Greek letters with an iota below, whose simple capitals are Unicode's title case letters.
        0x1f80..=0x1f87 | 0x1f90..=0x1f97 | 0x1fa0..=0x1fa7 => 8,
        0x1fb3 | 0x1fc3 | 0x1ff3 => 9,
        _ => return single(c.to_uppercase()).unwrap_or(c),
    };
    char::from_u32(u32::from(c) + distance).unwrap_or(c)
}

fn single(mut mapping: impl Iterator<Item = char>) -> Option<char> {
    match (mapping.next(), mapping.next()) {
        (Some(c), None) => Some(c),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_letter_by_letter() {
        assert_eq!(lowercase("bAr123Foo ÅΣ İ"), "bar123foo åσ i");
        assert_eq!(uppercase("bAr123Foo åς ß ŉ"), "BAR123FOO ÅΣ ß ŉ");
        assert_eq!(uppercase("ᾳᾀ"), "ᾼᾈ");
    }
}
