//! What is known of runs: asked of the host where one lives, else read from what is written down.
//!
//! A host answers out of its memory, as quick with years of history as without. One that hangs, or leaves in this moment, keeps nobody from
//! looking: its journal and the runs' folders are there.

use std::collections::BTreeMap;

use super::client::Client;
use super::exit::Exit;
use super::failure::Failure;
use super::output::Output;
use super::session::{journal_failure, reach};
use crate::host::look::{RunFound, RunsAsked, RunsSeen};
use crate::host::offline::{self, Snapshot};
use crate::host::ownership;
use crate::host::prune::{self, Keep, Report};
use crate::host::runfile::RunFile;
use crate::host::select::SelectError;
use crate::host::views::DiskLevel;
use crate::host::workspace::Workspace;
use crate::ids::RunId;

/// A way to what is known.
pub(super) struct Records {
    workspace: Workspace,
    client: Option<Client>,
    /// The process of a host that does not answer.
    silent: Option<u32>,
    /// Read when it is needed.
    files: Option<Box<Snapshot>>,
}

impl Records {
    /// Of a workspace. Who only wants to look at its files gets what they say.
    pub(super) fn of(workspace: &Workspace) -> Self {
        let hosted = !workspace.is_look_only() && ownership::is_owned(workspace);
        let client = if hosted { reach(workspace) } else { None };
        let silent = if hosted && client.is_none() { silent_host(workspace) } else { None };
        Self { workspace: workspace.clone(), client, silent, files: None }
    }

    /// The runs that are asked for.
    pub(super) fn runs(&mut self, asked: &RunsAsked) -> Result<RunsSeen, Failure> {
        self.ask(|client| client.runs(asked), |files| Ok(files.seen(asked)))
    }

    /// The run that a selector names.
    pub(super) fn find(&mut self, selector: &str) -> Result<RunFound, Failure> {
        let not_found = |error: SelectError| Failure::not_found(error.to_string()).with_help(error.help());
        self.ask(|client| client.find(selector), |files| files.find(selector).map_err(not_found))
    }

    /// Everything that is kept of a run.
    pub(super) fn file(&mut self, run: &RunId) -> Result<RunFile, Failure> {
        let read = |files: &Snapshot| match files.file(run) {
            Ok(Some(file)) => Ok(file),
            Ok(None) => Err(Failure::not_found(format!("the file of run {run} is not there"))
                .with_help("it is written when the run ends; a host that died before is made up for by the next one")),
            Err(error) => Err(Failure::ours(format!("the file of run {run} cannot be read: {error}"))),
        };
        self.ask(|client| client.file(run), read)
    }

    /// What a `prune` would remove.
    pub(super) fn would_prune(&mut self, keep: Keep) -> Result<Report, Failure> {
        let workspace = self.workspace.clone();
        self.ask(|client| client.would_prune(keep), |files| Ok(prune::dry_run(&workspace, files, keep)))
    }

    /// What somebody who looks should know of the host, the journal and the disk.
    pub(super) fn warn(&self, unreadable: &BTreeMap<RunId, String>, output: &Output) {
        if let Some(pid) = self.silent {
            output.note(&format!("warning: the host (process {pid}) does not answer; what is written down is shown"));
        }
        if let Some(damage) = self.files.as_ref().and_then(|files| files.damage.as_ref()) {
            output.note(&format!("warning: {damage}; what stands before it is shown"));
        }
        for (run, reason) in unreadable {
            output.note(&format!("warning: run {run} cannot be read: {reason}"));
        }
        for disk in offline::disks(&self.workspace).iter().filter(|disk| disk.level() != DiskLevel::Enough) {
            output.note(&super::progress::warning(disk));
        }
    }

    /// What the host says, where one lives and answers.
    pub(super) fn hosted<T>(&mut self, ask: impl FnOnce(&Client) -> Result<T, Failure>) -> Option<Result<T, Failure>> {
        let answered = ask(self.client.as_ref()?);
        if answered.as_ref().is_err_and(|failure| failure.exit == Exit::HostUnreachable) {
            // It left or died in this moment, cannot read what it is asked for, or hangs.
            self.client = None;
            self.silent = silent_host(&self.workspace).filter(|_| !answered.is_err_and(|failure| failure.leaving));
            return None;
        }
        Some(answered)
    }

    fn ask<T>(
        &mut self,
        hosted: impl FnOnce(&Client) -> Result<T, Failure>,
        read: impl FnOnce(&Snapshot) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match self.hosted(hosted) {
            Some(answered) => answered,
            None => read(self.files()?),
        }
    }

    /// What is written down.
    pub(super) fn files(&mut self) -> Result<&Snapshot, Failure> {
        let read = match self.files.take() {
            Some(read) => read,
            None => Box::new(Snapshot::read(&self.workspace).map_err(|error| journal_failure(&error))?),
        };
        Ok(self.files.insert(read))
    }
}

/// The host that does not answer. One that is starting says later where it listens, and one that has left says so no more.
fn silent_host(workspace: &Workspace) -> Option<u32> {
    let address = ownership::announced(workspace)?;
    ownership::is_owned(workspace).then_some(address.pid)
}
