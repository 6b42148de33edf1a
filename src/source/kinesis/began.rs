//! What a checkpoint has of a stream as a whole: when the pipeline was started first, and as which of how
//! many instances.

use std::fmt;

use super::super::config::Instance;
use crate::model::TimestampMs;

/// What stands for an instance that reads all shards.
const ALL: &str = "1/1";

/// The first start: `began 1730621750000 as 2/8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Began {
    /// When it was, ms since the epoch, as the checkpoint has it.
    at: String,
    instance: String,
}

impl Began {
    /// Goes on from what a checkpoint has, or begins.
    ///
    /// # Errors
    /// The checkpoint is that of another instance. An earlier weir did not write which it was.
    pub(super) fn go_on(
        kept: Option<&str>,
        instance: Option<Instance>,
        now_ms: TimestampMs,
    ) -> Result<Self, String> {
        let now = instance.map_or_else(
            || ALL.to_owned(),
            |instance| format!("{}/{}", instance.number, instance.count),
        );
        let Some(kept) = kept else {
            return Ok(Self {
                at: now_ms.to_string(),
                instance: now,
            });
        };
        let kept = kept.strip_prefix("began ").unwrap_or(kept);
        let (at, before) = kept.split_once(" as ").unwrap_or((kept, &now));
        if before != now {
            return Err(format!(
                "instance is {now}, and the state is that of {before}: its positions are those of other \
                 shards; to change the number of instances, stop all of them at the same time and begin \
                 with empty states (--restore fresh) and 'start: {{ timestamp: ... }}' at that time"
            ));
        }
        Ok(Self {
            at: at.to_owned(),
            instance: now,
        })
    }
}

impl fmt::Display for Began {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "began {} as {}", self.at, self.instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go_on(kept: Option<&str>, instance: &str) -> Result<String, String> {
        let instance = Some(instance).filter(|text| !text.is_empty());
        let instance = instance.map(|text| text.parse().unwrap());
        Began::go_on(kept, instance, 7).map(|began| began.to_string())
    }

    #[test]
    fn a_state_is_that_of_one_instance() {
        let expect = |kept, instance, expected: &str| {
            assert_eq!(go_on(kept, instance), Ok(expected.to_owned()));
        };
        expect(None, "", "began 7 as 1/1");
        expect(None, "2/8", "began 7 as 2/8");
        expect(Some("began 5 as 2/8"), "2/8", "began 5 as 2/8");
        expect(Some("began 5 as 1/1"), "1/1", "began 5 as 1/1");
        // Of an earlier weir.
        expect(Some("began 5"), "2/8", "began 5 as 2/8");
        for (kept, instance) in [("1/2", "1/4"), ("1/2", ""), ("1/1", "2/2")] {
            let kept = format!("began 5 as {kept}");
            let message = go_on(Some(&kept), instance).unwrap_err();
            assert!(message.contains("begin with empty states"), "{message}");
        }
        assert!(
            go_on(Some("began 5 as 1/2"), "1/4")
                .unwrap_err()
                .starts_with("instance is 1/4, and the state is that of 1/2: "),
        );
    }
}
