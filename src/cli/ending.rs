//! The end of a host in this process, with an ear for signals meanwhile: each of them makes it more urgent.

use std::sync::mpsc;
use std::time::Duration;

use super::exit::Exit;
use super::failure::Failure;
use super::output::Output;
use super::session::Hosting;
use super::signals::{self, Signal};
use crate::host::{Attempts, Handle, OnExit};

/// How long the journal's last records are waited for by a host that was told to end at once.
const NOW_LIMIT: Duration = Duration::from_secs(5);

/// What wakes whoever waits for the end.
enum Input {
    Signal(Signal),
    /// The host took a request; so many attempts run.
    Taken(OnExit, Attempts),
    /// It has ended.
    Ended(Result<(), Failure>),
}

/// Who ends, which decides what signals mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// `serve`, which does this at the first signal.
    Serve(OnExit),
    /// A verb whose own run is over: what runs is other people's.
    Run,
}

impl Who {
    /// What a signal means that comes after so many requests to end.
    fn next(self, requests: u32) -> Option<OnExit> {
        match (self, requests) {
            (Self::Serve(first), 0) => Some(first),
            (Self::Serve(OnExit::Stop), 1) => Some(OnExit::Kill),
            (Self::Serve(_), 1) => Some(OnExit::Stop),
            (Self::Run, 0) => Some(OnExit::Leave),
            // Somebody who wants to be sure that the own run ends presses once too often.
            (Self::Run, 1) => None,
            (Self::Serve(_) | Self::Run, _) => Some(OnExit::Now),
        }
    }

    /// What to say of a request that the host took; nothing where it ends anyway.
    fn note(self, on_exit: OnExit, Attempts { direct, wrapped }: Attempts) -> Option<String> {
        let all = attempts(direct + wrapped);
        let go_on = match wrapped {
            0 => None,
            1 => Some("1 attempt goes on, and the next host adopts it".to_owned()),
            count => Some(format!("{count} attempts go on, and the next host adopts them")),
        };
        let waiting = |kind: &str| format!("waiting for {kind}; once more stops all of them");
        let lost = (direct > 0).then(|| waiting(&format!("{}, which would be lost", attempts(direct).replace(' ', " direct "))));
        let said = match (self, on_exit) {
            (Self::Run, OnExit::Leave) => {
                format!("waiting for {} of other runs, which cannot be handed over", attempts(direct).replace(' ', " direct "))
            }
            (Self::Serve(_), OnExit::Leave) => {
                format!("leaving: {}", [go_on, lost].into_iter().flatten().collect::<Vec<_>>().join("; "))
            }
            (Self::Serve(_) | Self::Run, OnExit::Drain) => format!("draining: {}", waiting(&all)),
            (Self::Serve(_) | Self::Run, OnExit::Stop) => format!("stopping {all}, after the grace by force; once more is more urgent"),
            (Self::Serve(_) | Self::Run, OnExit::Kill) => format!("killing {all}; once more ends the host at once"),
            (Self::Serve(_) | Self::Run, OnExit::Now) => "ending at once".to_owned(),
        };
        (direct + wrapped > 0 && !(direct == 0 && self == Self::Run)).then_some(said)
    }
}

fn attempts(count: usize) -> String {
    if count == 1 { "1 attempt".to_owned() } else { format!("{count} attempts") }
}

/// Ends a host and waits for that. `hand_over`: if runs are left, a successor in the background goes on with them.
///
/// # Errors
/// When a successor could not be started.
pub(super) fn end(hosting: Hosting, who: Who, hand_over: bool, output: &Output) -> Result<Exit, Failure> {
    let handle = hosting.host().handle().clone();
    let first = who.next(0).unwrap_or(OnExit::Leave);
    // A host that is gone already has left.
    let attempts = handle.leave(first, hand_over).unwrap_or_default();
    if attempts == Attempts::default() {
        return hosting.finish(hand_over).map(|()| Exit::Ok);
    }
    let (inputs, receiver) = mpsc::channel();
    let signalled = inputs.clone();
    signals::listen(move |signal| signalled.send(Input::Signal(signal)).is_ok());
    let ended = inputs.clone();
    let finish = move || drop(ended.send(Input::Ended(hosting.finish(hand_over))));
    std::thread::Builder::new().name("leaving".into()).spawn(finish).map_err(|error| Failure::ours(format!("no thread: {error}")))?;
    say(who, first, attempts, output);
    wait(&Waiting { handle, who, hand_over, inputs }, &receiver, output)
}

struct Waiting {
    handle: Handle,
    who: Who,
    hand_over: bool,
    inputs: mpsc::Sender<Input>,
}

fn wait(waiting: &Waiting, receiver: &mpsc::Receiver<Input>, output: &Output) -> Result<Exit, Failure> {
    let mut requests = 1;
    let mut now = false;
    loop {
        let limit = if now { NOW_LIMIT } else { Duration::MAX };
        match receiver.recv_timeout(limit) {
            Ok(Input::Ended(result)) => return result.map(|()| if now { Exit::Interrupted } else { Exit::Ok }),
            Ok(Input::Taken(on_exit, attempts)) => say(waiting.who, on_exit, attempts, output),
            Ok(Input::Signal(Signal::Hangup)) => {}
            Ok(Input::Signal(Signal::Interrupt)) if now => return Ok(Exit::Interrupted),
            Ok(Input::Signal(Signal::Interrupt)) => {
                let next = waiting.who.next(requests);
                requests += 1;
                now = next == Some(OnExit::Now);
                match next {
                    Some(next) => ask(waiting, next)?,
                    None => output.note("other runs still have direct attempts here; once more ends this host at once, and they are lost"),
                }
            }
            // The sender in `waiting` lives as long as this loop: the time is over, and whatever holds the host up is not waited for.
            Err(mpsc::RecvTimeoutError::Timeout | mpsc::RecvTimeoutError::Disconnected) => return Ok(Exit::Interrupted),
        }
    }
}

/// Asks on a thread of its own: the next signal is heard even if the host does not answer.
fn ask(waiting: &Waiting, on_exit: OnExit) -> Result<(), Failure> {
    let (handle, inputs, hand_over) = (waiting.handle.clone(), waiting.inputs.clone(), waiting.hand_over);
    let asking = move || {
        if let Ok(attempts) = handle.leave(on_exit, hand_over) {
            // Whoever waited may have gone.
            let _ = inputs.send(Input::Taken(on_exit, attempts));
        }
    };
    std::thread::Builder::new().spawn(asking).map(drop).map_err(|error| Failure::ours(format!("no thread: {error}")))
}

fn say(who: Who, on_exit: OnExit, attempts: Attempts, output: &Output) {
    if let Some(note) = who.note(on_exit, attempts) {
        output.note(&note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f37_once_twice_thrice() {
        let steps = |who: Who| (0..4).map(|requests| who.next(requests)).collect::<Vec<_>>();
        let [leave, stop, kill, now] = [OnExit::Leave, OnExit::Stop, OnExit::Kill, OnExit::Now].map(Some);
        assert_eq!(steps(Who::Serve(OnExit::Leave)), [leave, stop, now, now]);
        assert_eq!(steps(Who::Serve(OnExit::Drain)), [Some(OnExit::Drain), stop, now, now]);
        assert_eq!(steps(Who::Serve(OnExit::Stop)), [stop, kill, now, now]);
        assert_eq!(steps(Who::Run), [leave, None, now, now]);
    }

    #[test]
    fn what_is_said_counts_what_runs() {
        let said = |who: Who, on_exit, direct, wrapped| who.note(on_exit, Attempts { direct, wrapped }).unwrap_or_default();
        let serve = Who::Serve(OnExit::Leave);
        insta::assert_snapshot!(
            [
                said(serve, OnExit::Leave, 0, 3),
                said(serve, OnExit::Leave, 1, 1),
                said(serve, OnExit::Drain, 2, 1),
                said(serve, OnExit::Stop, 0, 1),
                said(serve, OnExit::Kill, 1, 1),
                said(Who::Run, OnExit::Leave, 2, 5),
            ]
            .join("\n"),
            @r"
        leaving: 3 attempts go on, and the next host adopts them
        leaving: 1 attempt goes on, and the next host adopts it; waiting for 1 direct attempt, which would be lost; once more stops all of them
        draining: waiting for 3 attempts; once more stops all of them
        stopping 1 attempt, after the grace by force; once more is more urgent
        killing 2 attempts; once more ends the host at once
        waiting for 2 direct attempts of other runs, which cannot be handed over
        "
        );
        assert_eq!(said(Who::Run, OnExit::Leave, 0, 5), "", "it hands them over");
        assert_eq!(said(serve, OnExit::Leave, 0, 0), "");
    }
}
