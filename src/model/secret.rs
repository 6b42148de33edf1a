//! Texts that must not be seen: passwords, and settings that may hold one.

use std::borrow::Cow;
use std::path::Path;
use std::{fmt, fs};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is shown in a secret's place.
const HIDDEN: &str = "<hidden>";

/// A text that is hidden wherever a configuration is printed or written out. In a file it may be a
/// number or a truth value as well, because `12345` is a password too.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// That of a file, which a setting names. Line ends at the file's end do not count, all else does.
    ///
    /// # Errors
    /// It cannot be read, or is no text.
    pub fn read(setting: &str, path: impl AsRef<Path>) -> Result<Self, String> {
        let path = path.as_ref();
        let text = fs::read_to_string(path);
        text.map(|text| Self::of_file(&text))
            .map_err(|error| format!("{setting} {} cannot be read: {error}", path.display()))
    }

    /// The same of what a file holds.
    pub fn of_file(text: &str) -> Self {
        Self::new(text.trim_end_matches(['\r', '\n']))
    }

    /// The text itself: not for logs.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number or a truth value")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Secret, E> {
        Ok(Secret::new(value))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Secret, E> {
        Ok(Secret(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Secret, E> {
        Ok(Secret(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Secret, E> {
        Ok(Secret(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Secret, E> {
        Ok(Secret(value.to_string()))
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number", "boolean"],
            "description": "A text that weir never prints"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_never_shown() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "<hidden>");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"<hidden>\"");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn line_ends_at_the_end_of_a_file_do_not_count() {
        for (text, secret) in [
            ("a", "a"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a b \n", "a b "),
            ("a\n\n", "a"),
            ("\na", "\na"),
            ("\n", ""),
            ("", ""),
        ] {
            assert_eq!(Secret::of_file(text).reveal(), secret, "{text:?}");
        }
        let error = Secret::read("token_file", "/nowhere/token").unwrap_err();
        let expected = "token_file /nowhere/token cannot be read: ";
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn may_be_any_scalar() {
        for (json, text) in [
            ("\"a\"", "a"),
            ("5", "5"),
            ("-5", "-5"),
            ("1.5", "1.5"),
            ("true", "true"),
        ] {
            assert_eq!(serde_json::from_str::<Secret>(json).unwrap().reveal(), text);
        }
        let error = serde_json::from_str::<Secret>("[1]")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("expected a text, a number or a truth value"),
            "{error}"
        );
    }
}
