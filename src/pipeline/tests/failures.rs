//! What fails ends the run and is told; nothing waits for what will not come.

use std::sync::Arc;
use std::time::Duration;

use super::super::PipelineError;
use super::bench::{Bench, Setup, event, events, split, until};
use crate::source::{Source, SourceError, SourceEvent, SourceOutput, StopSignal};
use crate::write::WriteError;

/// A receiver that nobody runs: the port of the discard service.
const NO_RECEIVER: &str = "remote_write: {
  url: 'http://127.0.0.1:9/api/v1/write', max_shards: 1, queue_bytes: 4096, batch: { samples: 5 } }";

/// Whether the pipeline ends, or asks to be ended, by itself.
fn gives_up(bench: &Bench) -> bool {
    let stop = bench.running.stop_signal();
    until(|| bench.running.is_finished() || stop.is_stopped())
}

#[test]
fn a_writer_that_fails_ends_the_run() {
    for workers in [1, 3] {
        let write = Some("file: { path: /dev/full }".to_owned());
        let bench = Setup {
            workers,
            write,
            ..Setup::default()
        }
        .start();
        bench.assign(&[0, 1]);
        // All samples belong to one owner: the others never hear from the writer.
        let stop = bench.running.stop_signal();
        let mut second = 0;
        let gives_up = until(|| {
            bench.records(0, second, &events(&[second as i64 * 1_000]));
            bench.records(1, second, &events(&[second as i64 * 1_000]));
            second += 1;
            stop.is_stopped()
        });
        assert!(gives_up, "{workers} workers");
        let clock = Arc::downgrade(&bench.clock);
        let (finished, _) = bench.end();
        let all_gone = until(|| clock.strong_count() == 0);
        assert!(
            all_gone,
            "{workers} workers: one waits for another for ever"
        );
        assert!(
            matches!(finished.written.error, Some(WriteError::Write { .. })),
            "{workers} workers: {finished:?}"
        );
        assert!(finished.written.unsent > 0);
    }
}

#[test]
fn a_blocked_writer_does_not_keep_a_stop_waiting_beyond_its_deadline() {
    for replayable in [true, false] {
        let write = Some(NO_RECEIVER.to_owned());
        let bench = Setup {
            write,
            replayable,
            ..Setup::default()
        }
        .start();
        bench.assign(&[0]);
        for batch in 0..200 {
            let region = format!("region-{batch}-{}", "x".repeat(200));
            let event = event(batch * 1_000, "V1", &region, 1.0);
            bench.records(0, batch as u64, &[event]);
        }
        // The inbox is full: the worker waits for the writer, and the source for the worker.
        let inbox = || bench.running.registry().clone();
        assert!(until(|| {
            let text = crate::telemetry::Registry::text([&inbox()]);
            let line = text
                .lines()
                .find(|line| line.starts_with("weir_inbox_bytes{"))
                .unwrap();
            line.rsplit(' ').next().unwrap().parse::<u64>().unwrap() > 4 * 200
        }));
        let (finished, _) = bench.stop(Duration::from_millis(200));
        assert!(finished.written.unsent > 0, "{finished:?}");
        match replayable {
            true => assert!(finished.error.is_none(), "{finished:?}"),
            false => assert!(matches!(finished.error, Some(PipelineError::GivenUp))),
        }
    }
}

/// A source that ends as a test wants.
struct Ends(fn(&mut dyn SourceOutput) -> Result<(), SourceError>);

impl Source for Ends {
    fn run(
        self: Box<Self>,
        output: &mut dyn SourceOutput,
        _: &StopSignal,
    ) -> Result<(), SourceError> {
        (self.0)(output)
    }
}

fn broken() -> Result<(), SourceError> {
    Err(SourceError {
        source_name: "file x".to_owned(),
        message: "broken".to_owned(),
    })
}

#[test]
fn a_source_that_fails_ends_the_run() {
    let bench = Setup {
        workers: 2,
        ..Setup::default()
    }
    .start_with(Box::new(Ends(|_| broken())));
    assert!(gives_up(&bench));
    let (finished, samples) = bench.end();
    assert_eq!(finished.error.unwrap().to_string(), "source file x: broken");
    assert_eq!(samples, Vec::<String>::new());
}

/// A source that stays after its end, to commit offsets, may fail then.
#[test]
fn a_source_that_fails_after_its_end_is_told_and_not_waited_for() {
    let fails: fn(&mut dyn SourceOutput) -> _ = |output| {
        output.end();
        // Nobody takes anything once the worker has ended.
        while output.send(SourceEvent::Assigned(split(0))).is_ok() {}
        broken()
    };
    let setup = Setup {
        write: Some(NO_RECEIVER.to_owned()),
        ..Setup::default()
    };
    let bench = setup.start_with(Box::new(Ends(fails)));
    let (finished, _) = bench.end();
    assert_eq!(finished.error.unwrap().to_string(), "source file x: broken");
}

#[test]
fn a_source_that_panics_ends_the_run() {
    let panics: fn(&mut dyn SourceOutput) -> _ = |_| panic!("on purpose");
    let bench = Setup {
        workers: 2,
        ..Setup::default()
    }
    .start_with(Box::new(Ends(panics)));
    assert!(gives_up(&bench));
    let (finished, _) = bench.end();
    assert!(matches!(finished.error, Some(PipelineError::Panicked(what)) if what == "source"));
}
