//! SIGTERM and Ctrl-C: the first stops cleanly, the second at once.

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::pipeline::PipelineHandle;

/// Exit code of a program that was interrupted twice.
const INTERRUPTED: i32 = 130;

/// From now on the first signal stops all pipelines, and the second ends the process.
///
/// # Errors
/// The system takes no handlers.
pub(super) fn stop_on_signal(
    runtime: &Handle,
    pipelines: Vec<PipelineHandle>,
) -> std::io::Result<()> {
    on_signal(runtime, move || {
        pipelines.iter().for_each(PipelineHandle::stop);
    })
}

/// From now on the first signal is to stop what is done, and the second ends the process.
///
/// # Errors
/// The system takes no handlers.
pub(super) fn on_signal(
    runtime: &Handle,
    stop: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    let _guard = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    runtime.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping; a second signal ends at once");
        stop();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}
