//! CBOR (RFC 8949): one walk over the record, in which only the named keys are looked at.
//!
//! Keys are texts, or whole numbers, which a path writes in decimal. Tags are passed over: what they
//! stand before is the value. A byte string is no value of any field.

use std::borrow::Cow;

use super::events::Refusal;
use super::explode::{Items, Way, WayStep};
use super::metrics::Reason;
use super::plan::{EntryPlan, Leaves, ObjectPlan, Scalar};
use super::tree::Tree;

/// How deep a record may be nested.
const MAX_DEPTH: usize = 128;

/// A record of CBOR.
pub(super) struct Cbor<'b>(pub(super) &'b [u8]);

impl Tree for Cbor<'_> {
    fn parse(&self, plan: &ObjectPlan, leaves: &mut impl Leaves) -> Result<(), Refusal> {
        let mut cursor = Cursor::new(self.0);
        match cursor.head()? {
            Head::Map(length) => cursor.object(length, plan, leaves, 1)?,
            head => {
                cursor.skip(head, 1)?;
                cursor.end()?;
                return Err((Reason::NotAnObject, String::new()));
            }
        }
        cursor.end()
    }

    fn parse_items(&self, way: &Way, items: &mut impl Items) -> Result<(), Refusal> {
        let mut cursor = Cursor::new(self.0);
        let head = cursor.head()?;
        if !way.steps.is_empty() && !matches!(head, Head::Map(_)) {
            // Says what it is instead.
            return self.parse(&ObjectPlan::default(), items);
        }
        cursor.walk(head, &way.steps, way.item.as_ref(), items, 1)?;
        cursor.end()
    }
}

/// What an item of data begins with.
enum Head<'b> {
    Unsigned(u64),
    /// -1 minus this.
    Negative(u64),
    Bytes,
    Text(Cow<'b, str>),
    /// So many items, or as many as there are before a break.
    Array(Option<u64>),
    /// So many pairs, or as many as there are before a break.
    Map(Option<u64>),
    Boolean(bool),
    Null,
    Float(f64),
    /// A simple value that means nothing here.
    Simple,
    Break,
}

struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

fn broken(message: impl Into<String>) -> Refusal {
    (Reason::Malformed, message.into())
}

impl<'b> Cursor<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, length: u64) -> Result<&'b [u8], Refusal> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = usize::try_from(length).ok().and_then(|end| rest.get(..end));
        let taken = taken.ok_or_else(|| broken(format!("cut off at byte {}", self.bytes.len())))?;
        self.at += taken.len();
        Ok(taken)
    }

    fn end(&self) -> Result<(), Refusal> {
        if self.at == self.bytes.len() {
            return Ok(());
        }
        Err(broken(format!(
            "something behind the end at byte {}",
            self.at
        )))
    }

    /// The major type and the additional information of the next head.
    fn initial(&mut self) -> Result<(u8, u8), Refusal> {
        let first = self.take(1)?.first().copied().unwrap_or_default();
        Ok((first >> 5, first & 0x1f))
    }

    /// The argument of a head; nothing where the length is not said.
    fn argument(&mut self, info: u8) -> Result<Option<u64>, Refusal> {
        Ok(Some(match info {
            0..24 => u64::from(info),
            24..28 => {
                let bytes = self.take(1 << (info - 24))?;
                bytes
                    .iter()
                    .fold(0, |number, byte| number << 8 | u64::from(*byte))
            }
            31 => return Ok(None),
            _ => return Err(broken(format!("no item of data at byte {}", self.at))),
        }))
    }

    /// The next head, behind tags. Texts and byte strings are taken whole.
    fn head(&mut self) -> Result<Head<'b>, Refusal> {
        loop {
            let (major, info) = self.initial()?;
            if major == 7 {
                return self.simple(info);
            }
            let argument = self.argument(info)?;
            let known = argument.ok_or_else(|| broken("a number or tag without its value"));
            return Ok(match major {
                0 => Head::Unsigned(known?),
                1 => Head::Negative(known?),
                2 => {
                    match argument {
                        Some(length) => drop(self.take(length)?),
                        None => self.chunks(major, |_| Ok(()))?,
                    }
                    Head::Bytes
                }
                3 => Head::Text(match argument {
                    Some(length) => Cow::Borrowed(text(self.take(length)?)?),
                    None => {
                        let mut whole = String::new();
                        self.chunks(major, |chunk| {
                            whole.push_str(text(chunk)?);
                            Ok(())
                        })?;
                        Cow::Owned(whole)
                    }
                }),
                4 => Head::Array(argument),
                5 => Head::Map(argument),
                _ => {
                    known?;
                    continue;
                }
            });
        }
    }

    fn simple(&mut self, info: u8) -> Result<Head<'b>, Refusal> {
        Ok(match info {
            20 => Head::Boolean(false),
            21 => Head::Boolean(true),
            22 | 23 => Head::Null,
            25 => Head::Float(half(self.argument(info)?.unwrap_or_default())),
            26 => {
                let bits = u32::try_from(self.argument(info)?.unwrap_or_default());
                Head::Float(f64::from(f32::from_bits(bits.unwrap_or_default())))
            }
            27 => Head::Float(f64::from_bits(self.argument(info)?.unwrap_or_default())),
            31 => Head::Break,
            _ => {
                self.argument(info)?;
                Head::Simple
            }
        })
    }

    /// The pieces of a text or byte string whose length is not said.
    fn chunks(
        &mut self,
        major: u8,
        mut each: impl FnMut(&'b [u8]) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        loop {
            match self.initial()? {
                (7, 31) => return Ok(()),
                (found, info) if found == major => match self.argument(info)? {
                    Some(length) => each(self.take(length)?)?,
                    None => return Err(broken("a piece without a length")),
                },
                _ => return Err(broken("a piece of another type")),
            }
        }
    }

    /// The next head of an array or map that has one left.
    fn next(&mut self, left: &mut Option<u64>) -> Result<Option<Head<'b>>, Refusal> {
        match left {
            Some(0) => return Ok(None),
            Some(left) => *left -= 1,
            None => {}
        }
        match self.head()? {
            Head::Break if left.is_none() => Ok(None),
            head => Ok(Some(head)),
        }
    }

    /// A value that has begun. Nothing is done with it.
    fn skip(&mut self, head: Head<'b>, depth: usize) -> Result<(), Refusal> {
        refuse_depth(depth)?;
        match head {
            Head::Array(mut left) => {
                while let Some(head) = self.next(&mut left)? {
                    self.skip(head, depth + 1)?;
                }
            }
            Head::Map(mut left) => {
                while let Some(key) = self.next(&mut left)? {
                    self.skip(key, depth + 1)?;
                    let value = self.head()?;
                    self.skip(value, depth + 1)?;
                }
            }
            Head::Break => return Err(broken("a break where a value is due")),
            _ => {}
        }
        Ok(())
    }

    fn object(
        &mut self,
        mut left: Option<u64>,
        plan: &ObjectPlan,
        leaves: &mut impl Leaves,
        depth: usize,
    ) -> Result<(), Refusal> {
        refuse_depth(depth)?;
        let mut expected = 0;
        while let Some(key) = self.next(&mut left)? {
            let key = self.key(key, depth)?;
            let entry = key.and_then(|key| plan.entry(&key, &mut expected));
            let value = self.head()?;
            match entry {
                Some(entry) => self.value(value, entry, leaves, depth + 1)?,
                None => self.skip(value, depth + 1)?,
            }
        }
        Ok(())
    }

    fn array(
        &mut self,
        mut left: Option<u64>,
        wanted: &ObjectPlan,
        leaves: &mut impl Leaves,
        depth: usize,
    ) -> Result<(), Refusal> {
        refuse_depth(depth)?;
        let mut place = 0;
        while let Some(head) = self.next(&mut left)? {
            match wanted.item(place) {
                Some(entry) => self.value(head, entry, leaves, depth + 1)?,
                None => self.skip(head, depth + 1)?,
            }
            place += 1;
        }
        Ok(())
    }

    /// A key that has begun, where it can be in a path.
    fn key(&mut self, head: Head<'b>, depth: usize) -> Result<Option<Cow<'b, str>>, Refusal> {
        Ok(match head {
            Head::Text(key) => Some(key),
            Head::Unsigned(number) => Some(Cow::Owned(number.to_string())),
            Head::Negative(number) => Some(Cow::Owned((-1 - i128::from(number)).to_string())),
            head => {
                self.skip(head, depth + 1)?;
                None
            }
        })
    }

    fn value(
        &mut self,
        head: Head<'b>,
        entry: &EntryPlan,
        leaves: &mut impl Leaves,
        depth: usize,
    ) -> Result<(), Refusal> {
        let scalar = match head {
            Head::Unsigned(number) => match i64::try_from(number) {
                Ok(number) => Scalar::Integer(number),
                Err(_) => Scalar::Number(number as f64),
            },
            Head::Negative(number) => match i64::try_from(number) {
                Ok(number) => Scalar::Integer(-1 - number),
                Err(_) => Scalar::Number(-1.0 - number as f64),
            },
            Head::Text(text) => Scalar::Text(text),
            Head::Boolean(value) => Scalar::Boolean(value),
            Head::Null => Scalar::Null,
            Head::Float(value) => Scalar::Number(value),
            Head::Map(left) if entry.object.is_some() => {
                if let Some(plan) = &entry.object {
                    self.object(left, plan, leaves, depth)?;
                }
                Scalar::Composite
            }
            Head::Array(left) if entry.items().is_some() => {
                if let Some(wanted) = entry.items() {
                    self.array(left, wanted, leaves, depth)?;
                }
                Scalar::Composite
            }
            head => {
                self.skip(head, depth)?;
                Scalar::Composite
            }
        };
        entry.hand_over(&scalar, leaves);
        Ok(())
    }

    /// A value on the way that has begun; `steps` are the keys that are left.
    fn walk(
        &mut self,
        head: Head<'b>,
        steps: &[WayStep],
        item: Option<&EntryPlan>,
        items: &mut impl Items,
        depth: usize,
    ) -> Result<(), Refusal> {
        refuse_depth(depth)?;
        match (steps.split_first(), item, head) {
            (None, Some(item), Head::Array(mut left)) => {
                while let Some(head) = self.next(&mut left)? {
                    let is_object = match head {
                        Head::Map(_) => true,
                        Head::Array(_) => item.items().is_some(),
                        _ => false,
                    };
                    self.value(head, item, items, depth + 1)?;
                    go_on(items.end_item(is_object))?;
                }
                Ok(())
            }
            (None, None, head @ Head::Array(_)) => self.skip(head, depth),
            (Some(_), _, Head::Array(mut left)) => {
                while let Some(head) = self.next(&mut left)? {
                    self.walk(head, steps, item, items, depth + 1)?;
                }
                Ok(())
            }
            (Some((step, rest)), _, Head::Map(mut left)) => {
                items.begin_object();
                let (mut is_found, mut expected) = (false, 0);
                while let Some(key) = self.next(&mut left)? {
                    let key = self.key(key, depth)?;
                    let value = self.head()?;
                    if key.as_deref() == Some(&*step.key) {
                        if std::mem::replace(&mut is_found, true) {
                            return Err(broken(format!("'{}' stands there twice", step.key)));
                        }
                        self.walk(value, rest, item, items, depth + 1)?;
                        continue;
                    }
                    match key.and_then(|key| step.beside.entry(&key, &mut expected)) {
                        Some(entry) => self.value(value, entry, items, depth + 1)?,
                        None => self.skip(value, depth + 1)?,
                    }
                }
                if !is_found {
                    go_on(items.no_array())?;
                }
                items.end_object();
                Ok(())
            }
            (_, _, head) => {
                self.skip(head, depth)?;
                go_on(items.no_array())
            }
        }
    }
}

fn go_on(is_wanted: bool) -> Result<(), Refusal> {
    match is_wanted {
        true => Ok(()),
        false => Err(broken("too many items")),
    }
}

fn refuse_depth(depth: usize) -> Result<(), Refusal> {
    if depth > MAX_DEPTH {
        return Err(broken(format!("nested deeper than {MAX_DEPTH} levels")));
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|error| (Reason::InvalidUtf8, error.to_string()))
}

/// A number of 16 bits as in IEEE 754 (RFC 8949, appendix D).
fn half(bits: u64) -> f64 {
    let exponent = i32::try_from(bits >> 10 & 0x1f).unwrap_or_default();
    let mantissa = (bits & 0x3ff) as f64;
    let value = match exponent {
        0 => mantissa * 2_f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2_f64.powi(exponent - 25),
    };
    match bits >> 15 & 1 {
        0 => value,
        _ => -value,
    }
}
