//! `run --watch`: the same again whenever one of its files changes.
//!
//! A change during a run waits for its end: what runs may be expensive, and what has finished is reused in the next one. Ctrl-C during a
//! run cancels it as always and ends; between two runs it ends.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use super::super::exit::Exit;
use super::super::failure::Failure;
use super::super::output::Output;
use super::super::signals::{self, Signal};
use super::super::{Context, session};
use super::{Arguments, begin, submission};
use crate::host::reload::files::{FileWatch, files_nearby, files_of};
use crate::host::runfile::RunFile;
use crate::host::submission::Submit;
use crate::host::views::printable;
use crate::host::workspace::Workspace;
use crate::ids::RunId;

/// Nodes that are named after a run.
const NODES_SHOWN_MAX: usize = 50;
/// Files that are named.
const FILES_SHOWN_MAX: usize = 10;

enum Input {
    Signal(Signal),
    Changed(Vec<PathBuf>),
}

pub(super) fn run(arguments: &Arguments, mut submit: Submit, workspace: &Workspace, context: &Context) -> Result<Exit, Failure> {
    let output = &context.output;
    let (inputs, receiver) = mpsc::channel();
    let signalled = inputs.clone();
    signals::listen(move |signal| signalled.send(Input::Signal(signal)).is_ok());
    let busy = Arc::new(AtomicBool::new(false));
    loop {
        let (changed, is_busy) = (inputs.clone(), busy.clone());
        // From before it is submitted: what changes in between is in this run and at worst leads to another one.
        let tell = move |files| {
            if is_busy.load(Ordering::Relaxed) {
                // Nothing can be done when standard error is gone.
                let _ = writeln!(io::stderr(), "files have changed: it runs again when this run has ended");
            }
            // The other end is gone when it ends.
            let _ = changed.send(Input::Changed(files));
        };
        let (watch, files, refused) = FileWatch::around(|| watched(arguments, &submit, workspace), tell)
            .map_err(|error| Failure::ours(format!("files cannot be watched: {error}")))?;
        busy.store(true, Ordering::Relaxed);
        let ended = refused.map_or_else(|| begin(arguments, &submit, workspace, context), Err);
        busy.store(false, Ordering::Relaxed);
        match ended {
            Ok((Exit::Interrupted, _)) => return Ok(Exit::Interrupted),
            Ok((_, run)) => tell_nodes(&run, workspace, output),
            Err(failure) if is_of_files(&failure) => output.failure(&failure),
            Err(failure) => return Err(failure),
        }
        let plural = if files.len() == 1 { "" } else { "s" };
        output.note(&format!("watching {} file{plural}; Ctrl-C ends", files.len()));
        let Some(changed) = wait(&receiver) else { return Ok(Exit::Interrupted) };
        drop(watch);
        output.note(&format!("changed: {}", names(&changed, workspace)));
        if arguments.params.as_deref().is_some_and(|file| file.as_os_str() != "-") {
            match submission(arguments) {
                Ok(again) => submit = again,
                Err(failure) => output.failure(&failure),
            }
        }
    }
}

/// The files to be watched; where it would be refused, why.
fn watched(arguments: &Arguments, submit: &Submit, workspace: &Workspace) -> (BTreeSet<PathBuf>, Option<Failure>) {
    let (mut files, refused) = match files_of(workspace, submit) {
        Ok(files) => (files, None),
        Err(refused) => (files_nearby(workspace, submit), Some(session::refused_failure(refused))),
    };
    let params = arguments.params.as_deref().filter(|file| file.as_os_str() != "-");
    files.extend(params.map(|file| submit.caller_folder.join(file)));
    (files, refused)
}

/// Whether somebody who works on files can mend it there.
fn is_of_files(failure: &Failure) -> bool {
    matches!(failure.exit, Exit::Invalid | Exit::NotFound | Exit::NeverFits | Exit::Usage)
}

/// Waits for changes, and takes all that have come; none when it is to end.
fn wait(inputs: &mpsc::Receiver<Input>) -> Option<BTreeSet<PathBuf>> {
    let mut changed = BTreeSet::new();
    let mut next = inputs.recv().ok();
    while let Some(input) = next {
        match input {
            Input::Signal(Signal::Interrupt | Signal::Hangup) => return None,
            Input::Changed(files) => changed.extend(files),
        }
        next = inputs.try_recv().ok();
    }
    (!changed.is_empty()).then_some(changed)
}

fn names(files: &BTreeSet<PathBuf>, workspace: &Workspace) -> String {
    let mut names: Vec<String> = files.iter().take(FILES_SHOWN_MAX).map(|file| workspace.display(file)).collect();
    if let Some(more) = files.len().checked_sub(FILES_SHOWN_MAX).filter(|more| *more > 0) {
        names.push(format!("and {more} more"));
    }
    printable(&names.join(", ")).into_owned()
}

/// Says why each node ran or did not.
fn tell_nodes(run: &RunId, workspace: &Workspace, output: &Output) {
    let Some(file) = RunFile::read(workspace, run).ok().flatten() else { return };
    let nodes: Vec<_> = file.nodes.iter().filter(|node| node.module.is_some()).collect();
    for node in nodes.iter().take(NODES_SHOWN_MAX) {
        let why = node.reuse.as_ref().map(|check| check.why.to_string()).or_else(|| node.reason.clone());
        let why = why.map(|why| format!(": {}", printable(&why))).unwrap_or_default();
        let ran = if node.attempts > 0 { " (ran)" } else { "" };
        output.note(&format!("  {} {}{ran}{why}", node.node, node.status.as_str()));
    }
    if let Some(more) = nodes.len().checked_sub(NODES_SHOWN_MAX).filter(|more| *more > 0) {
        output.note(&format!("  and {more} more nodes: `prismq show {run}`"));
    }
}
