//! Signals of the terminal, as inputs.

use std::sync::mpsc;

use super::follow::Input;

/// What the terminal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Ctrl-C, or a polite request to end.
    Interrupt,
    /// The terminal is gone.
    Hangup,
}

/// Sends signals of this process to `inputs` from now on, as long as somebody receives them.
pub(super) fn listen(inputs: mpsc::Sender<Input>) {
    // Without a thread or a runtime signals end the program as they do by default: the run is then found interrupted.
    let _ = std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() {
            runtime.block_on(forward(&inputs));
        }
    });
}

#[cfg(unix)]
async fn forward(inputs: &mpsc::Sender<Input>) {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = kinds else { return };
    loop {
        let came = tokio::select! {
            _ = interrupt.recv() => Signal::Interrupt,
            _ = terminate.recv() => Signal::Interrupt,
            _ = hangup.recv() => Signal::Hangup,
        };
        if inputs.send(Input::Signal(came)).is_err() {
            return;
        }
    }
}

#[cfg(windows)]
async fn forward(inputs: &mpsc::Sender<Input>) {
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close};
    let kinds = (ctrl_c(), ctrl_break(), ctrl_close());
    let (Ok(mut interrupt), Ok(mut break_key), Ok(mut close)) = kinds else { return };
    loop {
        let came = tokio::select! {
            _ = interrupt.recv() => Signal::Interrupt,
            _ = break_key.recv() => Signal::Interrupt,
            _ = close.recv() => Signal::Hangup,
        };
        if inputs.send(Input::Signal(came)).is_err() {
            return;
        }
    }
}
