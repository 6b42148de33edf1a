//! Variables in a pipeline file: `${NAME}`, `${NAME:-default}`, and `$$` for a dollar sign.
//!
//! They are replaced in the values after the YAML was parsed, so a variable's value can neither
//! change the file's structure nor move the places of the problems behind it. Keys are left alone.

use std::borrow::Cow;

/// Where variables come from; absent ones are `None`.
pub(crate) type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A variable of the process; `None` where it is absent or no valid Unicode.
pub fn process_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What could not be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Where it begins in the text, in bytes.
    pub(crate) offset: usize,
    /// How long it is, in bytes.
    pub(crate) len: usize,
    /// What is wrong with it.
    pub(crate) message: String,
}

/// Replaces all variables of a text. A `$` before anything but `{` and `$` stands for itself. As in
/// a shell, the default serves for an empty variable as well.
pub(crate) fn substitute<'t>(
    text: &'t str,
    variables: &Variables<'_>,
) -> Result<Cow<'t, str>, Vec<Failure>> {
    if !text.contains('$') {
        return Ok(Cow::Borrowed(text));
    }
    let mut result = String::with_capacity(text.len());
    let mut failures = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, tail) = rest.split_at(dollar);
        result.push_str(before);
        let offset = text.len() - tail.len();
        if let Some(after) = tail.strip_prefix("$$") {
            result.push('$');
            rest = after;
            continue;
        }
        let Some(body) = tail.strip_prefix("${") else {
            result.push('$');
            rest = tail.strip_prefix('$').unwrap_or_default();
            continue;
        };
        let Some((inner, after)) = body.split_once('}') else {
            let message = "'${' without '}'; write ${NAME} or ${NAME:-default}, and $$ for a \
                           dollar sign";
            failures.push(Failure {
                offset,
                len: tail.len(),
                message: message.to_owned(),
            });
            break;
        };
        match value_of(inner, variables) {
            Ok(value) => result.push_str(&value),
            Err(message) => failures.push(Failure {
                offset,
                len: inner.len() + 3,
                message,
            }),
        }
        rest = after;
    }
    if !failures.is_empty() {
        return Err(failures);
    }
    result.push_str(rest);
    if result == text {
        Ok(Cow::Borrowed(text))
    } else {
        Ok(Cow::Owned(result))
    }
}

/// The value for what stands between `${` and `}`.
fn value_of(inner: &str, variables: &Variables<'_>) -> Result<String, String> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_name(name) {
        return Err(format!(
            "'{name}' is not the name of a variable; write ${{NAME}} or ${{NAME:-default}}, and \
             $$ for a dollar sign"
        ));
    }
    match (variables(name), default) {
        (_, Some(default)) if default.contains("${") => Err(format!(
            "the default of '{name}' holds a variable itself; write plain text"
        )),
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the variable '{name}' is not set; set it or give a default, ${{{name}:-default}}"
        )),
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("kafka".to_owned()),
            "PORT_2" => Some("9092".to_owned()),
            "EMPTY" => Some(String::new()),
            "DOLLARS" => Some("$$ ${HOST}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn replaces_variables_defaults_and_doubled_dollar_signs() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("${HOST}:${PORT_2}", "kafka:9092"),
            ("${NONE:-a:-b}!", "a:-b!"),
            ("${NONE:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-full}", "full"),
            ("$${HOST}", "${HOST}"),
            ("$$$$", "$$"),
            ("^a$", "^a$"),
            ("$HOST", "$HOST"),
            ("ü${HOST}ü", "ükafkaü"),
            ("${DOLLARS}", "$$ ${HOST}"),
        ] {
            assert_eq!(
                substitute(text, &variables).as_deref(),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn names_everything_that_cannot_be_replaced() {
        let failures = substitute("ü${A} ${1} ${A:-${B}} ${", &variables).unwrap_err();
        let failures: Vec<_> = failures
            .iter()
            .map(|f| (f.offset, f.len, f.message.as_str()))
            .collect();
        assert_eq!(
            failures,
            [
                (
                    2,
                    4,
                    "the variable 'A' is not set; set it or give a default, ${A:-default}"
                ),
                (
                    7,
                    4,
                    "'1' is not the name of a variable; write ${NAME} or ${NAME:-default}, and \
                     $$ for a dollar sign"
                ),
                (
                    12,
                    9,
                    "the default of 'A' holds a variable itself; write plain text"
                ),
                (
                    23,
                    2,
                    "'${' without '}'; write ${NAME} or ${NAME:-default}, and $$ for a dollar sign"
                ),
            ]
        );
    }
}
