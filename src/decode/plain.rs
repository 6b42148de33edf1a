//! The fast way through the JSON that devices mostly send: one flat object whose keys come in the
//! same order every time, with texts without escapes and numbers of ordinary length.
//!
//! It takes what it is sure of. Anything else (nesting, escapes, exponents, long numbers, a key that
//! stands twice, errors) it leaves to the complete parser, which sees the whole record again; so it
//! never has to be right about what is wrong. What it takes, it takes as the complete parser would: a
//! property test holds the two together.

use std::ops::Range;

use super::plan::{ObjectPlan, Scalar};
use std::borrow::Cow;

/// Numbers of at most this many digits are exact in an `i64` and, as a mantissa, in an `f64`.
const EXACT_DIGITS: usize = 15;
/// Powers of ten that are exact in an `f64`. A mantissa of at most 15 digits divided by one of them
/// is rounded once, hence correctly (Clinger, PLDI 1990).
const POWERS_OF_TEN: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// The value of a key, as far as it lies in a word.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) enum Token {
    /// The record does not have the key.
    #[default]
    Missing,
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A text.
    Text,
}

/// A value with its place in the record: of a text, what stands between its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Value {
    pub(super) token: Token,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Value {
    /// The value, given the record that it stands in; none where it is missing.
    pub(super) fn scalar<'t>(&self, record: &'t str) -> Option<Scalar<'t>> {
        Some(match self.token {
            Token::Missing => return None,
            Token::Null => Scalar::Null,
            Token::Boolean(value) => Scalar::Boolean(value),
            Token::Integer(value) => Scalar::Integer(value),
            Token::Number(value) => Scalar::Number(value),
            Token::Text => {
                let text = record.get(self.start as usize..self.end as usize)?;
                Scalar::Text(Cow::Borrowed(text))
            }
        })
    }

    /// The place with a text's quotes.
    fn range(&self) -> Range<usize> {
        let quote = usize::from(self.token == Token::Text);
        self.start as usize - quote..self.end as usize + quote
    }
}

/// Walks a record of valid UTF-8 and gives the value of each entry of the plan. Gives nothing where
/// the complete parser has to look at it.
pub(super) fn walk(bytes: &[u8], plan: &ObjectPlan, values: &mut [Value]) -> Option<()> {
    values.fill(Value::default());
    members(bytes, plan, |entry, value| {
        let Some(slot) = entry.and_then(|entry| values.get_mut(entry)) else {
            return Some(());
        };
        let is_first = slot.token == Token::Missing;
        *slot = value;
        is_first.then_some(())
    })
}

/// Visits the members of an object with the index of each one's entry in the plan.
#[inline]
fn members(
    bytes: &[u8],
    plan: &ObjectPlan,
    mut visit: impl FnMut(Option<usize>, Value) -> Option<()>,
) -> Option<()> {
    let mut cursor = Cursor::new(bytes)?;
    let mut expected = 0;
    cursor.expect(b'{')?;
    loop {
        cursor.expect(b'"')?;
        let entry = cursor.key(plan, &mut expected)?;
        cursor.expect(b':')?;
        cursor.skip_space()?;
        visit(entry, cursor.value()?)?;
        match cursor.next_token()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    cursor.rest_is_space().then_some(())
}

/// How many records in a row may differ from a shape before it is given up for another. Where two
/// shapes take turns, one of them is kept.
const PATIENCE: u32 = 8;

/// The shape of the last records: what stands before each value, byte for byte. A device sends the
/// same shape every time, so the keys, colons and spaces of a record are compared and not parsed.
#[derive(Debug, Default)]
pub(super) struct Shape {
    members: Vec<Member>,
    misses: u32,
}

#[derive(Debug)]
struct Member {
    /// From the end of the value before, or the begin of the record, up to this value.
    before: Box<[u8]>,
    /// The entry of the plan, where the key is one that is looked for.
    entry: Option<usize>,
}

impl Shape {
    /// As [`walk`], and faster where the record has this shape.
    #[inline]
    pub(super) fn walk(
        &mut self,
        bytes: &[u8],
        plan: &ObjectPlan,
        values: &mut [Value],
    ) -> Option<()> {
        if self.matches(bytes, values).is_some() {
            self.misses = 0;
            return Some(());
        }
        walk(bytes, plan, values)?;
        self.miss(bytes, plan);
        Some(())
    }

    #[inline]
    fn matches(&self, bytes: &[u8], values: &mut [Value]) -> Option<()> {
        self.members.first()?;
        values.fill(Value::default());
        let mut cursor = Cursor::new(bytes)?;
        for member in &self.members {
            cursor.pass(&member.before)?;
            let value = cursor.value()?;
            if let Some(slot) = member.entry.and_then(|entry| values.get_mut(entry)) {
                *slot = value;
            }
        }
        cursor.expect(b'}')?;
        cursor.rest_is_space().then_some(())
    }

    #[cold]
    fn miss(&mut self, bytes: &[u8], plan: &ObjectPlan) {
        self.misses += 1;
        if self.misses < PATIENCE && !self.members.is_empty() {
            return;
        }
        self.misses = 0;
        self.members.clear();
        let mut end = 0;
        let learned = members(bytes, plan, |entry, value| {
            let range = value.range();
            let before = bytes.get(end..range.start)?.into();
            self.members.push(Member { before, entry });
            end = range.end;
            Some(())
        });
        if learned.is_none() {
            self.members.clear();
        }
    }
}

struct Cursor<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl<'t> Cursor<'t> {
    /// A cursor at the begin of a record. Places are 32 bits wide; there is no longer record.
    fn new(bytes: &'t [u8]) -> Option<Self> {
        u32::try_from(bytes.len()).ok()?;
        Some(Self { bytes, at: 0 })
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The next byte that is no space, which is taken.
    #[inline]
    fn next_token(&mut self) -> Option<u8> {
        self.skip_space()?;
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn skip_space(&mut self) -> Option<()> {
        while is_space(self.peek()?) {
            self.at += 1;
        }
        Some(())
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next_token()? == byte).then_some(())
    }

    fn rest_is_space(&self) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        rest.iter().all(|byte| is_space(*byte))
    }

    /// Passes over exactly these bytes.
    #[inline]
    fn pass(&mut self, expected: &[u8]) -> Option<()> {
        let found = self.bytes.get(self.at..self.at + expected.len())?;
        self.at += expected.len();
        is_same(found, expected).then_some(())
    }

    /// The index of the entry of the key that begins here, behind its quote.
    #[inline]
    fn key(&mut self, plan: &ObjectPlan, expected: &mut usize) -> Option<Option<usize>> {
        let Range { start, end } = self.string()?;
        let key = self.bytes.get(start..end)?;
        Some(plan.index(key, expected))
    }

    /// The value that begins here.
    #[inline]
    fn value(&mut self) -> Option<Value> {
        let start = self.at;
        let first = self.peek()?;
        self.at += 1;
        let token = match first {
            b'"' => {
                let Range { start, end } = self.string()?;
                return Some(value(Token::Text, start, end));
            }
            b'-' => self.number(true),
            b'0'..=b'9' => {
                self.at = start;
                self.number(false)
            }
            b't' => self.pass(b"rue").map(|()| Token::Boolean(true)),
            b'f' => self.pass(b"alse").map(|()| Token::Boolean(false)),
            b'n' => self.pass(b"ull").map(|()| Token::Null),
            _ => None,
        };
        Some(value(token?, start, self.at))
    }

    /// Where the text up to the next quote stands; the quote is taken as well. None with escapes or
    /// control characters.
    #[inline]
    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let rest = self.bytes.get(start..)?;
        let length = plain_length(rest);
        self.at = start + length + 1;
        (rest.get(length) == Some(&b'"')).then_some(start..start + length)
    }

    /// A number of at most [`EXACT_DIGITS`] digits without an exponent.
    #[inline]
    fn number(&mut self, negative: bool) -> Option<Token> {
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
                (true, _) => Some(Token::Integer(-mantissa)),
                (false, _) => Some(Token::Integer(mantissa)),
            };
        }
        let value = mantissa as f64 / POWERS_OF_TEN.get(places)?;
        Some(Token::Number(if negative { -value } else { value }))
    }

    /// Digits, appended to a number; how many there were. A number that became too long is wrong,
    /// and refused for its length.
    #[inline]
    fn digits(&mut self, mut number: i64) -> (i64, usize) {
        let start = self.at;
        while let Some(word) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            let (digits, count) = leading_digits(u64::from_le_bytes(*word));
            let shift = SHIFTS.get(count).copied().unwrap_or(1);
            number = number.wrapping_mul(shift).wrapping_add(digits);
            self.at += count;
            if count < 8 {
                return (number, self.at - start);
            }
        }
        while let Some(byte @ b'0'..=b'9') = self.peek() {
            number = number.wrapping_mul(10).wrapping_add(i64::from(byte - b'0'));
            self.at += 1;
        }
        (number, self.at - start)
    }
}

#[inline]
fn value(token: Token, start: usize, end: usize) -> Value {
    // The length of the record was looked at: its places fit.
    Value {
        token,
        start: start as u32,
        end: end as u32,
    }
}

#[inline]
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Whether two texts of one length are the same, a word at a time: a call of the library's comparison
/// takes longer than the few bytes between two values.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (Some(one_end), Some(other_end)) = (one.last_chunk::<8>(), other.last_chunk::<8>()) else {
        return one.iter().zip(other).all(|(one, other)| one == other);
    };
    // The last word overlaps with the one before where the length is no multiple of eight.
    let (one_words, _) = one.as_chunks::<8>();
    let (other_words, _) = other.as_chunks::<8>();
    let mut words = one_words.iter().zip(other_words);
    words.all(|(one, other)| one == other) && one_end == other_end
}

const SHIFTS: [i64; 9] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// The number that eight bytes begin with, and how many digits it has (Lemire, "Quickly parsing
/// eight digits", 2022).
#[inline]
fn leading_digits(word: u64) -> (i64, usize) {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let digits = word ^ ZEROS;
    // The lowest byte that is marked is really no digit: what it carries goes upwards only.
    let marks = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & HIGHS;
    let count = marks.trailing_zeros() as usize / 8;
    if count == 0 {
        return (0, 0);
    }
    // To the end of the word, with zeros before.
    let digits = digits << (64 - 8 * count);
    let pairs = (digits.wrapping_mul(10) + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let all = (fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff;
    (all as i64, count)
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

    fn taken(text: &str, plan: &ObjectPlan, values: &[Value]) -> Vec<(usize, String)> {
        let mut taken = Taken(Vec::new());
        for (index, value) in values.iter().enumerate() {
            if let (Some((_, entry)), Some(value)) = (plan.at(index), value.scalar(text)) {
                entry.hand_over(&value, &mut taken);
            }
        }
        taken.0.sort();
        taken.0
    }

    /// What the fast way takes, or nothing where it leaves the record to the complete parser.
    fn fast(text: &str) -> Option<Vec<(usize, String)>> {
        let plan = plan();
        let mut values = vec![Value::default(); plan.len()];
        walk(text.as_bytes(), &plan, &mut values)?;
        Some(taken(text, &plan, &values))
    }

    /// The same with a shape that was learned from other records.
    fn shaped(learned_from: &[&str], text: &str) -> Option<Vec<(usize, String)>> {
        let plan = plan();
        let mut shape = Shape::default();
        let mut values = vec![Value::default(); plan.len()];
        for text in learned_from {
            shape.walk(text.as_bytes(), &plan, &mut values);
        }
        shape.walk(text.as_bytes(), &plan, &mut values)?;
        Some(taken(text, &plan, &values))
    }

    fn complete(text: &str) -> Option<Vec<(usize, String)>> {
        let mut taken = Taken(Vec::new());
        json::parse(text, &plan(), &mut taken).ok()?;
        taken.0.sort();
        Some(taken.0)
    }

    #[test]
    fn takes_ordinary_records() {
        for text in [
            r#"{"a":1,"bb":"x","é":-2.50}"#,
            "{ \"z\" : \"unknown key\" , \"a\":true,\"bb\" :null,\"é\": false }\r\n",
            r#"{"bb":123456789012345,"a":0.1,"é":"日本 long text of more than sixteen bytes"}"#,
            r#"{"a":0,"z":-1,"z":12345678,"bb":999999999999.999}"#,
            r#"{"a":1234567890123,"z":1234567,"bb":-12345678.1234567}"#,
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
            r#"{"a":1,"a":2}"#,
            r#"{"a":12/3}"#,
            r#"{"a":12:3}"#,
        ] {
            assert_eq!(fast(text), None, "{text}");
            assert_eq!(shaped(&[text, r#"{"a":1}"#], text), None, "{text}");
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
            other in prop::sample::select(vec![
                r#"{"a":1}"#,
                r#"{"a":"x","bb":2}"#,
                "{\"a\" : true, \"z\":null}",
                r#"{"bb":1,"a":1}"#,
            ]).prop_map(str::to_owned),
        ) {
            let members: Vec<_> = members
                .into_iter()
                .map(|(key, value, space)| format!("\"{key}\"{space}:{space}{value}{space}"))
                .collect();
            let text = format!("{{{}}}{tail}", members.join(","));
            let fast = fast(&text);
            if fast.is_some() {
                prop_assert_eq!(&fast, &complete(&text), "{}", text);
            }
            // A shape changes nothing, whichever it is.
            let other = other.as_str();
            for learned_from in [&[other][..], &[&text], &[&text, other], &[other, &text]] {
                prop_assert_eq!(&shaped(learned_from, &text), &fast, "{:?}", learned_from);
            }
        }

        #[test]
        fn reads_the_digits_of_a_word(text in "[0-9]{0,8}[ -~é]{8}") {
            let word = text.as_bytes().first_chunk::<8>().unwrap();
            let digits: String = text.bytes().take(8).map(char::from)
                .take_while(char::is_ascii_digit).collect();
            let expected = (digits.parse().unwrap_or(0), digits.len());
            prop_assert_eq!(leading_digits(u64::from_le_bytes(*word)), expected);
        }

        #[test]
        fn compares_as_slices_do(one in "[ab]{0,20}", place in 0_usize..20) {
            let mut other = one.clone().into_bytes();
            prop_assert!(is_same(one.as_bytes(), &other));
            if let Some(byte) = other.get_mut(place) {
                *byte ^= 1;
                prop_assert!(!is_same(one.as_bytes(), &other));
            }
        }

        #[test]
        fn finds_the_end_of_plain_text(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let naive = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            prop_assert_eq!(plain_length(&bytes), naive.unwrap_or(bytes.len()));
        }
    }
}
