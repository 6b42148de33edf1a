//! What the receiver would refuse of every sample of a metric.

use super::super::document::PathSegment;
use super::super::file::PipelineFile;
use super::super::pipeline::{Metric, Shape};
use super::Validator;
use super::completeness::SUFFIX;
use super::metadata::{BOUND, suffixes};
use crate::window::aggregate::Output;
use crate::write::RemoteWriteConfig;
use crate::write::remote_write::limits::ReceiverLimits;

impl Validator<'_> {
    /// Refuses names and labels that the receiver takes of no sample. The values of labels are known
    /// when the samples are.
    pub(super) fn receiver_limits(&mut self, file: &PipelineFile, metrics: &[Metric]) {
        let receivers = file.write.remote_write.iter();
        for receiver in receivers.flat_map(|receivers| receivers.all()) {
            // With steps of relabelling, what is sent is known when the samples are.
            if !receiver.write_relabel_configs.is_empty() {
                continue;
            }
            let limits = receiver.receiver_limits();
            for metric in metrics {
                self.length_of_name(metric, &limits);
                self.number_of_labels(metric, file, receiver, &limits);
                self.lengths_of_labels(metric, file, &limits);
            }
        }
    }

    fn length_of_name(&mut self, metric: &Metric, limits: &ReceiverLimits) {
        let longest = suffixes(metric).iter().max_by_key(|suffix| suffix.len());
        let series = format!("{}{}", metric.name, longest.unwrap_or(&""));
        let bytes = series.len();
        if let Some(limit) = limits.label_value_bytes.filter(|limit| bytes > *limit) {
            let message = format!(
                "'{series}' has {bytes} bytes, and the receiver takes names of {limit}; take a shorter \
                 one, or raise the receiver's limit and limits.label_value_bytes"
            );
            self.problem_of_key(&["metrics".into(), written_name(metric).into()], message);
        }
    }

    fn number_of_labels(
        &mut self,
        metric: &Metric,
        file: &PipelineFile,
        receiver: &RemoteWriteConfig,
        limits: &ReceiverLimits,
    ) {
        // Its name is a label, and so is the bound of a bucket.
        let (bound, mut counted) = match metric.output {
            Output::Buckets { .. } => (1, "its name and 'le' counted".to_owned()),
            _ => (0, "its name counted".to_owned()),
        };
        let names = receiver.external_labels.keys();
        let added = names.filter(|name| metric.by.iter().all(|(own, _)| **own != ***name));
        let added = added.count();
        if added > 0 {
            counted = format!("{counted}, {added} of external_labels");
        }
        let count = metric.by.len() + 1 + bound + added;
        if let Some(limit) = limits.label_names.filter(|limit| count > *limit) {
            let message = format!(
                "a series of {} has {count} labels, {counted}, and the receiver takes {limit}; leave some \
                 out, or raise the receiver's limit and limits.label_names",
                metric.name
            );
            self.problem_of_key(&place_of_labels(metric, file), message);
        }
    }

    fn lengths_of_labels(&mut self, metric: &Metric, file: &PipelineFile, limits: &ReceiverLimits) {
        let Some(limit) = limits.label_name_bytes else {
            return;
        };
        let bound = matches!(metric.output, Output::Buckets { .. }).then_some(BOUND);
        let names = metric.by.iter().map(|(name, _)| &**name).chain(bound);
        for name in names.filter(|name| name.len() > limit) {
            let message = format!(
                "label '{name}' has {} bytes, and the receiver takes names of {limit}; take a shorter one, \
                 or raise the receiver's limit and limits.label_name_bytes",
                name.len()
            );
            self.problem_of_key(&place_of_labels(metric, file), message);
        }
    }
}

/// The name under which a metric is written down, which is another one for what is told of its devices.
pub(super) fn written_name(metric: &Metric) -> &str {
    match metric.shape {
        Shape::Completeness(_) => metric.name.strip_suffix(SUFFIX).unwrap_or(&metric.name),
        _ => &metric.name,
    }
}

/// Where the labels of a metric stand.
fn place_of_labels<'a>(metric: &'a Metric, file: &PipelineFile) -> Vec<PathSegment<'a>> {
    let name = written_name(metric);
    let mut path = vec!["metrics".into(), name.into()];
    let config = file.metrics.get(name);
    if matches!(metric.shape, Shape::Completeness(_)) {
        path.push("completeness".into());
    } else if config.is_some_and(|config| !config.by.is_empty()) {
        path.push("by".into());
    } else if config.is_some_and(|config| !config.labels.is_empty()) {
        path.push("labels".into());
    }
    path
}
