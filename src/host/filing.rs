//! Writing `run.json` of finished runs, on a thread of its own so that a slow disk does not hold up the scheduler.
//!
//! A run stays with the host until its file is there: the journal forgets its nodes at the next snapshot.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use super::index::RunRow;
use super::prepare::RunHead;
use super::reuse;
use super::runfile::{self, RunFile};
use super::turn::{Message, Turn};
use super::update::Update;
use super::workspace::Workspace;
use crate::attempt::AttemptFolder;
use crate::ids::RunId;
use crate::run::RunState;
use crate::units::{DurationMs, Mono};

/// Pause before a file is written again that could not be.
const AGAIN: DurationMs = DurationMs(5_000);

/// An ended run, for the thread and for snapshots.
type EndedRun = Arc<(RunState, RunHead)>;

/// The thread, and the way to it.
pub(super) struct Filing {
    sender: Option<mpsc::Sender<EndedRun>>,
    thread: Option<JoinHandle<()>>,
}

/// A run that has ended and whose file is not on the disk yet.
pub(super) struct Unfiled {
    row: RunRow,
    run: EndedRun,
    /// Writing failed: then it is tried again.
    again: Option<Mono>,
}

impl Unfiled {
    pub(super) fn again(&self) -> Option<Mono> {
        self.again
    }

    pub(super) fn row(&self) -> &RunRow {
        &self.row
    }

    /// What its file will hold.
    pub(super) fn file(&self) -> RunFile {
        RunFile::of(&self.run.0, &self.run.1)
    }

    pub(super) fn state(&self) -> &RunState {
        &self.run.0
    }

    /// The runs whose results it has, or may have.
    pub(super) fn takes_from(&self) -> impl Iterator<Item = &RunId> {
        self.row.retry_of.iter().chain(&self.row.results_of)
    }

    /// Of a run that is being filed the end is told when the file is there, or cannot be.
    pub(super) fn describe(&self) -> Update {
        let row = Box::new(self.row.clone());
        if self.again.is_some() { Update::Ended(row) } else { Update::Run(row) }
    }
}

impl Filing {
    /// Starts the thread; it reports each file to `inbox`.
    pub(super) fn start(workspace: Workspace, inbox: mpsc::Sender<Message>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<EndedRun>();
        let thread = std::thread::Builder::new().name("filing".into()).spawn(move || {
            for run in receiver {
                let file = RunFile::of(&run.0, &run.1);
                discard_unused(&run.0, &workspace);
                drop(run);
                let written = file.write(&workspace);
                if written.is_ok() {
                    reuse::remember(&workspace, &file);
                }
                if inbox.send(Message::Filed(file.run.run_id, written)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Hands a finished run over.
    fn file(&self, run: EndedRun) {
        if let Some(sender) = &self.sender {
            // The thread ends only after this sender.
            let _ = sender.send(run);
        }
    }
}

/// Removes the folders that were made ahead for attempts that never came, as in a run that was cancelled.
fn discard_unused(run: &RunState, workspace: &Workspace) {
    let folder = workspace.run(run.id());
    for (node, _) in run.nodes().filter(|(node, _)| run.intent(*node).is_some()) {
        AttemptFolder::new(&folder, &run.path(node), run.next_attempt(node)).discard();
    }
}

impl Turn {
    /// Has the file of an ended run written.
    pub(super) fn file_run(&mut self, run: &RunId, state: RunState, head: RunHead) {
        let row = runfile::row(&state, &head);
        let ended = Arc::new((state, head));
        self.filing_runs.insert(run.clone(), Unfiled { row, run: ended.clone(), again: None });
        self.filing.file(ended);
    }

    /// The thread has written a file, or could not.
    pub(super) fn filed(&mut self, run: &RunId, written: io::Result<()>) {
        let Some(mut unfiled) = self.filing_runs.remove(run) else { return };
        tracing::info!(%run, status = unfiled.row.status.as_str(), "ended");
        // The journal has the run: its followers need not wait for a disk that is full.
        self.fanout.end(run, &Update::Ended(Box::new(unfiled.row.clone())));
        match written {
            Ok(()) => self.finished.push(&unfiled.row),
            Err(error) => {
                tracing::error!(%run, %error, "run.json could not be written, and is tried again");
                unfiled.again = Some(self.clock.now().mono.plus(AGAIN));
                self.filing_runs.insert(run.clone(), unfiled);
            }
        }
    }

    /// Has files written again that could not be, whatever their pause: there may be room now, or it is the last chance.
    pub(super) fn file_again_now(&mut self) {
        let now = self.clock.now().mono;
        for unfiled in self.filing_runs.values_mut().filter(|unfiled| unfiled.again.is_some()) {
            unfiled.again = Some(now);
        }
        self.file_again();
    }

    /// Has files written again whose pause is over.
    pub(super) fn file_again(&mut self) {
        if self.filing_runs.is_empty() {
            return;
        }
        let now = self.clock.now().mono;
        let Self { filing_runs, filing, .. } = self;
        for unfiled in filing_runs.values_mut().filter(|unfiled| unfiled.again.is_some_and(|again| again <= now)) {
            unfiled.again = None;
            filing.file(unfiled.run.clone());
        }
    }
}

impl Drop for Filing {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}
