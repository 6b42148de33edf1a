//! The last step to samples: the values of groups under the names of their series.

use std::sync::Arc;

use super::classic::ClassicSeries;
use super::forming::Part;
use super::living::Living;
use super::series::SeriesCache;
use super::top::keep_top;
use crate::config::{Metric, Top};
use crate::model::{
    HoldsSymbols, Interner, LiveSymbols, Renumbering, Sample, SampleValue, Symbol, TimestampMs,
};
use crate::window::Bounds;
use crate::window::aggregate::Output;

/// Makes the samples of a metric's groups.
#[derive(Debug)]
pub(in crate::pipeline) struct Emitter {
    pub(in crate::pipeline) series: SeriesCache,
    form: Form,
    /// Where only some groups have samples.
    pub(in crate::pipeline) top: Option<Top>,
    /// Where series end.
    pub(in crate::pipeline) living: Option<Living>,
}

/// What a sample is.
#[derive(Debug)]
enum Form {
    Number,
    Histogram,
    Buckets(Box<ClassicSeries>),
}

impl Emitter {
    pub(in crate::pipeline) fn new(metric: &Metric, labels: Vec<Arc<str>>) -> Self {
        let form = match &metric.output {
            Output::Number => Form::Number,
            Output::Histogram => Form::Histogram,
            Output::Buckets { bounds } => {
                let series = ClassicSeries::new(&metric.name, &labels, bounds);
                Form::Buckets(Box::new(series))
            }
        };
        Self {
            series: SeriesCache::new(metric.name.clone(), labels),
            form,
            top: metric.top,
            living: Living::new(metric),
        }
    }

    /// To be called before each window.
    pub(in crate::pipeline) fn next_window(&mut self) {
        self.series.next_window();
        if let Form::Buckets(series) = &mut self.form {
            series.next_window();
        }
    }

    /// Appends the samples of groups: none where the value is NULL.
    pub(in crate::pipeline) fn emit(
        &mut self,
        part: &Part,
        mut values: Vec<f64>,
        window: Bounds,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) {
        if let Some(top) = self.top {
            keep_top(top, &mut values, &part.groups, interner);
        }
        for (slot, value) in values.into_iter().enumerate() {
            let before = samples.len();
            let key = part.groups.key(slot);
            let timestamp_ms = part.timestamp(slot, window);
            let aggregate = part.groups.aggregates().first();
            match &mut self.form {
                Form::Number if value.is_nan() => {}
                Form::Number => samples.push(Sample {
                    series: self.series.get(key, interner),
                    timestamp_ms,
                    value: value.into(),
                }),
                Form::Histogram => {
                    let histogram = aggregate.and_then(|all| all.native_histogram(slot));
                    samples.extend(histogram.map(|histogram| Sample {
                        series: self.series.get(key, interner),
                        timestamp_ms,
                        value: histogram.into(),
                    }));
                }
                Form::Buckets(series) => {
                    if let Some(histogram) = aggregate.and_then(|all| all.classic_histogram(slot)) {
                        series.push(timestamp_ms, key, &histogram, interner, samples);
                    }
                }
            }
            if let Some(living) = self.living.as_mut().filter(|_| samples.len() > before) {
                living.saw(key, timestamp_ms);
            }
        }
    }

    /// Appends what says that the series of a group have ended.
    pub(in crate::pipeline) fn end(
        &mut self,
        key: &[Symbol],
        timestamp_ms: TimestampMs,
        interner: &mut Interner,
        samples: &mut Vec<Sample>,
    ) {
        let value = match &mut self.form {
            Form::Number => SampleValue::staleness_marker(),
            Form::Histogram => SampleValue::histogram_staleness_marker(),
            Form::Buckets(series) => return series.end(timestamp_ms, key, interner, samples),
        };
        samples.push(Sample {
            series: self.series.get(key, interner),
            timestamp_ms,
            value,
        });
    }
}

impl HoldsSymbols for Emitter {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.series.mark_live(live);
        self.living.mark_live(live);
        if let Form::Buckets(series) = &self.form {
            series.mark_live(live);
        }
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        self.series.renumber(numbers);
        self.living.renumber(numbers);
        if let Form::Buckets(series) = &mut self.form {
            series.renumber(numbers);
        }
    }
}
