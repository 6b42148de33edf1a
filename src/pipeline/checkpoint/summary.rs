//! The part of a checkpoint that says what the others are of.

use std::sync::Arc;

use crate::model::{Corrupt, Decoder, Encoder, TimestampMs};

/// The version of the format.
const VERSION: u8 = 1;

/// What a checkpoint says of the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    /// Up to when all workers had sent everything, ms since the epoch.
    pub(super) flushed: TimestampMs,
    /// The furthest watermark of any split, ms since the epoch.
    pub(super) reached: TimestampMs,
    /// The names of the metrics, and what their state looks like.
    pub(super) layouts: Vec<(Arc<str>, String)>,
}

impl Summary {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u8(VERSION);
        out.i64(self.flushed);
        out.i64(self.reached);
        out.count(self.layouts.len());
        for (metric, layout) in &self.layouts {
            out.text(metric);
            out.text(layout);
        }
        out.into_bytes()
    }

    /// Reads what [`encode`](Self::encode) has written.
    ///
    /// # Errors
    /// The bytes end before, are too many, or are of another version.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut from = Decoder::new(bytes);
        let version = from.u8()?;
        if version != VERSION {
            let reason = format!("a summary of version {version}, this weir reads {VERSION}");
            return Err(from.corrupt(reason));
        }
        let (flushed, reached) = (from.i64()?, from.i64()?);
        // Two texts with their lengths.
        let count = from.count(2 * size_of::<u64>())?;
        let layouts = (0..count).map(|_| Ok((from.text()?.into(), from.text()?.to_owned())));
        let layouts = layouts.collect::<Result<_, Corrupt>>()?;
        from.end()?;
        Ok(Self {
            flushed,
            reached,
            layouts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written_and_nothing_else() {
        let summary = Summary {
            flushed: -5,
            reached: 7,
            layouts: vec![("speed".into(), "tumbling".to_owned())],
        };
        let bytes = summary.encode();
        assert_eq!(Summary::decode(&bytes), Ok(summary));
        for end in 0..bytes.len() {
            assert!(Summary::decode(&bytes[..end]).is_err(), "{end}");
        }
        let error = Summary::decode(&[9]).unwrap_err();
        let expected = "byte 1: a summary of version 9, this weir reads 1";
        assert_eq!(error.to_string(), expected);
    }
}
