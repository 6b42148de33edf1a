//! A geofence on one worker: the zones of a batch's positions, and their properties as columns.

use std::sync::Arc;

use prometheus::IntCounter;

use super::zones::Found;
use crate::enrich::config::{LookupConfig, Otherwise, OtherwiseWord};
use crate::enrich::fallback::fallbacks;
use crate::enrich::field_value::FieldValue;
use crate::enrich::metrics::LookupMetrics;
use crate::enrich::shared::SharedTable;
use crate::enrich::table::{Table, TableColumn};
use crate::model::{Column, HoldsSymbols, Interner, LiveSymbols, Renumbering, Symbol};

/// A geofence on one worker.
#[derive(Debug)]
pub struct Geofence {
    shared: Arc<SharedTable>,
    table: Arc<Table>,
    version: u64,
    /// The worker's symbol of each of the table's texts, once one was needed.
    symbols: Vec<Option<Symbol>>,
    fallbacks: Vec<FieldValue>,
    drop_misses: bool,
    hits: IntCounter,
    misses: IntCounter,
    invalid: IntCounter,
    dropped: IntCounter,
}

impl Geofence {
    /// A lookup of positions in shared zones.
    ///
    /// # Errors
    /// A value of `otherwise` is of another type than its property, or its property is not added.
    pub fn build(
        config: &LookupConfig,
        shared: Arc<SharedTable>,
        metrics: &LookupMetrics,
    ) -> Result<Self, String> {
        let fallbacks = fallbacks(&config.add, &config.otherwise)?;
        // The version first: a table that is replaced in between is then found to be new.
        let version = shared.version();
        let table = shared.table();
        let name = [config.lookup.as_str()];
        Ok(Self {
            shared,
            version,
            symbols: vec![None; table.texts.len()],
            table,
            fallbacks,
            drop_misses: config.otherwise == Otherwise::Word(OtherwiseWord::Drop),
            hits: metrics.hits.with_label_values(&name),
            misses: metrics.misses.with_label_values(&name),
            invalid: metrics.invalid.with_label_values(&name),
            dropped: metrics.dropped.with_label_values(&name),
        })
    }

    /// The zones of positions in degrees, row by row; none where a position is NULL, invalid or in no
    /// zone. Zones that have changed are taken in here, between two batches.
    pub fn find(&mut self, latitudes: &[f64], longitudes: &[f64]) -> Vec<Option<u32>> {
        if self.shared.version() != self.version {
            self.version = self.shared.version();
            self.table = self.shared.table();
            self.symbols = vec![None; self.table.texts.len()];
        }
        let Some(zones) = &self.table.zones else {
            return vec![None; latitudes.len()];
        };
        let mut invalid = 0;
        let positions = latitudes.iter().zip(longitudes);
        let found =
            positions.map(
                |(latitude, longitude)| match zones.find(*latitude, *longitude) {
                    Found::Zone(zone) => Some(zone),
                    Found::None => None,
                    Found::Invalid => {
                        invalid += 1;
                        None
                    }
                },
            );
        let found = found.collect();
        self.invalid.inc_by(invalid);
        found
    }

    /// Appends the added fields of zones that were found to `columns`. Where misses are to be
    /// dropped, gives the rows that stay; all do where it gives nothing.
    pub fn add(
        &mut self,
        zones: &[Option<u32>],
        columns: &mut Vec<Column>,
        interner: &mut Interner,
    ) -> Option<Vec<u32>> {
        for (source, fallback) in self.table.columns.iter().zip(&self.fallbacks) {
            columns.push(match (source, fallback) {
                (TableColumn::Number(values), FieldValue::Number(otherwise)) => {
                    Column::Number(gather(zones, values, *otherwise))
                }
                (TableColumn::Boolean(values), FieldValue::Boolean(otherwise)) => {
                    Column::Boolean(gather(zones, values, *otherwise))
                }
                (TableColumn::Text(values), FieldValue::Text(otherwise)) => {
                    let otherwise = otherwise
                        .as_ref()
                        .map_or(Symbol::NULL, |text| interner.intern(text));
                    let mut column = gather(zones, values, Symbol::NULL);
                    for (symbol, zone) in column.iter_mut().zip(zones) {
                        if zone.is_none() {
                            *symbol = otherwise;
                        } else if !symbol.is_null() {
                            *symbol = translate(*symbol, &self.table, &mut self.symbols, interner);
                        }
                    }
                    Column::Text(column)
                }
                // Table and fallbacks are made from the same list of columns.
                _ => continue,
            });
        }
        let hits = || zones.iter().zip(0_u32..).filter(|(zone, _)| zone.is_some());
        let misses = (zones.len() - hits().count()) as u64;
        self.hits.inc_by(zones.len() as u64 - misses);
        self.misses.inc_by(misses);
        if misses == 0 || !self.drop_misses {
            return None;
        }
        self.dropped.inc_by(misses);
        Some(hits().map(|(_, row)| row).collect())
    }
}

/// Symbols of the table's texts are asked for again.
impl HoldsSymbols for Geofence {
    fn mark_live(&self, _live: &mut LiveSymbols) {}

    fn renumber(&mut self, _numbers: &Renumbering) {
        self.symbols.fill(None);
    }
}

fn gather<T: Copy>(zones: &[Option<u32>], values: &[T], otherwise: T) -> Vec<T> {
    zones
        .iter()
        .map(|zone| {
            zone.and_then(|zone| values.get(zone as usize).copied())
                .unwrap_or(otherwise)
        })
        .collect()
}

/// The worker's symbol of a text of the table.
#[inline]
fn translate(
    text: Symbol,
    table: &Table,
    symbols: &mut [Option<Symbol>],
    interner: &mut Interner,
) -> Symbol {
    let Some(known) = symbols.get_mut(text.index()) else {
        return Symbol::NULL;
    };
    *known.get_or_insert_with(|| interner.intern(table.texts.text(text)))
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;
    use crate::model::Trilean;
    use crate::telemetry::Registry;

    const ZONES: &str = r#"{"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {"zone": "depot", "limit": {"speed": 30}, "tolls": false},
         "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]]}},
        {"type": "Feature", "properties": {"zone": "city", "tolls": true},
         "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]}}
    ]}"#;

    fn config(otherwise: &str) -> LookupConfig {
        serde_json::from_str(&format!(
            r#"{{"lookup": "zones", "position": {{"latitude": "lat", "longitude": "lon"}},
                "from": {{"geojson": "z.geojson"}},
                "add": ["zone", {{"column": "limit.speed", "as": "limit", "type": "number"}},
                    {{"column": "tolls", "type": "boolean"}}],
                "otherwise": {otherwise}}}"#
        ))
        .unwrap()
    }

    fn table(config: &LookupConfig, text: &str) -> Table {
        file::read(config, "z.geojson", text.as_bytes()).unwrap()
    }

    struct Fixture {
        config: LookupConfig,
        geofence: Geofence,
        interner: Interner,
    }

    impl Fixture {
        fn new(otherwise: &str) -> Self {
            let config = config(otherwise);
            let shared = SharedTable::new(table(&config, ZONES));
            let metrics = LookupMetrics::new(&Registry::new("test"));
            let geofence = Geofence::build(&config, shared, &metrics).unwrap();
            Self {
                config,
                geofence,
                interner: Interner::new(),
            }
        }

        /// Zones, limits and tolls of positions, and the rows that stay.
        fn apply(
            &mut self,
            positions: &[(f64, f64)],
        ) -> (Vec<&str>, Vec<Column>, Option<Vec<u32>>) {
            let (latitudes, longitudes): (Vec<_>, Vec<_>) = positions.iter().copied().unzip();
            let zones = self.geofence.find(&latitudes, &longitudes);
            let mut columns = Vec::new();
            let kept = self.geofence.add(&zones, &mut columns, &mut self.interner);
            let texts = columns.remove(0);
            let texts = texts.symbols().iter();
            let texts = texts.map(|symbol| self.interner.text(*symbol)).collect();
            (texts, columns, kept)
        }
    }

    #[test]
    fn adds_the_properties_of_zones_and_falls_back_elsewhere() {
        let mut fixture = Fixture::new(r#"{"zone": "outside", "tolls": false}"#);
        assert_eq!(fixture.geofence.table.rows(), 2);
        let positions = [
            (1.0, 1.0),
            (3.0, 1.0),
            (9.0, 9.0),
            (f64::NAN, 1.0),
            (91.0, 1.0),
        ];
        let (zones, columns, kept) = fixture.apply(&positions);
        assert_eq!(zones, ["depot", "city", "outside", "outside", "outside"]);
        let limits = columns[0].numbers();
        assert_eq!(limits[0], 30.0);
        assert!(limits[1..].iter().all(|limit| limit.is_nan()));
        let (no, yes) = (Trilean::False, Trilean::True);
        assert_eq!(columns[1].booleans(), [no, yes, no, no, no]);
        assert_eq!(kept, None);
        let Geofence {
            hits,
            misses,
            invalid,
            ..
        } = &fixture.geofence;
        assert_eq!((hits.get(), misses.get(), invalid.get()), (2, 3, 1));
    }

    #[test]
    fn drops_positions_in_no_zone_where_it_is_told_to() {
        let mut fixture = Fixture::new(r#""drop""#);
        let (_, _, kept) = fixture.apply(&[(9.0, 9.0), (1.0, 1.0), (200.0, 0.0), (3.0, 3.0)]);
        assert_eq!(kept, Some(vec![1, 3]));
        assert_eq!(fixture.geofence.dropped.get(), 2);
        assert_eq!(fixture.apply(&[(1.0, 1.0)]).2, None);
    }

    #[test]
    fn takes_in_changed_zones_at_the_next_batch() {
        let mut fixture = Fixture::new(r#""null""#);
        assert_eq!(
            fixture.apply(&[(1.0, 1.0), (3.0, 1.0)]).0,
            ["depot", "city"]
        );
        let changed = ZONES.replace("depot", "yard").replace("[2, ", "[4, ");
        let table = table(&fixture.config, &changed);
        fixture.geofence.shared.replace(table);
        assert_eq!(
            fixture.apply(&[(1.0, 1.0), (1.0, 3.0), (3.0, 1.0)]).0,
            ["yard", "yard", "city"]
        );
    }

    #[test]
    fn finds_its_texts_again_under_other_symbols() {
        let mut fixture = Fixture::new(r#"{"zone": "outside"}"#);
        fixture.interner.intern("nobody needs this");
        let positions = [(3.0, 1.0), (1.0, 1.0), (9.0, 9.0)];
        let zones = ["city", "depot", "outside"];
        assert_eq!(fixture.apply(&positions).0, zones);
        let live = LiveSymbols::new(fixture.interner.len());
        let numbers = fixture.interner.compact(&live);
        fixture.geofence.renumber(&numbers);
        fixture.interner.intern("what comes first now");
        assert_eq!(fixture.apply(&positions).0, zones);
    }
}
