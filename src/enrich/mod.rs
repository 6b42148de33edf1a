//! Reference data: tables that are looked up by a field and kept up to date while events flow.

mod config;
mod csv_table;
mod fallback;
mod lookup;
mod metrics;
mod refresh;
mod table;

pub use config::{AddedColumn, AddedDetail, LookupConfig, Otherwise, OtherwiseWord, TableSource};
pub use lookup::Lookup;
pub use metrics::LookupMetrics;
pub use refresh::{Refresher, RefresherThread, SharedTable};
pub use table::{LoadError, Table};
