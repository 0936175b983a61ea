//! Signals of the terminal, as inputs.

use std::sync::mpsc;

/// What the terminal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Ctrl-C, or a polite request to end.
    Interrupt,
    /// The terminal is gone.
    Hangup,
}

/// Tells of signals of this process, as long as `tell` says that somebody listens. None that comes after this call is missed.
pub(super) fn listen(tell: impl Fn(Signal) -> bool + Send + 'static) {
    let (ready, is_ready) = mpsc::sync_channel(1);
    // Without a thread or a runtime signals end the program as they do by default: the run is then found interrupted.
    let spawned = std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() {
            runtime.block_on(forward(&tell, ready));
        }
    });
    if spawned.is_ok() {
        // Also where it could not: then the other end was dropped.
        let _ = is_ready.recv();
    }
}

#[cfg(unix)]
async fn forward(tell: &impl Fn(Signal) -> bool, ready: mpsc::SyncSender<()>) {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = kinds else { return };
    drop(ready);
    loop {
        let came = tokio::select! {
            _ = interrupt.recv() => Signal::Interrupt,
            _ = terminate.recv() => Signal::Interrupt,
            _ = hangup.recv() => Signal::Hangup,
        };
        if !tell(came) {
            return;
        }
    }
}

#[cfg(windows)]
async fn forward(tell: &impl Fn(Signal) -> bool, ready: mpsc::SyncSender<()>) {
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close};
    let kinds = (ctrl_c(), ctrl_break(), ctrl_close());
    let (Ok(mut interrupt), Ok(mut break_key), Ok(mut close)) = kinds else { return };
    drop(ready);
    loop {
        let came = tokio::select! {
            _ = interrupt.recv() => Signal::Interrupt,
            _ = break_key.recv() => Signal::Interrupt,
            _ = close.recv() => Signal::Hangup,
        };
        if !tell(came) {
            return;
        }
    }
}
