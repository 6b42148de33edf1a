//! The `write` section of a pipeline file as it is written.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::metadata::MetricsMetadata;
use super::remote_write::RemoteWriteConfig;

/// A wrong value: the keys that lead to it, and what is wrong with what would be right.
pub type Problem = (Vec<String>, String);

/// The name of a receiver that has got none.
pub(super) const DEFAULT_RECEIVER: &str = "default";

/// The name of a file as a destination.
pub(super) const FILE: &str = "file";

/// Where samples go: exactly one of the two.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// To a Prometheus Remote-Write receiver, or to each of a list of them.
    pub remote_write: Option<Receivers>,
    /// To a file as JSON, one sample a line.
    pub file: Option<FileConfig>,
    /// What receivers are told of the metrics, which stand elsewhere in a pipeline file.
    #[serde(skip)]
    pub metadata: Arc<MetricsMetadata>,
}

/// One receiver or several.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Receivers {
    /// One.
    One(Box<RemoteWriteConfig>),
    /// Several, each with a name.
    Several(Vec<RemoteWriteConfig>),
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
        if let Some(receivers) = &self.remote_write {
            for (mut path, message) in receivers.validate() {
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

impl Receivers {
    /// All of them, in their order.
    pub fn all(&self) -> &[RemoteWriteConfig] {
        match self {
            Self::One(receiver) => std::slice::from_ref(receiver),
            Self::Several(receivers) => receivers,
        }
    }

    fn validate(&self) -> Vec<Problem> {
        let receivers = match self {
            Self::One(receiver) => return receiver.validate(),
            Self::Several(receivers) => receivers,
        };
        if receivers.is_empty() {
            return vec![(
                Vec::new(),
                "is empty; give at least one receiver".to_owned(),
            )];
        }
        let mut problems = Vec::new();
        for (number, receiver) in receivers.iter().enumerate() {
            if receiver.name.is_none() && receivers.len() > 1 {
                let message =
                    "has no name; where there are several receivers, each needs one: name: backup";
                problems.push((vec![number.to_string()], message.to_owned()));
            }
            let others = receivers.iter().take(number);
            let same_name =
                |other: &&RemoteWriteConfig| receiver.name.is_some() && other.name == receiver.name;
            if let Some(other) = others.clone().find(same_name) {
                let message = format!(
                    "is '{}', as an earlier receiver is called; give each a name of its own",
                    other.name()
                );
                problems.push((vec![number.to_string(), "name".to_owned()], message));
            }
            let dir = &receiver.rejected.dir;
            if dir.is_some() && others.clone().any(|other| other.rejected.dir == *dir) {
                let path = [&number.to_string(), "rejected", "dir"].map(str::to_owned);
                let message = "is the folder of an earlier receiver; give each a folder of its own";
                problems.push((path.to_vec(), message.to_owned()));
            }
            for (mut path, message) in receiver.validate() {
                path.insert(0, number.to_string());
                problems.push((path, message));
            }
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
