//! What a birth has said of the metrics of a node or device: their names, types and aliases.

use std::collections::BTreeMap;

use super::OVERHEAD;

/// The metrics of a node or device by their names and by their aliases: data may say either.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::decode::sparkplug) struct Names {
    /// In the order of their names.
    metrics: Vec<Named>,
    /// In their order, with the place of the metric that each of them is.
    aliases: Vec<(u64, u32)>,
}

/// What a birth has said of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::decode::sparkplug) struct Named {
    pub(in crate::decode::sparkplug) name: Box<str>,
    /// The number of its type; 0 where the birth has not said it.
    pub(in crate::decode::sparkplug) datatype: u32,
}

/// What a birth says, metric by metric. Of what it says twice, the last holds.
#[derive(Debug, Default)]
pub(in crate::decode::sparkplug) struct Said<'b> {
    types: BTreeMap<&'b str, u32>,
    aliases: BTreeMap<u64, &'b str>,
}

impl<'b> Said<'b> {
    /// Adds a metric. One of which no more than the name is said is nothing to know. Gives the name that its
    /// alias had before.
    pub(in crate::decode::sparkplug) fn add(
        &mut self,
        name: &'b str,
        alias: Option<u64>,
        datatype: Option<u32>,
    ) -> Option<&'b str> {
        if alias.is_some() || datatype.is_some() {
            let known = self.types.entry(name).or_default();
            *known = datatype.unwrap_or(*known);
        }
        self.aliases.insert(alias?, name)
    }

    pub(in crate::decode::sparkplug) fn names(self) -> Names {
        let Self { types, aliases } = self;
        let places: BTreeMap<_, _> = types.keys().copied().zip(0_u32..).collect();
        let aliases = aliases.into_iter();
        let metrics = types.into_iter().map(|(name, datatype)| Named {
            name: name.into(),
            datatype,
        });
        Names {
            metrics: metrics.collect(),
            aliases: aliases
                .filter_map(|(alias, name)| Some((alias, *places.get(name)?)))
                .collect(),
        }
    }
}

impl Names {
    /// Metrics in the order of their names, and aliases in theirs.
    ///
    /// # Errors
    /// They are not in order, or an alias is of no metric.
    pub(super) fn of(metrics: Vec<Named>, aliases: Vec<(u64, u32)>) -> Result<Self, &'static str> {
        if !metrics.is_sorted_by(|one, next| one.name < next.name) {
            return Err("names are not in order");
        }
        if !aliases.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err("aliases are not in order");
        }
        let names = Self { metrics, aliases };
        let mut aliases = names.aliases.iter();
        match aliases.all(|(_, place)| names.at(*place).is_some()) {
            true => Ok(names),
            false => Err("an alias is of no metric"),
        }
    }

    /// In the order of their names.
    pub(super) fn metrics(&self) -> &[Named] {
        &self.metrics
    }

    /// In their order, with the places of their metrics.
    pub(super) fn aliases(&self) -> &[(u64, u32)] {
        &self.aliases
    }

    /// How much memory they take.
    pub(super) fn bytes(&self) -> usize {
        let texts = self.metrics.iter().map(|metric| metric.name.len());
        texts.sum::<usize>() + OVERHEAD * self.metrics.len().max(self.aliases.len())
    }

    /// The metric of a name.
    pub(in crate::decode::sparkplug) fn named(&self, name: &str) -> Option<&Named> {
        let place = self
            .metrics
            .binary_search_by(|known| (*known.name).cmp(name));
        self.metrics.get(place.ok()?)
    }

    /// The metric of an alias.
    pub(in crate::decode::sparkplug) fn aliased(&self, alias: u64) -> Option<&Named> {
        let place = self
            .aliases
            .binary_search_by_key(&alias, |(known, _)| *known);
        let (_, metric) = self.aliases.get(place.ok()?)?;
        self.at(*metric)
    }

    fn at(&self, place: u32) -> Option<&Named> {
        self.metrics.get(usize::try_from(place).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_said_twice_the_last_holds() {
        let mut said = Said::default();
        assert_eq!(said.add("temp", Some(1), Some(3)), None);
        assert_eq!(said.add("rpm", Some(1), None), Some("temp"));
        said.add("rpm", Some(2), Some(9));
        said.add("rpm", None, None);
        said.add("temp", None, Some(4));
        said.add("nothing", None, None);
        let names = said.names();
        let of =
            |named: Option<&Named>| named.map(|named| (named.name.to_string(), named.datatype));
        let rpm = Some(("rpm".to_owned(), 9));
        assert_eq!(
            [of(names.aliased(1)), of(names.aliased(2))],
            [rpm.clone(), rpm.clone()]
        );
        assert_eq!(of(names.aliased(3)), None);
        assert_eq!(of(names.named("rpm")), rpm);
        assert_eq!(of(names.named("temp")), Some(("temp".to_owned(), 4)));
        assert_eq!(of(names.named("nothing")), None);
        assert_eq!(names.bytes(), 2 * OVERHEAD + 7);
    }

    #[test]
    fn only_what_is_in_order_is_taken() {
        let named = |name: &str| Named {
            name: name.into(),
            datatype: 3,
        };
        let metrics = || vec![named("a"), named("b")];
        assert!(Names::of(metrics(), vec![(1, 1), (7, 0), (9, 1)]).is_ok());
        for (metrics, aliases, expected) in [
            (
                vec![named("b"), named("a")],
                vec![],
                "names are not in order",
            ),
            (
                vec![named("a"), named("a")],
                vec![],
                "names are not in order",
            ),
            (metrics(), vec![(7, 0), (1, 1)], "aliases are not in order"),
            (metrics(), vec![(1, 0), (1, 1)], "aliases are not in order"),
            (metrics(), vec![(1, 2)], "an alias is of no metric"),
        ] {
            assert_eq!(Names::of(metrics, aliases), Err(expected));
        }
    }
}
