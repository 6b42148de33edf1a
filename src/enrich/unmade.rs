//! A lookup that is not made: every event takes the fallbacks.

use super::config::LookupConfig;
use super::fallback::fallbacks;
use super::field_value::FieldValue;
use super::values::Values;
use crate::model::{Column, HoldsSymbols, Interner, LiveSymbols, Renumbering};

/// A lookup with `mode: none` on one worker.
#[derive(Debug)]
pub struct UnmadeLookup {
    fallbacks: Vec<FieldValue>,
    /// One slot with the fallbacks, once there was a batch.
    values: Option<Values>,
}

impl UnmadeLookup {
    /// A lookup that is not made.
    ///
    /// # Errors
    /// A value of `otherwise` is of another type than its column, or its column is not added.
    pub fn build(config: &LookupConfig) -> Result<Self, String> {
        let fallbacks = fallbacks(&config.add, &config.otherwise)?;
        Ok(Self {
            fallbacks,
            values: None,
        })
    }

    /// The added fields of so many events.
    pub fn columns(&mut self, rows: usize, interner: &mut Interner) -> Vec<Column> {
        let fallbacks = &self.fallbacks;
        let values = self.values.get_or_insert_with(|| {
            let mut values = Values::new(fallbacks);
            values.resize(1);
            values.set(0, fallbacks, interner);
            values
        });
        let mut columns = Vec::new();
        values.gather((0..rows).map(|_| 0), &mut columns);
        columns
    }
}

/// The fallbacks are taken over again.
impl HoldsSymbols for UnmadeLookup {
    fn mark_live(&self, _live: &mut LiveSymbols) {}

    fn renumber(&mut self, _numbers: &Renumbering) {
        self.values = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_takes_what_otherwise_says() {
        let config = serde_json::from_str(
            r#"{"lookup": "v", "key": "vehicle", "from": {"csv": "v.csv", "key": "id"},
                "mode": "none", "otherwise": {"model": "edge", "kwh": 7},
                "add": ["model", {"column": "kwh", "type": "number"}, "depot"]}"#,
        );
        let mut lookup = UnmadeLookup::build(&config.unwrap()).unwrap();
        let mut interner = Interner::new();
        for rows in [2, 0, 3] {
            let columns = lookup.columns(rows, &mut interner);
            let models = columns[0].symbols().iter();
            let models: Vec<_> = models.map(|symbol| interner.text(*symbol)).collect();
            assert_eq!(models, vec!["edge"; rows]);
            assert_eq!(columns[1].numbers(), vec![7.0; rows]);
            let depots = columns[2].symbols();
            assert!(depots.len() == rows && depots.iter().all(|depot| depot.is_null()));
            let live = LiveSymbols::new(interner.len());
            lookup.renumber(&interner.compact(&live));
            interner.intern("what comes first now");
        }
    }
}
