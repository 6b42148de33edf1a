//! The line protocol of InfluxDB: `measurement,tag=value field=1,other="text" 1730621749000000000`.
//!
//! A line is an event. Its tags and fields are found by their names, its measurement as `_measurement`
//! and its time as `_time`.

use std::borrow::Cow;

use super::events::{Events, Refusal};
use super::metrics::Reason;
use super::plan::{Leaves, ObjectPlan, Scalar, Wanted};

/// The name of the measurement.
const MEASUREMENT: &str = "_measurement";
/// The name of the time.
const TIME: &str = "_time";

/// Reads records of one or several lines.
#[derive(Debug)]
pub(super) struct InfluxReader {
    /// What is looked for, by whole names.
    plan: ObjectPlan,
}

/// Where a line is broken.
type Broken = &'static str;

impl InfluxReader {
    /// The reader that finds the wanted values. A name may have dots.
    pub(super) fn new(wanted: &[Wanted]) -> Self {
        Self {
            plan: ObjectPlan::flat(wanted),
        }
    }

    /// Hands over the events of a record.
    ///
    /// # Errors
    /// There are more of them than allowed.
    pub(super) fn read(&self, text: &str, events: &mut Events<'_>) -> Result<(), Refusal> {
        let mut rest = text;
        while !rest.is_empty() {
            let line = rest.split('\n').next().unwrap_or_default();
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                rest = rest.get(line.len() + 1..).unwrap_or_default();
                continue;
            }
            let mut cursor = Cursor { rest };
            match self.line(&mut cursor, events) {
                Ok(()) => {
                    rest = cursor.rest;
                    events.end()?;
                }
                Err(broken) => {
                    // A text may have held line ends: what follows them is no line.
                    let behind = cursor.rest;
                    rest = behind.split_once('\n').map_or("", |(_, rest)| rest);
                    events.refuse(Reason::Malformed, broken.to_owned())?;
                }
            }
        }
        Ok(())
    }

    /// Reads a line up to its end, which is taken as well.
    fn line(&self, cursor: &mut Cursor<'_>, events: &mut Events<'_>) -> Result<(), Broken> {
        let mut expected = 0;
        cursor.skip_spaces();
        let measurement = cursor.name(", ")?;
        self.hand_over(
            MEASUREMENT,
            Value::Untyped(measurement),
            &mut expected,
            events,
        );
        while cursor.takes(',') {
            let tag = cursor.name("=, ")?;
            if !cursor.takes('=') {
                return Err("a tag without a value");
            }
            let value = cursor.name("=, ")?;
            self.hand_over(&tag, Value::Untyped(value), &mut expected, events);
        }
        if !cursor.takes(' ') {
            return Err("no fields");
        }
        cursor.skip_spaces();
        loop {
            let field = cursor.name("=, ")?;
            if !cursor.takes('=') {
                return Err("a field without a value");
            }
            let value = cursor.value()?;
            self.hand_over(&field, Value::Typed(value), &mut expected, events);
            if !cursor.takes(',') {
                break;
            }
        }
        if cursor.takes(' ') {
            cursor.skip_spaces();
            let time = cursor.until(" \r\n");
            if !time.is_empty() {
                let time = time.parse().map_err(|_| "a time that is no whole number")?;
                self.hand_over(
                    TIME,
                    Value::Typed(Scalar::Integer(time)),
                    &mut expected,
                    events,
                );
            }
            cursor.skip_spaces();
        }
        cursor.takes('\r');
        if cursor.rest.is_empty() || cursor.takes('\n') {
            return Ok(());
        }
        Err("something behind the end of the line")
    }

    fn hand_over(
        &self,
        name: &str,
        value: Value<'_>,
        expected: &mut usize,
        events: &mut Events<'_>,
    ) {
        let Some(entry) = self.plan.entry(name, expected) else {
            return;
        };
        for leaf in &entry.leaves {
            match &value {
                Value::Untyped(text) => events.take_text(*leaf, text),
                Value::Typed(value) => events.take(*leaf, value),
            }
        }
    }
}

/// The value of a tag is text, whatever is meant; that of a field says its type.
enum Value<'t> {
    Untyped(Cow<'t, str>),
    Typed(Scalar<'t>),
}

struct Cursor<'t> {
    rest: &'t str,
}

impl<'t> Cursor<'t> {
    fn takes(&mut self, expected: char) -> bool {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    /// What stands before the first of these characters, or to the end.
    fn until(&mut self, ends: &str) -> &'t str {
        let end = self.rest.find(|c| ends.contains(c));
        let (found, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        found
    }

    /// A name, a key or the value of a tag, up to one of `ends` that has no backslash before it.
    fn name(&mut self, ends: &str) -> Result<Cow<'t, str>, Broken> {
        let mut escaped = false;
        let end = self.rest.find(|c: char| {
            let ends_here = c == '\n' || !escaped && ends.contains(c);
            escaped = c == '\\' && !escaped;
            ends_here
        });
        let (found, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        match found {
            "" => Err("a name is empty"),
            found => Ok(unescaped(found, &[',', '=', ' '])),
        }
    }

    /// The value of a field.
    fn value(&mut self) -> Result<Scalar<'t>, Broken> {
        if self.takes('"') {
            let mut escaped = false;
            let end = self.rest.find(|c: char| {
                let ends_here = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends_here
            });
            let (text, rest) = self.rest.split_at(end.ok_or("a text without its end")?);
            self.rest = rest.get(1..).unwrap_or_default();
            return Ok(Scalar::Text(unescaped(text, &['"', '\\'])));
        }
        let text = self.until(", \r\n");
        match text {
            "t" | "T" | "true" | "True" | "TRUE" => return Ok(Scalar::Boolean(true)),
            "f" | "F" | "false" | "False" | "FALSE" => return Ok(Scalar::Boolean(false)),
            _ => {}
        }
        let whole = text.strip_suffix('i');
        if let Some(number) = whole {
            let number = number
                .parse()
                .map_err(|_| "a field that has no value of any type")?;
            return Ok(Scalar::Integer(number));
        }
        if let Some(number) = text.strip_suffix('u') {
            let number: u64 = number
                .parse()
                .map_err(|_| "a field that has no value of any type")?;
            return Ok(match i64::try_from(number) {
                Ok(number) => Scalar::Integer(number),
                Err(_) => Scalar::Number(number as f64),
            });
        }
        // Rust reads names of infinity and NaN as well; the protocol has neither.
        let is_number = text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
        match text.parse() {
            Ok(number) if is_number => Ok(Scalar::Number(number)),
            _ => Err("a field that has no value of any type"),
        }
    }
}

/// A text without the backslashes before these characters.
fn unescaped<'t>(text: &'t str, special: &[char]) -> Cow<'t, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(next) if c == '\\' && special.contains(next) => {
                plain.push(*next);
                chars.next();
            }
            _ => plain.push(c),
        }
    }
    Cow::Owned(plain)
}
