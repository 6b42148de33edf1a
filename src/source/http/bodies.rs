//! What becomes of a body, without a server: for tools that try arbitrary ones.

use super::budget::Budget;
use super::encoding::Encoding;
use super::layouts::Bodies;
use super::records::Records;
use super::remote_write;

/// The records of a body of `source.http` with JSON, which may have `limit` bytes once it is expanded.
///
/// # Errors
/// What the client would be told.
pub fn body_records(
    content_type: &str,
    content_encoding: &str,
    body: &[u8],
    limit: usize,
) -> Result<Vec<Vec<u8>>, String> {
    let layout = Bodies::default().layout(content_type);
    let layout = layout.ok_or("the Content-Type is not known")?;
    let encoding = Encoding::named(content_encoding).ok_or("the Content-Encoding is not known")?;
    let body = encoding
        .expand(body.to_vec(), limit, &mut Budget::new(usize::MAX).hold())
        .map_err(|error| error.to_string())?;
    let records = Records::of(body, layout).map_err(|error| error.to_string())?;
    Ok(records.iter().map(<[u8]>::to_vec).collect())
}

/// The records of a body of `source.remote_write`, which may have `limit` bytes once it is expanded.
///
/// # Errors
/// What the client would be told.
pub fn remote_write_records(
    content_type: &str,
    body: &[u8],
    limit: usize,
) -> Result<Vec<Vec<u8>>, String> {
    let version = remote_write::named(content_type).ok_or("the Content-Type is not known")?;
    let mut held = Budget::new(usize::MAX).hold();
    let read = remote_write::read(body, version, limit, &mut held);
    let (records, _) = read.map_err(|error| error.to_string())?;
    Ok(records.iter().map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_decide() {
        let lines = body_records("application/x-ndjson", "", b"1\n2\n", 10);
        assert_eq!(lines, Ok(vec![b"1".to_vec(), b"2".to_vec()]));
        assert!(body_records("text/html", "", b"", 10).is_err());
        assert!(body_records("text/plain", "br", b"", 10).is_err());
        assert!(remote_write_records("text/plain", b"\0", 10).is_err());
        let empty = remote_write_records("application/x-protobuf", b"\0", 10);
        assert_eq!(empty, Ok(vec![]));
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_are_refused_or_within_their_limit(
            body in prop::collection::vec(any::<u8>(), 0..300),
            limit in 0_usize..400,
        ) {
            for content_type in ["text/plain", "application/json", "application/octet-stream"] {
                for encoding in ["gzip", "zstd"] {
                    if let Ok(records) = body_records(content_type, encoding, &body, limit) {
                        prop_assert!(records.iter().map(Vec::len).sum::<usize>() <= limit);
                    }
                }
            }
        }
    }
}
