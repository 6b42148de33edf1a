//! Which fuzz targets there must be: one for each way in which a record can be written or wrapped.

use crate::code::{Code, Finding};
use crate::modules::Sources;

/// Where the programs of the targets are.
const FOLDER: &str = "fuzz/fuzz_targets/";

/// The names of the targets among the sources.
pub(crate) fn names(sources: &Sources) -> Vec<&str> {
    let targets = sources.keys().filter_map(|path| path.strip_prefix(FOLDER));
    targets
        .filter_map(|file| file.strip_suffix(".rs"))
        .collect()
}

/// The variants of an enum that have no target of their own, which has the variant's name between `before` and
/// `behind` and says it in its text as a pipeline file does.
pub(crate) fn variants_without(
    code: &Code<'_>,
    enumeration: &str,
    (before, behind): (&str, &str),
    sources: &Sources,
) -> Vec<Finding> {
    let variants = variants(code, enumeration);
    if variants.is_empty() {
        let message = format!("there is no enum {enumeration}, or it is empty");
        return vec![Finding::new(code.path, 1, message)];
    }
    let mut findings = Vec::new();
    for at in variants {
        let name = snake_case(code.at(at));
        let path = format!("{FOLDER}{before}{name}{behind}.rs");
        let message = match sources.get(&path) {
            None => format!("{name} has no fuzz target of its own: there is no {path}"),
            Some(text) if !text.contains(&format!("\"{name}\"")) => {
                format!("{path} says nothing of \"{name}\"")
            }
            Some(_) => continue,
        };
        findings.push(code.finding(at, message));
    }
    findings
}

/// Where the names of an enum's variants stand.
fn variants(code: &Code<'_>, enumeration: &str) -> Vec<usize> {
    let Some(open) = code.find(&["enum", enumeration, "{"]).next() else {
        return Vec::new();
    };
    let (mut at, end) = (open + 3, code.closing(open + 2) - 1);
    let mut variants = Vec::new();
    let mut is_name = true;
    while at < end {
        at = match code.at(at) {
            "#" => code.closing(at + 1),
            "{" | "(" => code.closing(at),
            "," => {
                is_name = true;
                at + 1
            }
            _ => {
                if std::mem::take(&mut is_name) {
                    variants.push(at);
                }
                at + 1
            }
        };
    }
    variants
}

/// A variant's name as it is written in pipeline files.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: &str = "enum Step { Gzip }
        /// enum Format { Other }
        enum Format {
            /// One, two.
            Json,
            #[serde(alias = \"a, b\")]
            SenmlCbor { explode: Option<String>, b: [u8; 2] },
            Avro(String, u8),
            Number
        }";

    fn sources(files: &[(&str, &str)]) -> Sources {
        let files = files.iter();
        files
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn every_variant_has_a_target_that_names_it() {
        let code = Code::new("format.rs", FORMATS, false);
        let sources = sources(&[
            ("fuzz/fuzz_targets/avro_decoder.rs", "r#\"\"avro\"\"#"),
            ("fuzz/fuzz_targets/json.rs", "\"json\""),
            ("fuzz/fuzz_targets/number_decoder.rs", "\"numbers\""),
            ("fuzz/fuzz_targets/senml_cbor_decoder.rs", "\"senml_cbor\""),
        ]);
        let found = variants_without(&code, "Format", ("", "_decoder"), &sources);
        let told: Vec<_> = found.iter().map(Finding::to_string).collect();
        assert_eq!(
            told,
            [
                "format.rs:5: json has no fuzz target of its own: there is no \
                 fuzz/fuzz_targets/json_decoder.rs",
                "format.rs:9: fuzz/fuzz_targets/number_decoder.rs says nothing of \"number\"",
            ]
        );
        let found = variants_without(&code, "Steps", ("unwrap_", ""), &sources);
        let told: Vec<_> = found.iter().map(Finding::to_string).collect();
        assert_eq!(
            told,
            ["format.rs:1: there is no enum Steps, or it is empty"]
        );
    }

    #[test]
    fn targets_are_named_by_their_files() {
        let sources = sources(&[("fuzz/fuzz_targets/a_b.rs", ""), ("fuzz/src/lib.rs", "")]);
        assert_eq!(names(&sources), ["a_b"]);
    }
}
