//! What is around a record's format: compression, Base64, other messages, several messages in one.
//!
//! The steps go over one buffer into another, and both are kept from one record to the next. Nothing becomes
//! longer than a record may be: what would is given up when it gets there.

mod gzip;
mod inner_json;
mod zstd;

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::gzip::Gunzip;
use self::zstd::Unzstd;
use super::events::{MAX_EVENTS, Refusal};
use super::metrics::Reason;
use super::path::{InvalidPath, Path};
use crate::model::protobuf::varint;

/// How many steps there may be: no record is wrapped so often.
pub const MAX_UNWRAP_STEPS: usize = 8;

/// Buffers larger than this are given back behind a batch that needed them, bytes.
const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// One thing around a record, which is taken off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnwrapStep {
    /// Compressed with gzip (RFC 1952), in one member or several.
    Gzip,
    /// Compressed with zstd (RFC 8878), in one frame or several.
    Zstd,
    /// Written in Base64 (RFC 4648).
    Base64,
    /// Several messages, each behind its length as a varint of protobuf.
    LengthDelimited,
    /// What stands at a path of a JSON object: the content of a text, or an object or array as it is.
    Json(
        /// The path of a text, object or array in a JSON object.
        String,
    ),
}

impl UnwrapStep {
    /// Checks what the types cannot: the path of a wrong value within the list, and what is wrong.
    pub fn validate(steps: &[Self]) -> Vec<(Vec<String>, String)> {
        let mut violations = Vec::new();
        if steps.len() > MAX_UNWRAP_STEPS {
            let message = format!("has {} steps; at most {MAX_UNWRAP_STEPS}", steps.len());
            violations.push((Vec::new(), message));
        }
        for (index, step) in steps.iter().enumerate() {
            if let Self::Json(path) = step
                && let Err(error) = keys(path)
            {
                let place = vec![index.to_string(), "json".to_owned()];
                violations.push((place, error.to_string()));
            }
        }
        violations
    }
}

/// The keys of a path in a JSON object.
fn keys(path: &str) -> Result<Vec<String>, InvalidPath> {
    match path.parse()? {
        Path::Body(keys) => Ok(keys),
        _ => Err(InvalidPath::NotInRecord(path.to_owned())),
    }
}

/// Takes off what is around records.
#[derive(Debug)]
pub(super) struct Unwrapper {
    steps: Vec<Step>,
    /// How long all that a step gives may be, bytes.
    limit: usize,
    found: Messages,
    /// What the step at hand gives.
    next: Messages,
}

#[derive(Debug)]
enum Step {
    Gzip(Gunzip),
    Zstd(Unzstd),
    Base64,
    LengthDelimited,
    Json(Vec<String>),
}

/// Messages in one buffer.
#[derive(Debug, Default)]
struct Messages {
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
}

impl Messages {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ranges.clear();
    }
}

impl Unwrapper {
    /// What takes off these, the outermost first. What a step gives may be so many bytes long, all messages
    /// of a record together.
    ///
    /// # Errors
    /// A path that cannot be read.
    pub(super) fn new(steps: &[UnwrapStep], limit: usize) -> Result<Self, InvalidPath> {
        let steps = steps.iter().map(|step| {
            Ok(match step {
                UnwrapStep::Gzip => Step::Gzip(Gunzip::new()),
                UnwrapStep::Zstd => Step::Zstd(Unzstd::default()),
                UnwrapStep::Base64 => Step::Base64,
                UnwrapStep::LengthDelimited => Step::LengthDelimited,
                UnwrapStep::Json(path) => Step::Json(keys(path)?),
            })
        });
        Ok(Self {
            steps: steps.collect::<Result<_, _>>()?,
            limit,
            found: Messages::default(),
            next: Messages::default(),
        })
    }

    /// Finds the messages in a record.
    ///
    /// # Errors
    /// It is not wrapped so, or would become too long. It is refused as a whole, for what is behind a
    /// damaged place cannot be told.
    pub(super) fn unwrap(&mut self, record: &[u8]) -> Result<(), Refusal> {
        self.found.clear();
        self.found.bytes.extend_from_slice(record);
        self.found.ranges.push(0..record.len());
        for step in &mut self.steps {
            self.next.clear();
            for range in &self.found.ranges {
                let message = self.found.bytes.get(range.clone()).unwrap_or_default();
                step.take_off(message, self.limit, &mut self.next)?;
            }
            std::mem::swap(&mut self.found, &mut self.next);
        }
        Ok(())
    }

    /// The bytes that the messages of the last record lie in.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.found.bytes
    }

    /// Where in them the messages are.
    pub(super) fn ranges(&self) -> &[Range<usize>] {
        &self.found.ranges
    }

    /// Gives back memory that only a few records need.
    pub(super) fn shrink(&mut self) {
        for messages in [&mut self.found, &mut self.next] {
            messages.clear();
            messages.bytes.shrink_to(KEPT_BYTES);
        }
    }
}

impl Step {
    /// Appends what is in a message; everything together is at most `limit` bytes.
    fn take_off(
        &mut self,
        message: &[u8],
        limit: usize,
        next: &mut Messages,
    ) -> Result<(), Refusal> {
        let start = next.bytes.len();
        match self {
            Self::Gzip(gunzip) => gunzip.expand(message, limit, &mut next.bytes)?,
            Self::Zstd(unzstd) => unzstd.expand(message, limit, &mut next.bytes)?,
            Self::Base64 => super::base64::decode(message, &mut next.bytes)
                .map_err(|(_, detail)| cannot("base64", &detail))?,
            Self::Json(keys) => inner_json::find(message, keys, &mut next.bytes)?,
            Self::LengthDelimited => return divide(message, next),
        }
        if next.bytes.len() > limit {
            return Err(too_far(limit));
        }
        next.ranges.push(start..next.bytes.len());
        Ok(())
    }
}

/// A record is not what the step says.
fn cannot(step: &str, detail: &str) -> Refusal {
    (Reason::CannotUnwrap, format!("{step}: {detail}"))
}

fn too_far(limit: usize) -> Refusal {
    (Reason::ExpandsTooFar, format!("more than {limit} bytes"))
}

/// Divides what is length-delimited. It does not become longer, but more.
fn divide(mut rest: &[u8], next: &mut Messages) -> Result<(), Refusal> {
    while !rest.is_empty() {
        if next.ranges.len() == MAX_EVENTS {
            let detail = format!("more than {MAX_EVENTS}");
            return Err((Reason::TooManyEvents, detail));
        }
        let cut_off = || cannot("length_delimited", "cut off");
        let length = varint(&mut rest).map_err(|_| cut_off())?;
        let length = usize::try_from(length).map_err(|_| cut_off())?;
        let (message, behind) = rest.split_at_checked(length).ok_or_else(cut_off)?;
        let start = next.bytes.len();
        next.bytes.extend_from_slice(message);
        next.ranges.push(start..next.bytes.len());
        rest = behind;
    }
    Ok(())
}

/// Makes room behind what is there for the next piece of what is expanded, at most one byte beyond the limit:
/// that one shows that there is more. What is expanded began at `start`: a short one behind a long one gets
/// little room, for all of it is filled with zeros.
fn make_room(
    expanded: &mut Vec<u8>,
    start: usize,
    written: usize,
    limit: usize,
) -> Result<(), Refusal> {
    if written > limit {
        return Err(too_far(limit));
    }
    let piece = written.saturating_sub(start).clamp(4_096, 1024 * 1024);
    expanded.resize(written.saturating_add(piece).min(limit + 1), 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_grows_with_what_is_expanded_and_not_with_what_stands_before_it() {
        let limit = 1_000_000;
        let room = |start, written| {
            let mut expanded = vec![1; written];
            make_room(&mut expanded, start, written, limit).map(|()| expanded.len() - written)
        };
        assert_eq!(room(0, 0), Ok(4_096));
        assert_eq!(
            room(0, 600_000),
            Ok(400_001),
            "one byte more than the limit"
        );
        assert_eq!(room(0, 100_000), Ok(100_000));
        assert_eq!(
            room(600_000, 600_000),
            Ok(4_096),
            "a short one behind a long one"
        );
        assert_eq!(room(600_000, 650_000), Ok(50_000));
        assert_eq!(room(0, limit), Ok(1));
        assert!(room(0, limit + 1).is_err());
    }
}
