//! Lookups: their keys, tables and the fields that they add.

use super::super::document::PathSegment;
use super::Validator;
use crate::enrich::LookupConfig;

impl Validator<'_> {
    pub(super) fn lookups(&mut self, configs: &[LookupConfig]) -> Vec<(LookupConfig, usize)> {
        let mut lookups: Vec<(LookupConfig, usize)> = Vec::new();
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
            let key = self.text_field(&[at[0], at[1], "key".into()], &config.key);
            if config.from.refresh.as_millis() == 0 {
                let path = [at[0], at[1], "from".into(), "refresh".into()];
                self.problem(&path, "must be longer than 0s");
            }
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
            lookups.extend(key.map(|key| (config.clone(), key)));
        }
        lookups
    }
}
