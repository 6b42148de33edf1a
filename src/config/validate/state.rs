//! What is kept on disk, and how a pipeline is started again.

use std::path::PathBuf;

use super::super::document::PathSegment;
use super::super::file::{CheckpointConfig, PipelineFile, RestartConfig, StateBackend};
use super::super::pipeline::{CheckpointSettings, StateSettings};
use super::Validator;
use crate::model::Duration;
use crate::source;
use crate::state::StoreLocation;

/// A checkpoint costs every worker a stop between two batches; more often than this they would do
/// little else.
const MIN_EVERY: Duration = Duration::from_millis(100);

/// How many groups of a metric a worker holds in memory with RocksDB, where nothing is said: some ten
/// megabytes for plain aggregates.
const GROUPS_IN_MEMORY: usize = 200_000;

impl Validator<'_> {
    /// The state, where there is a folder for it.
    pub(super) fn state(&mut self, file: &PipelineFile) -> Option<StateSettings> {
        let state = &file.state;
        self.checkpoint(&state.checkpoint);
        for (path, message) in state.log.iter().flat_map(source::LogConfig::validate) {
            let path = path.iter().map(|key| PathSegment::Key(key));
            let at: Vec<_> = ["state".into(), "log".into()]
                .into_iter()
                .chain(path)
                .collect();
            self.problem(&at, message);
        }
        if state.backend == Some(StateBackend::Rocksdb) && cfg!(not(feature = "rocksdb")) {
            let message = "is not in this weir, which was built without RocksDB; \
                           build it with --features rocksdb, or use memory";
            self.problem(&["state".into(), "backend".into()], message);
        }
        if state.groups_in_memory.is_some() && state.backend != Some(StateBackend::Rocksdb) {
            let message = "goes with 'backend: rocksdb' only, which keeps the others on disk; \
                           add it, or remove 'groups_in_memory'";
            self.problem(&["state".into(), "groups_in_memory".into()], message);
        }
        let checkpoints = self.checkpoints(state.checkpoints.as_deref());
        let Some(dir) = &state.dir else {
            self.without_folder(file);
            if file.source.kinesis.is_some() {
                let message = "'kinesis' needs 'state.dir', the folder of the state: Kinesis does not \
                               keep how far a stream was read, and every start would lose or repeat \
                               records; add state: { dir: ./state/NAME }";
                self.problem_of_key(&["source".into(), "kinesis".into()], message);
            }
            let kafka = file.source.kafka.as_ref();
            if kafka.is_some_and(|kafka| kafka.instance.is_some()) {
                let message = "'instance' goes with 'state.dir' only: without checkpoints, a \
                               partition cannot be handed over; add 'dir', or remove 'instance'";
                self.problem_of_key(
                    &["source".into(), "kafka".into(), "instance".into()],
                    message,
                );
            }
            return None;
        };
        let at: [PathSegment<'_>; 2] = ["state".into(), "dir".into()];
        if dir.is_empty() {
            self.problem(&at, "must name a folder, such as ./state/cars");
        } else if dir.contains("://") {
            let message = format!(
                "must be a folder of this machine, found '{dir}'; \
                 an object store for the checkpoints goes into 'state.checkpoints'"
            );
            self.problem(&at, message);
        }
        let source = file.source.file.as_ref();
        if source.is_some_and(|source| source.path.all().any(|path| path == "-")) {
            let message = "does not go with standard input, which cannot be read again; \
                           read a file, or remove 'dir'";
            self.problem(&at, format!("'dir' {message}"));
        }
        let checkpoint = &state.checkpoint;
        Some(StateSettings {
            dir: PathBuf::from(dir),
            backend: state.backend.unwrap_or_default(),
            groups_in_memory: state
                .groups_in_memory
                .map_or(GROUPS_IN_MEMORY, |groups| groups as usize),
            checkpoints,
            checkpoint: CheckpointSettings {
                every: checkpoint.every,
                timeout: checkpoint.timeout.unwrap_or(Duration::from_secs(600)),
                min_pause: checkpoint.min_pause.unwrap_or(Duration::from_millis(0)),
                keep: checkpoint.keep.unwrap_or(3),
            },
            log: state.log.clone().unwrap_or_default(),
        })
    }

    fn checkpoints(&mut self, text: Option<&str>) -> Option<StoreLocation> {
        match location(text?) {
            Ok(location) => Some(location),
            Err(message) => {
                self.problem(&["state".into(), "checkpoints".into()], message);
                None
            }
        }
    }

    fn checkpoint(&mut self, checkpoint: &CheckpointConfig) {
        let at = |key| ["state".into(), "checkpoint".into(), PathSegment::Key(key)];
        if checkpoint.every < MIN_EVERY {
            let message = format!("must be {MIN_EVERY} or longer, found {}", checkpoint.every);
            self.problem(&at("every"), message);
        }
        if checkpoint
            .timeout
            .is_some_and(|timeout| timeout.as_millis() == 0)
        {
            self.problem(&at("timeout"), "must be longer than 0s");
        }
    }

    /// What says how checkpoints are made says nothing where none are made.
    fn without_folder(&mut self, file: &PipelineFile) {
        let state = &file.state;
        let keys: [(&[&str], bool); 7] = [
            (&["backend"], state.backend.is_some()),
            (&["groups_in_memory"], state.groups_in_memory.is_some()),
            (&["checkpoints"], state.checkpoints.is_some()),
            (
                &["checkpoint", "timeout"],
                state.checkpoint.timeout.is_some(),
            ),
            (
                &["checkpoint", "min_pause"],
                state.checkpoint.min_pause.is_some(),
            ),
            (&["checkpoint", "keep"], state.checkpoint.keep.is_some()),
            (&["log"], state.log.is_some()),
        ];
        for (path, is_given) in keys {
            if is_given {
                let keys = path.iter().map(|key| PathSegment::Key(key));
                let at: Vec<_> = std::iter::once("state".into()).chain(keys).collect();
                let key = path.last().copied().unwrap_or_default();
                let message = format!(
                    "'{key}' goes with 'state.dir' only, the folder of the state; \
                     add 'dir', or remove '{key}'"
                );
                self.problem_of_key(&at, message);
            }
        }
    }

    /// How the pipeline is started again, where it then goes on and does not begin anew.
    pub(super) fn restart(&mut self, file: &PipelineFile) -> Option<RestartConfig> {
        let restart = file.state.restart;
        let at = |key| ["state".into(), "restart".into(), PathSegment::Key(key)];
        for (key, duration) in [
            ("initial_delay", restart.initial_delay),
            ("within", restart.within),
        ] {
            if duration.as_millis() == 0 {
                self.problem(&at(key), "must be longer than 0s");
            }
        }
        if restart.max_delay < restart.initial_delay {
            let message = format!(
                "must be 'initial_delay' ({}) or longer, found {}",
                restart.initial_delay, restart.max_delay
            );
            self.problem(&at("max_delay"), message);
        }
        (file.source.file.is_none() || file.state.dir.is_some()).then_some(restart)
    }
}

/// Where an object store is, or what is wrong with what was written.
fn location(text: &str) -> Result<StoreLocation, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!(
            "must be s3://bucket/prefix or file:///path, found '{text}'"
        ));
    };
    match scheme {
        // Not shown: it may be a password.
        "s3" if rest.contains('@') => {
            Err("carries credentials; they come from the environment".to_owned())
        }
        "s3" if rest.is_empty() || rest.starts_with('/') => Err(format!(
            "has no bucket: write s3://bucket/prefix, found '{text}'"
        )),
        "file" if rest.len() < 2 || !rest.starts_with('/') => Err(format!(
            "must be an absolute path: write file:///path, found '{text}'"
        )),
        "s3" | "file" => text.parse(),
        _ => Err(format!("has scheme '{scheme}'; use s3 or file")),
    }
}
