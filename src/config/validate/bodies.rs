//! What depends on both the source and the format of its records: which bodies of requests there are, and how
//! large a record may be.

use super::super::file::PipelineFile;
use super::Validator;
use crate::decode::{DecodeConfig, FormatOptions};
use crate::source::{self, Bodies, BodyFormat, LEAST_RECORD_BYTES, MAX_LOGGED_BYTES};

/// Which bodies a pipeline takes over HTTP.
pub(super) fn bodies(file: &PipelineFile, format: &DecodeConfig) -> Bodies {
    let format = match format.options() {
        FormatOptions::Json { explode } if explode.as_deref() == Some(".") => BodyFormat::JsonWhole,
        FormatOptions::Json { .. } | FormatOptions::Number {} => BodyFormat::Json,
        FormatOptions::Csv { .. } => BodyFormat::Csv,
        FormatOptions::Influx {} => BodyFormat::Influx,
        FormatOptions::Cbor { .. } => BodyFormat::Cbor,
        FormatOptions::SenmlJson {} => BodyFormat::SenmlJson,
        FormatOptions::SenmlCbor {} => BodyFormat::SenmlCbor,
        FormatOptions::Cloudevents {} => BodyFormat::Cloudevents,
        FormatOptions::Protobuf { .. } => BodyFormat::Protobuf,
        FormatOptions::Avro { .. } => BodyFormat::Avro,
        FormatOptions::RemoteWrite {} | FormatOptions::SparkplugB {} => BodyFormat::Bytes,
    };
    Bodies {
        format,
        is_wrapped: !file.source.unwrap.is_empty(),
    }
}

impl Validator<'_> {
    /// Refuses sizes of records that the log cannot take, or that the source's own records have.
    pub(super) fn record_bytes(&mut self, file: &PipelineFile, config: &source::Config) {
        let bytes = file.source.max_record_bytes as usize;
        let has_log =
            config.mqtt.is_some() || config.http.is_some() || config.remote_write.is_some();
        let message = if has_log && file.state.dir.is_some() && bytes > MAX_LOGGED_BYTES {
            format!(
                "{bytes} is too large for the durable log in state.dir; at most {MAX_LOGGED_BYTES}"
            )
        } else if config.remote_write.is_some() && bytes < LEAST_RECORD_BYTES {
            format!(
                "{bytes} is too small for remote_write, whose records have up to 2000 samples; at \
                 least {LEAST_RECORD_BYTES}"
            )
        } else {
            return;
        };
        self.problem(&["source".into(), "max_record_bytes".into()], message);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::super::load::{Overrides, load_text};
    use super::*;

    fn bodies_of(source: &str) -> Bodies {
        let text = format!(
            "{{pipeline: cars, source: {{http: {{listen: '127.0.0.1:0'}}, {source}}},
              event: {{time: {{from: '@timestamp'}}, fields: {{value: number}}}},
              metrics: {{m: {{window: {{tumbling: 1m}}, value: max(value)}}}},
              write: {{file: {{path: out}}}}}}"
        );
        let none = |_: &str| None;
        let folder = PathBuf::new();
        let pipeline = load_text("cars.yaml", &text, folder, &Overrides::default(), &none);
        pipeline.unwrap().source.http.unwrap().bodies
    }

    #[test]
    fn the_format_of_records_says_which_bodies_there_are() {
        for (source, format, is_wrapped) in [
            ("max_record_bytes: 1000", BodyFormat::Json, false),
            ("decode: json", BodyFormat::Json, false),
            (
                "decode: {format: json, explode: .}",
                BodyFormat::JsonWhole,
                false,
            ),
            (
                "decode: {format: json, explode: a.b}",
                BodyFormat::Json,
                false,
            ),
            ("decode: number", BodyFormat::Json, false),
            ("decode: csv", BodyFormat::Csv, false),
            ("decode: influx", BodyFormat::Influx, false),
            ("decode: cbor", BodyFormat::Cbor, false),
            ("decode: senml_json", BodyFormat::SenmlJson, false),
            ("decode: senml_cbor", BodyFormat::SenmlCbor, false),
            ("decode: cloudevents", BodyFormat::Cloudevents, false),
            ("decode: avro", BodyFormat::Avro, false),
            ("decode: avro, unwrap: [gzip]", BodyFormat::Avro, true),
        ] {
            let expected = Bodies { format, is_wrapped };
            assert_eq!(bodies_of(source), expected, "{source}");
        }
    }
}
