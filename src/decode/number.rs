//! A bare number: what it means is said by the topic.

use super::events::{Events, Refusal};
use super::metrics::Reason;
use super::plan::{Leaves, ObjectPlan, Scalar, Wanted};

/// The name of the number.
const VALUE: &str = "value";

/// Reads records that are numbers.
#[derive(Debug)]
pub(super) struct NumberReader {
    plan: ObjectPlan,
}

impl NumberReader {
    pub(super) fn new(wanted: &[Wanted]) -> Self {
        Self {
            plan: ObjectPlan::flat(wanted),
        }
    }

    /// Hands over the event of a record.
    ///
    /// # Errors
    /// It is no number.
    pub(super) fn read(&self, text: &str, events: &mut Events<'_>) -> Result<(), Refusal> {
        let text = text.trim();
        let value = match (text.parse(), text.parse::<f64>()) {
            (Ok(whole), _) => Scalar::Integer(whole),
            (_, Ok(number)) if number.is_finite() => Scalar::Number(number),
            _ => return Err((Reason::Malformed, "the record is no number".to_owned())),
        };
        if let Some(entry) = self.plan.entry(VALUE, &mut 0) {
            for leaf in &entry.leaves {
                events.take(*leaf, &value);
            }
        }
        events.end()
    }
}
