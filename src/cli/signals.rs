//! SIGTERM and Ctrl-C: the first stops cleanly, the second at once.

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::source::StopSignal;

/// Exit code of a program that was interrupted twice.
const INTERRUPTED: i32 = 130;

/// From now on the first signal sets all stop signals, and the second ends the process.
///
/// # Errors
/// The system takes no handlers.
pub(super) fn stop_on_signal(runtime: &Handle, stops: Vec<StopSignal>) -> std::io::Result<()> {
    let _guard = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    runtime.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping; a second signal ends at once");
        stops.iter().for_each(StopSignal::stop);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}
