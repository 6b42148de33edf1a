//! JSON by the complete parser, sonic-rs: one walk over the record, in which only the named keys are
//! looked at. Ordinary records take the fast way of [`plain`](super::plain) and do not come here.

use std::borrow::Cow;
use std::fmt;

use super::events::Refusal;
use super::explode::{Items, Way};
use super::json_items::parse_items;
use super::metrics::Reason;
use super::plan::{EntryPlan, Leaves, ObjectPlan, Scalar};
use super::tree::Tree;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Why a text gave no values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JsonError {
    /// The text is not JSON; what the parser said.
    Malformed(String),
    /// It is JSON but not an object.
    NotAnObject,
}

/// How deep a record may be nested. The parser skips values by recursion without a limit of its own.
const MAX_DEPTH: usize = 128;

/// A record of JSON.
pub(super) struct Json<'t>(pub(super) &'t str);

impl Tree for Json<'_> {
    fn parse(&self, plan: &ObjectPlan, leaves: &mut impl Leaves) -> Result<(), Refusal> {
        Ok(parse(self.0, plan, leaves)?)
    }

    fn parse_items(&self, way: &Way, items: &mut impl Items) -> Result<(), Refusal> {
        Ok(parse_items(self.0, way, items)?)
    }
}

impl From<JsonError> for Refusal {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::NotAnObject => (Reason::NotAnObject, String::new()),
            JsonError::Malformed(message) => (Reason::MalformedJson, message),
        }
    }
}

/// Walks one record and hands the planned values to `leaves`.
pub(super) fn parse(
    text: &str,
    plan: &ObjectPlan,
    leaves: &mut impl Leaves,
) -> Result<(), JsonError> {
    refuse_depth(text)?;
    let mut deserializer = sonic_rs::Deserializer::from_str(text);
    let walked = ObjectSeed { plan, leaves }.deserialize(&mut deserializer);
    let ended = walked.and_then(|()| deserializer.end());
    let Err(error) = ended else { return Ok(()) };
    // An array, a number and so on are found out by their first character; what follows may be
    // anything, so the rest is not judged.
    match text.trim_start().bytes().next() {
        Some(b'[' | b'"' | b't' | b'f' | b'n' | b'0'..=b'9' | b'-')
            if sonic_rs::from_str::<IgnoredAny>(text).is_ok() =>
        {
            Err(JsonError::NotAnObject)
        }
        _ => Err(JsonError::Malformed(first_line(&error.to_string()))),
    }
}

/// Refuses what is nested too deep. Where there are few brackets, it is not looked at which of them are within
/// which.
pub(super) fn refuse_depth(text: &str) -> Result<(), JsonError> {
    if opening_brackets(text) > MAX_DEPTH && is_too_deep(text) {
        return Err(JsonError::Malformed(format!(
            "nested deeper than {MAX_DEPTH} levels"
        )));
    }
    Ok(())
}

/// How many brackets of both kinds open, those in texts included.
fn opening_brackets(text: &str) -> usize {
    // Sums of a byte are many at a time, and do not overflow.
    let chunks = text.as_bytes().chunks(128);
    let sums = chunks.map(|chunk| {
        let opens = chunk.iter().map(|byte| u8::from(byte | 0x20 == b'{'));
        usize::from(opens.sum::<u8>())
    });
    sums.sum()
}

fn is_too_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(inner) = bytes.next() {
                    match inner {
                        b'"' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// The parser's message without its drawing of the place, which is many lines long.
pub(super) fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim().to_owned()
}

struct ObjectSeed<'p, L> {
    plan: &'p ObjectPlan,
    leaves: &'p mut L,
}

impl<'de, L: Leaves> DeserializeSeed<'de> for ObjectSeed<'_, L> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, L: Leaves> Visitor<'de> for ObjectSeed<'_, L> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut expected = 0;
        while let Some(entry) = map.next_key_seed(KeySeed {
            plan: self.plan,
            at: &mut expected,
        })? {
            match entry {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(entry) => map.next_value_seed(ValueSeed {
                    entry,
                    leaves: self.leaves,
                })?,
            }
        }
        Ok(())
    }
}

struct KeySeed<'p, 'e> {
    plan: &'p ObjectPlan,
    at: &'e mut usize,
}

impl<'de, 'p> DeserializeSeed<'de> for KeySeed<'p, '_> {
    type Value = Option<&'p EntryPlan>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for KeySeed<'p, '_> {
    type Value = Option<&'p EntryPlan>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.plan.entry(key, self.at))
    }
}

/// A value, and what is done with it.
pub(super) struct ValueSeed<'p, 'l, L> {
    pub(super) entry: &'p EntryPlan,
    pub(super) leaves: &'l mut L,
}

impl<L: Leaves> ValueSeed<'_, '_, L> {
    fn take(self, value: &Scalar<'_>) {
        self.entry.hand_over(value, self.leaves);
    }
}

impl<'de, L: Leaves> DeserializeSeed<'de> for ValueSeed<'_, '_, L> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, L: Leaves> Visitor<'de> for ValueSeed<'_, '_, L> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.take(&Scalar::Null);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.take(&Scalar::Boolean(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.take(&Scalar::Integer(value));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.take(&match i64::try_from(value) {
            Ok(value) => Scalar::Integer(value),
            Err(_) => Scalar::Number(value as f64),
        });
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.take(&Scalar::Number(value));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.take(&Scalar::Text(Cow::Borrowed(value)));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if let Some(plan) = &self.entry.object {
            ObjectSeed {
                plan,
                leaves: &mut *self.leaves,
            }
            .visit_map(map)?;
        } else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        }
        self.take(&Scalar::Composite);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let wanted = self.entry.items();
        for place in 0.. {
            let is_some = match wanted.and_then(|wanted| wanted.item(place)) {
                Some(entry) => items
                    .next_element_seed(ValueSeed {
                        entry,
                        leaves: &mut *self.leaves,
                    })?
                    .is_some(),
                None => items.next_element::<IgnoredAny>()?.is_some(),
            };
            if !is_some {
                break;
            }
        }
        self.take(&Scalar::Composite);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::on_worker_stack;

    struct Found(Vec<(usize, String)>);

    impl Leaves for Found {
        fn take(&mut self, leaf: usize, value: &Scalar<'_>) {
            self.0.push((leaf, format!("{value:?}")));
        }
    }

    fn found(paths: &[&str], text: &str) -> Result<Vec<(usize, String)>, JsonError> {
        let mut plan = ObjectPlan::default();
        for (leaf, path) in paths.iter().enumerate() {
            let keys: Vec<_> = path.split('.').map(str::to_owned).collect();
            plan.add(&keys, leaf);
        }
        let mut found = Found(Vec::new());
        parse(text, &plan, &mut found).map(|()| found.0)
    }

    fn expect(paths: &[&str], text: &str, values: &[(usize, &str)]) {
        let values: Vec<_> = values
            .iter()
            .map(|(leaf, text)| (*leaf, (*text).to_owned()))
            .collect();
        assert_eq!(found(paths, text), Ok(values), "{text}");
    }

    #[test]
    fn takes_only_what_is_named_in_any_order() {
        expect(
            &["a", "b"],
            r#"{"a":1,"b":"x"}"#,
            &[(0, "Integer(1)"), (1, r#"Text("x")"#)],
        );
        expect(
            &["a", "b"],
            r#"{"b":2.5,"z":[{}],"a":null}"#,
            &[(1, "Number(2.5)"), (0, "Null")],
        );
        expect(
            &["a"],
            r#"{"a":1,"a":2}"#,
            &[(0, "Integer(1)"), (0, "Integer(2)")],
        );
        expect(
            &["a", "a"],
            r#"{"a":true}"#,
            &[(0, "Boolean(true)"), (1, "Boolean(true)")],
        );
        expect(&["a"], r#"{"a":"t\u00e9\n"}"#, &[(0, r#"Text("té\n")"#)]);
    }

    #[test]
    fn follows_nested_paths() {
        let text = r#"{"engine":{"rpm":900,"x":{"y":1}},"rpm":3}"#;
        expect(
            &["engine.rpm", "rpm"],
            text,
            &[(0, "Integer(900)"), (1, "Integer(3)")],
        );
        expect(&["engine.x.y"], text, &[(0, "Integer(1)")]);
        expect(&["engine"], text, &[(0, "Composite")]);
        expect(&["rpm.x"], text, &[]);
    }

    #[test]
    fn tells_broken_json_from_json_that_is_no_object() {
        for text in ["[1]", "1", "-2.5", "\"x\"", "true", "null", " [ ]"] {
            assert_eq!(found(&["a"], text), Err(JsonError::NotAnObject), "{text}");
        }
        for text in [
            "",
            " ",
            "{",
            "{\"a\":}",
            "{\"a\":1}}",
            "{\"a\":1} x",
            "nul",
            "{'a':1}",
            "[1",
        ] {
            let error = found(&["a"], text);
            assert!(
                matches!(error, Err(JsonError::Malformed(_))),
                "{text}: {error:?}"
            );
        }
    }

    #[test]
    fn refuses_depth() {
        on_worker_stack(|| {
            let too_deep = JsonError::Malformed("nested deeper than 128 levels".into());
            for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
                let deep = format!(
                    "{{\"a\":{}1{}}}",
                    open.repeat(100_000),
                    close.repeat(100_000)
                );
                assert_eq!(found(&["b"], &deep), Err(too_deep.clone()));
                assert_eq!(found(&["a.a.b"], &deep), Err(too_deep.clone()));
                // No record is so short that the stack would not matter.
                for (depth, expected) in [(127, Ok(Vec::new())), (128, Err(too_deep.clone()))] {
                    let short = format!("{{\"a\":{}1{}}}", open.repeat(depth), close.repeat(depth));
                    assert_eq!(found(&["b"], &short), expected, "{depth}");
                }
                let never_closed = format!("{{\"a\":{}", open.repeat(640));
                assert_eq!(found(&["b"], &never_closed), Err(too_deep.clone()));
            }
            let brackets_in_text = format!("{{\"b\":1,\"a\":\"\\\"{}\"}}", "[".repeat(10_000));
            expect(&["b"], &brackets_in_text, &[(0, "Integer(1)")]);
        });
    }
}
