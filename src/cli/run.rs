//! `weir run`.

use std::fs::{self, File};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use super::FAILED;
use super::arguments::{Listen, RunArguments};
use super::progress::Progress;
use super::signals::stop_on_signal;
use super::validate::settings;
use crate::config::{self, Overrides, Pipeline};
use crate::control::{Health, Server};
use crate::model::Clock;
use crate::pipeline::{Finished, Options, Running, SourceOf};
use crate::source::{FileProgress, StopSignal};

/// Runs pipelines until their input ends or a signal comes.
pub(super) fn run(arguments: &RunArguments) -> Result<ExitCode> {
    let overrides = Overrides {
        set: settings(&arguments.set),
        input: arguments.input.clone(),
        output: arguments.output.clone(),
    };
    let several = arguments.files.len() > 1;
    let standard_input = arguments.input.iter().any(|input| input == "-");
    anyhow::ensure!(
        !(several && (standard_input || arguments.output.is_some())),
        "--output and --input - serve one pipeline file only, found {}",
        arguments.files.len()
    );
    let pipelines = arguments
        .files
        .iter()
        .map(|file| config::load(file, &overrides))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(output) = arguments.output.as_deref().filter(|output| *output != "-") {
        expect_other_than_input(output, &pipelines)?;
        // The writer appends; a run begins with an empty file.
        File::create(output).with_context(|| format!("cannot write to {output}"))?;
    }
    let listen = match arguments.listen {
        Some(listen) => listen.address(),
        None if arguments.input.is_empty() => Some(Listen::DEFAULT.parse()?),
        None => None,
    };
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let server = listen_at(&runtime, listen)?;
    let progress = FileProgress::default();
    let mut running = Vec::new();
    for pipeline in &pipelines {
        let options = options(pipeline, arguments.workers, &progress);
        let started = Running::start(pipeline, SourceOf::File, &options, runtime.handle().clone())
            .with_context(|| format!("pipeline {}", pipeline.name))?;
        running.push(started);
    }
    let health = serve(&runtime, server, &running);
    let stops = running.iter().map(Running::stop_signal).collect();
    stop_on_signal(runtime.handle(), stops).context("cannot handle signals")?;
    let shown = (!arguments.input.is_empty()).then(|| Progress::of_files(progress));
    watch(&running, shown);
    health.set_ready(false);
    let went_well = finish(running, arguments.drain.to_std());
    runtime.shutdown_background();
    Ok(if went_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// Finishes pipelines side by side, so that all of them together take no longer than `drain`;
/// whether all went well.
fn finish(running: Vec<Running>, drain: Duration) -> bool {
    thread::scope(|scope| {
        let finish = |pipeline: Running| {
            let name = pipeline.name().to_owned();
            conclude(&name, pipeline.finish(drain))
        };
        let threads: Vec<_> = running
            .into_iter()
            .map(|pipeline| scope.spawn(move || finish(pipeline)))
            .collect();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        results
            .into_iter()
            .all(|went_well| went_well.unwrap_or(false))
    })
}

/// Emptying the output must not empty an input.
fn expect_other_than_input(output: &str, pipelines: &[Pipeline]) -> Result<()> {
    let Ok(output_file) = fs::canonicalize(output) else {
        return Ok(());
    };
    let files = pipelines
        .iter()
        .filter_map(|pipeline| pipeline.source.file.as_ref());
    for input in files.flat_map(|file| file.path.all()) {
        let same = fs::canonicalize(input).is_ok_and(|input| input == output_file);
        anyhow::ensure!(!same, "--output {output} is the input {input} as well");
    }
    Ok(())
}

fn options(pipeline: &Pipeline, workers: Option<u32>, progress: &FileProgress) -> Options {
    // A file's events are judged against the start of the run, whatever its speed. A pipe may go on
    // for as long as a fleet sends.
    let is_file = |path: &str| fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let clock = match &pipeline.source.file {
        Some(file) if file.path.all().all(is_file) => Clock::frozen_now(),
        _ => Clock::System,
    };
    Options {
        workers: workers.map(|workers| workers as usize),
        clock,
        progress: progress.clone(),
    }
}

/// Takes the address, where one is given. To be called before anything is read: an address that is
/// taken must not cost events.
pub(super) fn listen_at(
    runtime: &Runtime,
    listen: Option<std::net::SocketAddr>,
) -> Result<Option<Server>> {
    let Some(address) = listen else {
        return Ok(None);
    };
    Ok(Some(runtime.block_on(Server::bind(address))?))
}

/// Serves the health of pipelines, where there is a server; they are ready from now on.
pub(super) fn serve(runtime: &Runtime, server: Option<Server>, running: &[Running]) -> Health {
    let health = Health::new(
        running
            .iter()
            .map(|pipeline| pipeline.registry().clone())
            .collect(),
    );
    health.set_ready(true);
    if let Some(server) = server {
        let address = server.address();
        tracing::info!("metrics at http://{address}/metrics");
        runtime.spawn(server.run(health.clone()));
    }
    health
}

/// Waits until every pipeline has ended or is to stop. One that fails stops itself.
pub(super) fn watch(running: &[Running], mut progress: Option<Progress>) {
    let stops: Vec<_> = running.iter().map(Running::stop_signal).collect();
    let goes_on =
        |(pipeline, stop): (&Running, &StopSignal)| !pipeline.is_finished() && !stop.is_stopped();
    while running.iter().zip(&stops).any(goes_on) {
        if let (Some(progress), [pipeline, ..]) = (&mut progress, running) {
            progress.update(&pipeline.status());
        }
        thread::sleep(Duration::from_millis(20));
    }
    if let Some(progress) = progress {
        progress.finish();
    }
}

/// Says what became of a pipeline; whether it went well.
pub(super) fn conclude(name: &str, finished: Finished) -> bool {
    let Finished {
        status,
        written,
        error,
    } = finished;
    tracing::info!(
        pipeline = name,
        events = status.events,
        samples = written.written,
        late = status.late,
        dropped_records = status.dropped,
        dropped_samples = written.dropped,
        unsent_samples = written.unsent,
        "finished"
    );
    if let Some(error) = &error {
        tracing::error!(pipeline = name, %error, "the pipeline has failed");
    }
    if let Some(error) = &written.error {
        tracing::error!(pipeline = name, %error, "the writer has failed");
    }
    if written.unsent > 0 {
        tracing::error!(
            pipeline = name,
            samples = written.unsent,
            "samples could not be written in time and are lost"
        );
    }
    error.is_none() && written.error.is_none() && written.unsent == 0
}
