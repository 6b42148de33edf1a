//! `weir run`.

use std::fs::{self, File};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::{Handle, Runtime};

use super::FAILED;
use super::arguments::{Listen, RunArguments};
use super::progress::Progress;
use super::signals::stop_on_signal;
use super::validate::settings;
use crate::config::{self, Overrides, Pipeline};
use crate::control::{Health, Server};
use crate::model::Clock;
use crate::pipeline::{
    Finished, HasCheckpoint, Options, PipelineError, PipelineHandle, Restore, Running, SourceOf,
    Supervisor,
};
use crate::source::FileProgress;

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
    for pipeline in &pipelines {
        expect_state(arguments, pipeline)?;
        for note in pipeline.notes() {
            tracing::warn!(pipeline = pipeline.name, "{note}");
        }
    }
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
    let drain = arguments.drain.to_std();
    let mut running = Vec::new();
    for pipeline in pipelines {
        let options = options(&pipeline, arguments, &progress);
        let name = pipeline.name.clone();
        running.push(
            supervise(pipeline, options, drain, runtime.handle().clone())
                .with_context(|| format!("pipeline {name}"))?,
        );
    }
    let health = serve(&runtime, server, &running);
    stop_on_signal(runtime.handle(), handles(&running)).context("cannot handle signals")?;
    let shown = (!arguments.input.is_empty()).then(|| Progress::of_files(progress));
    watch(&running, shown);
    health.set_ready(false);
    // They drain side by side, on their own threads; all are waited for.
    let ended: Vec<_> = running.into_iter().map(conclude).collect();
    runtime.shutdown_background();
    Ok(if ended.into_iter().all(|(_, went_well)| went_well) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// Options that are about state make sense only where some is kept.
fn expect_state(arguments: &RunArguments, pipeline: &Pipeline) -> Result<()> {
    let option = match &arguments.restore {
        Restore::Latest if arguments.allow_dropped_state => "--allow-dropped-state",
        Restore::Latest => return Ok(()),
        Restore::Fresh | Restore::StillFresh | Restore::Savepoint(_) => "--restore",
    };
    let Some(state) = &pipeline.state else {
        anyhow::bail!(
            "pipeline {} keeps no state, so {option} has no meaning; set state.dir, or remove it",
            pipeline.name
        );
    };
    if arguments.restore == Restore::Fresh {
        tracing::warn!(
            pipeline = pipeline.name,
            state = %state.location(),
            "starting without state; checkpoints are kept until new ones take their place, \
             savepoints until they are deleted"
        );
    }
    Ok(())
}

/// Starts a pipeline that is started again when it fails.
fn supervise(
    pipeline: Pipeline,
    mut options: Options,
    drain: Duration,
    runtime: Handle,
) -> Result<Supervisor, PipelineError> {
    let (name, restart) = (pipeline.name.clone(), pipeline.restart);
    let mut before: Option<HasCheckpoint> = None;
    Supervisor::start(&name, restart, drain, move || {
        if let Some(has_checkpoint) = &before {
            options.restore = options.restore.clone().after_failure(has_checkpoint.get());
        }
        let running = Running::start(&pipeline, SourceOf::File, &options, runtime.clone())?;
        before = Some(running.has_checkpoint());
        Ok(running)
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

fn options(pipeline: &Pipeline, arguments: &RunArguments, progress: &FileProgress) -> Options {
    // A file's events are judged against the start of the run, whatever its speed. A pipe may go on
    // for as long as a fleet sends.
    let is_file = |path: &str| fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let clock = match &pipeline.source.file {
        Some(file) if file.path.all().all(is_file) => Clock::frozen_now(),
        _ => Clock::System,
    };
    Options {
        workers: arguments.workers.map(|workers| workers as usize),
        clock,
        progress: progress.clone(),
        restore: arguments.restore.clone(),
        allow_dropped_state: arguments.allow_dropped_state,
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
pub(super) fn serve(runtime: &Runtime, server: Option<Server>, running: &[Supervisor]) -> Health {
    let health = Health::new(handles(running));
    health.set_ready(true);
    if let Some(server) = server {
        let address = server.address();
        tracing::info!("metrics at http://{address}/metrics");
        runtime.spawn(server.run(health.clone()));
    }
    health
}

/// What signals and the server know of pipelines.
pub(super) fn handles(running: &[Supervisor]) -> Vec<PipelineHandle> {
    running
        .iter()
        .map(|pipeline| pipeline.handle().clone())
        .collect()
}

/// Waits until every pipeline has ended for good or is to stop.
pub(super) fn watch(running: &[Supervisor], mut progress: Option<Progress>) {
    let goes_on =
        |pipeline: &Supervisor| !pipeline.is_finished() && !pipeline.handle().is_stopped();
    while running.iter().any(goes_on) {
        if let (Some(progress), [pipeline, ..]) = (&mut progress, running) {
            progress.update(&pipeline.handle().status());
        }
        thread::sleep(Duration::from_millis(20));
    }
    if let Some(progress) = progress {
        progress.finish();
    }
}

/// Waits for a pipeline's end and says what became of it: that, and whether it went well.
pub(super) fn conclude(running: Supervisor) -> (Finished, bool) {
    let name = running.handle().name().to_owned();
    let finished = running.finish();
    let Finished {
        status,
        written,
        error,
    } = &finished;
    let name = name.as_str();
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
    if let Some(error) = error {
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
    let went_well = error.is_none() && written.error.is_none() && written.unsent == 0;
    (finished, went_well)
}
