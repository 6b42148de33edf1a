//! Which types of bodies there are, by the format of a pipeline's records.

use super::records::Layout;

/// The types of bodies of which every line is a record.
const PLAIN: (&str, Layout) = ("text/plain", Layout::Lines);
const NDJSON: (&str, Layout) = ("application/x-ndjson", Layout::Lines);
const NDJSON_SHORT: (&str, Layout) = ("application/ndjson", Layout::Lines);

/// The type of bodies that are a record whatever they are.
const BYTES: (&str, Layout) = ("application/octet-stream", Layout::Whole);

/// The types of a format, and how bodies of each are cut into records.
type Types = &'static [(&'static str, Layout)];

const JSON: Types = &[
    NDJSON,
    NDJSON_SHORT,
    PLAIN,
    ("application/json", Layout::JsonArray),
    BYTES,
];

/// The formats of records, as far as bodies depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyFormat {
    /// JSON, and bare numbers.
    #[default]
    Json,
    /// JSON of which a record is an array.
    JsonWhole,
    /// CSV.
    Csv,
    /// The line protocol of InfluxDB.
    Influx,
    /// CBOR.
    Cbor,
    /// SenML in JSON.
    SenmlJson,
    /// SenML in CBOR.
    SenmlCbor,
    /// CloudEvents in JSON.
    Cloudevents,
    /// Protocol buffers.
    Protobuf,
    /// Avro.
    Avro,
    /// What has no type of its own.
    Bytes,
}

/// Which bodies a pipeline takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bodies {
    /// How its records are written.
    pub format: BodyFormat,
    /// Whether there is something around them: then bodies are that.
    pub is_wrapped: bool,
}

impl BodyFormat {
    fn types(self) -> Types {
        match self {
            Self::Json => JSON,
            Self::JsonWhole => &[
                ("application/json", Layout::Whole),
                NDJSON,
                NDJSON_SHORT,
                PLAIN,
                BYTES,
            ],
            // The first row of a record may have the names, and a cell may have line ends.
            Self::Csv => &[("text/csv", Layout::Whole), PLAIN, BYTES],
            Self::Influx => &[PLAIN, BYTES],
            Self::Cbor => &[("application/cbor", Layout::Whole), BYTES],
            // A pack is an array.
            Self::SenmlJson => &[
                ("application/senml+json", Layout::Whole),
                ("application/json", Layout::Whole),
                NDJSON,
                NDJSON_SHORT,
                PLAIN,
                BYTES,
            ],
            Self::SenmlCbor => &[
                ("application/senml+cbor", Layout::Whole),
                ("application/cbor", Layout::Whole),
                BYTES,
            ],
            Self::Cloudevents => &[
                ("application/cloudevents+json", Layout::Whole),
                ("application/cloudevents-batch+json", Layout::JsonArray),
                ("application/json", Layout::JsonArray),
                NDJSON,
                NDJSON_SHORT,
                PLAIN,
                BYTES,
            ],
            Self::Protobuf => &[
                ("application/x-protobuf", Layout::Whole),
                ("application/protobuf", Layout::Whole),
                BYTES,
            ],
            Self::Avro => &[
                ("avro/binary", Layout::Whole),
                ("application/avro", Layout::Whole),
                BYTES,
            ],
            Self::Bytes => &[BYTES],
        }
    }
}

impl Bodies {
    fn types(self) -> impl Iterator<Item = (&'static str, Layout)> {
        let outside = if self.is_wrapped { JSON } else { &[] };
        let own = self.format.types().iter();
        let is_new = |(name, _): &&(&str, Layout)| outside.iter().all(|(known, _)| known != name);
        outside.iter().chain(own.filter(is_new)).copied()
    }

    /// How bodies of a `Content-Type`, given without its parameters, are cut into records.
    pub(super) fn layout(self, essence: &str) -> Option<Layout> {
        let mut types = self.types();
        let found = types.find(|(name, _)| name.eq_ignore_ascii_case(essence));
        found.map(|(_, layout)| layout)
    }

    /// All types that are taken, in words.
    pub(super) fn list(self) -> String {
        let types: Vec<_> = self.types().collect();
        let mut text = String::new();
        for (index, (name, layout)) in types.iter().enumerate() {
            if index > 0 {
                let is_last = index + 1 == types.len();
                text.push_str(if is_last { " or " } else { ", " });
            }
            text.push_str(name);
            text.push_str(match layout {
                Layout::Lines => " (a record a line)",
                Layout::JsonArray => " (an array of records, or one)",
                Layout::Whole => " (one record)",
            });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(format: BodyFormat) -> Bodies {
        Bodies {
            format,
            is_wrapped: false,
        }
    }

    #[test]
    fn the_format_says_what_a_type_is() {
        use BodyFormat::*;
        use Layout::*;
        for (format, essence, expected) in [
            (Json, "application/json", Some(JsonArray)),
            (Json, "Application/X-NDJSON", Some(Lines)),
            (Json, "application/ndjson", Some(Lines)),
            (Json, "text/csv", None),
            (BodyFormat::JsonWhole, "application/json", Some(Whole)),
            (Csv, "text/csv", Some(Whole)),
            (Csv, "text/plain", Some(Lines)),
            (Csv, "application/json", None),
            (Influx, "text/plain", Some(Lines)),
            (Influx, "application/x-ndjson", None),
            (Cbor, "application/cbor", Some(Whole)),
            (SenmlJson, "application/senml+json", Some(Whole)),
            (SenmlJson, "application/json", Some(Whole)),
            (SenmlCbor, "application/senml+cbor", Some(Whole)),
            (Cloudevents, "application/cloudevents+json", Some(Whole)),
            (
                Cloudevents,
                "application/cloudevents-batch+json",
                Some(JsonArray),
            ),
            (Protobuf, "application/x-protobuf", Some(Whole)),
            (Protobuf, "text/plain", None),
            (Avro, "avro/binary", Some(Whole)),
            (Bytes, "avro/binary", None),
            (Bytes, "", None),
        ] {
            assert_eq!(
                bodies(format).layout(essence),
                expected,
                "{format:?} {essence}"
            );
            // A record is sent again so.
            let whole = bodies(format).layout("application/octet-stream");
            assert_eq!(whole, Some(Whole), "{format:?}");
        }
    }

    #[test]
    fn what_is_around_records_says_it_first() {
        let wrapped = |format| Bodies {
            format,
            is_wrapped: true,
        };
        let packs = wrapped(BodyFormat::SenmlJson);
        assert_eq!(packs.layout("application/json"), Some(Layout::JsonArray));
        let messages = wrapped(BodyFormat::Protobuf);
        assert_eq!(messages.layout("text/plain"), Some(Layout::Lines));
        let of_its_own = messages.layout("application/x-protobuf");
        assert_eq!(of_its_own, Some(Layout::Whole));
        assert_eq!(messages.list().matches("octet-stream").count(), 1);
    }

    #[test]
    fn all_types_are_listed() {
        assert_eq!(
            bodies(BodyFormat::Csv).list(),
            "text/csv (one record), text/plain (a record a line) or application/octet-stream (one \
             record)"
        );
        assert_eq!(
            bodies(BodyFormat::Bytes).list(),
            "application/octet-stream (one record)"
        );
    }
}
