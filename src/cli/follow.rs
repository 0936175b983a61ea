//! Following a run to its end, wherever its host is: Ctrl-C, a host that leaves, a host that dies.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::progress::Progress;
use super::session::{Session, reach};
use super::signals::{self, Signal};
use crate::event::RunStatus;
use crate::host::HostMode;
use crate::host::index::RunRow;
use crate::host::offline::Snapshot;
use crate::host::update::Update;
use crate::host::views::printable;
use crate::host::why::WhyView;
use crate::host::workspace::Workspace;
use crate::ids::RunId;

/// How long a new host is waited for after the old one said that it leaves, or died.
pub(super) const REATTACH_LIMIT: Duration = Duration::from_secs(20);
/// Pause between two tries.
const REATTACH_PAUSE: Duration = Duration::from_millis(20);

/// After so long without news it is said what a run waits for, if it waits.
const SILENCE: Duration = Duration::from_secs(2);

/// What wakes somebody who follows.
#[derive(Debug)]
pub(super) enum Input {
    /// News of the run.
    Update(Update),
    /// Why nothing of it runs.
    Why(WhyView),
    /// The connection to the host broke.
    Lost,
    /// A signal came.
    Signal(Signal),
}

/// What Ctrl-C does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnInterrupt {
    /// The first cancels the run, the second kills it.
    Cancel,
    /// Only this program ends; the run goes on.
    Detach,
}

/// How the following ended.
#[derive(Debug)]
pub(super) struct Followed {
    /// The run at its end.
    pub(super) row: Box<RunRow>,
    /// Our own Ctrl-C ended it.
    pub(super) interrupted: bool,
}

impl Followed {
    pub(super) fn exit(&self) -> Exit {
        match self.row.status {
            RunStatus::Cancelled if self.interrupted => Exit::Interrupted,
            RunStatus::Cancelled | RunStatus::Completed | RunStatus::Failed | RunStatus::Queued | RunStatus::Running => {
                Exit::of_status(self.row.status)
            }
        }
    }
}

/// How the wait for the run's end came to an end.
#[derive(Debug)]
pub(super) enum Ending {
    /// The run ended.
    Run(Followed),
    /// We were told to let go of it: it goes on.
    Detached,
}

/// Follows a run to its end. The session may be another one afterwards, when its host left meanwhile.
pub(super) fn follow(
    session: &mut Session,
    run: &RunId,
    workspace: &Workspace,
    context: &Context,
    progress: &mut Progress<'_>,
    on_interrupt: OnInterrupt,
) -> Result<Ending, Failure> {
    let (inputs, receiver) = mpsc::channel();
    let signalled = inputs.clone();
    signals::listen(move |signal| signalled.send(Input::Signal(signal)).is_ok());
    if let Err(failure) = session.follow(run, inputs.clone(), &context.output) {
        // A host whose last run ends is gone in the next moment.
        if let Some(row) = ended_meanwhile(workspace, run).filter(|_| failure.exit == Exit::HostUnreachable) {
            return Ok(end(row, false, progress));
        }
        if !failure.leaving && !session.has_left(workspace) {
            return Err(failure);
        }
        *session = reattach(run, workspace, context, &inputs)?;
    }
    let mut interrupts = 0_u32;
    let mut moved = false;
    let mut died = false;
    let mut silent = false;
    loop {
        let Some(input) = next(&receiver, &mut silent, || session.ask_why(run, inputs.clone())) else { return Ok(Ending::Detached) };
        match input {
            Input::Update(Update::Ended(row)) => {
                return Ok(end(row, interrupts > 0, progress));
            }
            Input::Update(Update::Leaving) => {
                *session = reattach(run, workspace, context, &inputs)?;
                moved = true;
                // The old host may have left before it took the request.
                if interrupts > 0 {
                    session.cancel(run, interrupts > 1, &context.output)?;
                }
            }
            Input::Update(Update::Failed { reason }) => return Err(failed(run, &reason)),
            // The old host was told to leave nothing running.
            Input::Update(Update::Run(row)) if moved && row.held && interrupts == 0 && on_interrupt == OnInterrupt::Cancel => {
                return Err(if died { lost(run) } else { left(run) });
            }
            Input::Update(update) => progress.update(&update),
            Input::Why(view) => say_why(&view, run, context),
            Input::Lost => {
                if let Some(row) = ended_meanwhile(workspace, run) {
                    return Ok(end(row, interrupts > 0, progress));
                }
                match next_host(run, workspace, context, (&inputs, &receiver))? {
                    Some(next) => *session = next,
                    None => return Ok(Ending::Detached),
                }
                (moved, died) = (true, true);
                if interrupts > 0 {
                    session.cancel(run, interrupts > 1, &context.output)?;
                }
            }
            Input::Signal(Signal::Hangup) => return Ok(Ending::Detached),
            Input::Signal(Signal::Interrupt) if on_interrupt == OnInterrupt::Detach => return Ok(Ending::Detached),
            Input::Signal(Signal::Interrupt) => {
                interrupts += 1;
                context.output.note(if interrupts == 1 { "cancelling; once more to kill at once" } else { "killing" });
                match session.cancel(run, interrupts > 1, &context.output) {
                    Err(failure) if failure.unwritable => {
                        if interrupts > 1 {
                            return Ok(Ending::Detached);
                        }
                        context.output.note(&format!("it cannot be cancelled now: {}; once more to let go of it", failure.message));
                    }
                    // Its host is just going: what it said last is on its way.
                    Err(failure) if failure.exit == Exit::HostUnreachable => {}
                    answered => answered?,
                }
            }
        }
    }
}

/// The next input. After a while of silence it is asked why, once until there are news. None only where nobody can send any more, which does
/// not happen while a sender is kept.
fn next(receiver: &mpsc::Receiver<Input>, silent: &mut bool, ask_why: impl FnOnce()) -> Option<Input> {
    if !*silent {
        match receiver.recv_timeout(SILENCE) {
            Ok(input) => return Some(input),
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                *silent = true;
                ask_why();
            }
        }
    }
    let input = receiver.recv().ok()?;
    // What modules write tells that they run, which is no reason to ask again.
    *silent = matches!(input, Input::Why(_) | Input::Update(Update::Output { .. } | Update::Progress { .. }));
    Some(input)
}

/// Says what a run waits for of which nothing runs.
fn say_why(view: &WhyView, run: &RunId, context: &Context) {
    if let Some(first) = view.nodes.first().filter(|_| view.running == 0) {
        let more = if view.count > 1 { format!(" ({} nodes wait: `prismq why {run}`)", view.count) } else { String::new() };
        context.output.note(&format!("{} waits: {}{more}", printable(&first.node), printable(&first.reasons.join("; "))));
    }
}

fn end(row: Box<RunRow>, interrupted: bool, progress: &mut Progress<'_>) -> Ending {
    progress.update(&Update::Ended(row.clone()));
    Ending::Run(Followed { row, interrupted })
}

/// What the journal says of a run whose host is gone, if it ended before that.
pub(super) fn ended_meanwhile(workspace: &Workspace, run: &RunId) -> Option<Box<RunRow>> {
    let snapshot = Snapshot::read(workspace).ok()?;
    snapshot.row(run).filter(|row| row.status.is_terminal()).map(Box::new)
}

/// Follows the run at the next host: the successor that the old one started, or we ourselves, whoever comes first. The old one may still
/// answer for a moment, and then says that it is leaving.
fn reattach(run: &RunId, workspace: &Workspace, context: &Context, inputs: &mpsc::Sender<Input>) -> Result<Session, Failure> {
    let deadline = Instant::now() + REATTACH_LIMIT;
    loop {
        let session = Session::connect(workspace, HostMode::UntilIdle)?;
        match session.follow(run, inputs.clone(), &context.output) {
            Ok(()) => return Ok(session),
            Err(failure) if failure.exit != Exit::HostUnreachable || Instant::now() >= deadline => return Err(failure),
            Err(_) => std::thread::sleep(REATTACH_PAUSE),
        }
    }
}

/// Waits for another host after the last one died, and follows the run there; none where we were told to let go of it meanwhile. This
/// program does not become the host: what was interrupted goes on under `serve` or by `resume`, and not since somebody watched it.
fn next_host(
    run: &RunId,
    workspace: &Workspace,
    context: &Context,
    (inputs, receiver): (&mpsc::Sender<Input>, &mpsc::Receiver<Input>),
) -> Result<Option<Session>, Failure> {
    context.output.note(&format!("the host died; waiting {} s for another one", REATTACH_LIMIT.as_secs()));
    let deadline = Instant::now() + REATTACH_LIMIT;
    loop {
        if let Some(client) = reach(workspace) {
            let session = Session::Attached(client);
            match session.follow(run, inputs.clone(), &context.output) {
                Ok(()) => return Ok(Some(session)),
                Err(failure) if failure.exit != Exit::HostUnreachable => return Err(failure),
                Err(_) => {}
            }
        }
        if Instant::now() >= deadline {
            return Err(lost(run));
        }
        if let Ok(Input::Signal(_)) = receiver.recv_timeout(REATTACH_PAUSE) {
            return Ok(None);
        }
    }
}

fn failed(run: &RunId, reason: &str) -> Failure {
    Failure::new(Exit::HostUnreachable, format!("run {run} stopped: {reason}"))
        .with_help(format!("make room on the disk or mend it; then `prismq resume {run}` goes on, and what had finished is not run again"))
}

fn left(run: &RunId) -> Failure {
    Failure::new(Exit::HostUnreachable, format!("the host of run {run} left and ended what ran"))
        .with_help(format!("`prismq resume {run}` goes on with it; what had finished is not run again"))
}

fn lost(run: &RunId) -> Failure {
    Failure::new(Exit::HostUnreachable, format!("the host of run {run} died"))
        .with_help(format!("`prismq resume {run}` goes on with it; what had finished is not run again"))
}
