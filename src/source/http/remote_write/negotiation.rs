//! Which version of the protocol a request is of, by its head.

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};

/// The type of requests of 1.0, and of 2.0 without its parameter.
pub(in crate::source::http) const CONTENT_TYPE_V1: &str = "application/x-protobuf";

/// The names of the messages.
const MESSAGE_V1: &str = "prometheus.WriteRequest";
const MESSAGE_V2: &str = "io.prometheus.write.v2.Request";

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::http) enum Version {
    /// 1.0: every label is written out.
    V1,
    /// 2.0: texts stand in a table, and answers say what was written.
    V2,
}

/// The version; nothing where it is neither. Without a type, and without its parameter, it is 1.0, as the
/// specification of 2.0 has it.
pub(in crate::source::http) fn version(headers: &HeaderMap) -> Option<Version> {
    let Some(given) = headers.get(CONTENT_TYPE) else {
        return Some(Version::V1);
    };
    named(given.to_str().ok()?)
}

/// The version of a `Content-Type`.
pub(in crate::source::http) fn named(content_type: &str) -> Option<Version> {
    let mut parts = content_type.split(';');
    let essence = parts.next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(CONTENT_TYPE_V1) {
        return None;
    }
    for part in parts {
        let (name, value) = part.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("proto") {
            continue;
        }
        return match value.trim().trim_matches('"') {
            MESSAGE_V1 => Some(Version::V1),
            MESSAGE_V2 => Some(Version::V2),
            _ => None,
        };
    }
    Some(Version::V1)
}

/// Whether the body is in snappy's block format, which is the only one. Some agents do not say so.
pub(in crate::source::http) fn is_snappy(headers: &HeaderMap) -> bool {
    let given = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    given.is_none_or(|given| given.trim_ascii().eq_ignore_ascii_case(b"snappy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_says_the_version() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(text));
            version(&headers)
        };
        assert_eq!(version(&HeaderMap::new()), Some(Version::V1));
        for (text, expected) in [
            ("application/x-protobuf", Some(Version::V1)),
            (
                "Application/X-Protobuf; proto=prometheus.WriteRequest",
                Some(Version::V1),
            ),
            (
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                Some(Version::V2),
            ),
            (
                "application/x-protobuf; proto=\"io.prometheus.write.v2.Request\"",
                Some(Version::V2),
            ),
            ("application/x-protobuf;charset=x", Some(Version::V1)),
            (
                "application/x-protobuf;proto=io.prometheus.write.v3.Request",
                None,
            ),
            ("application/x-protobuf;proto", None),
            ("application/json", None),
            ("", None),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }

    #[test]
    fn only_snappy_is_taken() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(text));
            is_snappy(&headers)
        };
        assert!(is_snappy(&HeaderMap::new()) && of("snappy") && of("Snappy"));
        assert!(!of("gzip") && !of("zstd") && !of("identity"));
    }
}
