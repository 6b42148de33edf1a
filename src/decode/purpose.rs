//! What a pipeline takes a value for, held against what the schema of its records says that it is.

use super::config::TimeUnit;
use crate::model::DataType;

/// What a pipeline takes a value for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A time, written so.
    Time(TimeUnit),
    /// A field of this type.
    Field(DataType),
}

/// What kind of value a schema has at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// A whole number.
    Integer,
    /// Any number.
    Float,
    Boolean,
    Text,
    /// A name, which has a number.
    NumberedName,
    /// A time whose unit the schema says.
    Instant,
    /// The same, of which a field takes a whole number.
    IntegerInstant,
    /// A length of time.
    Duration,
}

impl ValueKind {
    /// Whether a value can be what is wanted.
    fn fits(self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Time(unit) => match self {
                Self::Instant | Self::IntegerInstant => true,
                Self::Text => unit == TimeUnit::Rfc3339,
                Self::Integer | Self::Float => unit != TimeUnit::Rfc3339,
                Self::Boolean | Self::NumberedName | Self::Duration => false,
            },
            Purpose::Field(DataType::Boolean) => self == Self::Boolean,
            Purpose::Field(DataType::Text) => matches!(
                self,
                Self::Text | Self::Integer | Self::IntegerInstant | Self::NumberedName
            ),
            Purpose::Field(DataType::Number) => !matches!(self, Self::Boolean | Self::Text),
        }
    }
}

/// Checks that a value, which may be of several kinds, can be what is wanted.
///
/// # Errors
/// It can be in none of them; what it can be.
pub(super) fn fits(kinds: &[ValueKind], purpose: Purpose) -> Result<(), String> {
    let fits = |purpose| kinds.iter().any(|kind| kind.fits(purpose));
    if fits(purpose) {
        return Ok(());
    }
    if let Purpose::Time(_) = purpose {
        let message = if fits(Purpose::Time(TimeUnit::Rfc3339)) {
            "the unit of a text is rfc3339"
        } else if fits(Purpose::Time(TimeUnit::Ms)) {
            "the unit of a number is s, ms, us or ns"
        } else {
            "it is no time"
        };
        return Err(message.to_owned());
    }
    let types = [
        (DataType::Number, "'number'"),
        (DataType::Text, "'text'"),
        (DataType::Boolean, "'boolean'"),
    ];
    let types = types
        .iter()
        .filter(|(data_type, _)| fits(Purpose::Field(*data_type)));
    let types: Vec<_> = types.map(|(_, name)| *name).collect();
    Err(match types.as_slice() {
        [] => "no field takes it".to_owned(),
        types => format!("a field of it is {}", types.join(" or ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_a_value_can_be() {
        use ValueKind::{Boolean, Duration, Float, Instant, Integer, IntegerInstant, Text};
        let time = Purpose::Time;
        let [number, text, boolean] =
            [DataType::Number, DataType::Text, DataType::Boolean].map(Purpose::Field);
        let cases: [(&[ValueKind], Purpose, &str); 16] = [
            (&[Integer], number, ""),
            (&[Integer], text, ""),
            (&[Integer], boolean, "a field of it is 'number' or 'text'"),
            (&[Float], text, "a field of it is 'number'"),
            (&[Text], number, "a field of it is 'text'"),
            (&[Text, Integer], number, ""),
            (
                &[Text, Boolean],
                number,
                "a field of it is 'text' or 'boolean'",
            ),
            (
                &[ValueKind::NumberedName],
                time(TimeUnit::Ms),
                "it is no time",
            ),
            (&[Duration], time(TimeUnit::S), "it is no time"),
            (&[Duration], number, ""),
            (&[Instant], text, "a field of it is 'number'"),
            (&[IntegerInstant], text, ""),
            (&[Instant], time(TimeUnit::Rfc3339), ""),
            (&[Text], time(TimeUnit::Ns), "the unit of a text is rfc3339"),
            (
                &[Integer],
                time(TimeUnit::Rfc3339),
                "the unit of a number is s, ms, us or ns",
            ),
            (&[], number, "no field takes it"),
        ];
        for (kinds, purpose, expected) in cases {
            let found = fits(kinds, purpose).err().unwrap_or_default();
            assert_eq!(found, expected, "{kinds:?} as {purpose:?}");
        }
    }
}
