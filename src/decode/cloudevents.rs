//! CloudEvents 1.0 as structured JSON: an event's attributes and, under `data`, what happened.
//!
//! A record is an event, or a batch: an array of events. Where `data_base64` stands in the place of `data`,
//! and something below `data` is wanted, it is JSON in Base64.

use super::events::{Events, Refusal};
use super::explode::{Items, Way};
use super::json::Json;
use super::metrics::Reason;
use super::plan::{EntryPlan, Leaves, ObjectPlan, Scalar, Wanted};
use super::tree::Tree;

/// The leaf of the version of the specification. There are never so many fields.
const VERSION_LEAF: usize = usize::MAX;
/// The leaf of data in Base64.
const DATA_LEAF: usize = usize::MAX - 1;

/// The version that is understood.
const VERSION: &str = "1.0";

/// Reads CloudEvents.
#[derive(Debug)]
pub(super) struct CloudEventsReader {
    /// What is wanted of an event on its own.
    event: EntryPlan,
    /// The same of each event of a batch.
    batch: Way,
    /// What is wanted of data.
    data: ObjectPlan,
}

impl CloudEventsReader {
    pub(super) fn new(wanted: &[Wanted]) -> Self {
        let mut item = EntryPlan::default();
        let mut data = ObjectPlan::default();
        let mut wants_data = false;
        for Wanted { keys, leaf } in wanted {
            item.add(keys, *leaf);
            if let Some((first, rest)) = keys.split_first()
                && first == "data"
            {
                data.add(rest, *leaf);
                wants_data = true;
            }
        }
        item.add(&["specversion".to_owned()], VERSION_LEAF);
        if wants_data {
            item.add(&["data_base64".to_owned()], DATA_LEAF);
        }
        Self {
            event: item.clone(),
            batch: Way::to_record(item),
            data,
        }
    }

    /// Hands over the events of a record.
    ///
    /// # Errors
    /// It is not JSON, or neither an object nor an array.
    pub(super) fn read(&self, text: &str, events: &mut Events<'_>) -> Result<(), Refusal> {
        let mut items = CloudEvents {
            data: &self.data,
            events,
            version: None,
            encoded: None,
            failed: None,
        };
        if !text.trim_start().starts_with('[') {
            let plan = self.event.object.as_ref();
            Json(text).parse(plan.unwrap_or(&self.data), &mut items)?;
            items.end_item(true);
            return items.failed.map_or(Ok(()), Err);
        }
        let parsed = Json(text).parse_items(&self.batch, &mut items);
        parsed.map_err(|refusal| items.failed.unwrap_or(refusal))
    }
}

/// Makes an event of each CloudEvent.
struct CloudEvents<'d, 'e, 'r> {
    data: &'d ObjectPlan,
    events: &'e mut Events<'r>,
    version: Option<Scalar<'static>>,
    encoded: Option<Scalar<'static>>,
    failed: Option<Refusal>,
}

impl Leaves for CloudEvents<'_, '_, '_> {
    fn take(&mut self, leaf: usize, value: &Scalar<'_>) {
        match leaf {
            VERSION_LEAF => self.version = Some(value.to_owned_scalar()),
            DATA_LEAF => self.encoded = Some(value.to_owned_scalar()),
            leaf => self.events.take(leaf, value),
        }
    }
}

impl Items for CloudEvents<'_, '_, '_> {
    /// A batch begins as an array, and is nothing else.
    fn no_array(&mut self) -> bool {
        true
    }

    fn end_item(&mut self, is_object: bool) -> bool {
        let (version, encoded) = (self.version.take(), self.encoded.take());
        let judged = match is_object {
            true => self.judge(version.as_ref(), encoded.as_ref()),
            false => Err((Reason::NotAnObject, String::new())),
        };
        let ended = match judged {
            Ok(()) => self.events.end(),
            Err((reason, detail)) => self.events.refuse(reason, detail),
        };
        self.failed = ended.err();
        self.failed.is_none()
    }
}

impl CloudEvents<'_, '_, '_> {
    /// Whether it is a CloudEvent; its data is read where that was not done yet.
    fn judge(
        &mut self,
        version: Option<&Scalar<'_>>,
        encoded: Option<&Scalar<'_>>,
    ) -> Result<(), Refusal> {
        match version {
            Some(Scalar::Text(version)) if version == VERSION => {}
            Some(Scalar::Text(version)) => {
                let detail = format!("specversion {version}; {VERSION} is understood");
                return Err((Reason::Malformed, detail));
            }
            _ => return Err((Reason::Malformed, "no specversion".to_owned())),
        }
        match encoded {
            Some(Scalar::Text(encoded)) => {
                let mut bytes = Vec::new();
                super::base64::decode(encoded.as_bytes(), &mut bytes)?;
                let text = std::str::from_utf8(&bytes)
                    .map_err(|error| (Reason::InvalidUtf8, error.to_string()))?;
                Json(text)
                    .parse(self.data, self.events)
                    .map_err(|(reason, detail)| (reason, format!("data_base64: {detail}")))
            }
            _ => Ok(()),
        }
    }
}
