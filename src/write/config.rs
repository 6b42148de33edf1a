//! The `write` section of a pipeline file as it is written.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::metadata::MetricsMetadata;
use super::remote_write::RemoteWriteConfig;

/// A wrong value: the keys that lead to it, and what is wrong with what would be right.
pub type Problem = (Vec<String>, String);

/// Where samples go: exactly one of the two.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// To a Prometheus Remote-Write receiver.
    pub remote_write: Option<RemoteWriteConfig>,
    /// To a file as JSON, one sample a line.
    pub file: Option<FileConfig>,
    /// What receivers are told of the metrics, which stand elsewhere in a pipeline file.
    #[serde(skip)]
    pub metadata: Arc<MetricsMetadata>,
}

/// Samples to a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The file, which is created or appended to; `-` is standard output.
    pub path: PathBuf,
}

impl Config {
    /// What the types cannot check. Whether exactly one destination is given is for the caller to
    /// check: only it knows where the section stands.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(remote_write) = &self.remote_write {
            for (mut path, message) in remote_write.validate() {
                path.insert(0, "remote_write".to_owned());
                problems.push((path, message));
            }
        }
        if self
            .file
            .as_ref()
            .is_some_and(|file| file.path.as_os_str().is_empty())
        {
            let path = vec!["file".to_owned(), "path".to_owned()];
            problems.push((
                path,
                "is empty; give a file, or - for standard output".to_owned(),
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_way_to_each_problem() {
        let config: Config = serde_json::from_str(
            r#"{"remote_write": {"url": "ftp://db", "batch": {"samples": 0}}, "file": {"path": ""}}"#,
        )
        .unwrap();
        let paths: Vec<_> = config
            .validate()
            .into_iter()
            .map(|(path, _)| path.join("."))
            .collect();
        assert_eq!(
            paths,
            [
                "remote_write.url",
                "remote_write.batch.samples",
                "file.path"
            ]
        );
    }

    #[test]
    fn refuses_unknown_keys() {
        let error = serde_json::from_str::<Config>(r#"{"fil": {"path": "-"}}"#).unwrap_err();
        assert!(
            error.to_string().starts_with("unknown field `fil`"),
            "{error}"
        );
    }
}
