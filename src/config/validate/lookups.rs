//! Lookups: their keys, tables and the fields that they add.

use super::super::check::quoted;
use super::super::document::PathSegment;
use super::Validator;
use crate::enrich::{LookupConfig, LookupInput, Mode, Otherwise, OtherwiseWord};

impl Validator<'_> {
    pub(super) fn lookups(&mut self, configs: &[LookupConfig]) -> Vec<(LookupConfig, LookupInput)> {
        let mut lookups = Vec::new();
        for (index, config) in configs.iter().enumerate() {
            let at: [PathSegment<'_>; 2] = ["enrich".into(), index.into()];
            if configs
                .iter()
                .take(index)
                .any(|other| other.lookup == config.lookup)
            {
                let message = format!("there is a lookup '{}' already", config.lookup);
                self.problem(&[at[0], at[1], "lookup".into()], message);
            }
            let input = self.lookup_input(index, configs);
            self.reference(index, config);
            if config.add.is_empty() {
                self.problem(
                    &[at[0], at[1], "add".into()],
                    "must name at least one column",
                );
            }
            for (place, added) in config.add.iter().enumerate() {
                let path = [at[0], at[1], "add".into(), place.into()];
                self.add_field(&path, added.field(), added.data_type());
            }
            if let Err(message) = config.check_otherwise() {
                self.problem(&[at[0], at[1], "otherwise".into()], message);
            }
            let drops = config.otherwise == Otherwise::Word(OtherwiseWord::Drop);
            if config.mode == Some(Mode::None) && drops {
                let message = "'drop' with 'mode: none' would drop every event; \
                               give null or values";
                self.problem(&[at[0], at[1], "otherwise".into()], message);
            }
            lookups.extend(input.map(|input| (config.clone(), input)));
        }
        lookups
    }

    /// The columns that a lookup reads: that of a key, or a position's for zones.
    fn lookup_input(&mut self, index: usize, configs: &[LookupConfig]) -> Option<LookupInput> {
        let config = configs.get(index)?;
        let at: [PathSegment<'_>; 2] = ["enrich".into(), index.into()];
        let place = |key| [at[0], at[1], PathSegment::Key(key)];
        let is_zones = config.from.is_zones();
        match (&config.key, &config.position) {
            (Some(_), Some(_)) => {
                let message = "'position' and 'key' exclude each other; \
                               zones are looked up by a position, everything else by a key";
                self.problem_of_key(&place("position"), message);
                None
            }
            (Some(_), None) if is_zones == Some(true) => {
                let message = "zones are looked up by a position; write \
                               'position: { latitude: …, longitude: … }' instead of 'key'";
                self.problem_of_key(&place("key"), message);
                None
            }
            (None, Some(_)) if is_zones == Some(false) => {
                let message = "only zones from 'geojson' are looked up by a position; \
                               write 'key' instead of 'position'";
                self.problem_of_key(&place("position"), message);
                None
            }
            (Some(key), None) => {
                self.in_order(&place("key"), key, index, configs)?;
                self.text_field(&place("key"), key).map(LookupInput::Key)
            }
            (None, Some(position)) => {
                let mut field = |key: &str, name: &str| {
                    let path = [at[0], at[1], "position".into(), PathSegment::Key(key)];
                    self.in_order(&path, name, index, configs)?;
                    self.number_field(&path, name)
                };
                let latitude = field("latitude", &position.latitude);
                let longitude = field("longitude", &position.longitude);
                Some(LookupInput::Position {
                    latitude: latitude?,
                    longitude: longitude?,
                })
            }
            (None, None) => {
                let wanted = if is_zones == Some(true) {
                    "'position', the fields of the position that is looked up"
                } else {
                    "'key', the field that is looked up"
                };
                let lookup = &config.lookup;
                self.problem(&at, format!("lookup '{lookup}' needs {wanted}"));
                None
            }
        }
    }

    /// Nothing where only a later lookup, or this one itself, adds a field that it reads.
    fn in_order(
        &mut self,
        at: &[PathSegment<'_>],
        field: &str,
        index: usize,
        configs: &[LookupConfig],
    ) -> Option<()> {
        if self.schema.find(field).is_some() {
            return Some(());
        }
        let adds = |config: &LookupConfig| config.add.iter().any(|added| added.field() == field);
        let later = (index..configs.len()).find(|later| configs.get(*later).is_some_and(adds));
        let Some(later) = later else {
            return Some(());
        };
        if let Some(message) = out_of_order(field, index, later, configs) {
            self.problem(at, message);
        }
        None
    }

    /// Where the values of a lookup come from.
    fn reference(&mut self, index: usize, config: &LookupConfig) {
        let from: [PathSegment<'_>; 3] = ["enrich".into(), index.into(), "from".into()];
        let kinds = config.from.kinds();
        let mut given = kinds.iter().filter(|(_, is_given)| *is_given);
        let Some((first, _)) = given.next() else {
            let names = quoted(kinds.iter().map(|(name, _)| *name), "or");
            let message = format!("missing key in 'from': one of {names}");
            return self.problem_of_key(&from, message);
        };
        for (other, _) in given {
            let message = format!("'{other}' does not go with '{first}'; remove one of them");
            self.problem_of_key(&[from[0], from[1], from[2], (*other).into()], message);
        }
        let number = index.to_string();
        for (path, message) in config.check_partial() {
            let path: Vec<_> = std::iter::once(number.clone()).chain(path).collect();
            self.problem_of_stage("enrich", &path, &message);
        }
        if config.is_partial() {
            return;
        }
        for (keys, message) in config.from.validate() {
            let inner = keys.iter().map(|key| PathSegment::Key(key));
            let path: Vec<_> = from.into_iter().chain(inner).collect();
            match keys.as_slice() {
                // A missing key, one that is too much, or one beside a secret.
                [] => self.problem_of_key(&path, message),
                [section, ..] if section == "headers" => {
                    let message = super::with_subject(&path, &message);
                    self.problem_of_key(&path, message);
                }
                [section] if ["s3", "key", "valid"].contains(&section.as_str()) => {
                    self.problem_of_key(&path, message);
                }
                _ => self.problem(&path, message),
            }
        }
    }
}

/// What is wrong with a lookup that reads a field which a later one adds; nothing where it was said
/// already.
fn out_of_order(
    field: &str,
    index: usize,
    later: usize,
    configs: &[LookupConfig],
) -> Option<String> {
    let config = configs.get(index)?;
    if later == index {
        let message =
            format!("'{field}' is added by this lookup itself; look up a field of the event");
        return Some(message);
    }
    let name = |index: usize| configs.get(index).map_or("", |config| &config.lookup);
    let mut circle = vec![index];
    if leads_to(index, later, configs, &mut Vec::new(), &mut circle) {
        let first = circle.iter().min();
        let names = quoted(circle.iter().map(|index| name(*index)), "and");
        return (first == Some(&index))
            .then(|| format!("lookups {names} need each other's fields"));
    }
    Some(format!(
        "'{field}' is added by lookup '{}', which comes later; put it before '{}'",
        name(later),
        config.lookup
    ))
}

/// Whether a lookup needs, directly or not, the fields of another one, so that no order would do.
/// Adds the lookups on the way there to `circle`.
fn leads_to(
    goal: usize,
    from: usize,
    configs: &[LookupConfig],
    seen: &mut Vec<usize>,
    circle: &mut Vec<usize>,
) -> bool {
    seen.push(from);
    circle.push(from);
    let inputs = configs.get(from).into_iter().flat_map(LookupConfig::inputs);
    for input in inputs {
        let adds = |config: &LookupConfig| config.add.iter().any(|added| added.field() == input);
        let Some(adder) = configs.iter().position(adds) else {
            continue;
        };
        if adder == goal {
            return true;
        }
        if !seen.contains(&adder) && leads_to(goal, adder, configs, seen, circle) {
            return true;
        }
    }
    circle.pop();
    false
}
