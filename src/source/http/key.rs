//! By what a request is known when it comes again.
//!
//! It stands beside each record in the log, where MQTT has the topic: 16 bytes that tell the request's
//! content from others, and behind them its `Idempotency-Key`, if it has one.

use crate::model::hash::WideStableHash;

use super::records::Records;

/// The bytes of the fingerprint.
const FINGERPRINT_BYTES: usize = 16;

/// A request's key, as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestKey(Vec<u8>);

impl RequestKey {
    /// Of a request that is known by its body alone.
    pub(super) fn of_body(body: &[u8]) -> Self {
        let fingerprint = WideStableHash::default().bytes(body).finish();
        Self(fingerprint.to_le_bytes().to_vec())
    }

    /// Of a request that its client has named.
    pub(super) fn named(name: &[u8], records: &Records) -> Self {
        let mut hash = WideStableHash::default();
        for record in records.iter() {
            hash = hash.bytes(&(record.len() as u64).to_le_bytes());
            hash = hash.bytes(record);
        }
        let mut bytes = hash.finish().to_le_bytes().to_vec();
        bytes.extend_from_slice(name);
        Self(bytes)
    }

    /// As it stands in the log.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a request is looked for by, and the fingerprint that it must have then. Nothing where the bytes are
/// no key.
pub(super) fn parts(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (fingerprint, name) = key.split_at_checked(FINGERPRINT_BYTES)?;
    let name = if name.is_empty() { fingerprint } else { name };
    Some((name, fingerprint))
}

#[cfg(test)]
mod tests {
    use super::super::records::Layout;
    use super::*;

    #[test]
    fn a_key_says_the_name_and_the_content() {
        let records = |body: &str| Records::of(body.as_bytes().to_vec(), Layout::Lines).unwrap();
        let of = |name: &str, body| RequestKey::named(name.as_bytes(), &records(body));
        let key = of("a", "1\n2");
        assert_eq!(key, of("a", "1\r\n\n2\n"));
        let (name, fingerprint) = parts(key.as_bytes()).unwrap();
        assert_eq!((name, fingerprint.len()), (&b"a"[..], 16));
        for other in ["12", "1", "2\n1", "1\n2\n2"] {
            let other = of("a", other);
            assert_ne!(parts(other.as_bytes()).unwrap().1, fingerprint);
        }
        let body = RequestKey::of_body(b"x");
        let (name, fingerprint) = parts(body.as_bytes()).unwrap();
        assert_eq!((name, name.len()), (fingerprint, 16));
        assert_eq!(parts(b"short"), None);
    }
}
