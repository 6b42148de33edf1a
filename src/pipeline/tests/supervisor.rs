//! A pipeline that fails is started again, and not for ever.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::super::{Finished, Phase, PipelineError, PipelineHandle, Running, SourceOf, Supervisor};
use super::bench::{batch, events, metric, options, split, until};
use crate::config::{self, Overrides, Pipeline, RestartConfig};
use crate::model;
use crate::source::{Source, SourceError, SourceEvent, SourceOutput, StopSignal};
use crate::telemetry::Registry;

const DRAIN: Duration = Duration::from_secs(60);

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// It cannot start, as a lookup cannot be loaded.
    NoLookup,
    /// It cannot start, as the pipeline is wrong.
    Wrong,
    /// Its source fails before the first event.
    FailsAtOnce,
    /// Its source fails after an event.
    Fails,
    /// Its source panics after an event.
    Panics,
    /// Its input ends after an event.
    Ends,
}

struct Scripted(Run, Registry);

impl Source for Scripted {
    fn run(
        self: Box<Self>,
        output: &mut dyn SourceOutput,
        _: &StopSignal,
    ) -> Result<(), SourceError> {
        if self.0 != Run::FailsAtOnce {
            output.send(SourceEvent::Assigned(split(0))).unwrap();
            let records = batch(0, 0, &events(&[0]));
            output.send(SourceEvent::Records(records)).unwrap();
            assert!(until(|| metric(&self.1, "weir_events_total") == 1.0));
        }
        match self.0 {
            Run::Ends => Ok(()),
            Run::Panics => panic!("on purpose"),
            _ => Err(SourceError {
                source_name: "file x".to_owned(),
                message: "broken".to_owned(),
            }),
        }
    }
}

fn pipeline() -> Pipeline {
    let text = "pipeline: test
source: { file: { path: none } }
event: { time: { from: t }, fields: { region: text } }
metrics:
  m: { window: { tumbling: 1s }, by: [region], value: count(*) }
write: { file: { path: /dev/null } }
";
    let overrides = Overrides::default();
    config::load_text("test.yaml", text, PathBuf::new(), &overrides, &|_| None)
        .unwrap_or_else(|problems| panic!("{problems:#}"))
}

/// A pipeline under supervision whose runs go as the script says; the last one again and again.
struct Bench {
    supervisor: Supervisor,
    runs: Arc<AtomicUsize>,
    _runtime: Runtime,
}

fn supervise(script: &'static [Run], restart: Option<RestartConfig>) -> Bench {
    let runtime = Runtime::new().unwrap();
    let (pipeline, runs) = (pipeline(), Arc::new(AtomicUsize::new(0)));
    let (number, handle) = (runs.clone(), runtime.handle().clone());
    let start = move || {
        let run = number.fetch_add(1, Ordering::AcqRel).min(script.len() - 1);
        match script[run] {
            Run::NoLookup => Err(PipelineError::Lookup {
                lookup: "vehicles".to_owned(),
                reason: "no file".to_owned(),
            }),
            Run::Wrong => Err(PipelineError::Invalid("no".to_owned())),
            run => {
                let source = move |registry: &Registry| -> Box<dyn Source> {
                    Box::new(Scripted(run, registry.clone()))
                };
                let source = SourceOf::Made(Box::new(source));
                Running::start(&pipeline, source, &options(), handle.clone())
            }
        }
    };
    Bench {
        supervisor: Supervisor::start("test", restart, DRAIN, start).unwrap(),
        runs,
        _runtime: runtime,
    }
}

fn restart(max_failures: u32, initial_delay: model::Duration) -> Option<RestartConfig> {
    Some(RestartConfig {
        initial_delay,
        max_delay: initial_delay,
        max_failures,
        within: model::Duration::from_secs(3_600),
    })
}

fn soon(max_failures: u32) -> Option<RestartConfig> {
    restart(max_failures, model::Duration::from_millis(1))
}

impl Bench {
    /// Waits for the end: how it ended, the number of runs, and the handle.
    fn finish(self) -> (Finished, usize, PipelineHandle) {
        let handle = self.supervisor.handle().clone();
        let finished = self.supervisor.finish();
        (finished, self.runs.load(Ordering::Acquire), handle)
    }
}

/// The lines of a metric that are not 0.
fn lines(handle: &PipelineHandle, name: &str) -> Vec<String> {
    let text = Registry::text(&handle.registries());
    let lines = text.lines().filter(|line| line.starts_with(name));
    let other = lines.filter(|line| !line.ends_with(" 0"));
    other.map(str::to_owned).collect()
}

#[test]
fn failures_are_followed_by_restarts_until_a_run_goes_well() {
    let script = &[
        Run::Fails,
        Run::Panics,
        Run::NoLookup,
        Run::Fails,
        Run::Ends,
    ];
    let (finished, runs, handle) = supervise(script, soon(10)).finish();
    assert!(finished.error.is_none(), "{finished:?}");
    assert_eq!(finished.written.written, 1);
    assert_eq!((runs, handle.phase()), (5, Phase::Ended));
    assert_eq!(
        lines(&handle, "weir_restarts_total"),
        [
            "weir_restarts_total{cause=\"lookup\",pipeline=\"test\"} 1",
            "weir_restarts_total{cause=\"panic\",pipeline=\"test\"} 1",
            "weir_restarts_total{cause=\"source\",pipeline=\"test\"} 2"
        ]
    );
    assert_eq!(
        lines(&handle, "weir_last_failure{"),
        ["weir_last_failure{cause=\"source\",pipeline=\"test\"} 1"]
    );
    assert_eq!(lines(&handle, "weir_pipeline_state"), Vec::<String>::new());
    // Of the last run alone.
    assert_eq!(metric(&handle.registries()[1], "weir_events_total"), 1.0);
}

#[test]
fn too_many_failures_are_the_end() {
    let (finished, runs, handle) = supervise(&[Run::Fails], soon(2)).finish();
    assert_eq!(finished.error.unwrap().to_string(), "source file x: broken");
    assert_eq!((runs, handle.phase()), (3, Phase::Failed));
    assert_eq!(
        lines(&handle, "weir_pipeline_state"),
        ["weir_pipeline_state{state=\"failed\",pipeline=\"test\"} 1"]
    );
    assert_eq!(handle.last_failure().unwrap(), "source file x: broken");
}

#[test]
fn what_waiting_cannot_mend_is_the_end() {
    for (script, runs) in [
        (&[Run::FailsAtOnce][..], 1),
        (&[Run::Fails, Run::Wrong], 2),
        // It has been heard of by then.
        (&[Run::Fails, Run::FailsAtOnce, Run::Ends], 3),
    ] {
        let (finished, found, _) = supervise(script, soon(10)).finish();
        assert_eq!(found, runs, "{script:?}");
        assert_eq!(finished.error.is_none(), script.ends_with(&[Run::Ends]));
    }
    let (_, runs, _) = supervise(&[Run::Fails], None).finish();
    assert_eq!(runs, 1);
}

#[test]
fn a_stop_ends_the_wait_for_a_restart() {
    let hour = model::Duration::from_secs(3_600);
    let bench = supervise(&[Run::Fails], restart(10, hour));
    let handle = bench.supervisor.handle().clone();
    assert!(until(|| lines(&handle, "weir_pipeline_state")
        == [
            "weir_pipeline_state{state=\"restarting\",pipeline=\"test\"} 1"
        ]));
    handle.stop();
    let (finished, runs, handle) = bench.finish();
    assert_eq!(finished.error.unwrap().to_string(), "source file x: broken");
    assert_eq!((runs, handle.phase()), (1, Phase::Failed));
    assert_eq!(lines(&handle, "weir_restarts_total"), Vec::<String>::new());
}
