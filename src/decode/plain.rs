//! The fast way through the JSON that devices mostly send: one flat object whose keys come in the
//! same order every time, with texts without escapes and numbers of ordinary length.
//!
//! It takes what it is sure of. Anything else (nesting, escapes, exponents, long numbers, errors) it
//! leaves to the complete parser, which sees the whole record again; so it never has to be right
//! about what is wrong. What it takes, it takes as the complete parser would: a property test holds
//! the two together.

use std::borrow::Cow;

use super::plan::{EntryPlan, ObjectPlan, Scalar};

/// Numbers of at most this many digits are exact in an `i64` and, as a mantissa, in an `f64`.
const EXACT_DIGITS: usize = 15;
/// Powers of ten that are exact in an `f64`. A mantissa of at most 15 digits divided by one of them
/// is rounded once, hence correctly (Clinger, PLDI 1990).
const POWERS_OF_TEN: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// The values of a record that were asked for, in the record's order.
pub(super) type Found<'p, 't> = Vec<(&'p EntryPlan, Scalar<'t>)>;

/// Walks a record. Gives nothing where the complete parser has to look at it.
pub(super) fn walk<'p, 't>(
    text: &'t str,
    plan: &'p ObjectPlan,
    found: &mut Found<'p, 't>,
) -> Option<()> {
    let mut cursor = Cursor {
        text,
        bytes: text.as_bytes(),
        at: 0,
    };
    let mut expected = 0;
    cursor.expect(b'{')?;
    loop {
        cursor.expect(b'"')?;
        let entry = cursor.key(plan, &mut expected)?;
        cursor.expect(b':')?;
        let value = cursor.value()?;
        if let Some(entry) = entry {
            found.push((entry, value));
        }
        match cursor.next_token()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    cursor.rest_is_space().then_some(())
}

struct Cursor<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
}

impl<'t> Cursor<'t> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The next byte that is no space, which is taken.
    #[inline]
    fn next_token(&mut self) -> Option<u8> {
        loop {
            let byte = self.peek()?;
            self.at += 1;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next_token()? == byte).then_some(())
    }

    fn rest_is_space(&self) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        rest.iter()
            .all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
    }

    /// The entry of the key that begins here, behind its quote.
    #[inline]
    fn key<'p>(
        &mut self,
        plan: &'p ObjectPlan,
        expected: &mut usize,
    ) -> Option<Option<&'p EntryPlan>> {
        if let Some((name, entry)) = plan.at(*expected) {
            let end = self.at + name.len();
            if self.bytes.get(end) == Some(&b'"')
                && self.bytes.get(self.at..end) == Some(name.as_bytes())
            {
                self.at = end + 1;
                *expected += 1;
                return Some(Some(entry));
            }
        }
        let key = self.string()?;
        Some(plan.entry(key, expected))
    }

    #[inline]
    fn value(&mut self) -> Option<Scalar<'t>> {
        match self.next_token()? {
            b'"' => self.string().map(|text| Scalar::Text(Cow::Borrowed(text))),
            b'-' => self.number(true),
            b'0'..=b'9' => {
                self.at -= 1;
                self.number(false)
            }
            b't' => self.literal("rue", Scalar::Boolean(true)),
            b'f' => self.literal("alse", Scalar::Boolean(false)),
            b'n' => self.literal("ull", Scalar::Null),
            _ => None,
        }
    }

    #[inline]
    fn literal(&mut self, rest: &str, value: Scalar<'t>) -> Option<Scalar<'t>> {
        let end = self.at + rest.len();
        (self.bytes.get(self.at..end)? == rest.as_bytes()).then(|| {
            self.at = end;
            value
        })
    }

    /// The text up to the next quote, which is taken as well. None with escapes or control
    /// characters.
    #[inline]
    fn string(&mut self) -> Option<&'t str> {
        let start = self.at;
        let rest = self.bytes.get(start..)?;
        let length = plain_length(rest);
        self.at = start + length + 1;
        (rest.get(length) == Some(&b'"'))
            .then(|| self.text.get(start..start + length))
            .flatten()
    }

    /// A number of at most [`EXACT_DIGITS`] digits without an exponent.
    #[inline]
    fn number(&mut self, negative: bool) -> Option<Scalar<'t>> {
        let (whole, whole_digits) = self.digits(0);
        let leading_zero =
            whole_digits > 1 && self.bytes.get(self.at - whole_digits) == Some(&b'0');
        if whole_digits == 0 || leading_zero {
            return None;
        }
        let (mantissa, places) = if self.peek() == Some(b'.') {
            self.at += 1;
            let (mantissa, places) = self.digits(whole);
            if places == 0 {
                return None;
            }
            (mantissa, places)
        } else {
            (whole, 0)
        };
        if whole_digits + places > EXACT_DIGITS || matches!(self.peek(), Some(b'e' | b'E')) {
            return None;
        }
        if places == 0 {
            // -0 is a float to the complete parser.
            return match (negative, mantissa) {
                (true, 0) => None,
                (true, _) => Some(Scalar::Integer(-mantissa)),
                (false, _) => Some(Scalar::Integer(mantissa)),
            };
        }
        let value = mantissa as f64 / POWERS_OF_TEN.get(places)?;
        Some(Scalar::Number(if negative { -value } else { value }))
    }

    /// Digits, appended to a number; how many there were. A number that became too long is wrong,
    /// and refused for its length.
    #[inline]
    fn digits(&mut self, mut number: i64) -> (i64, usize) {
        let start = self.at;
        while let Some(byte @ b'0'..=b'9') = self.peek() {
            number = number.wrapping_mul(10).wrapping_add(i64::from(byte - b'0'));
            self.at += 1;
        }
        (number, self.at - start)
    }
}

/// How many bytes come before the first quote, backslash or control character, eight at a time.
#[inline]
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The lowest byte that is marked is really zero (or below the limit): borrows go upwards only
    // (Warren, Hacker's Delight, 6-1).
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut length = 0;
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let marks = zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5c)) | control;
        if marks != 0 {
            return length + marks.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    length + tail.iter().position(ends).unwrap_or(tail.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json;
    use super::super::plan::Leaves;
    use super::*;

    struct Taken(Vec<(usize, String)>);

    impl Leaves for Taken {
        fn take(&mut self, leaf: usize, value: &Scalar<'_>) {
            self.0.push((leaf, format!("{value:?}")));
        }
    }

    fn plan() -> ObjectPlan {
        let mut plan = ObjectPlan::default();
        for (leaf, key) in ["a", "bb", "é", "a"].into_iter().enumerate() {
            plan.add(&[key.to_owned()], leaf);
        }
        plan.add(&["bb".to_owned(), "x".to_owned()], 4);
        plan
    }

    /// What the fast way takes, or nothing where it leaves the record to the complete parser.
    fn fast(text: &str) -> Option<Vec<(usize, String)>> {
        let plan = plan();
        let mut found = Vec::new();
        walk(text, &plan, &mut found)?;
        let mut taken = Taken(Vec::new());
        for (entry, value) in &found {
            entry.hand_over(value, &mut taken);
        }
        Some(taken.0)
    }

    fn complete(text: &str) -> Option<Vec<(usize, String)>> {
        let mut taken = Taken(Vec::new());
        json::parse(text, &plan(), &mut taken)
            .ok()
            .map(|()| taken.0)
    }

    #[test]
    fn takes_ordinary_records() {
        for text in [
            r#"{"a":1,"bb":"x","é":-2.50}"#,
            "{ \"z\" : \"unknown key\" , \"a\":true,\"bb\" :null,\"é\": false }\r\n",
            r#"{"bb":123456789012345,"a":0.1,"é":"日本 long text of more than sixteen bytes"}"#,
            r#"{"a":0,"a":-1,"bb":999999999999.999}"#,
        ] {
            let fast = fast(text);
            assert!(fast.is_some(), "{text}");
            assert_eq!(fast, complete(text), "{text}");
        }
    }

    #[test]
    fn leaves_the_rest_to_the_complete_parser() {
        for text in [
            "",
            "{",
            "{}",
            "[]",
            r#"{"a":1"#,
            r#"{"a":1}x"#,
            r#"{"a":01}"#,
            r#"{"a":-}"#,
            r#"{"a":1.}"#,
            r#"{"a":-0}"#,
            r#"{"a":1e3}"#,
            r#"{"a":1.5E3}"#,
            r#"{"a":{}}"#,
            r#"{"a":"\n"}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":1234567890123456}"#,
            r#"{"a":nul}"#,
            r#"{"a" 1}"#,
            r#"{"a":1,}"#,
            r#"{a:1}"#,
            r#"{"\u0061":1}"#,
            r#"{"a":"x}"#,
        ] {
            assert_eq!(fast(text), None, "{text}");
        }
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "-?[0-9]{1,20}(\\.[0-9]{0,10})?([eE][+-]?[0-9]{1,3})?",
            "\"[ -~]{0,20}\"",
            "\"\\PC{0,12}\"",
            Just("true".to_owned()),
            Just("null".to_owned()),
            Just("{\"x\":1}".to_owned()),
            "[ -~]{0,6}",
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_the_complete_parser(
            members in prop::collection::vec(("a|bb|é|z|ab", value(), "[ \t]?"), 0..5),
            tail in "[ x}]{0,1}",
        ) {
            let members: Vec<_> = members
                .into_iter()
                .map(|(key, value, space)| format!("\"{key}\"{space}:{space}{value}{space}"))
                .collect();
            let text = format!("{{{}}}{tail}", members.join(","));
            if let Some(taken) = fast(&text) {
                prop_assert_eq!(Some(taken), complete(&text), "{}", text);
            }
        }

        #[test]
        fn finds_the_end_of_plain_text(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let naive = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            prop_assert_eq!(plain_length(&bytes), naive.unwrap_or(bytes.len()));
        }
    }
}
