//! Limits that the system puts on this process, and that must not end it.

/// A file that may grow no more (`ulimit -f`) is an error of its write, as a full disk is, and not the end of the host. What the host
/// starts keeps the system's own way: a handler does not survive the start of another program, unlike a signal that is ignored.
#[cfg(unix)]
pub(super) fn survive_file_size_limit() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    let _inside = runtime.enter();
    // The handler stays for the life of the process. Without it the limit ends the host, and recovery does the rest.
    drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())));
}

#[cfg(not(unix))]
pub(super) fn survive_file_size_limit() {}
