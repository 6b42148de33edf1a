//! Which requests the log has already, by the key that they have.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::key::parts;

/// How many requests are known.
const KNOWN: usize = 65_536;

/// How many records are in the log of each request that has a key.
#[derive(Debug)]
pub(super) struct Repeats {
    requests: HashMap<Arc<[u8]>, Request, FixedState>,
    /// What they are looked for by, in the order in which they came.
    order: VecDeque<Arc<[u8]>>,
    capacity: usize,
}

#[derive(Debug)]
struct Request {
    fingerprint: Box<[u8]>,
    records: usize,
}

/// A request of the same name has another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OtherContent;

impl Default for Repeats {
    fn default() -> Self {
        Self::with_capacity(KNOWN)
    }
}

impl Repeats {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            requests: HashMap::default(),
            order: VecDeque::new(),
            capacity,
        }
    }

    /// Notes that record `index` of a request is in the log, with all before it.
    pub(super) fn note(&mut self, key: &[u8], index: usize) {
        let Some((name, fingerprint)) = parts(key) else {
            return;
        };
        if let Some(request) = self.requests.get_mut(name) {
            request.records = request.records.max(index + 1);
            return;
        }
        if self.order.len() >= self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.requests.remove(&oldest);
        }
        let name: Arc<[u8]> = name.into();
        self.order.push_back(Arc::clone(&name));
        let request = Request {
            fingerprint: fingerprint.into(),
            records: index + 1,
        };
        self.requests.insert(name, request);
    }

    /// How many records of a request the log has, from its first.
    ///
    /// # Errors
    /// It has some of a request of the same name and another content.
    pub(super) fn records(&self, key: &[u8]) -> Result<usize, OtherContent> {
        let known = parts(key).and_then(|(name, fingerprint)| {
            let request = self.requests.get(name)?;
            Some((request, fingerprint))
        });
        match known {
            None => Ok(0),
            Some((request, fingerprint)) if *request.fingerprint == *fingerprint => {
                Ok(request.records)
            }
            Some(_) => Err(OtherContent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(content: u8, name: &str) -> Vec<u8> {
        [&[content; 16], name.as_bytes()].concat()
    }

    #[test]
    fn knows_how_much_of_a_request_there_is() {
        let mut repeats = Repeats::with_capacity(2);
        let [a, b, c] = ["a", "b", ""].map(|name| key(1, name));
        assert_eq!(repeats.records(&a), Ok(0));
        repeats.note(&a, 0);
        repeats.note(&a, 1);
        // Its first records are no longer in the log.
        repeats.note(&b, 7);
        assert_eq!((repeats.records(&a), repeats.records(&b)), (Ok(2), Ok(8)));
        repeats.note(&c, 0);
        let known = [a, b, c].map(|key| repeats.records(&key));
        assert_eq!(known, [Ok(0), Ok(8), Ok(1)]);
    }

    #[test]
    fn a_name_stands_for_one_content() {
        let mut repeats = Repeats::default();
        repeats.note(&key(1, "a"), 3);
        assert_eq!(repeats.records(&key(2, "a")), Err(OtherContent));
        assert_eq!(repeats.records(&key(1, "a")), Ok(4));
        // Without a name, the content is all that there is.
        repeats.note(&key(3, ""), 0);
        assert_eq!(repeats.records(&key(4, "")), Ok(0));
        assert_eq!(repeats.records(b""), Ok(0));
    }
}
