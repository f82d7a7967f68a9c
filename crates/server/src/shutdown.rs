//! Signals: the first one drains, the second one ends the process now.

use std::process;

use tokio::sync::watch;

use crate::fault::{Exit, Fault};

/// Turns true with the first SIGTERM or SIGINT. A second one ends the process at once.
pub(crate) fn listen() -> anyhow::Result<watch::Receiver<bool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = terminate.recv() => {}
                Some(()) = interrupt.recv() => {}
                else => return,
            }
            if sender.send_replace(true) {
                process::exit(Exit::Forced.code().into());
            }
            log::info!("stopping; a second signal ends the process at once");
        }
    });
    Ok(receiver)
}

/// Returns when `signal` has turned true.
pub(crate) async fn requested(mut signal: watch::Receiver<bool>) {
    // A sender that is gone will never send.
    if signal.wait_for(|requested| *requested).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Does `work`, unless Ctrl-C comes first: then `left` says, in one sentence without a full stop, how things were left.
pub(crate) async fn unless_interrupted<T>(
    left: &str,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        outcome = work => outcome,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Err(Fault::new(Exit::Interrupted, format!("Interrupted: {left}"), "").into())
        }
    }
}
