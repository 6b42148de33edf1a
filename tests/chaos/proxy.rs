//! What is looked for in what a server says behind a proxy.

pub(crate) use crate::support::proxy::{Listener, Proxy};

/// Finds a text of fixed length that begins with a mark, in pieces cut anywhere.
#[derive(Debug)]
pub(crate) struct Finder {
    mark: &'static [u8],
    /// How much belongs to it behind the mark, bytes.
    rest: usize,
    carried: Vec<u8>,
}

impl Finder {
    /// Of `rest` bytes behind each `mark`.
    pub(crate) fn new(mark: &'static [u8], rest: usize) -> Self {
        Self {
            mark,
            rest,
            carried: Vec::new(),
        }
    }

    /// What stands behind each mark of this piece, in order.
    pub(crate) fn find(&mut self, piece: &[u8]) -> Vec<String> {
        self.carried.extend_from_slice(piece);
        let whole = self.mark.len() + self.rest;
        let mut found = Vec::new();
        let mut done = 0;
        let mut at = 0;
        while let Some(window) = self.carried.get(at..at + whole) {
            if window.starts_with(self.mark) {
                let text = window.get(self.mark.len()..).unwrap_or_default();
                found.push(String::from_utf8_lossy(text).into_owned());
                at += whole;
            } else {
                at += 1;
            }
            done = at;
        }
        self.carried.drain(..done);
        found
    }
}

#[test]
fn marks_are_found_across_pieces() {
    let text = b"HTTP/1.1 204 x HTTP/1.1 HTTP/1.1 400";
    for cut in 0..text.len() {
        let (one, other) = text.split_at(cut);
        let mut finder = Finder::new(b"HTTP/1.1 ", 3);
        let mut found = finder.find(one);
        found.extend(finder.find(other));
        assert_eq!(found, ["204", "HTT"], "cut at {cut}");
    }
}
