//! Functions that SQL writes with words between their arguments: each is a call of a function of
//! the table.

use sqlparser::ast::{
    CastKind, CeilFloorKind, DateTimeField, Expr, Spanned, TrimWhereField, Value,
};

use super::check::{Checker, Typed};
use super::function;

impl Checker<'_> {
    /// A form with words.
    pub(super) fn special(&mut self, expr: &Expr) -> Option<Typed> {
        match expr {
            Expr::Ceil { expr: value, field } => self.rounding("ceil", value, field),
            Expr::Floor { expr: value, field } => self.rounding("floor", value, field),
            Expr::Substring {
                expr: text,
                substring_from,
                substring_for,
                ..
            } => {
                let one = Expr::value(Value::Number("1".to_owned(), false));
                let start = match (substring_from, substring_for) {
                    (None, Some(_)) => Some(&one),
                    (start, _) => start.as_deref(),
                };
                let arguments = [Some(text.as_ref()), start, substring_for.as_deref()];
                self.call("substring", arguments, expr)
            }
            Expr::Trim {
                expr: text,
                trim_where,
                trim_what,
                trim_characters,
            } => {
                let name = match trim_where {
                    None | Some(TrimWhereField::Both) => "trim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                let behind = trim_characters.iter().flatten();
                let arguments = std::iter::once(text.as_ref()).chain(trim_what.as_deref());
                self.call(name, arguments.chain(behind).map(Some), expr)
            }
            Expr::Position { expr: part, r#in } => {
                self.call("strpos", [Some(r#in.as_ref()), Some(part.as_ref())], expr)
            }
            Expr::Extract {
                field, expr: time, ..
            } => self.extract(field, time, expr),
            _ => self.unsupported(expr),
        }
    }

    /// `extract(field FROM time [AT TIME ZONE zone])`.
    fn extract(&mut self, field: &DateTimeField, time: &Expr, expr: &Expr) -> Option<Typed> {
        let name = match field {
            DateTimeField::Year | DateTimeField::Years => "year",
            DateTimeField::Month | DateTimeField::Months => "month",
            DateTimeField::Day | DateTimeField::Days => "day",
            DateTimeField::Hour | DateTimeField::Hours => "hour",
            DateTimeField::Minute | DateTimeField::Minutes => "minute",
            DateTimeField::Second | DateTimeField::Seconds => "second",
            DateTimeField::Week(None) | DateTimeField::Weeks | DateTimeField::IsoWeek => "week",
            DateTimeField::Isodow => "day_of_week",
            DateTimeField::Doy | DateTimeField::DayOfYear => "day_of_year",
            _ => {
                let message = format!(
                    "extract has no field {}; it has year, month, day, hour, minute, second, week, \
                     isodow (1 is Monday) and doy",
                    field.to_string().to_lowercase()
                );
                self.check(time);
                return self.fail(self.range(expr), message);
            }
        };
        match time {
            Expr::AtTimeZone {
                timestamp,
                time_zone,
            } => self.call(
                name,
                [Some(timestamp.as_ref()), Some(time_zone.as_ref())],
                expr,
            ),
            _ => self.call(name, [Some(time)], expr),
        }
    }

    fn rounding(&mut self, name: &str, value: &Expr, field: &CeilFloorKind) -> Option<Typed> {
        let plain = CeilFloorKind::DateTimeField(DateTimeField::NoDateTime);
        if *field != plain {
            let function = function::find(name)?;
            return self.fail(
                self.source.range(value.span()),
                format!("{name} takes one argument: {}", function.usage),
            );
        }
        self.call(name, [Some(value)], value)
    }

    fn call<'e>(
        &mut self,
        name: &str,
        arguments: impl IntoIterator<Item = Option<&'e Expr>>,
        expr: &Expr,
    ) -> Option<Typed> {
        let function = function::find(name)?;
        let arguments: Vec<&Expr> = arguments.into_iter().flatten().collect();
        self.scalar(function, &arguments, self.range(expr))
    }
}

/// Whether sqlparser leaves the name and the brackets of an expression out of its span.
pub(super) fn is_special(expr: &Expr) -> bool {
    match expr {
        Expr::Ceil { .. }
        | Expr::Floor { .. }
        | Expr::Substring { .. }
        | Expr::Trim { .. }
        | Expr::Position { .. }
        | Expr::Extract { .. } => true,
        Expr::Cast { kind, .. } => *kind != CastKind::DoubleColon,
        _ => false,
    }
}
