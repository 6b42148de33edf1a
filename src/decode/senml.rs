//! SenML (RFC 8428): a pack is an array of records, each of which is an event.
//!
//! Base values are added to the records behind them, so that each event is complete: `n` is the whole
//! name, `t` the whole time in seconds.

use std::borrow::Cow;

use super::events::{Events, MAX_EVENTS, Refusal};
use super::explode::{Items, Way};
use super::metrics::Reason;
use super::plan::{EntryPlan, Leaves, ObjectPlan, Scalar, Wanted};
use super::tree::Tree;

/// A time of less than this is relative to now (RFC 8428, 4.5.3), s.
const RELATIVE_BELOW: f64 = 268_435_456.0;

/// The labels, each with its key in CBOR (RFC 8428, table 4).
const LABELS: [(&str, &str); 14] = [
    ("bn", "-2"),
    ("bt", "-3"),
    ("bu", "-4"),
    ("bv", "-5"),
    ("bs", "-6"),
    ("n", "0"),
    ("u", "1"),
    ("v", "2"),
    ("vs", "3"),
    ("vb", "4"),
    ("s", "5"),
    ("t", "6"),
    ("ut", "7"),
    ("vd", "8"),
];

/// The highest version that is understood (`bver`, key -1 in CBOR).
const VERSION: (&str, &str, i64) = ("bver", "-1", 10);

/// What other labels end in that must be understood (RFC 8428, 4.4).
const MUST_UNDERSTAND: u8 = b'_';

/// How many labels are looked for.
const LEAVES: usize = LABELS.len() + 2;

/// The longest name or unit, bytes. A long base would otherwise be in memory once for each record of its pack.
const MAX_NAME_BYTES: usize = 1_024;

/// Reads packs.
#[derive(Debug)]
pub(super) struct SenmlReader {
    /// What is looked for in a record: a leaf for each label, in their order.
    records: Way,
    /// What is wanted, by the label.
    plan: ObjectPlan,
}

impl SenmlReader {
    pub(super) fn new(wanted: &[Wanted], is_cbor: bool) -> Self {
        let mut object = ObjectPlan::default();
        let labels = LABELS.iter().copied();
        for ((label, key), leaf) in labels.chain([(VERSION.0, VERSION.1)]).zip(0..) {
            let key = if is_cbor { key } else { label };
            object.add(&[key.to_owned()], leaf);
        }
        object.add_by_end(MUST_UNDERSTAND, LEAVES - 1);
        Self {
            records: Way::to_record(EntryPlan {
                leaves: Vec::new(),
                object: Some(object),
            }),
            plan: ObjectPlan::flat(wanted),
        }
    }

    /// Hands over the events of a pack.
    ///
    /// # Errors
    /// The pack is broken.
    pub(super) fn read(&self, pack: &impl Tree, events: &mut Events<'_>) -> Result<(), Refusal> {
        let mut records = Records {
            plan: &self.plan,
            events,
            found: Default::default(),
            base: Base::default(),
            records: 0,
            is_array: true,
            failed: None,
        };
        match pack.parse_items(&self.records, &mut records) {
            Ok(()) if records.is_array => Ok(()),
            Ok(()) => Err((Reason::NotAnArray, "a pack is an array".to_owned())),
            Err(refusal) => Err(records.failed.unwrap_or(refusal)),
        }
    }
}

/// What holds for the records behind.
#[derive(Debug, Default)]
struct Base {
    name: String,
    time: Option<f64>,
    unit: Option<String>,
    value: Option<f64>,
    sum: Option<f64>,
}

/// Makes an event of each record.
struct Records<'s, 'e, 'r> {
    plan: &'s ObjectPlan,
    events: &'e mut Events<'r>,
    /// The values of the record at hand, by the number of their label.
    found: [Option<Scalar<'static>>; LEAVES],
    base: Base,
    /// How many there were, with those without a value.
    records: usize,
    is_array: bool,
    failed: Option<Refusal>,
}

impl Leaves for Records<'_, '_, '_> {
    fn take(&mut self, leaf: usize, value: &Scalar<'_>) {
        if let Some(found) = self.found.get_mut(leaf) {
            *found = Some(value.to_owned_scalar());
        }
    }
}

impl Items for Records<'_, '_, '_> {
    fn no_array(&mut self) -> bool {
        self.is_array = false;
        true
    }

    fn end_item(&mut self, is_object: bool) -> bool {
        let found = std::mem::take(&mut self.found);
        self.records += 1;
        self.failed = match is_object {
            _ if self.records > MAX_EVENTS => {
                let detail = format!("more than {MAX_EVENTS} records");
                Some((Reason::TooManyEvents, detail))
            }
            true => self.record(found).err(),
            false => self.events.refuse(Reason::NotAnObject, String::new()).err(),
        };
        self.failed.is_none()
    }
}

impl Records<'_, '_, '_> {
    fn record(&mut self, found: [Option<Scalar<'static>>; LEAVES]) -> Result<(), Refusal> {
        let [
            bn,
            bt,
            bu,
            bv,
            bs,
            n,
            u,
            v,
            vs,
            vb,
            s,
            t,
            ut,
            vd,
            bver,
            other,
        ] = found;
        if other.is_some() {
            let detail = "a label that ends in _ and must be understood".to_owned();
            return Err((Reason::Malformed, detail));
        }
        if let Some(Scalar::Integer(version)) = bver
            && version > VERSION.2
        {
            let detail = format!("version {version}; up to {} is understood", VERSION.2);
            return Err((Reason::Malformed, detail));
        }
        match bn {
            Some(Scalar::Text(name)) => self.base.name = short(name.into_owned())?,
            Some(_) => return Err(no_base("bn", "text")),
            None => {}
        }
        match bu {
            Some(Scalar::Text(unit)) => self.base.unit = Some(short(unit.into_owned())?),
            Some(_) => return Err(no_base("bu", "text")),
            None => {}
        }
        let bases = [
            ("bt", bt, &mut self.base.time),
            ("bv", bv, &mut self.base.value),
            ("bs", bs, &mut self.base.sum),
        ];
        for (label, found, base) in bases {
            if let Some(found) = found {
                *base = Some(number(&found).ok_or_else(|| no_base(label, "number"))?);
            }
        }
        let has_value = [&v, &vs, &vb, &vd, &s].iter().any(|value| value.is_some());
        if !has_value {
            // It is there for its base values.
            return Ok(());
        }
        let own = t.as_ref().map_or(Some(0.0), number);
        let time = match own.map(|time| time + self.base.time.unwrap_or_default()) {
            None => t,
            Some(time) if time.is_nan() => None,
            Some(time) if time >= RELATIVE_BELOW => Some(Scalar::Number(time)),
            // Our own clock may not say when it was: a second reading would give another time.
            Some(time) => self
                .events
                .timestamp()
                .map(|now_ms| Scalar::Number(now_ms as f64 / 1e3 + time)),
        };
        let name = match n {
            Some(Scalar::Text(name)) => {
                Scalar::Text(Cow::Owned(short(format!("{}{name}", self.base.name))?))
            }
            None if !self.base.name.is_empty() => Scalar::Text(Cow::Owned(self.base.name.clone())),
            other => other.unwrap_or(Scalar::Null),
        };
        let unit = u.or_else(|| self.base.unit.clone().map(|unit| Scalar::Text(unit.into())));
        let v = plus(v, self.base.value);
        // A sum that is missing is 0 where there is a base (RFC 8428, 4.5.4). A value that is missing is not: it
        // may be one of another type.
        let s = s.or(self.base.sum.map(|_| Scalar::Integer(0)));
        let s = plus(s, self.base.sum);
        for (label, value) in [
            ("n", Some(name)),
            ("u", unit),
            ("v", v),
            ("vs", vs),
            ("vb", vb),
            ("vd", vd),
            ("s", s),
            ("t", time),
            ("ut", ut),
        ] {
            let entry = self.plan.entry(label, &mut 0);
            if let (Some(entry), Some(value)) = (entry, value) {
                entry.hand_over(&value, self.events);
            }
        }
        self.events.end()
    }
}

/// A name or unit that is not too long.
fn short(text: String) -> Result<String, Refusal> {
    let bytes = text.len();
    if bytes > MAX_NAME_BYTES {
        let detail = format!("a name or unit of {bytes} bytes; at most {MAX_NAME_BYTES}");
        return Err((Reason::Malformed, detail));
    }
    Ok(text)
}

/// A base of another type: what follows would get the one before it.
fn no_base(label: &str, wanted: &str) -> Refusal {
    (Reason::Malformed, format!("{label} is no {wanted}"))
}

fn number(scalar: &Scalar<'_>) -> Option<f64> {
    match scalar {
        Scalar::Integer(value) => Some(*value as f64),
        Scalar::Number(value) => Some(*value),
        _ => None,
    }
}

/// A value and its base.
fn plus(value: Option<Scalar<'static>>, base: Option<f64>) -> Option<Scalar<'static>> {
    match (value.as_ref().and_then(number), base) {
        (Some(number), Some(base)) if base != 0.0 => Some(Scalar::Number(number + base)),
        _ => value,
    }
}
