//! The records of a body: its lines, the elements of a JSON array, or all of it.

use std::ops::Range;

use super::budget::{Exhausted, Held};

/// How many records a request may have: what is known of each takes more than the shortest ones.
const MAX_RECORDS: usize = 1 << 20;

/// Records in one buffer.
#[derive(Debug, Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
    ranges: Vec<Range<u32>>,
}

/// What a body consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// A record a line, without its line end (LF, or CR and LF); empty lines are left out.
    Lines,
    /// A JSON array, of which each element is a record. What is no array is one record.
    JsonArray,
    /// One record.
    Whole,
}

/// Why a body is none of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("the JSON array has no end; it begins at byte {0}")]
    Unclosed(usize),
    #[error("the JSON array has an element without content at byte {0}")]
    EmptyElement(usize),
    #[error("the JSON array ends at byte {0}, and something follows; send one array a request")]
    Trailing(usize),
    #[error("the body has more than {MAX_RECORDS} records; send smaller ones")]
    TooMany,
}

impl Records {
    /// Finds the records of a body of less than 4 GiB. Only their borders are looked for: what is
    /// within them is for the decoder.
    ///
    /// # Errors
    /// The body is a JSON array whose elements cannot be told apart, or has too many records.
    pub(super) fn of(bytes: Vec<u8>, layout: Layout) -> Result<Self, Malformed> {
        let mut records = Self::default();
        match layout {
            Layout::Lines => {
                let mut start = 0;
                for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                    let text = line.strip_suffix(b"\n").unwrap_or(line);
                    let text = text.strip_suffix(b"\r").unwrap_or(text);
                    if !text.is_empty() {
                        records.push(start..start + text.len())?;
                    }
                    start += line.len();
                }
            }
            Layout::Whole if bytes.is_empty() => {}
            Layout::Whole => records.push(0..bytes.len())?,
            Layout::JsonArray => match bytes.iter().position(|byte| !is_space(*byte)) {
                Some(start) if bytes.get(start) == Some(&b'[') => records.split(&bytes, start)?,
                _ => records.add(&bytes, 0..bytes.len())?,
            },
        }
        records.bytes = bytes;
        Ok(records)
    }

    /// Appends a record by copying it, into room that is held before it is taken.
    ///
    /// # Errors
    /// Others hold what there is.
    pub(super) fn append(&mut self, record: &[u8], held: &mut Held) -> Result<(), Exhausted> {
        let start = self.bytes.len();
        held.extend(&mut self.bytes, record)?;
        self.ranges.push(range(start..self.bytes.len()));
        Ok(())
    }

    /// Leaves out the records of more than `max_bytes`, and says how many these were.
    pub(super) fn leave_out_larger(&mut self, max_bytes: usize) -> usize {
        let before = self.ranges.len();
        self.ranges
            .retain(|range| (range.end - range.start) as usize <= max_bytes);
        before - self.ranges.len()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// How many bytes they have together.
    pub(super) fn bytes(&self) -> usize {
        self.iter().map(<[u8]>::len).sum()
    }

    /// All of them in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Record `index`; empty where there is none.
    pub(super) fn get(&self, index: usize) -> &[u8] {
        let range = self.ranges.get(index).cloned().unwrap_or_default();
        let range = range.start as usize..range.end as usize;
        self.bytes.get(range).unwrap_or_default()
    }

    /// How many bytes they hold on to.
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity() + self.ranges.capacity() * size_of::<Range<u32>>()
    }

    /// Adds a part of `bytes` without the white space around it, where there is anything else.
    fn add(&mut self, bytes: &[u8], part: Range<usize>) -> Result<(), Malformed> {
        let text = bytes.get(part.clone()).unwrap_or_default();
        let from_start = text.trim_ascii_start();
        let trimmed = from_start.trim_ascii_end();
        if trimmed.is_empty() {
            return Ok(());
        }
        let start = part.start + text.len() - from_start.len();
        self.push(start..start + trimmed.len())
    }

    fn push(&mut self, part: Range<usize>) -> Result<(), Malformed> {
        if self.ranges.len() >= MAX_RECORDS {
            return Err(Malformed::TooMany);
        }
        self.ranges.push(range(part));
        Ok(())
    }

    /// Splits the array that begins at `start`. There is no recursion, so it may be as deep as it
    /// likes.
    fn split(&mut self, bytes: &[u8], start: usize) -> Result<(), Malformed> {
        let mut depth = 1_usize;
        let mut element = start + 1;
        let mut at = start + 1;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => at = end_of_string(bytes, at).ok_or(Malformed::Unclosed(start))?,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            let ends = depth == 0;
            if ends || (depth == 1 && *byte == b',') {
                let before = self.len();
                self.add(bytes, element..at)?;
                let is_empty_array = ends && before == 0 && element == start + 1;
                if self.len() == before && !is_empty_array {
                    return Err(Malformed::EmptyElement(element));
                }
                element = at + 1;
            }
            at += 1;
            if ends {
                let rest = bytes.get(at..).unwrap_or_default();
                return if rest.iter().all(|byte| is_space(*byte)) {
                    Ok(())
                } else {
                    Err(Malformed::Trailing(at))
                };
            }
        }
        Err(Malformed::Unclosed(start))
    }
}

fn range(part: Range<usize>) -> Range<u32> {
    let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
    number(part.start)..number(part.end)
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace()
}

/// Where the closing quote of the string that begins at `start` is.
fn end_of_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at);
        }
        // Whatever is escaped, it does not end the string.
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn records(body: &str, layout: Layout) -> Result<Vec<String>, Malformed> {
        let records = Records::of(body.as_bytes().to_vec(), layout)?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok(records.iter().map(text).collect())
    }

    #[test]
    fn lines_are_records_and_empty_ones_are_not() {
        let found = records("{\"a\":1}\r\n\n\r\n{\"a\":2}", Layout::Lines).unwrap();
        assert_eq!(found, [r#"{"a":1}"#, r#"{"a":2}"#]);
        assert_eq!(records("", Layout::Lines).unwrap(), [""; 0]);
    }

    #[test]
    fn of_a_line_only_its_end_is_left_out() {
        let found = records("\ta\tb\t\r\n\t\t\n c \r\r\n", Layout::Lines).unwrap();
        assert_eq!(found, ["\ta\tb\t", "\t\t", " c \r"]);
    }

    #[test]
    fn there_are_only_so_many() {
        let most = "1\n".repeat(MAX_RECORDS);
        assert_eq!(
            records(&most, Layout::Lines).map(|found| found.len()),
            Ok(MAX_RECORDS)
        );
        let more = format!("{most}1");
        assert_eq!(records(&more, Layout::Lines), Err(Malformed::TooMany));
        let array = format!("[{}1]", "1,".repeat(MAX_RECORDS));
        assert_eq!(records(&array, Layout::JsonArray), Err(Malformed::TooMany));
    }

    #[test]
    fn what_is_too_large_is_left_out() {
        let mut records = Records::of(b"1\n4444\n22\n333".to_vec(), Layout::Lines).unwrap();
        assert_eq!(records.leave_out_larger(2), 2);
        assert_eq!(records.iter().collect::<Vec<_>>(), [b"1".as_slice(), b"22"]);
        assert_eq!((records.len(), records.bytes()), (2, 3));
        assert_eq!(records.get(2), b"");
    }

    #[test]
    fn a_whole_body_is_left_as_it_is() {
        assert_eq!(records(" a\n", Layout::Whole).unwrap(), [" a\n"]);
        assert_eq!(records("", Layout::Whole).unwrap(), [""; 0]);
    }

    #[test]
    fn elements_are_records() {
        for (body, expected) in [
            ("[]", vec![]),
            (" [ ]\n", vec![]),
            (
                r#" [{"a":[1,2]}, {"b":"],\"}"} ,3] "#,
                vec![r#"{"a":[1,2]}"#, r#"{"b":"],\"}"}"#, "3"],
            ),
            (r#" {"a":[1,2]} "#, vec![r#"{"a":[1,2]}"#]),
            ("", vec![]),
        ] {
            assert_eq!(
                records(body, Layout::JsonArray).unwrap(),
                expected,
                "{body}"
            );
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused() {
        for (body, expected) in [
            ("[", Malformed::Unclosed(0)),
            (" [{\"a\":1}", Malformed::Unclosed(1)),
            ("[\"a", Malformed::Unclosed(0)),
            ("[\"a\\", Malformed::Unclosed(0)),
            ("[1,,2]", Malformed::EmptyElement(3)),
            ("[1,]", Malformed::EmptyElement(3)),
            ("[,1]", Malformed::EmptyElement(1)),
            ("[1][2]", Malformed::Trailing(3)),
            ("[1] x", Malformed::Trailing(3)),
        ] {
            assert_eq!(records(body, Layout::JsonArray), Err(expected), "{body}");
        }
    }

    #[test]
    fn a_deep_array_is_one_record() {
        let deep = format!("[{}{}]", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let found = records(&deep, Layout::JsonArray).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].len(), 2_000_000);
        let open = "[".repeat(1_000_000);
        assert_eq!(
            records(&open, Layout::JsonArray),
            Err(Malformed::Unclosed(0))
        );
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            r#"[a\[\]{},"\\ ü\n]{0,8}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(r#"[a\]"]{0,3}"#, inner, 0..4)
                    .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
            ]
        })
    }

    proptest! {
        #[test]
        fn an_array_has_the_elements_that_serde_finds(
            elements in prop::collection::vec(json(), 0..6),
            pretty in any::<bool>(),
        ) {
            let array = Value::from(elements.clone());
            let body = if pretty { format!("{array:#}") } else { array.to_string() };
            let found = records(&body, Layout::JsonArray).unwrap();
            let parsed: Vec<Value> =
                found.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(parsed, elements);
        }

        #[test]
        fn nothing_that_serde_takes_is_cut_short(
            elements in prop::collection::vec(json(), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let body = Value::from(elements).to_string();
            let at = 1 + cut.index(body.len() - 1);
            if body.is_char_boundary(at) {
                prop_assert!(records(&body[..at], Layout::JsonArray).is_err());
            }
        }

        #[test]
        fn whatever_comes_nothing_is_between_records_but_commas(
            body in r#"\[[\[\]{},"\\a ]{0,30}"#,
        ) {
            if let Ok(found) = records(&body, Layout::JsonArray) {
                let held: usize = found.iter().map(String::len).sum();
                prop_assert!(held + 2 <= body.len());
            }
        }
    }
}
