//! `logs -f`: the lines as they come, from the files themselves. A host, where one lives, says what starts and ends and when there is
//! something to read; where none does, the files are looked at, and the journal now and then, since a module may outlive its host and
//! another host may go on with the run.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::print::Printer;
use super::{is_meant, unreadable};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::follow::Input;
use crate::cli::records::Records;
use crate::cli::session::reach;
use crate::cli::signals;
use crate::host::ownership;
use crate::host::update::Update;
use crate::host::views::{AttemptFolder, Cursor, LogReader, Needle, NodeRow, NodeStatus, Query};
use crate::host::workspace::Workspace;
use crate::ids::{AttemptNumber, RunId};

/// How often the files are looked at where nobody says that there is something new.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the journal is read where no host lives.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What is followed.
pub(super) struct Wanted<'a> {
    pub(super) node: Option<&'a str>,
    pub(super) query: Query,
    pub(super) needle: Option<Needle>,
}

/// Prints what is there and what comes, until the run ends or Ctrl-C.
pub(super) fn follow(
    run: &RunId,
    workspace: &Workspace,
    wanted: Wanted<'_>,
    rows: &[&NodeRow],
    printer: &Printer<'_>,
) -> Result<Exit, Failure> {
    let (inputs, receiver) = mpsc::channel();
    let signalled = inputs.clone();
    signals::listen(move |signal| signalled.send(Input::Signal(signal)).is_ok());
    let mut follower = Follower { run, workspace, wanted, printer, open: BTreeMap::new(), last: BTreeMap::new() };
    for row in rows {
        follower.row(row)?;
    }
    // What starts from now on is wanted whole.
    follower.wanted.query.tail = None;
    let mut hosted = false;
    let mut ask_at = Instant::now();
    let mut noted = false;
    loop {
        if !hosted && Instant::now() >= ask_at {
            let begun = Instant::now();
            hosted = reach(workspace).is_some_and(|client| client.follow(run, inputs.clone()).is_ok());
            if follower.look()? {
                return Ok(Exit::Ok);
            }
            // A long journal is read less often.
            ask_at = Instant::now() + ASK_EVERY.max(begun.elapsed() * 10);
            if !hosted && !noted && !ownership::is_owned(workspace) {
                noted = true;
                printer.note(&format!("no host works on run {run}: `prismq resume {run}` goes on with it; waiting"));
            }
        }
        printer.flush();
        match receiver.recv_timeout(LOOK_EVERY) {
            Ok(Input::Update(Update::Ended(_))) => {
                follower.look()?;
                follower.end()?;
                printer.flush();
                return Ok(Exit::Ok);
            }
            Ok(Input::Update(Update::Leaving | Update::Failed { .. }) | Input::Lost) => {
                hosted = false;
                // One that leaves answers for a little longer.
                ask_at = Instant::now() + LOOK_EVERY;
            }
            Ok(Input::Update(Update::Node(change))) => {
                if let Some(attempt) = change.attempt {
                    follower.saw(&change.node, attempt, change.status != NodeStatus::Running.as_str())?;
                }
            }
            Ok(Input::Update(Update::Output { node, .. })) => follower.print(&node)?,
            Ok(Input::Update(Update::Run(_) | Update::Progress { .. } | Update::Host(_) | Update::Disk(_)) | Input::Why(_)) => {}
            Ok(Input::Signal(_)) => return Ok(Exit::Interrupted),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => follower.print_all()?,
        }
    }
}

struct Follower<'a> {
    run: &'a RunId,
    workspace: &'a Workspace,
    wanted: Wanted<'a>,
    printer: &'a Printer<'a>,
    /// Attempts that may still write, by node.
    open: BTreeMap<String, Open>,
    /// The last attempt of each node that was seen.
    last: BTreeMap<String, u32>,
}

struct Open {
    attempt: AttemptNumber,
    reader: LogReader,
    cursor: Cursor,
}

impl Follower<'_> {
    /// Looks at the run; whether it has ended, and everything of it is printed.
    fn look(&mut self) -> Result<bool, Failure> {
        let mut records = Records::of(self.workspace);
        // What cannot be read now is looked at again soon.
        let Ok(found) = records.find(self.run.as_str()) else { return Ok(false) };
        let ended = found.row.status.is_terminal();
        let Ok(file) = records.file(self.run) else { return Ok(ended) };
        for row in &file.nodes {
            self.row(row)?;
        }
        if ended {
            self.end()?;
        }
        Ok(ended)
    }

    fn row(&mut self, row: &NodeRow) -> Result<(), Failure> {
        if row.attempts == 0 || row.status == NodeStatus::Reused {
            return Ok(());
        }
        self.saw(&row.node, AttemptNumber(row.attempts), row.status != NodeStatus::Running)
    }

    /// An attempt is there; it may be over.
    fn saw(&mut self, node: &str, attempt: AttemptNumber, over: bool) -> Result<(), Failure> {
        if !is_meant(node, self.wanted.node) {
            return Ok(());
        }
        let known = self.last.get(node).copied();
        if known.is_none_or(|known| known < attempt.0) {
            self.close(node)?;
            // Those between were not told of: they came and went while nobody was asked.
            for missed in known.map_or(attempt.0, |known| known + 1)..attempt.0 {
                self.open(node, AttemptNumber(missed))?;
                self.close(node)?;
            }
            self.open(node, attempt)?;
            self.last.insert(node.to_owned(), attempt.0);
        }
        if over && known.is_none_or(|known| known <= attempt.0) { self.close(node) } else { self.print(node) }
    }

    fn open(&mut self, node: &str, attempt: AttemptNumber) -> Result<(), Failure> {
        if self.last.contains_key(node) {
            self.printer.note(&format!("{node}: attempt {attempt}"));
        }
        let folder = AttemptFolder::new(&self.workspace.run(self.run), node, attempt);
        let reader = LogReader::open(folder.path());
        let cursor = reader.cursor(self.wanted.query).map_err(|error| unreadable(node, &error))?;
        self.open.insert(node.to_owned(), Open { attempt, reader, cursor });
        Ok(())
    }

    /// Prints the rest of an attempt that has ended.
    fn close(&mut self, node: &str) -> Result<(), Failure> {
        let Some(mut open) = self.open.remove(node) else { return Ok(()) };
        self.drain(node, &mut open, true)
    }

    /// Prints what is new of a node.
    fn print(&mut self, node: &str) -> Result<(), Failure> {
        let Some((node, mut open)) = self.open.remove_entry(node) else { return Ok(()) };
        self.drain(&node, &mut open, false)?;
        self.open.insert(node, open);
        Ok(())
    }

    fn print_all(&mut self) -> Result<(), Failure> {
        let nodes: Vec<String> = self.open.keys().cloned().collect();
        nodes.iter().try_for_each(|node| self.print(node))
    }

    /// Prints the rest of everything.
    fn end(&mut self) -> Result<(), Failure> {
        let nodes: Vec<String> = self.open.keys().cloned().collect();
        nodes.iter().try_for_each(|node| self.close(node))
    }

    fn drain(&self, node: &str, open: &mut Open, ended: bool) -> Result<(), Failure> {
        loop {
            let lines = open.reader.poll(&mut open.cursor, ended).map_err(|error| unreadable(node, &error))?;
            if lines.is_empty() {
                return Ok(());
            }
            let holds = |text: &str| self.wanted.needle.as_ref().is_none_or(|needle| needle.is_in(text));
            for line in lines.iter().filter(|line| line.missing > 0 || holds(&line.text)) {
                self.printer.line(node, open.attempt, line);
            }
            self.printer.flush();
        }
    }
}
