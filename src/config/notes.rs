//! What is allowed in a pipeline file, and probably not meant.

use super::pipeline::Pipeline;
use super::validate::series_of;
use crate::write::MAX_METADATA_BYTES;
use crate::write::relabel::doubts;

impl Pipeline {
    /// What receivers do not get as it stands in the file, in words: helps that are too long, and labels
    /// and metrics that are lost by relabelling.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.helps_that_are_cut();
        notes.extend(self.doubts_of_relabelling());
        notes
    }

    fn helps_that_are_cut(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (metric, told) in self.metrics.iter().flat_map(|metric| {
            let all = self.write.metadata.metrics().iter();
            let told = all.filter(|told| *told.name() == metric.name);
            told.map(move |told| (metric, told))
        }) {
            let whole = metric.help.as_deref().unwrap_or_default().len();
            if told.help().len() < whole {
                notes.push(format!(
                    "the help of metric '{}' has {whole} bytes, of which receivers get {}: name, help \
                     and unit may have {MAX_METADATA_BYTES} together",
                    metric.name,
                    told.help().len()
                ));
            }
        }
        notes
    }

    fn doubts_of_relabelling(&self) -> Vec<String> {
        let series: Vec<_> = self.metrics.iter().flat_map(series_of).collect();
        let series: Vec<_> = series
            .iter()
            .map(|(name, labels)| (name.as_str(), labels.clone()))
            .collect();
        let mut notes = Vec::new();
        let receivers = self.write.remote_write.iter();
        for receiver in receivers.flat_map(|receivers| receivers.all()) {
            // What is wrong with it has been reported.
            let Ok(relabelling) = receiver.relabelling() else {
                continue;
            };
            for doubt in doubts(&relabelling, &series) {
                notes.push(format!(
                    "after the relabelling for receiver '{}' {doubt}",
                    receiver.name()
                ));
            }
        }
        notes
    }
}
