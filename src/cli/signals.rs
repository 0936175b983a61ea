//! Signals of the terminal, as inputs.

/// What the terminal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Ctrl-C, or a polite request to end.
    Interrupt,
    /// The terminal is gone.
    Hangup,
}

/// Tells of signals of this process from now on, as long as `tell` says that somebody listens.
pub(super) fn listen(tell: impl Fn(Signal) -> bool + Send + 'static) {
    // Without a thread or a runtime signals end the program as they do by default: the run is then found interrupted.
    let _ = std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() {
            runtime.block_on(forward(&tell));
        }
    });
}

#[cfg(unix)]
async fn forward(tell: &impl Fn(Signal) -> bool) {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = kinds else { return };
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
async fn forward(tell: &impl Fn(Signal) -> bool) {
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close};
    let kinds = (ctrl_c(), ctrl_break(), ctrl_close());
    let (Ok(mut interrupt), Ok(mut break_key), Ok(mut close)) = kinds else { return };
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
