//! The pipeline's name, its source, its writer, and what an event consists of.

use std::sync::Arc;

use super::super::check::quoted;
use super::super::document::PathSegment;
use super::super::file::PipelineFile;
use super::Validator;
use crate::decode::{DecodeConfig, FieldConfig, Path, Purpose, UnwrapStep};
use crate::model::suggest;
use crate::source::{self, MqttConfig};
use crate::window::LatePolicy;

impl Validator<'_> {
    pub(super) fn name(&mut self, name: &str) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(allowed) {
            let message =
                format!("'{name}' is not a pipeline name; use letters, digits, '-', '_' and '.'");
            self.problem(&["pipeline".into()], message);
        }
    }

    pub(super) fn source(&mut self, file: &PipelineFile) -> source::Config {
        let section = &file.source;
        let config = source::Config {
            file: section.file.clone(),
            kafka: section.kafka.clone(),
            kinesis: section.kinesis.clone(),
            mqtt: section.mqtt.clone(),
            http: section.http.clone(),
            remote_write: section.remote_write.clone(),
        };
        self.exactly_one("source", &config.kinds());
        for (path, message) in config.validate() {
            self.problem_of_stage("source", &path, &message);
        }
        let decode: [PathSegment<'_>; 2] = ["source".into(), "decode".into()];
        if config.remote_write.is_some() && self.compiler.document.get(&decode).is_some() {
            let message = "'decode' does not go with 'remote_write'; remove it";
            self.problem_of_key(&decode, message);
        }
        for (mut path, message) in section.decode.validate() {
            path.insert(0, "decode".to_owned());
            self.problem_of_stage("source", &path, &message);
        }
        for (mut path, message) in UnwrapStep::validate(&section.unwrap) {
            path.insert(0, "unwrap".to_owned());
            self.problem_of_stage("source", &path, &message);
        }
        if section.decode.needs_topic() && config.mqtt.is_none() {
            let message = "is sparkplug_b, whose topics say a part of what messages mean; it needs \
                           source.mqtt, and has no --input, whose lines have no topics";
            self.problem(&["source".into(), "decode".into()], message);
        }
        let are_lines = config.file.is_some() && section.unwrap.is_empty();
        if are_lines && section.decode.has_named_rows() {
            let message = "is csv without 'columns', which is read from records of several rows; \
                           a line of a file is a record of its own, so name its cells in 'columns'";
            self.problem(&decode, message);
        }
        self.record_bytes(file, &config);
        if section.decode.needs_topic() && config.mqtt.as_ref().is_some_and(MqttConfig::is_shared) {
            let message = "is sparkplug_b, and source.mqtt.topics has a shared subscription, which \
                           gives a birth to one instance and its data to another; subscribe without \
                           $share, each instance to groups of its own: spBv1.0/GROUP/#";
            self.problem(&["source".into(), "decode".into()], message);
        }
        self.topic_names = topic_names(&config);
        config
    }

    pub(super) fn write(&mut self, file: &PipelineFile) {
        let kinds = [
            ("remote_write", file.write.remote_write.is_some()),
            ("file", file.write.file.is_some()),
        ];
        self.exactly_one("write", &kinds);
        for (path, message) in file.write.validate() {
            self.problem_of_stage("write", &path, &message);
        }
    }

    pub(super) fn dead_letters(&mut self, file: &PipelineFile) {
        if let Some(section) = &file.dead_letters {
            let kinds = [
                ("file", section.file.is_some()),
                ("kafka", section.kafka.is_some()),
            ];
            self.exactly_one("dead_letters", &kinds);
            for (path, message) in section.validate() {
                self.problem_of_stage("dead_letters", &path, &message);
            }
        } else if file.time.late == LatePolicy::Divert {
            let message = "is 'divert', but nothing says where to; add a section 'dead_letters', \
                           or write 'drop'";
            self.problem(&["time".into(), "late".into()], message);
        }
    }

    /// Of some keys of a section exactly one must be given.
    pub(super) fn exactly_one(&mut self, section: &str, kinds: &[(&str, bool)]) {
        let mut given = kinds
            .iter()
            .filter(|(_, is_given)| *is_given)
            .map(|(name, _)| *name);
        let Some(first) = given.next() else {
            let names = quoted(kinds.iter().map(|(name, _)| *name), "or");
            let message = format!("missing key in '{section}': one of {names}");
            return self.problem_of_key(&[section.into()], message);
        };
        for other in given {
            let message = format!("'{other}' does not go with '{first}'; remove one of them");
            self.problem_of_key(&[section.into(), other.into()], message);
        }
    }

    pub(super) fn intervals(&mut self, file: &PipelineFile) {
        let time = &file.time;
        for (key, duration) in [
            ("idle_after", time.idle_after),
            ("max_drift", time.max_drift),
        ] {
            if duration.as_millis() == 0 {
                self.problem(&["time".into(), key.into()], "must be longer than 0s");
            }
        }
    }

    pub(super) fn event(&mut self, file: &PipelineFile) {
        self.path(
            &["event".into(), "time".into(), "from".into()],
            &file.event.time.from,
        );
        if file.event.fields.is_empty() {
            self.problem(
                &["event".into(), "fields".into()],
                "must name at least one field",
            );
        }
        for (name, field) in &file.event.fields {
            let at: [PathSegment<'_>; 3] = ["event".into(), "fields".into(), name.as_str().into()];
            self.add_field(&at, name, field.data_type());
            match field {
                FieldConfig::Type(_) => {}
                FieldConfig::Detail(detail) => {
                    if let Some(from) = &detail.from {
                        self.path(&[at[0], at[1], at[2], "from".into()], from);
                    }
                }
            }
        }
    }

    /// How records are written, with what the files of the format say of them.
    pub(super) fn format(&mut self, file: &PipelineFile, folder: &std::path::Path) -> DecodeConfig {
        let mut format = file.source.decode.clone();
        for (mut path, message) in format.load(folder) {
            path.insert(0, "decode".to_owned());
            self.problem_of_stage("source", &path, &message);
        }
        let event = &file.event;
        let time = Purpose::Time(event.time.unit);
        let at: [PathSegment<'_>; 3] = ["event".into(), "time".into(), "from".into()];
        self.path_of_record(&format, &at, &event.time.from, time);
        for (name, field) in &event.fields {
            let purpose = Purpose::Field(field.data_type());
            let name = name.as_str();
            let at: [PathSegment<'_>; 4] =
                ["event".into(), "fields".into(), name.into(), "from".into()];
            match field.from() {
                Some(from) => self.path_of_record(&format, &at, from, purpose),
                None => {
                    if let Err(message) = format.check_path(&[name.to_owned()], purpose) {
                        let [section, fields, name, _] = at;
                        self.problem_of_key(&[section, fields, name], message);
                    }
                }
            }
        }
        let received = file.time.clock.as_ref();
        if let Some(received) = received.and_then(|clock| clock.received.as_deref()) {
            let at: [PathSegment<'_>; 3] = ["time".into(), "clock".into(), "received".into()];
            self.path_of_record(&format, &at, received, time);
        }
        format
    }

    /// Checks a path against what a record consists of.
    fn path_of_record(
        &mut self,
        format: &DecodeConfig,
        at: &[PathSegment<'_>],
        text: &str,
        purpose: Purpose,
    ) {
        // What is no path at all was told already.
        if let Ok(Path::Body(keys)) = text.parse()
            && let Err(message) = format.check_path(&keys, purpose)
        {
            self.problem(at, message);
        }
    }

    pub(super) fn path(&mut self, at: &[PathSegment<'_>], text: &str) {
        match text.parse::<Path>() {
            Ok(path) => {
                self.needs_envelope |= path.needs_envelope();
                self.headers.extend(path.header().map(Arc::from));
                if let Path::TopicLevel(level) = path {
                    self.topic_level(at, level.name());
                }
            }
            Err(error) => self.problem(at, error.to_string()),
        }
    }

    /// A named level of topics must be one that a topic of MQTT has. A file has no topics, so that of
    /// a pipeline whose source it takes the place of nothing is asked.
    fn topic_level(&mut self, at: &[PathSegment<'_>], name: &str) {
        let Some(names) = &self.topic_names else {
            return;
        };
        if names.iter().any(|known| known == name) {
            return;
        }
        let hint = match suggest(name, names.iter().map(String::as_str)) {
            _ if names.is_empty() => {
                "no topic of MQTT names its levels; write one such as fleet/{vehicle}/telemetry"
                    .to_owned()
            }
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("the topics name {}", names.join(", ")),
        };
        self.problem(at, format!("unknown level '{name}' of topics; {hint}"));
    }
}

/// The names that levels of topics have, each once; none where the source has no topics of its own.
fn topic_names(config: &source::Config) -> Option<Vec<String>> {
    let Some(mqtt) = &config.mqtt else {
        return config.kafka.is_some().then(Vec::new);
    };
    let mut names: Vec<String> = Vec::new();
    for template in mqtt.templates() {
        for name in template.names() {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    Some(names)
}
