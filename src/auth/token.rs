//! What is said to an authorization server of OAuth 2.0, and what it answers. See
//! <https://www.rfc-editor.org/rfc/rfc6749>.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::Fetched;

/// How much of the server's own words is repeated, in characters.
const MAX_WORDS: usize = 300;

/// What stands for itself in a form.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The answer's members that matter here.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    token_type: Option<String>,
    /// In seconds; some servers write it as a text.
    expires_in: Option<Value>,
}

/// The token of an answer, and how long it is good.
///
/// # Errors
/// It holds none: what is wrong, to be said of "the answer".
pub fn token_in(body: &[u8]) -> Result<Fetched<String>, &'static str> {
    // The error would repeat what it could not read, which may be the token.
    let answer: Answer = serde_json::from_slice(body).map_err(|_| "is not the JSON of a token")?;
    let kind = answer.token_type.as_deref().unwrap_or("bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err("holds no bearer token");
    }
    let token = answer.access_token.filter(|token| {
        let is_visible = |byte: u8| (0x21..0x7f).contains(&byte);
        !token.is_empty() && token.bytes().all(is_visible)
    });
    let value = token.ok_or("holds no access_token")?;
    let seconds = match answer.expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    // A token that ends at once would be fetched for each request; the receiver will tell.
    let seconds = seconds.filter(|seconds: &f64| *seconds >= 1.0);
    let lifetime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(Fetched { value, lifetime })
}

/// The error in the server's own words, of the members that RFC 6749 names for that; each with a
/// colon before it.
#[must_use]
pub fn words(body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let member = |name| answer.get(name).and_then(Value::as_str);
    let members = [member("error"), member("error_description")];
    let mut words = String::new();
    for member in members.into_iter().flatten() {
        words.push_str(": ");
        words.extend(member.chars().filter(|c| !c.is_control()).take(MAX_WORDS));
    }
    words
}

/// A text as it stands in a form.
#[must_use]
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, FORM).to_string()
}

/// Adds a member to a form that has one already.
pub fn add(form: &mut String, name: &str, value: &str) {
    form.push_str(&format!("&{}={}", encoded(name), encoded(value)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(body: &str) -> Result<(String, Option<u64>), &'static str> {
        let fetched = token_in(body.as_bytes())?;
        let lifetime = fetched.lifetime.map(|lifetime| lifetime.as_secs());
        Ok((fetched.value, lifetime))
    }

    #[test]
    fn reads_what_servers_answer() {
        let a = || "a".to_owned();
        for (body, expected) in [
            (
                r#"{"access_token":"a","token_type":"Bearer","expires_in":3600}"#,
                Some(3600),
            ),
            (r#"{"access_token":"a","expires_in":"3599"}"#, Some(3599)),
            (r#"{"access_token":"a","expires_in":0}"#, None),
            (
                r#"{"access_token":"a","expires_in":null,"scope":"x"}"#,
                None,
            ),
        ] {
            assert_eq!(token(body), Ok((a(), expected)), "{body}");
        }
        for (body, expected) in [
            ("<html>", "is not the JSON of a token"),
            (
                r#"{"access_token":"hunter2","token_type":"mac"}"#,
                "holds no bearer token",
            ),
            (r#"{"access_token":""}"#, "holds no access_token"),
            (r#"{"access_token":"a b"}"#, "holds no access_token"),
            (r#"{"error":"x"}"#, "holds no access_token"),
        ] {
            assert_eq!(token(body), Err(expected), "{body}");
        }
    }

    #[test]
    fn repeats_the_servers_words_and_nothing_else() {
        let body = br#"{"error":"invalid_client","error_description":"no such client","x":"y"}"#;
        assert_eq!(words(body), ": invalid_client: no such client");
        assert_eq!(words(b"<html>hunter2</html>"), "");
        assert_eq!(encoded("a b&c=d\u{e4}+~"), "a%20b%26c%3Dd%C3%A4%2B~");
    }
}
